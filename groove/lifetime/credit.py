"""What LPG's push is made of: the rewards that it credits to an action, and the advantage that it resembles."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from groove.base import Agent, Clock, Rollout, Theta
from groove.base.ranges import Number
from groove.lifetime.life import Lifetime
from groove.nets.agents import TrainState
from groove.nets.critic import Critic
from levels.base import Level

AGES = (0.0, 0.5, 1.0)
"""n / N at which the same rollouts are shown to the rule: the first update of a life, its middle, its last."""
SHOWN = 400
"""Most steps whose push and advantage are kept, to be drawn."""


class Credit(NamedTuple):
    """How pi_hat answers rewards, and how it compares with an advantage, on the same rollouts at several ages."""

    lifetime: int  # N
    decay: float  # gamma lambda of the advantage: what GAE would credit a reward one step later with
    age: np.ndarray  # f32[A]; n / N
    profile: np.ndarray  # f32[A, T]; mean d pi_hat_t / d r_{t+k} for k = 0 .. T - 1; NaN where no episode is that long
    correlation: np.ndarray  # f32[A]; of pi_hat with the advantage, over all steps; NaN where one of them is constant
    advantage: np.ndarray  # f32[S]; of some of these steps
    push: np.ndarray  # f32[A, S]; pi_hat of the same


def profile(push: Callable[[jax.Array], jax.Array], rollout: Rollout) -> tuple[jax.Array, jax.Array]:
    """By k, the sum of d push_t / d r_{t+k} over the pairs of steps of one episode that are k apart, and how many there are.

    Args:
        push: `(reward f32[T, E]) -> f32[T, E]`, in which environments do not meet.
        rollout: Of which rewards and ends of episodes count.

    Returns:
        f32[T] and f32[T].
    """
    steps = rollout.reward.shape[0]
    number = jnp.arange(steps)
    ended = rollout.ended.astype(jnp.int32)
    episode = jnp.cumsum(ended, axis=0) - ended

    _, pull_back = jax.vjp(push, rollout.reward)

    def add(sums, now):
        (slope,) = pull_back(jnp.zeros_like(rollout.reward).at[now].set(1.0))  # in the rewards of all steps
        pairs = (episode == episode[now][None]) & (number >= now)[:, None]
        of_step = jnp.sum(jnp.where(pairs, slope, 0.0), axis=1), jnp.sum(pairs, axis=1).astype(jnp.float32)
        apart = jnp.maximum(number - now, 0)  # steps before this one add nothing
        return tuple(total.at[apart].add(values) for total, values in zip(sums, of_step, strict=True)), None

    nothing = jnp.zeros(steps, jnp.float32)
    return jax.lax.scan(add, (nothing, nothing), number)[0]


def watched(
    life: Lifetime, critic: Critic, key: jax.Array, theta: Theta, level: Level, lifetime: jax.Array, updates: Number
) -> tuple[Agent, TrainState, Rollout]:
    """An agent after some updates of its life, a critic that learned from their rollouts, and the next rollout."""
    begin_key, critic_key, life_key, rollout_key = jax.random.split(key, 4)

    def update(n, both):
        member, learner = both
        member, rollout, _ = life.update(jax.random.fold_in(life_key, n), theta, member, level)
        return member, critic.update(learner, rollout, critic.advantage(learner, rollout)[1])[0]

    born = life.begin(begin_key, level, lifetime), critic.init(critic_key)
    member, learner = jax.lax.fori_loop(0, updates, update, born)
    return member.agent, learner, life.rollout(rollout_key, member, level)[1]


def credit(
    answers: Callable[[Theta, Agent, Rollout, Clock], tuple[jax.Array, jax.Array]],
    life: Lifetime,
    critic: Critic,
    key: jax.Array,
    theta: Theta,
    levels: Level,
    *,
    lifetime: int,
    decay: float,
) -> Credit:
    """Shows rollouts of agents halfway through their lives, one on each level, to LPG at each of `AGES`.

    Args:
        answers: What LPG asks of agents, as `groove.rules.lpg_answers` makes it.
        life: How its agents live.
        critic: Learns beside each agent, and says its advantages.
        key: Of all chance.
        theta: The rule's parameters.
        levels: [B, ...].
        lifetime: N, at least 1.
        decay: gamma lambda of the critic's advantages, to be kept with them.
    """
    count = jax.tree.leaves(levels)[0].shape[0]
    updates = np.minimum(np.round(np.array(AGES) * lifetime), lifetime - 1).astype(np.int32)

    def grown(key, level):
        agent, learner, rollout = watched(life, critic, key, theta, level, jnp.int32(lifetime), max(1, lifetime // 2))
        return agent, rollout, critic.advantage(learner, rollout)[0]

    def asked(agent, rollout, update):
        def push(reward):
            return answers(theta, agent, rollout._replace(reward=reward), Clock(update, jnp.int32(lifetime)))[0]

        return push(rollout.reward), *profile(push, rollout)

    @jax.jit
    def everyone(keys, levels, updates):
        agents, rollouts, advantage = jax.vmap(grown)(keys, levels)
        rows = jax.vmap(jax.vmap(asked, (0, 0, None)), (None, None, 0))(agents, rollouts, updates)
        return advantage, *rows

    advantage, push, sums, pairs = jax.device_get(everyone(jax.random.split(key, count), levels, updates))
    with np.errstate(invalid="ignore", divide="ignore"):
        profiles = sums.sum(axis=1) / pairs.sum(axis=1)
        flat = push.reshape(len(AGES), -1)
        correlation = np.array([np.corrcoef(row, advantage.ravel())[0, 1] for row in flat])
    some = np.linspace(0, advantage.size - 1, min(SHOWN, advantage.size)).astype(int)
    age = (updates / lifetime).astype(np.float32)
    return Credit(lifetime, decay, age, profiles, correlation, advantage.ravel()[some], flat[:, some])
