"""Agents' networks and optimizers, chosen by what an environment shows.

An `Architecture` says how agents of one kind are made; `for_spec` picks the default: rows of a table for discrete
observations, convolutions for images, a multilayer perceptron for other arrays. Networks are unbatched.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeGuard

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from groove.base.ranges import Number, check_positive
from groove.base.trees import tree_take
from levels.base import Array, Discrete, Spec, in_one_batch

Parameters: TypeAlias = chex.ArrayTree


class Network(NamedTuple):
    """A function of an observation, with parameters.

    Attributes:
        init: `(key) -> parameters`.
        apply: `(parameters, observation, time f32[]) -> f32[outputs]`.
    """

    init: Callable[[jax.Array], Parameters]
    apply: Callable[[Parameters, jax.Array, jax.Array], jax.Array]


class Architecture(NamedTuple):
    """How agents are built and trained.

    Attributes:
        network: `(spec, outputs) -> Network`.
        actor: The optimizer of whatever decides on actions.
        critic: The optimizer of value functions.
    """

    network: Callable[[Spec, int], Network]
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation


class TrainState(NamedTuple):
    """Parameters in training."""

    parameters: Parameters
    optimizer: optax.OptState


def begin(optimizer: optax.GradientTransformation, parameters: Parameters) -> TrainState:
    """A learner that has not learned yet."""
    return TrainState(parameters, optimizer.init(parameters))


def descend(optimizer: optax.GradientTransformation, learner: TrainState, gradient: Parameters) -> TrainState:
    """One step of `optimizer` down `gradient`."""
    updates, state = optimizer.update(gradient, learner.optimizer, learner.parameters)
    return TrainState(optax.apply_updates(learner.parameters, updates), state)


def scaled(architecture: Architecture, scale: jax.Array) -> Architecture:
    """The same, but for updates multiplied with `scale` f32[]; optimizers keep their states. Anneals learning rates."""

    def slower(optimizer):
        def update(gradient, state, parameters=None):
            updates, state = optimizer.update(gradient, state, parameters)
            return jax.tree.map(lambda leaf: leaf * scale.astype(leaf.dtype), updates), state

        return optax.GradientTransformation(optimizer.init, update)

    return architecture._replace(actor=slower(architecture.actor), critic=slower(architecture.critic))


def clip_by_global_norm(limit: Number) -> optax.GradientTransformation:
    """Scales gradients down to a global norm of `limit`, as `optax.clip_by_global_norm` does.

    Unlike optax's, it can be differentiated where the gradient is exactly zero, as meta-gradients demand: there the norm
    has an infinite slope, and optax's unused branch turns it into NaN.
    """

    def update(gradient, state, parameters=None):
        square = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient))
        scale = jnp.minimum(1.0, limit * jax.lax.rsqrt(jnp.maximum(square, 1e-16)))
        return jax.tree.map(lambda leaf: leaf * scale.astype(leaf.dtype), gradient), state

    return optax.GradientTransformation(lambda parameters: optax.EmptyState(), update)


def _clipped(limit: Number, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(clip_by_global_norm(limit), optimizer)


def lecun_normal(key: jax.Array, shape: tuple[int, int], dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    """The numbers of `jax.nn.initializers.lecun_normal()(key, shape)`, in a form that compiles fast under vmap."""
    deviation = np.sqrt(np.float32(1.0 / shape[0])) / np.float32(0.87962566103423978)  # which truncation makes smaller
    row = in_one_batch(lambda key: jax.random.truncated_normal(key, -2.0, 2.0, (math.prod(shape),), dtype), key)
    return (row * jnp.asarray(deviation, dtype)).reshape(shape)


def tabular(
    *, actor_rate: Number = 40.0, critic_rate: Number = 4.0, clip: Number = 0.5, zeros: bool = False
) -> Architecture:
    """One row of parameters per discrete observation, plus time times a vector where the spec shows time. No bias.

    Learning rates and the clipping of the actor's and the critic's gradient are GROOVE's (Jackson et al. 2023); they
    presume losses that are means over steps and environments.

    Args:
        actor_rate: Learning rate of plain gradient descent for actors.
        critic_rate: The same for critics.
        clip: Largest global norm of a gradient.
        zeros: Start from zeros instead of lecun-normal rows (deviation 1 / sqrt(observations + 1)).
    """
    check_positive({"actor_rate": actor_rate, "critic_rate": critic_rate, "clip": clip})
    initializer = jax.nn.initializers.zeros if zeros else lecun_normal

    def network(spec: Spec, outputs: int) -> Network:
        if not isinstance(spec.observation, Discrete):
            raise ValueError(f"tabular agents need discrete observations, got {spec.observation}; use mlp().")
        rows = spec.observation.n

        def init(key):
            weights = initializer(key, (rows + 1, outputs), jnp.float32).reshape(-1)  # loops over short rows are slow
            table, time = weights[: rows * outputs].reshape(rows, outputs), weights[rows * outputs :]
            return {"table": table, "time": time} if spec.time else {"table": table}

        def apply(parameters, observation, time):
            table = parameters["table"]
            row = table[0] if rows == 1 else tree_take(table, observation)  # one row: no lookup
            if not spec.time:
                return row
            # a product, so that its gradient is one over all steps
            return row + jnp.matmul(jnp.reshape(time, 1), parameters["time"][None], precision="highest")

        return Network(init, apply)

    return Architecture(network, _clipped(clip, optax.sgd(actor_rate)), _clipped(clip, optax.sgd(critic_rate)))


def patches(image: jax.Array, kernel: int) -> jax.Array:
    """The kernel x kernel neighbourhoods of an image, f32[h, w, c] to f32[h - kernel + 1, w - kernel + 1, kernel^2 c].

    A dense layer over them is a convolution; as a plain product it stays fast where agents, each with its own weights, are
    batched: XLA's grouped convolution takes 2.5 times as long (16 agents on two CPU cores).
    """
    height, width = image.shape[0] - kernel + 1, image.shape[1] - kernel + 1
    offsets = [(row, column) for row in range(kernel) for column in range(kernel)]
    return jnp.concatenate([image[r : r + height, c : c + width] for r, c in offsets], axis=-1)


class _Layers(nn.Module):
    """A convolution if there are channels; flattened, with what else is known, f32[k]; dense layers. ReLU between them."""

    widths: tuple[int, ...]
    channels: int = 0
    kernel: int = 0

    @nn.compact
    def __call__(self, observation: jax.Array, known: jax.Array) -> jax.Array:
        if self.channels:
            observation = nn.relu(
                nn.Dense(self.channels, kernel_init=lecun_normal, name="Convolution_0")(patches(observation, self.kernel))
            )
        x = jnp.append(jnp.ravel(observation), known)
        for width in self.widths[:-1]:
            x = nn.relu(nn.Dense(width, kernel_init=lecun_normal)(x))
        return nn.Dense(self.widths[-1], kernel_init=lecun_normal)(x)


def _layered(
    layers: Callable[[int], nn.Module], shape_of: Callable[[Spec], tuple[int, ...]], rate: Number, clip: Number
) -> Architecture:
    """Agents of `layers(outputs)` that observe arrays of `shape_of(spec)`, which may refuse a spec; Adam."""

    def network(spec: Spec, outputs: int) -> Network:
        shape, module = shape_of(spec), layers(outputs)

        def seen(observation, time):
            return observation.astype(jnp.float32), jnp.reshape(time, 1) if spec.time else jnp.zeros(0, jnp.float32)

        def init(key):
            return module.init(key, *seen(jnp.zeros(shape, jnp.float32), jnp.float32(0)))["params"]

        return Network(init, lambda parameters, *inputs: module.apply({"params": parameters}, *seen(*inputs)))

    # a root of zero has an infinite slope, which a meta-gradient through an idle weight would turn into NaN
    optimizer = _clipped(clip, optax.adam(rate, eps_root=1e-16))
    return Architecture(network, optimizer, optimizer)


def mlp(*, widths: tuple[int, ...] = (64, 64), rate: Number = 5e-4, clip: Number = 0.5) -> Architecture:
    """A multilayer perceptron over the flattened observation, and the time where the spec shows it; Adam.

    Widths and learning rate are GROOVE's for Min-Atar (Jackson et al. 2023).
    """
    _check_widths(widths)
    check_positive({"rate": rate, "clip": clip})

    def shape_of(spec: Spec) -> tuple[int, ...]:
        if isinstance(spec.observation, Discrete):
            raise ValueError(f"mlp agents need array observations, got {spec.observation}; use tabular().")
        return spec.observation.shape

    return _layered(lambda outputs: _Layers((*widths, outputs)), shape_of, rate, clip)


KERNEL = 3
"""The side of a convolution's kernel; images with a shorter side are for perceptrons."""


def convolutional(
    *, channels: int = 16, kernel: int = KERNEL, widths: tuple[int, ...] = (128,), rate: Number = 5e-4, clip: Number = 0.5
) -> Architecture:
    """One convolution of stride 1 without padding, then dense layers, which see the time where the spec shows it; Adam.

    For observations [height, width, channels], which are not scaled; booleans become 0 and 1. Layers are those of Young and
    Tian 2019 (arXiv 1903.03176), the learning rate is GROOVE's, for Min-Atar both.

    Args:
        channels: Of the convolution, at least 1.
        kernel: The side of its square kernel, at least 1; no more than the height and the width of observations.
        widths: Of the dense layers between the convolution and the outputs.
        rate: Learning rate.
        clip: Largest global norm of a gradient.

    Example:
        >>> import jax, levels
        >>> from groove.nets import agents
        >>> spec = levels.gridworld.planes(height=5, width=5, objects=2).environment.spec
        >>> parameters = agents.convolutional().network(spec, spec.actions).init(jax.random.key(0))
        >>> parameters["Convolution_0"]["kernel"].shape
        (36, 16)
    """
    if channels < 1 or kernel < 1:
        raise ValueError(f"channels and kernel must be at least 1, got {channels} and {kernel}.")
    _check_widths(widths)
    check_positive({"rate": rate, "clip": clip})

    def shape_of(spec: Spec) -> tuple[int, ...]:
        if not _is_image(spec.observation, kernel):
            sides = f"[at least {kernel}, at least {kernel}, channels]"
            raise ValueError(f"convolutional agents need observations {sides}, got {spec.observation}; use mlp().")
        return spec.observation.shape

    return _layered(lambda outputs: _Layers((*widths, outputs), channels, kernel), shape_of, rate, clip)


def _check_widths(widths: tuple[int, ...]) -> None:
    if min(widths, default=1) < 1:
        raise ValueError(f"widths must be at least 1 each, got {widths}.")


def _is_image(shown: Discrete | Array, kernel: int) -> TypeGuard[Array]:
    return isinstance(shown, Array) and len(shown.shape) == 3 and min(shown.shape[:2]) >= kernel


def for_spec(spec: Spec, *, rate: Number = 5e-4, clip: Number = 0.5) -> Architecture:
    """The default architecture for an environment.

    `tabular()` for discrete observations, `convolutional()` for arrays [height, width, channels] of at least 3 x 3, `mlp()`
    for all others.

    Args:
        spec: The environment's description.
        rate: Learning rate of Adam, for arrays.
        clip: Largest global norm of a gradient.
    """
    if isinstance(spec.observation, Discrete):
        return tabular(clip=clip)
    return (convolutional if _is_image(spec.observation, KERNEL) else mlp)(rate=rate, clip=clip)
