"""Learned policy gradient: a recurrent network says how an agent is to change."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp

from groove.base import Clock, Rollout, Theta, UpdateRule
from groove.base.ranges import Number, check_not_negative, check_shares
from groove.nets import agents, recurrent
from groove.nets.agents import Architecture, TrainState
from groove.nets.categorical import entropy, softmaxes, spread
from groove.nets.critic import over_steps
from groove.nets.recurrent import Cell
from groove.rules.horizon import Horizon, none
from levels.base import Spec

Answers: TypeAlias = Callable[[Theta, TrainState, Rollout, Clock], tuple[jax.Array, jax.Array]]
"""`(theta, agent, rollout, clock) -> (pi_hat f32[T, E], y_hat f32[T, E, Y])`, y_hat as logits."""


class TargetNetwork(NamedTuple):
    """The learned part of LPG.

    Attributes:
        init: `(key, inputs int) -> theta`.
        embed: `(theta, y f32[..., Y]) -> f32[..., 1]`, phi, of the agent's prediction as probabilities.
        apply: `(theta, x f32[T, E, inputs], keep f32[T, E]) -> (pi_hat f32[T, E], y_hat f32[T, E, Y])`, y_hat as logits;
            backwards in time, forgetting where keep is 0.
        predictions: Y; None where the network does not say.
    """

    init: Callable[[jax.Array, int], Theta]
    embed: Callable[[Theta, jax.Array], jax.Array]
    apply: Callable[[Theta, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    predictions: int | None = None


def _dense(key: jax.Array, inputs: int, outputs: int, scale: float = 1.0) -> dict[str, jax.Array]:
    weight = scale * jax.nn.initializers.lecun_normal()(key, (inputs, outputs), jnp.float32)
    return {"weight": weight, "bias": jnp.zeros(outputs, jnp.float32)}


def _linear(parameters: Theta, x: jax.Array) -> jax.Array:
    return x @ parameters["weight"] + parameters["bias"].reshape((1,) * (x.ndim - 1) + (-1,))


def recurrent_targets(
    *, width: int = 256, predictions: int = 8, cell: Cell = recurrent.gru, head_scale: float = 0.1
) -> TargetNetwork:
    """LPG's network (Oh et al. 2020): phi is Dense 16, ReLU, Dense 1; a recurrent layer; two linear heads.

    Args:
        width: The recurrent layer's width, at least 1.
        predictions: The width of y, at least 1.
        cell: `recurrent.gru` or `recurrent.lstm`.
        head_scale: What the heads' lecun-normal weights are multiplied with. An untrained rule that hardly moves its agents
            has small meta-gradients; one that pushes them hard in a random direction may not recover.
    """
    if width < 1 or predictions < 1:
        raise ValueError(f"width and predictions must be at least 1, got {width} and {predictions}.")

    def init(key, inputs):
        narrow_key, embed_key, layer_key, policy_key, prediction_key = jax.random.split(key, 5)
        return {
            "embed": [_dense(narrow_key, predictions, 16), _dense(embed_key, 16, 1)],
            "layer": recurrent.init(layer_key, cell, inputs, width)._asdict(),
            "policy": _dense(policy_key, width, 1, head_scale),
            "prediction": _dense(prediction_key, width, predictions, head_scale),
        }

    def embed(theta, y):
        return _linear(theta["embed"][1], jax.nn.relu(_linear(theta["embed"][0], y)))

    def apply(theta, x, keep):
        hidden = recurrent.backwards(cell, recurrent.Weights(**theta["layer"]), x, keep)
        return _linear(theta["policy"], hidden)[..., 0], _linear(theta["prediction"], hidden)

    return TargetNetwork(init, embed, apply, predictions)


def _width(targets: TargetNetwork | None, predictions: int | None) -> int:
    """Of y, as one of the two says, or both alike."""
    said = None if targets is None else targets.predictions
    if predictions is not None and said not in (None, predictions):
        raise ValueError(f"predictions must be the width of the targets' y, {said}, got {predictions}.")
    return next(width for width in (predictions, said, 8) if width is not None)


def lpg(
    spec: Spec,
    architecture: Architecture | None = None,
    *,
    targets: TargetNetwork | None = None,
    predictions: int | None = None,
    gamma: Number = 0.99,
    prediction_weight: Number = 0.5,
    horizon: Horizon = none,
    stop_inputs: bool = False,
) -> UpdateRule:
    """Learned policy gradient (Oh et al. 2020, arXiv 2007.08794).

    At each step the network sees x_t = [r_t, d_t, gamma, pi(a_t|s_t), phi(y(s_t)), phi(y(s_{t+1})), horizon] and answers
    with pi_hat_t and y_hat_t. The agent descends

        mean_t(-log pi(a_t|s_t) pi_hat_t + prediction_weight KL(y(s_t) || y_hat_t)),

    in which pi_hat and y_hat are constants. The result is differentiable in theta, also through the inputs pi and y.

    Args:
        spec: The environment's description.
        architecture: The agent's network and optimizer; by default `agents.for_spec(spec)`.
        targets: The learned part; by default `recurrent_targets(predictions=predictions)`.
        predictions: The width of y; by default that of `targets`, else 8.
        gamma: The rule's input of that name, in [0, 1].
        prediction_weight: alpha_y, at least 0.
        horizon: What the rule knows of the lifetime; `horizon.fraction_and_log` makes this TA-LPG.
        stop_inputs: Whether the meta-gradient stops at the inputs pi and y, as it does in GROOVE's public code.

    Example:
        >>> import jax, levels
        >>> from groove.rules import lpg
        >>> rule = lpg(levels.bandit.bernoulli_bandit().environment.spec)
        >>> theta = rule.init(jax.random.key(0))
    """
    check_shares({"gamma": gamma})
    check_not_negative({"prediction_weight": prediction_weight})
    architecture = architecture or agents.for_spec(spec)
    predictions = _width(targets, predictions)
    targets = targets or recurrent_targets(predictions=predictions)
    network = architecture.network(spec, spec.actions + predictions)
    apply = over_steps(network.apply)
    ask = _asking(spec, apply, targets, gamma, horizon, jax.lax.stop_gradient if stop_inputs else lambda x: x)

    def update(key, theta, agent: TrainState, rollout: Rollout, clock: Clock):
        both, pull_back = jax.vjp(lambda own: apply(own, rollout.observation, rollout.time), agent.parameters)
        (pi, log_pi), (y, log_y) = map(softmaxes, _split(spec, both))
        taken = jax.nn.one_hot(rollout.action, spec.actions, dtype=bool)
        pi_hat, y_hat = ask(theta, agent, rollout, clock, jnp.sum(jnp.where(taken, pi, 0.0), axis=-1), y)
        chex.assert_axis_dimension(y_hat, -1, predictions)
        hat, log_hat = softmaxes(y_hat)
        # the loss's slope in logits and y, written out: a meta-gradient keeps half as much again for the derived one
        excess = log_y - log_hat
        to_logits = pi_hat[..., None] * (pi - taken)
        to_y = prediction_weight * y * (excess - jnp.sum(y * excess, axis=-1, keepdims=True))
        (gradient,) = pull_back(jnp.concatenate([to_logits, to_y], axis=-1) / rollout.action.size)
        info = {
            "entropy": jnp.mean(spread(pi, log_pi)),
            "pi_hat_size": jnp.mean(jnp.abs(pi_hat)),
            "pi_hat_square": jnp.mean(jnp.square(pi_hat)),
            "y_hat_entropy": jnp.mean(spread(hat, log_hat)),
            "y_hat_square": jnp.mean(jnp.sum(jnp.square(hat), axis=-1)),
        }
        return agents.descend(architecture.actor, agent, gradient), info

    def diagnose(agent, rollout):
        logits, y = _split(spec, apply(agent.parameters, rollout.observation, rollout.time))
        return {"entropy": jnp.mean(entropy(logits)), "y_entropy": jnp.mean(entropy(y))}

    now = Clock(jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32))
    width = 6 + jax.eval_shape(horizon, now).size
    return UpdateRule(
        init=lambda key: targets.init(key, width),
        init_agent=lambda key: agents.begin(architecture.actor, network.init(key)),
        policy=lambda agent, observation, time: network.apply(agent.parameters, observation, time)[: spec.actions],
        update=update,
        diagnose=diagnose,
    )


def lpg_answers(
    spec: Spec,
    architecture: Architecture | None = None,
    *,
    targets: TargetNetwork,
    gamma: Number = 0.99,
    horizon: Horizon = none,
) -> Answers:
    """What `lpg` of the same arguments asks of agents at every step, to look at; see there.

    Args:
        spec: The environment's description.
        architecture: The agent's network and optimizer; by default `agents.for_spec(spec)`.
        targets: The learned part, which says how wide y is.
        gamma: The rule's input of that name.
        horizon: What the rule knows of the lifetime.
    """
    predictions = _width(targets, None)
    apply = over_steps((architecture or agents.for_spec(spec)).network(spec, spec.actions + predictions).apply)
    ask = _asking(spec, apply, targets, gamma, horizon, lambda x: x)

    def answers(theta, agent, rollout, clock):
        logits, y = _split(spec, apply(agent.parameters, rollout.observation, rollout.time))
        taken = jax.nn.one_hot(rollout.action, spec.actions, dtype=bool)
        chosen = jnp.sum(jnp.where(taken, softmaxes(logits)[0], 0.0), axis=-1)
        return ask(theta, agent, rollout, clock, chosen, softmaxes(y)[0])

    return answers


def _split(spec: Spec, both: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The policy's logits and those of y."""
    return both[..., : spec.actions], both[..., spec.actions :]


def _asking(
    spec: Spec,
    apply: Callable[..., jax.Array],
    targets: TargetNetwork,
    gamma: Number,
    horizon: Horizon,
    gate: Callable[[jax.Array], jax.Array],
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """`(theta, agent, rollout, clock, pi(a_t|s_t) f32[T, E], y(s_t) f32[T, E, Y]) -> (pi_hat, y_hat)`."""

    def ask(theta, agent: TrainState, rollout: Rollout, clock: Clock, chosen: jax.Array, y: jax.Array):
        after = apply(agent.parameters, rollout.next_observation, rollout.next_time)
        next_y = softmaxes(_split(spec, after)[1])[0]
        known = (rollout.reward, rollout.terminated, jnp.full_like(rollout.reward, gamma))
        age = jnp.broadcast_to(horizon(clock), (*rollout.reward.shape, horizon(clock).size))
        scalars = jnp.stack([*(x.astype(jnp.float32) for x in known), gate(chosen)], axis=-1)
        embedded = (targets.embed(theta, gate(now)) for now in (y, next_y))
        x = jnp.concatenate([scalars, *embedded, age], axis=-1)
        return targets.apply(theta, x, 1.0 - rollout.ended.astype(jnp.float32))

    return ask
