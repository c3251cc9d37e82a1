"""Where grids come from: random levels, levels decoded from vectors, and what makes a level valid."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from levels.base import words
from levels.gridworld.level import (
    GridLevel,
    canonical,
    choose,
    distance_to_objects,
    distances,
    inside,
    neighbours,
    occupied,
    used,
)


class Ranges(NamedTuple):
    """What random grids are drawn from. Pairs are (lowest, highest)."""

    height: int  # H, of the padding
    width: int  # W, of the padding
    objects: int  # M, entries of the object arrays
    side: tuple[int, int]
    square: bool
    number: tuple[int, int]  # of objects
    reward: tuple[float, float]  # uniform; the first object's is not negative
    terminate: tuple[float, float]  # log-uniform
    respawn: tuple[float, float]  # log-uniform
    limit: tuple[int, int]  # log-uniform
    walls: int  # cells of the padding drawn to be walls


class Settings(NamedTuple):
    """A level but for its layout."""

    height: jax.Array  # i32[]
    width: jax.Array  # i32[]
    number: jax.Array  # i32[]; of objects
    limit: jax.Array  # i32[]
    reward: jax.Array  # f32[M]
    terminate: jax.Array  # f32[M]
    respawn: jax.Array  # f32[M]


def dimensions(ranges: Ranges) -> int:
    """The length of the vector that a level is decoded from: side or sides, number, limit, layout, and three an object."""
    return (4 if ranges.square else 5) + 3 * ranges.objects


def sample(key: jax.Array, ranges: Ranges) -> GridLevel:
    """A random level."""
    number_key, layout_key = jax.random.split(key)
    vector = jax.random.uniform(number_key, (dimensions(ranges),), jnp.float32)
    return build(numbers(vector, ranges), layout_key, ranges)


def decode(vector: jax.Array, ranges: Ranges) -> GridLevel:
    """The level of a vector f32[d] in [0, 1]: inverse distribution functions, and one coordinate that seeds the layout.

    A uniform vector gives the distribution of `sample`.
    """
    vector = jnp.clip(vector.astype(jnp.float32), 0.0, 1.0)
    layout = jnp.floor(vector[3] * jnp.float32(2**24)).astype(jnp.uint32)
    return build(numbers(vector, ranges), jax.random.fold_in(jax.random.key(0), layout), ranges)


def numbers(vector: jax.Array, ranges: Ranges) -> Settings:
    """Maps uniform numbers f32[d] to the numbers of a level."""
    shared = 4 if ranges.square else 5
    reward, terminate, respawn = jnp.split(vector[shared:], 3)
    height = integer(vector[0], ranges.side)
    width = height if ranges.square else integer(vector[4], ranges.side)
    return Settings(
        height=jnp.minimum(height, ranges.height),
        width=jnp.minimum(width, ranges.width),
        number=integer(vector[1], ranges.number),
        limit=log_integer(vector[2], ranges.limit),
        reward=rewards(reward, ranges.reward),
        terminate=log_uniform(terminate, ranges.terminate),
        respawn=log_uniform(respawn, ranges.respawn),
    )


def integer(u: jax.Array, bounds: tuple[int, int]) -> jax.Array:
    """An integer within bounds i32[...], each as likely."""
    return jnp.minimum(bounds[0] + jnp.floor(u * (bounds[1] - bounds[0] + 1)).astype(jnp.int32), bounds[1])


def log_uniform(u: jax.Array, bounds: tuple[float, float]) -> jax.Array:
    """A number within bounds f32[...] whose logarithm is uniform."""
    low, high = math.log(bounds[0]), math.log(bounds[1])
    return jnp.clip(jnp.exp(low + u * (high - low)), bounds[0], bounds[1])


def log_integer(u: jax.Array, bounds: tuple[int, int]) -> jax.Array:
    """The integer part of a log-uniform number in [lowest, highest + 1), i32[...]."""
    real = log_uniform(u, (bounds[0], bounds[1] + 1))
    return jnp.clip(jnp.floor(real).astype(jnp.int32), bounds[0], bounds[1])


def rewards(u: jax.Array, bounds: tuple[float, float]) -> jax.Array:
    """Uniform rewards within bounds f32[M], the first of them from the part that is not negative."""
    low = jnp.full(u.shape, bounds[0], jnp.float32).at[0].set(max(bounds[0], 0.0))
    return low + u * (bounds[1] - low)


def build(chosen: Settings, key: jax.Array, ranges: Ranges) -> GridLevel:
    """Lays a level out: walls, start and objects at random, then repaired so that an object can be reached."""
    shape, entries = (ranges.height, ranges.width), jnp.arange(ranges.objects, dtype=jnp.int32)
    noise = words(key, 3, ranges.height * ranges.width)  # orders walls, then places; one more word for the repair
    count = jnp.minimum(chosen.number, chosen.height * chosen.width - 1)
    keep = entries < count
    blank = GridLevel(
        height=chosen.height,
        width=chosen.width,
        walls=jnp.zeros(shape, bool),
        start=jnp.int32(0),
        cell=jnp.zeros(ranges.objects, jnp.int32),
        kind=jnp.where(keep, entries, -1),
        reward=jnp.where(keep, chosen.reward, 0.0),
        terminate=jnp.where(keep, chosen.terminate, 0.0),
        respawn=jnp.where(keep, chosen.respawn, 0.0),
        limit=chosen.limit,
    )
    walls = random_walls(noise[0], inside(blank), ranges.walls, count)
    order = shuffled(noise[1], ~walls.reshape(-1))
    cells = jnp.where(keep, order[1 : ranges.objects + 1], 0)
    return repair(noise[2, 0], blank._replace(walls=walls, start=order[0], cell=cells))


def shuffled(noise: jax.Array, mask: jax.Array) -> jax.Array:
    """Indices i32[n] in random order, those where `mask` bool[n] first; `noise` u32[n] decides."""
    return jnp.argsort(jnp.where(mask, noise >> 1, noise | jnp.uint32(2**31))).astype(jnp.int32)


def random_walls(noise: jax.Array, grid: jax.Array, drawn: int, count: jax.Array) -> jax.Array:
    """Walls bool[H, W]: of `drawn` distinct cells of the padding those inside, leaving room for start and objects."""
    order = shuffled(noise, jnp.ones(grid.size, bool))[:drawn]
    hit = grid.reshape(-1)[order]
    room = jnp.sum(grid, dtype=jnp.int32) - 1 - count
    stand = hit & (jnp.cumsum(hit, dtype=jnp.int32) <= room)
    return ~grid | jnp.zeros(grid.size, bool).at[order].set(stand).reshape(grid.shape)


def repair(word: jax.Array, level: GridLevel) -> GridLevel:
    """Clears the neighbours of an enclosed start; if no object is in reach, moves object 0 to a random cell that is."""
    at_start = (jnp.arange(level.walls.size, dtype=jnp.int32) == level.start).reshape(level.walls.shape)
    beside = neighbours(at_start) & inside(level)
    enclosed = jnp.all(level.walls | ~beside)
    walls = level.walls & ~(beside & enclosed)
    reached = distances(walls, level.start).reshape(-1) >= 0
    lost = ~jnp.any(reached[level.cell] & used(level))
    near = choose(word, reached & ~at_start.reshape(-1))
    return level._replace(walls=walls, cell=level.cell.at[0].set(jnp.where(lost, near, level.cell[0])))


def is_valid(level: GridLevel, ranges: Ranges, episode_limit: int) -> jax.Array:
    """Whether a level keeps every rule of `GridLevel`, has a limit in [1, episode_limit] and an object within reach."""
    in_use = used(level)
    cells = level.walls.size
    probabilities = jnp.stack([level.terminate, level.respawn])
    sized = (level.height >= 1) & (level.height <= ranges.height) & (level.width >= 1) & (level.width <= ranges.width)
    numbered = jnp.all((level.kind >= -1) & (level.kind < ranges.objects) & (level.cell >= 0) & (level.cell < cells))
    placed = (level.start >= 0) & (level.start < cells) & ~level.walls.reshape(-1)[level.start]
    free = jnp.all(~in_use | ~level.walls.reshape(-1)[level.cell])
    distinct = jnp.sum(occupied(level), dtype=jnp.int32) == jnp.sum(in_use, dtype=jnp.int32) + 1
    finite = jnp.all(jnp.isfinite(level.reward)) & jnp.all((probabilities >= 0) & (probabilities <= 1))
    limited = (level.limit >= 1) & (level.limit <= episode_limit)
    reachable = jnp.any(distance_to_objects(level) >= 0)
    bounded = jnp.all(level.walls | inside(level))
    return (
        sized & numbered & placed & free & distinct & finite & limited & reachable & bounded & alike(level) & ordered(level)
    )


def alike(level: GridLevel) -> jax.Array:
    """Whether objects of one kind share reward and probabilities, bool[]."""
    same_kind = level.kind[:, None] == level.kind[None, :]
    attributes = jnp.stack([level.reward, level.terminate, level.respawn])
    same = jnp.all(attributes[:, :, None] == attributes[:, None, :], axis=0)
    return jnp.all(same | ~same_kind)


def ordered(level: GridLevel) -> jax.Array:
    """Whether the objects are in canonical order with unused entries zero, bool[]."""
    pairs = zip(level, canonical(level), strict=True)
    return jnp.all(jnp.stack([jnp.all(mine == other) for mine, other in pairs]))
