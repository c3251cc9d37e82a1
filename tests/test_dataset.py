"""Levels on disk: a round trip, and every way for a file to be wrong."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from levels import dataset


class Thing(NamedTuple):
    reward: jax.Array
    cell: jax.Array


class Maze(NamedTuple):
    walls: jax.Array
    things: Thing
    limit: jax.Array
    unused: jax.Array


def sample(key: jax.Array) -> Maze:
    wall_key, reward_key, cell_key = jax.random.split(key, 3)
    rewards, cells = jax.random.normal(reward_key, (4,)), jax.random.bits(cell_key, (4,), jnp.uint32)
    walls = jax.random.bernoulli(wall_key, shape=(3, 5))
    return Maze(walls, Thing(rewards, cells), jnp.int32(20), jnp.zeros((2, 0), jnp.int8))


ROWS = 6
LIKE = jax.eval_shape(sample, jax.random.key(0))
COLUMNS = {
    "score": np.array([0.5, -np.inf, np.nan, 1.0, 2.0, 3.0], np.float32),
    "origin.vector": np.zeros((ROWS, 0), np.float32),
    "parent": np.arange(ROWS, dtype=np.int64) - 1,
    "learn": np.arange(ROWS) % 2 == 0,
    "history": np.arange(ROWS * 4, dtype=np.float64).reshape(ROWS, 2, 2),
    "note": ["", "a", "é", "longer", "b", "c"],
}


def mazes() -> Maze:
    return jax.vmap(sample)(jax.random.split(jax.random.key(1), ROWS))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    assert dataset.save(tmp_path / "m.parquet", mazes(), COLUMNS, {"generator": "x"}, family="maze")
    return tmp_path / "m.parquet"


def test_round_trip(file: Path):
    found = dataset.load(file, LIKE, family="maze")
    assert (found.family, found.metadata) == ("maze", {"generator": "x"})
    assert jax.tree.structure(found.levels) == jax.tree.structure(LIKE)
    for got, want in zip(jax.tree.leaves(found.levels), jax.tree.leaves(mazes()), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want, strict=True)
    assert list(found.columns) == list(COLUMNS)
    for name, column in found.columns.items():
        np.testing.assert_array_equal(column, COLUMNS[name])
        assert column.dtype.kind == np.asarray(COLUMNS[name]).dtype.kind
    assert [path.name for path in file.parent.iterdir()] == ["m.parquet"]


def test_others_can_read_it(file: Path):
    table = pq.read_table(file)
    want = ["level.walls", "level.things.reward", "level.things.cell", "level.limit", "level.unused", *COLUMNS]
    assert table.column_names == want
    row = table.slice(2, 1).to_pylist()[0]
    assert row["level.walls"] == np.asarray(mazes().walls[2]).reshape(-1).tolist()
    assert (row["level.limit"], row["level.unused"], row["note"]) == (20, [], "é")


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(tmp_path: Path, rows: int):
    levels = jax.tree.map(lambda leaf: leaf[:rows], mazes())
    dataset.save(tmp_path / "f", levels, family="maze")
    assert dataset.load(tmp_path / "f", LIKE).levels.walls.shape == (rows, 3, 5)


def test_a_level_of_one_array(tmp_path: Path):
    dataset.save(tmp_path / "f", np.eye(3, dtype=np.float32), family="bandit")
    np.testing.assert_array_equal(dataset.load(tmp_path / "f", np.zeros(3, np.float32)).levels, np.eye(3))


def test_the_hash_is_of_the_content(tmp_path: Path):
    hashes = [
        dataset.save(tmp_path / "a", mazes(), {"b": np.zeros(ROWS)}, {"x": "1"}, family="maze"),
        dataset.save(tmp_path / "b", mazes(), {"b": np.zeros(ROWS)}, {"x": "2"}, family="maze"),
        dataset.save(tmp_path / "c", mazes(), {"c": np.zeros(ROWS)}, family="maze"),
        dataset.save(tmp_path / "d", mazes(), {"b": np.zeros(ROWS, np.float32)}, family="maze"),
        dataset.save(tmp_path / "e", mazes()._replace(limit=jnp.arange(ROWS)), {"b": np.zeros(ROWS)}, family="maze"),
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (LIKE._replace(limit=jnp.float32(0)), r"the column level.limit must be float32\[\] in every row, got int32\[\]"),
        (LIKE._replace(walls=jnp.zeros((5, 3), bool)), r"level.walls must be bool\[5, 3\] in every row, got bool\[3, 5\]"),
        (LIKE._replace(unused=None), "has the column level.unused, which its level has not"),
        (LIKE._replace(unused=(LIKE.unused,)), "has the column level.unused, which its level has not"),
        (LIKE._replace(things=(LIKE.things, LIKE.limit)), "has the column level.things.reward, which"),
    ],
)
def test_other_levels_are_refused(file: Path, like, message: str):
    with pytest.raises(ValueError, match=message):
        dataset.load(file, like)


def test_another_family_is_refused(file: Path):
    with pytest.raises(ValueError, match="levels of the family 'maze', not 'bandit'"):
        dataset.load(file, LIKE, family="bandit")


def rewrite(file: Path, name: str, values: list, nullable: bool = False) -> None:
    """Changes a column behind the back of the hash."""
    table = pq.read_table(file)
    place = table.column_names.index(name)
    field = table.schema.field(name).with_nullable(nullable)
    pq.write_table(table.set_column(place, field, pa.array(values, field.type)), file)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("level.limit", lambda rows: [*rows[:3], None, *rows[4:]], "the column level.limit has no value in row 3"),
        ("level.walls", lambda rows: [*rows[:4], [None] * 15, rows[5]], "the column level.walls has no value in row 4"),
        ("level.walls", lambda rows: [rows[0], None, *rows[2:]], "the column level.walls has no value in row 1"),
        (
            "level.things.reward",
            lambda rows: [*rows[:5], [0, 1, np.inf, 2]],
            "level.things.reward must be finite, got inf in row 5",
        ),
        ("level.limit", lambda rows: [*rows[:5], 21], "its columns do not have the hash that it states"),
        ("parent", lambda rows: rows[::-1], "its columns do not have the hash that it states"),
        ("level.unused", lambda rows: [[1], *rows[1:]], r"level.unused must have the shape \(2, 0\) in every row"),
    ],
)
def test_edited_rows_are_refused(file: Path, name: str, change, message: str):
    rewrite(file, name, change(pq.read_table(file).column(name).to_pylist()), nullable=True)
    with pytest.raises(ValueError, match=message):
        dataset.load(file, LIKE)


def test_a_missing_column_is_named(file: Path):
    pq.write_table(pq.read_table(file).drop_columns(["level.limit"]), file)
    with pytest.raises(ValueError, match="lacks the column level.limit"):
        dataset.load(file, LIKE)


def test_flipped_bits_never_change_what_is_read(file: Path):
    """Parquet has bytes that nobody reads (statistics, the writer's name): a flip there may pass."""
    content, whole = file.read_bytes(), dataset.load(file, LIKE)
    refused = 0
    for place in range(0, len(content), 11):
        changed = bytearray(content)
        changed[place] ^= 4
        file.write_bytes(bytes(changed))
        try:
            found = dataset.load(file, LIKE)
        except ValueError:
            refused += 1
        else:
            assert (found.content, found.family, found.metadata) == (whole.content, whole.family, whole.metadata)
    assert refused > len(content) / 11 / 2


def test_files_from_elsewhere(tmp_path: Path, file: Path):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        dataset.load(tmp_path / "absent", LIKE)
    (tmp_path / "text").write_text("no levels here")
    with pytest.raises(ValueError, match="is damaged or no Parquet file"):
        dataset.load(tmp_path / "text", LIKE)
    (tmp_path / "cut").write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is damaged or no Parquet file"):
        dataset.load(tmp_path / "cut", LIKE)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other")
    with pytest.raises(ValueError, match="is no file of levels: its metadata lack 'levels.dataset'"):
        dataset.load(tmp_path / "other", LIKE)
    header = json.loads(pq.read_schema(file).metadata[b"levels.dataset"])
    newer = pq.read_table(file).replace_schema_metadata({"levels.dataset": json.dumps({**header, "version": "2"})})
    pq.write_table(newer, tmp_path / "newer")
    with pytest.raises(ValueError, match="has version '2' of the schema, this reads '1'"):
        dataset.load(tmp_path / "newer", LIKE)


@pytest.mark.parametrize(
    ("levels", "columns", "message"),
    [
        ({"a": np.array([1.0, np.nan])}, {}, "the column level.a must be finite, got nan in row 1"),
        (
            {"a": np.zeros(2)},
            {"b": np.zeros(3)},
            r"the column b must have as many rows as level.a, \(2,\), got shape \(3,\)",
        ),
        ({"a": np.zeros(())}, {}, r"the column level.a must have as many rows"),
        ({"a": np.zeros(2)}, {"level.b": np.zeros(2)}, "columns must not be named .* got 'level.b'"),
        ({"a": np.zeros(2, complex)}, {}, "the column level.a must be boolean, integer, float .* got complex128"),
        ({"a": np.zeros(2)}, {"b": [None, {}]}, "the column b must be boolean, integer, float .* got object"),
        ({"a.b": np.zeros(2), "a": {"b": np.zeros(2)}}, {}, "levels must have leaves of different names"),
        ((), {}, r"levels must have leaves of different names, got \[\]"),
    ],
)
def test_bad_arguments(tmp_path: Path, levels, columns, message: str):
    with pytest.raises(ValueError, match=message):
        dataset.save(tmp_path / "f", levels, columns, family="x")
    assert not list(tmp_path.iterdir())
