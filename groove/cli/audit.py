"""`groove curate --audit`: which score says how much a level has to teach."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from groove import config
from groove.cli.common import MEASURES, SIZES, Lives, cache, read, smoke, trained_with
from groove.report.terminal import say

USAGE = """Which score says how much a level has to teach? Random tasks are scored by every score that there is, and measured
by two yardsticks: how far the rule stays behind the optimum, and what training on the one level brings. What comes out are
rank correlations with their intervals, a page with a dot for every task, and all numbers as JSON:

  groove curate --audit                         a rule that was not trained, on the families and sizes of `quick`
  groove curate --audit --rule runs/first       ... the rule of a run, with the sizes and the optimizer of that run
  groove curate --audit --rule a2c --count 500  ... a rule that is written by hand; training brings nothing, so one yardstick

"""
DONE = ("audit.json", "audit.html")


@dataclass(frozen=True)
class Options(Lives):
    """Rank-correlates every score with exact regret and with the improvement that training on a level brings."""

    output: Path = Path("audit")
    """The folder to write, which must not hold an audit yet."""
    rule: str = "untrained"
    """Who lives on the tasks: untrained, a2c, ppo, dpo, random, what a run learned (its folder or rule.safetensors), or a
    plug-in."""
    families: tuple[str, ...] = ("gridworld",)
    """Families of the levels, by name; by default those of the preset or of the rule's run."""
    scores: tuple[str, ...] = tuple(name for name in config.CHOICES["curriculum", "score"] if name != "uniform")
    """Scores, by name; those of other packages as package.module:object."""
    count: int = 128
    """Tasks of each family."""
    agents: int = 4
    """Untrained agents that a yardstick averages over."""
    members: int = 4
    """Lives at a time that train on a level."""
    steps: int = 0
    """Meta-steps of training on a level; 0 for as many as the longest life lasts."""
    others: int = 8
    """Other levels on which an improvement is measured, too."""
    seed: int = 0
    """Of everything random."""
    block: int = 16
    """Tasks measured at once; more need more memory. Changes numbers by rounding only."""
    meta: config.Meta = dataclasses.field(default_factory=config.Meta)


def run(words: list[str]) -> int:
    """`groove curate --audit`, its other words given."""
    if "-h" in words or "--help" in words:
        say(USAGE)
    plan, output = _parse(words)
    if any((output / name).exists() for name in DONE):
        raise ValueError(f"{output} holds an audit already; choose another --output, or remove it.")
    from groove import analysis, curate, runs
    from groove.cli.progress import Counter
    from groove.report import audit as pages
    from groove.report.terminal import print_rows

    cache()
    analysis.check(plan)
    with _kept(output) as parts, Counter("tasks") as counter, runs.interruptible() as stopped:
        try:
            report = analysis.audit(plan, journals=parts, seen=counter.update, stopped=stopped)
        except curate.Stopped as error:
            say(f"{error}; to go on, give the same command again")
            return 130
        page = pages.write(report, output)
    for family, (head, rows) in pages.lines(report).items():
        print_rows(f"rank correlations on {family}", head, rows)
    for found in report.findings:
        for name, reason in found.skipped.items():
            say(f"{found.family}: {name} was not measured: {reason}")
    say(f"numbers     {output / DONE[0]}\npage        {page}")
    return 0


@contextmanager
def _kept(output: Path) -> Iterator[Path]:
    """A folder for finished blocks, this process's alone; removed once the page is there, or if no block was finished."""
    from groove import runs

    parts = output / ".parts"
    parts.mkdir(parents=True, exist_ok=True)
    with runs.owned(parts):
        try:
            yield parts
        finally:
            if (output / DONE[1]).exists() or not any(parts.rglob("block_*")):
                shutil.rmtree(parts)
            if not any(output.iterdir()):
                output.rmdir()


def _parse(words: list[str]):
    from groove import analysis

    line = read(words)
    path = line.get("rule")
    if line.preset is None and path and Path(path).exists():
        base = trained_with(path, line.trusted)
    else:
        base = smoke(config.preset(line.preset or "quick"))
    options = tyro.cli(Options, args=line.words, prog="groove curate --audit", default=_default(base))
    measures = {name: getattr(options, name) for name in MEASURES}
    curriculum = dataclasses.replace(base.curriculum, kind="uniform", score="regret", files=(), **measures)
    settings = dataclasses.replace(
        base,
        seed=options.seed,
        start="",
        families=options.families,
        generators=base.generators if options.families == base.families else (),
        members=(1,) * len(options.families),
        curriculum=curriculum,
        meta=dataclasses.replace(options.meta, method="gradient", block=0),
        **{name: getattr(options, name) for name in SIZES},
    )
    same = ("rule", "scores", "count", "agents", "members", "steps", "others", "block")
    plan = analysis.Plan(config.check(settings), trusted=line.trusted, **{name: getattr(options, name) for name in same})
    return analysis.check(plan), options.output


def _default(base: config.Config) -> Options:
    """Flags as they are if nothing is said: of the preset, or of the rule's run."""
    parts = {name: getattr(base, name) for name in (*SIZES, "meta", "families")}
    options = Options(episodes=base.curriculum.episodes, **parts)
    if os.environ.get("GROOVE_SMOKE"):
        return dataclasses.replace(options, count=6, agents=2, members=2, others=2, block=4)
    return options
