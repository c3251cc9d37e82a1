"""Pictures of what a rule does at each age of an agent."""

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from groove.config.limits import LARGEST
from groove.lifetime.credit import Credit
from groove.lifetime.schedules import LEARNED, DriftCurve, LifeCurve, Response
from groove.report import credits
from groove.report.figures import FAINT, GREY, INK, Picture, canvases, colour, finished
from levels.files import DAMAGED, read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COURSES = (
    "Untrained agents live through N updates on random levels, one line for each N, against n/N, the part of the life that "
    "has passed. Left: the entropy of their policies. "
    "Middle: how far one update moves the policy, as the KL divergence of the policy before it from that after it, on the "
    "update's own rollout; the axis is logarithmic. Right: the return of an episode, measured at up to eleven ages. Means "
    "over sixteen agents; paler lines for shorter lives."
)
BANDS = "Shaded: normal 95 % intervals of the means over agents, each of which has a level of its own."
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
LEAST = 1e-8
"""Nats; smaller updates, which float32 cannot tell apart, are drawn as that."""
NORMAL = 1.96
"""Standard errors between a mean and an end of its 95 % interval."""
Style: TypeAlias = dict[str, Any]
"""Of a line, as Matplotlib names it."""


class Schedules(NamedTuple):
    """The tables of `schedules.json`."""

    courses: Mapping[str, Sequence[LifeCurve]]  # by family
    responses: Mapping[str, Sequence[Response]]  # by family; none but for LPG
    drifts: Sequence[DriftCurve]  # none but for LPO
    ratios: np.ndarray  # f64; where drifts are known
    credits: Mapping[str, Credit]  # by family; none but for LPG
    trained: tuple[int, int] | None = None  # the range of lifetimes that the rule was trained on, where that is known


def read(path: Path) -> Schedules:
    """The tables that `groove.runs.save_schedules` wrote; what was not finite is NaN, and what was not measured then.

    Raises:
        ValueError: They are damaged.
    """
    try:
        page = read_json(path)
        ratios = _numbers(page["ratios"])
        courses = {name: [_course(row) for row in rows] for name, rows in page["courses"].items()}
        responses = {name: [_response(row) for row in rows] for name, rows in page["responses"].items()}
        drifts = [_drift(row, ratios.size) for row in page["drifts"]]
        credited = {name: _credit(row) for name, row in page.get("credits", {}).items()}  # they came later than the others
        if not all([*courses.values(), *responses.values()]):
            raise ValueError("a family has no rows")
    except DAMAGED as error:
        raise ValueError(f"{path.name} is damaged ({type(error).__name__}: {error}).") from error
    return Schedules(courses, responses, drifts, ratios, credited, _trained(path.with_name("config.json")))


def _trained(path: Path) -> tuple[int, int] | None:
    """The range of lifetimes in a run's configuration; None where there is none to read."""
    try:
        low, high = read_json(path)["config"]["life"]["updates"]
        return int(low), int(high)
    except (OSError, *DAMAGED):
        return None


def _course(row: Mapping[str, Any]) -> LifeCurve:
    *measured, entropy, step, reached = LifeCurve._fields[1:]
    columns = [_numbers(row[name]) for name in measured]
    unknown = {entropy: columns[0], step: columns[1], reached: columns[4]}  # errors came later than schedules
    errors = [_numbers(row[name]) if name in row else np.full_like(like, math.nan) for name, like in unknown.items()]
    found = LifeCurve(operator.index(row["lifetime"]), *columns, *errors)
    _check_sizes(found.lifetime, found.entropy, found.step, found.reward, found.entropy_error, found.step_error)
    _check_sizes(found.age.size, found.episode_return, found.return_error)
    return found


def _response(row: Mapping[str, Any]) -> Response:
    found = Response(operator.index(row["lifetime"]), *(_numbers(row[name]) for name in Response._fields[1:]))
    _check_sizes(found.age.size, found.pi_hat, found.target_entropy)
    return found


def _credit(row: Mapping[str, Any]) -> Credit:
    columns = {name: _numbers(row[name]) for name in Credit._fields[2:]}
    found = Credit(operator.index(row["lifetime"]), float(row["decay"]), **columns)
    ages, steps, shown = found.age.size, found.profile.size // max(1, found.age.size), found.advantage.size
    shapes = {"age": (ages,), "profile": (ages, steps), "correlation": (ages,), "advantage": (shown,), "push": (ages, shown)}
    if not min(ages, steps, shown) or any(getattr(found, name).shape != shape for name, shape in shapes.items()):
        raise ValueError(f"columns have the shapes { {name: getattr(found, name).shape for name in shapes} }")
    return found


def _drift(row: Mapping[str, Any], size: int) -> DriftCurve:
    age = math.nan if row["age"] is None else float(row["age"])
    found = DriftCurve(str(row["name"]), age, float(row["advantage"]), _numbers(row["value"]), _numbers(row["slope"]))
    found = found._replace(lifetime=operator.index(row.get("lifetime", 0)))
    _check_sizes(size, found.value, found.slope)
    return found


def _check_sizes(size: int, *columns: np.ndarray) -> None:
    """Raises a ValueError unless all have one shape, [size], that is not empty."""
    if size < 1 or any(column.shape != (size,) for column in columns):
        raise ValueError(f"columns of {size} numbers have the shapes {[column.shape for column in columns]}")


def _numbers(values: Sequence[Any]) -> np.ndarray:
    found = np.array([*values], np.float64)  # None is NaN
    if np.any(np.abs(found) > LARGEST):
        raise ValueError(f"{found[np.abs(found) > LARGEST][0]} is no number that a program reaches")
    return found


def pictures(found: Schedules) -> list[Picture]:
    """All that there is to see, each with its caption."""
    families = list({**found.courses, **found.responses, **found.credits})
    drawn = [_courses(name, rows, families.index(name), found.trained) for name, rows in found.courses.items()]
    drawn += [_responses(name, rows, families.index(name), found.trained) for name, rows in found.responses.items()]
    drawn += [
        credits.picture(name, row, families.index(name), _told(found.trained, [row.lifetime]))
        for name, row in found.credits.items()
    ]
    return drawn + ([_drifts(found.ratios, found.drifts, found.trained)] if found.drifts else [])


def _courses(family: str, courses: Sequence[LifeCurve], index: int, trained: tuple[int, int] | None) -> Picture:
    figure, axes = _canvas(family, 9.2, 3.0, 1, 3)
    for place, row in enumerate(courses):
        ages = np.arange(1, row.lifetime + 1) / row.lifetime
        style = _shade(index, place, len(courses)) | {"label": f"N = {row.lifetime}"}
        few = "o" if row.lifetime < 12 else None
        axes[0].plot(ages, row.entropy, marker=few, **style)
        axes[1].plot(ages, np.maximum(row.step, LEAST), marker=few, **style)
        axes[2].plot(row.age, row.episode_return, marker="o", **style)
        _band(axes[0], ages, row.entropy, row.entropy_error, style)
        _band(axes[1], ages, row.step, row.step_error, style, least=LEAST)
        _band(axes[2], row.age, row.episode_return, row.return_error, style)
    _decades(axes[1], [np.maximum(row.step, LEAST) for row in courses])
    names = {
        "entropy of the policy": "entropy, in nats",
        "size of an update": "KL divergence, in nats",
        "what agents achieve": "return of an episode",
    }
    for one, (title, unit) in zip(axes, names.items(), strict=True):
        _finish(one, title, "n / N", unit, (0, 1))
    _spread(axes[0], 0.1)
    _legend(figure, axes[0])
    said = "; ".join(
        f"N = {row.lifetime}: entropy {row.entropy[0]:.2f} to {row.entropy[-1]:.2f}, update {row.step[0]:.2g} to "
        f"{row.step[-1]:.2g}, return {row.episode_return[0]:.2f} to {row.episode_return[-1]:.2f}"
        for row in courses
    )
    bands = [BANDS] if any(np.isfinite(row.return_error).any() for row in courses) else []
    caption = " ".join([COURSES, *bands, *_told(trained, [row.lifetime for row in courses])])
    return Picture(f"course-{family}", finished(figure), f"Agents on {family} against n/N. {said}.", caption)


def _responses(family: str, responses: Sequence[Response], index: int, trained: tuple[int, int] | None) -> Picture:
    figure, axes = _canvas(family, 6.4, 3.0, 1, 2)
    for place, row in enumerate(responses):
        style = _shade(index, place, len(responses)) | {"label": f"N = {row.lifetime}"}
        axes[0].plot(row.age, row.pi_hat, marker="o", **style)
        axes[1].plot(row.age, row.target_entropy, marker="o", **style)
    names = {"push on the policy": "mean |pi_hat|", "target of predictions": "entropy of y_hat, in nats"}
    for one, (title, unit) in zip(axes, names.items(), strict=True):
        _finish(one, title, "n / N", unit, (0, 1))
        _spread(one, 0.1)
    _legend(figure, axes[0])
    said = "; ".join(
        f"N = {row.lifetime}: |pi_hat| {row.pi_hat[0]:.3g} to {row.pi_hat[-1]:.3g}, entropy of y_hat "
        f"{row.target_entropy[0]:.3g} to {row.target_entropy[-1]:.3g}"
        for row in responses
    )
    caption = " ".join([RESPONSES, *_told(trained, [row.lifetime for row in responses])])
    return Picture(f"response-{family}", finished(figure), f"LPG's answers to {family} rollouts by age. {said}.", caption)


def _told(trained: tuple[int, int] | None, lifetimes: Sequence[int]) -> list[str]:
    """A sentence on which lives the rule was trained on, where that is known."""
    if trained is None:
        return []
    low, high = trained
    beyond = [f"{lifetime}" for lifetime in lifetimes if not low <= lifetime <= high]
    span = f"{low}" if low == high else f"{low} to {high}"
    others = f"; those of N = {' and '.join(beyond)} it never saw" if beyond else ""
    return [f"The rule was trained on lives of {span} updates{others}."]


def _drifts(ratios: np.ndarray, drifts: Sequence[DriftCurve], trained: tuple[int, int] | None) -> Picture:
    figure, axes = _canvas("", 7.2, 5.4, 2, 2)
    ages = sorted({row.age for row in drifts if not math.isnan(row.age)})
    lives = sorted({row.lifetime for row in drifts if row.lifetime}, reverse=True)
    for row in drifts:
        column = 0 if row.advantage > 0 else 1
        style = _style(row, ages, lives)
        axes[column].plot(ratios, row.value, **style)
        axes[2 + column].plot(ratios, row.slope, **style)
    for column, advantage in enumerate((1, -1)):
        shown = [row for row in drifts if row.advantage * advantage > 0]
        _scale(axes[column], [(row.name, row.value) for row in shown])
        _scale(axes[2 + column], [(row.name, row.slope) for row in shown])
        axes[2 + column].axhline(advantage, color=GREY, linewidth=0.6, zorder=0)
        sign, ends = "+1" if advantage > 0 else "−1", (ratios[0], ratios[-1])
        _finish(axes[column], f"drift, A = {sign}", "probability ratio r", "drift, in normalised A", ends)
        _finish(axes[2 + column], f"slope of the drift, A = {sign}", "probability ratio r", "slope, in normalised A", ends)
    _legend(figure, axes[0])
    said = "; ".join(f"{_named(row)}: {np.interp(1.5, ratios, row.value):.3g}" for row in drifts if row.advantage > 0)
    words = [DRIFTS]
    if lives:
        shorter = f" and, paler, of {' and '.join(map(str, lives[1:]))}" if lives[1:] else ""
        words += [f"This drift knows N itself: drawn for lives of {lives[0]} updates{shorter}.", *_told(trained, lives)]
    return Picture("drift", finished(figure), f"Drift functions; at r = 1.5 and A = 1: {said}.", " ".join(words))


def _named(row: DriftCurve) -> str:
    age = "" if math.isnan(row.age) else f" at n/N = {row.age:g}"
    return f"{row.name}{age}{f', N = {row.lifetime}' if row.lifetime else ''}"


def _style(row: DriftCurve, ages: Sequence[float], lives: Sequence[int]) -> Style:
    if row.name != LEARNED:
        return {"color": GREY, "linestyle": "--" if row.name == "PPO" else ":", "linewidth": 1.2, "label": row.name}
    if math.isnan(row.age):
        return {"color": colour(0), "linewidth": 2, "label": "learned"}
    place = ages.index(row.age)  # thinner the later, so that equal curves can be told from one
    label = f"learned, n/N = {row.age:g}{f', N = {row.lifetime}' if row.lifetime else ''}"
    pale = 0.4 if row.lifetime in lives[1:] else 1.0
    return {"color": colour(place), "linewidth": max(1.2, 3 - place), "label": label, "alpha": pale}


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
    figure.legend(handles, labels, loc="outside upper right", ncols=min(len(labels), 5), fontsize=7.5, frameon=False)


def _band(
    axes: "Axes", x: np.ndarray, middle: np.ndarray, error: np.ndarray, style: Style, *, least: float = -math.inf
) -> None:
    """Where the mean lies with a probability of 95 %, if it is normal; nothing where the error is not known."""
    low, high = (np.maximum(middle + sign * NORMAL * error, least) for sign in (-1, 1))
    axes.fill_between(x, low, high, color=style["color"], alpha=0.15 * style["alpha"], linewidth=0)


def _finish(axes: "Axes", title: str, across: str, up: str, ends: tuple[float, float]) -> None:
    axes.set_title(title, fontsize=8.5, loc="left", color=INK)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    room = 0.03 * (ends[1] - ends[0])
    axes.set_xlim(ends[0] - room, ends[1] + room)
