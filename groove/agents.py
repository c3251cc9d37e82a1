"""Agents' networks and optimizers, chosen by what an environment shows.

An `Architecture` says how agents of one kind are made; `for_spec` picks the default: rows of a table for discrete
observations, a multilayer perceptron for arrays. Networks are unbatched.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from levels.base import Discrete, Spec

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


class Learner(NamedTuple):
    """Parameters in training."""

    parameters: Parameters
    optimizer: optax.OptState


def begin(optimizer: optax.GradientTransformation, parameters: Parameters) -> Learner:
    """A learner that has not learned yet."""
    return Learner(parameters, optimizer.init(parameters))


def descend(optimizer: optax.GradientTransformation, learner: Learner, gradient: Parameters) -> Learner:
    """One step of `optimizer` down `gradient`."""
    updates, state = optimizer.update(gradient, learner.optimizer, learner.parameters)
    return Learner(optax.apply_updates(learner.parameters, updates), state)


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Scales gradients down to a global norm of `limit`, as `optax.clip_by_global_norm` does.

    Unlike optax's, it can be differentiated where the gradient is exactly zero, as meta-gradients demand: there the norm
    has an infinite slope, and optax's unused branch turns it into NaN.
    """

    def update(gradient, state, parameters=None):
        square = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient))
        scale = jnp.minimum(1.0, limit * jax.lax.rsqrt(jnp.maximum(square, 1e-16)))
        return jax.tree.map(lambda leaf: leaf * scale.astype(leaf.dtype), gradient), state

    return optax.GradientTransformation(lambda parameters: optax.EmptyState(), update)


def _clipped(limit: float, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(clip_by_global_norm(limit), optimizer)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}.")


def tabular(*, actor_rate: float = 40.0, critic_rate: float = 4.0, clip: float = 0.5, zeros: bool = False) -> Architecture:
    """One row of parameters per discrete observation, plus time times a vector where the spec shows time. No bias.

    Learning rates and the clipping of the actor's and the critic's gradient are GROOVE's (Jackson et al. 2023); they
    presume losses that are means over steps and environments.

    Args:
        actor_rate: Learning rate of plain gradient descent for actors.
        critic_rate: The same for critics.
        clip: Largest global norm of a gradient.
        zeros: Start from zeros instead of lecun-normal rows (deviation 1 / sqrt(observations + 1)).
    """
    _check_positive(actor_rate=actor_rate, critic_rate=critic_rate, clip=clip)
    initializer = jax.nn.initializers.zeros if zeros else jax.nn.initializers.lecun_normal()

    def network(spec: Spec, outputs: int) -> Network:
        if not isinstance(spec.observation, Discrete):
            raise ValueError(f"tabular agents need discrete observations, got {spec.observation}; use mlp().")
        rows = spec.observation.n

        def init(key):
            weights = initializer(key, (rows + 1, outputs), jnp.float32)
            return {"table": weights[:rows], "time": weights[rows]} if spec.time else {"table": weights[:rows]}

        def apply(parameters, observation, time):
            row = parameters["table"].at[observation].get(mode="promise_in_bounds")
            return row + time * parameters["time"] if spec.time else row

        return Network(init, apply)

    return Architecture(network, _clipped(clip, optax.sgd(actor_rate)), _clipped(clip, optax.sgd(critic_rate)))


class _Perceptron(nn.Module):
    """Dense layers with ReLU between them."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths[:-1]:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.widths[-1])(x)


def mlp(*, widths: tuple[int, ...] = (64, 64), rate: float = 5e-4, clip: float = 0.5) -> Architecture:
    """A multilayer perceptron over the flattened observation, and the time where the spec shows it; Adam.

    Widths and learning rate are GROOVE's for Min-Atar (Jackson et al. 2023).
    """
    if min(widths, default=1) < 1:
        raise ValueError(f"widths must be at least 1 each, got {widths}.")
    _check_positive(rate=rate, clip=clip)

    def network(spec: Spec, outputs: int) -> Network:
        if isinstance(spec.observation, Discrete):
            raise ValueError(f"mlp agents need array observations, got {spec.observation}; use tabular().")
        size = math.prod(spec.observation.shape) + spec.time
        module = _Perceptron((*widths, outputs))

        def flat(observation, time):
            x = jnp.ravel(observation).astype(jnp.float32)
            return jnp.append(x, time) if spec.time else x

        return Network(
            init=lambda key: module.init(key, jnp.zeros(size, jnp.float32))["params"],
            apply=lambda parameters, observation, time: module.apply({"params": parameters}, flat(observation, time)),
        )

    # a root of zero has an infinite slope, which a meta-gradient through an idle weight would turn into NaN
    optimizer = _clipped(clip, optax.adam(rate, eps_root=1e-16))
    return Architecture(network, optimizer, optimizer)


def for_spec(spec: Spec) -> Architecture:
    """The default architecture for an environment: `tabular()` for discrete observations, `mlp()` for arrays."""
    return tabular() if isinstance(spec.observation, Discrete) else mlp()
