"""Numbers behind the curves."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from groove.runs import Metrics

Floats = npt.NDArray[np.float64]
BANDWIDTH = 0.04
"""Deviation of the smoothing kernel, as a share of the run's length."""


class Series(NamedTuple):
    """A metric where it is known, against meta-steps. Fields are f64[points]."""

    step: Floats
    value: Floats
    weight: Floats


def series(metrics: Sequence[Metrics], name: str, weight: str | None = None) -> Series:
    """The rows in which `name` has a value; they count as much as their `weight` says, by default 1."""
    rows = [
        (row["step"], row[name], row.get(weight, 1.0) if weight else 1.0) for row in metrics if row.get(name) is not None
    ]
    table = np.array(rows, np.float64).reshape(-1, 3)
    return Series(table[:, 0], table[:, 1], table[:, 2])


def smooth(points: Series, at: Floats, bandwidth: float) -> Floats:
    """Means f64[at] of a series around each place, weighted by a normal kernel (Nadaraya and Watson 1964)."""
    return np.array([_mean_near(points, place, bandwidth) for place in at])


def _mean_near(points: Series, place: np.float64, bandwidth: float) -> np.float64:
    exponent = -0.5 * np.square((place - points.step) / bandwidth)
    kernel = points.weight * np.exp(exponent - np.max(exponent))  # the nearest point has 1
    return np.sum(kernel * points.value) / np.maximum(np.sum(kernel), 1e-300)


def line(points: Series) -> tuple[Floats, Floats]:
    """A smoothed curve through a series of at least one point: places and values."""
    first, last = points.step[0], points.step[-1]
    at = np.linspace(first, last, 200) if last > first else points.step[:1]
    spacing = (last - first) / max(len(points.step) - 1, 1)
    return at, smooth(points, at, max(BANDWIDTH * (last - first), spacing, 1.0))


def is_flat(points: Series) -> bool:
    """Whether several points have one value, so that a chart of them says no more than a sentence."""
    return len(points.value) > 2 and float(np.ptp(points.value)) <= 1e-6 * float(np.max(np.abs(points.value)))


def unchanged(courses: Mapping[str, Series]) -> str:
    """A sentence on those that are flat; "" if none is."""
    said = [f"{title} {points.value[-1]:.3g}" for title, points in courses.items() if is_flat(points)]
    return f"The same throughout: {'; '.join(said)}." if said else ""
