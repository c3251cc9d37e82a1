"""`groove report`: draws runs and results again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groove import config
from groove.cli.common import cache, trusted
from groove.report.terminal import say

USAGE = """Draws runs, and results of groove evaluate, from their files alone:

  groove report runs/first                       a run again: writes runs/first/report.html
  groove report runs/mazes-small                 results again: writes runs/mazes-small/report.html
  groove report runs/a runs/b results/*.parquet --output both.html      all on one page; results are put together

"""


@dataclass(frozen=True)
class Options:
    """Draws runs and results: one self-contained page."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, folders with results.parquet, or files of results."""
    output: Path | None = None
    """The page; by default report.html in the folder, or here where there are several."""
    trust: tuple[str, ...] = ()
    """Plug-ins, as package.module:object, that may be imported although only a run's folder names them."""


def run(words: list[str]) -> int:
    """`groove report PATH...`."""
    if not words or "-h" in words or "--help" in words:
        say(USAGE)
        if not words:
            return 2
    options = tyro.cli(Options, args=words, prog="groove report")
    if not options.paths:
        raise ValueError("groove report needs at least one run or result; groove report --help has examples.")
    from groove.report import combined, page

    cache()
    may = trusted(words)
    folders = [path for path in options.paths if not _is_result(path)]
    results = [path for path in options.paths if _is_result(path)]
    for folder in folders:
        _complete(folder, may)
    if len(folders) == 1 and not results and options.output is None:
        say(f"report      {page.write(folders[0], trusted=may)}")
        return 0
    first = options.paths[0]
    alone = len(options.paths) == 1 and first.is_dir()
    output = options.output or ((first if alone else Path()) / "report.html")
    say(f"report      {combined.write(folders, results, output, trusted=may)}")
    return 0


def _is_result(path: Path) -> bool:
    """Whether there are results, rather than a run."""
    from groove.evaluation import results

    return path.suffix == ".parquet" or (path / results.NAME).is_file()


def _complete(folder: Path, may: tuple[str, ...]) -> None:
    """Measures what a run lacks, if its rule can be read."""
    from groove import runs

    settings = runs.open_folder(folder, trusted=may)
    for check in (config.versions_of, config.plugins_of):
        check(folder / "config.json")  # said before anything is measured
    if (folder / runs.RULE).is_file() and not (folder / runs.SCHEDULES).is_file():
        _measure(folder, settings, may)


def _measure(folder: Path, settings: config.Config, may: tuple[str, ...]) -> None:
    """Writes the schedules of a run that has none, if its rule can be read."""
    from groove import runs

    try:
        theta = runs.theta_of(folder / runs.RULE, settings)
    except ValueError as error:
        say(f"schedules   not measured: {error}")
        return
    say("measuring what the rule does at each age")
    say(f"schedules   {runs.save_schedules(runs.assembled(folder, trusted=may), folder, theta)}")
