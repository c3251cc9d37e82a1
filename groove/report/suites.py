"""The page of an evaluation: suites with intervals, profiles, who beats whom, courses of lives, worst levels."""

import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from groove import evaluation
from groove.evaluation import SuiteResult, Summary
from groove.files.writing import write_text
from groove.protocols import PROTOCOLS, SCALES, hashes
from groove.report import contests, figures, html
from groove.report.figures import Picture
from groove.statistics import said, worst_count
from levels.suites import SUITES, splits

WORST_SHOWN = 6
"""Levels drawn of those on which a rule does worst."""
SCORE = "Scores are returns at the end of a life: 0 is what a random policy reaches, 1 {one}."
INTERVALS = (
    "Points over all tasks and agents, with 95 % stratified-bootstrap intervals (2,000 resamples). Agents are resampled "
    "within tasks; of learned rules whole meta-seeds are, and agents within them. Tasks are fixed: an interval speaks of "
    "these levels, not of others. With one meta-seed nothing is known of how much another training run would differ."
)
WORST = (
    "Worst 5 % (here {count} of the tasks, at least one): the mean score on the tasks where one agent does worst, scored by "
    "the others of its meta-seed, so that bad luck does not count; no interval with fewer than four agents. Under 75 % of "
    "A2C: the share of tasks on which the rule's mean score is below 0.75 of A2C's, as Jackson et al. 2023 report."
)


def write(found: Sequence[SuiteResult], folder: Path, name: str = "report.html") -> Path:
    """Writes a self-contained page about results, and its pictures in `figures/`.

    Args:
        found: What the results say.
        folder: Must exist.
        name: Of the page.

    Returns:
        The page.
    """
    pictures: list[Picture] = []
    body = "\n".join(sections(found, pictures))
    write_text(folder / name, html.document("Evaluation", body))
    figures.save(pictures, folder / "figures")
    return folder / name


def sections(found: Sequence[SuiteResult], pictures: list[Picture]) -> list[str]:
    """A section a suite; its pictures are added to the list."""
    return [_section(suite_result, pictures) for suite_result in found]


def _section(suite_result: SuiteResult, pictures: list[Picture]) -> str:
    sums = {entry.rule: evaluation.sums(suite_result, entry) for entry in suite_result.entries if suite_result.tasks}
    drawn = contests.pictures(suite_result, sums) if sums else []
    worst = {entry.rule: _worst(suite_result, place) for place, entry in enumerate(suite_result.entries) if sums}
    pictures.extend([*drawn, *(picture for row in worst.values() for picture in row)])
    blocks = [
        f"<h2>{escape(suite_result.suite)}, scale {escape(suite_result.scale)}</h2>",
        html.paragraph(about(suite_result)),
        *(f'<p class="warning">{escape(text)}</p>' for text in warnings(suite_result)),
    ]
    if sums:
        blocks += [
            html.table("Summary", *summary(suite_result, sums)),
            html.paragraph(INTERVALS, "note"),
            html.paragraph(WORST.format(count=worst_count(len(suite_result.tasks), evaluation.WORST)), "note"),
        ]
        blocks += [html.figure(drawn[0]), f'<div class="pair">{"".join(map(html.figure, drawn[1:]))}</div>']
        blocks += [html.row_of_levels(f"Where {rule} does worst", row) for rule, row in worst.items()]
    blocks += [html.sortable("All tasks: mean return at the end of a life", *all_tasks(suite_result))]
    blocks += [html.folded("Provenance", provenance(suite_result))]
    return "\n".join(filter(None, blocks))


def about(suite_result: SuiteResult) -> str:
    """What was done, in a paragraph."""
    suite, protocol = SUITES.get(suite_result.suite), PROTOCOLS.get(suite_result.suite)
    said = [suite.about if suite else ""]
    if protocol and suite_result.scale in protocol.budgets:
        budget = protocol.budgets[suite_result.scale]
        said.append(
            f"{len(suite_result.tasks) + len(suite_result.unnormalised)} tasks; a life of {budget.lifetime} updates, each "
            f"of {budget.environments} environments × {protocol.steps} steps; {budget.seeds} agents a task."
        )
    one = {
        "optimum": "what the best policy reaches (exact)",
        "a2c": "what tuned A2C reaches",
        "a2c here": "what A2C reached here",
    }
    if suite_result.ones:
        said.append(SCORE.format(one=" or ".join(one.get(name, name) for name in suite_result.ones)))
    if suite_result.unnormalised:
        few = ", ".join(suite_result.unnormalised[:6]) + (", …" if len(suite_result.unnormalised) > 6 else "")
        said.append(f"Not normalised, since nothing is known of 0 and 1 there or they are too close: {few}.")
    return " ".join(filter(None, said))


def warnings(suite_result: SuiteResult) -> list[str]:
    """What a reader must know before comparing, in sentences."""
    found = []
    if suite_result.scale == SCALES[0]:
        found.append("This is a smoke test: it shows that everything runs, and proves nothing of any rule.")
    lost = [f"{rule} in {count} of {of} lives" for rule, (count, of) in suite_result.diverged.items() if count]
    if lost:
        found.append(f"Diverged: {', '.join(lost)}. Such a life counts as worse than all others.")
    untuned = [entry.rule for entry in suite_result.entries if not entry.tuned]
    given = [rule for rule in untuned if all(map(evaluation.results.is_plugged, suite_result.abouts[rule]))]
    if given:
        found.append(f"Settings as given, not tuned for this suite: {', '.join(given)}.")
    if untuned := [rule for rule in untuned if rule not in given]:
        found.append(
            f"Not tuned for this suite at this scale: {', '.join(untuned)}. Beating an untuned rule proves nothing."
        )
    if suite_result.unfinished:
        found.append(f"Left out, since they have not met all these tasks yet: {', '.join(suite_result.unfinished)}.")
    lone = [entry.rule for entry in suite_result.entries if entry.learned and entry.metas < 2]
    if lone:
        found.append(f"From one meta-seed only: {', '.join(lone)}. Nothing can be claimed of how such rules are learned.")
    known = suite_result.suite in SUITES and suite_result.scale in PROTOCOLS[suite_result.suite].budgets
    if not known or list(suite_result.hashes) != hashes(suite_result.suite, suite_result.scale):
        found.append("These results are of other levels, or another protocol, than this groove has by these names.")
    return found


def summary(suite_result: SuiteResult, sums: Mapping[str, Summary]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the statistics of every rule, the best first."""
    head = ["rule", *evaluation.AGGREGATES, "worst 5 %", "under 75 % of A2C"]
    rows = [
        [rule, *("" if one is None else one.words() for one in (*own.aggregates.values(), own.worst, own.below))]
        for rule, own in sorted(sums.items(), key=lambda pair: -pair[1].aggregates["IQM"].point)
    ]
    return head, rows


def lines(suite_result: SuiteResult) -> tuple[str, list[str], list[list[str]]]:
    """The summary for a terminal: title, head, rows."""
    title = f"{suite_result.suite}, scale {suite_result.scale}"
    if not suite_result.tasks:
        rows = [
            [rule, f"{np.mean(values):.3g}" if np.isfinite(values).all() else said(np.nan)]
            for rule, values in suite_result.raw.items()
        ]
        return f"{title}: returns; nothing says what 0 and 1 are", ["rule", "mean return"], rows
    head, rows = summary(suite_result, {entry.rule: evaluation.sums(suite_result, entry) for entry in suite_result.entries})
    return title, [head[0], head[1], head[4], *head[5:]], [[row[0], row[1], row[4], *row[5:]] for row in rows]


def all_tasks(suite_result: SuiteResult) -> tuple[list[str], list[list[str]]]:
    """Head and rows of raw mean returns, a row a task."""
    names = list(suite_result.every)
    rows = [
        [task, split, *(said(suite_result.raw[rule][place], 3) for rule in suite_result.raw)]
        for place, (task, split) in enumerate(zip(names, suite_result.splits, strict=True))
    ]
    return ["task", "levels", *suite_result.raw], rows


def provenance(suite_result: SuiteResult) -> str:
    """Hashes, rules and versions, as text."""
    rules = json.dumps({rule: [json.loads(text) for text in texts] for rule, texts in suite_result.abouts.items()}, indent=1)
    versions = "\n".join(f"{name} {version}" for text in suite_result.versions for name, version in json.loads(text).items())
    return f"levels {suite_result.hashes[0]}\nprotocol {suite_result.hashes[1]}\n\n{rules}\n\n{versions}"


def _worst(suite_result: SuiteResult, place: int) -> list[Picture]:
    """The levels of lowest mean score of a rule, drawn; nothing where a family has no pictures."""
    entry = suite_result.entries[place]
    if entry.rule == evaluation.RANDOM or suite_result.suite not in SUITES:
        return []
    score = np.nan_to_num(entry.scores.mean((0, 1)), nan=-np.inf)  # where one diverged, first of all
    drawn = []
    for rank, task in enumerate(np.argsort(score, kind="stable")[:WORST_SHOWN], 1):
        picture = _level(
            suite_result,
            suite_result.tasks[task],
            f"{suite_result.suite}-{suite_result.scale}-{place}-worst-{rank}",
            f"score {said(score[task])}",
        )
        drawn += [picture] if picture else []
    return drawn


def _level(suite_result: SuiteResult, task: str, name: str, said: str) -> Picture | None:
    for split in splits(SUITES[suite_result.suite]):
        if task in split.tasks and split.family.image is not None:
            row = split.tasks.index(task)
            level = jax.tree.map(lambda leaf, row=row: leaf[row], split.levels)
            file = io.BytesIO()
            Image.fromarray(split.family.image(level, None)).quantize(64).save(file, "PNG", optimize=True)
            alt = f"The task {task}, {said}:\n{split.family.draw(level)}"
            return Picture(name, file.getvalue(), alt, f"{task}\n{said}", chart=False)
    return None
