"""Statistics: by hand, by simulation, and against rliable and SciPy."""

import numpy as np
import pytest
import scipy.stats

from groove.statistics import (
    Interval,
    clustered_bootstrap,
    interquartile_mean,
    median,
    nested_bootstrap,
    optimality_gap,
    stratified_bootstrap,
)
from groove.statistics.bootstrap import ends


@pytest.mark.parametrize(("confidence", "want"), [(0.8, (1.0, 7.0)), (0.9, (-np.inf, 8.0)), (0.5, (2.0, 6.0))])
def test_ends_beside_an_infinite_draw_are_the_nearest_draws(confidence, want):
    """Of the places 0.8 and 7.2, 0.4 and 7.6, 2 and 6 among nine; where all are finite, numbers lie between them."""
    draws = np.random.default_rng(0).permutation([-np.inf, *range(1, 9)])
    assert ends(draws, confidence) == want
    np.testing.assert_allclose(ends(np.maximum(draws, 0.0), 0.8), (0.8, 7.2))


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([5.0], 5.0),
        ([1.0, 2.0, 3.0], 2.0),  # fewer than four: nothing is cut
        ([0.0, 1.0, 3.0, 100.0], 2.0),  # one cut from either end
        ([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 5.0),  # nine: two from either end
        ([-1e9, 1.0, 1.0, 1.0, 4.0, 1e9], 1.75),
    ],
)
def test_interquartile_mean_by_hand(values, want):
    assert interquartile_mean(values) == want


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (2, 0), (0, 1, 2)])
def test_interquartile_mean_along_axes_is_a_trimmed_mean(axis):
    x = np.random.default_rng(0).normal(size=(5, 7, 6))
    if isinstance(axis, tuple):
        kept = [i for i in range(3) if i not in axis]
        rows = np.transpose(x, (*kept, *axis)).reshape(*(x.shape[i] for i in kept), -1)
        want = scipy.stats.trim_mean(rows, 0.25, axis=-1)
    else:
        want = scipy.stats.trim_mean(x, 0.25, axis=axis)
    np.testing.assert_allclose(interquartile_mean(x, axis), want, rtol=1e-12, atol=1e-14)


def test_interquartile_mean_does_not_hide_nan():
    got = interquartile_mean([[1.0, 2.0, 3.0, 4.0, np.nan], [1.0, 2.0, 3.0, 4.0, 5.0]], 1)
    np.testing.assert_array_equal(got, [np.nan, 3.0])


@pytest.mark.parametrize(("shape", "axis"), [((0,), None), ((3, 0), 1), ((0, 3), 0)])
def test_interquartile_mean_of_nothing_is_an_error(shape, axis):
    with pytest.raises(ValueError, match="x must have at least 1 value along axis"):
        interquartile_mean(np.zeros(shape), axis)


def test_optimality_gap_by_hand():
    scores = [[0.0, 0.5], [2.0, 1.0]]
    assert optimality_gap(scores) == 0.375
    assert optimality_gap(scores, target=2.0) == 1.125
    np.testing.assert_array_equal(optimality_gap(scores, 0), [0.5, 0.25])


def test_interval_of_what_does_not_vary_is_a_point():
    assert stratified_bootstrap(np.tile([1.0, 4.0], (6, 1)), np.mean, seed=0) == Interval(2.5, 2.5, 2.5)
    assert stratified_bootstrap([[1.0, 4.0]], np.mean, seed=0) == Interval(2.5, 2.5, 2.5)


def test_the_seed_decides_and_large_samples_come_in_blocks(monkeypatch):
    scores = np.random.default_rng(0).normal(size=(8, 5))
    first = stratified_bootstrap(scores, seed=1, repetitions=300)
    assert first == stratified_bootstrap(scores, seed=1, repetitions=300)
    assert first != stratified_bootstrap(scores, seed=2, repetitions=300)
    monkeypatch.setattr("groove.statistics.bootstrap.BLOCK", 8 * 5 * 7)
    blocked = stratified_bootstrap(scores, seed=1, repetitions=300)
    assert blocked.low < blocked.point == first.point < blocked.high


def test_exact_interval_of_two_runs_on_one_task():
    """The mean of two draws from {0, 1} is 0, 1/2, 1 with probability 1/4, 1/2, 1/4: 40 % confidence gives [1/2, 1/2]."""
    assert stratified_bootstrap([[0.0], [1.0]], np.mean, seed=0, confidence=0.4) == Interval(0.5, 0.5, 0.5)
    assert stratified_bootstrap([[0.0], [1.0]], np.mean, seed=0, confidence=0.6) == Interval(0.0, 0.5, 1.0)


def test_tasks_are_strata_unless_they_are_resampled():
    """Tasks that differ and runs that do not: no width over runs, plenty over tasks."""
    scores = np.tile(np.arange(10.0), (5, 1))
    fixed = stratified_bootstrap(scores, np.mean, seed=0)
    sampled = stratified_bootstrap(scores, np.mean, seed=0, resample_tasks=True)
    assert fixed == Interval(4.5, 4.5, 4.5)
    deviation = np.std(np.arange(10)) / np.sqrt(10)  # of the mean of ten tasks
    np.testing.assert_allclose([sampled.low, sampled.high], [4.5 - 1.96 * deviation, 4.5 + 1.96 * deviation], atol=0.2)


def test_coverage_of_a_known_mean():
    """Of normal runs: the percentile interval of n runs is a normal one, too narrow by sqrt((n - 1) / n)."""
    random = np.random.default_rng(0)
    trials, runs, tasks = 500, 20, 6
    truth = np.arange(tasks)
    covered = 0
    for trial in range(trials):
        scores = random.normal(truth, size=(runs, tasks))
        interval = stratified_bootstrap(scores, np.mean, seed=trial, repetitions=400, confidence=0.9)
        covered += interval.low <= truth.mean() <= interval.high
    want = 2 * scipy.stats.norm.cdf(1.645 * np.sqrt((runs - 1) / runs)) - 1
    assert abs(covered / trials - want) < 4 * np.sqrt(want * (1 - want) / trials) + 0.01  # 0.01: 400 repetitions


def test_the_median_is_of_tasks_not_of_runs():
    scores = np.array([[0.0, 1.0, 5.0], [2.0, 1.0, 6.0]])
    assert median(scores) == 1.0 and np.median(scores) == 1.5
    assert median(np.stack([scores, 2 * scores]), (1, 2)).tolist() == [1.0, 2.0]


@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")  # arch's, of what rliable hands it
@pytest.mark.parametrize("resample_tasks", [False, True])
def test_agrees_with_rliable(resample_tasks):
    library = pytest.importorskip("rliable.library", exc_type=ImportError)
    metrics = pytest.importorskip("rliable.metrics", exc_type=ImportError)
    scores = np.random.default_rng(3).gamma(2.0, size=(10, 7))
    assert interquartile_mean(scores) == pytest.approx(metrics.aggregate_iqm(scores), rel=1e-12)
    assert optimality_gap(scores) == pytest.approx(metrics.aggregate_optimality_gap(scores), rel=1e-12)
    assert median(scores) == pytest.approx(metrics.aggregate_median(scores), rel=1e-12)
    assert nested_bootstrap(scores[None], median, seed=0, repetitions=2).point == median(scores)
    assert np.mean(scores) == pytest.approx(metrics.aggregate_mean(scores), rel=1e-12)
    points, intervals = library.get_interval_estimates(
        {"a": scores},
        lambda x: np.array([metrics.aggregate_iqm(x)]),
        task_bootstrap=resample_tasks,
        reps=4000,
        random_state=np.random.RandomState(0),
    )
    ours = stratified_bootstrap(scores, seed=0, repetitions=4000, resample_tasks=resample_tasks)
    assert ours.point == pytest.approx(points["a"][0])
    error = 0.05 * (ours.high - ours.low)  # an end is a 2.5 % quantile of 4000: 1.4 % of the width each, one deviation
    np.testing.assert_allclose([ours.low, ours.high], intervals["a"][:, 0], atol=2 * error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": [1.0, 2.0]}, r"scores must have shape \[runs, tasks\].*got shape \(2,\)"),
        ({"scores": np.zeros((0, 3))}, r"got shape \(0, 3\)"),
        ({"scores": [[1.0, np.inf]]}, "scores must be finite, or NaN where a run diverged, got inf"),
        ({"repetitions": 0}, "repetitions must be at least 1, got 0"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1, got 1.0"),
        ({"confidence": float("nan")}, "confidence must be between 0 and 1, got nan"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        stratified_bootstrap(**({"scores": [[1.0], [2.0]], "seed": 0} | arguments))


def test_whole_runs_are_resampled():
    """Tasks that move together are one draw: the interval is that of the runs' means, far wider than the stratified one."""
    means = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    scores = np.repeat(means[:, None], 40, axis=1)
    found = clustered_bootstrap(scores, statistic=np.mean, seed=0, repetitions=20_000)
    spread = means.std() / np.sqrt(5)  # of the mean of five draws
    assert found.point == 2.0
    np.testing.assert_allclose([found.low, found.high], [2 - 1.96 * spread, 2 + 1.96 * spread], atol=0.15)
    apart = stratified_bootstrap(scores, statistic=np.mean, seed=0)
    assert apart.high - apart.low < 0.4 * (found.high - found.low)


@pytest.mark.parametrize(("changes", "message"), [({"repetitions": 0}, "repetitions"), ({"confidence": 1.0}, "confidence")])
def test_a_clustered_bootstrap_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        clustered_bootstrap([[1.0]], seed=0, **changes)
