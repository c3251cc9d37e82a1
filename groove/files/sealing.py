"""Curricula that come from elsewhere: made of text mazes, or taken back after another program has filtered them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groove.config import check_name
from groove.files import curriculumfile
from groove.files.curriculumfile import Stored
from levels import dataset, mazes
from levels.base import Family, Level
from levels.dataset import columns as kinds
from levels.dataset import parquet
from levels.dataset.forms import check_levels
from levels.gridworld import gridworld

FAMILIES = ("gridworld", "jaxued:Maze")
"""Of which text mazes may become levels."""
PANDAS_INDEX = "__index_level_"
"""What the names of columns begin with that pandas adds to rows that were chosen among others."""
SIDE = 13
"""Of jaxued's mazes, which are walled in to one size."""


def import_mazes(
    paths: Sequence[Path], output: Path, *, family: str = "gridworld", limit: int = 250, lifetime: int = 100
) -> Family:
    """Makes a curriculum of the mazes in text files, a row a maze in their order, each with the score 0.

    Args:
        paths: Text files, as `levels.mazes.from_text` reads them.
        output: The curriculum, replaced if it exists.
        family: One of `FAMILIES`.
        limit: Steps of an episode, where a text does not say it; of jaxued's mazes the family decides it.
        lifetime: Of every task, in agent updates.

    Returns:
        The family of the levels.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A text holds no maze, or one that is not valid or does not fit; the message names file and line.
        OSError: The curriculum cannot be written.
    """
    name = check_name("family", family, FAMILIES)
    found = [maze for path in paths for maze in mazes.from_text(_read(path), str(path))]
    kind, levels, sampler = _grids(found, limit) if name == "gridworld" else _jaxued(found)
    rows = curriculumfile.fresh(
        jax.tree.map(lambda *leaves: np.stack(leaves), *map(jax.device_get, levels)),
        lifetime=[lifetime] * len(levels),
        score=[0.0] * len(levels),
    )
    about = {"imported": json.dumps([path.name for path in paths]), "generator": json.dumps({"family": name, **sampler})}
    curriculumfile.save(output, rows, about, family=kind, drawings=True)
    return _opened(output)[0]


def _opened(path: Path, trusted: tuple[str, ...] = ()) -> tuple[Family, Stored]:
    """What was just written, read as anybody reads it; gone if nobody could."""
    try:
        return curriculumfile.opened(path, trusted=trusted)
    except ValueError:
        path.unlink()
        raise


def _read(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}.") from error


Imported: TypeAlias = tuple[Family, list[Level], dict[str, object]]
"""The family, its levels, and the sizes of a generator that a run on them is given."""


def _grids(found: Sequence[mazes.Maze], limit: int) -> Imported:
    """Walled in to one square, as runs have them."""
    side = max(2, *(size for maze in found for size in maze.walls.shape))  # no grid is smaller
    limits = [maze.limit or limit for maze in found]
    kind = gridworld(height=side, width=side, objects=1, episode_limit=max(limits))
    sampler = {"side": [2, side], "objects": 1, "limit": [min(limits), max(limits)]}
    return kind, [mazes.to_grid(maze, height=side, width=side, limit=limit) for maze in found], sampler


def _jaxued(found: Sequence[mazes.Maze]) -> Imported:
    from levels.adapters.jaxued import level_of, maze  # jaxued takes a second to import

    return maze(height=SIDE, width=SIDE), [level_of(one, height=SIDE, width=SIDE) for one in found], {}


def seal(path: Path, original: Path, output: Path, *, trusted: tuple[str, ...] = ()) -> int:
    """Takes a curriculum back that another program has filtered, sorted or added columns to, and so stripped of its seal.

    What a column is (its type, the shape of its values) and what made it the original says; every level is checked.

    Args:
        path: Written by pandas, polars, DuckDB or others: rows of the original, with all of its columns.
        original: The curriculum that it comes from.
        output: The curriculum that can be used, replaced if it exists.
        trusted: As of `groove.files.curriculumfile.opened`.

    Returns:
        How many rows it has.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is damaged, lacks a column, or holds values that the column cannot have.
        OSError: The curriculum cannot be written.
    """
    family, stored = curriculumfile.opened(original, trusted=trusted)
    table = _table(path)
    leaves = {name: np.asarray(leaf) for name, leaf in kinds.named(stored.rows.level).items()}
    found = {name: _column(path, table, name, like) for name, like in {**leaves, **stored.columns}.items()}
    if "parent_row" in found:
        found["parent_row"] = curriculumfile.parent_rows(found["serial"], found["parent"])
    others = [name for name in table.column_names if name not in found and not name.startswith(PANDAS_INDEX)]
    added = {name: _plain(path, table, name) for name in others}
    levels = jax.tree.unflatten(jax.tree.structure(stored.rows.level), [found[name] for name in leaves])
    check_levels(path, family, levels)
    extra = {name: found[name] for name in stored.columns} | added
    dataset.save(output, levels, extra, {**stored.metadata, "sealed_from": stored.content}, family=family.name)
    return len(_opened(output, trusted)[1].rows.score)


def _table(path: Path) -> pa.Table:
    """A file's table, once it is found to take no more memory than its size allows."""
    groups, most = parquet.counted(path), parquet.most_bytes_of(path)
    parquet.check_size(path, groups, 0, most)
    try:
        return pq.read_table(path, use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise parquet.damaged(path, error) from error


def _column(path: Path, table: pa.Table, name: str, like: np.ndarray) -> np.ndarray:
    """A column as the original has it, whatever types of lists and numbers the other program knows."""
    if name not in table.column_names:
        raise ValueError(f"{path} lacks the column {name}.")
    values = _plain(path, table, name)
    if like.dtype.kind == "U":
        return values
    wanted = (table.num_rows, *like.shape[1:])
    if values.size != int(np.prod(wanted)) or values.dtype.kind not in "biuf":
        raise ValueError(f"{path}: the column {name} must hold values of {like.dtype}{list(like.shape[1:])}.")
    cast = values.astype(like.dtype)
    if not np.array_equal(cast.astype(values.dtype), values, equal_nan=values.dtype.kind == "f"):
        raise ValueError(f"{path}: the column {name} must hold values of {like.dtype}.")
    return cast.reshape(wanted)


def _plain(path: Path, table: pa.Table, name: str) -> np.ndarray:
    """A column's values, those of lists one after the other."""
    column = table.column(name).combine_chunks()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    while True:
        if column.null_count and pa.types.is_floating(column.type):
            column = column.fill_null(float("nan"))  # as pandas writes it
        if column.null_count:
            raise ValueError(f"{path}: the column {name} has rows without a value.")
        if not any(of(column.type) for of in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
            break
        column = column.flatten()
    values = column.to_numpy(zero_copy_only=False)
    return values.astype(np.str_) if values.dtype.kind == "O" else values
