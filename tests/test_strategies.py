"""evosax's strategies: they climb, keep their types, ignore ties, and those that are refused deserve it."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms import algorithms
from laws.members import signature

from groove.meta import ranks, strategies
from groove.meta.strategies import KINDS, REFUSED, named, shared

SIZE = 16


def test_every_strategy_of_evosax_is_used_or_refused():
    """A new release with others, or with other names, is noticed here."""
    assert set(KINDS) | set(REFUSED) == set(algorithms)
    assert not set(KINDS) & set(REFUSED)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: named("CMA_ES", jnp.zeros(3), population=4),
            "'CMA_ES' cannot be used: it keeps a full covariance.* Known: Open",
        ),
        (lambda: named("PersistentES", jnp.zeros(3), population=4), "lifetimes differ"),
        (lambda: named("OpenES", jnp.zeros(3), population=4), "unknown strategy 'OpenES'. Known: Open_ES, ARS"),
        (lambda: named("Open_ES", jnp.zeros(3), population=5), "population must be even and at least 4, got 5"),
        (lambda: named("Open_ES", jnp.zeros(3), population=2), "population must be even and at least 4, got 2"),
        (lambda: named("Open_ES", jnp.zeros(3), population=4, sigma=0.0), "sigma must be positive and finite, got 0.0"),
        (lambda: named("Open_ES", jnp.zeros(3), population=4, sigma=jnp.inf), "sigma must be positive and finite, got inf"),
        (lambda: strategies.decaying_adam(0.1, decay=1.1), "0 < decay <= 1"),
        (lambda: strategies.decaying_adam(0.1, floor=0.2), "floor <= rate"),
        (lambda: strategies.decaying_adam(float("nan")), "0 < rate < inf"),
    ],
)
def test_bad_strategies(make, message):
    with pytest.raises(ValueError, match=message):
        make()


GOAL = np.linspace(-1, 1, SIZE, dtype=np.float32)
NOWHERE = np.zeros(SIZE, np.float32)
GENERATIONS = 150


def worth(theta):
    """A quadratic, highest, 0, at GOAL: f32[..., SIZE] to f32[...]."""
    return -jnp.sum(jnp.square(theta - jnp.broadcast_to(GOAL, theta.shape)), axis=-1)


class Climb(NamedTuple):
    start: object  # states
    asked: object
    end: object
    first: jax.Array  # candidates of the first generation
    values: jax.Array  # worth of the mean after every generation


@functools.cache
def climb(name) -> Climb:
    strategy = named(name, jnp.zeros(SIZE), population=16)

    def generation(state, key):
        ask_key, tell_key = jax.random.split(key)
        state, candidates = strategy.ask(ask_key, state)
        fitness = worth(candidates)
        pairs = fitness.reshape(2, -1)
        fitness = jax.vmap(ranks, 1, 1)(pairs).ravel() if strategy.mirrored else ranks(fitness)
        state = strategy.tell(tell_key, state, candidates, fitness)
        return state, worth(strategy.theta(state))

    @jax.jit
    def run(key):
        start = strategy.init(key, jnp.zeros(SIZE))
        asked, first = strategy.ask(key, start)
        end, values = jax.lax.scan(generation, start, jax.random.split(key, GENERATIONS))
        return Climb(start, asked, end, first, values)

    return run(jax.random.key(0))


@pytest.mark.parametrize("name", KINDS)
def test_a_strategy_climbs_a_quadratic(name):
    """Upwards: fitness is maximised."""
    values = np.asarray(climb(name).values)
    assert values[-1] > -0.2 * np.sum(np.square(GOAL)), values[::30]
    assert values[-1] > values[GENERATIONS // 3] > values[0]


@pytest.mark.parametrize("name", KINDS)
def test_states_of_a_strategy_keep_their_types(name):
    found = climb(name)
    assert signature(found.start) == signature(found.asked) == signature(found.end)
    assert not any(weak for *_, weak in signature(found.start))


@pytest.mark.parametrize("name", KINDS)
def test_candidates_lie_where_sigma_and_mirrors_say(name):
    """Deviations are sigma within 5 standard errors, sigma / sqrt(2 n), of the n that are independent."""
    first = np.asarray(climb(name).first)
    if KINDS[name].mirrored or name in ("ARS", "PGPE", "CR_FM_NES"):
        assert np.array_equal(first[:8], -first[8:])
    own = first[2:] if name == "ESMC" else first  # its first two are its mean
    tolerance = 5 * 0.1 / np.sqrt(own.size)
    assert abs(own.std() - 0.1) < tolerance and (np.abs(own.std(axis=0) - 0.1) < tolerance * np.sqrt(SIZE)).all()


@pytest.mark.parametrize("name", KINDS)
def test_a_strategy_works_at_two_hundred_thousand_parameters(name):
    """One generation of four: finite, moved, and in memory of some dozens of vectors."""
    theta = {"kernel": np.zeros((400, 499), np.float32), "bias": np.zeros(400, np.float32)}
    strategy = named(name, theta, population=4)

    def generation(key, theta):
        state = strategy.init(key, theta)
        state, candidates = strategy.ask(key, state)
        state = strategy.tell(key, state, candidates, jnp.array([0.5, -0.5, 0.25, -0.25]))
        return state, strategy.theta(state), jax.tree.map(jnp.max, candidates)

    compiled = jax.jit(generation).lower(jax.random.key(0), theta).compile()
    state, moved, highest = compiled(jax.random.key(0), theta)
    vector = 200_000 * 4
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) < 16 * vector
    assert compiled.memory_analysis().temp_size_in_bytes < 60 * vector
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(moved))
    assert max(jax.tree.leaves(highest)) < 1.0  # of sigma 0.1: no direction is searched more widely than others


@functools.cache
def moves(name):
    """A strategy of eight candidates whose functions are compiled, and a generation of it: the state asked and that told."""
    strategy = named(name, NOWHERE, population=8)

    @jax.jit
    def generation(state, key, fitness):
        asked, candidates = strategy.ask(key, state)
        return asked, strategy.tell(key, asked, candidates, fitness)

    return jax.jit(strategy.init), jax.jit(strategy.theta), generation


@pytest.mark.parametrize("value", [0.0, 0.7, -np.inf])
@pytest.mark.parametrize("name", KINDS)
def test_equal_fitness_moves_nothing(name, value):
    """Exactly, also after a generation that moved: neither theta nor distribution nor optimizer, only the count."""
    init, theta_of, generation = moves(name)
    theta = np.random.default_rng(5).standard_normal(SIZE, np.float32)
    start = init(jax.random.key(0), theta)
    _, begun = generation(start, jax.random.key(1), np.arange(8, dtype=np.float32))
    assert (np.asarray(theta_of(begun)) != theta).any()
    for state in (start, begun):
        asked, after = generation(state, jax.random.key(2), np.full(8, value, np.float32))
        assert np.array_equal(theta_of(after), theta_of(state))
        assert int(after.generation_counter) == int(state.generation_counter) + 1
        kept = after.replace(generation_counter=asked.generation_counter)
        assert all(
            np.array_equal(old, new, equal_nan=True) for old, new in zip(*map(jax.tree.leaves, (asked, kept)), strict=True)
        )


WEIGHTED = tuple(name for name, kind in KINDS.items() if kind.weights)
TIES = ([5, 5, 5, 5, 5, 5, 5, 1], [5, 1, 1, 1, 1, 1, 1, 1], [3, 1, 3, 2, 2, 1, 3, 3], [1, 1, 1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize("name", WEIGHTED)
def test_ties_share_their_weights(name):
    """Sums stay what they are without ties, within rounding, which evosax's own do not; equal fitness weighs alike."""
    with jax.numpy_rank_promotion("allow"):
        algorithm = algorithms[name](8, jnp.zeros(SIZE))
        parameters = algorithm.default_params
    weights = np.asarray(parameters.weights)
    untied = np.float32([3, 1, 4, -1, 5, 9, 2, 6])
    ours = jax.jit(lambda cost: shared(parameters.weights, cost))
    shaped = jax.jit(lambda cost: algorithm.fitness_shaping_fn(None, cost, None, parameters))
    assert np.array_equal(ours(untied), weights[np.argsort(np.argsort(untied))])
    assert np.array_equal(ours(untied), shaped(untied))
    tolerance = 8 * np.finfo(np.float32).eps * np.abs(weights).sum()
    theirs = []
    for cost in map(np.float32, TIES):
        got = np.asarray(ours(cost))
        assert abs(got.sum() - weights.sum()) < tolerance
        assert all(np.ptp(got[cost == value]) == 0 for value in np.unique(cost))
        theirs.append(np.asarray(shaped(cost)).sum())
    assert np.abs(np.array(theirs) - weights.sum()).max() > 0.1
    assert np.asarray(ours(np.float32([np.nan, *TIES[0][1:]])))[0] == weights[-1]


@pytest.mark.parametrize("name", WEIGHTED)
def test_strategies_weigh_with_shared_weights(name):
    """Whoever ties may change places without theta noticing more than the order of a sum."""
    strategy, order = named(name, NOWHERE, population=8), np.array([1, 0, 3, 2, 6, 5, 4, 7])
    asked, candidates = jax.jit(strategy.ask)(jax.random.key(1), moves(name)[0](jax.random.key(0), NOWHERE))
    fitness = np.float32([1, 1, 2, 2, 3, 3, 3, 4])  # changed in place, `order` keeps it
    after = jax.jit(lambda rows: strategy.theta(strategy.tell(jax.random.key(2), asked, rows, fitness)))
    one, other = (after(rows) for rows in (np.asarray(candidates), np.asarray(candidates)[order]))
    if name == "CR_FM_NES":  # it looks at its noise as well, which keeps its order
        assert np.isfinite(one).all() and np.isfinite(other).all()
        return
    np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", ["GuidedES", "LM_MA_ES"])
def test_why_some_are_refused(name):
    """Should a release mend them, these can join: the one searches along an axis, the other's memory ignores fitness."""
    with jax.numpy_rank_promotion("allow"):
        algorithm = algorithms[name](16, jnp.zeros(SIZE))
        state = algorithm.init(jax.random.key(0), jnp.zeros(SIZE), algorithm.default_params)
        candidates, state = algorithm.ask(jax.random.key(1), state, algorithm.default_params)
        if name == "GuidedES":
            assert candidates[:, 0].std() > 2 * candidates[:, 1:].std()
            return
        up, down = (
            algorithm.tell(jax.random.key(2), candidates, sign * jnp.arange(16.0), state, algorithm.default_params)[0]
            for sign in (1, -1)
        )
        assert np.array_equal(up.M, down.M) and not np.array_equal(up.mean, down.mean)


@pytest.mark.parametrize("name", ["SimpleGA", "SAMR_GA", "PSO"])
def test_why_herds_are_refused(name):
    """The first two lose their best in one generation, the third follows what it was told earlier."""
    herd, fitness = jnp.arange(8.0)[:, None] * jnp.ones((1, SIZE)), jnp.arange(8.0)
    with jax.numpy_rank_promotion("allow"):
        algorithm = algorithms[name](8, jnp.zeros(SIZE))
        state = algorithm.init(jax.random.key(0), herd, fitness, algorithm.default_params)
        new, state = algorithm.ask(jax.random.key(1), state, algorithm.default_params)
        state = algorithm.tell(jax.random.key(2), new, fitness + 9, state, algorithm.default_params)[0]
    if name == "PSO":
        assert np.array_equal(state.fitness_best, fitness)
        return
    assert not any((row == np.asarray(herd[0])).all() for row in np.asarray(new))
    assert np.array_equal(state.fitness, fitness + 9)  # of this generation alone


def test_what_diffusion_would_hold():
    """A matrix of all parameters by all parameters, and as many generations as were asked for."""
    algorithm = algorithms["DiffusionEvolution"](8, jnp.zeros(SIZE))
    state = jax.eval_shape(lambda key: algorithm._init(key, algorithm.default_params), jax.random.key(0))
    assert state.latent_projection.shape == (SIZE, SIZE)
    assert algorithm.default_params.alphas.shape == (algorithm.num_generations,)


@pytest.mark.parametrize(("decay", "floor"), [(1.0, 1e-5), (0.5, 0.02), (0.5, 0.0)])
def test_the_rate_falls_to_its_floor(decay, floor):
    """Adam's steps under a constant gradient are the rate itself; without decay the floor is not a ceiling."""
    optimizer = strategies.decaying_adam(0.1, decay=decay, floor=floor)
    steps, state = [], optimizer.init(jnp.zeros(1))
    for _ in range(4):
        change, state = optimizer.update(jnp.ones(1), state)
        steps.append(-float(change[0]))
    np.testing.assert_allclose(steps, [max(0.1 * decay**n, floor) for n in range(4)], rtol=1e-4)
