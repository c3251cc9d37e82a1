"""From a record to a page."""

import dataclasses
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from groove.files.writing import write_text
from groove.protocols import UNTUNED, Row
from groove.report import ages, charts, figures, gallery, health, heldout, html, lineage, record
from groove.report.figures import Picture
from groove.report.record import Record


def write(folder: Path, *, trusted: tuple[str, ...] = ()) -> Path:
    """Draws the run in `folder` from its files: `report.html`, one self-contained page, and its pictures in `figures/`.

    Everything but `config.json` may be missing, as it is in a run that was interrupted: the page says what is.

    Args:
        folder: Of the run.
        trusted: Plug-ins of the form package.module:object that it may name; those of entry points need no trust.

    Returns:
        The page.

    Raises:
        ValueError: The folder is no run, or names a plug-in that is not trusted.
        OSError: The page cannot be written.
    """
    pictures: list[Picture] = []
    name, body = drawn(folder, pictures, trusted)
    page = folder / "report.html"
    write_text(page, html.document(name, body))
    figures.save(pictures, folder / "figures")
    return page


def drawn(folder: Path, pictures: list[Picture], trusted: tuple[str, ...] = ()) -> tuple[str, str]:
    """A run's name and all that is to be said of it; the pictures in it are added to the list.

    Raises:
        ValueError: The folder is no run, or names a plug-in that is not trusted.
    """
    run = record.read(folder, trusted)
    sections = (_about, _held_out, _schedules, _learning, _curriculum, _health, _walk)
    return run.name, "\n".join(section(run, pictures) for section in sections)


def _about(run: Record, pictures: list[Picture]) -> str:
    done = int(run.metrics[-1]["step"] or 0) if run.metrics else 0
    lede = (
        f"A run of groove's preset {run.config.name}: {done} of {run.config.meta_steps} meta-steps, seed {run.config.seed}."
    )
    facts = html.table_of_facts("What was trained", charts.facts(run.config))
    parts = [html.paragraph(lede, "lede"), _verdicts(run), _missing(run.missing), facts]
    config = json.dumps(dataclasses.asdict(run.config), indent=2)
    versions = "\n".join(f"{name} {version}" for name, version in run.versions.items())
    parts += [html.folded("Complete configuration", config), html.folded("Package versions", versions)]
    return "\n".join(part for part in parts if part)


def _verdicts(run: Record) -> str:
    found = heldout.verdicts(run.evaluation.rows) if run.evaluation else []
    return f'<ul class="verdict">{"".join(f"<li>{escape(text)}</li>" for text in found)}</ul>' if found else ""


def _missing(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<aside class="missing"><strong>Not here yet</strong><ul>{items}</ul></aside>'


def _held_out(run: Record, pictures: list[Picture]) -> str:
    if run.evaluation is None:
        return ""
    blocks = []
    for family in dict.fromkeys(row.family for row in run.evaluation.rows):
        rows = [row for row in run.evaluation.rows if row.family == family]
        picture = charts.held_out(run, family, rows)
        pictures.append(picture)
        blocks.append(f'<div class="pair">{_table(family, rows)}{html.figure(picture)}</div>')
    untuned = any(row.rule == "A2C" for row in run.evaluation.rows)  # else it is called tuned
    warned = [html.paragraph(UNTUNED, "warning")] if untuned else []
    return "\n".join(["<h2>On held-out tasks</h2>", *warned, *blocks, html.paragraph(run.evaluation.caption, "note")])


def _table(family: str, rows: Sequence[Row]) -> str:
    lifetimes, found = heldout.cells(rows)
    lines = "".join(_table_row(rule, words) for rule, words in found.items())
    numbers = "".join(f'<th scope="col" class="number">{lifetime} updates</th>' for lifetime in lifetimes)
    head = f'<thead><tr><th scope="col">rule</th>{numbers}</tr></thead>'
    return f"<table><caption>{escape(family)}</caption>{head}<tbody>{lines}</tbody></table>"


def _table_row(rule: str, words: Sequence[str]) -> str:
    chosen = ' class="chosen"' if rule == "trained rule" else ""
    numbers = "".join(f'<td class="number">{escape(word)}</td>' for word in words)
    return f'<tr{chosen}><th scope="row">{escape(rule)}</th>{numbers}</tr>'


def _schedules(run: Record, pictures: list[Picture]) -> str:
    if run.schedules is None:
        return ""
    drawn = ages.pictures(run.schedules)
    pictures.extend(drawn)
    return "\n".join(["<h2>What the rule does at each age</h2>", *map(html.figure, drawn)])


def _learning(run: Record, pictures: list[Picture]) -> str:
    curves, (signals, still) = charts.curves(run), charts.signals(run)
    evolved = run.config.meta.method == "evolution"
    caption = f"{charts.LEARNING} {charts.EVOLVED}" if evolved else charts.LEARNING
    pictures.extend([*curves, *signals])
    if not curves and not signals and not still:
        return ""
    shown = (
        f'<div class="pair">{"".join(map(html.figure, curves))}</div>'
        if curves
        else html.paragraph("No life has ended yet.")
    )
    folded = "".join(map(html.figure, signals))
    note = html.paragraph(still, "note") if still else ""
    health = f'<details><summary>Signals of the training</summary><div class="pair">{folded}</div>{note}</details>'
    health = health if signals or still else ""
    return "\n".join(["<h2>Learning</h2>", shown, html.paragraph(caption, "note") if curves else "", health])


def _curriculum(run: Record, pictures: list[Picture]) -> str:
    rows = [(family, ends) for family in run.families if (ends := gallery.ends(family, run.kept.get(family.name)))]
    drifts = charts.drifts(run)
    pictures.extend([*(picture for _, ends in rows for picture in (*ends.highest, *ends.lowest)), *drifts])
    if not rows and not drifts:
        return ""
    blocks = ["<h2>Curriculum</h2>", html.paragraph(charts.ranking(run.config))]
    for family, ends in rows:
        blocks.append(
            html.row_of_levels(f"{family.name}: highest scores of {len(run.kept[family.name].score)} levels", ends.highest)
        )
        blocks.append(html.row_of_levels(f"{family.name}: lowest scores", ends.lowest))
    if drifts:
        blocks.append(f'<h3>How levels drift</h3>\n<div class="pair">{"".join(map(html.figure, drifts))}</div>')
        blocks.append(html.paragraph(charts.DRIFT, "note"))
    return "\n".join(blocks)


def _health(run: Record, pictures: list[Picture]) -> str:
    courses, rows = health.pictures(run), health.rows(run)
    unit = charts.SCORES.get(run.config.curriculum.score, ("", "score"))[1]
    trees = [
        tree
        for family in run.families
        if (kept := run.kept.get(family.name))
        for tree in lineage.pictures(family, kept, unit)
    ]
    pictures.extend([*courses, *trees])
    blocks = []
    if courses:
        blocks += [f'<div class="pair">{"".join(map(html.figure, courses))}</div>', html.paragraph(health.CAPTION, "note")]
    blocks += [html.paragraph(said) for family in run.config.families for said in health.sentences(run, family)]
    if rows:
        blocks += [html.table("What curricula keep", health.HEAD, rows), html.paragraph(health.KEPT, "note")]
    if trees:
        blocks += ["<h3>Lineage</h3>", *map(html.figure, trees)]
    return "\n".join(["<h2>Curriculum health</h2>", *blocks]) if blocks else ""


def _walk(run: Record, pictures: list[Picture]) -> str:
    if run.walk is None:
        return ""
    image = f'<img src="{html.embedded("gif", run.walk)}" alt="Animation of an agent that walks one level.">'
    return f'<h2>A walk</h2>\n<figure class="walk">{image}<figcaption>{escape(charts.WALK)}</figcaption></figure>'
