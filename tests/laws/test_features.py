"""What is measured of levels, against NumPy with loops; and values of fields that no level of a family may have."""

import functools
from collections import deque

import jax
import numpy as np
import pytest

from levels.adapters.gymnax import from_gymnax
from levels.bandit import bernoulli_bandit, gaussian_bandit
from levels.base import Family
from levels.chain import chain
from levels.gridworld import Thing, grid_level, gridworld

FAMILIES: dict[str, Family] = {
    "gridworld": gridworld(
        height=5, width=6, objects=4, episode_limit=30, limit=(5, 25), side=(3, 6), square=False, walls=9, number=(1, 4)
    ),
    "bernoulli": bernoulli_bandit(arms=5, pulls=(3, 17)),
    "gaussian": gaussian_bandit(arms=4, pulls=(4, 9), mean=(-2.0, 1.5)),
    "chain": chain(length=(3, 9)),
    "gymnax": from_gymnax("Catch-bsuite", ranges={"max_steps_in_episode": (5, 9)}),
}


@functools.cache
def measured(name: str):
    """Two hundred levels, and their features."""
    family = FAMILIES[name]

    @jax.jit
    def both(key):
        levels = jax.vmap(family.generator.sample)(jax.random.split(key, 200))
        return levels, jax.vmap(family.features)(levels)

    levels, features = jax.tree.map(np.asarray, both(jax.random.key(4)))
    fields = levels if isinstance(levels, dict) else levels._asdict()
    rows = [{field: value[row] for field, value in fields.items()} for row in range(200)]
    return levels, rows, {key: np.float64(value) for key, value in features.items()}


def ways(walls: np.ndarray, start: int) -> np.ndarray:
    """Steps to every cell, -1 where there is no way."""
    height, width = walls.shape
    found = np.full(walls.shape, -1)
    found[divmod(start, width)] = 0
    queue = deque([divmod(start, width)])
    while queue:
        row, column = queue.popleft()
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < height and 0 <= c < width and not walls[r, c] and found[r, c] < 0:
                found[r, c] = found[row, column] + 1
                queue.append((r, c))
    return found.reshape(-1)


def of_grid(level) -> dict[str, float]:
    objects = level["kind"] >= 0
    inner = level["walls"][: level["height"], : level["width"]]
    steps = ways(level["walls"], int(level["start"]))[level["cell"][objects]]
    return {
        "height": level["height"],
        "width": level["width"],
        "walls": inner.mean(),
        "objects": objects.sum(),
        "reward_sum": np.float64(level["reward"][objects]).sum(),
        "reward_max": level["reward"][objects].max(),
        "terminate": np.log10(np.maximum(np.float64(level["terminate"][objects]), 1e-6)).mean(),
        "respawn": np.log10(np.maximum(np.float64(level["respawn"][objects]), 1e-6)).mean(),
        "limit": level["limit"],
        "distance": steps[steps >= 0].min(),
        "reachable": (steps >= 0).mean(),
    }


def of_bandit(level) -> dict[str, float]:
    means = np.sort(np.float64(level["mean"][: level["arms"]]))
    plain = {field: level[field] for field in ("arms", "pulls", "deviation")}
    return {**plain, "best": means[-1], "lead": means[-1] - means[-2], "mean": means.mean()}


BY_HAND = {"gridworld": of_grid, "bernoulli": of_bandit, "gaussian": of_bandit, "chain": dict, "gymnax": dict}


@pytest.mark.parametrize("name", FAMILIES)
def test_features(name):
    _, rows, got = measured(name)
    want = [BY_HAND[name](row) for row in rows]
    assert got.keys() == want[0].keys()
    for feature, values in got.items():
        np.testing.assert_allclose(values, [row[feature] for row in want], rtol=1e-4, atol=1e-5, err_msg=feature)


INVALID = {
    "gridworld": {
        "height": (0, 6),
        "width": (0, 7),
        "start": (-1, 30),
        "cell": (-1, 30),
        "kind": (-2, 4),
        "reward": (np.nan, np.inf),
        "terminate": (-0.01, 1.01, np.nan),
        "respawn": (-0.01, 1.01, np.nan),
        "limit": (0, 31),
    },
    "bernoulli": {"mean": (-0.01, 1.01, np.nan), "arms": (1, 6), "pulls": (0, 18), "deviation": (0.5, -0.5, np.nan)},
    "gaussian": {"mean": (np.nan, np.inf), "arms": (1, 5), "pulls": (0, 10), "deviation": (0.0, -0.5, np.inf, np.nan)},
    "chain": {"length": (0, 10), "good": (-1, 2), "noise": (-0.01, np.nan, np.inf)},
    "gymnax": {"max_steps_in_episode": (4, 10)},
}
"""Values that a field, or the first entry of one, must not have in any level."""


@pytest.mark.parametrize("name", FAMILIES)
def test_fields_out_of_range_are_not_valid(name):
    levels, _, _ = measured(name)
    is_valid = jax.jit(jax.vmap(FAMILIES[name].generator.is_valid))
    assert is_valid(levels).all()
    fields = levels if isinstance(levels, dict) else levels._asdict()
    assert set(INVALID[name]) == set(fields) - {"walls"}
    for field, values in INVALID[name].items():
        for value in values:
            wrong = fields[field].copy()
            wrong.reshape(200, -1)[:, 0] = value
            other = {**levels, field: wrong} if isinstance(levels, dict) else levels._replace(**{field: wrong})
            assert not is_valid(other).any(), (field, value)


def test_grids_whose_parts_do_not_fit_are_not_valid():
    """Two apples, of one kind, and a pear: in each of the others one number is of another, though it is in its range."""
    apple, pear = (0.75, 0.25, 0.125), (-0.5, 0.5, 0.0625)
    things = [Thing((0, 2), 0, *apple), Thing((2, 1), 0, *apple), Thing((1, 3), 1, *pear)]
    walls = np.zeros((3, 5), bool)
    walls[1, 1] = True
    right = jax.tree.map(np.asarray, grid_level(walls, things, start=(0, 0), limit=9, height=4, width=6, objects=4))
    wrong = {
        "reward": [(1, 0.5)],
        "terminate": [(1, 0.5)],
        "respawn": [(1, 0.5)],
        "cell": [(0, 0), (0, 13), (0, 7), (0, 15), (3, 1)],  # start, another's, a wall, out of order, of no object
        "kind": [(2, 2), (0, 1), (3, 2)],  # a gap, out of order, an object in the place of none
    }
    levels = [right]
    for field, changes in wrong.items():
        for place, value in changes:
            other = getattr(right, field).copy()
            other[place] = value
            levels.append(right._replace(**{field: other}))
    outside, shut = right.walls.copy(), right.walls.copy()
    outside[3, 5], shut[0, 1], shut[1, 0] = False, True, True  # beyond the grid; no way from the start
    levels += [right._replace(walls=outside), right._replace(walls=shut), right._replace(start=np.int32(7))]
    family = gridworld(height=4, width=6, objects=4, episode_limit=30)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *levels)
    assert jax.jit(jax.vmap(family.generator.is_valid))(stacked).tolist() == [True] + [False] * (len(levels) - 1)
