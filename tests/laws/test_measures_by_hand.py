"""Signals, bounds of scores, distances of distributions and a teacher's densities, by hand or by another's function."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from groove.analysis.differences import rank_correlation
from groove.base import Outcome
from groove.curricula import alp_gmm, constant
from groove.curricula.clutr.policy import Gaussian, log_density
from groove.evaluation import results
from groove.evaluation.summaries import _bounds, _entry, _thresholds
from groove.lifetime import exact, learning_curve
from groove.lifetime.signals import _signals, _Steps
from groove.report.series import Series, line, smooth
from groove.rules import random_policy
from groove.scores import uniform
from levels.bandit import bernoulli_bandit
from levels.base import TIME_SCALE, Discrete, Environment, Spec, TimeStep
from levels.base import uniform as unit

GAMMA, LAMBDA = 0.83, 0.71


def test_signals():
    """Of three episodes: one terminates in its second step, one is cut off in its third, one goes on for all five."""
    random, shape = np.random.default_rng(2), (5, 3)
    lengths = np.array([2, 3, 5])
    played = np.arange(5)[:, None] < lengths[None]
    reward, value, following = np.where(played, random.permutation(np.arange(1, 46)).reshape(3, *shape) / 8 - 2.6, 0)
    terminated, truncated = np.zeros(shape, bool), np.zeros(shape, bool)
    terminated[1, 0], truncated[2, 1], truncated[4, 2] = True, True, True
    steps = _Steps(*(np.float32(x) for x in (reward, value, following)), terminated, truncated, played)
    total = reward.sum(0)
    found = jax.jit(lambda steps: _signals(steps, jnp.float32(total), jnp.float32(0.3), gamma=GAMMA, lambda_=LAMBDA))(steps)
    advantage = np.zeros(shape)
    for episode, length in enumerate(lengths):
        after = 0.0
        for t in reversed(range(length)):
            bootstrap = 0.0 if terminated[t, episode] else following[t, episode]
            after = reward[t, episode] + GAMMA * bootstrap - value[t, episode] + GAMMA * LAMBDA * after
            advantage[t, episode] = after
    assert advantage.min() < 0 < advantage.max()
    want = [total.max(), 0.3, *(x[played].mean() for x in (value, np.abs(advantage), np.maximum(advantage, 0)))]
    np.testing.assert_allclose(np.array(found), want, rtol=1e-5)


def test_densities_of_a_teacher():
    """That of independent normal variables but for d/2 log(2 pi)."""
    mean, deviation, point = np.array([0.75, -1.5, 0.25]), np.array([0.5, 1.75, 2.5]), np.array([1.25, 0.5, -2.0])
    got = jax.jit(log_density)(Gaussian(np.float32(mean), np.float32(np.log(deviation))), np.float32(point))
    want = stats.norm.logpdf(point, mean, deviation).sum() + 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_what_counts_as_0_and_1_where_nothing_is_known():
    """What random and A2C reached at the end, if A2C gained two hundredths of either: of five tasks one is known already.

    Gains and larger sizes: 1.5 of 2; 0.5 of 25.125, too little; 0.5 of 24.25, of a loss, enough; a loss; 0.25 of 0.5.
    """
    low, high = np.array([0.5, 24.625, -24.25, 3.0, 0.25]), np.array([2.0, 25.125, -23.75, 2.5, 0.5])
    known = np.array([True, False, False, False, False])
    columns = {
        "task": np.array(list("pqrst")),
        "zero": np.where(known, 0.125, np.nan),
        "one": np.where(known, 7.0, np.nan),
        "one_is": np.where(known, results.OPTIMUM, results.UNKNOWN).astype("<U8"),
    }

    def cube(ends):
        """[points, metas, seeds, tasks], of which only the end counts."""
        spread = np.array([-0.25, 0.25])[None, :, None] + np.array([-0.5, 0.0, 0.5])[:, None, None]
        return np.stack([99.0 + 0 * (ends + spread), ends + spread])

    zero, one, is_one = _bounds(columns, tuple("pqrst"), {"random": cube(low), "a2c": cube(high)})
    np.testing.assert_allclose(zero, [0.125, np.nan, -24.25, np.nan, 0.25])
    np.testing.assert_allclose(one, [7.0, np.nan, -23.75, np.nan, 0.5])
    assert is_one.tolist() == [results.OPTIMUM, results.UNKNOWN, "a2c here", results.UNKNOWN, "a2c here"]


def test_a_rule_is_tuned_if_it_is_everywhere_and_learned_if_it_is_anywhere():
    columns = {
        "rule": np.array(list("abcabc")),
        "tuned": np.array([True, True, False, False, True, False]),
        "learned": np.array([True, True, False, False, True, False]),
    }
    found = [_entry(columns, rule, np.zeros((1, 2, 3, 4))) for rule in "abc"]
    assert [entry.tuned for entry in found] == [False, True, False]
    assert [entry.learned for entry in found] == [True, True, False]


@pytest.mark.parametrize(
    ("scores", "ends"),
    [
        ([np.linspace(0.25, 0.75, 101)], (0.0, 1.2)),
        ([np.linspace(0.25, 0.75, 101), np.append(np.linspace(-2.0, 3.0, 101), np.nan)], (-1.9, 2.9)),
        ([np.linspace(-2.0, 0.5, 101), np.linspace(0.5, 3.0, 101)], (-1.95, 2.95)),
        ([np.full(3, np.nan)], (0.0, 1.2)),
    ],
    ids=["within", "wide", "several", "lost"],
)
def test_profiles_hold_nearly_all_scores_and_what_0_and_1_are(scores, ends):
    """The middle 96 % of each rule's finite scores, and 0 to 1.2."""
    suite_result = SimpleNamespace(entries=[SimpleNamespace(scores=own) for own in scores])
    found = _thresholds(suite_result)
    np.testing.assert_allclose(found, np.linspace(*ends, 61), atol=1e-12)


def test_progress_is_that_from_the_nearest_of_the_tasks_before():
    """Over random reports, with a ring that turns: none for the first batch, which knows no task before it."""
    family = bernoulli_bandit(arms=2)
    teacher = alp_gmm(family.generator, uniform(), constant(3), size=4, block=4, window=9, history=10, components=2)
    report = jax.jit(teacher.report)
    state = jax.jit(teacher.init)(jax.random.key(0))
    task = jax.tree.map(np.asarray, state.pool.task)
    random, known, place = np.random.default_rng(0), {}, 0
    for _ in range(6):
        vector = random.random((4, family.generator.dimensions)).astype(np.float32)
        value, finished = random.normal(size=4).astype(np.float32), random.random(4) < 0.7
        tasks = task._replace(origin=task.origin._replace(vector=vector))
        state = report(state, tasks, value, Outcome(value, value), finished)
        want = dict.fromkeys(range(10), 0.0)
        before = dict(known)
        for member in np.flatnonzero(finished):
            nearest = min(before.values(), key=lambda row: np.sum((row[0] - vector[member]) ** 2), default=None)
            change = abs(value[member] - nearest[1]) if nearest else 0.0
            known[place % 10] = (vector[member], value[member], change)
            place += 1
        want |= {slot: row[2] for slot, row in known.items()}
        np.testing.assert_allclose(state.progress, [want[slot] for slot in range(10)], rtol=1e-4, atol=1e-6)
    assert place > 12


def test_smoothing_weighs_by_a_normal_kernel():
    step, value, weight = np.array([1.0, 4.0, 6.0, 9.0]), np.array([2.5, -1.25, 0.75, 3.5]), np.array([1.0, 0.5, 2.0, 1.5])
    at = np.array([0.5, 5.25, 12.0])
    kernel = weight * stats.norm.pdf(step[None], loc=at[:, None], scale=2.25)
    got = smooth(Series(step, value, weight), at, 2.25)
    np.testing.assert_allclose(got, (kernel * value).sum(1) / kernel.sum(1), rtol=1e-9)


@pytest.mark.parametrize(
    ("step", "bandwidth"),
    [([0, 100, 250], 125.0), (range(0, 1001, 10), 40.0), ([5, 6, 7], 1.0), ([3], 1.0)],
    ids=["spacing", "share", "least", "alone"],
)
def test_curves_are_smoothed_over_a_share_of_the_run_or_between_neighbours(step, bandwidth):
    """0.04 of the run's length, but no less than the mean distance of two points, and than a step."""
    at = np.array(step, np.float64)
    points = Series(at, np.cos(at), 1.5 + np.sin(at))
    place, value = line(points)
    assert (place[0], place[-1]) == (at[0], at[-1])
    np.testing.assert_allclose(value, smooth(points, place, bandwidth), rtol=1e-12)


STEPS = 4


def counting(*, cut: bool = False) -> Environment:
    """An episode of four steps: rewards and observations that count them, whatever the agent does; `cut` off, or over."""

    def at(step):
        time, ended = step.astype(jnp.float32) * TIME_SCALE, step >= STEPS
        paid = jnp.where(step > 0, step + 0.25, 0.0).astype(jnp.float32)
        return TimeStep(step % 3, time, paid, ended & (not cut), ended & cut)

    spec = Spec(Discrete(3), time=True, actions=2, episode_limit=STEPS, noise=0, reset_noise=0)
    return Environment(
        spec,
        lambda noise, level: (jnp.int32(0), at(jnp.int32(0))),
        lambda noise, level, state, action: (state + 1, at(state + 1)),
    )


@pytest.mark.parametrize("cut", [False, True], ids=["terminated", "truncated"])
def test_a_walk_adds_up_what_is_paid_until_the_episode_ends(cut):
    """1.25, 2.25, 3.25 and 4.25; nothing afterwards."""
    world = counting(cut=cut)
    rule = random_policy(world.spec)
    found = jax.jit(lambda key: learning_curve.walk(rule, world, key, (), (), steps=6))(jax.random.key(0))
    assert found.total.tolist() == [0.0, 1.25, 3.5, 6.75, 11.0, 11.0, 11.0]
    assert found.state.tolist() == [0, 1, 2, 3, 4, 4, 4]
    assert found.running.tolist() == [True] * 4 + [False] * 3


def test_exact_returns_are_of_policies_that_know_the_time():
    """A family's `value` is given the odds of all observations at a step, here 700; time is in thousandths."""
    table, time = np.float32([[0.5, -1.25], [2.0, 0.75], [-0.5, 1.5]]), np.float32([1.75, -0.5])
    rule = random_policy(counting().spec)
    rule = rule._replace(policy=lambda agent, seen, t: jnp.asarray(table)[seen] + t * jnp.asarray(time))
    measure = exact(rule, counting(), lambda level, policy: jnp.sum(policy(jnp.int32(700))[:, 0] * level))
    level = np.float32([1.0, 10.0, 100.0])
    got = jax.jit(lambda: measure(jax.random.key(0), (), jnp.asarray(level), jnp.array(True)))().episode_return
    logits = np.float64(table) + 0.7 * time
    np.testing.assert_allclose(got, np.sum(np.exp(logits[:, 0]) / np.exp(logits).sum(1) * level), rtol=1e-5)


def test_intervals_of_rank_correlations_hold_95_of_100_resamples():
    """Of pairs drawn with replacement, whose ranks are taken anew."""
    pairs = np.stack([np.arange(12) % 7 + 0.5, (np.arange(12) * 5 % 11) ** 1.5], axis=1)
    random = np.random.default_rng(3)
    found = [stats.spearmanr(*pairs[random.integers(12, size=12)].T).statistic for _ in range(300)]
    want = np.quantile(found, [0.025, 0.975])
    low, point, high = rank_correlation(pairs, seed=3, repetitions=300)
    np.testing.assert_allclose([low, point, high], [want[0], stats.spearmanr(*pairs.T).statistic, want[1]], rtol=1e-6)


def test_uniform_numbers_are_multiples_of_2_to_the_minus_24_below_1():
    words = np.array([0, 255, 256, 511, 2**31, 2**32 - 257, 2**32 - 1], np.uint32)
    got = np.asarray(jax.jit(unit)(words)) * 2.0**24
    assert got.tolist() == [0, 0, 1, 1, 2**23, 2**24 - 2, 2**24 - 1]
