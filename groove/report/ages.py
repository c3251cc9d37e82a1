"""Pictures of what a rule does at each age of an agent."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from groove.report.figures import FAINT, GREY, INK, Picture, canvases, colour, finished
from groove.schedules import Course, Drift, Response

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COURSES = (
    "Newborn agents live through N updates on random levels, one line for each N, against n/N, the part of the life that "
    "has passed. Left: the entropy of their policies. "
    "Middle: how far one update moves the policy, as the KL divergence of the policy before it from that after it, on the "
    "update's own rollout; the axis is logarithmic. Right: the return of an episode, measured at up to eleven ages. Means "
    "over sixteen agents; paler lines for shorter lives."
)
RESPONSES = (
    "The same agents and the same rollouts, shown to the rule as if they came at different ages n/N of lives of N updates. "
    "Left: how hard it pushes the policy, the mean of |pi_hat|. Right: the entropy of y_hat, what agents are to predict. A "
    "rule that does not know the lifetime gives level lines."
)
DRIFTS = (
    "Top: the drift, which is subtracted from r A in the agent's objective, against the probability ratio r, for an "
    "advantage A of +1 (left) and of −1 (right). Bottom: its slope in r; where it reaches A, the thin line, the update "
    "stops pushing the ratio further. Grey: PPO with a clip of 0.2, and DPO. Where the learned drift is more than five "
    "times larger or smaller than theirs, the axis is logarithmic away from 0."
)
LEARNED = "LPO"
"""The name of drifts that are not written by hand."""
LEAST = 1e-8
"""Nats; smaller updates, which float32 cannot tell apart, are drawn as that."""
Style: TypeAlias = dict[str, Any]
"""Of a line, as Matplotlib names it."""


class Schedules(NamedTuple):
    """The tables of `schedules.json`."""

    courses: Mapping[str, Sequence[Course]]  # by family
    responses: Mapping[str, Sequence[Response]]  # by family; none but for LPG
    drifts: Sequence[Drift]  # none but for LPO
    ratios: np.ndarray  # f64; where drifts are known


def read(path: Path) -> Schedules:
    """The tables that `groove.host.save_schedules` wrote; what was not finite is NaN.

    Raises:
        ValueError: They are damaged.
    """
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
        ratios = _numbers(page["ratios"])
        courses = {name: [_course(row) for row in rows] for name, rows in page["courses"].items()}
        responses = {name: [_response(row) for row in rows] for name, rows in page["responses"].items()}
        drifts = [_drift(row, ratios.size) for row in page["drifts"]]
        if not all([*courses.values(), *responses.values()]):
            raise ValueError("a family has no rows")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} is damaged ({type(error).__name__}: {error}).") from error
    return Schedules(courses, responses, drifts, ratios)


def _course(row: Mapping[str, Any]) -> Course:
    found = Course(row["lifetime"], *(_numbers(row[name]) for name in Course._fields[1:]))
    _check_sizes(row["lifetime"], found.entropy, found.step, found.reward)
    _check_sizes(found.age.size, found.episode_return)
    return found


def _response(row: Mapping[str, Any]) -> Response:
    found = Response(row["lifetime"], *(_numbers(row[name]) for name in Response._fields[1:]))
    _check_sizes(found.age.size, found.pi_hat, found.target_entropy)
    return found


def _drift(row: Mapping[str, Any], size: int) -> Drift:
    age = math.nan if row["age"] is None else float(row["age"])
    found = Drift(str(row["name"]), age, float(row["advantage"]), _numbers(row["value"]), _numbers(row["slope"]))
    _check_sizes(size, found.value, found.slope)
    return found


def _check_sizes(size: int, *columns: np.ndarray) -> None:
    """Raises a ValueError unless all have one shape, [size], that is not empty."""
    if size < 1 or any(column.shape != (size,) for column in columns):
        raise ValueError(f"columns of {size} numbers have the shapes {[column.shape for column in columns]}")


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def pictures(found: Schedules) -> list[Picture]:
    """All that there is to see, each with its caption."""
    families = list({**found.courses, **found.responses})
    drawn = [_courses(name, found.courses[name], families.index(name)) for name in found.courses]
    drawn += [_responses(name, rows, families.index(name)) for name, rows in found.responses.items()]
    return drawn + ([_drifts(found.ratios, found.drifts)] if found.drifts else [])


def _courses(family: str, courses: Sequence[Course], index: int) -> Picture:
    figure, axes = _canvas(family, 9.2, 3.0, 1, 3)
    for place, row in enumerate(courses):
        ages = np.arange(1, row.lifetime + 1) / row.lifetime
        style = _shade(index, place, len(courses)) | {"label": f"N = {row.lifetime}"}
        few = "o" if row.lifetime < 12 else None
        axes[0].plot(ages, row.entropy, marker=few, **style)
        axes[1].plot(ages, np.maximum(row.step, LEAST), marker=few, **style)
        axes[2].plot(row.age, row.episode_return, marker="o", **style)
    _decades(axes[1], [np.maximum(row.step, LEAST) for row in courses])
    for one, title in zip(
        axes, ("policy entropy, nats", "size of an update, KL in nats", "return of an episode"), strict=True
    ):
        _finish(one, title, "n / N", (0, 1))
    _spread(axes[0], 0.1)
    _legend(figure, axes[0])
    said = "; ".join(
        f"N = {row.lifetime}: entropy {row.entropy[0]:.2f} to {row.entropy[-1]:.2f}, update {row.step[0]:.2g} to "
        f"{row.step[-1]:.2g}, return {row.episode_return[0]:.2f} to {row.episode_return[-1]:.2f}"
        for row in courses
    )
    return Picture(f"course-{family}", finished(figure), f"Agents on {family} against n/N. {said}.", COURSES)


def _responses(family: str, responses: Sequence[Response], index: int) -> Picture:
    figure, axes = _canvas(family, 6.4, 3.0, 1, 2)
    for place, row in enumerate(responses):
        style = _shade(index, place, len(responses)) | {"label": f"N = {row.lifetime}"}
        axes[0].plot(row.age, row.pi_hat, marker="o", **style)
        axes[1].plot(row.age, row.target_entropy, marker="o", **style)
    for one, title in zip(axes, ("mean |pi_hat|", "entropy of y_hat, nats"), strict=True):
        _finish(one, title, "n / N", (0, 1))
        _spread(one, 0.1)
    _legend(figure, axes[0])
    said = "; ".join(
        f"N = {row.lifetime}: |pi_hat| {row.pi_hat[0]:.3g} to {row.pi_hat[-1]:.3g}, entropy of y_hat "
        f"{row.target_entropy[0]:.3g} to {row.target_entropy[-1]:.3g}"
        for row in responses
    )
    return Picture(f"response-{family}", finished(figure), f"LPG's answers to {family} rollouts by age. {said}.", RESPONSES)


def _drifts(ratios: np.ndarray, drifts: Sequence[Drift]) -> Picture:
    figure, axes = _canvas("", 7.2, 5.0, 2, 2)
    ages = sorted({row.age for row in drifts if not math.isnan(row.age)})
    for row in drifts:
        column = 0 if row.advantage > 0 else 1
        style = _style(row, ages)
        axes[column].plot(ratios, row.value, **style)
        axes[2 + column].plot(ratios, row.slope, **style)
    for column, advantage in enumerate((1, -1)):
        shown = [row for row in drifts if row.advantage * advantage > 0]
        _scale(axes[column], [(row.name, row.value) for row in shown])
        _scale(axes[2 + column], [(row.name, row.slope) for row in shown])
        axes[2 + column].axhline(advantage, color=GREY, linewidth=0.6, zorder=0)
        sign = "+1" if advantage > 0 else "−1"
        _finish(axes[column], f"drift, A = {sign}", "", (ratios[0], ratios[-1]))
        _finish(axes[2 + column], f"slope of the drift, A = {sign}", "probability ratio r", (ratios[0], ratios[-1]))
    _legend(figure, axes[0])
    said = "; ".join(
        f"{row.name}{'' if math.isnan(row.age) else f' at n/N = {row.age:g}'}: {np.interp(1.5, ratios, row.value):.3g}"
        for row in drifts
        if row.advantage > 0
    )
    return Picture("drift", finished(figure), f"Drift functions; at r = 1.5 and A = 1: {said}.", DRIFTS)


def _style(row: Drift, ages: Sequence[float]) -> Style:
    if row.name != LEARNED:
        return {"color": GREY, "linestyle": "--" if row.name == "PPO" else ":", "linewidth": 1.2, "label": row.name}
    if math.isnan(row.age):
        return {"color": colour(0), "linewidth": 2, "label": "learned"}
    place = ages.index(row.age)  # thinner the later, so that equal curves can be told from one
    return {"color": colour(place), "linewidth": max(1.2, 3 - place), "label": f"learned, n/N = {row.age:g}"}


def _scale(axes: "Axes", curves: Sequence[tuple[str, np.ndarray]]) -> None:
    """Makes an axis logarithmic away from 0 where learned curves and the others are more than fivefold apart."""
    reached = {True: 0.0, False: 0.0}
    for name, curve in curves:
        most = float(np.max(np.abs(curve), where=np.isfinite(curve), initial=0.0))
        reached[name == LEARNED] = max(reached[name == LEARNED], most)
    small, large = sorted(reached.values())
    if small > 0 and large > 5 * small:
        axes.set_yscale("symlog", linthresh=small, linscale=max(1.0, 0.8 * math.log10(large / small)))
        axes.minorticks_off()


def _decades(axes: "Axes", curves: Sequence[np.ndarray]) -> None:
    """A logarithmic axis of whole decades."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    axes.set_yscale("log")
    axes.tick_params(which="minor", color=FAINT, labelleft=False)
    if values.size:
        low, high = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
        axes.set_ylim(10.0**low, 10.0 ** max(high, low + 1))


def _spread(axes: "Axes", share: float) -> None:
    """Widens a linear axis until it spans a share of its middle value: so that what hardly varies looks level."""
    low, high = axes.get_ylim()
    middle, room = (low + high) / 2, max(high - low, share * abs(low + high) / 2)
    axes.set_ylim(middle - room / 2, middle + room / 2)
    axes.ticklabel_format(axis="y", useOffset=False)


def _shade(index: int, place: int, count: int) -> Style:
    """A family's colour, darker for longer lifetimes."""
    alpha = 1.0 if count == 1 else 0.3 + 0.7 * place / (count - 1)
    return {"color": colour(index), "alpha": alpha, "linewidth": 1.6, "markersize": 3}


def _canvas(title: str, width: float, height: float, rows: int, columns: int) -> "tuple[Figure, list[Axes]]":
    figure, axes = canvases(width, height, rows, columns)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    return figure, axes


def _legend(figure: "Figure", axes: "Axes") -> None:
    """Above the charts, where it covers none."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=7.5, frameon=False)


def _finish(axes: "Axes", title: str, unit: str, ends: tuple[float, float]) -> None:
    axes.set_title(title, fontsize=8.5, loc="left", color=INK)
    axes.set_xlabel(unit)
    room = 0.03 * (ends[1] - ends[0])
    axes.set_xlim(ends[0] - room, ends[1] + room)
