"""One rule beside another, and where a rule does worst.

Scores are f64[meta-seeds, runs, tasks]; NaN, of a run that diverged, counts as below all others.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from groove.statistics.aggregates import Floats
from groove.statistics.bootstrap import BLOCK, Interval, cube, ends, nested_rows

REPETITIONS = 2000
CONFIDENCE = 0.95
FEWEST = 4
"""Runs with which an interval of the mean over the worst tasks is given."""


class Profile(NamedTuple):
    """The share of runs and tasks with a score above each threshold, with a pointwise interval. f64[thresholds] each."""

    threshold: Floats
    low: Floats
    point: Floats
    high: Floats


def probability_of_improvement(x: npt.ArrayLike, y: npt.ArrayLike, *, seed: int) -> Interval:
    """How likely a run of one rule does better than a run of another, on a task at random; a tie counts half.

    The mean over tasks of P(X > Y) + P(X = Y) / 2, each from all pairs of runs (Agarwal et al. 2021, section 4.3), with a 95
    % interval that resamples the runs of both as `nested_bootstrap` does.

    Args:
        x: [meta-seeds, runs, tasks].
        y: [other meta-seeds, other runs, the same tasks].
        seed: Of the resampling.

    Example:
        >>> from groove.statistics import probability_of_improvement
        >>> probability_of_improvement([[[1.0], [3.0]]], [[[2.0], [2.0]]], seed=0).point
        0.5
    """
    ours, theirs = cube(x), cube(y)
    _check_tasks(ours, theirs)
    a, b = _flat(ours), _flat(theirs)
    wins = (a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])  # [runs, other runs, tasks]

    def mean(mine: Floats, other: Floats) -> Floats:
        return np.mean(np.einsum("cit,ijt,cjt->ct", mine, wins, other, optimize=True), axis=1)

    return _interval(mean, (ours, theirs), seed)


def share_below(x: npt.ArrayLike, baseline: npt.ArrayLike, *, share: float = 0.75, seed: int) -> Interval:
    """The share of tasks on which a rule's mean score is below `share` of the baseline's.

    Scores must be 0 where nothing was learned, as they are when normalised by a random policy; tasks on which the
    baseline's mean is not positive count as not below. Jackson et al. 2023 report it with 0.75 of A2C.

    Args:
        x: [meta-seeds, runs, tasks].
        baseline: [other meta-seeds, other runs, the same tasks].
        share: Of the baseline's mean.
        seed: Of the resampling, of the runs of both.

    Example:
        >>> from groove.statistics import share_below
        >>> share_below([[[0.7, 0.8]]], [[[1.0, 1.0]]], seed=0)
        Interval(low=0.5, point=0.5, high=0.5)
    """
    ours, theirs = cube(x), cube(baseline)
    _check_tasks(ours, theirs)
    a, b = _flat(ours), _flat(theirs)

    def below(mine: Floats, other: Floats) -> Floats:
        rule, rival = _weighted(mine, a), _weighted(other, b)
        return np.mean((rule < share * rival) & (rival > 0), axis=1)

    return _interval(below, (ours, theirs), seed)


def worst_mean(scores: npt.ArrayLike, *, share: float = 0.05, seed: int) -> Interval | None:
    """The mean over the worst tasks (CVaR), chosen by one run and scored by the others, so that bad luck is not counted.

    Every run chooses the `worst_count` tasks on which it scores lowest; what counts is the mean score there of another run
    of the same meta-seed: each learned rule fails in its own places. The point is the mean over all ordered pairs of
    different runs, then over meta-seeds. The interval resamples meta-seeds, and runs within them; below `FEWEST` runs of
    each it would be too narrow, so that its ends are nan (in a simulation it covered the truth 74 to 86 times of 100 with
    four runs, 88 to 97 times from six on).

    Args:
        scores: [meta-seeds, runs, tasks].
        share: Of the tasks, in (0, 1].
        seed: Of the resampling.

    Returns:
        None if there is one run of each only: nobody is left to score what it chose. -inf without ends if a run that counts
        diverged.

    Example:
        >>> from groove.statistics import worst_mean
        >>> worst_mean([[[0.0, 1.0], [0.5, 1.0]]], share=0.5, seed=0).point
        0.25
    """
    table = cube(scores)
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}.")
    metas, runs, tasks = table.shape
    if runs < 2:
        return None
    apart = 1.0 - np.eye(runs)
    pairs = np.stack([_by_pair(own, worst_count(tasks, share)) for own in table])  # [meta, who chose, who scored]
    pairs = np.where(apart, pairs, 0.0)
    point = float(np.sum(pairs) / (metas * np.sum(apart)))
    if runs < FEWEST or math.isinf(point):
        return Interval(math.nan, point, math.nan)
    random = np.random.default_rng(seed)
    meta = random.integers(metas, size=(REPETITIONS, metas))
    drawn = random.integers(runs, size=(REPETITIONS, metas, runs))
    means = np.full((REPETITIONS, metas), np.nan)
    for place, own in enumerate(pairs):
        here = meta == place
        weight = _weights(drawn[here][:, :, None], runs)[:, :, 0]
        total = np.sum((weight @ apart) * weight, axis=1)
        means[here] = np.divide(
            np.sum((weight @ own) * weight, axis=1), total, where=total > 0, out=np.full(len(total), point)
        )
    low, high = ends(np.mean(means, axis=1), CONFIDENCE)
    return Interval(float(low), point, float(high))


def worst_count(tasks: int, share: float = 0.05) -> int:
    """How many tasks count as the worst: the share of them, at least one."""
    return max(1, round(share * tasks))


def _by_pair(runs: Floats, count: int) -> Floats:
    """The mean score of each run on the worst tasks of each: f64[who chose, who scored] from f64[runs, tasks]."""
    chosen = np.argsort(runs, axis=1, kind="stable")[:, :count]
    return np.stack([np.mean(runs[:, tasks], axis=1) for tasks in chosen])


def performance_profile(scores: npt.ArrayLike, thresholds: npt.ArrayLike, *, seed: int) -> Profile:
    """How much of a rule's runs and tasks scores above each threshold (Agarwal et al. 2021, section 4.2).

    Args:
        scores: [meta-seeds, runs, tasks].
        thresholds: Increasing numbers.
        seed: Of the resampling, for 95 % intervals at every threshold by itself.

    Example:
        >>> from groove.statistics import performance_profile
        >>> performance_profile([[[0.2, 0.8]]], [0.0, 0.5, 1.0], seed=0).point.tolist()
        [1.0, 0.5, 0.0]
    """
    table, levels = cube(scores), np.asarray(thresholds, np.float64)
    above = _flat(table)[:, None, :] > levels[None, :, None]  # [runs, thresholds, tasks]

    def shares(weight: Floats) -> Floats:
        return np.einsum("crt,rkt->ck", weight, above.astype(np.float64), optimize=True) / table.shape[-1]

    draws = np.concatenate([shares(weight) for (weight,) in _resamples((table,), seed)])
    low, high = ends(draws, CONFIDENCE)
    return Profile(levels, low, np.mean(above, axis=(0, 2)), high)


def _interval(statistic: Callable[[Floats, Floats], Floats], tables: tuple[Floats, Floats], seed: int) -> Interval:
    """Of a statistic of two tables of weights [resamples, rows, tasks]."""
    point = statistic(*[np.full((1, *_flat(table).shape), 1 / len(_flat(table))) for table in tables])[0]
    draws = np.concatenate([statistic(*weights) for weights in _resamples(tables, seed)])
    low, high = ends(draws, CONFIDENCE)
    return Interval(float(low), float(point), float(high))


def _resamples(tables: tuple[Floats, ...], seed: int) -> Iterator[tuple[Floats, ...]]:
    """Weights [resamples, rows, tasks] of every table, in blocks that bound memory."""
    random = np.random.default_rng(seed)
    most = max(1, BLOCK // max(table.size for table in tables))
    for start in range(0, REPETITIONS, most):
        count = min(most, REPETITIONS - start)
        shapes = [(table.shape[0], table.shape[1], table.shape[2]) for table in tables]
        yield tuple(_weights(nested_rows(random, count, shape), shape[0] * shape[1]) for shape in shapes)


def _weights(rows: npt.NDArray[np.int64], number: int) -> Floats:
    """How often every row was drawn, as shares: f64[resamples, number, tasks] from i64[resamples, draws, tasks]."""
    count, draws, tasks = rows.shape
    place = (np.arange(count)[:, None, None] * number + rows) * tasks + np.arange(tasks)
    return np.bincount(place.reshape(-1), minlength=count * number * tasks).reshape(count, number, tasks) / draws


def _weighted(weight: Floats, scores: Floats) -> Floats:
    """Sums over rows, f64[resamples, tasks], of weights [resamples, rows, tasks] and scores [rows, tasks]."""
    return np.sum(np.multiply(weight, scores, where=weight > 0, out=np.zeros(weight.shape)), axis=1)


def _flat(table: Floats) -> Floats:
    """Runs of all meta-seeds: f64[meta-seeds * runs, tasks]."""
    return table.reshape(-1, table.shape[-1])


def _check_tasks(ours: Floats, theirs: Floats) -> None:
    if ours.shape[-1] != theirs.shape[-1]:
        raise ValueError(f"both must have the same tasks, got {ours.shape[-1]} and {theirs.shape[-1]}.")
