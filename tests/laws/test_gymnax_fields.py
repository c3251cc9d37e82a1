"""Every numeric field of every gymnax environment is followed, by resets as by steps: where gymnax's own depends on it.

Both are traced, not compiled; what they depend on is what they use.
"""

import dataclasses
import functools

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval

from levels.adapters.gymnax import from_gymnax
from levels.adapters.gymnax.fields import Range, _moved

LIMIT = "max_steps_in_episode"
KEY = jax.ShapeDtypeStruct((2,), jnp.uint32)
ACTION = jax.ShapeDtypeStruct((), jnp.int32)


def numeric(parameters) -> dict[str, tuple[float, float]]:
    """A range for each field that is a number."""
    found = {}
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        kind = np.asarray(value).dtype.kind
        if np.ndim(value) or kind not in "fiub":
            continue
        step = 0.5 if kind == "f" and field.name != LIMIT else 1
        found[field.name] = (False, True) if kind == "b" else (value, value + step)
    return found


@functools.cache
def usable() -> dict[str, dict]:
    """Ranges by name, of the environments whose actions are discrete."""
    found = {}
    for name in gymnax.registered_envs:
        if name.startswith("MNIST"):  # downloads its pictures
            continue
        inner, parameters = gymnax.make(name)
        if hasattr(inner.action_space(parameters), "n"):
            found[name] = numeric(parameters)
    return found


def used(function, level, *arguments) -> set[str]:
    """The fields on which results of `function(level, *arguments)` depend."""
    with jax.numpy_rank_promotion("allow"):
        jaxpr = jax.make_jaxpr(function)(level, *arguments).jaxpr
    own = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1]
    return {field for field, one in zip(sorted(level), own, strict=False) if one}


def typed(noise):
    return jax.random.wrap_key_data(noise, impl="threefry2x32")


@pytest.mark.parametrize("name", sorted(usable()))
def test_fields_are_followed(name):
    inner, parameters = gymnax.make(name)
    family = from_gymnax(name, ranges=usable()[name])
    level = jax.eval_shape(family.generator.sample, jax.ShapeDtypeStruct((), jax.random.key(0).dtype))
    assert set(level) == set(usable()[name])
    defaults = jax.tree.map(jnp.asarray, parameters)

    def reset(level, noise):
        return inner.reset_env(typed(noise), defaults.replace(**level))

    def step(level, noise, state, action):
        chosen = defaults.replace(**level)
        observation, after, reward, ended, _ = inner.step_env(typed(noise), state, action, chosen)
        return observation, after, reward, ended, inner.is_truncated(after, chosen)

    with jax.numpy_rank_promotion("allow"):
        state = jax.eval_shape(inner.reset_env, jax.ShapeDtypeStruct((), jax.random.key(0).dtype), defaults)[1]
    known = used(reset, level, KEY), used(step, level, KEY, state, ACTION) | {LIMIT}
    begun = jax.eval_shape(family.environment.reset, KEY, level)[0]
    environment = family.environment
    found = (
        used(lambda level, noise: environment.reset(noise, level), level, KEY),
        used(lambda level, noise, *rest: environment.step(noise, level, *rest), level, KEY, begun, ACTION),
    )
    assert found == known


def test_a_limit_beyond_gymnaxs_own_is_followed():
    """Of an episode that has as many steps behind it as gymnax allows by default: MountainCar's is not cut off at 200."""
    family = from_gymnax("MountainCar-v0", ranges={LIMIT: (203, 203)})

    @jax.jit
    def cut(passed):
        level, noise = {LIMIT: jnp.int32(203)}, jnp.zeros(2, jnp.uint32)
        state = family.environment.reset(noise, level)[0]
        state = state._replace(inner=state.inner.replace(time=passed), step=passed)
        return family.environment.step(noise, level, state, jnp.int32(1))[1].truncated

    assert [bool(cut(np.int32(passed))) for passed in (198, 199, 200, 201, 202)] == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("drawn", "value", "want"),
    [
        (Range(2, 5, np.int32), 3, [2, 2, 2, 2, 4, 4, 4, 4]),
        (Range(2, 5, np.int32), 5, [4] * 8),
        (Range(0, 40, np.int32), 20, [16, 17, 18, 19, 21, 21, 23, 24]),
        (Range(0, 40, np.int32), 2, [6, 5, 0, 1, 3, 3, 5, 6]),
        (Range(0.5, 2.5, np.float32), 1.5, [1.302, 1.4, 1.448, 1.498, 1.5, 1.548, 1.6, 1.652]),
        (Range(0.5, 2.5, np.float32), 2.45, [2.252, 2.35, 2.398, 2.448, 2.45, 2.498, 2.35, 2.298]),
        (Range(0, 1, np.bool_), True, [False] * 8),
    ],
    ids=str,
)
def test_edits_move_a_field_by_up_to_a_tenth_of_its_range(drawn, value, want):
    """Integers by 1 at least; where that would lead beyond an end, the other way."""
    u = np.float32([-0.99, -0.5, -0.26, -0.01, 0.0, 0.24, 0.5, 0.76])
    got = jax.jit(jax.vmap(lambda u: _moved(u, jnp.asarray(value, drawn.dtype), drawn)))(u)
    assert got.dtype == drawn.dtype
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=1e-5)
