"""Levels on disk: a Parquet file with one row a task, readable by anything and checked before it is used.

A leaf of the level is a column named by its path (`level.walls`), beside it stand extra columns that mean nothing here.
Arrays are flattened into lists, their shape stands in the field's metadata.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from levels.base import Level

_VERSION = "1"
_HEADER = b"levels.dataset"


class Dataset(NamedTuple):
    """What a file of levels holds. Every array is NumPy's, its leading axis is the row."""

    levels: Level
    columns: dict[str, np.ndarray]  # by name, in the order of the file
    family: str
    metadata: dict[str, str]
    content: str  # SHA-256 over names, dtypes, shapes and values of all columns: equal levels, equal hash


def save(
    path: str | Path,
    levels: Level,
    columns: Mapping[str, npt.ArrayLike] | None = None,
    metadata: Mapping[str, str] | None = None,
    *,
    family: str,
) -> str:
    """Writes levels and their extra columns, whole or not at all.

    Args:
        path: The file, replaced if it exists; its folder must exist.
        levels: A stacked level: a PyTree of [rows, ...], boolean, integer or float16 to float64, finite.
        columns: Extra columns [rows, ...], or lists of strings; not named "level" or "level.<...>".
        metadata: What to remember of the whole: generator, versions, ...
        family: The name of the levels' family.

    Returns:
        The content hash (see `Dataset`).

    Raises:
        ValueError: If an argument breaks a rule above; the message names the column, and the row if there is one.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile, numpy as np
        >>> from levels import dataset
        >>> path = tempfile.mkdtemp() + "/two.parquet"
        >>> content = dataset.save(path, {"p": np.ones((2, 3))}, {"score": [0.5, 2.0]}, family="coins")
        >>> found = dataset.load(path, like={"p": np.zeros(3)})
        >>> found.levels["p"].shape, found.columns["score"].tolist(), found.family, found.content == content
        ((2, 3), [0.5, 2.0], 'coins', True)
    """
    path, extra = Path(path), {name: np.asarray(column) for name, column in (columns or {}).items()}
    leaves = {name: np.asarray(leaf) for name, leaf in _named(levels).items()}
    for name in extra:
        if _is_level(name):
            raise ValueError(f"columns must not be named 'level' or 'level.<...>', got {name!r}.")
    table = leaves | extra
    _check_rows(table)
    _check_finite(leaves, "levels")
    content = _digest(table)
    header = _sealed({"version": _VERSION, "family": family, "sha256": content, "metadata": dict(metadata or {})})
    schema = pa.schema([_field(name, column) for name, column in table.items()], {_HEADER: json.dumps(header)})
    arrays = [_to_arrow(column, field.type) for column, field in zip(table.values(), schema, strict=True)]
    _replace(path, pa.Table.from_arrays(arrays, schema=schema))
    return content


def load(path: str | Path, like: Level, *, family: str | None = None) -> Dataset:
    """Reads what `save` wrote, once it is found to be whole and of the right kind.

    Args:
        path: The file.
        like: One level, not stacked, of arrays or of `jax.ShapeDtypeStruct`: what every row must be.
        family: The family that it must be of; None accepts any whose levels have the form of `like`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of levels, of another version or family, has other columns, shapes or dtypes than
            `like`, a value that is missing or not finite, or not the content that its hash states. Names column and row.
    """
    path = Path(path)
    stored = _read(path)
    header = _header(path, stored.schema)
    if family is not None and header["family"] != family:
        raise ValueError(f"{path} holds levels of the family {header['family']!r}, not {family!r}.")
    table = {name: _to_numpy(path, stored.column(name), stored.schema.field(name)) for name in stored.column_names}
    wanted = _named(like)
    _check_columns(path, table, wanted)
    _check_finite({name: table[name] for name in wanted}, str(path))
    if _digest(table) != header["sha256"]:
        raise ValueError(f"{path} is damaged or was edited: its columns do not have the hash that it states.")
    levels = jax.tree.unflatten(jax.tree.structure(like), [table[name] for name in wanted])
    extra = {name: column for name, column in table.items() if not _is_level(name)}
    return Dataset(levels, extra, header["family"], header["metadata"], header["sha256"])


def _named(level: Level) -> dict[str, jax.Array | np.ndarray]:
    """Leaves by column name, in the order of the tree."""
    leaves = jax.tree.leaves_with_path(level)
    names = [".".join(("level", *(jax.tree_util.keystr((key,), simple=True) for key in path))) for path, _ in leaves]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"levels must have leaves of different names, got {names}.")
    return {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)}


def _is_level(name: str) -> bool:
    return name == "level" or name.startswith("level.")


def _check_rows(table: Mapping[str, np.ndarray]) -> None:
    """Every column has one value a row, of a dtype that Parquet knows."""
    first, rows = next((name, column.shape[:1]) for name, column in table.items())
    for name, column in table.items():
        if column.shape[:1] != rows or not rows:
            raise ValueError(f"the column {name} must have as many rows as {first}, {rows}, got shape {column.shape}.")
        if column.dtype.kind not in "biufU" or (column.dtype.kind == "U" and column.ndim > 1):
            raise ValueError(f"the column {name} must be boolean, integer, float or a list of strings, got {column.dtype}.")


def _check_finite(columns: Mapping[str, np.ndarray], where: str) -> None:
    for name, column in columns.items():
        bad = ~np.isfinite(column)
        if np.any(bad):
            row = int(np.argwhere(bad)[0, 0])
            raise ValueError(f"{where}: the column {name} must be finite, got {column[bad][0]} in row {row}.")


def _check_columns(path: Path, table: Mapping[str, np.ndarray], wanted: Mapping[str, jax.Array | np.ndarray]) -> None:
    for name in (name for name in table if _is_level(name) and name not in wanted):
        raise ValueError(f"{path} has the column {name}, which its level has not.")
    for name, leaf in wanted.items():
        if name not in table:
            raise ValueError(f"{path} lacks the column {name}.")
        found = table[name]
        if (found.shape[1:], found.dtype) != (tuple(leaf.shape), leaf.dtype):
            have, want = f"{found.dtype}{list(found.shape[1:])}", f"{leaf.dtype}{list(leaf.shape)}"
            raise ValueError(f"{path}: the column {name} must be {want} in every row, got {have}.")


def _field(name: str, column: np.ndarray) -> pa.Field:
    """Scalars are plain; arrays lists of fixed size, or of any size if empty, which Arrow has no fixed one for."""
    kind = pa.string() if column.dtype.kind == "U" else pa.from_numpy_dtype(column.dtype)
    size = math.prod(column.shape[1:])
    if column.ndim > 1:
        kind = pa.list_(kind, size) if size else pa.list_(kind)
    return pa.field(name, kind, nullable=False, metadata={"shape": json.dumps(column.shape[1:])})


def _to_arrow(column: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), type=kind)
    return pa.array([[]] * len(column) if pa.types.is_list(kind) else column, kind)


def _to_numpy(path: Path, column: pa.ChunkedArray, field: pa.Field) -> np.ndarray:
    """[rows, *shape] of a column as `_field` describes it."""
    try:
        shape = tuple(int(size) for size in json.loads((field.metadata or {})[b"shape"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the column {field.name} does not say what shape its values have.") from error
    array = column.combine_chunks()
    for level in (array, array.flatten() if pa.types.is_nested(field.type) else array):
        if level.null_count:
            place = level.is_null().index(True).as_py()
            raise ValueError(f"{path}: the column {field.name} has no value in row {place * len(array) // len(level)}.")
    values = level.to_numpy(zero_copy_only=False)
    if values.size != len(array) * math.prod(shape):
        raise ValueError(f"{path}: the column {field.name} must have the shape {shape} in every row.")
    return (values.astype(str) if pa.types.is_string(field.type) else values).reshape(len(array), *shape)


def _digest(table: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name, column in sorted(table.items()):
        kind = "string" if column.dtype.kind == "U" else column.dtype.name
        total.update(json.dumps([name, kind, column.shape]).encode())
        total.update(json.dumps(column.tolist()).encode() if kind == "string" else column.tobytes())
    return total.hexdigest()


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file.")
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged or no Parquet file: {error}.") from error


def _header(path: Path, schema: pa.Schema) -> dict:
    try:
        header = json.loads((schema.metadata or {})[_HEADER])
        version = header["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no file of levels: its metadata lack {_HEADER.decode()!r}.") from error
    if version != _VERSION:
        raise ValueError(f"{path} has version {version!r} of the schema, this reads {_VERSION!r}.")
    if header != _sealed(header):
        raise ValueError(f"{path} is damaged or was edited: its metadata do not have the hash that they state.")
    return header


def _sealed(header: dict) -> dict:
    """The header with a hash of itself."""
    content = json.dumps({name: value for name, value in header.items() if name != "seal"}, sort_keys=True)
    return {**header, "seal": hashlib.sha256(content.encode()).hexdigest()}


def _replace(path: Path, table: pa.Table) -> None:
    """Writes under another name, syncs, renames."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
