"""Suites: what they hold, that it never changes, that it is what is said of it."""

from pathlib import Path

import jax
import numpy as np
import pytest

from levels import dataset
from levels.suites import SUITES, content, kinds, make, path_of, splits, tasks

HASHES = {
    "grid-handcrafted": "1a9bc51931b01647b7ebf9a9cce04d8d3b36663a0b9207cd715ec1bab805f471",
    "grid-random": "86b9445b6928474f75861ba1e5b06fb4bd4fe1a16a81b026bfc3d1be1e70db9e",
    "mazes": "b4b84fcaaaa432542d4e2c8f22b1e05117ca907993e82caa68d3574ba538cdcd",
    "grid-unseen": "4d241d278fa02e17924993cf3232fbe5cb65dbb7d21ca7e1c46e7fb8f0bbdee8",
    "bandits": "a15d6dbb1339ccf4e624cf5392c602903bdefa1231f86c872c3f8c22c1d53295",
    "chains": "263840521ea5d23639c40ff8b72eb418d3a3ad1bb45af26051aafdd3df8ddb26",
    "minatar": "b9e5fdac7cdef2e3bda5517d7e3017dbfb3b9df71f4812c1d4771db64d4902c8",
    "classic": "0bd5bb61078d693c886b168a772d8b0112483d428c1dd77902d53945d8109b49",
    "bsuite": "549f635804aa2bde845603a3f76eb1c5713115905a099198aecd7b368c4c4e45",
}
"""Pinned: whoever changes what a suite holds counts its version up, and changes these."""

every_suite = pytest.mark.parametrize("name", SUITES)


@every_suite
def test_contents_are_pinned(name: str):
    assert content(SUITES[name]) == HASHES[name]


@every_suite
def test_splits_are_whole(name: str):
    """Every level was found valid when it was read; names are unique; nothing for practice is among the tasks."""
    found = splits(SUITES[name])
    names = [task for split in found for task in split.tasks]
    assert len(set(names)) == len(names) == sum(count for _, _, count in tasks(SUITES[name]))
    for split in found:
        rows = {one.tobytes() for one in _rows(split.levels)}
        assert len(rows) == len(split.tasks), "two tasks have one level"
        assert split.alone == (rows >= {one.tobytes() for one in _rows(split.practice)})
        assert split.alone or not rows & {one.tobytes() for one in _rows(split.practice)}
        known = np.isfinite(split.optimum)
        assert (split.optimum >= split.random - 1e-5)[known].all()
        assert set(split.flat) <= set(split.tasks)


def _rows(levels) -> np.ndarray:
    """Each level as one row of bytes."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(levels)]
    flat = [leaf.reshape(len(leaf), -1).astype(np.float64) for leaf in leaves]
    return np.concatenate(flat, axis=1)


def test_sizes():
    assert {
        "grid": sum(n for *_, n in tasks(SUITES["grid-unseen"])),
        "hand": sum(n for *_, n in tasks(SUITES["grid-handcrafted"])),
        "mazes": sum(n for *_, n in tasks(SUITES["mazes"])),
    } == {"grid": 2000, "hand": 5, "mazes": 16}


def test_tasks_that_cannot_be_normalised_are_named():
    assert [c.flat for c in splits(SUITES["mazes"])] == [("Labyrinth-objects",)]
    (bernoulli, gaussian) = splits(SUITES["bandits"])
    assert bernoulli.flat == gaussian.flat == ()
    inside, outside = splits(SUITES["grid-unseen"])
    assert [int(name.removeprefix("inside-")) for name in inside.flat] == [175, 180, 237, 285, 640, 688, 772, 957]
    flat = [43, 128, 138, 140, 338, 357, 383, 492, 556, 640, 666]
    assert [int(name.removeprefix("outside-")) for name in outside.flat] == flat


def test_the_handcrafted_grids_are_those_of_the_papers():
    (split,) = splits(SUITES["grid-handcrafted"])
    assert split.tasks == ("dense", "sparse", "long", "longer", "long_dense")
    level = split.levels
    assert level.limit[:5].tolist() == [500, 50, 1000, 2000, 2000]
    assert list(zip(level.height.tolist(), level.width.tolist(), strict=True)) == [
        (11, 11),
        (13, 13),
        (11, 11),
        (9, 9),
        (11, 11),
    ]
    assert (level.kind >= 0).sum(1).tolist() == [4, 2, 4, 7, 4]
    dense = [(float(level.reward[0, i]), float(level.terminate[0, i]), float(level.respawn[0, i])) for i in range(4)]
    np.testing.assert_allclose(dense, [(1, 0, 0.05), (1, 0, 0.05), (-1, 0.5, 0.1), (-1, 0, 0.5)], rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("grid-handcrafted", marks=pytest.mark.slow),  # optima of 2,000 steps
        *("grid-random-small", "mazes", "bernoulli", "gaussian", "chain-distractors"),
    ],
)
def test_what_is_stored_is_what_is_made(name: str, tmp_path: Path):
    """Levels to the bit; returns, which are sums of floats, nearly so."""
    kind = next(suite.splits[name] for suite in SUITES.values() if name in suite.splits)
    family = kind.family()
    made = dataset.load(make.make(tmp_path, name, kind), family=family)
    stored = dataset.load(path_of(name), family=family)
    for mine, theirs in zip(jax.tree.leaves(made.levels), jax.tree.leaves(stored.levels), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert made.columns["name"].tolist() == stored.columns["name"].tolist()
    for bound in ("random", "optimum"):
        np.testing.assert_allclose(made.columns[bound], stored.columns[bound], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [kinds.INSIDE, kinds.OUTSIDE], ids=["inside", "outside"])
def test_bounds_of_random_grids(kind: kinds.Kind):
    """Recomputed for a few of the thousand."""
    split = next(
        c for c in splits(SUITES["grid-unseen"]) if c.name == ("grid-inside" if kind is kinds.INSIDE else "grid-outside")
    )
    few = jax.tree.map(lambda leaf: leaf[:3], split.levels)
    random, optimum = make.bounds(split.family, few)
    np.testing.assert_allclose(split.random[:3], random, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(split.optimum[:3], optimum, rtol=1e-4, atol=1e-4)


def test_the_outside_is_outside():
    inside, outside = splits(SUITES["grid-unseen"])
    assert outside.levels.height.min() > inside.levels.height.max()
    assert outside.levels.limit.min() >= inside.levels.limit.max()
    assert (outside.levels.kind >= 0).sum(1).min() >= 5
