"""Numbers that sum up what a few runs reach on several tasks.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv 2108.13264).
"""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Axis: TypeAlias = int | tuple[int, ...] | None
Floats: TypeAlias = npt.NDArray[np.float64]


def interquartile_mean(x: npt.ArrayLike, axis: Axis = None) -> Floats | np.float64:
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


def optimality_gap(x: npt.ArrayLike, axis: Axis = None, *, target: float = 1.0) -> Floats | np.float64:
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
    shortfall: Floats = np.maximum(target - np.asarray(x, np.float64), 0.0)
    return np.mean(shortfall, axis=axis, dtype=np.float64)


def median(x: npt.ArrayLike, axis: tuple[int, int] = (0, 1)) -> Floats | np.float64:
    """The median over tasks of the mean over runs. Agarwal et al. 2021, section 4.3; rliable's `aggregate_median`.

    Args:
        x: Scores [..., runs, tasks].
        axis: Those of runs and of tasks.

    Returns:
        f64[...], the shape of `x` without `axis`.

    Example:
        >>> from groove.statistics import median
        >>> float(median([[0.0, 1.0, 5.0], [2.0, 1.0, 5.0]]))
        1.0
    """
    means = np.mean(np.moveaxis(np.asarray(x, np.float64), axis, (-2, -1)), axis=-2)
    return np.median(means, axis=-1)


def _pooled(x: npt.ArrayLike, axis: Axis) -> Floats:
    """`x` as f64[..., n], the reduced axes flattened into the last."""
    values = np.asarray(x, np.float64)
    axes = range(values.ndim) if axis is None else np.atleast_1d(axis) % values.ndim
    kept = [i for i in range(values.ndim) if i not in axes]
    shape = [values.shape[i] for i in kept]
    return np.transpose(values, (*kept, *axes)).reshape(*shape, math.prod(values.shape[i] for i in axes))
