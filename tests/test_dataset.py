"""Levels on disk: a round trip, and every way for a file to be wrong."""

import functools
import importlib
import importlib.util
import json
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from levels import dataset
from levels.bandit import bernoulli_bandit
from levels.base import Family
from levels.dataset import footer
from levels.gridworld import GridLevel, gridworld


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


def could_write(table: pa.Table, path: Path) -> bool:
    """Writes a table, unless it has what some versions of pyarrow can read but not write: nothing, in place of a list."""
    try:
        pq.write_table(table, path)
    except pa.ArrowNotImplementedError:
        return False
    return True


def says(path: Path, table: pa.Table) -> bool:
    """Whether a file holds a table; some versions of pyarrow write what they cannot read: nothing, in place of a list."""
    try:
        return pq.read_table(path).equals(table, check_metadata=True)
    except pa.ArrowInvalid:
        return False


def rewrite(file: Path, name: str, values: list, nullable: bool = False) -> None:
    """Changes a column behind the back of the hash."""
    table = pq.read_table(file)
    place = table.column_names.index(name)
    field = table.schema.field(name).with_nullable(nullable)
    if not could_write(table.set_column(place, field, pa.array(values, field.type)), file):
        pytest.skip("this version of pyarrow writes no such file")


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


GRIDS = gridworld(height=5, width=6, objects=3, episode_limit=40, square=False)
BANDITS = bernoulli_bandit(arms=4, fewest_arms=2)


@functools.cache
def many(family: Family, rows: int = 8):
    levels = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(jax.random.key(3), rows))
    return jax.tree.map(np.array, levels)


@pytest.fixture(scope="module")
def grids(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("grids") / "grids.parquet"
    levels = many(GRIDS)
    text = [GRIDS.draw(jax.tree.map(lambda leaf, row=row: leaf[row], levels)) for row in range(8)]
    assert dataset.save(path, levels, {"score": np.arange(8.0), "text": text}, {"seed": "0"}, family="gridworld")
    return path


@pytest.mark.parametrize("family", [None, "gridworld", GRIDS], ids=["by itself", "by name", "as a family"])
def test_levels_of_this_library_come_back_as_what_they_were(grids: Path, family):
    found = dataset.load(grids, family=family)
    assert type(found.levels) is GridLevel
    assert all(np.array_equal(a, b) for a, b in zip(found.levels, many(GRIDS), strict=True))
    assert dataset.describe(grids) == (found.family, found.metadata, found.content, 8)


def test_levels_of_nobody_come_back_as_dictionaries(file: Path):
    found = dataset.load(file)
    assert sorted(found.levels) == ["limit", "things", "unused", "walls"]
    np.testing.assert_array_equal(found.levels["things"]["reward"], mazes().things.reward)


def test_levels_of_other_sizes_are_refused(grids: Path):
    with pytest.raises(ValueError, match=r"level.walls must be bool\[4, 4\] in every row, got bool\[5, 6\]"):
        dataset.load(grids, family=gridworld(height=4, width=4, objects=3))
    longest = int(many(GRIDS).limit.max())
    with pytest.raises(ValueError, match=f"the column level.limit must be between 1 and {longest - 1}, is {longest}"):
        dataset.load(grids, family=gridworld(height=5, width=6, objects=3, episode_limit=longest - 1, square=False))


def test_large_files_are_refused_before_they_are_read(tmp_path: Path, monkeypatch):
    """A million equal rows take few bytes on the disk; so does a long word that stands in all of them."""
    rows = 1_000_000
    assert dataset.save(tmp_path / "f", {"a": np.zeros((rows, 8))}, family="x")
    assert (tmp_path / "f").stat().st_size < 1_000_000
    with monkeypatch.context() as patched:
        patched.setattr(pq.ParquetFile, "read", None)
        with pytest.raises(ValueError, match="holds 1000000 rows, 61 MiB in all, more than the 1 MiB that may be read"):
            dataset.load(tmp_path / "f", most_bytes=2**20)
    assert dataset.load(tmp_path / "f", most_bytes=2**26).levels["a"].shape == (rows, 8)
    words = ["x" * 1000] * 10_000
    assert dataset.save(tmp_path / "g", {"a": np.zeros(len(words))}, {"text": words}, family="x")
    with pytest.raises(ValueError, match="the text of the column text takes more than 1 MiB"):
        dataset.load(tmp_path / "g", most_bytes=2**20)


def test_types_that_levels_do_not_have(tmp_path: Path):
    assert dataset.save(tmp_path / "f", {"a": np.zeros(2)}, {"when": [1, 2]}, family="x")
    table = pq.read_table(tmp_path / "f")
    for kind in (pa.timestamp("us"), pa.binary(), pa.list_(pa.list_(pa.int64())), pa.struct({"a": pa.int64()})):
        field = table.schema.field("when").with_type(kind)
        pq.write_table(table.set_column(1, field.with_nullable(True), pa.nulls(2, kind)), tmp_path / "g")
        with pytest.raises(ValueError, match="the column when must hold numbers, lists of numbers or text, not "):
            dataset.load(tmp_path / "g")


def test_pandas_polars_and_duckdb_read_it(grids: Path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(grids)
    assert frame["score"].tolist() == list(range(8)) and frame["level.height"].between(2, 5).all()
    if polars := optional("polars"):
        assert polars.read_parquet(grids)["score"].to_list() == list(range(8))
    if duckdb := optional("duckdb"):
        assert duckdb.sql(f"select max(score) from '{grids}'").fetchall() == [(7.0,)]


def optional(name: str):
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 400),
    data=st.data(),
)
def test_mutated_bytes_are_refused_or_mean_the_same(grids: Path, edits, cut: int, data):
    """Some bytes of a Parquet file are read by nobody. What is read is what was written, or there is a ValueError."""
    content, whole = bytearray(grids.read_bytes()), dataset.load(grids)
    for place, value in edits:
        content[-1 - place % len(content)] = value  # the footer comes last
    if cut > 0:
        del content[-cut:]
    path = grids.with_name("mutated")
    assert path.write_bytes(bytes(content)) >= 0
    try:
        found = dataset.load(path)
    except ValueError as error:
        assert str(path) in str(error)
        return
    assert (found.content, found.family, found.metadata) == (whole.content, whole.family, whole.metadata)
    assert all(np.array_equal(a, b) for a, b in zip(found.levels, whole.levels, strict=True))


VALUES = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.integers(-2, 40), st.floats(width=32), st.floats(-2, 2, width=32), st.booleans()
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(GridLevel._fields), row=st.integers(0, 7), place=st.integers(0, 29), value=VALUES)
def test_mutated_columns_load_as_valid_levels_or_not_at_all(tmp_path: Path, field, row, place, value):
    """A stranger's program writes hashes as well as we do: what loads is valid, what is refused has row and column."""
    levels = many(GRIDS)
    column = getattr(levels, field).copy()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            column.reshape(8, -1)[row, place % max(1, column[0].size)] = value
        except (OverflowError, ValueError):
            return
    if not np.all(np.isfinite(column)):
        with pytest.raises(ValueError, match=f"level.{field} must be finite, got .* in row {row}"):
            dataset.save(tmp_path / "f", levels._replace(**{field: column}), family="gridworld")
        return
    assert dataset.save(tmp_path / "f", levels._replace(**{field: column}), family="gridworld")
    try:
        found = dataset.load(tmp_path / "f", family=GRIDS)
    except ValueError as error:
        assert f"in row {row} the column level." in str(error)
    else:
        assert np.all(jax.jit(jax.vmap(GRIDS.generator.is_valid))(found.levels))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_tables_are_refused(grids: Path, data):
    """Columns dropped, doubled, renamed, retyped, emptied or swapped, with the header of the whole file."""
    table = pq.read_table(grids)
    names = table.column_names
    name = data.draw(st.sampled_from(names))
    place, field = table.column_names.index(name), table.schema.field(name)
    kind = data.draw(st.sampled_from([pa.int8(), pa.float64(), pa.string(), pa.list_(pa.int32()), pa.list_(pa.bool_(), 7)]))
    other = data.draw(st.sampled_from(names))
    changes = {
        "drop": lambda: table.drop_columns([name]),
        "rename": lambda: table.rename_columns([f"{column}x" if column == name else column for column in names]),
        "retype": lambda: table.set_column(place, field.with_type(kind).with_nullable(True), pa.nulls(8, kind)),
        "empty": lambda: table.set_column(place, field.with_nullable(True), pa.nulls(8, field.type)),
        "swap": lambda: table.set_column(place, name, table.column(other)),
        "shorten": lambda: table.slice(0, data.draw(st.integers(0, 7))),
        "reverse": lambda: table.take(list(range(8))[::-1]),
    }
    changed = changes[data.draw(st.sampled_from(sorted(changes)))]()
    path = grids.with_name("table")
    assume(could_write(changed.replace_schema_metadata(table.schema.metadata), path))
    if says(path, table):
        return
    with pytest.raises(ValueError, match=str(path)):
        dataset.load(path)


WAYS = [
    {"row_group_size": 7, "compression": "none"},
    {"use_dictionary": False, "compression": "snappy", "data_page_size": 64},
    {"data_page_version": "2.0", "compression": "zstd", "row_group_size": 100},
    {"write_statistics": False, "write_page_index": True},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_footer_says_what_pyarrow_says(way: dict, tmp_path: Path):
    """Whoever wrote the file: counts of rows, values and bytes."""
    columns = {"a": np.arange(250) % 3, "b": np.arange(1000.0).reshape(250, 4), "c": ["x", "yz"] * 125}
    assert dataset.save(tmp_path / "f", {"a": np.zeros((250, 2), bool)}, columns, family="x")
    pq.write_table(pq.read_table(tmp_path / "f"), tmp_path / "g", **way)
    want = pq.read_metadata(tmp_path / "g")
    found = footer.read(tmp_path / "g")
    assert [group.rows for group in found] == [want.row_group(i).num_rows for i in range(want.num_row_groups)]
    for i, group in enumerate(found):
        theirs = [want.row_group(i).column(j) for j in range(want.num_columns)]
        assert [chunk.values for chunk in group.chunks] == [one.num_values for one in theirs]
        assert [chunk.size for chunk in group.chunks] == [one.total_uncompressed_size for one in theirs]
        assert [chunk.stored for chunk in group.chunks] == [one.total_compressed_size for one in theirs]
    assert dataset.load(tmp_path / "g").columns["c"].tolist() == columns["c"]


def test_no_damaged_footer_ends_the_process(tmp_path: Path):
    """pyarrow aborts over some footers when it is asked for their columns' metadata."""
    assert dataset.save(tmp_path / "f", {"a": np.zeros((2, 2), np.int32)}, {"t": ["a", "b"]}, family="x")
    content, whole = (tmp_path / "f").read_bytes(), dataset.load(tmp_path / "f")
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    refused = 0
    for place in range(start, len(content)):
        for bits in (1, 16):
            changed = bytearray(content)
            changed[place] ^= bits
            assert (tmp_path / "g").write_bytes(bytes(changed)) == len(content)
            try:
                assert dataset.load(tmp_path / "g").content == whole.content
            except ValueError as error:
                refused += str(tmp_path / "g") in str(error)
    assert refused > (len(content) - start) / 2


def test_pages_that_count_more_than_their_column_are_refused(tmp_path: Path):
    """So that a few bytes cannot stand for billions of equal values."""
    assert dataset.save(tmp_path / "f", {"a": np.zeros(1000, np.int32)}, family="x")
    content = (tmp_path / "f").read_bytes()
    count = b"\x15\xd0\x0f"  # the field of a thousand values, in Thrift's compact protocol
    places = [place for place in range(len(content)) if content[place : place + 3] == count]
    assert places
    for place in places:
        changed = bytearray(content)
        changed[place : place + 3] = b"\x15\xfe\x7f"
        assert (tmp_path / "g").write_bytes(bytes(changed)) == len(content)
        with pytest.raises(ValueError, match="is damaged|counts other values"):
            dataset.load(tmp_path / "g")
