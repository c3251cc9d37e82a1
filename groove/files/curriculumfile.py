"""Curricula as files: a row a task, with its score, what was reached on it and where it came from.

Columns beside those of the level (see `levels.dataset`): `lifetime` in agent updates, `score`, `serial` (a number of its
own), `parent` (the serial of the task that it was edited from, -1 if none), `parent_row` (where that stands in this file, -1
if it does not); where they are known `reference_...` (the antagonist's return with its standard error, or whatever else the
score compares with), `learner_...` (the outcome of the life that was scored), `feature_...` (of the
family) and `text` (a drawing). The metadata say what made the file.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from groove import assembly
from groove.base import Memory, Origin, Outcome, Reference, Score, Task
from groove.config import QUICK, Config, Curriculum, check, check_family, is_plugged, sources
from groove.config.limits import MOST_UPDATES
from groove.files import sizes
from groove.files.library import check_trusted
from levels import dataset
from levels.base import Family, Level

VERSION = "1"
"""Of the columns and metadata. Files of other versions are refused."""
BLOCK = 64
"""Tasks whose references are computed at once."""


class Rows(NamedTuple):
    """Scored tasks, a row each. Every array is NumPy's, its leading axis is the row."""

    level: Level
    lifetime: np.ndarray  # i32[rows]; agent updates, at least 1
    score: np.ndarray  # f32[rows]; finite
    serial: np.ndarray  # i32[rows]; no two are equal
    parent: np.ndarray  # i32[rows]; serial of the task that this one was edited from, -1 if none
    reference: Reference = ()  # PyTree of [rows, ...]; () where it is not known
    outcome: Outcome | tuple[()] = ()  # of the life that was scored; () where it is not known


class Stored(NamedTuple):
    """The file of a curriculum."""

    rows: Rows  # reference and outcome are ()
    columns: Mapping[str, np.ndarray]  # all but the level's, by name
    metadata: Mapping[str, str]
    content: str  # SHA-256 of all columns


def save(path: Path, rows: Rows, metadata: Mapping[str, str], *, family: Family, drawings: bool = False) -> str:
    """Writes scored tasks, whole or not at all.

    Args:
        path: The file, replaced if it exists.
        rows: What it holds.
        metadata: What made it, see `about`.
        family: Of the levels.
        drawings: Whether to draw every level as text.

    Returns:
        The hash of its content.

    Raises:
        ValueError: A level is not finite.
        OSError: The file cannot be written.

    Example:
        >>> import pathlib, tempfile, jax, levels, numpy as np
        >>> from groove.files import curriculumfile
        >>> family = levels.gridworld.gridworld(height=4, width=4, objects=2)
        >>> grids = jax.vmap(family.generator.sample)(jax.random.split(jax.random.key(0), 3))
        >>> rows = curriculumfile.fresh(grids, lifetime=[20, 20, 50], score=[0.5, 1.0, 0.0])
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "three.parquet"
        >>> content = curriculumfile.save(path, rows, {}, family=family)
        >>> curriculumfile.load(path, family).rows.lifetime.tolist()
        [20, 20, 50]
    """
    columns = {"lifetime": rows.lifetime, "score": rows.score, "serial": rows.serial, "parent": rows.parent}
    columns["parent_row"] = parent_rows(rows.serial, rows.parent)
    columns |= _flat("reference", rows.reference) | _flat("learner", rows.outcome)
    if family.features is not None and len(rows.score):
        measured = jax.device_get(jax.jit(jax.vmap(family.features))(rows.level))
        columns |= {f"feature_{name}": values for name, values in measured.items()}
    if drawings:
        columns["text"] = np.array([family.draw(row(rows.level, i)) for i in range(len(rows.score))], np.str_)
    return dataset.save(path, rows.level, columns, {"curriculum": VERSION, **metadata}, family=family.name)


def load(path: Path, family: Family) -> Stored:
    """Reads what `save` wrote, or any file of levels that has the columns `lifetime` and `score`.

    Args:
        path: The file.
        family: The family that its levels must be of, and whose sizes they must have.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, of another version or family, or something in it is not valid; names column and row.
    """
    found = dataset.load(path, family=family)
    version = found.metadata.get("curriculum", VERSION)
    if version != VERSION:
        raise ValueError(f"{path} has version {version!r} of a curriculum's columns, this reads {VERSION!r}.")
    count = len(jax.tree.leaves(found.levels)[0])
    lifetime = _integers(path, found.columns, "lifetime", None)
    serial = _integers(path, found.columns, "serial", np.arange(count))
    parent = _integers(path, found.columns, "parent", np.full(count, -1))
    score = _score(path, found.columns)
    rows = Rows(found.levels, lifetime, score, serial, parent)
    _check_row(path, "lifetime", lifetime, lifetime < 1, "be at least 1 update")
    _check_row(path, "lifetime", lifetime, lifetime > MOST_UPDATES, f"be at most {MOST_UPDATES} updates")
    _check_lineage(path, rows, found.columns)
    return Stored(rows, found.columns, found.metadata, found.content)


def opened(path: Path, *, trusted: tuple[str, ...] = ()) -> tuple[Family, Stored]:
    """A file and the family of its levels, of the sizes that the file has.

    Args:
        path: The file.
        trusted: Plug-ins of the form package.module:object that it may name as its family.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or something in it is not valid, or its family is not known or not trusted; names column
            and row.
    """
    about, family = dataset.describe(path), dataset.family_of(path)
    if family is None:
        check_named(path, about.family, trusted)
        plain = dataclasses.replace(QUICK, families=(about.family,), members=(1,), curriculum=Curriculum(kind="uniform"))
        settings = sizes.sized(plain, about.metadata, where=path)
        try:
            family = assembly.family(check(settings), about.family)
        except ValueError as error:  # of gymnax, or of a plug-in
            raise ValueError(f"{path}: {error}") from error
    return family, load(path, family)


def check_named(path: str | Path, name: str, trusted: tuple[str, ...] = ()) -> None:
    """Raises a ValueError that names the file unless the family that it names is known, and may be imported.

    Args:
        path: The file.
        name: Of the family.
        trusted: As of `opened`.
    """
    try:
        check_family(name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if is_plugged(name):
        check_trusted(path, [name], trusted)


def fresh(level: Level, *, lifetime: npt.ArrayLike, score: npt.ArrayLike) -> Rows:
    """Rows of tasks that nothing else is known of: numbered in order, with no parents.

    Args:
        level: [rows, ...].
        lifetime: i32[rows], in agent updates.
        score: f32[rows].
    """
    scores = np.asarray(score, np.float32)
    serial = np.arange(len(scores), dtype=np.int32)
    nobody = np.full(len(scores), -1, np.int32)
    level = jax.tree.map(np.asarray, level)
    return Rows(level, np.asarray(lifetime, np.int32), scores, serial, nobody)


def of_tasks(tasks: Task, score: np.ndarray) -> Rows:
    """Rows of a curriculum's tasks [rows, ...] and their scores f32[rows]."""
    level, lifetime, origin, reference = jax.tree.map(
        np.asarray, (tasks.level, tasks.lifetime, tasks.origin, tasks.reference)
    )
    return Rows(level, lifetime, np.asarray(score), origin.serial, origin.parent, reference)


def take(rows: Rows, chosen: np.ndarray) -> Rows:
    """Some of the rows, by number or by bool[rows], in that order."""
    return jax.tree.map(lambda leaf: leaf[chosen], rows)


def row(tree: chex.ArrayTree, number: int) -> chex.ArrayTree:
    """One row of every leaf."""
    return jax.tree.map(lambda leaf: leaf[number], tree)


def parent_rows(serial: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Where each parent's serial stands among the serials: i32[rows], -1 where it does not.

    Example:
        >>> import numpy as np
        >>> from groove.files.curriculumfile import parent_rows
        >>> parent_rows(np.array([7, 3, 9]), np.array([3, -1, 2])).tolist()
        [1, -1, -1]
    """
    places = {int(number): place for place, number in enumerate(serial)}
    return np.array([-1 if number == -1 else places.get(int(number), -1) for number in parent], np.int32)


def about(config: Config, name: str, *, rule: Mapping[str, object], versions: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a file: generator, score, lives and where plug-ins come from, each as JSON.

    Args:
        config: Of the run or curation.
        name: Of the family.
        rule: What is to be said of the rule that was scored.
        versions: Of the packages.
    """
    measured = ("score", "antagonist", "antagonists", "episodes", "exact")
    score = {("name" if field == "score" else field): getattr(config.curriculum, field) for field in measured}
    life = {"updates": config.life.updates, "environments": config.life.environments, "steps": config.life.steps}
    parts = {"generator": sizes.generator(config, name), "rule": rule, "score": score, "life": life, "versions": versions}
    parts |= {"plugins": sources(config)}
    return {"seed": str(config.seed), **{key: json.dumps(value) for key, value in parts.items()}}


def tasks(key: jax.Array | None, rows: Rows, score: Score, *, block: int = BLOCK) -> Task:
    """Tasks to live on, their references computed anew and nothing remembered of earlier visits: [rows, ...].

    Serials count down from -2, so that they meet none of a curriculum's own; parents are the rows of the file.

    Args:
        key: Of the references; row r depends on the key and r alone. None leaves them zero, where only shapes matter.
        rows: Of a file, at least 1.
        score: Whose references are computed.
        block: Tasks whose references are computed at once.
    """
    count = len(rows.score)
    minus, parent = jnp.full(count, -1, jnp.int32), jnp.asarray(parent_rows(rows.serial, rows.parent))
    serial = -2 - jnp.arange(count, dtype=jnp.int32)
    nothing = jnp.zeros((count, 0), jnp.float32)
    origin = Origin(minus, minus, serial, jnp.where(parent < 0, -1, -2 - parent), nothing, jnp.ones(count, bool))
    memory: Memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), score.memory)
    level, lifetime = jax.tree.map(jnp.asarray, (rows.level, rows.lifetime))
    return Task(level, lifetime, _references(key, rows, score, block), memory, origin)


def _references(key: jax.Array | None, rows: Rows, score: Score, block: int) -> Reference:
    count, mapped = len(rows.score), jax.vmap(score.reference, (0, 0, 0))
    numbers = np.arange(count, dtype=np.int32)
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0) if key is None else key, number))(numbers)
    if key is None:
        shapes = jax.eval_shape(mapped, keys, rows.level, rows.lifetime)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    reach, found = jax.jit(mapped), []
    for begin in range(0, count, block):
        place = np.minimum(np.arange(begin, begin + block), count - 1)
        level, lifetime = jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), (rows.level, rows.lifetime))  # noqa: B023
        found.append(reach(keys[place], level, lifetime))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *found)


def _flat(prefix: str, tree: chex.ArrayTree) -> dict[str, np.ndarray]:
    """Leaves [rows, ...] by path: `reference_episode_return`, `reference`, `learner_signals_value`."""
    leaves = jax.tree.leaves_with_path(tree)
    names = ["_".join((prefix, *(jax.tree_util.keystr((key,), simple=True) for key in path))) for path, _ in leaves]
    return {name: np.asarray(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}


def _column(path: Path, columns: Mapping[str, np.ndarray], name: str, kinds: str) -> np.ndarray:
    """A column of plain numbers, whose dtypes are of `kinds`."""
    if name not in columns:
        raise ValueError(f"{path} is no curriculum: it lacks the column {name}.")
    column = columns[name]
    if column.ndim != 1 or column.dtype.kind not in kinds:
        what = "a number" if "f" in kinds else "an integer"
        raise ValueError(
            f"{path}: the column {name} must be {what} in every row, got {column.dtype}{list(column.shape[1:])}."
        )
    return column


def _integers(path: Path, columns: Mapping[str, np.ndarray], name: str, default: np.ndarray | None) -> np.ndarray:
    """A column of i32[rows]; `default` where it is not there."""
    column = default if name not in columns and default is not None else _column(path, columns, name, "iu")
    _check_row(path, name, column, (column < -(2**31)) | (column >= 2**31), "fit 32 bits")
    return column.astype(np.int32)


def _score(path: Path, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    column = _column(path, columns, "score", "iuf")
    with np.errstate(over="ignore"):
        found = column.astype(np.float32)
    _check_row(path, "score", column, ~np.isfinite(found), "be finite")
    return found


def _check_lineage(path: Path, rows: Rows, columns: Mapping[str, np.ndarray]) -> None:
    order = np.argsort(rows.serial, kind="stable")
    again = np.zeros(len(order), bool)
    again[order[1:]] = np.diff(rows.serial[order]) == 0
    _check_row(path, "serial", rows.serial, again | (rows.serial == -1), "be another than -1 in every row")
    _check_row(path, "parent", rows.parent, (rows.parent == rows.serial) & (rows.parent != -1), "be another task")
    stated = _integers(path, columns, "parent_row", parent_rows(rows.serial, rows.parent))
    wrong = stated != parent_rows(rows.serial, rows.parent)
    _check_row(path, "parent_row", stated, wrong, "be the row whose serial is the parent, or -1")


def _check_row(path: Path, name: str, column: np.ndarray, wrong: np.ndarray, rule: str) -> None:
    if np.any(wrong):
        number = int(np.argmax(wrong))
        raise ValueError(f"{path}: the column {name} must {rule}, got {column[number]} in row {number}.")
