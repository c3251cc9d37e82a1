"""Statistics of a few runs on several tasks, in NumPy.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv 2108.13264).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Axis: TypeAlias = int | tuple[int, ...] | None
Numbers: TypeAlias = npt.NDArray[np.float64]
Statistic: TypeAlias = Callable[[Numbers, tuple[int, int]], Numbers | np.float64]
"""`(x f64[..., runs, tasks], axis) -> f64[...]`, reducing the two axes: `interquartile_mean`, `np.mean`, `np.median`, ..."""

_BLOCK = 1 << 22
"""Numbers resampled at once: bounds the memory of a bootstrap, 32 MiB."""


class Interval(NamedTuple):
    """A statistic with its confidence interval: low <= high; `point` is the statistic of the sample itself."""

    low: float
    point: float
    high: float


def interquartile_mean(x: npt.ArrayLike, axis: Axis = None) -> Numbers | np.float64:
    """The mean of the middle half: what is left of n values without the floor(n / 4) lowest and as many highest.

    Robust to outliers as the median, with far less variance. Agarwal et al. 2021, section 4.3; equal to
    `scipy.stats.trim_mean(x, 0.25)`.

    Args:
        x: Numbers of any shape, not empty along `axis`; nan gives nan.
        axis: What to reduce; several axes are pooled; None pools all.

    Returns:
        f64[...], the shape of `x` without `axis`.

    Raises:
        ValueError: If there is nothing to average.

    Example:
        >>> from groove.statistics import interquartile_mean
        >>> float(interquartile_mean([0.0, 1.0, 3.0, 100.0]))
        2.0
    """
    values = np.sort(_pooled(x, axis), axis=-1)
    count = values.shape[-1]
    if count == 0:
        raise ValueError(f"x must have at least 1 value along axis {axis}, got shape {np.shape(x)}.")
    cut = count // 4
    middle = np.mean(values[..., cut : count - cut], axis=-1)
    return np.where(np.isnan(values[..., -1]), np.nan, middle)[()]  # nan sorts last


def optimality_gap(x: npt.ArrayLike, axis: Axis = None, *, target: float = 1.0) -> Numbers | np.float64:
    """The mean shortfall from `target`, E[max(target - x, 0)]: lower is better, nothing is gained above it.

    Agarwal et al. 2021, section 4.3.

    Args:
        x: Scores of any shape, on a scale where `target` is the desired one (the optimum, say).
        axis: What to reduce; None for all.
        target: The score that leaves no gap.

    Returns:
        f64[...], the shape of `x` without `axis`, at least 0.

    Example:
        >>> from groove.statistics import optimality_gap
        >>> float(optimality_gap([0.0, 0.5, 2.0, 1.0]))
        0.375
    """
    shortfall: Numbers = np.maximum(target - np.asarray(x, np.float64), 0.0)
    return np.mean(shortfall, axis=axis, dtype=np.float64)


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
        scores: [runs, tasks], finite.
        statistic: `(x f64[repetitions, runs, tasks], axis (1, 2)) -> f64[repetitions]`.
        seed: Of the resampling: the same seed gives the same interval.
        repetitions: Resamples, at least 1; more make the ends less noisy, not the interval narrower.
        confidence: Coverage, in (0, 1).
        resample_tasks: Whether tasks are a sample too.

    Returns:
        The interval and the statistic of `scores`. With one run (and the tasks fixed) its width is 0: nothing varies.

    Raises:
        ValueError: If `scores` is not a table of finite numbers, or another argument is out of range.

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
        scores: [runs, tasks], finite.
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


def _percentiles(
    table: Numbers,
    statistic: Statistic,
    resample: Callable[[np.random.Generator, Numbers, int], Numbers],
    seed: int,
    repetitions: int,
    confidence: float,
) -> Interval:
    random = np.random.default_rng(seed)
    most = max(1, _BLOCK // table.size)
    blocks = [min(most, repetitions - start) for start in range(0, repetitions, most)]
    draws = [statistic(resample(random, table, count), (1, 2)) for count in blocks]
    low, high = np.quantile(np.concatenate(draws), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(statistic(table, (0, 1))), float(high))


def _whole_runs(random: np.random.Generator, table: Numbers, count: int) -> Numbers:
    """Draws [count, runs, tasks] from [runs, tasks]: rows as they are."""
    return table[random.integers(len(table), size=(count, len(table)))]


def _check_bootstrap(repetitions: int, confidence: float) -> None:
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, got {repetitions}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}.")


def _resample(random: np.random.Generator, table: Numbers, count: int, tasks: bool) -> Numbers:
    """Draws [count, runs, tasks] from [runs, tasks]: a run for every place, and a task for every column if `tasks`."""
    runs, columns = table.shape
    run = random.integers(runs, size=(count, runs, columns))
    column = random.integers(columns, size=(count, 1, columns)) if tasks else np.arange(columns)
    return table[run, column]


def _pooled(x: npt.ArrayLike, axis: Axis) -> Numbers:
    """`x` as f64[..., n], the reduced axes flattened into the last."""
    values = np.asarray(x, np.float64)
    axes = range(values.ndim) if axis is None else np.atleast_1d(axis) % values.ndim
    kept = [i for i in range(values.ndim) if i not in axes]
    shape = [values.shape[i] for i in kept]
    return np.transpose(values, (*kept, *axes)).reshape(*shape, math.prod(values.shape[i] for i in axes))


def _table(scores: npt.ArrayLike) -> Numbers:
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"scores must have shape [runs, tasks], at least 1 of each, got shape {table.shape}.")
    if not np.all(np.isfinite(table)):
        raise ValueError(f"scores must be finite, got {table[~np.isfinite(table)][0]}.")
    return table
