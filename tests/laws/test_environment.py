"""What every environment promises."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from members import FAMILIES, sample, signature

from levels.base import TIME_SCALE, Discrete, words

BATCH = 32

every_environment = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def traced(family):
    """Random actions from a seed, never reset again: first time steps [B, ...], (states, time steps) [T, B, ...]."""
    spec, reset, step = family.environment

    @jax.jit
    def played(levels, key):
        noise_key, action_key = jax.random.split(key)
        noise = words(noise_key, spec.episode_limit, BATCH, spec.noise)
        actions = jax.random.randint(action_key, (spec.episode_limit, BATCH), 0, spec.actions)

        def body(state, data):
            state, timestep = jax.vmap(step)(data[0], levels, state, data[1])
            return state, (state, timestep)

        state, first = jax.vmap(reset)(jnp.zeros((BATCH, spec.reset_noise), jnp.uint32), levels)
        return first, jax.lax.scan(body, state, (noise, actions))[1]

    return played


compiled = functools.cache(traced)


def play(family, seed=0, player=compiled):
    """Levels and what was played on them, in NumPy."""
    levels = sample(family, BATCH, seed)
    return jax.tree.map(np.asarray, (levels, *player(family)(levels, jax.random.key(seed))))


def limits(levels):
    """The steps of the longest episode of each level."""
    if isinstance(levels, dict):
        return levels["max_steps_in_episode"]
    return next(getattr(levels, name) for name in ("pulls", "length", "limit") if hasattr(levels, name))


def running(timesteps):
    """Whether the episode still ran when each step began, bool[T, B]."""
    ended = timesteps.terminated | timesteps.truncated
    return np.concatenate([np.ones((1, BATCH), bool), ~np.maximum.accumulate(ended)[:-1]])


@every_environment
def test_signatures(family):
    assert list(inspect.signature(family.environment.reset).parameters) == ["noise", "level"]
    assert list(inspect.signature(family.environment.step).parameters) == ["noise", "level", "state", "action"]
    assert hash(family.environment.spec) == hash(family.environment.spec)


@every_environment
def test_reset_and_step_return_one_structure(family):
    spec, reset, step = family.environment
    level = jax.eval_shape(family.generator.sample, jax.random.key(0))
    begun = jax.eval_shape(reset, np.zeros(spec.reset_noise, np.uint32), level)
    stepped = jax.eval_shape(step, np.zeros(spec.noise, np.uint32), level, begun[0], np.int32(0))
    assert signature(begun) == signature(stepped)
    assert not any(weak for *_, weak in signature(begun))
    dtypes = [str(leaf.dtype) for leaf in begun[1][1:]]
    assert dtypes == ["float32", "float32", "bool", "bool"]


@every_environment
def test_ten_steps_one_trace(family):
    spec, reset, step = family.environment
    traces = []

    @jax.jit
    def counted(*arguments):
        traces.append(len(arguments))
        return step(*arguments)

    level = jax.tree.map(lambda leaf: np.asarray(leaf)[0], sample(family, BATCH))
    state, _ = jax.jit(reset)(np.zeros(spec.reset_noise, np.uint32), level)
    noise = np.random.default_rng(0).integers(2**32, size=(10, spec.noise), dtype=np.uint32)
    for number in range(10):
        state, _ = counted(noise[number], level, state, np.int32(number % spec.actions))
    assert len(traces) == 1


@every_environment
def test_batch_members_are_independent(family):
    """Another level, noise and action for the first member leave the others as they were."""
    spec, reset, step = family.environment
    levels, others = (jax.tree.map(np.asarray, sample(family, BATCH, seed)) for seed in (1, 2))
    swapped = jax.tree.map(lambda a, b: np.concatenate([b[:1], a[1:]]), levels, others)
    noise = np.random.default_rng(3).integers(2**32, size=(BATCH, spec.noise), dtype=np.uint32)
    actions = np.arange(BATCH, dtype=np.int32) % spec.actions
    other_noise, other_actions = noise.copy(), actions.copy()
    other_noise[0], other_actions[0] = 7, spec.actions - 1

    def run(levels, noise, actions):
        state, _ = jax.vmap(reset)(jnp.zeros((BATCH, spec.reset_noise), jnp.uint32), levels)
        return jax.vmap(step)(noise, levels, state, actions)

    run = jax.jit(run)
    before, after = run(levels, noise, actions), run(swapped, other_noise, other_actions)
    chex.assert_trees_all_equal(*(jax.tree.map(lambda leaf: np.asarray(leaf)[1:], tree) for tree in (before, after)))


@every_environment
def test_episodes_end_once_and_at_the_limit(family):
    levels, _, (_, timesteps) = play(family)
    limit = np.asarray(limits(levels))
    ran = running(timesteps)
    terminated, truncated = np.asarray(timesteps.terminated) & ran, np.asarray(timesteps.truncated) & ran
    assert not (terminated & truncated).any()
    assert (ran.sum(axis=0) <= limit).all()
    assert ((terminated | truncated).sum(axis=0) == 1).all()
    at_limit = ran.sum(axis=0) == limit
    assert at_limit.any()
    if family.environment.spec.time:
        assert not truncated.any()
    else:
        assert truncated.any() and at_limit[truncated.any(axis=0)].all()


@every_environment
def test_time_and_observations_are_as_the_spec_says(family):
    spec = family.environment.spec
    _, first, (_, timesteps) = play(family)
    steps = np.arange(1, spec.episode_limit + 1, dtype=np.float32)[:, None] * np.ones(BATCH, np.float32)
    chex.assert_trees_all_close(np.asarray(timesteps.time), steps * np.float32(TIME_SCALE), rtol=1e-6)
    assert not np.asarray(first.time).any() and not np.asarray(first.reward).any()
    assert not np.asarray(first.terminated | first.truncated).any()
    for observation in (first.observation, timesteps.observation):
        if isinstance(spec.observation, Discrete):
            assert observation.dtype == jnp.int32 and (observation >= 0).all() and (observation < spec.observation.n).all()
        else:
            assert observation.shape[-len(spec.observation.shape) :] == spec.observation.shape


@every_environment
def test_the_same_noise_gives_the_same_episode(family):
    chex.assert_trees_all_equal(play(family, seed=4), play(family, seed=4, player=traced))
