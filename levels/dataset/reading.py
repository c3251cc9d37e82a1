"""Levels from a file: what comes from elsewhere is checked before it is used, and before it takes memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa

from levels.base import Family, Level
from levels.dataset import columns, header, parquet
from levels.dataset.columns import Form, Leaf
from levels.dataset.footer import Group
from levels.dataset.forms import check_levels, native, nested
from levels.dataset.header import Description

LEAST_OF_A_VALUE = 8
"""Bytes that even nothing takes in a row of a column."""
MOST_NESTED = 32
"""Branches of a level within one another."""


class Dataset(NamedTuple):
    """What a file of levels holds. Every array is NumPy's, its leading axis is the row."""

    levels: Level
    columns: dict[str, np.ndarray]  # by name, in the order of the file
    family: str
    metadata: dict[str, str]
    content: str  # SHA-256 over names, dtypes, shapes and values of all columns: equal levels, equal hash


def describe(path: str | Path) -> Description:
    """What a file says of itself, without reading its columns.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of levels, is damaged, or is of another version.

    Example:
        >>> import tempfile, numpy as np
        >>> from levels import dataset
        >>> path = tempfile.mkdtemp() + "/two.parquet"
        >>> content = dataset.save(path, {"p": np.ones((2, 3))}, metadata={"seed": "7"}, family="coins")
        >>> found = dataset.describe(path)
        >>> found.family, found.rows, found.metadata
        ('coins', 2, {'seed': '7'})
    """
    path = Path(path)
    with parquet.opened(path) as file:
        return header.read(path, file.schema_arrow, file.metadata.num_rows)


def family_of(path: str | Path) -> Family | None:
    """This library's family of the levels in a file, of the sizes that its columns have; None if it has none of that name.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of levels, or no level of the family has such sizes.

    Example:
        >>> import tempfile, jax, levels
        >>> from levels import dataset
        >>> bandits = levels.bandit.bernoulli_bandit(arms=3)
        >>> many = jax.vmap(bandits.generator.sample)(jax.random.split(jax.random.key(0), 2))
        >>> path = tempfile.mkdtemp() + "/bandits.parquet"
        >>> content = dataset.save(path, many, family="bernoulli-bandit")
        >>> dataset.family_of(path).environment.spec.actions
        3
    """
    path = Path(path)
    with parquet.opened(path) as file:
        about = header.read(path, file.schema_arrow, file.metadata.num_rows)
        return native(path, about.family, _forms(path, file.schema_arrow))


def load(
    path: str | Path, like: Level | None = None, *, family: Family | str | None = None, most_bytes: int | None = None
) -> Dataset:
    """Reads what `save` wrote, once it is found to be whole and of the right kind: all of it, or nothing.

    Args:
        path: The file.
        like: One level, not stacked, of arrays or of `jax.ShapeDtypeStruct`: what every row must be. By default a level of
            `family`, if that is given as a whole; of the family that the file names, if this library has it, whose sizes
            the file then decides; else a nested dictionary of whatever the file holds.
        family: The family that it must be of, or its name. None accepts any.
        most_bytes: The memory that its columns may take; files with more are refused before they are read. By default 64 MiB
            and 256 bytes for each of the file's, at most 1 GiB.

    Returns:
        The levels, checked one by one where the family is given as a whole or is this library's; and the other columns.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of levels, of another version or family, too large, has other columns, shapes or dtypes
            than `like`, a value that is missing or not finite, a level that is not valid, or not the content that its hash
            states. Names column and row.

    Example:
        >>> import tempfile, jax, levels
        >>> from levels import dataset
        >>> family = levels.gridworld.gridworld(height=5, width=5, objects=2)
        >>> grids = jax.vmap(family.generator.sample)(jax.random.split(jax.random.key(0), 3))
        >>> path = tempfile.mkdtemp() + "/grids.parquet"
        >>> content = dataset.save(path, grids, family="gridworld")
        >>> type(dataset.load(path).levels).__name__, dataset.load(path, family=family).levels.walls.shape
        ('GridLevel', (3, 5, 5))
    """
    path = Path(path)
    with parquet.opened(path) as file:
        schema, most = file.schema_arrow, parquet.most_bytes_of(path) if most_bytes is None else most_bytes
        about = header.read(path, schema, file.metadata.num_rows)
        name = family.name if isinstance(family, Family) else family
        if name not in (None, about.family):
            raise ValueError(f"{path} holds levels of the family {about.family!r}, not {name!r}.")
        forms = _forms(path, schema)
        _check_size(path, parquet.counted(path), forms, most)
        known = family if isinstance(family, Family) else native(path, about.family, forms) if like is None else None
        if like is None:
            like = nested(path, forms) if known is None else jax.eval_shape(known.generator.sample, jax.random.key(0))
        wanted = columns.named(like)
        _check_columns(path, forms, wanted)
    table = _read(path, forms, most)
    columns.check_finite({name: table[name] for name in wanted}, str(path))
    levels = jax.tree.unflatten(jax.tree.structure(like), [table[name] for name in wanted])
    if known is not None:
        check_levels(path, known, levels)
    if header.digest(table) != about.content:
        raise ValueError(f"{path} is damaged or was edited: its columns do not have the hash that it states.")
    extra = {name: column for name, column in table.items() if not columns.is_level(name)}
    return Dataset(levels, extra, about.family, about.metadata, about.content)


def _forms(path: Path, schema: pa.Schema) -> dict[str, Form]:
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{path} has columns of one name: {schema.names}.")
    for name in schema.names:
        if columns.is_level(name) and name.count(".") > MOST_NESTED:
            raise ValueError(f"{path} has a column of a level with {name.count('.')} dots, more than {MOST_NESTED}.")
    return {field.name: columns.form(path, field) for field in schema}


def _check_size(path: Path, groups: tuple[Group, ...], forms: Mapping[str, Form], most_bytes: int) -> None:
    """Raises a ValueError if the columns are larger than allowed, or than they say, judged by the footer alone."""
    for group in groups:
        if len(group.chunks) != len(forms):
            raise ValueError(f"{path} is damaged: a group of rows has {len(group.chunks)} columns, not {len(forms)}.")
        for chunk, (name, form) in zip(group.chunks, forms.items(), strict=True):
            if not 0 <= chunk.values <= group.rows * max(1, form.size):
                raise ValueError(f"{path}: the column {name} must have {form} in every row, but it counts other values.")
    of_a_row = sum(max(form.size * form.dtype.itemsize, LEAST_OF_A_VALUE) for form in forms.values())
    parquet.check_size(path, groups, of_a_row, most_bytes)


def _check_columns(path: Path, forms: Mapping[str, Form], wanted: Mapping[str, Leaf]) -> None:
    for name in (name for name in forms if columns.is_level(name) and name not in wanted):
        raise ValueError(f"{path} has the column {name}, which its level has not.")
    for name, leaf in wanted.items():
        if name not in forms:
            raise ValueError(f"{path} lacks the column {name}.")
        want = Form(tuple(leaf.shape), np.dtype(leaf.dtype))
        if forms[name] != want:
            raise ValueError(f"{path}: the column {name} must be {want} in every row, got {forms[name]}.")


def _read(path: Path, forms: Mapping[str, Form], most_bytes: int) -> dict[str, np.ndarray]:
    words = [name for name, form in forms.items() if form.dtype.kind == "U"]
    try:
        with parquet.opened(path, words) as file:
            table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise parquet.damaged(path, error) from error
    if table.column_names != list(forms):
        raise ValueError(f"{path} is damaged: its columns are not those of its schema.")
    return {name: columns.to_numpy(path, name, table.column(name), form, most_bytes) for name, form in forms.items()}
