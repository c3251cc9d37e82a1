"""Grids as text, there and back."""

import jax
import numpy as np

from levels.base import LONGEST
from levels.gridworld.level import GridLevel, Thing, grid_level

WALL, FREE, START = "#", ".", "@"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ATTRIBUTES = ("reward", "terminate", "respawn")


def to_text(level: GridLevel) -> str:
    """A level as a map, a legend of its kinds and its limit. `from_text` gives back the same level, bit for bit.

    Example:
        >>> from levels.gridworld import Thing, grid_level, to_text
        >>> level = grid_level([[False, True, False, False]], [Thing((0, 3), 0, 1.0, 0.5, 0.05)], start=(0, 2), limit=20)
        >>> print(to_text(level))
        .#@A
        <BLANKLINE>
        A  reward 1.0  terminate 0.5  respawn 0.05
        limit 20
    """
    level = jax.tree.map(np.asarray, level)
    columns = level.walls.shape[1]
    grid = np.where(level.walls, WALL, FREE)
    grid[divmod(int(level.start), columns)] = START
    legend = {}
    for i in np.flatnonzero(level.kind >= 0):
        letter = LETTERS[level.kind[i]]
        grid[divmod(int(level.cell[i]), columns)] = letter
        legend[letter] = "  ".join([letter] + [f"{name} {getattr(level, name)[i]!s}" for name in ATTRIBUTES])
    rows = ["".join(row) for row in grid[: level.height, : level.width]]
    return "\n".join([*rows, "", *(legend[letter] for letter in sorted(legend)), f"limit {level.limit}"])


def from_text(text: str, *, height: int | None = None, width: int | None = None, objects: int | None = None) -> GridLevel:
    r"""Reads what `to_text` writes: `#` wall, `.` free, `@` start, letters objects; then a line a kind, and the limit.

    Args:
        text: The level. Surrounding blank lines, indentation and a byte-order mark are ignored, lines may end as they like.
        height: Rows that the level is padded to; by default its own.
        width: Columns that the level is padded to; by default its own.
        objects: Entries for objects that the level is padded to; by default as many as it has.

    Raises:
        ValueError: Anything that is not such a level; the message has the line.

    Example:
        >>> from levels.gridworld import from_text
        >>> level = from_text("@.A\n\nA reward 1 terminate 0.5 respawn 0.05\nlimit 20", height=4, width=4, objects=2)
        >>> level.walls.shape, level.cell.tolist(), level.kind.tolist()
        ((4, 4), [2, 0], [0, -1])
    """
    rows, legend = split_text(text)
    kinds, limit = read_legend(legend)
    marks = [(mark, (r, c)) for r, row in enumerate(rows) for c, mark in enumerate(row) if mark not in WALL + FREE]
    starts = [cell for mark, cell in marks if mark == START]
    letters = sorted({mark for mark, _ in marks if mark != START})
    if len(starts) != 1:
        raise ValueError(f"the map must have one start {START!r}, got {len(starts)}.")
    if letters != sorted(kinds):
        raise ValueError(f"the legend must have one line for each letter of the map, {letters}, got {sorted(kinds)}.")
    things = [Thing(cell, letters.index(mark), *kinds[mark]) for mark, cell in marks if mark != START]
    walls = [[mark == WALL for mark in row] for row in rows]
    return grid_level(walls, things, start=starts[0], limit=limit, height=height, width=width, objects=objects)


def split_text(text: str) -> tuple[list[str], list[str]]:
    """The rows of the map and the lines of the legend, which a blank line separates."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").strip().splitlines()]
    if "" not in lines:
        raise ValueError("a level must be a map, a blank line and a legend, got no blank line.")
    rows, legend = lines[: lines.index("")], [line for line in lines[lines.index("") :] if line]
    for row in rows:
        if len(row) != len(rows[0]):
            raise ValueError(f"rows of the map must be of one length, {len(rows[0])}, got {row!r}.")
        unknown = set(row) - set(WALL + FREE + START + LETTERS)
        if unknown:
            raise ValueError(f"the map must consist of {WALL} {FREE} {START} and A..Z, got {sorted(unknown)} in {row!r}.")
    return rows, legend


def read_legend(lines: list[str]) -> tuple[dict[str, tuple[float, float, float]], int]:
    """The attributes of each letter, and the limit."""
    kinds: dict[str, tuple[float, float, float]] = {}
    limits = []
    for line in lines:
        first, *fields = line.split()
        if first == "limit" and len(fields) == 1:
            limits.append(read_limit(line, fields[0]))
        elif first in LETTERS and tuple(fields[::2]) == ATTRIBUTES and first not in kinds:
            kinds[first] = read_numbers(line, fields[1::2])
        else:
            raise ValueError(
                f"a legend line must be 'A reward R terminate P respawn P', once a letter, or 'limit N', got {line!r}."
            )
    if len(limits) != 1:
        raise ValueError(f"the legend must have one line 'limit N', got {len(limits)}.")
    return kinds, limits[0]


def read_limit(line: str, field: str) -> int:
    """The longest episode, of the line that says it."""
    if not (field.isascii() and field.isdecimal() and len(field) < 20 and 1 <= int(field) <= LONGEST):
        raise ValueError(f"a legend line 'limit N' must have 1 to {LONGEST} steps, got {line[:80]!r}.")
    return int(field)


def read_numbers(line: str, fields: list[str]) -> tuple[float, float, float]:
    """Reward, termination and respawn probability of a legend line."""
    if not all(field.isascii() and "_" not in field for field in fields):
        raise ValueError(f"a legend line must have three numbers, got {line!r}.")
    try:
        with np.errstate(over="ignore"):
            reward, terminate, respawn = (float(np.float32(field)) for field in fields)
    except ValueError as error:
        raise ValueError(f"a legend line must have three numbers, got {line!r}.") from error
    if not (np.isfinite(reward) and 0 <= terminate <= 1 and 0 <= respawn <= 1):
        raise ValueError(f"a legend line must have a finite reward and probabilities within [0, 1], got {line!r}.")
    return reward, terminate, respawn
