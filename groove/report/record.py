"""What the files of a run say, as far as they are there."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from groove import assembly, runs
from groove.config import Config, versions_of
from groove.config.limits import LARGEST
from groove.files import curriculumfile
from groove.protocols import Row
from groove.report import ages
from groove.report.ages import Schedules
from groove.statistics import Interval
from levels.base import Family, Level
from levels.files import DAMAGED, read_json


class Evaluation(NamedTuple):
    """The held-out table."""

    caption: str
    rows: tuple[Row, ...]


class Kept(NamedTuple):
    """What a curriculum holds, highest score first. Leading axis [tasks]."""

    levels: Level
    lifetime: np.ndarray  # i32, in agent updates
    score: np.ndarray  # f32
    serial: np.ndarray  # i32; no two are equal
    parent: np.ndarray  # i32; serial of the level that each was edited from, -1 if none


class Record(NamedTuple):
    """A run as its folder tells it."""

    name: str  # the folder's
    config: Config
    versions: Mapping[str, str]
    metrics: list[runs.Metrics]  # a row a meta-step
    evaluation: Evaluation | None
    families: tuple[Family, ...]
    kept: Mapping[str, Kept]  # by family
    schedules: Schedules | None
    walk: bytes | None  # a GIF
    missing: tuple[str, ...]  # sentences


def read(folder: Path, trusted: tuple[str, ...] = ()) -> Record:
    """Reads a run folder; what is missing or damaged is left out and named in `missing`.

    Raises:
        ValueError: The folder is no run, or names a plug-in that is not trusted.
    """
    config = runs.open_folder(folder, trusted=trusted)
    versions = versions_of(folder / "config.json")
    try:
        families = tuple(assembly.family(config, name) for name in config.families)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
    missing: list[str] = []
    metrics = _metrics(folder / "metrics.jsonl", config, missing)
    evaluation = _evaluation(folder / "evaluation.json", missing)
    kept = {family.name: found for family in families if (found := _kept(folder, config, family, missing)) is not None}
    drawn = _schedules(folder / runs.SCHEDULES, missing)
    walk = folder / "walk.gif"
    if not walk.is_file():
        missing.append("No agent's walk was drawn yet (walk.gif).")
    picture = walk.read_bytes() if walk.is_file() else None
    return Record(
        folder.resolve().name, config, versions, metrics, evaluation, families, kept, drawn, picture, tuple(missing)
    )


def _metrics(path: Path, config: Config, missing: list[str]) -> list[runs.Metrics]:
    try:
        rows = runs.read_metrics(path)
        done = int(rows[-1]["step"] or 0) if rows else 0
    except ValueError as error:
        missing.append(f"The curves cannot be drawn: {error}")
        return []
    if done < config.meta_steps:
        missing.append(f"Only {done} of {config.meta_steps} meta-steps are done; to go on: groove train --resume FOLDER")
    return rows


def _evaluation(path: Path, missing: list[str]) -> Evaluation | None:
    if not path.is_file():
        missing.append("The rule has not met held-out tasks yet (evaluation.json): that happens at the end of a run.")
        return None
    try:
        page = read_json(path)
        rows = tuple(
            Row(
                str(row["family"]),
                int(row["lifetime"]),
                str(row["rule"]),
                Interval(*(_statistic(row[name]) for name in Interval._fields)),
            )
            for row in page["rows"]
        )
        return Evaluation(str(page["protocol"]["caption"]), rows)
    except DAMAGED as error:
        missing.append(f"The held-out table cannot be read: evaluation.json is damaged ({type(error).__name__}: {error}).")
        return None


def _statistic(value: float | None) -> float:
    """A number of the table; None stands for that of a rule whose agents diverged."""
    found = -math.inf if value is None else float(value)
    if value is not None and not abs(found) <= LARGEST:
        raise ValueError(f"{found} is no number that a program reaches")
    return found


def _schedules(path: Path, missing: list[str]) -> Schedules | None:
    if not path.is_file():
        missing.append("What the rule does at each age was not measured yet (schedules.json): that happens at the end.")
        return None
    try:
        return ages.read(path)
    except ValueError as error:
        missing.append(f"The rule's schedules cannot be drawn: {error}")
        return None


def _kept(folder: Path, config: Config, family: Family, missing: list[str]) -> Kept | None:
    path = folder / f"curriculum{'' if len(config.families) == 1 else '-' + family.name}.parquet"
    if not path.is_file():
        if config.curriculum.kind != "uniform":
            missing.append(f"The curriculum of {family.name} was not written yet ({path.name}).")
        return None
    try:
        rows = curriculumfile.load(path, family).rows
    except ValueError as error:
        missing.append(f"The curriculum of {family.name} cannot be read: {error}")
        return None
    rows = curriculumfile.take(rows, np.argsort(-rows.score, kind="stable"))
    return Kept(rows.level, rows.lifetime, rows.score, rows.serial, rows.parent)
