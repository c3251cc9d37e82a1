"""`groove curate`: a curriculum without training a rule."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from groove import config
from groove.cli.common import MEASURES, SIZES, Line, Lives, cache, read, smoke, trained_with, trusting
from groove.report.terminal import say

USAGE = """A curriculum is a set of tasks: a level, a lifetime to learn it in, and a score that says how much it has to
teach. This command makes one without training anything:

  groove curate                                 1024 random grids; the 128 on which A2C gains most over a random policy
  groove curate --rule runs/first --size 500    ... the 500 on which the rule of a run falls furthest behind A2C
  groove curate --keep strata                   ... 128 from everywhere between the highest and the lowest score
  groove curate --from curriculum.parquet --rule a2c --output again.parquet
                                                the tasks of a file, scored anew against another rule
  groove curate --from curriculum.parquet --edits 3 --count 1000 --output edited.parquet
                                                ... and 1000 children of them, each of three small edits
  groove curate --audit --rule runs/first       which score says how much there is to teach? See groove curate --audit --help

The presets are those of `groove train`; they set the sizes of levels and lives. What was stopped, by Ctrl-C or by force,
goes on where it stood when the same command is given again, and ends bit for bit as if nothing had happened. The file is
Parquet, a row a task: pandas, polars and duckdb read it. To look at it: groove levels show FILE. To train on it: groove
train --curriculum FILE.

"""


@dataclass(frozen=True)
class Options(Lives):
    """Makes tasks, scores them against a rule, keeps those that score as wanted."""

    output: Path = Path("curriculum.parquet")
    """The file to write; it must not exist yet."""
    family: str = "gridworld"
    """Family of the levels, by name."""
    generator: str = ""
    """Plug-in that makes the levels in place of the family's own generator."""
    rule: str = "random"
    """Who lives on the tasks: random, a2c, ppo, dpo, what a run learned (its folder or rule.safetensors), or a plug-in."""
    score: str = "regret"
    """What tasks are scored by; regret is the algorithmic regret of GROOVE, antagonist minus rule."""
    count: int = 1024
    """Tasks to make; with --edits, children."""
    keep: Literal["top", "strata", "all"] = "top"
    """top: the highest scores; strata: one task from each of equal shares of the order; all."""
    size: int = 128
    """Tasks to keep."""
    source: Annotated[str, tyro.conf.arg(name="from")] = ""
    """A curriculum whose tasks are scored anew, in place of random ones."""
    edits: int = 0
    """Small edits of each child of the tasks of --from; 0 for no children."""
    seed: int = 0
    """Of everything random."""
    block: int = 32
    """Tasks lived on at once; more need more memory. Changes numbers by rounding only."""
    drawings: bool = False
    """Add a column with every level drawn as text."""


def run(words: list[str]) -> int:
    """`groove curate`."""
    if "--audit" in words:
        from groove.cli import audit

        return audit.run([word for word in words if word != "--audit"])
    if "-h" in words or "--help" in words:
        say(USAGE)
    settings, output = _parse(words)
    from groove import curate, runs
    from groove.cli.progress import Counter

    cache()
    with Counter("tasks") as counter, runs.interruptible() as stopped:
        try:
            made = curate.curate(settings, output, seen=counter.update, stopped=stopped)
        except curate.Stopped as error:
            say(f"{error}; to go on, give the same command again")
            return 130
    finite = np.isfinite(made.rows.score)
    low, middle, high = np.quantile(made.rows.score[finite], [0, 0.5, 1])
    say(f"scored      {len(made.rows.score)} tasks: {low:.3f} to {high:.3f}, half of them above {middle:.3f}")
    if not finite.all():
        say(f"diverged    {np.sum(~finite)} tasks have no finite score, since an agent diverged; none of them is kept")
    say(f"kept        {len(made.kept.score)} tasks: {np.min(made.kept.score):.3f} to {np.max(made.kept.score):.3f}")
    say(f"curriculum  {output}")
    trust = trusting([settings.family])
    say(f"to look at it: groove levels show {output}{trust}; to train on it: groove train --curriculum {output}{trust}")
    return 0


def _parse(words: list[str]):
    from groove import curate

    line = read(words)
    if (score := line.get("score")) is not None:
        config.check_choice("curriculum", "score", score)
    if (keep := line.get("keep")) is not None:
        config.check_name("keep", keep, curate.KEEP)
    options = tyro.cli(Options, args=line.words, prog="groove curate", default=_default(line))
    measures = {name: getattr(options, name) for name in ("score", *MEASURES)}
    base = smoke(config.preset(line.preset or "quick"))
    # nothing learns: no population to fit, no lives to take in pieces
    learning = dataclasses.replace(base.meta, method="gradient", updates=1, block=0)
    settings = dataclasses.replace(base, seed=options.seed, families=(options.family,), members=(1,), meta=learning)
    settings = dataclasses.replace(settings, generators=(options.generator,) if options.generator else ())
    settings = dataclasses.replace(settings, curriculum=dataclasses.replace(base.curriculum, kind="uniform", **measures))
    settings = dataclasses.replace(settings, **{name: getattr(options, name) for name in SIZES})
    same = ("family", "rule", "count", "keep", "size", "edits", "block", "drawings")
    chosen = {name: getattr(options, name) for name in same}
    curation = curate.Curation(config.check(settings), start=options.source, trusted=line.trusted, **chosen)
    return curate.check(curation), options.output


def _default(line: Line) -> Options:
    """Flags as they are if nothing is said: of the preset, of the rule's run, of the file to start from."""
    from groove.files import curriculumfile, sizes
    from levels import dataset

    base, rule, start = smoke(config.preset(line.preset or "quick")), line.get("rule"), line.get("from")
    if line.preset is None and rule and Path(rule).exists():
        base = trained_with(rule, line.trusted)
    family = base.families[0]
    if start:
        about = dataset.describe(start)
        curriculumfile.check_named(start, about.family, line.trusted)
        base, family = sizes.sized(base, about.metadata, where=start), about.family
    own = config.generator_of(base, line.get("family") or family)
    options = Options(family=family, generator=own, episodes=base.curriculum.episodes)
    options = dataclasses.replace(options, **{name: getattr(base, name) for name in SIZES})
    return dataclasses.replace(options, count=12, size=4, block=4) if os.environ.get("GROOVE_SMOKE") else options
