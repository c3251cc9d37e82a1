"""Curricula that a run begins with: the files that its configuration names, copied into its folder."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from groove import assembly
from groove.assembly import Given, Stored
from groove.base import Score
from groove.config import Config
from groove.files import curriculumfile
from levels import dataset
from levels.base import Family

PREFIX = "begun-with-"
"""What the names of the copies begin with."""


def file_of(folder: Path, family: str) -> Path:
    """Where a run's copy of a curriculum lies."""
    return folder / f"{PREFIX}{family}.parquet"


def check_files(config: Config) -> dict[str, Path]:
    """The files of `curriculum.files` by family, once they are found to be whole and to fit the run.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: It is damaged, its levels are not of the sizes of the run, a lifetime is not within `life.updates`, its
            family is not of the run, or is that of another file; names column and row.
    """
    found: dict[str, Path] = {}
    for path in map(Path, config.curriculum.files):
        name = dataset.describe(path).family
        if name not in config.families:
            raise ValueError(f"{path} holds levels of {name!r}, the run has the families {', '.join(config.families)}.")
        if name in found:
            raise ValueError(f"curriculum.files must be of different families, got {found[name]} and {path} of {name!r}.")
        _check_fit(path, config, assembly.family(config, name))
        found[name] = path
    return found


def given(folder: Path, config: Config, *, new: bool) -> Given | None:
    """How a run finds the tasks that its curricula begin with; None if it begins with none.

    Args:
        folder: Of the run.
        config: Of the run.
        new: Whether references are to be computed; else they are zero, and only shapes matter.
    """
    if not config.curriculum.files:
        return None

    def find(family: Family, score: Score) -> Stored | None:
        path = file_of(folder, family.name)
        if not path.is_file():
            return None
        rows = curriculumfile.load(path, family).rows
        if config.curriculum.kind != "frozen":  # what cannot stay in the buffer need not be looked at
            rows = curriculumfile.take(rows, np.argsort(-rows.score, kind="stable")[: config.curriculum.capacity])
        key = jax.random.fold_in(jax.random.key(config.seed), sum(family.name.encode()))
        found = curriculumfile.tasks(key if new else None, rows, score)
        if config.curriculum.kind == "frozen":  # numbers its tasks by their rows
            parent = jnp.asarray(curriculumfile.parent_rows(rows.serial, rows.parent))
            found = found._replace(origin=found.origin._replace(parent=parent))
        return found, jnp.asarray(rows.score)

    return find


def _check_fit(path: Path, config: Config, family: Family) -> None:
    lifetime = curriculumfile.load(path, family).rows.lifetime
    low, high = config.life.updates
    wrong = (lifetime < low) | (lifetime > high)
    if not len(lifetime):
        raise ValueError(f"{path} must hold at least 1 task to begin with, it holds none.")
    if np.any(wrong):
        row = int(np.argmax(wrong))
        rule = f"must lie within life.updates, {low} to {high}"
        raise ValueError(f"{path}: the column lifetime {rule}, got {lifetime[row]} in row {row}.")
