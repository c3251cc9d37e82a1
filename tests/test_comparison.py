"""Rules beside one another, worst tasks, profiles, intervals over meta-seeds: by hand, simulated, against rliable."""

import numpy as np
import pytest
import scipy.stats

from groove.statistics import (
    Interval,
    nested_bootstrap,
    performance_profile,
    probability_of_improvement,
    share_below,
    stratified_bootstrap,
    worst_count,
    worst_mean,
)
from groove.statistics.bootstrap import nested_rows


def runs(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_improvement_by_hand():
    """Task one: 3 of 4 pairs and a tie of the fourth; task two: none."""
    x, y = [[[2.0, 0.0], [1.0, 0.0]]], [[[1.0, 5.0], [0.0, 5.0]]]
    assert probability_of_improvement(x, y, seed=0).point == pytest.approx((3.5 / 4 + 0) / 2)
    assert probability_of_improvement(y, x, seed=0).point == pytest.approx(1 - (3.5 / 4 + 0) / 2)


def test_improvement_of_what_does_not_vary():
    assert probability_of_improvement([[[1.0], [1.0]]], [[[0.0], [0.0]]], seed=0) == Interval(1.0, 1.0, 1.0)


@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")
def test_improvement_and_profiles_agree_with_rliable():
    library = pytest.importorskip("rliable.library", exc_type=ImportError)
    metrics = pytest.importorskip("rliable.metrics", exc_type=ImportError)
    x, y = runs((8, 5)) + 0.3, runs((6, 5), seed=1)
    ours = probability_of_improvement(x[None], y[None], seed=0)
    points, intervals = library.get_interval_estimates(
        {"pair": (x, y)}, metrics.probability_of_improvement, reps=2000, random_state=np.random.RandomState(0)
    )
    assert ours.point == pytest.approx(float(np.ravel(points["pair"])[0]))
    width = ours.high - ours.low
    np.testing.assert_allclose([ours.low, ours.high], np.ravel(intervals["pair"]), atol=0.15 * width)
    thresholds = np.linspace(-2, 2, 9)
    profiles, bands = library.create_performance_profile({"x": x}, thresholds, reps=2000)
    mine = performance_profile(x[None], thresholds, seed=0)
    np.testing.assert_allclose(mine.point, profiles["x"], atol=1e-12)
    np.testing.assert_allclose(np.stack([mine.low, mine.high]), bands["x"], atol=0.051)  # steps of 1 / 40


def test_share_below_by_hand():
    """Means 0.7 and 0.8 of 1: one is below 0.75; where the baseline learned nothing, nobody is below it."""
    assert share_below([[[0.6, 0.8, -1.0], [0.8, 0.8, -1.0]]], [[[1.0, 1.0, 0.0]]], seed=0).point == pytest.approx(1 / 3)


def test_worst_tasks_are_scored_by_others():
    """Run one chooses task 0, run two task 1; each is scored by the other."""
    found = worst_mean([[[0.0, 1.0, 5.0], [3.0, 0.5, 5.0]]], share=1 / 3, seed=0)
    assert found.point == pytest.approx((3.0 + 1.0) / 2)


def test_every_learned_rule_fails_in_its_own_places():
    """Each meta-seed's runs fail on a task of their own: the mean over the worst is that failure, not diluted by others."""
    table = np.ones((3, 4, 20))
    table[np.arange(3), :, np.arange(3)] = -10.0
    assert worst_mean(table, share=0.05, seed=0) == (-10.0, -10.0, -10.0)


@pytest.mark.parametrize(("number", "low"), [(4, 0.6), (8, 0.8)])
def test_coverage_of_the_mean_over_the_worst(number: int, low: float):
    """Tasks of known means, noise of runs: of 100 intervals most hold what many runs reach; with four runs too few do."""
    random = np.random.default_rng(0)
    means = random.normal(size=40)
    truth = worst_mean(means + 0.5 * random.normal(size=(1, 2000, 40)), seed=0).point
    found = [worst_mean(means + 0.5 * random.normal(size=(1, number, 40)), seed=i) for i in range(100)]
    assert low <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99


@pytest.mark.parametrize(("tasks", "share", "count"), [(3, 0.05, 1), (30, 0.06, 2), (30, 0.04, 1), (9, 0.3, 3), (4, 1.0, 4)])
def test_the_worst_are_the_nearest_number_of_tasks(tasks: int, share: float, count: int):
    """Shares of 0.15, 1.8, 1.2, 2.7 and 4 tasks, at least one; all runs find task n worth n."""
    assert worst_count(tasks, share) == count
    assert worst_mean(np.tile(np.arange(1.0, tasks + 1), (1, 2, 1)), share=share, seed=0).point == (count + 1) / 2


def test_few_runs_have_no_interval_of_the_worst():
    low, point, high = worst_mean(runs((2, 3, 40)), seed=0)
    assert np.isnan([low, high]).all() and np.isfinite(point)
    low, point, high = worst_mean(runs((2, 4, 40)), seed=0)
    assert low < point < high


def test_bad_luck_does_not_count_among_the_worst():
    """Tasks that are alike: the naive mean over the lowest scores is far below 0, this is not."""
    found = [worst_mean(runs((1, 4, 200), seed), share=0.05, seed=0).point for seed in range(40)]
    naive = np.mean(np.sort(runs((4, 200)), axis=1)[:, :10])
    assert naive < -1.5
    assert abs(np.mean(found)) < 5 * np.std(found) / np.sqrt(len(found))


def test_one_run_has_nobody_to_score_its_choice():
    assert worst_mean([[[0.0, 1.0]]], seed=0) is None


def test_profile_by_hand():
    found = performance_profile([[[0.0, 1.0], [2.0, 3.0]]], [-1.0, 0.0, 1.5, 3.0], seed=0)
    assert found.point.tolist() == [1.0, 0.75, 0.5, 0.0]
    assert (found.low <= found.point).all() and (found.point <= found.high).all()


def test_one_meta_seed_is_stratified():
    table = runs((10, 6))
    nested, plain = (
        f(x, np.mean, seed=0, repetitions=4000) for f, x in ((nested_bootstrap, table[None]), (stratified_bootstrap, table))
    )
    assert nested.point == plain.point
    np.testing.assert_allclose(nested, plain, atol=0.05 * (plain.high - plain.low) * 2)


def test_rows_are_drawn_within_their_meta_seed():
    rows = nested_rows(np.random.default_rng(0), 50, (3, 4, 5))
    assert rows.shape == (50, 12, 5)
    groups = rows.reshape(50, 3, 4, 5) // 4
    assert (groups == groups[:, :, :1, :1]).all()  # a drawn meta-seed is one for all its runs and tasks


def test_coverage_where_rules_differ():
    """An effect of the meta-seed and noise of runs, both normal: nested intervals cover as a normal one of n rules would."""
    random = np.random.default_rng(0)
    trials, metas, agents, tasks = 300, 12, 4, 3
    covered = narrow = 0
    for trial in range(trials):
        table = random.normal(size=(metas, 1, 1)) + 0.5 * random.normal(size=(metas, agents, tasks))
        nested = nested_bootstrap(table, np.mean, seed=trial, repetitions=300, confidence=0.9)
        plain = stratified_bootstrap(table.reshape(-1, tasks), np.mean, seed=trial, repetitions=300, confidence=0.9)
        covered += nested.low <= 0 <= nested.high
        narrow += plain.low <= 0 <= plain.high
    want = 2 * scipy.stats.norm.cdf(1.645 * np.sqrt((metas - 1) / metas)) - 1
    assert abs(covered / trials - want) < 4 * np.sqrt(want * (1 - want) / trials) + 0.02  # 0.02: 300 repetitions
    assert narrow / trials < 0.75  # runs of one rule are not independent


def test_coverage_of_improvement_and_of_profiles():
    """Of normal runs the truth is known: X of mean 1/2 beats Y of mean 0 with Phi(1 / sqrt 8), is above 1 with Phi(-1/2)."""
    random = np.random.default_rng(0)
    better, above = scipy.stats.norm.cdf([0.5 / np.sqrt(2), -0.5])
    covered = np.zeros(2)
    for trial in range(150):
        x, y = 0.5 + random.normal(size=(1, 16, 5)), random.normal(size=(1, 16, 5))
        found = probability_of_improvement(x, y, seed=trial)
        profile = performance_profile(x, [1.0], seed=trial)
        covered += [found.low <= better <= found.high, profile.low[0] <= above <= profile.high[0]]
    assert np.all((covered / 150 > 0.86) & (covered / 150 < 0.995))


@pytest.mark.parametrize("function", [probability_of_improvement, share_below])
def test_both_have_the_same_tasks(function):
    with pytest.raises(ValueError, match="both must have the same tasks, got 1 and 2"):
        function([[[1.0]]], [[[1.0, 2.0]]], seed=0)


def test_shapes_and_shares_are_checked():
    with pytest.raises(ValueError, match=r"scores must have shape \[meta-seeds, runs, tasks\]"):
        nested_bootstrap([[1.0]], seed=0)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got 0"):
        worst_mean([[[1.0]]], share=0, seed=0)
