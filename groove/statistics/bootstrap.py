"""Confidence intervals by the bootstrap: which runs are drawn anew decides what an interval speaks of.

A run whose agent diverged has the score NaN and ranks below all others: it counts as -inf, so that statistics of order, the
interquartile mean among them, go on, and a mean is -inf.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from groove.statistics.aggregates import Floats, interquartile_mean

Statistic: TypeAlias = Callable[[Floats, tuple[int, int]], Floats | np.float64]
"""`(x f64[..., runs, tasks], axis) -> f64[...]`, reducing the two axes: `interquartile_mean`, `np.mean`, `np.median`, ..."""

BLOCK = 1 << 22
"""Numbers resampled at once: bounds the memory of a bootstrap, 32 MiB."""


class Interval(NamedTuple):
    """A statistic with its confidence interval: low <= high; `point` is the statistic of the sample itself."""

    low: float
    point: float
    high: float

    def words(self, digits: int = 2) -> str:
        """Point and ends, where there are any.

        Example:
            >>> Interval(-np.inf, 0.5, 0.75).words()
            '0.50 (diverged to 0.75)'
        """
        known = np.isfinite(self.low) or np.isfinite(self.high)
        ends = f" ({said(self.low, digits)} to {said(self.high, digits)})" if known else ""
        return f"{said(self.point, digits)}{ends}"


def said(value: float, digits: int = 2) -> str:
    """A statistic in words: `diverged` where it is not finite, since a run that counts in it had no finite return."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "diverged"


def stratified_bootstrap(
    scores: npt.ArrayLike,
    statistic: Statistic = interquartile_mean,
    *,
    seed: int,
    repetitions: int = 2000,
    confidence: float = 0.95,
    resample_tasks: bool = False,
) -> Interval:
    """A percentile interval of a statistic over runs and tasks: `repetitions` times, runs are drawn anew within each task.

    The tasks are the strata: each draws its own runs, so that the interval speaks of other runs on the *same* tasks
    (Agarwal et al. 2021, section 4.1; rliable's `get_interval_estimates`). With `resample_tasks` the tasks are drawn anew
    as well, with replacement, before their runs: the interval then speaks of other tasks from where these came.

    Args:
        scores: [runs, tasks], finite, or NaN where a run diverged.
        statistic: `(x f64[repetitions, runs, tasks], axis (1, 2)) -> f64[repetitions]`.
        seed: Of the resampling: the same seed gives the same interval.
        repetitions: Resamples, at least 1; more make the ends less noisy, not the interval narrower.
        confidence: Coverage, in (0, 1).
        resample_tasks: Whether tasks are a sample too.

    Returns:
        The interval and the statistic of `scores`. With one run (and the tasks fixed) its width is 0: nothing varies.

    Raises:
        ValueError: If `scores` is no such table, or another argument is out of range.

    Example:
        >>> from groove.statistics import stratified_bootstrap
        >>> stratified_bootstrap([[1.0, 2.0], [1.0, 2.0]], seed=0)
        Interval(low=1.5, point=1.5, high=1.5)
    """
    table = _table(scores)
    _check_bootstrap(repetitions, confidence)
    return _percentiles(table, statistic, partial(_resample, tasks=resample_tasks), seed, repetitions, confidence)


def clustered_bootstrap(
    scores: npt.ArrayLike,
    statistic: Statistic = interquartile_mean,
    *,
    seed: int,
    repetitions: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """A percentile interval over whole runs: each resample draws runs, all their tasks with them.

    For rules from several meta-seeds: what one rule reaches on its tasks is not independent, so the rule is the unit.

    Args:
        scores: [runs, tasks], finite, or NaN where a run diverged.
        statistic: `(x f64[repetitions, runs, tasks], axis (1, 2)) -> f64[repetitions]`.
        seed: Of the resampling.
        repetitions: Resamples, at least 1.
        confidence: Coverage, in (0, 1).

    Returns:
        The interval and the statistic of `scores`. It is narrow, and too narrow, with few runs.

    Example:
        >>> from groove.statistics import clustered_bootstrap
        >>> clustered_bootstrap([[1.0, 2.0], [1.0, 2.0]], seed=0)
        Interval(low=1.5, point=1.5, high=1.5)
    """
    table = _table(scores)
    _check_bootstrap(repetitions, confidence)
    return _percentiles(table, statistic, _whole_runs, seed, repetitions, confidence)


def nested_bootstrap(
    scores: npt.ArrayLike,
    statistic: Statistic = interquartile_mean,
    *,
    seed: int,
    repetitions: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """A percentile interval over learned rules: each resample draws meta-seeds, then agents' seeds within them, by task.

    For rules learned from several meta-seeds: a resample draws whole rules, and for each of them, within each task, runs of
    agents. With one meta-seed, as of a rule written by hand, it is `stratified_bootstrap`: it then says nothing of other
    rules that the same training might have found.

    Args:
        scores: [meta-seeds, runs, tasks], finite, or NaN where a run diverged.
        statistic: `(x f64[repetitions, meta-seeds * runs, tasks], axis (1, 2)) -> f64[repetitions]`.
        seed: Of the resampling.
        repetitions: Resamples, at least 1.
        confidence: Coverage, in (0, 1).

    Returns:
        The interval and the statistic of `scores`.

    Example:
        >>> from groove.statistics import nested_bootstrap
        >>> nested_bootstrap([[[1.0, 2.0]], [[1.0, 2.0]]], seed=0)
        Interval(low=1.5, point=1.5, high=1.5)
    """
    table = cube(scores)
    _check_bootstrap(repetitions, confidence)
    flat = table.reshape(-1, table.shape[-1])
    return _percentiles(flat, statistic, partial(_resample_nested, metas=len(table)), seed, repetitions, confidence)


def cube(scores: npt.ArrayLike) -> Floats:
    """`scores` as f64[meta-seeds, runs, tasks], -inf where a run diverged.

    Raises:
        ValueError: They have another shape, or are infinite.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 3:
        raise ValueError(f"scores must have shape [meta-seeds, runs, tasks], got shape {table.shape}.")
    return _table(table.reshape(-1, table.shape[-1])).reshape(table.shape)


def nested_rows(random: np.random.Generator, count: int, shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """Draws i64[count, metas * runs, tasks]: for every task numbers of rows, meta-seeds drawn first and runs within them."""
    metas, runs, tasks = shape
    meta = random.integers(metas, size=(count, metas, 1, 1))
    run = random.integers(runs, size=(count, metas, runs, tasks))
    return (meta * runs + run).reshape(count, metas * runs, tasks)


def _resample_nested(random: np.random.Generator, table: Floats, count: int, metas: int) -> Floats:
    """Draws [count, metas * runs, tasks] from [metas * runs, tasks]."""
    rows, tasks = table.shape
    return table[nested_rows(random, count, (metas, rows // metas, tasks)), np.arange(tasks)]


def _percentiles(
    table: Floats,
    statistic: Statistic,
    resample: Callable[[np.random.Generator, Floats, int], Floats],
    seed: int,
    repetitions: int,
    confidence: float,
) -> Interval:
    random = np.random.default_rng(seed)
    most = max(1, BLOCK // table.size)
    blocks = [min(most, repetitions - start) for start in range(0, repetitions, most)]
    draws = [statistic(resample(random, table, count), (1, 2)) for count in blocks]
    low, high = ends(np.concatenate(draws), confidence)
    return Interval(float(low), float(statistic(table, (0, 1))), float(high))


def ends(draws: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The ends of the middle `confidence` of draws f64[draws, ...], some of which may be infinite."""
    shares = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if np.isfinite(draws).all():
        low, high = np.quantile(draws, shares, axis=0)
    else:  # nothing lies between a number and an infinity: the nearest draws
        low, high = np.sort(draws, axis=0)[np.rint(shares * (len(draws) - 1)).astype(int)]
    return low, high


def _whole_runs(random: np.random.Generator, table: Floats, count: int) -> Floats:
    """Draws [count, runs, tasks] from [runs, tasks]: rows as they are."""
    return table[random.integers(len(table), size=(count, len(table)))]


def _check_bootstrap(repetitions: int, confidence: float) -> None:
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, got {repetitions}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}.")


def _resample(random: np.random.Generator, table: Floats, count: int, tasks: bool) -> Floats:
    """Draws [count, runs, tasks] from [runs, tasks]: a run for every place, and a task for every column if `tasks`."""
    runs, columns = table.shape
    run = random.integers(runs, size=(count, runs, columns))
    column = random.integers(columns, size=(count, 1, columns)) if tasks else np.arange(columns)
    return table[run, column]


def _table(scores: npt.ArrayLike) -> Floats:
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"scores must have shape [runs, tasks], at least 1 of each, got shape {table.shape}.")
    if np.any(np.isinf(table)):
        raise ValueError(f"scores must be finite, or NaN where a run diverged, got {table[np.isinf(table)][0]}.")
    return np.where(np.isnan(table), -np.inf, table)
