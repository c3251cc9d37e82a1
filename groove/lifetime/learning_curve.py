"""What a rule's untrained agents reach on tasks, and how one of them walks."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove.base import Agent, Outcome, Theta, UpdateRule
from groove.lifetime import Lifetime, act, whole_life
from levels.base import Environment, Family, Level, State, words


def returns(
    life: Lifetime,
    key: jax.Array,
    theta: Theta,
    levels: Level,
    lifetimes: jax.Array,
    *,
    agents: int,
    block: int = 64,
) -> jax.Array:
    """Mean episode returns f32[tasks, agents] of untrained agents that live their whole lives on each task.

    Args:
        life: How the rule's agents live and are measured.
        key: Consumed.
        theta: Of the rule.
        levels: [tasks, ...].
        lifetimes: i32[tasks].
        agents: Agents per task.
        block: Tasks at once, to bound memory; changes no number but by rounding.
    """

    def one(key, level, lifetime):
        return whole_life(life, jax.random.split(key), theta, level, lifetime).episode_return

    def task(row):
        return jax.vmap(one, (0, None, None))(*row)

    keys = jax.random.split(key, (lifetimes.size, agents))
    return jax.lax.map(task, (keys, levels, lifetimes), batch_size=min(block, lifetimes.size))


def learning_curves(
    life: Lifetime,
    key: jax.Array,
    theta: Theta,
    levels: Level,
    points: jax.Array,
    *,
    agents: int,
    first: jax.Array | int = 0,
    block: int = 64,
) -> Outcome:
    """Learning curves: outcomes f32[tasks, agents, points] of untrained agents that live on each task.

    Measuring an agent does not touch it: what is measured at one point does not depend on which others there are. The loop
    over updates is the same for all agents, so nothing is computed for lives that are over.

    Args:
        life: How the rule's agents live and are measured.
        key: Consumed. An agent's numbers depend on its task's place and on its own, not on how many there are of either.
        theta: Of the rule.
        levels: [tasks, ...].
        points: i32[points], increasing; updates after which to measure. The last one is the lifetime of all.
        agents: Agents per task.
        first: The place of the first task, where a long list is lived in parts.
        block: Agents at once, to bound memory; changes no number but by rounding.
    """

    def one(row):
        key, place = row
        level = jax.tree.map(lambda leaf: leaf[place], levels)
        begin_key, life_key, measure_key = jax.random.split(key, 3)

        def update(n, member):
            return life.update(jax.random.fold_in(life_key, n), theta, member, level)[0]

        def to_point(now, point):
            member = jax.lax.fori_loop(now[0], point, update, now[1])
            measured = life.evaluate(jax.random.fold_in(measure_key, point), member.agent, level, jnp.array(True))
            return (point, member), measured._replace(signals=())

        start = (jnp.zeros_like(points[0]), life.begin(begin_key, level, points[-1]))
        return jax.lax.scan(to_point, start, points)[1]

    tasks = jax.tree.leaves(levels)[0].shape[0]
    place, number = (axis.reshape(-1) for axis in jnp.indices((tasks, agents), jnp.int32))
    keys = jax.vmap(lambda task, agent: jax.random.fold_in(jax.random.fold_in(key, task), agent))(first + place, number)
    found = jax.lax.map(one, (keys, place), batch_size=math.gcd(block, tasks * agents))
    return jax.tree.map(lambda leaf: leaf.reshape(tasks, agents, *leaf.shape[1:]), found)


def optima(family: Family, levels: Level) -> jax.Array:
    """The exact optimum of each level, f32[tasks]; NaN where the family does not know it."""
    if family.optimum is None:
        return jnp.full(jax.tree.leaves(levels)[0].shape[0], jnp.nan, jnp.float32)
    return jax.lax.map(family.optimum, levels)


class Walk(NamedTuple):
    """One episode, step by step. Leading axis [steps + 1]."""

    state: State  # PyTree; of the environment
    total: jax.Array  # f32; return so far
    running: jax.Array  # bool; the episode had not ended yet


def walk(rule: UpdateRule, environment: Environment, key: jax.Array, agent: Agent, level: Level, *, steps: int) -> Walk:
    """An agent's first `steps` steps of an episode under its sampled policy; states stay as they are once it ended."""
    reset_key, step_key = jax.random.split(key)
    spec = environment.spec
    state, timestep = environment.reset(words(reset_key, spec.reset_noise), level)
    start = Walk(state, timestep.reward, jnp.array(True))

    def step(now, noise):
        walked, timestep = now
        action = act(noise[0], rule.policy(agent, timestep.observation, timestep.time))
        state, after = environment.step(noise[1:], level, walked.state, action)
        ended = after.terminated | after.truncated
        following = (Walk(state, walked.total + after.reward, ~ended), after)
        chosen = jax.tree.map(lambda new, old: jnp.where(walked.running, new, old), following, now)
        return chosen, chosen[0]

    rows = jax.lax.scan(step, (start, timestep), words(step_key, steps, 1 + spec.noise))[1]
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, rows)
