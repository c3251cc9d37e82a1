"""Small edits of a grid, one at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from levels.base import words
from levels.gridworld.generator import Ranges, is_valid, log_integer, log_uniform
from levels.gridworld.level import GridLevel, canonical, choose, inside, occupied, used

CANDIDATES = 8
"""Edits tried at once; the first that gives another valid level is taken."""


def mutate(key: jax.Array, level: GridLevel, ranges: Ranges, episode_limit: int) -> GridLevel:
    """One edit of a valid level, valid again.

    The kind of edit is uniform over: a wall set or removed, an object moved, added, removed, a kind's reward, termination or
    respawn probability redrawn, the start moved, the limit redrawn. Edits that do not apply or would leave no object within
    reach are drawn again, up to eight times; if all fail, the level comes back as it was.
    """
    edits = edits_within(ranges)

    def candidate(candidate_key: jax.Array) -> GridLevel:
        which_key, edit_key = jax.random.split(candidate_key)
        which = jax.random.randint(which_key, (), 0, len(edits))
        return canonical(jax.lax.switch(which, edits, edit_key, level))

    candidates = jax.vmap(candidate)(jax.random.split(key, CANDIDATES))
    good = jax.vmap(lambda other: is_valid(other, ranges, episode_limit) & differ(other, level))(candidates)
    first = jnp.argmax(good)
    return jax.tree.map(lambda new, old: jnp.where(good[first], new[first], old), candidates, level)


def differ(a: GridLevel, b: GridLevel) -> jax.Array:
    """Whether two levels differ in any field, bool[]."""
    return jnp.any(jnp.stack([jnp.any(mine != other) for mine, other in zip(a, b, strict=True)]))


def edits_within(ranges: Ranges) -> list[Callable[[jax.Array, GridLevel], GridLevel]]:
    """All edits, as functions of a key and a level; new numbers come from `ranges`."""

    def reward(key: jax.Array, level: GridLevel) -> GridLevel:
        return redraw_reward(key, level, ranges)

    def terminate(key: jax.Array, level: GridLevel) -> GridLevel:
        pick_key, value_key = jax.random.split(key)
        value = log_uniform(jax.random.uniform(value_key, dtype=jnp.float32), ranges.terminate)
        return level._replace(terminate=jnp.where(kin(level, random_object(pick_key, level)), value, level.terminate))

    def respawn(key: jax.Array, level: GridLevel) -> GridLevel:
        pick_key, value_key = jax.random.split(key)
        value = log_uniform(jax.random.uniform(value_key, dtype=jnp.float32), ranges.respawn)
        return level._replace(respawn=jnp.where(kin(level, random_object(pick_key, level)), value, level.respawn))

    def limit(key: jax.Array, level: GridLevel) -> GridLevel:
        return level._replace(limit=log_integer(jax.random.uniform(key, dtype=jnp.float32), ranges.limit))

    def add(key: jax.Array, level: GridLevel) -> GridLevel:
        return add_object(key, level, ranges)

    return [toggle_wall, move_object, add, remove_object, reward, terminate, respawn, move_start, limit]


def toggle_wall(key: jax.Array, level: GridLevel) -> GridLevel:
    """Sets or removes a wall on a cell that holds nothing else."""
    cell = choose(words(key), (inside(level) & ~occupied(level)).reshape(-1))
    walls = level.walls.reshape(-1)
    return level._replace(walls=walls.at[cell].set(~walls[cell]).reshape(level.walls.shape))


def move_object(key: jax.Array, level: GridLevel) -> GridLevel:
    """Moves an object to a free cell."""
    pick_key, cell_key = jax.random.split(key)
    return level._replace(cell=level.cell.at[random_object(pick_key, level)].set(free_cell(cell_key, level)))


def add_object(key: jax.Array, level: GridLevel, ranges: Ranges) -> GridLevel:
    """Adds an object of a new kind; a level that is full stays as it is."""
    cell_key, number_key = jax.random.split(key)
    u = jax.random.uniform(number_key, (3,), jnp.float32)
    count = jnp.sum(used(level), dtype=jnp.int32)
    slot = (jnp.arange(level.kind.size, dtype=jnp.int32) == count) & (count < ranges.number[1])
    return level._replace(
        cell=jnp.where(slot, free_cell(cell_key, level), level.cell),
        kind=jnp.where(slot, jnp.max(level.kind) + 1, level.kind),
        reward=jnp.where(slot, ranges.reward[0] + u[0] * (ranges.reward[1] - ranges.reward[0]), level.reward),
        terminate=jnp.where(slot, log_uniform(u[1], ranges.terminate), level.terminate),
        respawn=jnp.where(slot, log_uniform(u[2], ranges.respawn), level.respawn),
    )


def remove_object(key: jax.Array, level: GridLevel) -> GridLevel:
    """Removes an object other than the first, whose reward is the one that is not negative."""
    later = used(level).at[0].set(False)
    gone = (jnp.arange(later.size, dtype=jnp.int32) == choose(words(key), later)) & later
    return level._replace(kind=jnp.where(gone, -1, level.kind))


def redraw_reward(key: jax.Array, level: GridLevel, ranges: Ranges) -> GridLevel:
    """Redraws the reward of one kind; that of the first object stays not negative."""
    pick_key, value_key = jax.random.split(key)
    chosen = kin(level, random_object(pick_key, level))
    low = jnp.where(chosen[0], max(ranges.reward[0], 0.0), ranges.reward[0]).astype(jnp.float32)
    value = low + jax.random.uniform(value_key, dtype=jnp.float32) * (ranges.reward[1] - low)
    return level._replace(reward=jnp.where(chosen, value, level.reward))


def move_start(key: jax.Array, level: GridLevel) -> GridLevel:
    """Moves the start to a free cell."""
    return level._replace(start=free_cell(key, level))


def random_object(key: jax.Array, level: GridLevel) -> jax.Array:
    """The index i32[] of an object, each as likely."""
    return choose(words(key), used(level))


def free_cell(key: jax.Array, level: GridLevel) -> jax.Array:
    """A cell i32[] without wall, object or start, each as likely; 0 if there is none."""
    return choose(words(key), ~(level.walls | occupied(level)).reshape(-1))


def kin(level: GridLevel, index: jax.Array) -> jax.Array:
    """Which objects are of the same kind as object `index`, bool[M]."""
    return level.kind == level.kind[index]
