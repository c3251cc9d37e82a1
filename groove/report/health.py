"""The health of curricula: how much of what they keep they replay, how fast it changes, what of it can be solved."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from groove.parallel import devices
from groove.report import gallery
from groove.report.figures import GREY, INK, Picture, canvases, colour, finished
from groove.report.lineage import lineage
from groove.report.record import Kept, Record
from groove.report.series import Series, is_flat, series, unchanged
from levels.base import Family, Level

CAPTION = (
    "Effective tasks: as many, replayed equally often, would make the replay distribution as even as it is (the exponential "
    "of its entropy); the dashed line counts the tasks held. Written: tasks that came into the buffer during a chunk of "
    "meta-steps, the churn. Age: proposals since a kept task came in, on average. Shares are of the tasks that were handed "
    "out during a chunk. Levels in play can be solved if their exact optimum is above 0; at most 64 are looked at."
)
EFFECTIVE = "effective tasks, of those held"
KEPT = (
    "Solvable: the exact optimum is above 0; of at most 256 levels, and of as many random ones. Generations count rounds of "
    "edits since the first level that is known; of an ancestor that is no longer kept nothing is."
)
PLAIN: Mapping[str, str] = {
    "tried": "tasks tried in this sweep",
    "progress": "mean learning progress, in returns",
    "components": "Gaussians of the mixture",
    "deviation": "deviation of the teacher's latent policy",
    "distance": "distance of its mean from the origin",
    "learned": "times that the teacher learned",
    "fallback": "share of latent points without a valid level",
    "waiting": "edits waiting to be lived on",
    "passes": "passes through the set",
}
"""What curricula without a replay distribution say of themselves, by the name in the metrics."""


class Course(NamedTuple):
    """A chart of one or two lines against meta-steps."""

    title: str  # with its unit
    line: Series
    beside: Series | None = None  # dashed


def courses(run: Record, family: str) -> list[Course]:
    """What the metrics say of a family's curriculum, as far as its kind says it."""
    known = {name: after_chunks(run, f"{family}/curriculum_{name}") for name in ("effective", "fill", "age")}
    capacity, found = run.config.curriculum.capacity, []
    held = known["fill"]._replace(value=known["fill"].value * capacity)
    if len(known["effective"].step):
        found.append(Course(EFFECTIVE, known["effective"], held))
    elif len(held.step):
        found.append(Course("tasks held", held))
    written = grown(run, family, "written")
    if len(written.step):
        found.append(Course("tasks written in a chunk", written))
    if len(known["age"].step):
        found.append(Course("mean age, in proposals", known["age"]))
    parts = {name: grown(run, family, name) for name in ("taken", "replayed", "edits")}
    handed = sum(part.value for part in parts.values() if len(part.step))
    for name, title in (("replayed", "share of replays"), ("edits", "share of edits")):
        if len(parts[name].step):
            share = parts[name].value / np.maximum(handed, 1)
            found.append(Course(title, parts[name]._replace(value=share)))
    plain = {title: after_chunks(run, f"{family}/curriculum_{name}") for name, title in PLAIN.items()}
    if found or any(len(points.step) for points in plain.values()):
        plain["share of levels in play that can be solved"] = after_chunks(run, f"{family}/solvable")
    return [*found, *(Course(title, points) for title, points in plain.items() if len(points.step))]


def after_chunks(run: Record, name: str) -> Series:
    """A metric at the last meta-step of every chunk, of which the chunk's other rows repeat it."""
    points = series(run.metrics, name)
    ends = points.step % run.config.chunk == 0
    return Series(*(part[ends] for part in points))


def grown(run: Record, family: str, name: str) -> Series:
    """How much a count of a family's curriculum grew in every chunk of meta-steps."""
    points = after_chunks(run, f"{family}/curriculum_{name}")
    return points._replace(value=np.diff(points.value, prepend=0.0))


def picture(run: Record, family: str, index: int) -> Picture | None:
    """The courses of a family's curriculum that move, two beside one another; None where there is nothing to see."""
    found = [one for one in courses(run, family) if not is_flat(one.line)]
    if not found:
        return None
    lines = -(-len(found) // 2)
    figure, grid = canvases(4.6, 0.45 + 1.4 * lines, lines, 2)
    figure.suptitle(family, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    for axes, one in zip(grid, found, strict=False):
        if one.beside is not None:
            axes.plot(one.beside.step, one.beside.value, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
        alone = "." if len(one.line.step) < 3 else None
        axes.plot(one.line.step, one.line.value, color=colour(index), linewidth=1.3, marker=alone)
        axes.set_title(one.title, fontsize=8, loc="left", color=INK)
        axes.tick_params(labelsize=6.5)
        axes.set_xlim(0, run.config.meta_steps)
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), None)
    for axes in grid[len(found) :]:
        axes.set_axis_off()
    figure.supxlabel("meta-steps", fontsize=7.5, color=GREY)
    ends = "; ".join(f"{one.title} {one.line.value[-1]:.3g}" for one in found)
    alt = f"The curriculum of {family} against meta-steps; at the end: {ends}."
    return Picture(f"health-{family}", finished(figure), alt)


def sentences(run: Record, family: str) -> list[str]:
    """How few tasks carry the replay, and what of a curriculum never moved."""
    found = courses(run, family)
    carried = [(one.line.value[-1], one.beside.value[-1]) for one in found if one.title == EFFECTIVE and one.beside]
    said = [f"{few:.0f} of {held:.0f} tasks carry the replay of {family}." for few, held in carried]
    still = unchanged({one.title: one.line for one in found})
    return [*said, *([f"{family}: {still[0].lower()}{still[1:]}"] if still else [])]


def rows(run: Record) -> list[list[str]]:
    """What is kept, a row a family: how much of it can be solved, beside random levels, and how much was edited."""
    return [_row(family, run.kept[family.name]) for family in run.families if family.name in run.kept]


HEAD = ("family", "kept levels", "of them solvable", "random ones solvable", "kept ones edited", "deepest generation")


def _row(family: Family, kept: Kept) -> list[str]:
    found, count = lineage(kept.serial, kept.parent), len(kept.score)
    shares = solvable(family, kept.levels)
    words = ["not known"] * 2 if shares is None else ["-" if share is None else f"{100 * share:.0f} %" for share in shares]
    edited = f"{found.edits} ({int(np.sum(found.lost))} from levels no longer kept)" if found.edits else "none"
    return [family.name, str(count), *words, edited, str(int(np.max(found.generation, initial=0)))]


def solvable(family: Family, levels: Level) -> tuple[float | None, float] | None:
    """The shares of levels [rows, ...] and of random ones whose optimum is above 0; None where no optimum is known.

    At most `gallery.SAMPLES` of the levels are looked at, evenly spread over their order. The first is None without levels.
    """
    optimum = family.optimum
    if optimum is None:
        return None
    held = len(jax.tree.leaves(levels)[0])
    chosen = np.linspace(0, max(held - 1, 0), min(held, gallery.SAMPLES)).round().astype(int)

    def measure(keys, levels):
        random = jax.vmap(family.generator.sample)(keys)
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), random, levels)
        return jax.lax.map(optimum, both) > 0

    some = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], levels)
    compiled = jax.jit(measure, compiler_options=devices.options_for_one_call())
    good = np.asarray(compiled(jax.random.split(jax.random.key(0), gallery.SAMPLES), some))
    kept = float(np.mean(good[gallery.SAMPLES :])) if held else None
    return kept, float(np.mean(good[: gallery.SAMPLES]))


def pictures(run: Record) -> Sequence[Picture]:
    """The courses of all families."""
    found = (picture(run, family, index) for index, family in enumerate(run.config.families))
    return [one for one in found if one is not None]
