"""Lineage: which kept levels were edited from which, drawn as trees."""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from groove.analysis.differences import measured
from groove.files.curriculumfile import row
from groove.report.figures import FAINT, GREY, INK, Picture, canvases, finished
from groove.report.record import Kept
from levels.base import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TREES = 3
"""Families of levels that are drawn."""
NODES, LEAVES = 16, 8
"""The most levels of a drawn tree, and how many of them stand beside one another."""
MARK = (213, 94, 0)
"""What surrounds pixels that an edit changed: the second of the report's colours."""
WIDTH, HEIGHT, SIDE = 1.05, 1.75, 0.78
"""Inches from a level of a tree to its neighbour, from a generation to the next, and of a level's longer side."""
ACROSS, DOWN = SIDE / WIDTH / 2, SIDE / HEIGHT / 2
"""Half the width and height of a level where neighbours and generations are 1 apart."""
WORDS = 0.17
"""Room for what is said below a level, in generations."""
CAPTION = (
    "Below each level its score, in brackets the change from its parent, and the features that changed; what an edit "
    "changed is outlined. An ancestor that the curriculum no longer holds is a dashed box."
)


class Lineage(NamedTuple):
    """Who descends from whom among kept levels. Arrays are NumPy's [rows]."""

    parent: np.ndarray  # i32; row of the parent, -1 if there is none or it is not kept
    lost: np.ndarray  # bool; edited from a level that is not kept
    generation: np.ndarray  # i32; edits since the first level that is known: 0 without a parent, 1 where the parent is lost
    family: np.ndarray  # i32; equal for those that descend from one level, kept or not

    @property
    def edits(self) -> int:
        """Kept levels that were edited from others."""
        return int(np.sum(self.lost | (self.parent >= 0)))


class Tree(NamedTuple):
    """Levels of one family to be drawn, parents before their children."""

    rows: tuple[int, ...]  # of the kept
    x: Mapping[int, float]  # place by row, leaves 1 apart
    lost: bool  # it descends from a level that is not kept
    size: int  # kept levels of the family, drawn or not
    middle: float  # x of its first ancestor


def lineage(serial: np.ndarray, parent: np.ndarray) -> Lineage:
    """Finds out who descends from whom.

    Args:
        serial: i32[rows], the levels' numbers.
        parent: i32[rows], the number of the level that each was edited from, -1 if none.

    Example:
        >>> import numpy as np
        >>> from groove.report.lineage import lineage
        >>> found = lineage(np.array([4, 7, 9, 3]), np.array([-1, 4, 7, 2]))
        >>> found.parent.tolist(), found.generation.tolist(), found.lost.tolist(), found.edits
        ([-1, 0, 1, -1], [0, 1, 2, 1], [False, False, False, True], 3)
    """
    places = {int(number): place for place, number in enumerate(serial)}
    above = np.array([-1 if number == -1 else places.get(int(number), -1) for number in parent], np.int32).reshape(-1)
    lost = (np.asarray(parent) != -1) & (above < 0)
    generation, root = np.full(len(above), -1, np.int32), np.arange(len(above))
    for place in range(len(above)):
        if not (line := _unseen(place, above, generation)):
            continue
        oldest, top = line[-1], int(above[line[-1]])
        if top >= 0 and generation[top] < 0:  # a file of somebody else's may hold circles: each is cut at one place
            above[oldest] = top = -1
        begin = int(lost[oldest]) if top < 0 else int(generation[top]) + 1
        for number, one in enumerate(reversed(line)):
            generation[one], root[one] = begin + number, oldest if top < 0 else root[top]
    roots = [("lost", int(parent[first])) if lost[first] else ("kept", int(first)) for first in root]
    numbers = {one: number for number, one in enumerate(dict.fromkeys(roots))}
    return Lineage(above, lost, generation, np.array([numbers[one] for one in roots], np.int32))


def _unseen(place: int, above: np.ndarray, generation: np.ndarray) -> list[int]:
    """A row and its kept ancestors below the first whose generation is known, the oldest last; no circle closes."""
    line, seen = [], set[int]()
    while place >= 0 and generation[place] < 0 and place not in seen:
        line.append(place)
        seen.add(place)
        place = int(above[place])
    return line


def trees(found: Lineage, score: np.ndarray) -> list[Tree]:
    """The largest families of at least two kept levels, largest first; of large ones the highest scores and their ancestors.

    Args:
        found: Who descends from whom.
        score: f32[rows].
    """
    sizes = np.bincount(found.family) if len(found.family) else np.zeros(0, int)
    largest = np.argsort(-sizes, kind="stable")[:TREES]
    return [_tree(found, score, np.flatnonzero(found.family == one)) for one in largest if sizes[one] > 1]


def _tree(found: Lineage, score: np.ndarray, members: np.ndarray) -> Tree:
    chosen: list[int] = []
    for place in members[np.argsort(-score[members], kind="stable")]:
        more = [*chosen, *_beyond(chosen, int(place), found.parent)]
        inner = {int(found.parent[one]) for one in more}
        if len(more) <= NODES and sum(one not in inner for one in more) <= LEAVES:
            chosen = more
    rows = sorted(chosen, key=lambda one: (found.generation[one], -score[one]))
    x = _places(rows, found.parent)
    first = [x[one] for one in rows if found.parent[one] not in rows]
    return Tree(tuple(rows), x, bool(found.lost[rows[0]]), len(members), float(np.mean(first)))


def _beyond(chosen: Sequence[int], place: int, parent: np.ndarray) -> list[int]:
    """A row and its kept ancestors that are not chosen yet; of more than a tree may hold the first."""
    line: list[int] = []
    while place >= 0 and place not in chosen and len(line) <= NODES:
        line.append(place)
        place = int(parent[place])
    return line


def _places(rows: Sequence[int], parent: np.ndarray) -> dict[int, float]:
    """Leaves side by side, parents above the middle of their children."""
    children = {one: [other for other in rows if parent[other] == one] for one in rows}
    x: dict[int, float] = {}

    def place(one: int, left: float) -> float:
        right = functools.reduce(lambda at, child: place(child, at), children[one], left) if children[one] else left + 1.0
        x[one] = (left + right - 1.0) / 2
        return right

    functools.reduce(lambda at, one: place(one, at), (one for one in rows if parent[one] not in rows), 0.0)
    return x


def pictures(family: Family, kept: Kept, unit: str = "") -> list[Picture]:
    """The largest families of kept levels as trees, a picture each; none where nothing was edited.

    Args:
        family: Of the levels.
        kept: The levels and where they come from.
        unit: Of their scores.
    """
    found = lineage(kept.serial, kept.parent)
    features = measured(family, kept.levels) if found.edits else {}
    return [
        _draw(family, kept, found, tree, features, f"lineage-{family.name}-{number}", unit)
        for number, tree in enumerate(trees(found, kept.score), 1)
    ]


def _draw(
    family: Family,
    kept: Kept,
    found: Lineage,
    tree: Tree,
    features: Mapping[str, np.ndarray],
    name: str,
    unit: str,
) -> Picture:
    from matplotlib.ticker import MaxNLocator

    generations = found.generation[list(tree.rows)]
    first, deepest = 0 if tree.lost else int(generations.min()), int(generations.max())
    width = max(tree.x.values()) + 1
    figure, (axes, *_) = canvases(0.7 + WIDTH * max(width, 2.5), 0.3 + HEIGHT * (deepest - first + 1), 1, 1)
    if tree.lost:
        _box(axes, tree.middle, 0, "no longer kept")
    for one in tree.rows:
        _node(axes, family, kept, found, tree, one, _changes(found, kept.score, features, one))
    axes.set_xlim(min(-0.6, width / 2 - 1.75), max(width - 0.4, width / 2 + 0.75))
    axes.set_ylim(deepest + 0.5, first - 0.3)
    axes.set_aspect(HEIGHT / WIDTH)
    axes.set_xticks([])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines["bottom"].set_visible(False)
    axes.set_ylabel("generation, in rounds of edits")
    said = [_said(kept, found, features, one) for one in tree.rows]
    count = f"{len(tree.rows)} of {tree.size}" if len(tree.rows) < tree.size else f"All {tree.size}"
    caption = f"{count} kept levels of one family of {family.name}.{f' Score: {unit}.' if unit else ''}"
    text = f"A tree of {family.name} levels, parents above children. {'; '.join(said)}."
    return Picture(name, finished(figure), text, f"{caption} {CAPTION}")


def _node(axes: "Axes", family: Family, kept: Kept, found: Lineage, tree: Tree, one: int, changes: Sequence[str]) -> None:
    x, y, above = tree.x[one], int(found.generation[one]), int(found.parent[one])
    start = (tree.x[above], int(found.generation[above])) if above in tree.x else (tree.middle, 0) if tree.lost else None
    if start is not None:
        axes.plot(
            [start[0], x], [start[1] + DOWN + (WORDS if above >= 0 else 0), y - DOWN], color=GREY, linewidth=0.8, zorder=0
        )
    level = row(kept.levels, one)
    if family.image is None:
        text = family.draw(level)
        axes.text(x, y, text, ha="center", va="center", fontsize=4, family="monospace", color=INK, clip_on=True)
    else:
        picture = family.image(level, None)
        if above >= 0:
            picture = marked(picture, family.image(row(kept.levels, above), None))
        right, low = np.array([ACROSS, DOWN]) * picture.shape[1::-1] / max(picture.shape[:2])
        axes.imshow(picture, extent=(x - right, x + right, y + low, y - low), aspect="auto", interpolation="antialiased")
    axes.text(x, y + DOWN + 0.02, "\n".join(changes), ha="center", va="top", fontsize=5.5, color=INK, linespacing=1.15)


def _box(axes: "Axes", x: float, y: float, text: str) -> None:
    sides = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * (ACROSS, DOWN) + (x, y)
    axes.plot(*sides.T, color=FAINT, linestyle="--", linewidth=1)
    axes.text(x, y, text, ha="center", va="center", fontsize=5.5, color=GREY)


def marked(picture: np.ndarray, before: np.ndarray) -> np.ndarray:
    """A picture u8[height, width, 3] with an outline about what is not as it was before."""
    if picture.shape != before.shape:
        return picture
    changed = np.any(picture != before, axis=-1)
    reach = max(1, min(changed.shape) // 60)
    wide = functools.reduce(lambda mask, _: _grown(mask), range(2 * reach), changed)
    inner = functools.reduce(lambda mask, _: _grown(mask), range(reach), changed)
    return np.where((wide & ~inner)[..., None], np.array(MARK, np.uint8), picture)


def _grown(mask: np.ndarray) -> np.ndarray:
    """bool[height, width], one pixel larger on all sides."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.any(shifted, axis=0)


def _changes(found: Lineage, score: np.ndarray, features: Mapping[str, np.ndarray], one: int) -> list[str]:
    """A level's score, and how it and up to two features differ from its parent's."""
    above = int(found.parent[one])
    if above < 0:
        return [f"{score[one]:+.2f}"]
    moved = [f"{name.replace('_', ' ')} {before:.3g}→{after:.3g}" for name, before, after in _moved(features, above, one)]
    return [f"{score[one]:+.2f} ({score[one] - score[above]:+.2f})", *moved[:2]]


def _moved(features: Mapping[str, np.ndarray], above: int, one: int) -> list[tuple[str, float, float]]:
    """Features that differ, the most telling first: those that moved by most of their deviation over all that is kept."""
    pairs = [(name, float(values[above]), float(values[one]), float(np.std(values))) for name, values in features.items()]
    seen = [pair for pair in pairs if f"{pair[1]:.3g}" != f"{pair[2]:.3g}"]
    found = [(abs(after - before) / spread, name, before, after) for name, before, after, spread in seen]
    return [(name, before, after) for _, name, before, after in sorted(found, reverse=True)]


def _said(kept: Kept, found: Lineage, features: Mapping[str, np.ndarray], one: int) -> str:
    """A level of a tree in words."""
    above = int(found.parent[one])
    origin = f"from level {above + 1}" if above >= 0 else "from one no longer kept" if found.lost[one] else "not edited"
    moved = [f"{name.replace('_', ' ')} {before:.3g} to {after:.3g}" for name, before, after in _moved(features, above, one)]
    changes = f", {', '.join(moved)}" if above >= 0 and moved else ""
    return f"level {one + 1}, score {kept.score[one]:.2f}, {origin}{changes}"
