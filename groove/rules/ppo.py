"""Proximal policy optimisation: one outer loop of epochs and minibatches, and a drift function for each rule on it.

The loop maximises the mean over a minibatch of r A - drift(r, A) + entropy_weight H(pi), with r = pi(a|s) / pi_old(a|s) the
ratio to the policy that played. A drift is at least 0, and 0 with zero gradient at r = 1 (Kuba et al. 2022): what holds the
policy close to the one that played.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from groove.base import Clock, Info, Rollout, Theta, UpdateRule
from groove.base.ranges import Number, check_not_negative, check_positive, check_shares
from groove.nets import agents
from groove.nets.agents import Architecture
from groove.nets.categorical import entropy, log_probability
from groove.nets.critic import critic, normalise, over_steps
from groove.rules.a2c import ActorCritic
from groove.rules.horizon import fraction
from levels.base import Spec

Drift: TypeAlias = Callable[[Theta, jax.Array, jax.Array, Clock], jax.Array]
"""`(theta, ratio f32[...], advantage f32[...], clock) -> f32[...]`."""

LIMIT = 10.0
"""Of |log r| inside an update: further out r counts as constant, since squares of it would overflow in a meta-gradient."""


def bounded(ratio: jax.Array) -> jax.Array:
    """The ratio f32[...], or the end of [exp(-10), exp(10)] next to it: its logarithm and its square are finite."""
    return jnp.clip(ratio, math.exp(-LIMIT), math.exp(LIMIT))


def ppo_drift(ratio: jax.Array, advantage: jax.Array, *, clip: float = 0.2) -> jax.Array:
    """relu((r - clip(r, 1 - c, 1 + c)) A), elementwise: r A less this is PPO's clipped objective.

    Args:
        ratio: f32[...], r, at least 0.
        advantage: f32[...], A, of the same shape.
        clip: c, positive.

    Returns:
        f32[...]. Schulman et al. 2017, eq. 7, as Lu et al. 2022 write it (arXiv 2210.05639).

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.rules import ppo_drift
        >>> ppo_drift(jnp.array([1.5, 0.75]), jnp.array([2.0, 2.0]), clip=0.25)
        Array([0.5, 0. ], dtype=float32)
    """
    return jax.nn.relu((ratio - jnp.clip(ratio, 1 - clip, 1 + clip)) * advantage)


def dpo_drift(ratio: jax.Array, advantage: jax.Array, *, alpha: float = 2.0, beta: float = 0.6) -> jax.Array:
    """The drift of discovered policy optimisation (Lu et al. 2022, arXiv 2210.05639), elementwise.

    With u = r - 1 and l = log r: relu(u A - alpha tanh(u A / alpha)) where A >= 0, else relu(l A - beta tanh(l A / beta)).

    Args:
        ratio: f32[...], r, at least 0.
        advantage: f32[...], A, of the same shape.
        alpha: Positive.
        beta: Positive.

    Returns:
        f32[...].

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.rules import dpo_drift
        >>> round(float(dpo_drift(jnp.array(3.0), jnp.array(1.0))), 3)
        0.477
    """
    ratio = bounded(ratio)
    gain, loss = (ratio - 1) * advantage, jnp.log(ratio) * advantage
    excess = jnp.where(advantage >= 0, gain - alpha * jnp.tanh(gain / alpha), loss - beta * jnp.tanh(loss / beta))
    return jax.nn.relu(excess)


class _Steps(NamedTuple):
    """What a minibatch is made of. Leading axes [steps, 1], which the network and the critic take for time, environment."""

    rollout: Rollout
    advantage: jax.Array
    target: jax.Array  # of the value
    played: jax.Array  # log-probability of the action under the policy that played


def proximal(
    spec: Spec,
    architecture: Architecture | None,
    drift: Drift,
    init: Callable[[jax.Array], Theta],
    *,
    epochs: int = 4,
    minibatches: int = 8,
    gamma: Number = 0.99,
    lambda_: Number = 0.95,
    entropy_weight: Number = 0.01,
    anneal: bool = True,
) -> UpdateRule:
    """The outer loop of PPO (Schulman et al. 2017) around any drift.

    Advantages, by GAE, and targets of the value are computed once an update, with the critic as it stood, and count as
    constants. Every epoch goes through all T E steps of the rollout once, in a new order and in minibatches of equal size;
    each normalises its advantages and takes one step of the actor and, apart, one of the critic.

    Args:
        spec: The environment's description.
        architecture: The agent's networks and optimizers; None for `agents.for_spec(spec)`.
        drift: `(theta, ratio, advantage, clock) -> drift`, elementwise in ratio and advantage.
        init: `(key) -> theta`, the drift's parameters.
        epochs: At least 1.
        minibatches: Per epoch, at least 1. Must divide T E; as a rule does not know these before its first rollout, the
            error comes with that, when an update is traced.
        gamma: Discount, in [0, 1].
        lambda_: GAE's decay, in [0, 1].
        entropy_weight: At least 0.
        anneal: Whether learning rates fall linearly over the agent's life, to (1 - n / N) times the architecture's.

    Returns:
        A rule whose agents are `ActorCritic`s. Its info, means over minibatches: `entropy`, `value_loss`, `drift`,
        `ratio_deviation` (of |r - 1|).
    """
    check_shares({"gamma": gamma, "lambda_": lambda_})
    _check_loop(epochs=epochs, minibatches=minibatches, entropy_weight=entropy_weight)
    architecture = architecture or agents.for_spec(spec)
    network = architecture.network(spec, spec.actions)
    apply = over_steps(network.apply)
    make_critic = functools.partial(critic, spec, gamma=gamma, lambda_=lambda_)
    value = make_critic(architecture)

    def init_agent(key):
        actor_key, critic_key = jax.random.split(key)
        return ActorCritic(agents.begin(architecture.actor, network.init(actor_key)), value.init(critic_key))

    def losses(parameters, theta, clock, batch: _Steps) -> tuple[jax.Array, Info]:
        logits = apply(parameters, batch.rollout.observation, batch.rollout.time)
        change = log_probability(logits, batch.rollout.action) - batch.played
        ratio, scaled = jnp.exp(jnp.clip(change, -LIMIT, LIMIT)), normalise(batch.advantage)
        penalty, spread = jnp.mean(drift(theta, ratio, scaled, clock)), jnp.mean(entropy(logits))
        info = {"entropy": spread, "drift": penalty, "ratio_deviation": jnp.mean(jnp.abs(ratio - 1))}
        return penalty - jnp.mean(ratio * scaled) - entropy_weight * spread, info

    def update(key, theta, agent: ActorCritic, rollout: Rollout, clock: Clock):
        advantage, target = jax.lax.stop_gradient(value.advantage(agent.critic, rollout))
        logits = apply(agent.actor.parameters, rollout.observation, rollout.time)
        steps = _Steps(rollout, advantage, target, log_probability(logits, rollout.action))
        steps = jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), steps)
        rate = jnp.maximum(1.0 - fraction(clock)[0], 0.0)
        now = agents.scaled(architecture, rate) if anneal else architecture

        def learn(agent, rows):
            batch = jax.tree.map(lambda leaf: leaf[rows], steps)
            gradient, info = jax.grad(losses, has_aux=True)(agent.actor.parameters, theta, clock, batch)
            learned, value_loss = make_critic(now).update(agent.critic, batch.rollout, batch.target)
            return ActorCritic(agents.descend(now.actor, agent.actor, gradient), learned), {**info, "value_loss": value_loss}

        order = shuffles(key, rollout.reward.shape, epochs=epochs, minibatches=minibatches)
        agent, infos = jax.lax.scan(learn, agent, order)
        return agent, jax.tree.map(jnp.mean, infos)

    def diagnose(agent, rollout):
        return {"entropy": jnp.mean(entropy(apply(agent.actor.parameters, rollout.observation, rollout.time)))}

    return UpdateRule(
        init=init,
        init_agent=init_agent,
        policy=lambda agent, observation, time: network.apply(agent.actor.parameters, observation, time),
        update=update,
        diagnose=diagnose,
    )


def shuffles(key: jax.Array, shape: tuple[int, ...], *, epochs: int, minibatches: int) -> jax.Array:
    """Which steps each minibatch holds, i32[epochs * minibatches, T E / minibatches]: a permutation of all for each epoch.

    Raises:
        ValueError: The minibatches do not divide the T E steps of a rollout of that `shape`, (T, E).
    """
    size = shape[0] * shape[1]
    if size % minibatches:
        raise ValueError(
            f"minibatches must divide the {size} steps of a rollout ({shape[0]} steps in {shape[1]} environments), "
            f"got {minibatches}."
        )
    order = jax.vmap(lambda key: jax.random.permutation(key, size))(jax.random.split(key, epochs))
    return order.reshape(epochs * minibatches, size // minibatches)


def ppo(
    spec: Spec,
    architecture: Architecture | None = None,
    *,
    clip: float = 0.2,
    epochs: int = 4,
    minibatches: int = 8,
    gamma: Number = 0.99,
    lambda_: Number = 0.95,
    entropy_weight: Number = 0.01,
    anneal: bool = True,
) -> UpdateRule:
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347), with separate actor and critic.

    Args:
        spec: The environment's description.
        architecture: The agent's networks and optimizers; by default `agents.for_spec(spec)`.
        clip: How far r may leave 1 with profit; positive.
        epochs: As the following, of `proximal`.
        minibatches: Must divide the steps of a rollout.
        gamma: Discount, in [0, 1].
        lambda_: GAE's decay, in [0, 1].
        entropy_weight: At least 0.
        anneal: Whether learning rates fall linearly over the agent's life.

    Returns:
        A rule without parameters: theta is ().

    Example:
        >>> import jax, levels
        >>> from groove.rules import ppo
        >>> rule = ppo(levels.bandit.bernoulli_bandit().environment.spec, epochs=2)
        >>> rule.init(jax.random.key(0))
        ()
    """
    check_positive({"clip": clip})
    return proximal(
        spec,
        architecture,
        lambda theta, ratio, advantage, clock: ppo_drift(ratio, advantage, clip=clip),
        lambda key: (),
        epochs=epochs,
        minibatches=minibatches,
        gamma=gamma,
        lambda_=lambda_,
        entropy_weight=entropy_weight,
        anneal=anneal,
    )


def dpo(
    spec: Spec,
    architecture: Architecture | None = None,
    *,
    alpha: float = 2.0,
    beta: float = 0.6,
    epochs: int = 4,
    minibatches: int = 8,
    gamma: Number = 0.99,
    lambda_: Number = 0.95,
    entropy_weight: Number = 0.01,
    anneal: bool = True,
) -> UpdateRule:
    """Discovered policy optimisation (Lu et al. 2022, arXiv 2210.05639): PPO's loop with `dpo_drift`.

    Args:
        spec: The environment's description.
        architecture: The agent's networks and optimizers; by default `agents.for_spec(spec)`.
        alpha: The drift's scale where the advantage is positive or 0; positive.
        beta: The same where it is negative.
        epochs: As the following, of `proximal`.
        minibatches: Must divide the steps of a rollout.
        gamma: Discount, in [0, 1].
        lambda_: GAE's decay, in [0, 1].
        entropy_weight: At least 0.
        anneal: Whether learning rates fall linearly over the agent's life.

    Returns:
        A rule without parameters: theta is ().

    Example:
        >>> import jax, levels
        >>> from groove.rules import dpo
        >>> rule = dpo(levels.bandit.bernoulli_bandit().environment.spec)
        >>> rule.init(jax.random.key(0))
        ()
    """
    check_positive({"alpha": alpha, "beta": beta})
    return proximal(
        spec,
        architecture,
        lambda theta, ratio, advantage, clock: dpo_drift(ratio, advantage, alpha=alpha, beta=beta),
        lambda key: (),
        epochs=epochs,
        minibatches=minibatches,
        gamma=gamma,
        lambda_=lambda_,
        entropy_weight=entropy_weight,
        anneal=anneal,
    )


def _check_loop(*, epochs: int, minibatches: int, entropy_weight: Number) -> None:
    for name, count in (("epochs", epochs), ("minibatches", minibatches)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
    check_not_negative({"entropy_weight": entropy_weight})
