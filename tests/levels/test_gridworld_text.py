"""Grids as text and as pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levels.gridworld import Thing, from_text, grid_level, gridworld, planes, to_text
from levels.gridworld.image import AGENT, GAIN, LOSS, SIZE, WALL

FAMILY = gridworld(height=5, width=6, objects=3, side=(2, 6), square=False)
sample, mutate = jax.jit(FAMILY.generator.sample), jax.jit(FAMILY.generator.mutate)
TEXT = "@.A\n#.B\n\nA reward 1 terminate 0.5 respawn 0.25\nB reward -1 terminate 0 respawn 0.5\nlimit 9"


def assert_same(one, other):
    for name, a, b in zip(one._fields, one, other, strict=True):
        assert (a.dtype, a.shape, np.asarray(a).tobytes()) == (b.dtype, b.shape, np.asarray(b).tobytes()), name


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), edits=st.integers(0, 3))
def test_text_goes_there_and_back(seed, edits):
    level = sample(jax.random.key(seed))
    for edit in range(edits):
        level = mutate(jax.random.key(edit), level)
    assert_same(level, from_text(to_text(level), height=5, width=6, objects=3))


def test_kinds_of_several_objects_go_there_and_back():
    coin, trap = (1.0, 0.1, 0.01), (-1.0, 0.8, 1.0)
    things = [Thing((0, 3), 1, *trap), Thing((2, 0), 0, *coin), Thing((1, 1), 1, *trap), Thing((0, 1), 0, *coin)]
    level = grid_level(np.zeros((3, 4)), things, start=(0, 0), limit=2000, height=4, width=5, objects=6)
    assert level.kind.tolist() == [0, 0, 1, 1, -1, -1] and level.cell.tolist() == [1, 10, 3, 6, 0, 0]
    assert_same(level, from_text(to_text(level), height=4, width=5, objects=6))


def test_numbers_keep_every_bit():
    level = from_text(TEXT)._replace(reward=jnp.array([1e-7, -1 / 3], jnp.float32), limit=jnp.int32(123456))
    assert_same(level, from_text(to_text(level)))


def test_indentation_does_not_matter():
    assert_same(from_text(TEXT), from_text("\n" + "\n".join(f"    {line}" for line in TEXT.splitlines()) + "\n\n"))


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("@", ".", "one start '@', got 0"),
        ("#", "@", "one start '@', got 2"),
        ("#", "?", r"must consist of .* got \['\?'\]"),
        ("@.A", "@.A.", "of one length, 4, got '#.B'"),
        ("\n\n", "\n", "a blank line"),
        ("limit 9", "", "one line 'limit N', got 0"),
        ("limit 9", "limit 0", "'limit N' must have 1 to 16777216 steps, got 'limit 0'"),
        ("limit 9", "limit nine", "a legend line 'limit N' must .* got 'limit nine'"),
        ("limit 9", "limit 2147483648", "must have 1 to 16777216 steps, got 'limit 2147483648'"),
        ("limit 9", "limit 16777217", "must have 1 to 16777216 steps, got 'limit 16777217'"),
        ("limit 9", f"limit {'9' * 5000}", "must have 1 to 16777216 steps, got 'limit 99999"),
        ("limit 9", "limit 5²", "must have 1 to 16777216 steps, got 'limit 5²'"),
        ("limit 9", "limit ٣", "must have 1 to 16777216 steps, got 'limit ٣'"),
        ("limit 9", "limit 9 steps", "a legend line must be .* got 'limit 9 steps'"),
        ("reward -1", "reward 5²", "three numbers, got 'B reward 5²"),
        ("reward -1", "reward 1_0", "three numbers, got 'B reward 1_0"),
        ("reward -1", "reward 1e39", "a finite reward and .* got 'B reward 1e39"),
        ("B reward", "C reward", r"for each letter of the map, \['A', 'B'\], got \['A', 'C'\]"),
        ("B reward", "A reward", "once a letter"),
        ("reward -1", "reward much", "three numbers, got 'B reward much"),
        ("respawn 0.5", "respawn 1.5", r"probabilities within \[0, 1\], got 'B reward -1 terminate 0 respawn 1.5'"),
        ("reward -1", "reward nan", "a finite reward .* got 'B reward nan terminate 0 respawn 0.5'"),
    ],
)
def test_bad_text_is_named(old, new, message):
    with pytest.raises(ValueError, match=message):
        from_text(TEXT.replace(old, new))


def test_editors_of_other_systems_write_levels_too():
    assert_same(from_text(TEXT), from_text("\ufeff" + TEXT.replace("\n", "\r\n") + "\r\n"))
    assert_same(from_text(TEXT), from_text(TEXT.replace("\n", "\r")))


@pytest.mark.parametrize("sizes", [{"height": 1}, {"width": 2}])
def test_padding_must_hold_the_map(sizes):
    with pytest.raises(ValueError, match="at least those of the map"):
        from_text(TEXT, **sizes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"walls": np.zeros(3)}, "walls must be a map"),
        ({"limit": 2**31}, "limit must be at most 16777216 steps, got 2147483648"),
        ({"things": [Thing((0, 1), 0, 1e39, 0, 0)]}, "a finite reward"),
        ({"things": []}, "things must be between 1 and"),
        ({"objects": 1}, "things must be between 1 and objects = 1, got 2"),
        ({"start": (0, 1)}, "the object 0 must have its own cell"),
        ({"start": (3, 0)}, "the start must be inside"),
        ({"walls": [[True, False, False]]}, "the start must be on a free cell"),
        ({"things": [Thing((0, 1), 0, 1, 0, 0), Thing((0, 2), 0, 2, 0, 0)]}, "things of kind 0 must be alike"),
        ({"things": [Thing((0, 1), 2, 1, 0, 0)]}, "numbered 0, 1, 2, ... without gaps, got"),
    ],
)
def test_bad_levels_are_named(changes, message):
    arguments = {
        "walls": [[False, False, False]],
        "things": [Thing((0, 1), 0, 1, 0, 0), Thing((0, 2), 1, 2, 0, 0)],
        "start": (0, 0),
        "limit": 5,
    }
    arguments.update(changes)
    with pytest.raises(ValueError, match=message):
        grid_level(**arguments)


def middle(picture, row, column, offset=4):
    """A pixel beside the middle of a cell, where discs are filled and the agent's eye is not."""
    return picture[row * SIZE + SIZE // 2, column * SIZE + SIZE // 2 + offset].tolist()


def test_pictures_show_agent_walls_and_objects():
    family, level = gridworld(height=2, width=3, objects=2, episode_limit=9), from_text(TEXT)
    picture = family.image(level, None)
    assert picture.shape == (2 * SIZE, 3 * SIZE, 3)
    assert middle(picture, 0, 0) == list(AGENT) and middle(picture, 1, 0) == list(WALL)
    assert middle(picture, 0, 2) == list(GAIN) and middle(picture, 1, 2) == list(LOSS)


def test_pictures_follow_the_episode():
    level = from_text(TEXT)
    for family in (factory(height=2, width=3, objects=2, episode_limit=9) for factory in (gridworld, planes)):
        state, _ = family.environment.reset(jnp.zeros(0, jnp.uint32), level)
        words = jnp.full(family.environment.spec.noise, 2**32 - 1, jnp.uint32)
        for action in (1, 1, 3):
            state, _ = family.environment.step(words, level, state, jnp.int32(action))
        picture = family.image(level, state)
        assert middle(picture, 0, 1) == list(AGENT) and middle(picture, 1, 2) == list(LOSS)
        assert middle(picture, 0, 2) not in (list(GAIN), list(AGENT))
