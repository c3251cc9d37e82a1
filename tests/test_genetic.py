"""Deep GA: the elite stays as it is and comes first, parents come from the top, and it climbs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import signature
from test_strategies import SIZE, worth

from groove.meta import deep_ga

POPULATION, SIGMA = 8, 0.01
FAR = 10.0 * jnp.arange(POPULATION, dtype=jnp.float32)[:, None] * jnp.ones((1, 3))  # so that descent shows
STRATEGY = deep_ga(population=POPULATION, parents=3, sigma=SIGMA)
breed = jax.jit(lambda key, fitness: STRATEGY.tell(key, STRATEGY.init(key, jnp.zeros(3)), FAR, fitness).members)


def elders(members):
    """Whose child each member is."""
    return np.round(np.asarray(members)[:, 0] / 10).astype(int)


def test_the_first_generation_is_of_one_kind():
    """Theta itself, then mutations of it: they deviate by sigma, each in its own way."""
    theta = {"kernel": jnp.ones((40, 30)), "bias": jnp.zeros(50)}
    state = STRATEGY.init(jax.random.key(0), theta)
    same, candidates = STRATEGY.ask(jax.random.key(1), state)
    assert same is state and candidates is state.members
    assert signature(STRATEGY.theta(state)) == signature(theta)
    for start, leaf in zip(jax.tree.leaves(theta), jax.tree.leaves(candidates), strict=True):
        assert np.array_equal(leaf[0], start)
        noise = np.asarray(leaf[1:] - start[None])
        assert abs(noise.std() - SIGMA) < 5 * SIGMA / np.sqrt(2 * noise.size)
        assert np.unique(noise.reshape(7, -1)[:, 0]).size == 7


def test_the_elite_goes_on_unchanged_and_first():
    fitness = jnp.array([0.0, 5.0, 1.0, 9.0, 2.0, 8.0, 3.0, 4.0])
    members = breed(jax.random.key(0), fitness)
    assert np.array_equal(members[0], FAR[3])
    assert (np.asarray(members[1:]) != np.asarray(FAR)[elders(members)[1:]]).all()  # all others are new
    again = breed(jax.random.key(1), fitness)
    assert np.array_equal(again[0], FAR[3]) and (again[1:] != members[1:]).all()


def test_parents_come_from_the_top_alone_and_alike():
    """Each of the three best has a third of the children, within 5 standard errors."""
    fitness = jnp.array([0.0, 5.0, 1.0, 9.0, 2.0, 8.0, 3.0, 4.0])
    members = jax.jit(jax.vmap(lambda key: breed(key, fitness)))(jax.random.split(jax.random.key(0), 200))
    chosen = np.array([elders(generation)[1:] for generation in members]).ravel()
    assert set(chosen) == {3, 5, 1}
    error = np.sqrt(1 / 3 * 2 / 3 / chosen.size)
    assert all(abs((chosen == parent).mean() - 1 / 3) < 5 * error for parent in (3, 5, 1))


def test_mutations_deviate_by_sigma():
    members = jax.jit(jax.vmap(lambda key: breed(key, jnp.arange(8.0))))(jax.random.split(jax.random.key(0), 200))
    noise = np.concatenate([(np.asarray(m) - np.asarray(FAR)[elders(m)])[1:] for m in members])
    assert abs(noise.std() - SIGMA) < 5 * SIGMA / np.sqrt(2 * noise.size) and abs(noise.mean()) < 5 * SIGMA / np.sqrt(
        noise.size
    )


def test_an_elite_that_is_equalled_stays():
    """Theta is exactly what it was; the children are those of the first three, theta's among them, and new."""
    assert np.array_equal(breed(jax.random.key(0), jnp.zeros(8))[0], FAR[0])
    assert set(elders(breed(jax.random.key(0), jnp.zeros(8)))) <= {0, 1, 2}


def test_fitness_that_is_not_finite_ranks_last():
    fitness = jnp.array([jnp.nan, -5.0, jnp.inf, -9.0, -7.0, jnp.nan, -jnp.inf, jnp.nan])
    members = jax.jit(jax.vmap(lambda key: breed(key, fitness)))(jax.random.split(jax.random.key(0), 20))
    assert (np.asarray(members[:, 0]) == np.asarray(FAR[1])).all()
    assert {int(i) for generation in members for i in elders(generation)} == {1, 3, 4}


def test_it_climbs():
    """And never falls: where fitness is exact, the elite's is the best so far."""
    strategy = deep_ga(population=32, parents=8, sigma=0.05)

    def generation(state, key):
        state, candidates = strategy.ask(key, state)
        state = strategy.tell(key, state, candidates, worth(candidates))
        return state, worth(strategy.theta(state))

    @jax.jit
    def run(key):
        return jax.lax.scan(generation, strategy.init(key, jnp.zeros(SIZE)), jax.random.split(key, 150))

    start = strategy.init(jax.random.key(0), jnp.zeros(SIZE))
    end, values = run(jax.random.key(0))
    assert signature(end) == signature(start) and not any(weak for *_, weak in signature(end))
    assert values[-1] > 0.2 * worth(jnp.zeros(SIZE)) and (np.diff(values) >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 5, "parents": 2}, "population must be even and at least 4, got 5"),
        ({"population": 2, "parents": 1}, "population must be even and at least 4, got 2"),
        ({"population": 4, "parents": 0}, "parents must be between 1 and 3, got 0"),
        ({"population": 4, "parents": 4}, "parents must be between 1 and 3, got 4"),
        ({"population": 4, "parents": 2, "sigma": 0.0}, "sigma must be positive and finite, got 0.0"),
        ({"population": 4, "parents": 2, "sigma": float("inf")}, "sigma must be positive and finite, got inf"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        deep_ga(**options)
