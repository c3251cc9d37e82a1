"""Tasks to be scored: samples of a generator, and edits of what there is."""

from collections.abc import Callable, Iterator

import chex
import jax
import numpy as np

from groove.curricula.source import Lifetimes
from groove.files.curriculumfile import Rows
from levels.base import Family, Level

BLOCK = 256
"""Levels made at once."""


def sampled(key: jax.Array, family: Family, lifetimes: Lifetimes, *, count: int) -> Rows:
    """New tasks, without scores yet (NaN). Task number s depends on the key and s alone, and has s as its serial.

    Args:
        key: Not to be used again.
        family: Whose generator samples levels.
        lifetimes: `(key) -> i32[]`, see `groove.curricula`.
        count: Tasks, at least 1.

    Raises:
        ValueError: `count` is less than 1.

    Example:
        >>> import jax, levels
        >>> from groove import curate, curricula
        >>> family = levels.gridworld.gridworld(height=4, width=4, objects=2)
        >>> rows = curate.sampled(jax.random.key(0), family, curricula.constant(20), count=3)
        >>> rows.level.walls.shape, rows.lifetime.tolist(), rows.serial.tolist()
        ((3, 4, 4), [20, 20, 20], [0, 1, 2])
    """
    if count < 1:
        raise ValueError(f"count must be at least 1 task, got {count}.")

    def one(number: jax.Array) -> tuple[Level, jax.Array]:
        level_key, lifetime_key = jax.random.split(jax.random.fold_in(key, number))
        return family.generator.sample(level_key), lifetimes(lifetime_key)

    make = jax.jit(jax.vmap(one))
    level, lifetime = _joined([make(numbers) for numbers, _ in _blocks(count)], count)
    return _unscored(level, lifetime, np.arange(count, dtype=np.int32), np.full(count, -1, np.int32))


def edited(key: jax.Array, family: Family, rows: Rows, *, count: int, edits: int) -> Rows:
    """The tasks of `rows` and, behind them, `count` children: each a row after `edits` small edits, with its lifetime.

    Rows have children in turn. A child's parent is its row's serial, its own follows the highest of them. Scores
    are to be found anew (NaN).

    Args:
        key: Not to be used again.
        family: Whose generator edits levels.
        rows: Who may have children, at least 1.
        count: Children, at least 0.
        edits: Edits of each, at least 1.

    Raises:
        ValueError: An argument is out of its range, or the family knows no edits.
    """
    mutate = family.generator.mutate
    if mutate is None:
        raise ValueError(f"edits need a generator that can mutate, which that of {family.name!r} cannot.")
    if count < 0 or edits < 1:
        raise ValueError(f"count must be at least 0 and edits at least 1, got {count} and {edits}.")
    if not len(rows.lifetime):
        raise ValueError("rows must hold at least 1 task to edit, got 0.")
    child = jax.jit(jax.vmap(_editor(key, mutate, edits)))
    parents = np.arange(count, dtype=np.int64) % len(rows.lifetime)
    made = [child(numbers, jax.tree.map(lambda leaf: leaf[parents[n]], rows.level)) for numbers, n in _blocks(count)]  # noqa: B023
    serial = np.max(rows.serial) + 1 + np.arange(count, dtype=np.int32)
    kept = again(rows)
    if not count:
        return kept
    born = _unscored(_joined(made, count), rows.lifetime[parents], serial, rows.serial[parents])
    return jax.tree.map(lambda a, b: np.concatenate([a, b]), kept, born)


def again(rows: Rows) -> Rows:
    """The same tasks, to be scored anew."""
    return _unscored(rows.level, rows.lifetime, rows.serial, rows.parent)


def _editor(key: jax.Array, mutate: Callable[[jax.Array, Level], Level], edits: int) -> Callable[[jax.Array, Level], Level]:
    def one(number: jax.Array, level: Level) -> Level:
        keys = jax.random.split(jax.random.fold_in(key, number), edits)
        return jax.lax.scan(lambda level, key: (mutate(key, level), None), level, keys)[0]

    return one


def _unscored(level: Level, lifetime: np.ndarray, serial: np.ndarray, parent: np.ndarray) -> Rows:
    return Rows(level, lifetime, np.full(len(lifetime), np.nan, np.float32), serial, parent)


def _blocks(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers i32[BLOCK] of the tasks of each block, and the same without those past the end, which become the last."""
    for begin in range(0, count, BLOCK):
        numbers = np.arange(begin, begin + BLOCK, dtype=np.int32)
        yield numbers, np.minimum(numbers, count - 1)


def _joined(parts: list[chex.ArrayTree], count: int) -> chex.ArrayTree:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *map(jax.device_get, parts))
