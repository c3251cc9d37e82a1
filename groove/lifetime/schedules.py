"""What a rule does at each age: how agents change over a life, and what it makes of one rollout when young and when old."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from groove.base import Clock, Info, Rollout, Theta, UpdateRule
from groove.lifetime import Lifetime
from groove.nets.agents import Parameters
from groove.nets.categorical import divergence
from groove.rules import dpo_drift, lpo_drift, ppo_drift
from groove.rules.horizon import Horizon
from levels.base import Level

SEED = 71_993
"""Of the levels and the chance of what follows."""
LEVELS = 16
AGES = 11
"""Points of a life at which the same rollout is shown to the rule, and at which agents are measured: n/N from 0 to 1."""
LEARNED = "LPO"
"""The name of drifts that are not written by hand."""
RATIOS = np.linspace(0.4, 1.6, 121, dtype=np.float32)
"""Where drifts are drawn: probabilities now over those of the policy that played."""


class LifeCurve(NamedTuple):
    """Agents over a lifetime of N updates, means over agents and levels; errors are the standard errors of means."""

    lifetime: int
    entropy: np.ndarray  # f32[N]; of the policy after update n, in nats
    step: np.ndarray  # f32[N]; KL(policy before || after update n), mean over the rollout, in nats
    reward: np.ndarray  # f32[N]; of a step of update n's rollout
    age: np.ndarray  # f32[P]; n / N, where returns were measured
    episode_return: np.ndarray  # f32[P]; of an episode
    entropy_error: np.ndarray  # f32[N]; NaN of a single agent
    step_error: np.ndarray  # f32[N]
    return_error: np.ndarray  # f32[P]


class Response(NamedTuple):
    """What LPG asks of the same agents on the same rollouts, by age."""

    lifetime: int
    age: np.ndarray  # f32[P]; n / N
    pi_hat: np.ndarray  # f32[P]; mean |pi_hat|
    target_entropy: np.ndarray  # f32[P]; mean entropy of y_hat, in nats


class DriftCurve(NamedTuple):
    """A drift function and its slope, for advantages of +1 and -1."""

    name: str
    age: float  # n / N; NaN for one that does not know it
    advantage: float
    value: np.ndarray  # f32[RATIOS]
    slope: np.ndarray  # f32[RATIOS]; in r
    lifetime: int = 0  # N, where the same age of other lives gives another drift; 0 where it does not


def lifetimes(low: int, high: int) -> list[int]:
    """The ends of a range of lifetimes and their geometric mean; of a single one, also half of it and its double."""
    if low == high:
        return sorted({max(1, low // 2), low, 2 * low})
    return sorted({low, round(math.sqrt(low * high)), high})


def life_curves(
    rule: UpdateRule, life: Lifetime, key: jax.Array, theta: Theta, levels: Level, lifetimes: Sequence[int]
) -> list[LifeCurve]:
    """Lives of untrained agents, one on each level, for each lifetime; the same words for all lifetimes.

    Args:
        rule: Any.
        life: How its agents live.
        key: Of all chance.
        theta: The rule's parameters.
        levels: [B, ...].
        lifetimes: The values of N, at least 1 each.
    """
    longest, keys = max(lifetimes), jax.random.split(key, jax.tree.leaves(levels)[0].shape[0])

    @jax.jit
    def everyone(keys, levels, lifetime, wanted):
        rows = jax.vmap(lambda key, level: _course(rule, life, key, theta, level, lifetime, wanted))(keys, levels)
        means = jax.tree.map(lambda values: jnp.mean(values, axis=0), rows)
        return means, jax.tree.map(lambda values: jnp.std(values, axis=0, ddof=1) / jnp.sqrt(values.shape[0]), rows)

    found = []
    for lifetime in lifetimes:
        points = np.unique(np.round(np.linspace(0, lifetime, AGES)).astype(int))
        wanted = jnp.zeros(longest + 1, bool).at[points].set(True)
        (rows, reached), (errors, spread) = jax.device_get(everyone(keys, levels, jnp.int32(lifetime), wanted))
        entropy, step, reward = (rows[name][:lifetime] for name in ("entropy", "step", "reward"))
        age = (points / lifetime).astype(np.float32)
        apart = (errors["entropy"][:lifetime], errors["step"][:lifetime], spread[points])
        found.append(LifeCurve(lifetime, entropy, step, reward, age, reached[points], *apart))
    return found


def _course(
    rule: UpdateRule, life: Lifetime, key: jax.Array, theta: Theta, level: Level, lifetime: jax.Array, wanted: jax.Array
) -> tuple[Info, jax.Array]:
    """One agent's updates, f32[longest] each, and its returns f32[longest + 1] before each and at the end, where wanted."""
    begin_key, life_key, measure_key = jax.random.split(key, 3)

    def measure(agent, n):
        return life.evaluate(jax.random.fold_in(measure_key, n), agent, level, wanted[n]).episode_return

    def update(member, n):
        reached = measure(member.agent, n)
        after, rollout, _ = life.update(jax.random.fold_in(life_key, n), theta, member, level)
        seen = {
            "entropy": rule.diagnose(after.agent, rollout)["entropy"],
            "step": _divergence(rule.policy, member.agent, after.agent, rollout),
            "reward": jnp.mean(rollout.reward),
        }
        return after, (seen, reached)

    longest = wanted.size - 1
    member = life.begin(begin_key, level, lifetime)
    member, (rows, reached) = jax.lax.scan(update, member, jnp.arange(longest, dtype=jnp.int32))
    return rows, jnp.append(reached, measure(member.agent, longest))


def _divergence(policy: Callable, before: chex.ArrayTree, after: chex.ArrayTree, rollout: Rollout) -> jax.Array:
    """Mean KL(before || after) over the rollout's observations: f32[]."""
    over = jax.vmap(jax.vmap(policy, (None, 0, 0)), (None, 0, 0))
    old, new = (over(agent, rollout.observation, rollout.time) for agent in (before, after))
    return jnp.maximum(jnp.mean(divergence(old, new)), 0.0)  # rounding may take it below


def responses(
    rule: UpdateRule, life: Lifetime, key: jax.Array, theta: Theta, levels: Level, lifetimes: Sequence[int]
) -> list[Response]:
    """LPG's answers to fixed rollouts: of agents halfway through a life of the shortest lifetime, one on each level.

    Args:
        rule: LPG, whatever its horizon inputs.
        life: How its agents live.
        key: Of all chance.
        theta: The rule's parameters.
        levels: [B, ...].
        lifetimes: The values of N to ask for.
    """
    age = np.linspace(0, 1, AGES, dtype=np.float32)
    count, shortest = jax.tree.leaves(levels)[0].shape[0], min(lifetimes)
    probe_key, ask_key = jax.random.split(key)

    def probe(key, level):
        begin_key, life_key, rollout_key = jax.random.split(key, 3)

        def update(n, member):
            return life.update(jax.random.fold_in(life_key, n), theta, member, level)[0]

        born = life.begin(begin_key, level, jnp.int32(shortest))
        grown = jax.lax.fori_loop(0, max(1, shortest // 2), update, born)
        return grown.agent, life.rollout(rollout_key, grown, level)[1]

    def ask(agent, rollout, update, lifetime) -> Info:
        return rule.update(ask_key, theta, agent, rollout, Clock(update, lifetime))[1]

    agents, rollouts = jax.jit(jax.vmap(probe))(jax.random.split(probe_key, count), levels)
    everyone = jax.jit(jax.vmap(jax.vmap(ask, (0, 0, None, None)), (None, None, 0, None)))
    found = []
    for lifetime in lifetimes:
        updates = np.minimum(np.round(age * lifetime), lifetime - 1).astype(np.int32)
        info = everyone(agents, rollouts, updates, jnp.int32(lifetime))
        different, first = np.unique(updates, return_index=True)
        means = [np.asarray(jnp.mean(info[name], axis=1))[first] for name in ("pi_hat_size", "y_hat_entropy")]
        found.append(Response(lifetime, (different / lifetime).astype(np.float32), *means))
    return found


def drifts(theta: Parameters, horizon: Horizon, *, lifetime: int, ppo_start: bool = False) -> list[DriftCurve]:
    """LPO's drift at the beginning, in the middle and at the end of a lifetime, and those of PPO and DPO.

    Where equal ages of unequal lives mean different drifts, there are also those of a life of half the length.

    Args:
        theta: LPO's parameters.
        horizon: What its drift knows of the lifetime.
        lifetime: N, at least 2; an odd one counts as one less, so that it has a middle.
        ppo_start: As in `rules.lpo`.
    """

    def age(half: int, update: int) -> jax.Array:
        return horizon(Clock(jnp.int32(update), jnp.int32(2 * half)))

    def learned(known: jax.Array):
        return lambda ratio, advantage: lpo_drift(theta, ratio, advantage, known, ppo_start=ppo_start)

    half = lifetime // 2
    told, quarter = age(half, half), half // 2
    lives = [half, quarter] if quarter and not np.array_equal(told, age(quarter, quarter)) else [half]
    functions = [
        (LEARNED, u / (2 * h) if told.size else math.nan, 2 * h if len(lives) > 1 else 0, learned(age(h, u)))
        for h in lives
        for u in ((0, h, 2 * h) if told.size else (0,))
    ]
    functions += [("PPO", math.nan, 0, ppo_drift), ("DPO", math.nan, 0, dpo_drift)]
    return [
        DriftCurve(name, age, advantage, *_curve(function, advantage), life)
        for name, age, life, function in functions
        for advantage in (1.0, -1.0)
    ]


def _curve(function: Callable, advantage: float) -> tuple[np.ndarray, np.ndarray]:
    """A drift and its slope at `RATIOS`."""
    value, slope = jax.vmap(jax.value_and_grad(lambda ratio: function(ratio, jnp.float32(advantage))))(jnp.asarray(RATIOS))
    return np.asarray(value), np.asarray(slope)
