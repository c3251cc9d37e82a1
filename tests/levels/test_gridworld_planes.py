"""Grids whose objects reappear in random free cells."""

import functools

import jax
import numpy as np

from levels.base import Environment, words
from levels.gridworld import PlanesState, Thing, from_text, grid_level, gridworld, planes
from levels.gridworld.environment import noise_words

BATCH = 256
FAMILY = planes(height=4, width=4, objects=3, respawn=(0.5, 1.0), terminate=(0.01, 0.01))
SPEC, RESET, STEP = FAMILY.environment
NONE = np.zeros(0, np.uint32)
LEVEL = from_text("@A\n#.\n\nA reward 1 terminate 0 respawn 1\nlimit 9", height=2, width=3, objects=2)


def compiled(family):
    """Its environment, reset and step compiled."""
    spec, reset, step = family.environment
    return Environment(spec, jax.jit(reset), jax.jit(step))


@functools.cache
def small():
    return compiled(planes(height=2, width=3, objects=2, episode_limit=9))


def drawn(seed, steps):
    """Noise and actions of a walk."""
    noise = np.random.default_rng(seed).integers(2**32, size=(steps, BATCH, SPEC.noise), dtype=np.uint32)
    return noise, np.random.default_rng(seed + 1).integers(5, size=(steps, BATCH), dtype=np.int32)


def test_every_cell_that_an_object_returns_to_is_free():
    """No wall, not the agent's, not another object's; it holds for objects that stay as well."""
    levels = jax.jit(jax.vmap(FAMILY.generator.sample))(jax.random.split(jax.random.key(0), BATCH))
    data = drawn(1, 40)

    def body(state, data):
        after, _ = jax.vmap(STEP)(data[0], levels, state, data[1])
        return after, (state, after)

    @jax.jit
    def walk(levels, data):
        return jax.lax.scan(body, jax.vmap(lambda level: RESET(NONE, level)[0])(levels), data)[1]

    before, after = jax.tree.map(np.asarray, walk(levels, data))
    returned = after.exists & ~before.exists
    assert returned.sum() > BATCH
    walls = np.asarray(levels.walls).reshape(BATCH, -1)[np.arange(BATCH)[None, :, None], after.objects]
    assert not (walls & after.exists).any()
    assert not (returned & (after.objects == after.cell[..., None])).any()
    for i in range(3):
        for j in range(i):
            assert not (after.exists[..., i] & after.exists[..., j] & (after.objects[..., i] == after.objects[..., j])).any()


def test_returning_objects_are_spread_evenly():
    step = jax.jit(jax.vmap(small().step, in_axes=(0, None, None, None)))
    state = PlanesState(np.int32(0), np.array([1, 0], np.int32), np.zeros(2, bool), np.int32(0))
    after, _ = step(words(jax.random.key(3), 2000, small().spec.noise), LEVEL, state, np.int32(4))
    after = jax.tree.map(np.asarray, after)
    cells = after.objects[:, 0]
    for cell in (1, 4):  # of the cells 0..5 two and five are outside, three is a wall, zero the agent's
        assert abs((cells == cell).mean() - 0.5) < 5 * np.sqrt(0.25 / 2000)
    assert after.exists[:, 0].all() and not after.exists[:, 1].any()


def test_an_object_without_a_free_cell_stays_away():
    level = grid_level([[False, False], [True, True]], [Thing((0, 1), 0, 1.0, 0.0, 1.0)], start=(0, 0), limit=9)
    environment = compiled(planes(height=2, width=2, objects=1, episode_limit=9))
    state, _ = environment.reset(NONE, level)
    noise = np.zeros(environment.spec.noise, np.uint32)
    state, timestep = environment.step(noise, level, state, np.int32(1))
    assert float(timestep.reward) == 1.0 and not state.exists.any()
    state, _ = environment.step(noise, level, state, np.int32(4))
    assert state.exists.tolist() == [True] and state.objects.tolist() == [0]
    walls = np.array(level.walls)
    walls[0, 0] = True
    crowded = level._replace(walls=walls)
    state, _ = environment.step(noise, crowded, state._replace(exists=np.array([False])), np.int32(4))
    assert not state.exists.any()


def test_planes_by_hand():
    _, timestep = small().reset(NONE, LEVEL)
    agent, walls, kind, unused = np.moveaxis(np.asarray(timestep.observation), -1, 0).astype(int).tolist()
    assert agent == [[1, 0, 0], [0, 0, 0]]
    assert walls == [[0, 0, 1], [1, 0, 1]]
    assert kind == [[0, 1, 0], [0, 0, 0]]
    assert unused == [[0, 0, 0], [0, 0, 0]]


def test_objects_of_one_kind_share_a_plane():
    things = [Thing((0, 1), 0, 1.0, 0.0, 0.5), Thing((1, 2), 0, 1.0, 0.0, 0.5)]
    level = grid_level(np.zeros((2, 3)), things, start=(0, 0), limit=9)
    _, timestep = small().reset(NONE, level)
    assert np.asarray(timestep.observation)[..., 2].astype(int).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_until_something_returns_it_is_the_other_grid():
    """Same level, actions and chances; nothing reappears: rewards and ends agree."""
    levels = jax.jit(jax.vmap(FAMILY.generator.sample))(jax.random.split(jax.random.key(4), BATCH))
    levels = levels._replace(respawn=np.zeros_like(levels.respawn))
    other = gridworld(height=4, width=4, objects=3).environment
    data = drawn(5, 30)

    def play(environment, first_word):
        def body(state, data):
            state, timestep = jax.vmap(environment.step)(data[0][:, first_word:], levels, state, data[1])
            return state, (timestep.reward, timestep.terminated, timestep.truncated, state.cell)

        begin = jax.vmap(lambda level: environment.reset(NONE, level)[0])
        return jax.jit(lambda levels, data: jax.lax.scan(body, begin(levels), data)[1])(levels, data)

    assert SPEC.noise - 3 == noise_words(3) == other.spec.noise
    for mine, theirs in zip(play(FAMILY.environment, 0), play(other, 3), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_scattered_objects_begin_in_free_cells_each_as_likely():
    """Of the cells 0..5 two and five are outside, three is a wall, zero the agent's: one and four are left for two."""
    things = [Thing((0, 1), 0, 1.0, 0.0, 0.5), Thing((1, 1), 1, 0.5, 0.0, 0.5)]
    level = grid_level([[False, False], [True, False]], things, start=(0, 0), limit=9, height=2, width=3)
    environment = planes(height=2, width=3, objects=2, episode_limit=9, scatter=True).environment
    assert environment.spec.reset_noise == 2
    state, timestep = jax.jit(jax.vmap(environment.reset, (0, None)))(words(jax.random.key(3), 2000, 2), level)
    state, timestep = jax.tree.map(np.asarray, (state, timestep))
    assert state.exists.all() and (timestep.observation[..., 2:].sum((1, 2)) == 1).all()
    assert (np.sort(state.objects, axis=1) == np.array([[1, 4]])).all()
    assert abs(float((state.objects[:, 0] == 1).mean()) - 0.5) < 5 * np.sqrt(0.25 / 2000)
