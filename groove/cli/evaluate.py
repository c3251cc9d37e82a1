"""`groove evaluate`: rules on a suite of held-out levels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from groove import config
from groove.cli.common import cache, smoke_scale, trusted
from groove.protocols import PROTOCOLS
from groove.report.terminal import say

USAGE = """How well do rules learn on levels that nobody trained them on? Each lives on all tasks of a suite, several agents
a task, and is measured in the course of their lives. What is done is kept: the same command goes on, another adds rules.

  groove evaluate a2c ppo --suite grid-unseen --scale small      rules written by hand, as they were tuned for the suite
  groove evaluate a2c runs/first --suite mazes                   a rule that a run learned; shipped/ta-lpg comes with groove
  groove evaluate runs/aware-0 runs/aware-1 --suite bandits      one rule from two meta-seeds, if only their seeds differ
  groove evaluate a2c mine=my_rule:rule --suite chains           a rule of yours: (spec, architecture) -> UpdateRule

Suites: {suites}
Scales: smoke (seconds), small (minutes on two cores), medium, paper. A scale changes the budget, never a definition.

"""


@dataclass(frozen=True)
class Options:
    """Measures rules on a suite of held-out levels: results.parquet and a page."""

    rules: Annotated[tuple[str, ...], tyro.conf.Positional]
    """a2c, ppo, dpo, random; run folders or rule.safetensors; plug-ins; each may have a name of its own: LABEL=RULE."""
    suite: str = "grid-unseen"
    """Which levels."""
    scale: str = "small"
    """How many of them, how many agents, how long their lives."""
    tuned: Path | None = None
    """Settings of baselines that groove tune wrote, in place of those that come with groove."""
    trust: tuple[str, ...] = ()
    """Plug-ins, as package.module:object, that may be imported although only a rule's file names them."""
    output: Path | None = None
    """Folder of results.parquet and report.html; by default runs/SUITE-SCALE. What it holds already is kept."""


def run(words: list[str]) -> int:
    """`groove evaluate`."""
    if not words or "-h" in words or "--help" in words:
        say(USAGE.format(suites=", ".join(PROTOCOLS)))
        if not words:
            return 2
    options = tyro.cli(Options, args=words, prog="groove evaluate")
    suite, scale = config.check_name("suite", options.suite, PROTOCOLS), smoke_scale(options.scale)
    if not options.rules:
        raise ValueError("groove evaluate needs at least one rule; groove evaluate --help has examples.")
    from groove import evaluation, runs
    from groove.cli.progress import Counter
    from groove.report import suites as pages
    from groove.report.terminal import print_rows

    cache()
    folder = options.output or Path("runs") / f"{suite}-{scale}"
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} is a run's folder, whose page would be lost; choose another --output.")
    how: dict[str, Any] = {"folder": folder, "tuned": options.tuned, "trusted": trusted(words)}
    with runs.interruptible() as stopped, Counter("tasks") as counter:
        try:
            found = evaluation.evaluate(options.rules, suite, scale, **how, seen=counter.update, stopped=stopped)
        except evaluation.Stopped as error:
            say(f"{error}; to go on, give the same command again")
            return 130
    for suite_result in found:
        print_rows(*pages.lines(suite_result))
        for warning in pages.warnings(suite_result):
            say(f"note        {warning}")
    say(f"results     {folder / evaluation.results.NAME}\npage        {pages.write(found, folder)}")
    return 0
