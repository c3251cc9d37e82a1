"""Pieces of a self-contained page."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from groove.report.figures import Picture


def document(title: str, body: str) -> str:
    """A whole page, with its style."""
    style = resources.files("groove.report").joinpath("style.css").read_text(encoding="utf-8")
    name = escape(title)
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
{f"<script>{SORT}</script>" if "sortable" in body else ""}
</body>
</html>
"""


def table_of_facts(title: str, facts: Iterable[tuple[str, str]]) -> str:
    """Names and what is to be said of each, under a title."""
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in facts)
    return f'<h2>{escape(title)}</h2>\n<table class="facts"><tbody>{rows}</tbody></table>'


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under its title: the first cell of a row says what the others are about."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = (
        f'<th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}' for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    caption = f"<caption>{escape(title)}</caption>"
    whole = f'<table class="wide">{caption}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{whole}</div>'


SORT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead button").forEach((button, column) => button.addEventListener("click", () => {
    const body = table.tBodies[0], head = button.closest("th");
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const text = row => row.cells[column].textContent, value = row => Number(text(row));
    const compare = (a, b) => isNaN(value(a)) || isNaN(value(b)) ? text(a).localeCompare(text(b)) : value(a) - value(b);
    body.append(...Array.from(body.rows).sort((a, b) => down ? compare(b, a) : compare(a, b)));
  }));
}
"""
"""Sorts the tables of a page by the column whose head is clicked; without it they are there, in their first order."""


def sortable(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A long table, folded, which sorts by the column whose head is clicked."""
    top = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in head)
    lines = (
        f'<th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}' for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    table = (
        f'<div class="scroll"><table class="wide sortable"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return f"<details><summary>{escape(title)}</summary>{table}</details>"


def row_of_levels(title: str, pictures: Sequence[Picture]) -> str:
    """Pictures of levels beside one another, under a title; nothing if there are none."""
    return f'<h3>{escape(title)}</h3>\n<div class="levels">{"".join(map(figure, pictures))}</div>' if pictures else ""


def figure(picture: Picture) -> str:
    """A picture within the page, with its caption."""
    kind = ' class="chart"' if picture.chart else ""
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure><img{kind} src="{embedded("png", picture.png)}" alt="{escape(picture.alt)}">{caption}</figure>'


def embedded(kind: str, content: bytes) -> str:
    """An image as an address that holds all of it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def paragraph(text: str, kind: str = "") -> str:
    """Plain text, of a class of the style sheet."""
    opening = f'<p class="{kind}">' if kind else "<p>"
    return f"{opening}{escape(text)}</p>"


def folded(title: str, text: str) -> str:
    """Text that shows when its title is opened."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
