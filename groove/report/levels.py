"""Pages of curricula: what a file holds, and how two of them differ."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from groove.analysis.differences import Difference, measured
from groove.files.curriculumfile import Rows, Stored, row, take
from groove.files.writing import write_text
from groove.report import gallery, html, lineage
from groove.report.figures import COLOURS, GREY, INK, Picture, canvases, finished
from groove.report.record import Kept
from levels.base import Family

BINS = 24
"""Bars of a histogram."""


def ranked(rows: Rows) -> Rows:
    """Highest score first."""
    return take(rows, np.argsort(-rows.score, kind="stable"))


def facts(family: Family, stored: Stored) -> list[tuple[str, str]]:
    """What a file says of itself, in words."""
    about, rows = stored.metadata, stored.rows
    found = [("levels", f"{len(rows.score)} of {family.name}")]
    if len(rows.score):
        low, middle, high = np.quantile(rows.score, [0, 0.5, 1])
        found.append(("scores", f"{low:.3f} to {high:.3f}, half of them above {middle:.3f}"))
        found.append(("lifetimes", f"{np.min(rows.lifetime)} to {np.max(rows.lifetime)} updates"))
    edited = int(np.sum(rows.parent != -1))
    found.append(("lineage", f"{edited} edited from others" if edited else "none edited"))
    said = ("score", "rule", "generator", "life", "selection", "seed", "step", "source")
    return [*found, *((name, _said(about[name])) for name in said if about.get(name)), ("content", stored.content)]


def show(path: Path, page: Path, family: Family, stored: Stored) -> None:
    """Writes a self-contained page of a curriculum: what made it, how it is distributed, its best and worst levels.

    Args:
        path: The curriculum's file.
        page: The page to write.
        family: Of its levels.
        stored: What it holds.

    Raises:
        OSError: The page cannot be written.
    """
    rows = ranked(stored.rows)
    parts = [html.table_of_facts("What it is", facts(family, stored))]
    if len(rows.score):
        shown = {"score": [rows.score], **{name: [values] for name, values in measured(family, rows.level).items()}}
        parts += ["<h2>How it is distributed</h2>", html.figure(histograms("distribution", shown))]
        kept = Kept(rows.level, rows.lifetime, rows.score, rows.serial, rows.parent)
        parts += ["<h2>Its levels</h2>", *_gallery(family, kept)]
        if trees := lineage.pictures(family, kept):
            parts += ["<h2>Lineage</h2>", *map(html.figure, trees)]
    if "versions" in stored.metadata:
        parts.append(html.folded("Package versions", _said(stored.metadata["versions"]).replace(", ", "\n")))
    write_text(page, html.document(path.name, "\n".join(parts)))


def show_difference(paths: tuple[Path, Path], page: Path, found: Difference) -> None:
    """Writes a self-contained page of how two curricula differ.

    Args:
        paths: The curricula's files.
        page: The page to write.
        found: How they differ.

    Raises:
        OSError: The page cannot be written.
    """
    names = [path.name if paths[0].name != paths[1].name else str(path) for path in paths]
    parts = [html.table_of_facts("What they share", shared(names, found))]
    if found.features:
        features = {f"{one.name}, distance {one.distance:.2f}": [one.first, one.second] for one in found.features}
        picture = histograms("features", features, names)
        parts += ["<h2>Features of their levels</h2>", html.figure(picture)]
        parts.append(html.paragraph("Distance: the largest difference of the two distribution functions, 0 to 1.", "note"))
    if len(found.scores) > 1:
        parts += ["<h2>Scores of the tasks that both hold</h2>", html.figure(_scatter(names, found.scores))]
    write_text(page, html.document(f"{names[0]} and {names[1]}", "\n".join(parts)))


def shared(names: Sequence[str], found: Difference) -> list[tuple[str, str]]:
    """What two curricula share, in words."""

    def parts(counts: tuple[int, int, int]) -> str:
        return f"{counts[1]} in both, {counts[0]} only in {names[0]}, {counts[2]} only in {names[1]}"

    lines = [("levels", parts(found.levels)), ("tasks", parts(found.tasks))]
    if found.correlation is None:
        return [*lines, ("rank correlation", "open: fewer than three shared tasks, or equal scores")]
    low, point, high = found.correlation
    of = f"Spearman's, of the scores of {len(found.scores)} shared tasks, 95 % bootstrap"
    return [*lines, ("rank correlation", f"{point:+.2f} ({low:+.2f} to {high:+.2f}; {of})")]


def histograms(name: str, panels: Mapping[str, Sequence[np.ndarray]], names: Sequence[str] = ()) -> Picture:
    """Small histograms by title, of one or two sets of values each, as shares of their set."""
    count = -(-len(panels) // 3)
    figure, grid = canvases(6.4, 0.4 + 1.3 * count, count, 3)
    for axes, (title, sets) in zip(grid, panels.items(), strict=False):
        edges = np.histogram_bin_edges(np.concatenate(sets), BINS)
        for values, ink, style in zip(sets, COLOURS, ("-", "--"), strict=False):
            share = np.histogram(values, edges)[0] / max(1, len(values))
            axes.stairs(share, edges, color=ink, linewidth=1.2, linestyle=style, fill=len(sets) == 1, alpha=0.8)
        axes.set_title(title.replace("_", " "), fontsize=8, loc="left", color=INK)
        axes.tick_params(labelsize=6.5)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    if len(names) > 1:
        lines = [(names[0], COLOURS[0], "-"), (names[1], COLOURS[1], "--")]
        handles = [grid[0].plot([], [], color=ink, linestyle=style, label=label)[0] for label, ink, style in lines]
        figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    means = (f"{title} {' and '.join(f'{np.mean(values):.3g}' for values in sets)}" for title, sets in panels.items())
    return Picture(name, finished(figure), f"Histograms. Means: {'; '.join(means)}.")


def _scatter(names: Sequence[str], scores: np.ndarray) -> Picture:
    figure, (axes, *_) = canvases(3.6, 3.4, 1, 1)
    axes.plot(scores[:, 0], scores[:, 1], ".", color=COLOURS[0], alpha=0.5, markersize=5, markeredgewidth=0)
    axes.axline((float(np.mean(scores)),) * 2, slope=1, color=GREY, linewidth=0.8)
    axes.set_xlabel(f"score in {names[0]}")
    axes.set_ylabel(f"score in {names[1]}")
    return Picture("scores", finished(figure), f"Scores of {len(scores)} shared tasks in {names[0]} and in {names[1]}.")


def _gallery(family: Family, kept: Kept) -> list[str]:
    drawn = gallery.ends(family, kept)
    if drawn is not None:
        return [html.row_of_levels("highest scores", drawn.highest), html.row_of_levels("lowest scores", drawn.lowest)]
    few = range(min(gallery.SHOWN, len(kept.score)))
    return [html.folded(f"score {kept.score[i]:+.3f}", family.draw(row(kept.levels, i))) for i in few]


def _said(text: str) -> str:
    """JSON as a line of words."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(value, dict):
        return str(value)
    words = {name: " to ".join(map(str, entry)) if isinstance(entry, list) else entry for name, entry in value.items()}
    return ", ".join(f"{name} {entry}" for name, entry in words.items())
