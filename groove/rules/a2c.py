"""Advantage actor-critic, written by hand: the antagonist of algorithmic regret and the baseline of every evaluation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove.base import Clock, Rollout, UpdateRule
from groove.base.ranges import Number, check_not_negative, check_shares
from groove.nets import agents
from groove.nets.agents import Architecture, TrainState
from groove.nets.categorical import entropy, played
from groove.nets.critic import critic, normalise, over_steps
from levels.base import Spec


class ActorCritic(NamedTuple):
    """An agent with a policy and a value function, trained apart."""

    actor: TrainState
    critic: TrainState


def policy_slope(
    logits: jax.Array, action: jax.Array, advantage: jax.Array, entropy_weight: Number
) -> tuple[jax.Array, jax.Array]:
    """The gradient of A2C's policy loss with respect to the logits, and the mean entropy.

    Of -mean(log pi(a) A) - w mean(H) it is (A (pi - 1_a) + w pi (log pi + H)) / (T E). With actions as the first axis XLA
    makes one kernel for CPUs of all of it; automatic differentiation of the loss, with actions last, takes longer.

    Args:
        logits: f32[T, E, n].
        action: i32[T, E].
        advantage: f32[T, E].
        entropy_weight: w.

    Returns:
        f32[T, E, n] and f32[].
    """
    rows = jnp.moveaxis(logits, -1, 0)
    share, log_share = jax.nn.softmax(rows, axis=0), jax.nn.log_softmax(rows, axis=0)
    log_share = played(share, log_share)
    spread = -jnp.sum(share * log_share, axis=0, keepdims=True)
    taken = jax.nn.one_hot(action, rows.shape[0], axis=0)
    slope = advantage[None] * (share - taken) + entropy_weight * share * (log_share + spread)
    return jnp.moveaxis(slope / action.size, 0, -1), jnp.mean(spread)


def a2c(
    spec: Spec,
    architecture: Architecture | None = None,
    *,
    gamma: Number = 0.99,
    lambda_: Number = 0.95,
    entropy_weight: Number = 0.01,
    normalise_advantage: bool = True,
) -> UpdateRule:
    """Advantage actor-critic (Mnih et al. 2016) with GAE; one gradient step per rollout.

    Descends -mean(log pi(a|s) A) - entropy_weight mean(H(pi)) and, apart, half the mean squared error of the value. Defaults
    are GROOVE's (Jackson et al. 2023).

    Args:
        spec: The environment's description.
        architecture: The agent's networks and optimizers; by default `agents.for_spec(spec)`.
        gamma: Discount, in [0, 1].
        lambda_: GAE's decay, in [0, 1].
        entropy_weight: At least 0.
        normalise_advantage: Whether a rollout's advantages are shifted and scaled to mean 0 and deviation 1.

    Returns:
        A rule without parameters: theta is ().

    Example:
        >>> import jax, levels
        >>> from groove.rules import a2c
        >>> rule = a2c(levels.bandit.bernoulli_bandit().environment.spec)
        >>> rule.init(jax.random.key(0))
        ()
    """
    check_shares({"gamma": gamma, "lambda_": lambda_})
    check_not_negative({"entropy_weight": entropy_weight})
    architecture = architecture or agents.for_spec(spec)
    network = architecture.network(spec, spec.actions)
    apply = over_steps(network.apply)
    value = critic(spec, architecture, gamma=gamma, lambda_=lambda_)

    def init_agent(key):
        actor_key, critic_key = jax.random.split(key)
        return ActorCritic(agents.begin(architecture.actor, network.init(actor_key)), value.init(critic_key))

    def update(key, theta, agent: ActorCritic, rollout: Rollout, clock: Clock):
        advantage, target = value.advantage(agent.critic, rollout)
        scaled = normalise(advantage) if normalise_advantage else advantage

        def logits_of(parameters):
            return apply(parameters, rollout.observation, rollout.time)

        logits, pull_back = jax.vjp(logits_of, agent.actor.parameters)
        slope, spread = policy_slope(logits, rollout.action, scaled, entropy_weight)
        (gradient,) = pull_back(slope)
        learned, value_loss = value.update(agent.critic, rollout, target)
        info = {"entropy": spread, "value_loss": value_loss}
        return ActorCritic(agents.descend(architecture.actor, agent.actor, gradient), learned), info

    def diagnose(agent, rollout):
        return {"entropy": jnp.mean(entropy(apply(agent.actor.parameters, rollout.observation, rollout.time)))}

    return UpdateRule(
        init=lambda key: (),
        init_agent=init_agent,
        policy=lambda agent, observation, time: network.apply(agent.actor.parameters, observation, time),
        update=update,
        diagnose=diagnose,
    )
