"""What is wrong with a column is said of its first row; levels too large or too deep are refused."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest

from levels import dataset
from levels.dataset.columns import Form, check_finite
from levels.dataset.forms import MOST_SIDE, native
from levels.dataset.reading import MOST_NESTED


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3)], ids=str)
def test_the_first_row_that_is_not_finite_is_named(shape):
    column = np.ones(shape, np.float32)
    column[4] = np.inf
    column.reshape(5, -1)[2, -1] = np.nan
    with pytest.raises(ValueError, match=r"here: the column level.a must be finite, got nan in row 2\."):
        check_finite({"level.whole": np.ones(3), "level.a": column}, "here")


@pytest.mark.parametrize("name", ["gridworld", "gridworld-planes"])
def test_neither_side_of_a_grid_is_longer_than_the_longest(name):
    def read(height, width):
        forms = {"level.walls": Form((height, width), np.dtype(bool)), "level.cell": Form((1,), np.dtype(np.int32))}
        return native(Path("grids"), name, forms)

    assert read(MOST_SIDE, 3) is not None and read(3, MOST_SIDE) is not None
    for sides in ((MOST_SIDE + 1, 3), (3, MOST_SIDE + 1)):
        with pytest.raises(ValueError, match=f"at most 256 x 256 cells, got {sides[0]} x {sides[1]}"):
            read(*sides)


def test_branches_lie_within_one_another_as_deep_as_is_said(tmp_path: Path):
    deep, deeper = (
        functools.reduce(lambda inner, _: {"a": inner}, range(depth), np.ones(2)) for depth in (MOST_NESTED, MOST_NESTED + 1)
    )
    dataset.save(tmp_path / "deep", deep, family="deep")
    assert jax.tree.structure(dataset.load(tmp_path / "deep").levels) == jax.tree.structure(deep)
    dataset.save(tmp_path / "deeper", deeper, family="deep")
    with pytest.raises(ValueError, match="a column of a level with 33 dots, more than 32"):
        dataset.load(tmp_path / "deeper")
