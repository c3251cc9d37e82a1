"""From a record to a page."""

import base64
import dataclasses
import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from groove import host
from groove.protocols import Row
from groove.report import ages, charts, gallery, record
from groove.report.figures import Picture
from groove.report.record import Record


def write(folder: Path) -> Path:
    """See `groove.report.write`."""
    run = record.read(folder)
    pictures: list[Picture] = []
    sections = (_about, _held_out, _schedules, _learning, _curriculum, _walk)
    body = "\n".join(section(run, pictures) for section in sections)
    page = folder / "report.html"
    host.write_text(page, _document(run, body))
    (folder / "figures").mkdir(exist_ok=True)
    for picture in pictures:
        (folder / "figures" / f"{picture.name}.png").write_bytes(picture.png)
    return page


def _document(run: Record, body: str) -> str:
    style = resources.files("groove.report").joinpath("style.css").read_text(encoding="utf-8")
    name = escape(run.name)
    return f"""<!doctype html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} · groove</title>
<style>
{style}</style>
</head>
<body>
<h1>{name}</h1>
{body}
</body>
</html>
"""


def _about(run: Record, pictures: list[Picture]) -> str:
    done = int(run.metrics[-1]["step"] or 0) if run.metrics else 0
    lede = (
        f"A run of groove's preset {run.config.name}: {done} of {run.config.meta_steps} meta-steps, seed {run.config.seed}."
    )
    parts = [_paragraph(lede, "lede"), _verdicts(run), _missing(run.missing), _facts(charts.facts(run.config))]
    config = json.dumps(dataclasses.asdict(run.config), indent=2)
    versions = "\n".join(f"{name} {version}" for name, version in run.versions.items())
    parts += [_folded("Complete configuration", config), _folded("Package versions", versions)]
    return "\n".join(part for part in parts if part)


def _verdicts(run: Record) -> str:
    found = charts.verdicts(run.evaluation.rows) if run.evaluation else []
    return f'<ul class="verdict">{"".join(f"<li>{escape(text)}</li>" for text in found)}</ul>' if found else ""


def _missing(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<aside class="missing"><strong>Not here yet</strong><ul>{items}</ul></aside>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in facts)
    return f'<h2>What was trained</h2>\n<table class="facts"><tbody>{rows}</tbody></table>'


def _held_out(run: Record, pictures: list[Picture]) -> str:
    if run.evaluation is None:
        return ""
    blocks = []
    for family in dict.fromkeys(row.family for row in run.evaluation.rows):
        rows = [row for row in run.evaluation.rows if row.family == family]
        picture = charts.held_out(run, family, rows)
        pictures.append(picture)
        blocks.append(f'<div class="pair">{_table(family, rows)}{_figure(picture)}</div>')
    return "\n".join(["<h2>On held-out tasks</h2>", *blocks, _paragraph(run.evaluation.caption, "note")])


def _table(family: str, rows: Sequence[Row]) -> str:
    lines = "".join(_table_row(row) for row in rows)
    numbers = "".join(f'<th scope="col" class="number">{name}</th>' for name in ("return", "95 % interval"))
    head = f'<thead><tr><th scope="col">rule</th>{numbers}</tr></thead>'
    return f"<table><caption>{escape(family)}</caption>{head}<tbody>{lines}</tbody></table>"


def _table_row(row: Row) -> str:
    low, point, high = (f"{value:.3f}" for value in row.interval)
    chosen = ' class="chosen"' if row.rule == "trained rule" else ""
    cells = f'<td class="number">{point}</td><td class="number">{low} to {high}</td>'
    return f'<tr{chosen}><th scope="row">{escape(row.rule)}</th>{cells}</tr>'


def _schedules(run: Record, pictures: list[Picture]) -> str:
    if run.schedules is None:
        return ""
    drawn = ages.pictures(run.schedules)
    pictures.extend(drawn)
    return "\n".join(["<h2>What the rule does at each age</h2>", *map(_figure, drawn)])


def _learning(run: Record, pictures: list[Picture]) -> str:
    curves, signals = charts.curves(run), charts.signals(run)
    evolved = run.config.meta.method == "evolution"
    caption = f"{charts.LEARNING} {charts.EVOLVED}" if evolved else charts.LEARNING
    pictures.extend([*curves, *signals])
    if not curves and not signals:
        return ""
    shown = f'<div class="pair">{"".join(map(_figure, curves))}</div>' if curves else _paragraph("No life has ended yet.")
    folded = "".join(map(_figure, signals))
    health = (
        f'<details><summary>Signals of the training</summary><div class="pair">{folded}</div></details>' if signals else ""
    )
    return "\n".join(["<h2>Learning</h2>", shown, _paragraph(caption, "note") if curves else "", health])


def _curriculum(run: Record, pictures: list[Picture]) -> str:
    rows = [(family, ends) for family in run.families if (ends := gallery.ends(family, run.kept.get(family.name)))]
    drifts = charts.drifts(run)
    pictures.extend([*(picture for _, ends in rows for picture in (*ends.highest, *ends.lowest)), *drifts])
    if not rows and not drifts:
        return ""
    blocks = ["<h2>Curriculum</h2>", _paragraph(charts.SCORES[run.config.curriculum.score])]
    for family, ends in rows:
        blocks.append(
            _row_of_levels(f"{family.name}: highest scores of {len(run.kept[family.name].score)} levels", ends.highest)
        )
        blocks.append(_row_of_levels(f"{family.name}: lowest scores", ends.lowest))
    if drifts:
        blocks.append(f'<h3>How levels drift</h3>\n<div class="pair">{"".join(map(_figure, drifts))}</div>')
        blocks.append(_paragraph(charts.DRIFT, "note"))
    return "\n".join(blocks)


def _row_of_levels(title: str, pictures: Sequence[Picture]) -> str:
    return f'<h3>{escape(title)}</h3>\n<div class="levels">{"".join(map(_figure, pictures))}</div>' if pictures else ""


def _walk(run: Record, pictures: list[Picture]) -> str:
    if run.walk is None:
        return ""
    image = f'<img src="{_embedded("gif", run.walk)}" alt="Animation of an agent that walks one level.">'
    return f'<h2>A walk</h2>\n<figure class="walk">{image}<figcaption>{escape(charts.WALK)}</figcaption></figure>'


def _figure(picture: Picture) -> str:
    kind = ' class="chart"' if picture.chart else ""
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure><img{kind} src="{_embedded("png", picture.png)}" alt="{escape(picture.alt)}">{caption}</figure>'


def _embedded(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _paragraph(text: str, kind: str = "") -> str:
    opening = f'<p class="{kind}">' if kind else "<p>"
    return f"{opening}{escape(text)}</p>"


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
