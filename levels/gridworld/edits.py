"""Small edits of a grid, one at a time. Each is a function of three random words u32[3] and a level."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from levels.base import uniform, words
from levels.gridworld.generator import Ranges, integer, is_valid, log_integer, log_uniform
from levels.gridworld.level import GridLevel, canonical, choose, inside, occupied, used

Edit = Callable[[jax.Array, GridLevel], GridLevel]

CANDIDATES = 8
"""Edits tried at once; the first that gives another valid level is taken."""


def mutate(key: jax.Array, level: GridLevel, ranges: Ranges, episode_limit: int) -> GridLevel:
    """One edit of a valid level, valid again.

    The kind of edit is uniform over: a wall set or removed, an object moved, added, removed, a kind's reward, termination or
    respawn probability redrawn, the start moved, the limit redrawn. Edits that do not apply or would leave no object within
    reach are drawn again, up to eight times; if all fail, the level comes back as it was.
    """
    edits = edits_within(ranges)

    def candidate(noise: jax.Array) -> GridLevel:
        which = integer(uniform(noise[0]), (0, len(edits) - 1))
        return canonical(jax.lax.switch(which, edits, noise[1:], level))

    candidates = jax.vmap(candidate)(words(key, CANDIDATES, 4))
    good = jax.vmap(lambda other: is_valid(other, ranges, episode_limit) & differ(other, level))(candidates)
    first = jnp.argmax(good)
    return jax.tree.map(lambda new, old: jnp.where(good[first], new[first], old), candidates, level)


def differ(a: GridLevel, b: GridLevel) -> jax.Array:
    """Whether two levels differ in any field, bool[]."""
    return jnp.any(jnp.stack([jnp.any(mine != other) for mine, other in zip(a, b, strict=True)]))


def edits_within(ranges: Ranges) -> list[Edit]:
    """All edits; new numbers come from `ranges`."""

    def add(noise: jax.Array, level: GridLevel) -> GridLevel:
        return add_object(noise, level, ranges)

    def remove(noise: jax.Array, level: GridLevel) -> GridLevel:
        return remove_object(noise, level, ranges)

    def reward(noise: jax.Array, level: GridLevel) -> GridLevel:
        return redraw_reward(noise, level, ranges)

    def terminate(noise: jax.Array, level: GridLevel) -> GridLevel:
        value = log_uniform(uniform(noise[1]), ranges.terminate)
        return level._replace(terminate=jnp.where(kin(level, noise[0]), value, level.terminate))

    def respawn(noise: jax.Array, level: GridLevel) -> GridLevel:
        value = log_uniform(uniform(noise[1]), ranges.respawn)
        return level._replace(respawn=jnp.where(kin(level, noise[0]), value, level.respawn))

    def limit(noise: jax.Array, level: GridLevel) -> GridLevel:
        return level._replace(limit=log_integer(uniform(noise[0]), ranges.limit))

    return [toggle_wall, move_object, add, remove, reward, terminate, respawn, move_start, limit]


def toggle_wall(noise: jax.Array, level: GridLevel) -> GridLevel:
    """Sets or removes a wall on a cell that holds nothing else."""
    cell = choose(noise[0], (inside(level) & ~occupied(level)).reshape(-1))
    walls = level.walls.reshape(-1)
    return level._replace(walls=walls.at[cell].set(~walls[cell]).reshape(level.walls.shape))


def move_object(noise: jax.Array, level: GridLevel) -> GridLevel:
    """Moves an object to a free cell."""
    return level._replace(cell=level.cell.at[choose(noise[0], used(level))].set(free_cell(noise[1], level)))


def move_start(noise: jax.Array, level: GridLevel) -> GridLevel:
    """Moves the start to a free cell."""
    return level._replace(start=free_cell(noise[0], level))


def add_object(noise: jax.Array, level: GridLevel, ranges: Ranges) -> GridLevel:
    """Adds an object of a kind of its own; a level with as many as `ranges` has stays as it is.

    The words choose its cell, its reward and, in halves, its two probabilities.
    """
    count = jnp.sum(used(level), dtype=jnp.int32)
    slot = (jnp.arange(level.kind.size, dtype=jnp.int32) == count) & (count < ranges.number[1])
    reward = ranges.reward[0] + uniform(noise[1]) * (ranges.reward[1] - ranges.reward[0])
    terminate, respawn = uniform(noise[2] & jnp.uint32(0xFFFF0000)), uniform(noise[2] << 16)
    return level._replace(
        cell=jnp.where(slot, free_cell(noise[0], level), level.cell),
        kind=jnp.where(slot, jnp.max(level.kind) + 1, level.kind),
        reward=jnp.where(slot, reward, level.reward),
        terminate=jnp.where(slot, log_uniform(terminate, ranges.terminate), level.terminate),
        respawn=jnp.where(slot, log_uniform(respawn, ranges.respawn), level.respawn),
    )


def remove_object(noise: jax.Array, level: GridLevel, ranges: Ranges) -> GridLevel:
    """Removes an object other than the first, whose reward is the one that is not negative.

    A level with as few as `ranges` has stays as it is.
    """
    later = used(level).at[0].set(False) & (jnp.sum(used(level), dtype=jnp.int32) > ranges.number[0])
    gone = (jnp.arange(later.size, dtype=jnp.int32) == choose(noise[0], later)) & later
    return level._replace(kind=jnp.where(gone, -1, level.kind))


def redraw_reward(noise: jax.Array, level: GridLevel, ranges: Ranges) -> GridLevel:
    """Redraws the reward of one kind; that of the first object stays not negative."""
    chosen = kin(level, noise[0])
    low = jnp.where(chosen[0], max(ranges.reward[0], 0.0), ranges.reward[0]).astype(jnp.float32)
    value = low + uniform(noise[1]) * (ranges.reward[1] - low)
    return level._replace(reward=jnp.where(chosen, value, level.reward))


def free_cell(word: jax.Array, level: GridLevel) -> jax.Array:
    """A cell i32[] without wall, object or start, each as likely; 0 if there is none."""
    return choose(word, ~(level.walls | occupied(level)).reshape(-1))


def kin(level: GridLevel, word: jax.Array) -> jax.Array:
    """Which objects are of the kind of one drawn at random, bool[M]."""
    return level.kind == level.kind[choose(word, used(level))]
