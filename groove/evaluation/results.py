"""What rules reached on suites, as a file: Parquet, a row for every rule, task, seed and point of a life.

A row holds everything needed to do it again: which rule with which settings or which file, which suite by name and hash,
which protocol by scale and hash, the package versions. Returns are raw; what 0 and 1 are on a task stands beside them.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from levels.dataset import parquet
from levels.files import whole

VERSION = "3"
"""Of the columns. Files of other versions are refused."""
KEY = b"groove.results"
NAME = "results.parquet"
BYTES_OF_A_ROW, TIMES = 128, 1024
"""In memory without text; and the memory that results may take for each byte of their file: they say of every row which rule
it is of, and with which packages it was measured."""
OPTIMUM, A2C, FLAT, UNKNOWN = "optimum", "a2c", "flat", ""
"""What 1 is on a task: the exact optimum; what tuned A2C reaches; nothing, being known to be too close to 0; unknown."""
CLOSE = 1e-5
"""Relative difference of returns that two machines may have of one agent."""

Columns: TypeAlias = Mapping[str, np.ndarray]

SCHEMA = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),
        pa.field("meta_seed", pa.int64(), nullable=False),
        pa.field("learned", pa.bool_(), nullable=False),
        pa.field("tuned", pa.bool_(), nullable=False),
        pa.field("suite", pa.string(), nullable=False),
        pa.field("suite_hash", pa.string(), nullable=False),
        pa.field("scale", pa.string(), nullable=False),
        pa.field("protocol_hash", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("update", pa.int32(), nullable=False),
        pa.field("lifetime", pa.int32(), nullable=False),
        pa.field("episode_return", pa.float64(), nullable=False),
        pa.field("standard_error", pa.float64(), nullable=False),
        pa.field("zero", pa.float64(), nullable=False),
        pa.field("one", pa.float64(), nullable=False),
        pa.field("one_is", pa.string(), nullable=False),
        pa.field("about", pa.string(), nullable=False),
        pa.field("versions", pa.string(), nullable=False),
    ],
    {KEY: VERSION.encode()},
)
"""`zero` and `one` are what counts as 0 and 1 on the task, nan where nothing does; `one_is` says what one is; `about` is the
rule and `versions` the packages and the machine, as JSON. The return of an agent that diverged is NaN."""
IDENTITY = ("rule", "meta_seed", "suite", "suite_hash", "scale", "protocol_hash", "split", "task", "seed", "update")
"""The columns that together name a row."""
PLACE = ("suite", "suite_hash", "scale", "protocol_hash", "split")
"""The columns that say where a rule was measured."""


class Unit(NamedTuple):
    """What one compiled call finds out: a rule on all tasks of a split."""

    rule: str
    meta_seed: int
    suite: str
    scale: str
    split: str


def read(path: Path) -> pa.Table:
    """Reads results, once they are found to be whole.

    Args:
        path: The file, or a folder with `results.parquet` in it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file of results, is damaged, of another version, or holds rows twice.
    """
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; groove evaluate writes one.")
    most = parquet.most_bytes_of(path, times=TIMES)
    with parquet.opened(path) as file:
        _check_schema(path, file.schema_arrow)
        parquet.check_size(path, parquet.counted(path), BYTES_OF_A_ROW, most)
    words = [field.name for field in SCHEMA if pa.types.is_string(field.type)]
    try:
        with parquet.opened(path, words) as file:
            coded = file.read(use_threads=False)
        if sum(parquet.bytes_of_text(coded[name], padded=False) for name in words) > most:
            raise ValueError(f"{path}: its text takes more than the {most / 2**20:.0f} MiB that may be read of such a file.")
        table = coded.cast(SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise parquet.damaged(path, error) from error
    return _checked(path, table)


def _check_schema(path: Path, schema: pa.Schema) -> None:
    metadata = schema.metadata or {}
    if KEY not in metadata:
        raise ValueError(f"{path} is no file of results.")
    if metadata[KEY] != VERSION.encode():
        version = metadata[KEY].decode(errors="replace")
        raise ValueError(f"{path} has version {version!r} of the columns, this reads {VERSION!r}.")
    if not schema.remove_metadata().equals(SCHEMA.remove_metadata()):
        raise ValueError(f"{path} has other columns than {', '.join(SCHEMA.names)}.")


def _checked(path: Path, table: pa.Table) -> pa.Table:
    for name in SCHEMA.names:
        if table[name].null_count:
            raise ValueError(f"{path}: the column {name} has no value in row {table[name].is_null().index(True).as_py()}.")
    for name in ("episode_return", "standard_error"):
        bad = pc.is_inf(table[name])
        if pc.any(bad).as_py():
            row = bad.index(True).as_py()
            raise ValueError(f"{path}: the column {name} must be finite, or NaN where an agent diverged: see row {row}.")
    for name in ("about", "versions"):
        for text in pc.unique(table[name]).to_pylist():
            _check_json(path, name, text)
    groups = table.select(IDENTITY).group_by(list(IDENTITY)).aggregate([([], "count_all")])
    if groups.num_rows < table.num_rows:
        raise ValueError(f"{path} holds {table.num_rows - groups.num_rows} rows twice.")
    for row in table.group_by(["task", "zero", "one", "one_is"]).aggregate([]).to_pylist():
        _check_bounds(path, **row)
    try:
        return agreed(table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_bounds(path: Path, task: str, zero: float, one: float, one_is: str) -> None:
    if one_is not in (OPTIMUM, A2C, FLAT, UNKNOWN):
        raise ValueError(f"{path}: one_is must be {OPTIMUM}, {A2C}, {FLAT} or nothing, got {one_is[:40]!r} on {task!r}.")
    if one_is in (OPTIMUM, A2C) and not -math.inf < zero < one < math.inf:
        raise ValueError(f"{path}: zero must be below one, both finite, got {zero} and {one} on {task!r}.")


def agreed(table: pa.Table) -> pa.Table:
    """The table, once all rows of a rule are known to be of that rule, and all of a task to have one 0 and 1.

    Raises:
        ValueError: They differ.
    """
    for row in _several(table, (*PLACE, "task"), ("zero", "one", "one_is")):
        raise ValueError(f"what 0 and 1 are on the task {row['task']} of {row['suite']} is said in several ways.")
    for row in _several(table, ("rule", "meta_seed", *PLACE), ("about",)):
        raise ValueError(another(row["rule"], row["split"]))
    kinds = table.select(["rule", *PLACE, "about"]).group_by(["rule", *PLACE, "about"], use_threads=False).aggregate([])
    trainings = kinds.set_column(kinds.num_columns - 1, "about", pa.array(map(training, kinds["about"].to_pylist())))
    for row in _several(trainings, ("rule", *PLACE), ("about",)):
        raise ValueError(another(row["rule"], row["split"]))
    return table


def another(rule: str, split: str) -> str:
    """That two rules have one name, and what to do."""
    return (
        f"the results hold different rules called {rule!r} on {split}. Only trainings that differ in nothing but their "
        "seed share a name: give one of them another, as LABEL=RULE, or choose another --output."
    )


def is_plugged(about: str) -> bool:
    """Whether a rule is another package's, whose settings are as given."""
    return "origin" in json.loads(about)


def training(about: str) -> str:
    """What rules of one name have in common, as JSON: all that `seedless` leaves of a run's configuration."""
    settings = json.loads(about).get("config")
    return seedless(settings) if isinstance(settings, dict) else about


def seedless(settings: Mapping[str, object]) -> str:
    """The configuration of a run without seed, name of the file it started from and way of compiling it, as JSON."""
    same = dict(settings)
    return json.dumps({**same, "seed": 0, "start": bool(same.get("start"))}, sort_keys=True)


def _several(table: pa.Table, names: Sequence[str], values: Sequence[str]) -> list[dict[str, str]]:
    """The groups of equal names whose rows differ in the values; nan equals nan."""
    rows = table.select([*names, *values]).group_by([*names, *values], use_threads=False).aggregate([])
    groups = rows.group_by(list(names), use_threads=False).aggregate([([], "count_all")])
    return groups.filter(pc.greater(groups["count_all"], 1)).to_pylist()


def _check_json(path: Path, name: str, text: str) -> None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the column {name} must hold JSON, got {text[:40]!r}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: the column {name} must hold JSON objects, got {text[:40]!r}.")


def write(path: Path, table: pa.Table) -> Path:
    """Writes results, whole or not at all."""
    with whole(path) as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    return path


def table_of(columns: Columns) -> pa.Table:
    """Columns as a table."""
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}, SCHEMA)


def empty() -> pa.Table:
    """No rows."""
    return SCHEMA.empty_table()


def merged(tables: Iterable[pa.Table]) -> pa.Table:
    """All rows of several files; where two have a row, it counts once, as it stands in the first.

    Raises:
        ValueError: Two files say different things of one row, of what 0 and 1 are on a task, or of which rule has a name.
    """
    table = agreed(pa.concat_tables([empty(), *tables]))
    lost = table.append_column("lost", pc.is_nan(table["episode_return"]))
    first = lost.group_by(list(IDENTITY), use_threads=False).aggregate(
        [("episode_return", "min"), ("episode_return", "max"), ("lost", "min"), ("lost", "max")]
    )
    low, high = first["episode_return_min"], first["episode_return_max"]
    apart = pc.greater(pc.subtract(high, low), pc.multiply(CLOSE, pc.max_element_wise(pc.abs(low), pc.abs(high))))
    apart = pc.or_(apart, pc.not_equal(first["lost_min"], first["lost_max"]))
    if pc.any(apart).as_py():
        row = first.slice(apart.index(True).as_py(), 1).to_pylist()[0]
        raise ValueError(
            f"two files differ on {row['rule']} (seed {row['seed']}) on the task {row['task']} of {row['suite']}."
        )
    seen = np.unique(_row_numbers(table), return_index=True)[1]
    return table.take(pa.array(np.sort(seen)))


def _row_numbers(table: pa.Table) -> np.ndarray:
    """A number for every row, equal for rows of one identity: i64[rows]."""
    number = np.zeros(table.num_rows, np.int64)
    for name in IDENTITY:
        column = np.unique(table[name].to_numpy(zero_copy_only=False), return_inverse=True)[1]
        number = np.unique(number * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1]
    return number


def units(table: pa.Table) -> set[Unit]:
    """What is done already."""
    names = list(Unit._fields)
    return {Unit(**row) for row in table.select(names).group_by(names).aggregate([]).to_pylist()}
