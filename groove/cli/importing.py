"""`groove levels import` and `groove levels seal`: curricula of text mazes, and of what other programs have filtered."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groove.cli.common import trusted
from groove.report.terminal import say


@dataclass(frozen=True)
class ImportOptions:
    """Makes a curriculum of mazes in text files.

    They consist of jaxued's symbols (# . G > v < ^), of those that MiniGrid prints, or of others that lines such as `X wall`
    explain. Blank lines separate mazes; a line `limit 100` says how long an episode may last.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Text files."""
    output: Path = Path("mazes.parquet")
    """The curriculum."""
    family: str = "gridworld"
    """Of the levels: gridworld or jaxued:Maze."""
    limit: int = 250
    """Steps of an episode, where a file does not say it."""
    lifetime: int = 100
    """Of every task, in agent updates."""


@dataclass(frozen=True)
class SealOptions:
    """Takes a curriculum back that pandas, polars or DuckDB has filtered, sorted or added columns to."""

    file: Annotated[Path, tyro.conf.Positional]
    """What the other program wrote, as Parquet."""
    original: Path
    """The curriculum that it comes from, which says what its columns are."""
    output: Path = Path("sealed.parquet")
    """The curriculum that can be used again."""
    trust: tuple[str, ...] = ()
    """Plug-ins, as package.module:object, that may be imported although only a file names them."""


def run(words: list[str]) -> int:
    """`groove levels import FILE...`."""
    options = tyro.cli(ImportOptions, args=words, prog="groove levels import")
    from groove.config.limits import MOST_UPDATES, RANGES
    from groove.files import sealing

    if not options.files:
        raise ValueError("groove levels import needs at least one text file.")
    for name, value, (low, high) in (
        ("limit", options.limit, RANGES["limit"]),
        ("lifetime", options.lifetime, (1, MOST_UPDATES)),
    ):
        if not low <= value <= high:
            raise ValueError(f"--{name} must be {low} to {high}, got {value}.")
    how = {"limit": options.limit, "lifetime": options.lifetime}
    sealing.import_mazes(options.files, options.output, family=options.family, **how)
    say(f"curriculum  {options.output}\nnext        groove levels show {options.output}")
    say(f"            groove train quick --curriculum {options.output}")
    return 0


def seal(words: list[str]) -> int:
    """`groove levels seal FILE --original CURRICULUM`."""
    options = tyro.cli(SealOptions, args=words, prog="groove levels seal")
    from groove.files import sealing

    rows = sealing.seal(options.file, options.original, options.output, trusted=trusted(words))
    say(f"curriculum  {options.output}, {rows} tasks")
    return 0
