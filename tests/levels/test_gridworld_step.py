"""One step of the grid, rule by rule, on a level small enough to follow by hand.

column 0 1 2
row 0  @ A .      A pays 1, ends the episode with probability 0.5, reappears with 0.25
row 1  . # B      B pays -2, never ends it, reappears with 0.5
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from levels.gridworld import from_text, gridworld
from levels.gridworld.environment import chances, noise_words

UP, RIGHT, DOWN, LEFT, STAY = range(5)
A, B = 1, 2  # bits of `exists`
TEXT = """
    @A.
    .#B

    A reward 1 terminate 0.5 respawn 0.25
    B reward -2 terminate 0 respawn 0.5
    limit 6
"""
LEVEL = from_text(TEXT, height=2, width=3, objects=3)
SEEING = gridworld(height=2, width=3, objects=3, episode_limit=6).environment
BLIND = gridworld(height=2, width=3, objects=3, episode_limit=6, time=False).environment
STEP = {environment: jax.jit(environment.step) for environment in (SEEING, BLIND)}
NEVER = 0.99


def noise(a=NEVER, b=NEVER, unused=0.0, end=NEVER):
    """Words whose chances are these numbers, to 16 bits; an unused entry must not care, so 0 by default."""
    halves = [int(u * 2**16) for u in (a, b, unused, end)]
    return jnp.array([halves[0] | halves[1] << 16, halves[2] | halves[3] << 16, 0], jnp.uint32)


def run(*moves, environment=SEEING):
    """Plays (action, noise) pairs from reset; returns the cells, sets, rewards and the last time step."""
    state, timestep = environment.reset(jnp.zeros(0, jnp.uint32), LEVEL)
    trace = []
    for action, words in moves:
        state, timestep = STEP[environment](words, LEVEL, state, jnp.int32(action))
        trace.append((int(state.cell), int(state.exists), float(timestep.reward)))
    return trace, timestep


def test_words_are_laid_out_as_the_helper_thinks():
    assert noise_words(3) == 3
    np.testing.assert_allclose(chances(noise(0.25, 0.5, 0.125, 0.75), 3), [0.25, 0.5, 0.125, 0.75])


def test_shared_low_bits_refine_every_chance():
    words = jnp.array([0, 0, 1 << 31], jnp.uint32)
    np.testing.assert_array_equal(chances(words, 3), np.full(4, 2.0**-17, np.float32))


def test_all_used_objects_exist_at_reset():
    state, timestep = SEEING.reset(jnp.zeros(0, jnp.uint32), LEVEL)
    assert (int(state.cell), int(state.exists), int(state.step)) == (0, A | B, 0)
    assert int(timestep.observation) == (A | B) * 6 + 0


@pytest.mark.parametrize("action, cell", [(UP, 0), (LEFT, 0), (STAY, 0), (RIGHT, 1), (DOWN, 3)])
def test_moves_and_edges(action, cell):
    assert run((action, noise()))[0][0][0] == cell


def test_walls_and_row_ends_block():
    assert run((DOWN, noise()), (RIGHT, noise()))[0][-1][0] == 3  # the wall beside
    assert run((DOWN, noise()), (LEFT, noise()))[0][-1][0] == 3  # not round the corner into row 0
    assert run((RIGHT, noise()), (RIGHT, noise()), (RIGHT, noise()))[0][-1][0] == 2  # nor into row 1


def test_arriving_collects_and_the_object_is_gone():
    assert run((RIGHT, noise()))[0] == [(1, B, 1.0)]


def test_nothing_reappears_in_the_step_of_its_collection():
    assert run((RIGHT, noise(a=0.0)))[0] == [(1, B, 1.0)]


def test_objects_reappear_under_the_agent_and_staying_collects_them():
    trace, _ = run((RIGHT, noise()), (STAY, noise(a=0.24)), (STAY, noise()))
    assert trace == [(1, B, 1.0), (1, A | B, 0.0), (1, B, 1.0)]


def test_objects_reappear_with_their_own_probability():
    trace, _ = run((RIGHT, noise()), (RIGHT, noise(a=0.25)), (DOWN, noise(a=0.24, b=0.0)), (UP, noise(b=0.49)))
    assert trace == [(1, B, 1.0), (2, B, 0.0), (5, A, -2.0), (2, A | B, 0.0)]


def test_present_and_unused_objects_do_not_care_for_chance():
    assert run((STAY, noise(a=0.0, b=0.0, unused=0.0)))[0] == [(0, A | B, 0.0)]


@pytest.mark.parametrize("chance, ends", [(0.49, True), (0.5, False)])
def test_collecting_ends_with_the_objects_probability(chance, ends):
    _, timestep = run((RIGHT, noise(end=chance)))
    assert (bool(timestep.terminated), bool(timestep.truncated)) == (ends, False)


def test_only_collecting_ends():
    _, timestep = run((STAY, noise(end=0.0)))
    assert not timestep.terminated
    _, timestep = run((RIGHT, noise()), (STAY, noise(end=0.0)))
    assert not timestep.terminated


@pytest.mark.parametrize("environment, terminated", [(SEEING, True), (BLIND, False)], ids=["seeing", "blind"])
def test_the_limit_terminates_who_sees_the_time_and_truncates_who_does_not(environment, terminated):
    _, timestep = run(*[(STAY, noise())] * 5, environment=environment)
    assert not timestep.terminated and not timestep.truncated
    _, timestep = run(*[(STAY, noise())] * 6, environment=environment)
    assert (bool(timestep.terminated), bool(timestep.truncated)) == (terminated, not terminated)
    np.testing.assert_allclose(timestep.time, 0.006, rtol=1e-6)


@pytest.mark.parametrize("environment", [SEEING, BLIND], ids=["seeing", "blind"])
def test_an_end_at_the_limit_is_a_termination_only(environment):
    _, timestep = run(*[(STAY, noise())] * 5, (RIGHT, noise(end=0.0)), environment=environment)
    assert timestep.terminated and not timestep.truncated


def test_observations_index_cell_and_set():
    _, timestep = run((RIGHT, noise()))
    assert int(timestep.observation) == B * 6 + 1
    assert SEEING.spec.observation.n == 6 * 2**3
