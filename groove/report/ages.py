"""Pictures of what a rule does at each age of an agent."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from groove.report.figures import FAINT, GREY, INK, Picture, canvases, colour, finished
from groove.schedules import Course, Drift, Response

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COURSES = (
    "Newborn agents live through N updates on random levels, one line for each N. Left: the entropy of their policies. "
    "Middle: how far one update moves the policy, as the KL divergence of the policy before it from that after it, on the "
    "update's own rollout. Right: the return of an episode, measured at up to eleven ages."
)
RESPONSES = (
    "The same agents and the same rollouts, shown to the rule as if they came at different ages n/N of lives of N updates. "
    "Left: how hard it pushes the policy, the mean of |pi_hat|. Right: the entropy of y_hat, what agents are to predict. A "
    "rule that does not know the lifetime gives level lines."
)
DRIFTS = (
    "Top: the drift, which is subtracted from r A in the agent's objective, against the probability ratio r, for an "
    "advantage A of +1 (left) and of -1 (right). Bottom: its slope in r; where it reaches A, the update stops pushing the "
    "ratio further. Grey: PPO with a clip of 0.2, and DPO."
)


Style: TypeAlias = dict[str, Any]
"""Of a line, as Matplotlib names it."""


class Schedules(NamedTuple):
    """The tables of `schedules.json`."""

    courses: Mapping[str, Sequence[Course]]  # by family
    responses: Mapping[str, Sequence[Response]]  # by family; none but for LPG
    drifts: Sequence[Drift]  # none but for LPO
    ratios: np.ndarray  # f64; where drifts are known


def read(path: Path) -> Schedules:
    """The tables that `groove.host.save_schedules` wrote.

    Raises:
        ValueError: They are damaged.
    """
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
        courses = {name: [_row(Course, row) for row in rows] for name, rows in page["courses"].items()}
        responses = {name: [_row(Response, row) for row in rows] for name, rows in page["responses"].items()}
        drifts = [_row(Drift, row) for row in page["drifts"]]
        return Schedules(courses, responses, drifts, _numbers(page["ratios"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} is damaged ({type(error).__name__}: {error}).") from error


def _row(kind: Callable, row: Mapping[str, object]):
    return kind(**{name: _numbers(value) if isinstance(value, list) else value for name, value in row.items()})


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def pictures(found: Schedules) -> list[Picture]:
    """All that there is to see, each with its caption."""
    families = list(found.courses)
    drawn = [_courses(name, found.courses[name], families.index(name)) for name in families]
    drawn += [_responses(name, rows, families.index(name)) for name, rows in found.responses.items()]
    return drawn + ([_drifts(found.ratios, found.drifts)] if found.drifts else [])


def _courses(family: str, courses: Sequence[Course], index: int) -> Picture:
    figure, axes = canvases(9.2, 2.7, 1, 3)
    for place, row in enumerate(courses):
        ages = np.arange(1, row.lifetime + 1) / row.lifetime
        style: Style = {"color": colour(index), "alpha": _shade(place, len(courses)), "label": f"N = {row.lifetime}"}
        axes[0].plot(ages, row.entropy, **style)
        axes[1].plot(ages, np.maximum(row.step, 1e-9), **style)
        axes[2].plot(row.age, row.episode_return, marker="o", markersize=3, **style)
    axes[1].set_yscale("log")
    for one, title in zip(
        axes, ("policy entropy, nats", "size of an update, KL in nats", "return of an episode"), strict=True
    ):
        _finish(one, title, "n / N")
    axes[0].legend(fontsize=7, frameon=False)
    said = "; ".join(
        f"N = {row.lifetime}: entropy {row.entropy[0]:.2f} to {row.entropy[-1]:.2f}, update {row.step[0]:.2g} to "
        f"{row.step[-1]:.2g}, return {row.episode_return[0]:.2f} to {row.episode_return[-1]:.2f}"
        for row in courses
    )
    return Picture(f"course-{family}", finished(figure), f"Agents on {family} against n/N. {said}.", COURSES)


def _responses(family: str, responses: Sequence[Response], index: int) -> Picture:
    figure, axes = canvases(6.4, 2.7, 1, 2)
    for place, row in enumerate(responses):
        style: Style = {"color": colour(index), "alpha": _shade(place, len(responses)), "label": f"N = {row.lifetime}"}
        axes[0].plot(row.age, row.pi_hat, **style)
        axes[1].plot(row.age, row.target_entropy, **style)
    _finish(axes[0], "mean |pi_hat|", "n / N")
    _finish(axes[1], "entropy of y_hat, nats", "n / N")
    axes[0].legend(fontsize=7, frameon=False)
    said = "; ".join(f"N = {row.lifetime}: {row.pi_hat[0]:.3g} to {row.pi_hat[-1]:.3g}" for row in responses)
    return Picture(f"response-{family}", finished(figure), f"LPG on {family} rollouts, |pi_hat| by age. {said}.", RESPONSES)


def _drifts(ratios: np.ndarray, drifts: Sequence[Drift]) -> Picture:
    figure, axes = canvases(7.2, 4.8, 2, 2)
    ages = sorted({row.age for row in drifts if row.name == "LPO" and row.age is not None})
    for row in drifts:
        column = 0 if row.advantage > 0 else 1
        style = _style(row, ages)
        axes[column].plot(ratios, row.value, **style)
        axes[2 + column].plot(ratios, row.slope, **style)
    for column, advantage in enumerate((1, -1)):
        axes[2 + column].axhline(advantage, color=FAINT, linewidth=0.8, zorder=0)
        _finish(axes[column], f"drift, A = {advantage:+d}", "")
        _finish(axes[2 + column], f"slope of the drift, A = {advantage:+d}", "probability ratio r")
    axes[0].legend(fontsize=7, frameon=False)
    said = "; ".join(
        f"{row.name}{'' if row.age is None else f' at n/N = {row.age:g}'}: {np.interp(1.5, ratios, row.value):.3g}"
        for row in drifts
        if row.advantage > 0
    )
    return Picture("drift", finished(figure), f"Drift functions; at r = 1.5 and A = 1: {said}.", DRIFTS)


def _style(row: Drift, ages: Sequence[float]) -> Style:
    if row.name != "LPO":
        return {"color": GREY, "linestyle": "--" if row.name == "PPO" else ":", "linewidth": 1.2, "label": row.name}
    if row.age is None:
        return {"color": colour(0), "linewidth": 2, "label": "learned"}
    return {"color": colour(ages.index(row.age)), "linewidth": 2, "label": f"learned, n/N = {row.age:g}"}


def _shade(place: int, count: int) -> float:
    """Opacity: longer lifetimes are darker."""
    return 1.0 if count == 1 else 0.35 + 0.65 * place / (count - 1)


def _finish(axes: "Axes", title: str, unit: str) -> None:
    axes.set_title(title, fontsize=8.5, loc="left", color=INK)
    axes.set_xlabel(unit)
    axes.margins(x=0.02)
