"""What is wrong with a level, by column and row: in NumPy, for files that come from elsewhere."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from levels.bandit import BanditLevel
from levels.base import Level
from levels.chain import ChainLevel
from levels.dataset import columns
from levels.gridworld import GridLevel


class Fault(NamedTuple):
    """The first thing that is wrong."""

    row: int
    column: str
    what: str  # what follows the column's name in a sentence


class Rule(NamedTuple):
    """What a column must keep."""

    column: str
    broken: np.ndarray  # bool[rows]
    what: Callable[[int], str]  # of a row


def first_fault(levels: Level, longest: int, family: str = "", *, block: int = 256) -> Fault | None:
    """What is wrong with a stacked level; None if nothing is, or nothing is known of levels of its type.

    Args:
        levels: [rows, ...], NumPy's.
        longest: The highest episode limit.
        family: Its name: bandits of one kind have means in [0, 1], of the other a deviation.
        block: Levels looked at at once.

    Example:
        >>> import numpy as np
        >>> from levels.bandit import BanditLevel
        >>> from levels.dataset.faults import first_fault
        >>> first_fault(BanditLevel(np.array([[0.5, 0.1]]), np.zeros(1), np.array([3]), np.array([20])), 20)
        Fault(row=0, column='arms', what='must be 2, is 3')
    """
    for begin in range(0, len(jax.tree.leaves(levels)[0]), block):
        for rule in _rules(jax.tree.map(lambda leaf: leaf[begin : begin + block], levels), longest, family):  # noqa: B023
            if np.any(rule.broken):
                row = int(np.argmax(rule.broken))
                return Fault(begin + row, rule.column, rule.what(row))
    return None


def shortly(levels: Level, row: int) -> str:
    """The values of one level of [rows, ...], cut off where they are long."""
    named = [(name.removeprefix("level."), np.asarray(leaf)[row]) for name, leaf in columns.named(levels).items()]
    text = ", ".join(f"{name} {np.array2string(value, threshold=8, separator=', ')}" for name, value in named)
    return " ".join(text[:300].split()) + ("" if len(text) <= 300 else " ...")


def _rules(levels: Level, longest: int, family: str) -> Iterator[Rule]:
    """What is known of levels of that type."""
    if isinstance(levels, GridLevel):
        yield from _grid(levels, longest)
    if isinstance(levels, BanditLevel):
        yield from _bandit(levels, longest, family)
    if isinstance(levels, ChainLevel):
        yield _within("length", levels.length, 1, longest)
        yield _within("good", levels.good, 0, 1)
        yield _above("noise", levels.noise, "at least 0", levels.noise < 0)


def _within(column: str, found: npt.ArrayLike, low: float, high: float) -> Rule:
    """Values [rows] or [rows, n] lie in [low, high]."""
    values = np.asarray(found)
    outside = (values < low) | (values > high)

    def what(row: int) -> str:
        first = np.ravel(values[row])[np.argmax(np.ravel(outside[row]))]
        return f"must be {low if low == high else f'between {low} and {high}'}, is {first}"

    return Rule(column, outside if outside.ndim == 1 else np.any(outside, axis=1), what)


def _above(column: str, found: npt.ArrayLike, rule: str, broken: npt.ArrayLike) -> Rule:
    """Values [rows] that have no highest one."""
    values = np.asarray(found)
    return Rule(column, np.asarray(broken), lambda row: f"must be {rule}, is {values[row]}")


def _bandit(level: BanditLevel, longest: int, family: str) -> Iterator[Rule]:
    arms = level.mean.shape[1]
    yield _within("arms", level.arms, 2, arms)
    yield _within("pulls", level.pulls, 1, longest)
    spare = np.arange(arms) >= np.asarray(level.arms)[:, None]
    yield Rule("mean", np.any(spare & (level.mean != 0), axis=1), lambda row: "must be 0 for arms that are not in use")
    if family == "bernoulli-bandit":
        yield _within("mean", level.mean, 0, 1)
        yield _within("deviation", level.deviation, 0, 0)
    if family == "gaussian-bandit":
        yield _above("deviation", level.deviation, "above 0", level.deviation <= 0)


def _grid(level: GridLevel, longest: int) -> Iterator[Rule]:
    """Rules in an order in which each may rely on those before it."""
    height, width = level.walls.shape[1:]
    yield _within("height", level.height, 1, height)
    yield _within("width", level.width, 1, width)
    yield _within("limit", level.limit, 1, longest)
    rows, columns = np.arange(height)[:, None] < level.height[:, None, None], np.arange(width) < level.width[:, None, None]
    inside = (rows & columns).reshape(len(level.walls), height * width)
    walls = np.asarray(level.walls).reshape(inside.shape)
    size = lambda row: f"{level.height[row]} x {level.width[row]}"  # noqa: E731
    yield Rule("walls", np.any(~inside & ~walls, axis=1), lambda row: f"has a free cell outside of its grid of {size(row)}")
    yield from _cells("start", np.asarray(level.start)[:, None], inside, walls, width, size)
    yield from _objects(level, inside, walls, width, size)
    reached = _reached(np.asarray(level.walls), np.asarray(level.start))[np.arange(len(walls))[:, None], level.cell]
    far = ~np.any(reached & (level.kind >= 0), axis=1)
    yield Rule("cell", far, lambda row: "has no object within reach of the start")


def _objects(level: GridLevel, inside, walls, width: int, size: Callable[[int], str]) -> Iterator[Rule]:
    objects = level.kind.shape[1]
    yield _within("kind", level.kind, -1, objects - 1)
    used = level.kind >= 0
    yield Rule("kind", ~np.any(used, axis=1), lambda row: "has no object")
    yield from _cells("cell", np.where(used, level.cell, level.start[:, None]), inside, walls, width, size)
    taken = np.where(used, level.cell, -1 - np.arange(objects))  # unused entries differ from everything
    crowded = np.any(used & (level.cell == level.start[:, None]), axis=1)
    crowded |= np.any(np.diff(np.sort(taken, axis=1), axis=1) == 0, axis=1)
    yield Rule("cell", crowded, lambda row: "has two things in one cell")
    yield _within("terminate", level.terminate, 0, 1)
    yield _within("respawn", level.respawn, 0, 1)
    kin = level.kind[:, :, None] == level.kind[:, None, :]
    for name in ("reward", "terminate", "respawn"):
        values = getattr(level, name)
        unlike = np.any(kin & used[:, :, None] & (values[:, :, None] != values[:, None, :]), axis=(1, 2))
        yield Rule(name, unlike, lambda row: "differs between objects of one kind")
    for name in ("cell", "reward", "terminate", "respawn"):
        spare = np.any(~used & (getattr(level, name) != 0), axis=1)
        yield Rule(name, spare, lambda row: "must be 0 for entries that are not in use")
    order = np.where(used, level.kind * walls.shape[1] + level.cell, objects * walls.shape[1])
    gaps = np.diff(np.where(used, level.kind, np.max(level.kind, axis=1, keepdims=True)), axis=1, prepend=-1)
    unsorted = np.any(np.diff(order, axis=1) < 0, axis=1) | np.any((gaps < 0) | (gaps > 1), axis=1)
    yield Rule("kind", unsorted, lambda row: "must list objects by kind and cell, kinds numbered from 0 without gaps")


def _cells(column: str, cells: np.ndarray, inside, walls, width: int, size: Callable[[int], str]) -> Iterator[Rule]:
    """Cells [rows, n] lie on the grid and in no wall."""
    off = (cells < 0) | (cells >= inside.shape[1])
    place = np.where(off, 0, cells)
    row = np.arange(len(cells))[:, None]
    off |= ~inside[row, place]
    blocked = walls[row, place]

    def where(row: int, broken: np.ndarray) -> str:
        cell = int(cells[row][np.argmax(broken[row])])
        return f"cell {cell} (row {cell // width}, column {cell % width})"

    yield Rule(column, np.any(off, axis=1), lambda row: f"lies off the grid of {size(row)}: {where(row, off)}")
    yield Rule(column, np.any(blocked, axis=1), lambda row: f"lies in a wall: {where(row, blocked)}")


def _reached(walls: np.ndarray, start: np.ndarray) -> np.ndarray:
    """bool[rows, cells]: the cells that have a way from the start, which is free."""
    from scipy import ndimage  # takes a quarter of a second to import

    apart = np.zeros((3, 3))
    touching = np.array([apart, ndimage.generate_binary_structure(2, 1), apart])  # in one level, not in the next
    part = ndimage.label(~walls, touching)[0].reshape(len(walls), walls.shape[1] * walls.shape[2])
    return part == part[np.arange(len(walls)), start][:, None]
