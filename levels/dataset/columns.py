"""Columns: the names of a level's leaves, and values between NumPy and Arrow."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
import pyarrow as pa

from levels.base import Level
from levels.dataset import parquet

Leaf: TypeAlias = jax.Array | np.ndarray | jax.ShapeDtypeStruct


class Form(NamedTuple):
    """What every value of a column is."""

    shape: tuple[int, ...]
    dtype: np.dtype  # of kind b, i, u, f; U where it is text

    def __str__(self) -> str:
        return f"{'text' if self.dtype.kind == 'U' else self.dtype}{list(self.shape)}"

    @property
    def size(self) -> int:
        """Numbers of one value."""
        return math.prod(self.shape)


def named(level: Level) -> dict[str, Leaf]:
    """Leaves by column name, in the order of the tree.

    Raises:
        ValueError: There are none, or two of one name.
    """
    leaves = jax.tree.leaves_with_path(level)
    names = [".".join(("level", *(jax.tree_util.keystr((key,), simple=True) for key in path))) for path, _ in leaves]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"levels must have leaves of different names, got {names}.")
    return {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)}


def is_level(name: str) -> bool:
    """Whether a column belongs to the level."""
    return name == "level" or name.startswith("level.")


def check_finite(columns: Mapping[str, np.ndarray], where: str) -> None:
    """Raises a ValueError that names the first value that is not finite by its column and row."""
    for name, column in columns.items():
        bad = ~np.isfinite(column)
        if np.any(bad):
            row = int(np.argwhere(bad)[0, 0])
            raise ValueError(f"{where}: the column {name} must be finite, got {column[bad][0]} in row {row}.")


def field(name: str, column: np.ndarray) -> pa.Field:
    """Scalars are plain; arrays lists of fixed size, or of any size if empty, which Arrow has no fixed one for."""
    kind = pa.string() if column.dtype.kind == "U" else pa.from_numpy_dtype(column.dtype)
    size = math.prod(column.shape[1:])
    if column.ndim > 1:
        kind = pa.list_(kind, size) if size else pa.list_(kind)
    return pa.field(name, kind, nullable=False, metadata={"shape": json.dumps(column.shape[1:])})


def to_arrow(column: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A column of the type that its field has."""
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), type=kind)
    return pa.array([[]] * len(column) if pa.types.is_list(kind) else column, kind)


def form(path: Path, field: pa.Field) -> Form:
    """What the values of a field are, as `field` describes it.

    Raises:
        ValueError: It has a type that levels do not have, or does not say its shape.
    """
    kind = field.type
    fixed, empty = pa.types.is_fixed_size_list(kind), pa.types.is_list(kind)
    inner = kind.value_type if fixed or empty else kind
    plain = pa.types.is_boolean(inner) or pa.types.is_integer(inner) or pa.types.is_floating(inner)
    if not (plain or (pa.types.is_string(inner) and inner is kind)):
        raise ValueError(f"{path}: the column {field.name} must hold numbers, lists of numbers or text, not {kind}.")
    try:
        shape = tuple(json.loads((field.metadata or {})[b"shape"]))
        if not all(type(size) is int and 0 <= size < 2**31 for size in shape):
            raise ValueError(f"no shape: {shape}")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the column {field.name} does not say what shape its values have.") from error
    found = Form(shape, np.dtype(np.str_) if pa.types.is_string(inner) else np.dtype(inner.to_pandas_dtype()))
    if (fixed, empty) != (bool(shape) and found.size > 0, found.size == 0) or (fixed and kind.list_size != found.size):
        raise ValueError(f"{path}: the column {field.name} must have the shape {shape} in every row, but it is {kind}.")
    return found


def to_numpy(path: Path, name: str, column: pa.ChunkedArray, form: Form, most_bytes: int) -> np.ndarray:
    """[rows, *shape] of a column.

    Raises:
        ValueError: A value is missing or of another shape; the message names the row. Text takes more than `most_bytes`.
    """
    if form.dtype.kind == "U":
        return _text(path, name, column, most_bytes)
    array = column.combine_chunks()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    parts = (array, array.flatten()) if form.shape else (array,)
    for part in parts:
        if part.null_count:
            place = part.is_null().index(True).as_py()
            raise ValueError(f"{path}: the column {name} has no value in row {place * len(array) // len(part)}.")
    values = parts[-1].to_numpy(zero_copy_only=False)
    if values.size != len(array) * form.size:
        raise ValueError(f"{path}: the column {name} must have the shape {form.shape} in every row.")
    return values.reshape(len(array), *form.shape)


def _text(path: Path, name: str, column: pa.ChunkedArray, most_bytes: int) -> np.ndarray:
    """Text [rows], from words and their numbers, so that a long word that is repeated often is met in time."""
    if column.null_count:
        raise ValueError(f"{path}: the column {name} has no value in row {column.is_null().index(True).as_py()}.")
    chunks = [chunk if isinstance(chunk, pa.DictionaryArray) else chunk.dictionary_encode() for chunk in column.chunks]
    coded = pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))
    if parquet.bytes_of_text(coded, padded=True) > most_bytes:
        raise ValueError(f"{path}: the text of the column {name} takes more than {most_bytes / 2**20:.0f} MiB.")
    words, numbers = [np.zeros(1, np.str_)], [np.zeros(0, np.int64)]
    for chunk in coded.chunks:
        numbers.append(chunk.indices.to_numpy(zero_copy_only=False) + sum(map(len, words)))
        words.append(np.array([word or "" for word in chunk.dictionary.to_pylist()], np.str_))
    return np.concatenate(words)[np.concatenate(numbers)]
