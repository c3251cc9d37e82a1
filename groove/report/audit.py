"""The page of a score audit: correlations in tables, every task in pictures, all numbers in a file."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from groove import analysis, assembly, runs
from groove.analysis import Correlation, Findings, Report
from groove.config import Config
from groove.files.writing import write_text
from groove.report import figures, html
from groove.report.charts import SCORES
from groove.report.figures import FAINT, GREY, INK, Picture, canvases, colour, finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
"""Charts beside one another."""
READ = (
    "Spearman's rank correlation over the tasks: +1 where a score and a yardstick put them in the same order, 0 where they "
    "have nothing to do with one another, −1 where the orders are opposite. In brackets its 95 % bootstrap interval, tasks "
    "resampled. A score whose interval lies above 0 tells something of the yardstick; two scores whose intervals overlap "
    "are not clearly apart. Many correlations are shown: one in twenty lies outside its interval by chance."
)
APART = (
    "Scores see one life of one agent on each task, measured in {episodes}, as they do in training; it is their first "
    "visit, so that MaxMC knows no earlier return and learning progress compares with the random policy. Yardsticks average "
    "over {agents} other agents, whose returns are {exact}. So no chance is shared, and exact regret as a score does not "
    "reach +1 with exact regret as the yardstick: what it does reach is about the most that a score of one life can."
)
IMPROVED = (
    "Improvement: from the rule as it is, with a new optimizer, {steps} meta-gradient steps of {members} lives each on the "
    "one level, Adam at {rate:g}. Then the return of untrained agents of the changed rule, minus that of the unchanged one "
    "with the same random numbers: on this level, and on average on {others} others, which are the same for all."
)


def write(report: Report, folder: Path) -> Path:
    """Writes `audit.json`, `audit.html`, one self-contained page, and its pictures in `figures/`.

    Args:
        report: What the audit found.
        folder: Is made if it does not exist.

    Returns:
        The page.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seed = report.plan.config.seed
    agree = {found.family: analysis.correlations(found, seed=seed) for found in report.findings}
    families = [analysis.page(found, seed=seed) for found in report.findings]
    numbers = {"about": dict(facts(report)), "versions": runs.versions(), "families": families}
    write_text(folder / "audit.json", json.dumps(numbers, indent=1, allow_nan=False) + "\n")
    blocks = [html.table_of_facts("What was audited", facts(report)), *map(html.paragraph, notes(report))]
    drawn: list[Picture] = []
    for place, found in enumerate(report.findings):
        pictures = scatters(found, agree[found.family], place)
        drawn.extend(pictures)
        blocks += [f"<h2>{escape(found.family)}</h2>", table(found, agree[found.family]), skipped(found)]
        blocks += map(html.figure, pictures)
    figures.save(drawn, folder / "figures")
    write_text(folder / "audit.html", html.document("Score audit", "\n".join(filter(None, blocks))))
    return folder / "audit.html"


def facts(report: Report) -> list[tuple[str, str]]:
    """What was audited, in words."""
    plan, rule = report.plan, report.rule
    life, chosen = plan.config.life, plan.config.curriculum
    low, high = life.updates
    updates = f"{low}" if low == high else f"{low} to {high}"
    return [
        ("rule", ", ".join(f"{name} {value}" if name != "name" else str(value) for name, value in rule.items())),
        ("tasks", f"{plan.count} random ones of each of {', '.join(plan.config.families)}; seed {plan.config.seed}"),
        ("lives", f"{updates} updates of {life.environments} environments × {life.steps} steps"),
        ("regret", f"against {chosen.antagonists} agents of {chosen.antagonist} a task"),
    ]


def notes(report: Report) -> list[str]:
    """How the numbers are to be read, in sentences."""
    plan, chosen = report.plan, report.plan.config.curriculum
    exact = "exact where the family knows them, else means over episodes" if _sampled(plan.config) else "exact"
    said = [READ, APART.format(episodes=_count(chosen.episodes, "episode"), agents=plan.agents, exact=exact)]
    if any("improvement" in found.yardsticks for found in report.findings):
        sizes = {"steps": analysis.steps_of(plan), "members": plan.members, "others": plan.others}
        said.append(IMPROVED.format(rate=plan.config.meta.rate, **sizes))
    return said


def _sampled(config: Config) -> bool:
    return any(assembly.family(config, name).value is None for name in config.families)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def said(one: Correlation) -> str:
    """A correlation in words: the point and its interval, or why there is none."""
    if one.interval is None:
        return f"none: {one.reason}"
    low, point, high = one.interval
    return f"{point:+.2f} ({low:+.2f} to {high:+.2f})"


def table(found: Findings, agree: Sequence[Correlation]) -> str:
    """Scores against yardsticks, the one that agrees best with the first yardstick on top."""
    cells = {(one.score, one.yardstick): one for one in agree}
    head = ["score", *(analysis.TITLES[name][0] for name in found.yardsticks)]
    rows = [[score, *(said(cells[score, name]) for name in found.yardsticks)] for score in ranked(found, agree)]
    return html.table(f"Rank correlations over {_count(len(found.serial), 'task')} of {found.family}", head, rows)


def ranked(found: Findings, agree: Sequence[Correlation]) -> list[str]:
    """The scores, those that agree best with the first yardstick first and those without a correlation last."""
    first = next(iter(found.yardsticks), "")
    point = {one.score: one.interval.point for one in agree if one.yardstick == first and one.interval is not None}
    return sorted(found.scores, key=lambda name: -point.get(name, -2.0))


def skipped(found: Findings) -> str:
    """What was not measured, and why; nothing if all was."""
    items = "".join(f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in found.skipped.items())
    return f'<aside class="missing"><strong>Not measured</strong><ul>{items}</ul></aside>' if items else ""


def scatters(found: Findings, agree: Sequence[Correlation], index: int) -> list[Picture]:
    """A picture a yardstick: small charts, one a score, with a dot a task.

    Args:
        found: What was measured.
        agree: Its correlations.
        index: Place of the family, for its colour.
    """
    order = ranked(found, agree)
    cells = {(one.score, one.yardstick): one for one in agree}
    return [_scatter(found, name, [cells[score, name] for score in order], index) for name in found.yardsticks]


def _scatter(found: Findings, yardstick: str, row: Sequence[Correlation], index: int) -> Picture:
    title, unit = analysis.TITLES[yardstick]
    lines = -(-len(row) // COLUMNS)
    figure, grid = canvases(8.6, 0.5 + 1.9 * lines, lines, COLUMNS)
    heading = f"{found.family}: {title}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    for axes, one in zip(grid, row, strict=False):
        _dots(axes, found.scores[one.score], found.yardsticks[yardstick], colour(index))
        axes.set_title(f"{one.score}\n{said(one)}", fontsize=7.5, loc="left", color=INK)
        axes.set_xlabel(SCORES.get(one.score, ("", "score"))[1], fontsize=7)
    for axes in grid[len(row) :]:
        axes.set_axis_off()
    figure.supylabel(unit, fontsize=8, color=GREY)
    words = "; ".join(f"{one.score} {said(one)}" for one in row)
    caption = f"A dot is a task. Up: {title}, {unit}. Across: the score above each chart. Rank correlations: {words}."
    name = f"audit-{found.family}-{yardstick}"
    return Picture(name, finished(figure), f"Scatter charts of {title} on {found.family}. {words}.", caption)


def _dots(axes: "Axes", score: np.ndarray, yardstick: np.ndarray, ink: str) -> None:
    known = np.isfinite(score) & np.isfinite(yardstick)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.plot(score[known], yardstick[known], ".", color=ink, alpha=0.55, markersize=5, markeredgewidth=0)
    axes.tick_params(labelsize=6.5)
    axes.margins(0.08)


def lines(report: Report) -> Mapping[str, tuple[list[str], list[list[str]]]]:
    """The tables for a terminal: heads and rows by family."""
    found: dict[str, tuple[list[str], list[list[str]]]] = {}
    for one in report.findings:
        agree = analysis.correlations(one, seed=report.plan.config.seed)
        cells = {(each.score, each.yardstick): said(each) for each in agree}
        rows = [[score, *(cells[score, name] for name in one.yardsticks)] for score in ranked(one, agree)]
        found[one.family] = (["score", *one.yardsticks], rows)
    return found
