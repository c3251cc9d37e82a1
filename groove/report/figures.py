"""Charts, drawn by Matplotlib's object interface: black on white, in colours that the colour-blind can tell apart."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from groove.protocols import Row
from groove.report.series import Series, line
from groove.statistics import Interval, said

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, FAINT = "#222222", "#767676", "#d9d9d9"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Of the families, in their order (Okabe and Ito 2008)."""
DOTS_PER_INCH = 150
LONGEST, SHOWN = 120, 24
"""Characters of the name of a file, and of a name in a chart."""


class Picture(NamedTuple):
    """A picture and what to say of it."""

    name: str  # of its file, without the ending
    png: bytes
    alt: str
    caption: str = ""
    chart: bool = True  # rather than a level


def colour(index: int) -> str:
    """Of the family at that place of the configuration."""
    return COLOURS[index % len(COLOURS)]


def intervals(family: str, rows: Sequence[Row], index: int) -> Picture:
    """What each rule reached on a family's held-out tasks, a chart a lifetime: the trained rule's interval is in colour."""
    rules, lifetimes = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("rule", "lifetime"))
    figure, grid = canvases(2.6 + 1.8 * len(lifetimes), 0.8 + 0.27 * len(rules), 1, len(lifetimes))
    figure.suptitle(family, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    for axes, lifetime in zip(grid, lifetimes, strict=True):
        for row in rows:
            if row.lifetime == lifetime:
                chosen, point = row.rule == "trained rule", row.interval.point
                bar(axes, row.interval, rules.index(row.rule), colour(index) if chosen else GREY, size=6 if chosen else 5)
                if np.isfinite(point):
                    axes.axvline(point, color=FAINT, linewidth=0.6, zorder=0)
        axes.set_yticks(range(len(rules)), rules if lifetime == lifetimes[0] else [""] * len(rules))
        axes.set_ylim(len(rules) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_title(f"{lifetime} updates", fontsize=8, loc="left", color=INK)
    figure.supxlabel("return of one episode", fontsize=8.5, color=GREY)
    words = "; ".join(f"{row.rule} {said(row.interval.point)} after {row.lifetime} updates" for row in rows)
    return Picture(f"held-out-{family}", finished(figure), f"Held-out {family}: {words}.")


def bar(axes: "Axes", interval: Interval, place: int, ink: str, *, size: float) -> None:
    """A point and its interval in a row of a chart; nothing of what diverged."""
    low, point, high = (value if np.isfinite(value) else np.nan for value in interval)
    axes.plot([low, high], [place, place], color=ink, linewidth=5, alpha=0.35, solid_capstyle="butt")
    axes.plot([point], [place], marker="o", color=ink, markersize=size)


def curve(name: str, title: str, unit: str, points: Series, index: int, *, zero: bool = False) -> Picture:
    """A metric against meta-steps: what was measured, faint, and its smoothed course."""
    figure, axes = _canvas(4.4, 2.6)
    if zero:
        axes.axhline(0, color=GREY, linewidth=0.8)
    axes.plot(points.step, points.value, ".", color=colour(index), alpha=0.35, markersize=5, markeredgewidth=0)
    at, values = line(points)
    axes.plot(at, values, color=colour(index), linewidth=2)
    axes.set_xlabel("meta-steps")
    axes.set_ylabel(unit)
    axes.margins(x=0.02)
    _name(axes, title)
    alt = f"{title} against meta-steps: from {values[0]:.3g} to {values[-1]:.3g}, smoothed."
    return Picture(name, finished(figure), alt)


class FeatureDrift(NamedTuple):
    """How one feature of levels moves over a run."""

    lived: Series  # mean over the levels being lived on
    random: float | None  # mean over the generator's levels
    kept: float | None  # mean over what the curriculum holds in the end


def drift(family: str, features: Mapping[str, FeatureDrift], index: int) -> Picture:
    """Small charts of a family's features against meta-steps, beside the means of random and of kept levels."""
    rows = -(-len(features) // 3)
    figure, grid = canvases(4.6, 0.45 + 1.15 * rows, rows, 3)
    figure.suptitle(family, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    for axes, (name, feature) in zip(grid, features.items(), strict=False):
        if feature.random is not None:
            axes.axhline(feature.random, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
        axes.plot(feature.lived.step, feature.lived.value, color=colour(index), linewidth=1.3)
        if feature.kept is not None:
            axes.plot([feature.lived.step[-1]], [feature.kept], "D", color=INK, markersize=4, clip_on=False)
        axes.set_title(name.replace("_", " "), fontsize=8, loc="left", color=INK)
        axes.tick_params(labelsize=6.5)
        axes.margins(x=0.03, y=0.12)
    for axes in grid[len(features) :]:
        axes.set_axis_off()
    figure.supxlabel("meta-steps", fontsize=7.5, color=GREY)
    moved = ", ".join(f"{name} {f.lived.value[0]:.3g} to {f.lived.value[-1]:.3g}" for name, f in features.items())
    return Picture(f"features-{family}", finished(figure), f"Mean features of the {family} levels lived on: {moved}.")


def panels(name: str, courses: Mapping[str, Series]) -> Picture:
    """Small charts of metrics of the whole run, two beside one another."""
    rows = -(-len(courses) // 2)
    figure, grid = canvases(4.6, 0.2 + 1.5 * rows, rows, 2)
    for axes, (title, points) in zip(grid, courses.items(), strict=False):
        axes.plot(points.step, points.value, ".", color=GREY, alpha=0.3, markersize=3, markeredgewidth=0)
        axes.plot(*line(points), color=INK, linewidth=1.3)
        axes.set_title(title, fontsize=8, loc="left", color=INK)
        axes.tick_params(labelsize=6.5)
    figure.supxlabel("meta-steps", fontsize=7.5, color=GREY)
    for axes in grid[len(courses) :]:
        axes.set_axis_off()
    ends = ", ".join(f"{title} {line(points)[1][-1]:.3g}" for title, points in courses.items())
    return Picture(name, finished(figure), f"Signals of the training against meta-steps; at the end: {ends}.")


def _canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    figure, grid = canvases(width, height, 1, 1)
    return figure, grid[0]


def canvases(width: float, height: float, rows: int, columns: int) -> "tuple[Figure, list[Axes]]":
    """An empty figure of that size, in inches, and its charts row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    grid = list(np.ravel(figure.subplots(rows, columns)))
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(color=FAINT, labelcolor=GREY, labelsize=8)
        axes.xaxis.label.set(color=GREY, fontsize=8.5)
        axes.yaxis.label.set(color=GREY, fontsize=8.5)
        axes.locator_params(nbins=5 if rows * columns == 1 else 3)
    return figure, grid


def _name(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)


def save(pictures: Iterable[Picture], folder: Path) -> None:
    """Writes pictures as files, for whoever wants them elsewhere. Names may hold what strangers wrote."""
    folder.mkdir(exist_ok=True)
    taken: Counter[str] = Counter()
    for picture in pictures:
        name = re.sub(r"[^\w.=,-]+", "-", picture.name).lstrip(".")[:LONGEST]
        taken[name] += 1
        (folder / f"{name}{f'-{taken[name]}' if taken[name] > 1 else ''}.png").write_bytes(picture.png)


def plain(name: str) -> str:
    """A name as Matplotlib shows it: dollars are no mathematics, no first letter hides it, and it is not long."""
    short = name if len(name) <= SHOWN else f"{name[: SHOWN - 1]}…"
    return f"{' ' if short.startswith('_') else ''}{short}".replace("$", r"\$")


def finished(figure: "Figure") -> bytes:
    """A figure as the bytes of a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
