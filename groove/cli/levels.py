"""`groove levels`: what there is of levels, and what files hold of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from groove import config
from groove.cli import checking, importing, parts, suites
from groove.cli.common import cache, trusted
from groove.report.terminal import say

USAGE = """usage: groove levels show FILE [--page OUT.html]      what a curriculum holds: its origin, its levels
       groove levels diff FILE FILE [--page OUT.html]  how two curricula differ: shared levels, features, ranks
       groove levels list                              what can be named: built in, and of other packages
       groove levels suites [NAME]                     the held-out suites; what one of them holds
       groove levels check NAME [--family FAMILY]      whether a part of another package keeps the laws
       groove levels import TEXT...                    a curriculum of mazes in text files
       groove levels seal FILE --original FILE         a curriculum again, after pandas, polars or DuckDB filtered it
"""
BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 16
"""Bars of a histogram in the terminal."""


@dataclass(frozen=True)
class ShowOptions:
    """What a curriculum holds: where it comes from, how its scores are distributed, its best and worst levels."""

    file: Annotated[Path, tyro.conf.Positional]
    """A curriculum, as `groove curate` or a run writes it."""
    first: int = 3
    """Levels to draw from either end."""
    page: Path | None = None
    """Write a self-contained page there as well."""
    trust: tuple[str, ...] = ()
    """Plug-ins, as package.module:object, that may be imported although only a file names them."""


@dataclass(frozen=True)
class DiffOptions:
    """How two curricula differ: the levels and tasks that both hold, features of their levels, whether scores rank alike."""

    one: Annotated[Path, tyro.conf.Positional]
    """A curriculum."""
    other: Annotated[Path, tyro.conf.Positional]
    """Another one."""
    page: Path | None = None
    """Write a self-contained page with pictures there as well."""
    trust: tuple[str, ...] = ()
    """Plug-ins, as package.module:object, that may be imported although only a file names them."""


def run(words: list[str]) -> int:
    """`groove levels`."""
    commands: dict[str, Callable[[list[str]], int]] = {
        "show": show,
        "diff": diff,
        "list": parts.show,
        "check": checking.run,
        "suites": suites.show,
        "import": importing.run,
        "seal": importing.seal,
    }
    if not words or words[0] in ("-h", "--help", "help"):
        say(USAGE, end="")
        return 0 if words else 2
    return commands[config.check_name("command", words[0], commands)](words[1:])


def show(words: list[str]) -> int:
    """`groove levels show FILE`."""
    options = tyro.cli(ShowOptions, args=words, prog="groove levels show")
    from groove.files import curriculumfile
    from groove.report import levels as pages

    cache()
    if options.first < 0:
        raise ValueError(f"first must be at least 0 levels, got {options.first}.")
    family, stored = curriculumfile.opened(options.file, trusted=trusted(words))
    for name, value in pages.facts(family, stored):
        say(f"{name:<11} {value}")
    rows = pages.ranked(stored.rows)
    order = list(range(len(rows.score)))
    ends = sorted({*order[: options.first], *(order[-options.first :] if options.first else [])})
    for place in ends:
        say(f"\nrank {place + 1}  score {rows.score[place]:+.3f}  lifetime {rows.lifetime[place]}")
        say(family.draw(curriculumfile.row(rows.level, place)))
    if options.page:
        pages.show(options.file, options.page, family, stored)
        say(f"\npage        {options.page}")
    return 0


def diff(words: list[str]) -> int:
    """`groove levels diff FILE FILE`."""
    options = tyro.cli(DiffOptions, args=words, prog="groove levels diff")
    from groove.analysis import differences
    from groove.files import curriculumfile
    from groove.report import levels as pages

    cache()
    paths = (options.one, options.other)
    (family, one), (other_family, other) = (curriculumfile.opened(path, trusted=trusted(words)) for path in paths)
    found = differences.compare(one.rows, other.rows, (family, other_family))
    for name, value in pages.shared([str(path) for path in paths], found):
        say(f"{name:<17} {value}")
    if found.features:
        say(f"\n{'feature':<14} {'first':<{WIDTH + 10}} {'second':<{WIDTH + 10}} distance")
    for feature in found.features:
        edges = np.histogram_bin_edges(np.concatenate([feature.first, feature.second]), WIDTH)
        drawn = [f"{_bars(values, edges)} {np.mean(values):<9.3g}" for values in (feature.first, feature.second)]
        say(f"{feature.name:<14} {drawn[0]} {drawn[1]} {feature.distance:.2f}")
    if options.page:
        pages.show_difference(paths, options.page, found)
        say(f"\npage        {options.page}")
    return 0


def _bars(values: np.ndarray, edges: np.ndarray) -> str:
    """A histogram of one line."""
    share = np.histogram(values, edges)[0]
    heights = np.ceil(share / max(1, share.max()) * (len(BARS) - 1)).astype(int)
    return "".join(BARS[height] for height in heights)
