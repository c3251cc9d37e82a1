"""Levels to a file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from levels.base import Level
from levels.dataset import columns as kinds
from levels.dataset import header
from levels.files import whole

ROWS_OF_A_GROUP = 65_536


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
        >>> found = dataset.load(path)
        >>> found.levels["p"].shape, found.columns["score"].tolist(), found.family, found.content == content
        ((2, 3), [0.5, 2.0], 'coins', True)
    """
    path, extra = Path(path), {name: np.asarray(column) for name, column in (columns or {}).items()}
    leaves = {name: np.asarray(leaf) for name, leaf in kinds.named(levels).items()}
    for name in extra:
        if kinds.is_level(name):
            raise ValueError(f"columns must not be named 'level' or 'level.<...>', got {name!r}.")
    table = leaves | extra
    _check_rows(table)
    kinds.check_finite(leaves, "levels")
    content = header.digest(table)
    schema = pa.schema([kinds.field(*column) for column in table.items()], header.write(family, metadata or {}, content))
    arrays = [kinds.to_arrow(column, field.type) for column, field in zip(table.values(), schema, strict=True)]
    arranged = pa.Table.from_arrays(arrays, schema=schema)
    with whole(path) as file:
        pq.write_table(arranged, file, row_group_size=ROWS_OF_A_GROUP, compression="zstd", write_page_checksum=True)
    return content


def _check_rows(table: Mapping[str, np.ndarray]) -> None:
    """Every column has one value a row, of a dtype that Parquet knows."""
    first, rows = next((name, column.shape[:1]) for name, column in table.items())
    for name, column in table.items():
        if column.shape[:1] != rows or not rows:
            raise ValueError(f"the column {name} must have as many rows as {first}, {rows}, got shape {column.shape}.")
        if column.dtype.kind not in "biufU" or (column.dtype.kind == "U" and column.ndim > 1):
            raise ValueError(f"the column {name} must be boolean, integer, float or a list of strings, got {column.dtype}.")
