"""Charts of rules beside one another."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from groove import evaluation
from groove.evaluation import SuiteResult, Summary
from groove.report.figures import COLOURS, FAINT, GREY, INK, Picture, bar, canvases, finished, plain
from groove.statistics import interquartile_mean, nested_bootstrap, said

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = ("-", "--", ":", "-.")
DRAWN = 24
"""Rules, at most."""
PALE = 0.45
"""By how much the colours of probabilities leave out the dark ends of their map, on which nobody could read."""


def pictures(suite_result: SuiteResult, sums: Mapping[str, Summary]) -> list[Picture]:
    """Intervals of every statistic, courses of lives, profiles and, with two rules or more, who beats whom.

    Of many rules those of the highest interquartile means: pairs are more than anybody would wait for, or read.
    """
    if len(suite_result.entries) > DRAWN:
        best = sorted(sums, key=lambda rule: -np.nan_to_num(sums[rule].aggregates["IQM"].point, nan=-np.inf))[:DRAWN]
        chosen = suite_result._replace(entries=tuple(entry for entry in suite_result.entries if entry.rule in best))
        found = pictures(chosen, {rule: sums[rule] for rule in sums if rule in best})
        drawn = f"Drawn are the best {DRAWN} of {len(suite_result.entries)} rules."
        return [picture._replace(caption=f"{picture.caption} {drawn}") for picture in found]
    found = [_intervals(suite_result, sums), _courses(suite_result), _profiles(suite_result, sums)]
    return [*found, _matrix(suite_result)] if len(suite_result.entries) > 1 else found


def _name(suite_result: SuiteResult, what: str) -> str:
    """Of a picture's file."""
    return f"{suite_result.suite}-{suite_result.scale}-{what}"


def _ink(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _line(place: int) -> str:
    """Of the rule at that place: where colours repeat, lines do not."""
    return LINES[place // len(COLOURS) % len(LINES)]


def _intervals(suite_result: SuiteResult, sums: Mapping[str, Summary]) -> Picture:
    names, rules = list(evaluation.AGGREGATES), list(sums)
    columns = 2  # so that they can be read on a phone
    figure, grid = canvases(5.4, 0.6 + math.ceil(len(names) / columns) * (0.45 + 0.2 * len(rules)), 2, columns)
    for number, (axes, name) in enumerate(zip(grid, names, strict=True)):
        for place, rule in enumerate(rules):
            bar(axes, sums[rule].aggregates[name], place, _ink(place), size=4.5)
        axes.set_ylim(len(rules) - 0.5, -0.5)
        axes.set_yticks(range(len(rules)), map(plain, rules) if number % columns == 0 else [""] * len(rules))
        axes.tick_params(axis="y", length=0)
        axes.set_title(name, fontsize=8.5, loc="left", color=INK)
    figure.supxlabel("score (optimality gap: lower is better)", fontsize=8, color=GREY)
    words = "; ".join(f"{rule} {said(sums[rule].aggregates['IQM'].point)}" for rule in rules)
    caption = "Points with 95 % intervals. IQM: the mean of the middle half. Optimality gap: the mean shortfall from 1."
    return Picture(_name(suite_result, "intervals"), finished(figure), f"Interquartile means: {words}.", caption)


def _courses(suite_result: SuiteResult) -> Picture:
    figure, (axes,) = canvases(4.4, 2.8, 1, 1)
    share = np.array(suite_result.points) / suite_result.points[-1]
    ends = []
    for place, entry in enumerate(suite_result.entries):
        found = [nested_bootstrap(scores, interquartile_mean, seed=0) for scores in entry.courses]
        low, point, high = (np.where(np.isfinite(row), row, np.nan) for row in np.array(found).T)
        axes.fill_between(share, low, high, color=_ink(place), alpha=0.2, linewidth=0)
        axes.plot(
            share,
            point,
            marker="o",
            markersize=3.5,
            linewidth=1.6,
            label=plain(entry.rule),
            color=_ink(place),
            linestyle=_line(place),
        )
        ends.append(f"{entry.rule} {said(point[0])} to {said(point[-1])}")
    axes.set_xlabel(f"share of the lifetime of {suite_result.points[-1]} updates")
    axes.set_ylabel("score, IQM")
    _legend(axes)
    caption = "How agents learn: interquartile mean of scores in the course of a life, with 95 % intervals."
    return Picture(
        _name(suite_result, "courses"), finished(figure), f"Scores in the course of a life: {'; '.join(ends)}.", caption
    )


def _profiles(suite_result: SuiteResult, sums: Mapping[str, Summary]) -> Picture:
    figure, (axes,) = canvases(4.4, 2.8, 1, 1)
    for place, (rule, found) in enumerate(sums.items()):
        profile = found.profile
        axes.fill_between(profile.threshold, profile.low, profile.high, color=_ink(place), alpha=0.2, linewidth=0)
        ink, dashes, name = _ink(place), _line(place), plain(rule)
        axes.plot(profile.threshold, profile.point, linewidth=1.6, label=name, color=ink, linestyle=dashes)
    axes.set_xlabel("score τ")
    axes.set_ylabel("share of runs and tasks above τ")
    _legend(axes)
    half = {rule: np.interp(0.5, found.profile.threshold, found.profile.point) for rule, found in sums.items()}
    words = "; ".join(f"{rule} {share:.2f}" for rule, share in half.items())
    caption = "Performance profiles: how often a score exceeds each threshold, with pointwise 95 % intervals."
    return Picture(
        _name(suite_result, "profiles"), finished(figure), f"Share of runs and tasks above 0.5: {words}.", caption
    )


def _matrix(suite_result: SuiteResult) -> Picture:
    rules = [entry.rule for entry in suite_result.entries]
    found = evaluation.improvements(suite_result)
    size = 1.1 + 0.8 * len(rules)
    figure, (axes,) = canvases(max(3.4, size), max(2.2, 0.6 + 0.5 * len(rules)), 1, 1)
    values = np.array([[found[a, b].point if a != b else np.nan for b in rules] for a in rules])
    axes.imshow(values, cmap="PuOr_r", vmin=-PALE, vmax=1 + PALE, aspect="auto")
    for (a, b), interval in found.items():
        text = f"{interval.point:.2f}\n{interval.low:.2f}–{interval.high:.2f}"
        axes.text(rules.index(b), rules.index(a), text, ha="center", va="center", fontsize=6.5, color=INK)
    axes.set_xticks(range(len(rules)), map(plain, rules))
    axes.set_yticks(range(len(rules)), map(plain, rules))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    words = "; ".join(f"{a} over {b} {interval.point:.2f}" for (a, b), interval in found.items())
    caption = (
        "Probability of improvement: how likely a run of the row's rule scores higher than one of the column's, by task."
    )
    return Picture(_name(suite_result, "improvement"), finished(figure), f"Probability of improvement: {words}.", caption)


def _legend(axes: "Axes") -> None:
    axes.axhline(0, color=FAINT, linewidth=0.6, zorder=0)
    axes.legend(fontsize=7.5, frameon=False, labelcolor=INK)
