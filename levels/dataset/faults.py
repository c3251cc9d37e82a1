"""What is wrong with a level, by column and row: in NumPy, for files that come from elsewhere."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from levels.bandit import BanditLevel
from levels.base import Level
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


def first_fault(levels: Level, longest: int) -> Fault | None:
    """What is wrong with a stacked level; None if nothing is, or nothing is known of levels of its type.

    Args:
        levels: [rows, ...], NumPy's.
        longest: The highest episode limit.

    Example:
        >>> import numpy as np
        >>> from levels.bandit import BanditLevel
        >>> from levels.dataset.faults import first_fault
        >>> first_fault(BanditLevel(np.array([[0.5, 0.1]]), np.zeros(1), np.array([3]), np.array([20])), 20)
        Fault(row=0, column='arms', what='must be between 2 and 2, is 3')
    """
    rules = _grid if isinstance(levels, GridLevel) else _bandit if isinstance(levels, BanditLevel) else None
    for rule in () if rules is None else rules(levels, longest):
        if np.any(rule.broken):
            row = int(np.argmax(rule.broken))
            return Fault(row, rule.column, rule.what(row))
    return None


def _within(column: str, found: npt.ArrayLike, low: float, high: float) -> Rule:
    """Values [rows] or [rows, n] lie in [low, high]."""
    values = np.asarray(found)
    outside = (values < low) | (values > high)

    def what(row: int) -> str:
        first = np.ravel(values[row])[np.argmax(np.ravel(outside[row]))]
        return f"must be between {low} and {high}, is {first}"

    return Rule(column, outside if outside.ndim == 1 else np.any(outside, axis=1), what)


def _bandit(level: BanditLevel, longest: int) -> Iterator[Rule]:
    arms = level.mean.shape[1]
    yield _within("arms", level.arms, 2, arms)
    yield _within("pulls", level.pulls, 1, longest)
    spare = np.arange(arms) >= np.asarray(level.arms)[:, None]
    yield Rule("mean", np.any(spare & (level.mean != 0), axis=1), lambda row: "must be 0 for arms that are not in use")


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
    """bool[rows, cells]: the cells that have a way from the start."""
    flat = len(walls), walls.shape[1] * walls.shape[2]
    found = np.zeros(walls.shape, bool)
    found.reshape(flat)[np.arange(len(walls)), start] = True
    while True:
        padded = np.pad(found, ((0, 0), (1, 1), (1, 1)))
        spread = padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
        more = found | (spread & ~walls)
        if np.array_equal(more, found):
            return found.reshape(flat)
        found = more
