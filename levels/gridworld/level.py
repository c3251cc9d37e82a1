"""The level of a gridworld, its canonical form and the questions everyone asks of it."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from levels.base import LONGEST, uniform

LARGEST = float(np.finfo(np.float32).max)
"""No reward is larger."""


class GridLevel(NamedTuple):
    """One grid, padded to H × W cells and M objects; it lies in the upper left corner of the padding.

    A cell is numbered `row * W + column`. Objects stand in a canonical order, by kind and then by cell, with unused entries
    last and zero, so that equal levels have equal bytes.
    """

    height: jax.Array  # i32[]; rows in use, at most H
    width: jax.Array  # i32[]; columns in use, at most W
    walls: jax.Array  # bool[H, W]; True also outside the grid
    start: jax.Array  # i32[]; the agent's first cell
    cell: jax.Array  # i32[M]; where each object is; distinct, free, never the start; 0 where unused
    kind: jax.Array  # i32[M]; -1 where unused; equal kinds share reward and probabilities; 0, 1, 2, ... without gaps
    reward: jax.Array  # f32[M]; paid when collected
    terminate: jax.Array  # f32[M]; probability that collecting ends the episode
    respawn: jax.Array  # f32[M]; probability that it reappears, in each step that it was absent from
    limit: jax.Array  # i32[]; the longest episode in steps


class Thing(NamedTuple):
    """An object of a level written by hand."""

    cell: tuple[int, int]  # row, column
    kind: int
    reward: float
    terminate: float
    respawn: float


def used(level: GridLevel) -> jax.Array:
    """Which entries of the object arrays are objects, bool[M]."""
    return level.kind >= 0


def inside(level: GridLevel) -> jax.Array:
    """Which cells of the padding belong to the grid, bool[H, W]."""
    height, width = level.walls.shape
    rows = jnp.arange(height, dtype=jnp.int32) < level.height
    columns = jnp.arange(width, dtype=jnp.int32) < level.width
    return rows[:, None] & columns[None, :]


def occupied(level: GridLevel) -> jax.Array:
    """Which cells hold an object or the start, bool[H, W]."""
    cells = jnp.arange(level.walls.size, dtype=jnp.int32)
    objects = (cells[:, None] == level.cell[None, :]) & used(level)[None, :]
    return (jnp.any(objects, axis=1) | (cells == level.start)).reshape(level.walls.shape)


def canonical(level: GridLevel) -> GridLevel:
    """The same level with its objects in canonical order, its kinds numbered without gaps and unused entries zero.

    Kinds keep their relative order.
    """
    kinds = jnp.arange(level.kind.shape[0], dtype=jnp.int32)
    present = jnp.any(level.kind[None, :] == kinds[:, None], axis=1)
    number = jnp.cumsum(present, dtype=jnp.int32) - 1
    in_use = used(level)
    kind = jnp.where(in_use, number[jnp.maximum(level.kind, 0)], -1)
    cells = level.walls.size
    order = jnp.argsort(jnp.where(in_use, kind * cells + level.cell, kinds.size * cells))
    keep = in_use[order]
    pick = lambda values: jnp.where(keep, values[order], jnp.zeros((), values.dtype))  # noqa: E731
    return level._replace(
        cell=pick(level.cell),
        kind=kind[order],
        reward=pick(level.reward),
        terminate=pick(level.terminate),
        respawn=pick(level.respawn),
    )


def choose(word: jax.Array, mask: jax.Array) -> jax.Array:
    """The index i32[] of a True entry of `mask` bool[n], each as likely; `word` u32[] decides. 0 if there is none."""
    count = jnp.cumsum(mask, dtype=jnp.int32)
    rank = jnp.floor(uniform(word) * count[-1].astype(jnp.float32)).astype(jnp.int32)
    return jnp.argmax(count > rank).astype(jnp.int32)


def neighbours(mask: jax.Array) -> jax.Array:
    """Cells with a True cell above, below, left or right of them, bool[H, W]."""
    padded = jnp.pad(mask, 1)
    return padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]


def distances(walls: jax.Array, start: jax.Array) -> jax.Array:
    """Steps from `start` i32[] to every cell around `walls` bool[H, W]: i32[H, W], -1 where there is no way."""
    at_start = (jnp.arange(walls.size, dtype=jnp.int32) == start).reshape(walls.shape)
    first = jnp.where(at_start, 0, -1).astype(jnp.int32)

    def spread(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        distance, step, _ = carry
        new = neighbours(distance >= 0) & (distance < 0) & ~walls
        return jnp.where(new, step, distance), step + 1, jnp.any(new)

    distance, _, _ = jax.lax.while_loop(lambda carry: carry[2], spread, (first, jnp.int32(1), jnp.bool_(True)))
    return distance


def distance_to_objects(level: GridLevel) -> jax.Array:
    """Steps from the start to each object, i32[M], -1 where it is out of reach or unused."""
    return jnp.where(used(level), distances(level.walls, level.start).reshape(-1)[level.cell], -1)


def grid_level(
    walls: Sequence[Sequence[bool]] | np.ndarray,
    things: Sequence[Thing],
    *,
    start: tuple[int, int],
    limit: int,
    height: int | None = None,
    width: int | None = None,
    objects: int | None = None,
) -> GridLevel:
    """Builds a level from plain Python, for grids written by hand.

    Args:
        walls: The map, True at walls, of the grid's own size.
        things: The objects, in any order; at least one.
        start: Row and column of the agent's first cell.
        limit: The longest episode in steps.
        height: Rows that the level is padded to; by default its own.
        width: Columns that the level is padded to; by default its own.
        objects: Entries for objects that the level is padded to; by default as many as it has.

    Raises:
        ValueError: Sizes do not fit, a cell is a wall, taken or outside, kinds disagree, a number is out of range.

    Example:
        >>> from levels.gridworld import Thing, grid_level
        >>> level = grid_level([[False] * 4] * 3, [Thing((0, 3), 0, 1.0, 0.5, 0.05)], start=(2, 0), limit=20)
        >>> int(level.cell[0]), int(level.start)
        (3, 8)
    """
    grid = np.asarray(walls, bool)
    if grid.ndim != 2 or grid.size == 0:
        raise ValueError(f"walls must be a map of rows and columns, got shape {grid.shape}.")
    rows, columns = height or grid.shape[0], width or grid.shape[1]
    capacity = objects or len(things)
    _check_sizes(grid.shape, (rows, columns), len(things), capacity, limit)
    _check_cells(grid, [("start", start)] + [(f"object {i}", thing.cell) for i, thing in enumerate(things)])
    _check_things(things)
    padded = np.ones((rows, columns), bool)
    padded[: grid.shape[0], : grid.shape[1]] = grid
    return _from_things(
        padded, grid.shape, sorted(things, key=lambda thing: (thing.kind, thing.cell)), start, limit, capacity
    )


def _from_things(
    walls: np.ndarray, size: tuple[int, ...], things: list[Thing], start: tuple[int, int], limit: int, capacity: int
) -> GridLevel:
    def column(values: list[float], dtype: type, fill: float) -> jax.Array:
        return jnp.asarray(np.array(values + [fill] * (capacity - len(values)), dtype))

    width = walls.shape[1]
    return GridLevel(
        height=jnp.int32(size[0]),
        width=jnp.int32(size[1]),
        walls=jnp.asarray(walls),
        start=jnp.int32(start[0] * width + start[1]),
        cell=column([thing.cell[0] * width + thing.cell[1] for thing in things], np.int32, 0),
        kind=column([thing.kind for thing in things], np.int32, -1),
        reward=column([thing.reward for thing in things], np.float32, 0.0),
        terminate=column([thing.terminate for thing in things], np.float32, 0.0),
        respawn=column([thing.respawn for thing in things], np.float32, 0.0),
        limit=jnp.int32(limit),
    )


def _check_sizes(size: tuple[int, ...], padded: tuple[int, int], count: int, capacity: int, limit: int) -> None:
    if size[0] > padded[0] or size[1] > padded[1]:
        raise ValueError(f"height and width must be at least those of the map, {size}, got {padded}.")
    if not 1 <= count <= capacity:
        raise ValueError(f"things must be between 1 and objects = {capacity}, got {count}.")
    if limit < 1:
        raise ValueError(f"limit must be at least 1 step, got {limit}.")
    if limit > LONGEST:
        raise ValueError(f"limit must be at most {LONGEST} steps, got {limit}.")


def _check_cells(grid: np.ndarray, cells: list[tuple[str, tuple[int, int]]]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for name, (row, column) in cells:
        if not (0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]):
            raise ValueError(f"the {name} must be inside the map of {grid.shape} cells, got {(row, column)}.")
        if grid[row, column]:
            raise ValueError(f"the {name} must be on a free cell, but {(row, column)} is a wall.")
        if (row, column) in taken:
            raise ValueError(f"the {name} must have its own cell, but {(row, column)} is that of the {taken[row, column]}.")
        taken[row, column] = name


def _check_things(things: Sequence[Thing]) -> None:
    kinds: dict[int, tuple[float, float, float]] = {}
    for thing in things:
        attributes = (thing.reward, thing.terminate, thing.respawn)
        if not (abs(thing.reward) <= LARGEST and 0 <= thing.terminate <= 1 and 0 <= thing.respawn <= 1):
            raise ValueError(f"things must have a finite reward and probabilities within [0, 1], got {thing}.")
        if kinds.setdefault(thing.kind, attributes) != attributes:
            raise ValueError(f"things of kind {thing.kind} must be alike, got {kinds[thing.kind]} and {attributes}.")
    if sorted(kinds) != list(range(len(kinds))):
        raise ValueError(f"kinds of things must be numbered 0, 1, 2, ... without gaps, got {sorted(kinds)}.")
