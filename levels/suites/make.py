"""Writes the levels of all suites: `python -m levels.suites.make FOLDER [CHAPTER ...]`.

Whoever uses suites has no need of this: it shows where they come from, and a test compares what it makes with what is
stored. Numbers drawn are rounded to three digits where a person may read them, so that they are what they seem.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from levels import dataset
from levels.bandit import BanditLevel
from levels.base import Discrete, Family, Level
from levels.chain import ChainLevel
from levels.gridworld import GridLevel, Thing, grid_level
from levels.gridworld.level import distances
from levels.suites import SUITES, kinds
from levels.suites.kinds import Kind

SEED = 20_231_012
"""Of all that is drawn; practice levels have the next one."""
UNSEEN, PRACTICE = 1000, 64
"""Random grids of each kind, and those for tuning."""

Named: TypeAlias = Iterator[tuple[str, Level]]
Cell: TypeAlias = tuple[int, int]
"""Row and column."""
Objects: TypeAlias = tuple[tuple[int, float, float, float], ...]
"""How many of each kind, with reward, termination probability and respawn probability."""


class Maze(NamedTuple):
    """Walls and a way through them."""

    name: str
    walls: np.ndarray
    start: Cell
    goal: Cell


class Layout(NamedTuple):
    """A grid of Oh et al. 2020 but for the cells of its objects."""

    walls: tuple[str, ...]  # rows of # and .
    objects: Objects
    limit: int


def _open(rows: int, columns: int) -> tuple[str, ...]:
    return ("." * columns,) * rows


DENSE: Objects = ((2, 1.0, 0.0, 0.05), (1, -1.0, 0.5, 0.1), (1, -1.0, 0.0, 0.5))
LONG: Objects = ((2, 1.0, 0.0, 0.01), (2, -1.0, 0.5, 1.0))
HANDCRAFTED: Mapping[str, Layout] = MappingProxyType(
    {
        "dense": Layout(_open(11, 11), DENSE, 500),
        "sparse": Layout(_open(13, 13), ((1, 1.0, 1.0, 0.0), (1, -1.0, 1.0, 0.0)), 50),
        "long": Layout(_open(11, 11), LONG, 1000),
        "longer": Layout(
            tuple("........." if row in (2, 6) else "....#...." for row in range(9)),
            ((2, 1.0, 0.1, 0.01), (5, -1.0, 0.8, 1.0)),
            2000,
        ),
        "long_dense": Layout(
            tuple("##.#####.##" if row == 5 else "..........." if row in (2, 8) else ".....#....." for row in range(11)),
            ((4, 1.0, 0.0, 0.005),),
            2000,
        ),
    }
)
SCATTERED: Mapping[str, Layout] = MappingProxyType(
    {
        "random-dense": Layout(_open(11, 11), DENSE, 500),
        "random-long": Layout(_open(11, 11), LONG, 1000),
        "random-very_dense": Layout(_open(11, 11), ((1, 1.0, 0.0, 1.0),), 2000),
    }
)
SCATTERED_SMALL: Mapping[str, Layout] = MappingProxyType(
    {
        "random-small": Layout(_open(5, 7), ((2, 1.0, 0.0, 0.05), (2, -1.0, 0.5, 0.1)), 500),
        "random-small_sparse": Layout(_open(5, 7), ((1, 1.0, 1.0, 1.0), (2, -1.0, 1.0, 1.0)), 50),
    }
)


def laid_out(layout: Layout, random: np.random.RandomState, kind: Kind) -> GridLevel:
    """A layout with its start and its objects in random free cells."""
    walls = np.array([[mark == "#" for mark in row] for row in layout.walls])
    numbers = [i for i, (count, *_) in enumerate(layout.objects) for _ in range(count)]
    start, *places = _shuffled_cells(random, walls)[: 1 + len(numbers)]
    things = [Thing(cell, i, *layout.objects[i][1:]) for cell, i in zip(places, numbers, strict=True)]
    blank = jax.eval_shape(kind.family().generator.sample, jax.random.key(0))
    (height, width), (objects,) = blank.walls.shape, blank.kind.shape
    return grid_level(walls, things, start=start, limit=layout.limit, height=height, width=width, objects=objects)


def layouts(found: Mapping[str, Layout], kind: Kind, practice: bool) -> Named:
    """Each layout once; for practice eight times, with other cells."""
    random = np.random.RandomState(SEED + practice)
    for name, layout in found.items():
        for i in range(8 if practice else 1):
            yield (f"{name}-{i}" if practice else name), laid_out(layout, random, kind)


def mazes(practice: bool) -> Named:
    """The mazes of jaxued with a goal, and with three objects in other cells; for practice random mazes."""
    random = np.random.RandomState(SEED + practice)
    for name, walls, start, goal in _random_mazes(random) if practice else _shipped_mazes():
        yield f"{name}-goal", _maze(walls, [Thing(goal, 0, 1.0, 1.0, 0.0)], start)
        low, high = np.log([[0.01, 0.001], [1.0, 0.1]])  # GROOVE's ranges of termination and respawn
        chances = np.round(np.exp(low + random.rand(3, 2) * (high - low)), 3)
        rewards = np.round(random.uniform([0.0, -1.0, -1.0], 1.0), 3)
        cells = [cell for cell in _shuffled_cells(random, walls) if cell != start]
        things = [Thing(cells[i], i, float(rewards[i]), *map(float, chances[i])) for i in range(3)]
        yield f"{name}-objects", _maze(walls, things, start)


def _shipped_mazes() -> Iterator[Maze]:
    from levels.adapters.jaxued import named_mazes

    for name, maze in named_mazes().items():
        if not name.startswith("Trivial"):
            (column, row), (goal_column, goal_row) = np.asarray(maze.agent_pos), np.asarray(maze.goal_pos)
            yield Maze(name, np.asarray(maze.wall_map, bool), (int(row), int(column)), (int(goal_row), int(goal_column)))


def _random_mazes(random: np.random.RandomState) -> Iterator[Maze]:
    found = 0
    while found < 12:
        walls = random.rand(13, 13) < 0.25
        start, goal, *_ = _shuffled_cells(random, walls)
        way = distances(jnp.asarray(walls), jnp.int32(13 * start[0] + start[1]))
        if way[goal] > 0:
            yield Maze(f"random-{found}", walls, start, goal)
            found += 1


def _shuffled_cells(random: np.random.RandomState, walls: np.ndarray) -> list[Cell]:
    return [(int(row), int(column)) for row, column in random.permutation(np.argwhere(~walls))]


def _maze(walls: np.ndarray, things: list[Thing], start: Cell) -> GridLevel:
    return grid_level(walls, things, start=start, limit=250, objects=3)


def unseen(kind: Kind, practice: bool) -> Named:
    """Levels of a family's own generator."""
    family, seed, count = kind.family(), SEED + practice, PRACTICE if practice else UNSEEN
    found = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(jax.random.key(seed), count))
    prefix = "outside" if kind is kinds.OUTSIDE else "inside"
    for i in range(count):
        yield f"{prefix}-{i}", jax.tree.map(lambda leaf, i=i: leaf[i], found)


def bandits(gaussian: bool, practice: bool) -> Named:
    """Of each number of arms, three with a large gap between the best two arms and three with a small one, in turn."""
    random, name = np.random.RandomState(SEED + 2 * gaussian + practice), "gaussian" if gaussian else "bernoulli"
    gaps = {"easy": 1.0, "hard": 0.25} if gaussian else {"easy": 0.4, "hard": 0.1}
    for i in range(3):
        for arms in (2, 3, 5, 10, 20):
            for difficulty, gap in gaps.items():
                yield f"{name}-{arms}-{difficulty}-{i}", _bandit(random, arms, gap, gaussian)


def _bandit(random: np.random.RandomState, arms: int, gap: float, gaussian: bool) -> BanditLevel:
    best = random.uniform(0.0, 1.0) if gaussian else random.uniform(0.5, 1.0)
    second = best - gap
    rest = random.uniform(second - 1.0 if gaussian else 0.0, second, arms - 2)
    mean = np.zeros(20, np.float32)
    mean[:arms] = np.round(random.permutation([best, second, *rest]), 3)
    return BanditLevel(jnp.asarray(mean), jnp.float32(0.5 * gaussian), jnp.int32(arms), jnp.int32(20))


def chains(practice: bool) -> Named:
    """Lengths of the paper's two ranges, with and without noise; for practice lengths between them."""
    for length in (8, 15, 25, 45) if practice else (5, 10, 20, 30, 50):
        for noise in (0.0, 1.0):
            good = int(length // 5 % 2) ^ int(noise)
            yield (
                f"chain-{length}-{'noisy' if noise else 'quiet'}",
                ChainLevel(jnp.int32(length), jnp.int32(good), jnp.float32(noise)),
            )


def distracted(practice: bool) -> Named:
    """The same chains under other names."""
    yield from ((f"distractors-{name.removeprefix('chain-')}", level) for name, level in chains(practice))


def single(kind: Kind, practice: bool) -> Named:
    """The one level of an environment of gymnax; none for practice."""
    if not practice:
        yield kind.name.removeprefix(kinds.GYMNAX), kind.family().generator.sample(jax.random.key(0))


MAKERS: Mapping[str, Callable[[bool], Named]] = MappingProxyType(
    {
        "grid-handcrafted": lambda practice: layouts(HANDCRAFTED, kinds.HANDCRAFTED, practice),
        "grid-random": lambda practice: layouts(SCATTERED, kinds.RANDOM, practice),
        "grid-random-small": lambda practice: layouts(SCATTERED_SMALL, kinds.RANDOM_SMALL, practice),
        "mazes": mazes,
        "grid-inside": lambda practice: unseen(kinds.INSIDE, practice),
        "grid-outside": lambda practice: unseen(kinds.OUTSIDE, practice),
        "bernoulli": lambda practice: bandits(False, practice),
        "gaussian": lambda practice: bandits(True, practice),
        "chain": chains,
        "chain-distractors": distracted,
    }
)
"""`(whether for practice) -> names and levels` by split; others are of gymnax. Read-only."""


def bounds(family: Family, levels: Level) -> tuple[np.ndarray, np.ndarray]:
    """Exact returns of the uniform policy and of an optimal one, f64[tasks] each; nan where they are not known."""
    count = len(jax.tree.leaves(levels)[0])
    unknown = np.full(count, np.nan)
    if family.optimum is None:
        return unknown, unknown
    optimum = np.asarray(jax.jit(lambda levels: jax.lax.map(family.optimum, levels))(levels), np.float64)
    if family.name == "chain-distractors":  # what the agent sees does not matter to chance
        family = kinds.CHAIN.family()
    spec = family.environment.spec
    assert family.value is not None and isinstance(spec.observation, Discrete)
    table = jnp.full((spec.observation.n, spec.actions), 1 / spec.actions, jnp.float32)
    value = family.value
    random = jax.jit(lambda levels: jax.lax.map(lambda level: value(level, lambda step: table), levels))(levels)
    return np.asarray(random, np.float64), optimum


def make(folder: Path, split: str, kind: Kind) -> Path:
    """Writes one split: its levels, then those for practice."""
    maker = MAKERS.get(split, lambda practice: single(kind, practice))
    named, more = list(maker(False)), list(maker(True))
    levels = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *(one for _, one in named + more))
    family = kind.family()
    random, optimum = bounds(family, levels)
    columns: dict[str, npt.ArrayLike] = {
        "name": [name for name, _ in named + more],
        "practice": np.arange(len(named) + len(more)) >= len(named),
        "random": np.round(random, 6),
        "optimum": np.round(optimum, 6),
    }
    path = folder / f"{split.replace(':', '-')}.parquet"
    dataset.save(path, levels, columns, {"split": split, "tasks": str(len(named))}, family=family.name)
    return path


def main(folder: Path, wanted: list[str]) -> None:
    """Writes all splits, or those named."""
    for suite in SUITES.values():
        for split, kind in suite.splits.items():
            if not wanted or split in wanted:
                print(make(folder, split, kind), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
