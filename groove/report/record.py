"""What the files of a run say, as far as they are there."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from groove import build, host
from groove.config import Config
from groove.protocols import Row
from groove.report import ages
from groove.report.ages import Schedules
from groove.statistics import Interval
from levels import dataset
from levels.base import Family, Level


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
    metrics: list[host.Metrics]  # a row a meta-step
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
    config = host.open_folder(folder, trusted=trusted)
    versions = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("versions", {})
    families = tuple(build.family(config, name) for name in config.families)
    missing: list[str] = []
    metrics = _metrics(folder / "metrics.jsonl", config, missing)
    evaluation = _evaluation(folder / "evaluation.json", missing)
    kept = {family.name: found for family in families if (found := _kept(folder, config, family, missing)) is not None}
    drawn = _schedules(folder / host.SCHEDULES, missing)
    walk = folder / "walk.gif"
    if not walk.is_file():
        missing.append("No agent's walk was drawn yet (walk.gif).")
    picture = walk.read_bytes() if walk.is_file() else None
    return Record(
        folder.resolve().name, config, versions, metrics, evaluation, families, kept, drawn, picture, tuple(missing)
    )


def _metrics(path: Path, config: Config, missing: list[str]) -> list[host.Metrics]:
    try:
        rows = host.read_metrics(path)
        done = int(rows[-1]["step"] or 0) if rows else 0
    except (KeyError, TypeError, ValueError) as error:
        missing.append(f"The curves cannot be drawn: metrics.jsonl is damaged ({type(error).__name__}: {error}).")
        return []
    if done < config.meta_steps:
        missing.append(f"Only {done} of {config.meta_steps} meta-steps are done; to go on: groove train --resume FOLDER")
    return rows


def _evaluation(path: Path, missing: list[str]) -> Evaluation | None:
    if not path.is_file():
        missing.append("The rule has not met held-out tasks yet (evaluation.json): that happens at the end of a run.")
        return None
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(
            Row(str(row["family"]), str(row["rule"]), Interval(*(_statistic(row[name]) for name in Interval._fields)))
            for row in page["rows"]
        )
        return Evaluation(str(page["protocol"]["caption"]), rows)
    except (KeyError, TypeError, ValueError) as error:
        missing.append(f"The held-out table cannot be read: evaluation.json is damaged ({type(error).__name__}: {error}).")
        return None


def _statistic(value: float | None) -> float:
    """A number of the table; None stands for that of a rule whose agents diverged."""
    return -math.inf if value is None else float(value)


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
        like = jax.eval_shape(family.generator.sample, jax.random.key(0))
        found = dataset.load(path, like, family=family.name)
        score, lifetime = found.columns["score"], found.columns["lifetime"]
        serial = found.columns.get("serial", np.arange(len(score), dtype=np.int32))
        parent = found.columns.get("parent", np.full(len(score), -1, np.int32))
    except (ValueError, KeyError) as error:
        missing.append(f"The curriculum of {family.name} cannot be read: {error}")
        return None
    order = np.argsort(-score, kind="stable")
    return Kept(*jax.tree.map(lambda leaf: leaf[order], (found.levels, lifetime, score, serial, parent)))
