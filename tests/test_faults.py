"""What is wrong with levels from files: named by column and row, found in little time and memory."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_dataset import BANDITS, GRIDS, many

from levels import dataset
from levels.bandit import gaussian_bandit
from levels.base import Generator
from levels.chain import chain
from levels.dataset import faults, forms
from levels.gridworld import from_text
from levels.gridworld.level import distances


def put(field: str, row: int, value, place: int | None = None):
    """Levels of which one value was changed."""
    levels = many(GRIDS)
    column = getattr(levels, field).copy()
    column[(row,) if place is None else (row, *np.unravel_index(place, column.shape[1:]))] = value
    return levels._replace(**{field: column})


def wall_of(row: int) -> int:
    return int(np.flatnonzero(many(GRIDS).walls[row])[0])


WRONG_GRIDS = {
    "start below the grid": (
        lambda: put("start", 3, 60),
        r"in row 3 the column level.start lies off the .* cell 60",
    ),
    "start above the grid": (lambda: put("start", 2, -1), "in row 2 the column level.start lies off the grid"),
    "start in a wall": (lambda: put("start", 5, wall_of(5)), "in row 5 the column level.start lies "),
    "object off the grid": (lambda: put("cell", 1, 99, 0), r"in row 1 the column level.cell lies off the grid .* \(row 16"),
    "object in a wall": (
        lambda: put("walls", 4, True, int(many(GRIDS).cell[4, 0])),
        "in row 4 the column level.cell lies in a w",
    ),
    "object on the start": (
        lambda: put("cell", 6, many(GRIDS).start[6], 0),
        "in row 6 the column level.cell has two things in one cell",
    ),
    "height of nothing": (lambda: put("height", 0, 0), "in row 0 the column level.height must be between 1 and 5, is 0"),
    "width beyond the padding": (
        lambda: put("width", 7, 7),
        "in row 7 the column level.width must be between 1 and 6",
    ),
    "limit of nothing": (lambda: put("limit", 7, 0), "in row 7 the column level.limit must be between 1 and"),
    "kind beyond all": (lambda: put("kind", 1, 3, 0), "in row 1 the column level.kind must be between -1 and 2, is 3"),
    "no object": (lambda: put("kind", 1, -1), "in row 1 the column level.kind has no object"),
    "probability above 1": (
        lambda: put("terminate", 2, 1.25, 0),
        "in row 2 the column level.terminate must be between 0 and 1, is 1.25",
    ),
    "probability below 0": (lambda: put("respawn", 2, -0.5, 0), "in row 2 the column level.respawn must be between 0 and 1"),
    "walls all around": (
        lambda: put("walls", 3, ~np.eye(1, 30, int(many(GRIDS).start[3]), dtype=bool).reshape(5, 6)),
        "in row 3 the column level.cell lies in a wall",
    ),
}


@pytest.mark.parametrize("case", WRONG_GRIDS)
def test_grids_that_cannot_be_are_named_by_column_and_row(case: str, tmp_path: Path):
    make, message = WRONG_GRIDS[case]
    assert dataset.save(tmp_path / "f", make(), family="gridworld")
    for family in (None, GRIDS):
        with pytest.raises(ValueError, match=message):
            dataset.load(tmp_path / "f", family=family)


def test_a_grid_without_a_way_is_refused(tmp_path: Path):
    level = from_text("@#A\n\nA reward 1 terminate 0.5 respawn 0.05\nlimit 20")
    assert dataset.save(tmp_path / "f", jax.tree.map(lambda leaf: np.asarray(leaf)[None], level), family="gridworld")
    with pytest.raises(ValueError, match="the columns of a level of 'gridworld', but height and width must be at least 2"):
        dataset.load(tmp_path / "f")
    level = from_text("@#A\n.#.\n\nA reward 1 terminate 0.5 respawn 0.05\nlimit 20")
    assert dataset.save(tmp_path / "f", jax.tree.map(lambda leaf: np.asarray(leaf)[None], level), family="gridworld")
    with pytest.raises(ValueError, match="in row 0 the column level.cell has no object within reach of the start"):
        dataset.load(tmp_path / "f")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda level: level._replace(arms=level.arms + 9), "in row 0 the column level.arms must be between 2 and 4"),
        (lambda level: level._replace(mean=level.mean + 2), "in row 0 the column level.mean must be "),
        (
            lambda level: level._replace(mean=level.mean.at[3, 1].set(1.5)),
            "in row 3 .*mean must be between 0 and 1, is 1.5",
        ),
        (
            lambda level: level._replace(deviation=level.deviation + 1),
            "in row 0 the column level.deviation must be 0, is 1.0",
        ),
        (lambda level: level._replace(pulls=level.pulls.at[5].set(0)), "in row 5 the column level.pulls must be between 1"),
    ],
)
def test_bandits_that_cannot_be_are_named(change, message: str, tmp_path: Path):
    levels = jax.tree.map(jnp.asarray, many(BANDITS))
    assert dataset.save(tmp_path / "f", change(levels), family="bernoulli-bandit")
    for family in (None, BANDITS):
        with pytest.raises(ValueError, match=message):
            dataset.load(tmp_path / "f", family=family)


def test_gaussian_bandits_deviate(tmp_path: Path):
    levels = many(gaussian_bandit(arms=4))
    levels = levels._replace(deviation=np.where(np.arange(8) == 2, 0, levels.deviation).astype(np.float32))
    assert dataset.save(tmp_path / "f", levels, family="gaussian-bandit")
    with pytest.raises(ValueError, match="in row 2 the column level.deviation must be above 0, is 0.0"):
        dataset.load(tmp_path / "f")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("good", 5, "level.good must be between 0 and 1, is 5"),
        ("length", 0, "level.length must be between 1 and"),
        ("noise", -1, "level.noise must be at least 0, is -1.0"),
    ],
)
def test_chains_that_cannot_be_are_named(field: str, value: float, message: str, tmp_path: Path):
    levels = many(chain())
    column = getattr(levels, field).copy()
    column[6] = value
    assert dataset.save(tmp_path / "f", levels._replace(**{field: column}), family="chain")
    for family in (None, chain()):
        with pytest.raises(ValueError, match=f"in row 6 the column {message}"):
            dataset.load(tmp_path / "f", family=family)


def test_levels_of_others_that_cannot_be_are_shown(tmp_path: Path):
    """Whose rules are not known here: the row, and what stands in it."""
    slippery = Generator(lambda key: {"slip": jax.random.uniform(key), "row": jnp.zeros(99)})
    slippery = slippery._replace(is_valid=lambda level: level["slip"] <= 1)
    family = GRIDS._replace(name="ice", generator=slippery)
    levels = {"slip": np.array([0, 1, 1.5], np.float32), "row": np.zeros((3, 99), np.float32)}
    assert dataset.save(tmp_path / "f", levels, family="ice")
    with pytest.raises(
        ValueError, match=r"in row 2 the level is not .* is_valid: row \[0., 0., 0., \.\.\., 0., 0., 0.\], slip 1.5"
    ):
        dataset.load(tmp_path / "f", family=family)


def serpentine(side: int, rows: int):
    """Grids whose one way from the start, in one corner, to the object, in the last row, passes every second row whole."""
    walls = np.zeros((side, side), bool)
    walls[1::2] = True
    walls[1::4, -1] = walls[3::4, 0] = False
    level = from_text("@A\n..\n\nA reward 1 terminate 0.5 respawn 0.05\nlimit 20")
    last = np.array([(side - 1) // 2 * 2 * side], np.int32)
    level = level._replace(walls=walls, height=np.int32(side), width=np.int32(side), cell=last)
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (rows, *np.shape(leaf))), level)


def test_the_longest_ways_are_found_in_time(tmp_path: Path):
    """A wave from the start would need 32 768 rounds of 65 536 cells in each of 300 grids, in blocks or not."""
    levels = serpentine(256, 300)
    assert dataset.save(tmp_path / "f", levels, family="gridworld")
    begun = time.perf_counter()
    assert dataset.load(tmp_path / "f").levels.walls.shape == (300, 256, 256)
    walls = levels.walls.copy()
    walls[299, 4, 7] = True
    assert dataset.save(tmp_path / "f", levels._replace(walls=walls), family="gridworld")
    with pytest.raises(ValueError, match="in row 299 the column level.cell has no object within reach"):
        dataset.load(tmp_path / "f")
    assert time.perf_counter() - begun < 60


def test_ways_are_those_of_a_wave():
    """Labels of connected cells say what a flood from the start says, on random walls."""
    random = np.random.default_rng(0)
    walls, start = random.random((200, 7, 9)) < 0.4, random.integers(0, 63, 200)
    walls.reshape(200, 63)[np.arange(200), start] = False
    want = np.asarray(jax.vmap(distances)(walls, start.astype(np.int32)) >= 0).reshape(200, 63)
    np.testing.assert_array_equal(faults._reached(walls, start), want)


def test_grids_padded_beyond_reason_are_refused(tmp_path: Path):
    assert dataset.save(tmp_path / "f", serpentine(1024, 4), family="gridworld")
    assert (tmp_path / "f").stat().st_size < 20_000
    with pytest.raises(ValueError, match="must be padded to at most 256 x 256 cells, got 1024 x 1024"):
        dataset.load(tmp_path / "f")


def test_large_levels_are_checked_a_few_at_a_time():
    few = {"a": np.zeros((5, 1000), np.float32)}
    assert forms.block_of(few) == forms.BLOCK
    large = {"a": np.broadcast_to(np.float32(0), (5, forms.BLOCK_BYTES // 8))}
    assert forms.block_of(large) == 2 and forms.block_of({"a": large["a"].repeat(9, 1)}) == 1
