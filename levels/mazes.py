"""Mazes as text: jaxued's and MiniGrid's symbols, or those of a legend."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from levels.base import LONGEST
from levels.gridworld import GridLevel, Thing, grid_level

WALL, FREE, GOAL, RIGHT, DOWN, LEFT, UP = "wall", "free", "goal", "right", "down", "left", "up"
STARTS = (RIGHT, DOWN, LEFT, UP)
"""Where the agent looks at first, numbered as jaxued and MiniGrid do."""
JAXUED: Mapping[str, str] = MappingProxyType(
    {"#": WALL, ".": FREE, "G": GOAL, ">": RIGHT, "v": DOWN, "<": LEFT, "^": UP, "@": RIGHT, "S": RIGHT}
)
"""What symbols mean where a legend does not say it; `@` and `S` are starts without a direction. Read-only."""
MINIGRID: Mapping[str, str] = MappingProxyType(
    {"  ": FREE, "WG": WALL, "GG": GOAL, ">>": RIGHT, "VV": DOWN, "<<": LEFT, "^^": UP}
)
"""What the pairs of letters mean that a MiniGrid environment prints. Read-only."""


class Maze(NamedTuple):
    """A maze of its own size."""

    walls: np.ndarray  # bool[H, W]
    start: tuple[int, int]  # row and column
    direction: int  # 0 right, 1 down, 2 left, 3 up
    goal: tuple[int, int]
    limit: int | None  # of an episode, in steps; None where the text does not say it


def from_text(text: str, where: str = "the text") -> list[Maze]:
    r"""The mazes of a text, which blank lines separate.

    Rows consist of `#` wall, `.` free, `G` goal and one of `> v < ^` (or `@`, `S`) for the agent, as jaxued writes them, or
    of the pairs of letters that MiniGrid prints. Lines such as `X wall` say what other symbols mean, and `limit 250` how
    long an episode may last; they hold for all mazes of the text.

    Args:
        text: Of a file.
        where: What messages call it.

    Raises:
        ValueError: It holds no maze, or one with an unknown symbol, rows of different lengths, or not one start and one
            goal; the message names the line.

    Example:
        >>> from levels import mazes
        >>> (maze,) = mazes.from_text("#####\n#>.X#\n#####\n\nX goal\nlimit 20")
        >>> maze.start, maze.goal, maze.limit
        ((1, 1), (1, 3), 20)
    """
    legend, limit = dict(JAXUED), None
    blocks: list[list[tuple[int, str]]] = []
    rows: list[tuple[int, str]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if found := re.fullmatch(rf"\s*(\S)\s+({'|'.join((WALL, FREE, GOAL, 'start', *STARTS))})\s*", line):
            legend[found[1]] = RIGHT if found[2] == "start" else found[2]
        elif found := re.fullmatch(r"\s*limit\s+(\d{1,9})\s*", line, re.ASCII):
            limit = int(found[1])
            if not 1 <= limit <= LONGEST:
                raise ValueError(f"{where}, line {number}: the limit must be 1 to {LONGEST} steps, got {limit}.")
        elif line.strip():
            rows.append((number, line))
        else:
            blocks.append(rows)
            rows = []
    read = [_maze(rows, legend, limit, where) for rows in (*blocks, rows) if rows]
    if not read:
        raise ValueError(f"{where} holds no maze.")
    return read


def _maze(rows: list[tuple[int, str]], legend: Mapping[str, str], limit: int | None, where: str) -> Maze:
    """One maze from its numbered rows."""
    pairs = "WG" in rows[0][1]  # a wall, as MiniGrid prints it
    lines = [(number, line if pairs else line.strip()) for number, line in rows]
    cells = [[line[i : i + 2] for i in range(0, len(line), 2)] if pairs else list(line) for _, line in lines]
    meanings = MINIGRID if pairs else legend
    for (number, line), row in zip(lines, cells, strict=True):
        if len(row) != len(cells[0]):
            raise ValueError(
                f"{where}, line {number}: rows must be of one length, {len(cells[0])} cells, got {line[:80]!r}."
            )
        if unknown := sorted({cell for cell in row if cell not in meanings}):
            raise ValueError(
                f"{where}, line {number}: unknown symbols {unknown}; known are {', '.join(map(repr, meanings))}, and a line "
                f"such as 'X wall' says what another one means."
            )
    means = np.array([[meanings[cell] for cell in row] for row in cells])
    starts, goals = np.argwhere(np.isin(means, STARTS)), np.argwhere(means == GOAL)
    if len(starts) != 1 or len(goals) != 1:
        said = f"{where}, line {lines[0][0]}: a maze must have one start and one goal"
        raise ValueError(f"{said}, got {len(starts)} and {len(goals)}.")
    (start,), (goal,) = starts.tolist(), goals.tolist()
    direction = STARTS.index(str(means[tuple(start)]))
    return Maze(means == WALL, (start[0], start[1]), direction, (goal[0], goal[1]), limit)


def to_grid(maze: Maze, *, height: int, width: int, limit: int = 250) -> GridLevel:
    """The maze as a gridworld: the goal is an object that pays 1 and ends the episode.

    Args:
        maze: Of any size that fits.
        height: Rows that the level is padded to.
        width: Columns that the level is padded to.
        limit: Of an episode, where the maze does not say it.
    """
    goal = Thing(maze.goal, 0, 1.0, 1.0, 0.0)
    limit = maze.limit or limit
    return grid_level(maze.walls, [goal], start=maze.start, limit=limit, height=height, width=width, objects=1)
