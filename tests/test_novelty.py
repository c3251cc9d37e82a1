"""Novelty search: distances by hand, an archive that is a ring, and rules that spread out where fitness misleads."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import life_of, rule_of, signature, tasks
from test_evolution import at, toy

from groove.meta import deep_ga, novelty_search, probes, ranks, strategies
from groove.meta.novelty import Archive, _enter, novelty


def archive(rows, capacity=4, entered=None):
    """An archive of behaviours f32[n, 1], the rest of it nonsense."""
    held = jnp.full((capacity, 1), 1e3).at[: len(rows), 0].set(jnp.array(rows, jnp.float32))
    return Archive(held, jnp.int32(len(rows) if entered is None else entered))


@pytest.mark.parametrize(
    ("rows", "neighbours", "want"),
    [
        ([], 1, [1.0, 1.0, 4.0]),  # behaviours 0, 1, 5
        ([], 2, [3.0, 2.5, 4.5]),
        ([], 3, [3.0, 2.5, 4.5]),  # there are but two others
        ([0.0, 7.0], 1, [0.0, 1.0, 2.0]),
        ([0.0, 7.0], 3, [(0 + 1 + 5) / 3, (1 + 1 + 4) / 3, (2 + 4 + 5) / 3]),
        ([0.0, 7.0], 4, [(0 + 1 + 5 + 7) / 4, (1 + 1 + 4 + 6) / 4, (2 + 4 + 5 + 5) / 4]),
    ],
)
def test_novelty_by_hand(rows, neighbours, want):
    got = novelty(jnp.array([[0.0], [1.0], [5.0]]), archive(rows), neighbours)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_distances_are_euclidean():
    both = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(novelty(both, Archive(jnp.zeros((1, 2)), jnp.int32(0)), 1), [5.0, 5.0])


def test_the_archive_is_a_ring():
    """Numbers 0 to 6 in four places: 4, 5, 6 have replaced the oldest; all places count once it is full."""
    held = archive([])
    for rows in ([0.0, 1.0, 2.0], [3.0, 4.0], [5.0, 6.0]):
        held = _enter(held, jnp.array(rows)[:, None])
    assert held.behaviour[:, 0].tolist() == [4.0, 5.0, 6.0, 3.0] and held.entered == 7
    np.testing.assert_allclose(novelty(jnp.array([[3.0], [9.0]]), held, 1), [0.0, 3.0])


# ----- strategies

POPULATION = 8


def itself(theta):
    return theta


def plain():
    return strategies.named("Open_ES", jnp.zeros(2), population=POPULATION)


FITNESS = jnp.array([0.5, -0.5, 0.0, 0.25, -0.5, 0.5, 0.0, -0.25])


def told(strategy, key, fitness=FITNESS):
    """(state before, candidates, state after) of a generation."""
    state, candidates = strategy.ask(jax.random.key(1), strategy.init(jax.random.key(0), jnp.ones(2)))
    return state, candidates, strategy.tell(key, state, candidates, fitness)


@pytest.mark.parametrize("make", [plain, lambda: deep_ga(population=POPULATION, parents=2)], ids=["Open_ES", "deep-ga"])
def test_without_weight_it_is_the_strategy_itself(make):
    """Bit for bit; the archive is filled all the same."""
    strategy, key = make(), jax.random.key(2)
    wrapped = novelty_search(strategy, itself, weight=0.0, neighbours=3)
    _, _, after = told(wrapped, key)
    state, candidates, _ = told(strategy, key)
    want = strategy.tell(jax.random.split(key)[0], state, candidates, FITNESS)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(after.inner), jax.tree.leaves(want), strict=True))
    assert np.array_equal(wrapped.theta(after), strategy.theta(want))
    assert wrapped.mirrored == strategy.mirrored and wrapped.population == POPULATION
    assert wrapped.info(after)["archive"] == 1 and wrapped.info(after)["novelty"] > 0


def test_of_full_weight_it_ignores_fitness():
    """Even what is not finite; what it passes on are the ranks of novelty."""
    strategy, key = plain(), jax.random.key(2)
    wrapped = novelty_search(strategy, itself, neighbours=3)
    _, candidates, one = told(wrapped, key)
    _, _, two = told(wrapped, key, jnp.full(POPULATION, jnp.nan))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))
    new = novelty(candidates, Archive(jnp.zeros((1, 2)), jnp.int32(0)), 3)
    state, _, _ = told(strategy, key)
    want = strategy.tell(key, state, candidates, ranks(new))
    np.testing.assert_allclose(wrapped.theta(one), strategy.theta(want), rtol=1e-6)
    np.testing.assert_allclose(one.novelty, new.mean(), rtol=1e-6)


def test_entrants_are_candidates_of_this_generation():
    wrapped = novelty_search(plain(), itself, neighbours=3, entrants=3, capacity=5)
    _, candidates, after = told(wrapped, jax.random.key(2))
    rows = {tuple(row) for row in np.asarray(candidates).tolist()}
    entered = [tuple(row) for row in np.asarray(after.archive.behaviour[:3]).tolist()]
    assert set(entered) <= rows and len(set(entered)) == 3 and (after.archive.behaviour[3:] == 0).all()
    _, _, other = told(wrapped, jax.random.key(3))
    assert (other.archive.behaviour != after.archive.behaviour).any()  # chance chooses them


def test_behaviour_that_is_not_finite_counts_as_nothing():
    wrapped = novelty_search(plain(), lambda theta: jnp.array([jnp.nan, jnp.inf, 1.0]) * theta[0], neighbours=3)
    _, _, after = told(wrapped, jax.random.key(2))
    assert all(np.isfinite(leaf).all() for leaf in (*after.archive, after.novelty, wrapped.theta(after)))


def test_states_keep_their_types():
    wrapped = novelty_search(plain(), itself, neighbours=3, entrants=2, capacity=5)

    def generation(state, key):
        state, candidates = wrapped.ask(key, state)
        return wrapped.tell(key, state, candidates, FITNESS), wrapped.info(state)

    start = jax.jit(wrapped.init)(jax.random.key(0), jnp.zeros(2))
    end, info = jax.jit(lambda state: jax.lax.scan(generation, state, jax.random.split(jax.random.key(0), 4)))(start)
    assert signature(start) == signature(end) and not any(weak for *_, weak in signature(start))
    assert info["archive"].tolist() == [0, 2, 4, 5]  # 6 and 8 entered, 5 are kept


def reached(weight):
    """How far 60 generations get beyond a wall of low fitness between 0.5 and 1.5, and how widely they looked."""
    strategy = deep_ga(population=16, parents=4, sigma=0.1)
    seeker = novelty_search(strategy, itself, weight=weight, neighbours=5, capacity=64, entrants=2)

    def generation(state, key):
        state, candidates = seeker.ask(key, state)
        x = candidates[:, 0]
        fitness = jnp.where(x > 1.5, 10.0, -jnp.abs(x - 0.3))
        return seeker.tell(key, state, candidates, ranks(fitness)), x

    start = seeker.init(jax.random.key(0), jnp.zeros(1))
    return np.asarray(jax.jit(lambda: jax.lax.scan(generation, start, jax.random.split(jax.random.key(1), 60))[1])())


def test_it_spreads_out_where_fitness_misleads():
    """The hill at 0.3 holds those who follow fitness; those who seek what is new pass the wall."""
    greedy, curious = reached(0.0), reached(1.0)
    assert np.abs(greedy[-20:] - 0.3).max() < 0.7 and greedy.max() < 1.5
    assert curious.max() > 2.0 and np.ptp(curious) > 3 * np.ptp(greedy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.1}, r"weight must lie in \[0, 1\], got 1.1"),
        ({"weight": float("nan")}, r"weight must lie in \[0, 1\], got nan"),
        ({"neighbours": 0}, "neighbours must be between 1 and 7, got 0"),
        ({"neighbours": 8}, "neighbours must be between 1 and 7, got 8"),
        ({"neighbours": 1, "entrants": 0}, "entrants must be between 1 and the population and the capacity, got 0"),
        (
            {"neighbours": 1, "capacity": 2, "entrants": 3},
            "entrants must be between 1 and the population and the capacity, got 3",
        ),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        novelty_search(plain(), itself, **options)


# ----- probes


def test_probes_by_hand():
    """Toy agents end at lifetime times theta; a behaviour lists all tasks of all families, in order."""
    lives = (toy(lambda agent, point: agent[0] + point[0]), toy(lambda agent, point: -agent[0]))
    behaviour = probes(lives, (at([[1.0] * 3, [2.0] * 3], [2, 3]), at([[0.0] * 3], [4])), jax.random.key(0))
    np.testing.assert_allclose(behaviour(jnp.full(3, 10.0)), [21.0, 32.0, -40.0])
    with pytest.raises(ValueError, match="rules must be one per family, 2, or none, got 1"):
        probes(lives, (), jax.random.key(0), rules=(rule_of("random"),))


def test_returns_of_probes_are_divided_by_the_scale_of_their_family():
    """Entropies, which stand behind a family's returns, are not: here of the agent's second number, and a half."""
    lives = (toy(lambda agent, point: agent[0] + point[0]), toy(lambda agent, point: -agent[0]))
    batches = (at([[1.0] * 3, [2.0] * 3], [2, 3]), at([[0.0] * 3], [4]))
    theta, scales = np.float32([10.0, 20.0, 30.0]), (2.0, 5.0)
    found = {}
    for entropies in (False, True):
        told = SimpleNamespace(diagnose=lambda agent, rollout: {"entropy": agent[1] + 0.5})
        behaviour = probes(lives, batches, jax.random.key(0), rules=(told,) * 2 if entropies else (), scales=scales)
        found[entropies] = jax.jit(behaviour)(theta)
    np.testing.assert_allclose(found[False], [10.5, 16.0, -8.0], rtol=1e-6)
    np.testing.assert_allclose(found[True], [10.5, 16.0, 40.5, 60.5, -8.0, 80.5], rtol=1e-6)


def test_probes_of_a_real_rule():
    """The same for the same theta, whatever else happens; returns, then entropies of agents that have three arms."""
    name = "lpg-fraction-and-log"
    batch = tasks(2, lifetimes=(3, 5))
    behaviour = jax.jit(probes((life_of(name),), (batch,), jax.random.key(4), rules=(rule_of(name),)))
    theta = rule_of(name).init(jax.random.key(0))
    one, other = behaviour(theta), behaviour(jax.tree.map(lambda leaf: 3 * leaf, theta))
    assert np.array_equal(one, behaviour(theta)) and (one != other).any()
    entropies = np.asarray(one[2:])
    assert one.shape == (4,) and (entropies > 0).all() and (entropies <= np.log(3) + 1e-6).all()
    assert (other[2:] != one[2:]).any()
