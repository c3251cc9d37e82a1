"""What random grids look like, and the repairs that make every one of them worth playing."""

import jax
import numpy as np
import pytest

from levels.base import words
from levels.gridworld import Thing, from_text, grid_level, gridworld, planes, to_text
from levels.gridworld.generator import repair
from levels.gridworld.level import canonical, choose, distances

COUNT = 2000
FAMILY = gridworld()
KEYS = jax.random.split(jax.random.key(0), COUNT)


def over(function, *batches):
    """The compiled function of every row, in NumPy."""
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(*batches))


@pytest.fixture(scope="module")
def samples():
    return over(FAMILY.generator.sample, KEYS)


@pytest.fixture(scope="module")
def decodings():
    vectors = np.random.default_rng(1).random((COUNT, FAMILY.generator.dimensions), np.float32)
    return over(FAMILY.generator.decode, vectors)


@pytest.fixture(params=["samples", "decodings"])
def levels(request):
    return request.getfixturevalue(request.param)


def assert_share(hits, want):
    """Binomial, five standard errors."""
    assert abs(hits.mean() - want) < 5 * np.sqrt(want * (1 - want) / hits.size)


def assert_mean(values, want):
    assert abs(values.mean() - want) < 5 * values.std() / np.sqrt(values.size)


def test_sides_and_numbers_are_uniform(levels):
    assert (levels.height == levels.width).all()
    for side in range(4, 11):
        assert_share(levels.height == side, 1 / 7)
    for number in range(1, 6):
        assert_share((levels.kind >= 0).sum(axis=1) == number, 1 / 5)


def test_limits_are_log_uniform(levels):
    assert levels.limit.min() >= 20 and levels.limit.max() <= 750
    assert_mean(np.log(levels.limit + 0.5), (np.log(20) + np.log(751)) / 2)
    assert_share(levels.limit < np.sqrt(20 * 751), np.log(123 / 20) / np.log(751 / 20))


def test_rewards_and_probabilities(levels):
    used = levels.kind >= 0
    later = used & (np.arange(5) > 0)
    assert (levels.reward[:, 0] >= 0).all() and np.abs(levels.reward).max() <= 1
    assert_mean(levels.reward[:, 0], 0.5)
    assert_mean(levels.reward[later], 0.0)
    assert levels.terminate[used].min() >= 0.01 and levels.terminate[used].max() <= 1
    assert levels.respawn[used].min() >= 0.001 and levels.respawn[used].max() <= 0.1
    assert_mean(np.log10(levels.terminate[used]), -1.0)
    assert_mean(np.log10(levels.respawn[used]), -2.0)
    assert (levels.kind == np.where(used, np.arange(5), -1)).all()


def test_fifteen_cells_of_the_padding_are_walls_but_for_repairs(levels):
    rows, columns = np.arange(10)[:, None], np.arange(10)
    inside = (rows < levels.height[:, None, None]) & (columns < levels.width[:, None, None])
    assert levels.walls[~inside].all()
    walls = (levels.walls & inside).sum(axis=(1, 2))
    full = levels.height == 10
    assert walls.max() <= 15 and (walls[full] == 15).mean() > 0.97
    small = walls[levels.height == 5]
    assert abs(small.mean() - 15 * 25 / 100) < 5 * small.std() / np.sqrt(small.size) + 0.02  # and what repairs clear


def test_places_are_uniform(samples):
    """Where no wall stands in the way, every cell of a grid is as likely a start as any other."""
    empty = gridworld(height=4, width=4, objects=1, walls=0)
    start = over(empty.generator.sample, KEYS).start
    for cell in range(16):
        assert_share(start == cell, 1 / 16)


def test_an_enclosed_start_is_freed_and_an_object_brought_within_reach():
    level = from_text("@#A\n##.\n\nA reward 1 terminate 0.5 respawn 0.5\nlimit 5")
    fixed = jax.jit(repair)(words(jax.random.key(0)), level)
    assert not np.asarray(fixed.walls).ravel()[[1, 3]].any()
    assert fixed.cell.tolist() == [2]  # cleared neighbours lead there


def test_an_object_out_of_reach_is_moved():
    level = from_text("@.#A\n\nA reward 1 terminate 0.5 respawn 0.5\nlimit 5")
    fixed = jax.jit(repair)(words(jax.random.key(0)), level)
    assert fixed.cell.tolist() == [1] and np.array_equal(fixed.walls, level.walls)


def test_distances_by_hand():
    level = from_text("@.#.\n.##.\n...A\n\nA reward 1 terminate 0.5 respawn 0.5\nlimit 5")
    assert jax.jit(distances)(level.walls, level.start).tolist() == [[0, 1, -1, 7], [1, -1, -1, 6], [2, 3, 4, 5]]
    shut = from_text("@#A\n\nA reward 1 terminate 0.5 respawn 0.5\nlimit 5")
    assert jax.jit(distances)(shut.walls, shut.start).tolist() == [[0, -1, -1]]


def test_choice_is_uniform_over_the_mask():
    mask = np.array([False, True, False, True, True])
    chosen = over(choose, words(jax.random.key(2), COUNT), np.broadcast_to(mask, (COUNT, 5)))
    for index in (1, 3, 4):
        assert_share(chosen == index, 1 / 3)
    last, none = over(choose, np.uint32([2**32 - 1, 5]), np.stack([mask, mask & False]))
    assert last == 4 and none == 0


def test_equal_levels_have_equal_bytes():
    """Whatever order their objects were written in."""
    a, b = Thing((0, 1), 0, 1.0, 0.5, 0.1), Thing((1, 0), 1, -1.0, 0.0, 0.2)
    twin = Thing((1, 1), 0, 1.0, 0.5, 0.1)
    one, other = (
        grid_level(np.zeros((2, 3)), things, start=(0, 0), limit=9, objects=4) for things in ([a, b, twin], [twin, b, a])
    )
    assert all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(one, other, strict=True))
    assert all(np.array_equal(x, y) for x, y in zip(jax.jit(canonical)(one), one, strict=True))


def test_oblong_grids_stay_within_their_padding():
    family = gridworld(height=3, width=9, objects=2, square=False)
    levels = over(family.generator.sample, KEYS[:200])
    assert over(family.generator.is_valid, levels).all()
    assert int(levels.height.max()) == 3 and int(levels.width.max()) == 9 and (levels.height != levels.width).any()


def test_a_crowded_grid_keeps_room():
    """As many walls as cells: start and objects come first."""
    family = gridworld(height=3, width=3, objects=8, walls=9, side=(2, 3))
    levels = over(family.generator.sample, KEYS[:200])
    assert over(family.generator.is_valid, levels).all()


@pytest.mark.parametrize("factory", [gridworld, planes])
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"height": 1}, "height and width must be at least 2"),
        ({"objects": 0}, "objects must be between 1 and 16, got 0"),
        ({"objects": 17}, "objects must be between 1 and 16, got 17"),
        ({"episode_limit": 0}, "episode_limit must be at least 1 step, got 0"),
        ({"side": (5, 4)}, "side must be"),
        ({"side": (1, 4)}, "side must be"),
        ({"side": (4, 11)}, "side must be"),
        ({"number": (0, 5)}, "number must be"),
        ({"reward": (-2.0, -1.0)}, "reward must reach 0"),
        ({"reward": (0.0, float("nan"))}, "reward must be"),
        ({"terminate": (0.0, 1.0)}, "terminate must be"),
        ({"respawn": (0.5, 1.5)}, "respawn must be"),
        ({"limit": (20, 751)}, "limit must be"),
        ({"walls": 101}, "walls must be between 0 and the 100"),
    ],
)
def test_bad_arguments_are_named(factory, arguments, message):
    with pytest.raises(ValueError, match=message):
        factory(**arguments)


def test_drawings_show_what_was_sampled(samples):
    level = jax.tree.map(lambda leaf: leaf[0], samples)
    assert to_text(level).count("#") == int(level.walls[: level.height, : level.width].sum())
