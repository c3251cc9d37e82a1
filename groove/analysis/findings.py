"""What an audit found of the tasks of a family, and how scores and yardsticks rank them."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from groove.analysis.differences import rank_correlation
from groove.base import Theta
from groove.curate import Journal, Measure, in_blocks
from groove.files.curriculumfile import Rows
from groove.statistics import Interval

NONE: Mapping[str, str] = MappingProxyType({})
TITLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "exact-regret": ("exact regret of other agents", "optimum minus return"),
        "improvement": ("improvement by training on the level", "change of the return"),
        "improvement-elsewhere": ("improvement on other levels", "mean change of the return"),
    }
)
"""Yardsticks by name: what a person calls them, and their unit."""


class Findings(NamedTuple):
    """What was measured of the tasks of one family. Arrays are f32[tasks] in NumPy and may hold what is not finite."""

    family: str
    serial: np.ndarray  # i32[tasks]; the numbers of the tasks
    lifetime: np.ndarray  # i32[tasks]; in agent updates
    scores: Mapping[str, np.ndarray]  # by name
    yardsticks: Mapping[str, np.ndarray]  # by name
    skipped: Mapping[str, str] = NONE  # scores and yardsticks that could not be measured, and why


class Correlation(NamedTuple):
    """How a score and a yardstick agree on the order of tasks."""

    score: str
    yardstick: str
    tasks: int  # where both are finite
    interval: Interval | None  # Spearman's rank correlation with its 95 % bootstrap interval over tasks; None if it has none
    reason: str = ""  # why it has none


def measured(
    key: jax.Array,
    rows: Rows,
    measure: Measure,
    theta: Theta,
    *,
    family: str,
    skipped: Mapping[str, str] = NONE,
    block: int = 16,
    journal: Journal | None = None,
    seen: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Findings:
    """Measures every task, in blocks of one shape.

    Args:
        key: Not to be used again; row r draws from the key and r alone.
        rows: Tasks.
        measure: `together` of "scores" and "yardsticks".
        theta: Of the rule.
        family: Of the tasks, by name.
        skipped: What is not measured, and why.
        block: Tasks measured at once, at least 1.
        journal: Keeps finished blocks.
        seen: `(done, total) -> None`, called with numbers of tasks after every block.
        stopped: Asked before every block whether to stop.

    Raises:
        ValueError: `block` is less than 1, or there are no rows.
        groove.curate.Stopped: `stopped` said so.
    """
    found = in_blocks(key, rows, measure, theta, block=block, journal=journal, seen=seen, stopped=stopped)
    return Findings(family, rows.serial, rows.lifetime, found["scores"], found["yardsticks"], skipped)


def correlations(found: Findings, *, seed: int = 0) -> list[Correlation]:
    """Every score against every yardstick, over the tasks where both are finite.

    Args:
        found: What was measured.
        seed: Of the bootstrap.

    Example:
        >>> import numpy as np
        >>> from groove import analysis
        >>> size, number = np.float32([1, 2, 3, 4]), np.arange(4)
        >>> found = analysis.Findings("maze", number, number + 1, {"good": size, "same": 0 * size}, {"improvement": size**2})
        >>> [(one.score, one.interval and one.interval.point, one.reason) for one in analysis.correlations(found)]
        [('good', 1.0, ''), ('same', None, 'the score is the same on all tasks')]
    """
    pairs = [(score, yardstick) for score in found.scores for yardstick in found.yardsticks]
    return [_correlation(found, score, yardstick, seed) for score, yardstick in pairs]


def _correlation(found: Findings, score: str, yardstick: str, seed: int) -> Correlation:
    pairs = np.stack([found.scores[score], found.yardsticks[yardstick]], axis=1)
    pairs = pairs[np.all(np.isfinite(pairs), axis=1)]
    interval = rank_correlation(pairs, seed=seed)
    if interval is not None and all(map(math.isfinite, interval)):
        return Correlation(score, yardstick, len(pairs), interval)
    return Correlation(score, yardstick, len(pairs), None, _why_not(pairs))


def _why_not(pairs: np.ndarray) -> str:
    if len(pairs) < 3:
        return f"{len(pairs)} tasks are too few"
    constant = np.ptp(pairs, axis=0) == 0
    if constant[0]:
        return "the score is the same on all tasks"
    return "the yardstick is the same on all tasks" if constant[1] else "too few tasks differ"


def page(found: Findings, *, seed: int = 0) -> dict[str, object]:
    """The findings as JSON has them: a row a task, all correlations, what was skipped; None where a number is not finite."""
    columns: dict[str, dict[str, list[float | None]]] = {
        "scores": {name: _numbers(values) for name, values in found.scores.items()},
        "yardsticks": {name: _numbers(values) for name, values in found.yardsticks.items()},
    }
    tasks = [
        {
            "serial": int(found.serial[row]),
            "lifetime": int(found.lifetime[row]),
            **{kind: {name: values[row] for name, values in part.items()} for kind, part in columns.items()},
        }
        for row in range(len(found.serial))
    ]
    agree = [
        {"score": one.score, "yardstick": one.yardstick, "tasks": one.tasks, "reason": one.reason}
        | (dict.fromkeys(Interval._fields) if one.interval is None else one.interval._asdict())
        for one in correlations(found, seed=seed)
    ]
    return {"family": found.family, "correlations": agree, "skipped": dict(found.skipped), "tasks": tasks}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
