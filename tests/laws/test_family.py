"""What every family of levels promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from members import FAMILIES, random_policy, returns, rows, sample, uniform_policy

import levels

EPISODES = 2000
ERRORS = 5  # standard errors

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
SOLVED = {name: family for name, family in FAMILIES.items() if family.value is not None}
JUDGED = {name: family for name, family in FAMILIES.items() if family.success is not None}
every_judged_family = pytest.mark.parametrize("family", JUDGED.values(), ids=JUDGED.keys())
every_solved_family = pytest.mark.parametrize("family", SOLVED.values(), ids=SOLVED.keys())


def mean_and_error(values):
    """Mean of each row and its standard error; the floor covers what rounding does to returns that never vary."""
    values = np.asarray(values, np.float64)
    return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(values.shape[1]) + 1e-6


def played(family, stacked, policy_of):
    """Returns f32[B, EPISODES] of one policy a level."""

    def one(level, key):
        return returns(family, level, policy_of(level), key, EPISODES)

    keys = jax.random.split(jax.random.key(7), stacked[0].shape[0])
    return jax.jit(lambda stacked, keys: jax.lax.map(lambda pair: one(*pair), (stacked, keys)))(stacked, keys)


def test_every_registered_family_is_a_member():
    """Names with a colon are of other libraries' environments, which an adapter resolves."""
    assert {family.name for family in FAMILIES.values() if ":" not in family.name} == set(levels.FAMILIES)
    with pytest.raises(TypeError):
        levels.FAMILIES["mine"] = levels.FAMILIES["gridworld"]


@every_solved_family
def test_the_optimal_policy_is_worth_the_optimum(family):
    stacked = sample(family, 20)
    optimum = jax.jit(jax.vmap(family.optimum))(stacked)
    attained = jax.jit(lambda stacked: jax.lax.map(lambda level: family.value(level, family.policy(level)), stacked))(
        stacked
    )
    assert optimum.dtype == jnp.float32
    np.testing.assert_allclose(attained, optimum, rtol=1e-5, atol=1e-6)


@every_solved_family
def test_the_optimal_policy_reaches_the_optimum(family):
    stacked = sample(family, 6)
    mean, error = mean_and_error(played(family, stacked, family.policy))
    assert (np.abs(mean - jax.vmap(family.optimum)(stacked)) < ERRORS * error).all()


@every_solved_family
def test_no_policy_exceeds_the_optimum(family):
    stacked, policy = sample(family, 6), random_policy(family, jax.random.key(1))
    optimum = np.asarray(jax.vmap(family.optimum)(stacked))
    mean, error = mean_and_error(played(family, stacked, lambda level: policy))
    assert (mean <= optimum + ERRORS * error).all()
    assert (jax.vmap(lambda level: family.value(level, policy))(stacked) <= optimum + 1e-5).all()


@every_solved_family
def test_values_are_what_policies_return(family):
    stacked = sample(family, 6, seed=3)
    for policy in (uniform_policy(family), random_policy(family, jax.random.key(2))):
        mean, error = mean_and_error(played(family, stacked, lambda level, policy=policy: policy))
        assert (
            np.abs(mean - jax.vmap(lambda level, policy=policy: family.value(level, policy))(stacked)) < ERRORS * error
        ).all()


@every_solved_family
def test_policies_are_distributions(family):
    spec = family.environment.spec
    table = family.policy(rows(sample(family, 1), 1)[0])(jnp.int32(0))
    assert table.shape == (spec.observation.n, spec.actions) and table.dtype == jnp.float32
    np.testing.assert_allclose(table.sum(axis=1), 1.0, rtol=1e-6)


@every_judged_family
def test_success_asks_for_three_quarters_of_a_positive_optimum(family):
    stacked = sample(family, 20)
    optimum, success = jax.vmap(family.optimum)(stacked), jax.jit(jax.vmap(family.success))
    assert optimum.dtype == jnp.float32 and (success(stacked, optimum) == (optimum > 0)).all()
    assert not success(stacked, 0.74 * optimum).any()


@every_family
def test_levels_can_be_seen(family):
    level = rows(sample(family, 1), 1)[0]
    state, _ = family.environment.reset(jnp.zeros(family.environment.spec.reset_noise, jnp.uint32), level)
    assert isinstance(family.draw(level), str) and family.draw(level)
    for picture in () if family.image is None else (family.image(level, None), family.image(level, state)):
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        assert len(np.unique(picture)) > 2


@every_family
def test_features_are_finite_numbers(family):
    features = jax.jit(jax.vmap(family.features))(sample(family, 50))
    assert features
    for name, values in features.items():
        assert values.shape == (50,) and values.dtype == jnp.float32 and np.isfinite(values).all(), name
