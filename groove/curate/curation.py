"""A curriculum from names and numbers to a file: what `groove curate` does."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax

from groove import assembly, curricula, runs
from groove.base import Score
from groove.config import Config, sources
from groove.config.limits import MOST, MOST_TASKS, check_within
from groove.curate import candidates, selection
from groove.curate.learners import Learner, antagonist_of, learner_of, mark_of
from groove.curate.rating import rated
from groove.files import curriculumfile
from groove.files.curriculumfile import Rows
from groove.files.journal import Journal
from groove.lifetime import Lifetime
from groove.nets.critic import critic
from levels.base import Family
from levels.files import check_writable

KEEP = ("top", "strata", "all")
"""How scored tasks may be chosen."""


@dataclass(frozen=True)
class Curation:
    """What is to be made."""

    config: Config  # sizes of levels and lives, the score and how it is measured, the seed
    family: str  # its name
    rule: str = "random"  # who lives on the tasks, see `learner_of`
    count: int = 1024  # tasks sampled; with a start, children
    keep: str = "top"  # one of KEEP
    size: int = 128  # tasks kept, but for "all"
    start: str = ""  # a curriculum's file whose tasks are scored anew
    edits: int = 0  # of each child
    block: int = 32  # tasks lived on at once
    drawings: bool = False  # whether the file gets a column of text
    trusted: tuple[str, ...] = ()  # plug-ins, as package.module:object, that files may name


class Made(NamedTuple):
    """What came of it."""

    rows: Rows  # all tasks, scored
    kept: Rows  # what the file holds
    content: str  # hash of the file


def check(settings: Curation) -> Curation:
    """Returns the settings if they can be met.

    Raises:
        ValueError: Names the field, the rule and the value.
    """
    if settings.keep not in KEEP:
        raise ValueError(f"keep must be one of {', '.join(KEEP)}, got {settings.keep!r}.")
    check_within("size", settings.size, 1, MOST_TASKS, "tasks")
    check_within("block", settings.block, 1, MOST, "tasks")
    check_within("count", settings.count, 1 if not settings.start or settings.edits else 0, MOST_TASKS, "tasks")
    check_within("edits", max(settings.edits, 0), 0, MOST)
    if settings.edits < 0 or (settings.edits and not settings.start):
        raise ValueError(f"edits must be at least 0, and need tasks to start from, got {settings.edits}.")
    return settings


def curate(
    settings: Curation,
    output: Path,
    *,
    seen: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Made:
    """Makes tasks, scores them, keeps some and writes them. What was done before a call was stopped is not done again.

    Args:
        settings: What is to be made.
        output: The file; it must not exist yet. Until it does, finished blocks lie beside it, in `journal_of(output)`.
        seen: `(done, total) -> None`, called after every block of tasks.
        stopped: Asked before every block whether to stop.

    Raises:
        ValueError: The settings are not valid, the output exists, or what it is to be made from is damaged or does not fit.
        FileNotFoundError: What it is to be made from does not exist.
        OSError: A file cannot be written.
        groove.curate.Stopped: `stopped` said so.
    """
    settings = check(settings)
    if output.exists():
        raise ValueError(f"{output} exists already; choose another output, or remove it.")
    check_writable(output)
    family = assembly.family(settings.config, settings.family)
    learner = learner_of(settings.config, settings.rule, settings.family, family, trusted=settings.trusted)
    source = curriculumfile.load(Path(settings.start), family) if settings.start else None
    versions = runs.versions()
    plan = _plan(settings, learner, "" if source is None else source.content, versions)
    life, score = _measures(settings, family, learner)
    rows = _candidates(settings, family, None if source is None else source.rows)
    journal = Journal(journal_of(output), plan)
    with runs.owned(journal.folder), journal.unless_unused():
        key = jax.random.fold_in(jax.random.key(settings.config.seed), 2)
        rate = functools.partial(rated, block=settings.block, journal=journal, seen=seen, stopped=stopped)
        rows = rate(key, rows, life, learner.theta, score)
        kept, choice = _choose(settings, rows)
        about = curriculumfile.about(settings.config, settings.family, rule=learner.about, versions=versions)
        about |= {"selection": json.dumps(choice), "source": "" if source is None else source.content}
        content = curriculumfile.save(output, kept, about, family=family, drawings=settings.drawings)
        journal.remove()
    return Made(rows, kept, content)


def journal_of(output: Path) -> Path:
    """Where finished blocks lie until the file is written."""
    return output.with_name(f".{output.name}.parts")


def _plan(settings: Curation, learner: Learner, source: str, versions: Mapping[str, str]) -> dict[str, object]:
    """What scores depend on; which tasks are kept in the end may still be decided otherwise."""
    later = ("keep", "size", "drawings", "start", "rule", "trusted")
    chosen = {name: value for name, value in dataclasses.asdict(settings).items() if name not in later}
    config = chosen.pop("config")
    parts = {name: value for name, value in config.items() if name not in ("name", "rule", "meta", "evolution")}
    antagonist, parts_of_others = mark_of(settings.config.curriculum.antagonist), sources(settings.config)
    about = {"rule": learner.about, "antagonist": antagonist, "source": source}
    return {**chosen, **parts, **about, "versions": versions, "plugins": parts_of_others}


def _candidates(settings: Curation, family: Family, start: Rows | None) -> Rows:
    key = jax.random.key(settings.config.seed)
    if start is None:
        lifetimes = curricula.log_uniform(*settings.config.life.updates)
        return candidates.sampled(jax.random.fold_in(key, 0), family, lifetimes, count=settings.count)
    if not settings.edits:
        return candidates.again(start)
    return candidates.edited(jax.random.fold_in(key, 1), family, start, count=settings.count, edits=settings.edits)


def _measures(settings: Curation, family: Family, learner: Learner) -> tuple[Lifetime, Score]:
    """How the rule lives, with the signals that the score needs, and the score."""
    config, name, spec = settings.config, settings.family, family.environment.spec
    networks = assembly.architecture(config, spec, name)
    value = critic(spec, networks, gamma=config.life.gamma, lambda_=config.life.gae_lambda)
    life = assembly.watch(config, family, learner.rule, value)[1]
    return life, assembly.score_of(config, family, antagonist_of(config, name, family, trusted=settings.trusted))


def _choose(settings: Curation, rows: Rows) -> tuple[Rows, dict[str, object]]:
    sound = selection.finite(rows)
    if not len(sound.score):
        raise ValueError(f"none of {len(rows.score)} tasks has a finite score; nothing is left to keep.")
    different = selection.unique(sound)
    if settings.keep == "strata":
        kept = selection.strata(different, settings.size, seed=settings.config.seed)
    else:
        kept = selection.top(different, settings.size if settings.keep == "top" else len(different.score))
    count = {"scored": len(rows.score), "not_finite": len(rows.score) - len(sound.score)}
    count |= {"twice": len(sound.score) - len(different.score), "kept": len(kept.score)}
    return kept, {"keep": settings.keep, "edits": settings.edits, **count}
