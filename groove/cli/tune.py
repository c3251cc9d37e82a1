"""`groove tune`: hyperparameters of hand-written rules for a suite."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groove import config
from groove.cli.common import cache, smoke_scale
from groove.protocols import BASELINES, PROTOCOLS
from groove.report.terminal import say

USAGE = """\
Searches learning rate and entropy weight of baselines for a suite at a scale, with agents of other seeds, on levels for
practice, of which nothing is reported; environments of gymnax have one level, which is also the one that is reported.
What is found is kept as it is found; the same command goes on.

  groove tune a2c ppo --suite mazes --scale small --output mine.json
  groove evaluate a2c ppo --suite mazes --scale small --tuned mine.json

Stored with groove are settings for: {stored}

"""


@dataclass(frozen=True)
class Options:
    """Searches settings of baselines on the practice levels of a suite."""

    rules: Annotated[tuple[str, ...], tyro.conf.Positional]
    """a2c, ppo, dpo."""
    suite: str = "grid-unseen"
    """Which levels."""
    scale: str = "small"
    """Whose lifetimes and environments agents have."""
    output: Path = Path("tuned.json")
    """The file; what it says of other suites, scales and rules stays."""


def run(words: list[str]) -> int:
    """`groove tune`."""
    if not words or "-h" in words or "--help" in words:
        from groove.protocols import stored

        say(USAGE.format(stored=", ".join(stored()) or "none"))
        if not words:
            return 2
    options = tyro.cli(Options, args=words, prog="groove tune")
    suite, scale = config.check_name("suite", options.suite, PROTOCOLS), smoke_scale(options.scale)
    rules = [config.check_name("rule", rule, BASELINES) for rule in options.rules]
    if not rules:
        raise ValueError(f"groove tune needs at least one rule: {', '.join(BASELINES)}.")
    from groove import evaluation, runs
    from groove.cli.progress import Counter

    cache()
    with runs.interruptible() as stopped, Counter("searches") as counter:
        try:
            page = evaluation.tune(suite, scale, rules, options.output, seen=counter.update, stopped=stopped)
        except evaluation.Stopped as error:
            say(f"{error}; to go on, give the same command again")
            return 130
    for rule in rules:
        for split, setting in page["settings"][rule].items():
            say(f"{rule:<5} {split:<24} rate {setting['rate']:<8g} entropy {setting['entropy']:g}")
    say(f"settings    {options.output}")
    return 0
