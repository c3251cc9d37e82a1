"""`groove levels suites`: the held-out suites, and what their levels look like."""

from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
import tyro

from groove import config
from groove.cli.common import cache
from groove.report.terminal import print_rows, say
from levels.suites import SUITES, Split, Suite, content, splits, tasks


@dataclass(frozen=True)
class Options:
    """The suites of held-out levels; with a name, what one of them holds."""

    name: Annotated[str, tyro.conf.Positional] = ""
    """A suite; without one all are listed."""
    first: int = 2
    """Levels of each split to draw."""


def show(words: list[str]) -> int:
    """`groove levels suites [NAME]`."""
    options = tyro.cli(Options, args=words, prog="groove levels suites")
    if options.first < 0:
        raise ValueError(f"first must be at least 0 levels, got {options.first}.")
    if not options.name:
        rows = [[suite.name, _count(suite), content(suite)[:12], suite.about] for suite in SUITES.values()]
        for name, count, hashed, about in rows:
            say(f"{name:<17} {count:>5} tasks  {hashed}  {about}")
        return 0
    suite = SUITES[config.check_name("suite", options.name, SUITES)]
    cache()
    say(f"{suite.name}, version {suite.version}: {suite.about}\nhash {content(suite)}")
    for split in splits(suite):
        say()
        print_rows(f"{split.name}: {len(split.tasks)} tasks of {split.family.name}", *_table(split))
        if split.flat:
            say(f"\nnot normalised, 0 and 1 being too close: {', '.join(split.flat)}")
        for place in range(min(options.first, len(split.tasks))):
            level = jax.tree.map(lambda leaf, place=place: leaf[place], split.levels)
            say(f"\n{split.tasks[place]}\n{split.family.draw(level)}")
    return 0


def _count(suite: Suite) -> str:
    return str(sum(count for _, _, count in tasks(suite)))


def _table(split: Split) -> tuple[list[str], list[list[str]]]:
    """What the levels are worth, in a few numbers."""
    if not np.isfinite(split.optimum).all():
        return ["", "mean"], [["optimum", "not known"]]
    kinds = {"random policy": split.random, "optimum": split.optimum}
    rows = [[name, *(f"{f(values):.3g}" for f in (np.mean, np.min, np.max))] for name, values in kinds.items()]
    return ["return", "mean", "lowest", "highest"], rows
