"""What every family of levels promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from members import FAMILIES, random_table, returns, rows, sample, uniform_table

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


@functools.cache
def lived(family, optimal=False):
    """Returns f32[B, EPISODES] and values f32[B] of a policy's table, or of each level's optimal policy, compiled."""

    @jax.jit
    def measured(stacked, table):
        def one(pair):
            level, key = pair
            policy = family.policy(level) if optimal else lambda step: table[step]
            return returns(family, level, policy, key, EPISODES), family.value(level, policy)

        keys = jax.random.split(jax.random.key(7), stacked[0].shape[0])
        return jax.lax.map(one, (stacked, keys))

    return lambda stacked, table=None: jax.tree.map(np.asarray, measured(stacked, table))


@functools.cache
def optima(family):
    """Of a batch of levels, compiled."""
    return jax.jit(jax.vmap(family.optimum))


def test_every_registered_family_is_a_member():
    """Names with a colon are of other libraries' environments, which an adapter resolves."""
    assert {family.name for family in FAMILIES.values() if ":" not in family.name} == set(levels.FAMILIES)
    with pytest.raises(TypeError):
        levels.FAMILIES["mine"] = levels.FAMILIES["gridworld"]


@every_solved_family
def test_the_optimal_policy_is_worth_the_optimum(family):
    stacked = sample(family, 20)
    optimum = optima(family)(stacked)
    attained = jax.jit(lambda stacked: jax.lax.map(lambda level: family.value(level, family.policy(level)), stacked))
    assert optimum.dtype == jnp.float32
    np.testing.assert_allclose(attained(stacked), optimum, rtol=1e-5, atol=1e-6)


@every_solved_family
def test_the_optimal_policy_reaches_the_optimum(family):
    stacked = sample(family, 6)
    mean, error = mean_and_error(lived(family, optimal=True)(stacked)[0])
    assert (np.abs(mean - optima(family)(stacked)) < ERRORS * error).all()


@every_solved_family
def test_no_policy_exceeds_the_optimum(family):
    stacked = sample(family, 6)
    gained, value = lived(family)(stacked, random_table(family, 1))
    optimum, (mean, error) = np.asarray(optima(family)(stacked)), mean_and_error(gained)
    assert (mean <= optimum + ERRORS * error).all()
    assert (value <= optimum + 1e-5).all()


@every_solved_family
def test_values_are_what_policies_return(family):
    stacked = sample(family, 6, seed=3)
    for table in (uniform_table(family), random_table(family, 2)):
        gained, value = lived(family)(stacked, table)
        mean, error = mean_and_error(gained)
        assert (np.abs(mean - value) < ERRORS * error).all()


@every_solved_family
def test_policies_are_distributions(family):
    spec = family.environment.spec
    table = jax.jit(lambda level: family.policy(level)(jnp.int32(0)))(rows(sample(family, 6), 1)[0])
    assert table.shape == (spec.observation.n, spec.actions) and table.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(table).sum(axis=1), 1.0, rtol=1e-6)


@every_judged_family
def test_success_asks_for_three_quarters_of_a_positive_optimum(family):
    stacked = sample(family, 20)
    optimum, success = np.asarray(optima(family)(stacked)), jax.jit(jax.vmap(family.success))
    assert optimum.dtype == np.float32 and (np.asarray(success(stacked, optimum)) == (optimum > 0)).all()
    assert not np.asarray(success(stacked, np.float32(0.74) * optimum)).any()


@every_family
def test_levels_can_be_seen(family):
    level = rows(sample(family, 6), 1)[0]
    state, _ = jax.jit(family.environment.reset)(np.zeros(family.environment.spec.reset_noise, np.uint32), level)
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
