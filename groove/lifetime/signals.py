"""What scores ask of an agent beside its return: the value of what it sees, its advantages, how often it succeeds.

The rules of this library need no value function that means the same for all of them, so a plain one is put beside the
agent: it learns from every rollout of the agent's life, and the rule never sees it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove.base import Agent, Outcome, Signals, UpdateRule
from groove.base.ranges import Number
from groove.base.trees import tree_where
from groove.lifetime import Evaluate, act, playable
from groove.nets.agents import TrainState
from groove.nets.critic import Critic, advantages
from levels.base import Environment, Level, words


class Watched(NamedTuple):
    """An agent, and the value function that watches it."""

    agent: Agent
    critic: TrainState


def watched(rule: UpdateRule, critic: Critic) -> UpdateRule:
    """The same rule, its agents watched by a value function: they act and learn as they would without.

    Agent and watcher are born of the two halves of a key.

    Args:
        rule: How agents learn.
        critic: What learns from every rollout that an agent learns from.

    Returns:
        A rule whose agents are `Watched`; theta is that of `rule`.
    """

    def init_agent(key):
        agent_key, critic_key = jax.random.split(key)
        return Watched(rule.init_agent(agent_key), critic.init(critic_key))

    def update(key, theta, agent, rollout, clock):
        learned, info = rule.update(key, theta, agent.agent, rollout, clock)
        seen = jax.lax.stop_gradient(rollout)
        _, target = critic.advantage(agent.critic, seen)
        return Watched(learned, critic.update(agent.critic, seen, target)[0]), info

    return UpdateRule(
        init=rule.init,
        init_agent=init_agent,
        policy=lambda agent, observation, time: rule.policy(agent.agent, observation, time),
        update=update,
        diagnose=lambda agent, rollout: rule.diagnose(agent.agent, rollout),
    )


class _Steps(NamedTuple):
    """Steps of parallel episodes. Leading axes [T, E]; of those after an episode's end, zeros."""

    reward: jax.Array  # f32
    value: jax.Array  # f32; V of what the agent saw
    next_value: jax.Array  # f32; V of what the step led to
    terminated: jax.Array  # bool
    truncated: jax.Array  # bool
    played: jax.Array  # bool; the episode had not ended before this step

    @property
    def ended(self) -> jax.Array:
        """bool[T, E]: the episode ended with this step."""
        return self.terminated | self.truncated


def observed(
    rule: UpdateRule,
    environment: Environment,
    critic: Critic,
    *,
    success: Callable[[Level, jax.Array], jax.Array] | None = None,
    episodes: int = 4,
    measure: Evaluate | None = None,
    gamma: Number = 0.99,
    lambda_: Number = 0.95,
    block: int = 25,
) -> Evaluate:
    """Measures watched agents, and what scores want to know of them, in the same episodes.

    Args:
        rule: `watched(..., critic)`.
        environment: Where.
        critic: What its agents are watched by.
        success: A family's `success`; None where it does not say.
        episodes: Episodes per agent, at least 1.
        measure: What says the mean return in place of these episodes, such as `lifetime.exact`.
        gamma: Discount of the advantages, in [0, 1].
        lambda_: Their decay, in [0, 1].
        block: Steps whose random words are drawn at once.

    Returns:
        An `Evaluate` whose outcomes have signals.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}.")
    play = _player(rule, environment, critic, episodes=episodes, block=block)
    wins = success or (lambda level, total: jnp.array(False))

    def evaluate(key, agent, level, wanted):
        play_key, measure_key = jax.random.split(key)
        steps = play(play_key, agent, level, wanted)
        total = jnp.sum(steps.reward, axis=0)
        solved = jnp.mean(jax.vmap(wins, (None, 0))(level, total), dtype=jnp.float32)
        signals = _signals(steps, total, solved, gamma=gamma, lambda_=lambda_)
        if measure is not None:
            return measure(measure_key, agent, level, wanted)._replace(signals=signals)
        error = jnp.std(total, ddof=1) / jnp.sqrt(jnp.float32(episodes)) if episodes > 1 else jnp.zeros((), jnp.float32)
        return Outcome(jnp.mean(total), error, signals)

    return evaluate


def _signals(steps: _Steps, total: jax.Array, solved: jax.Array, *, gamma: Number, lambda_: Number) -> Signals:
    """Means over the steps that were played."""
    advantage = advantages(steps, steps.value, steps.next_value, gamma=gamma, lambda_=lambda_)
    count = jnp.maximum(jnp.sum(steps.played, dtype=jnp.float32), 1.0)

    def mean(values):
        return jnp.sum(jnp.where(steps.played, values, 0.0)) / count

    return Signals(jnp.max(total), solved, mean(steps.value), mean(jnp.abs(advantage)), mean(jnp.maximum(advantage, 0.0)))


def _player(rule: UpdateRule, environment: Environment, critic: Critic, *, episodes: int, block: int):
    """`(key, agent, level, wanted) -> _Steps`, whole episodes from reset; stops once none of them goes on."""
    spec = environment.spec
    reset = jax.vmap(environment.reset, (1, None))
    step = jax.vmap(environment.step, (1, None, 0, 0))
    blocks = -(-spec.episode_limit // block)

    def values(agent, timestep):
        return jax.vmap(critic.value, (None, 0, 0))(agent.critic, timestep.observation, timestep.time)

    def advance(agent, level, now, noise):
        state, before, running = now
        logits = jax.vmap(rule.policy, (None, 0, 0))(agent, before.observation, before.time)
        following = step(noise[1:], level, state, jax.vmap(act)(noise[0], logits))
        state, after = tree_where(running, following, (state, before))
        value, next_value = values(agent, before), values(agent, after)
        reward = jnp.where(jax.vmap(playable)(logits), after.reward, jnp.nan)
        row = _Steps(reward, value, next_value, after.terminated, after.truncated, running)
        going = running & ~(after.terminated | after.truncated)
        return (state, after, going), jax.tree.map(lambda leaf: jnp.where(running, leaf, jnp.zeros_like(leaf)), row)

    def play(key, agent, level, wanted):
        reset_key, step_key = jax.random.split(key)

        def body(now):
            number, episode, rows = now
            noise = words(jax.random.fold_in(step_key, number), block, 1 + spec.noise, episodes)
            episode, more = jax.lax.scan(lambda e, noise: advance(agent, level, e, noise), episode, noise)
            return number + 1, episode, jax.tree.map(lambda old, new: old.at[number].set(new), rows, more)

        start = (*reset(words(reset_key, spec.reset_noise, episodes), level), jnp.broadcast_to(wanted, (episodes,)))
        row = jax.eval_shape(lambda: advance(agent, level, start, jnp.zeros((1 + spec.noise, episodes), jnp.uint32))[1])
        empty = jax.tree.map(lambda leaf: jnp.zeros((blocks, block, *leaf.shape), leaf.dtype), row)
        rows = jax.lax.while_loop(lambda now: jnp.any(now[1][2]), body, (jnp.zeros((), jnp.int32), start, empty))[2]
        return jax.tree.map(lambda leaf: leaf.reshape(blocks * block, episodes), rows)

    return play
