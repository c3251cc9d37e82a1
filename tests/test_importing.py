"""Curricula that come from elsewhere: mazes as text, and files that another program has filtered."""

from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import assert_refused
from jaxued.environments.maze.level import prefabs

from groove import cli, runs
from groove.cli import train
from groove.cli.common import read
from groove.files import curriculumfile, sealing
from levels import dataset, gridworld, mazes
from levels.adapters.jaxued import level_of, named_mazes

TWO = "#####\n#>.G#\n#####\n\n\ufeffv.X\n...\n\nX goal\nlimit 9\n"


def test_jaxueds_mazes_are_read_as_jaxued_reads_them():
    for name, theirs in named_mazes().items():
        (maze,) = mazes.from_text(prefabs[name])
        mine = level_of(maze)
        assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True)), name


def test_minigrids_print_is_read():
    """Two letters a cell, an empty one two spaces."""
    (maze,) = mazes.from_text("WGWGWGWG\nWGVV  WG\nWG  GGWG\nWGWGWGWG\n")
    assert (maze.start, maze.direction, maze.goal, maze.limit) == ((1, 1), 1, (2, 2), None)
    assert maze.walls.tolist() == [[True] * 4, [True, False, False, True], [True, False, False, True], [True] * 4]


def test_a_maze_is_a_grid_whose_goal_pays_and_ends():
    maze = mazes.from_text(TWO.replace("\ufeff", ""))[1]
    level = mazes.to_grid(maze, height=3, width=5)
    assert gridworld.to_text(level) == "@.A\n...\n\nA  reward 1.0  terminate 1.0  respawn 0.0\nlimit 9"
    assert level.walls.shape == (3, 5)


@pytest.mark.parametrize(("text", "message"), [
    ("", "the text holds no maze"),
    ("#>G\n#?G", "line 2: unknown symbols .'.'.; known are '#', '.'"),
    ("#>G\n#", "line 2: rows must be of one length, 3 cells, got '#'"),
    ("#>.", "line 1: a maze must have one start and one goal, got 1 and 0"),
    ("G>.\n\n>G>", "line 3: a maze must have one start and one goal, got 2 and 1"),
    ("G>\nlimit 0", "line 2: the limit must be 1 to "),
    ("WGWGKY\nWG>>GG", "line 1: unknown symbols .'KY'."),
])  # fmt: skip
def test_what_is_no_maze_is_named_by_its_line(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        mazes.from_text(text)


def begin_a_run(curriculum: Path, folder: Path) -> None:
    """What the command's last line does before it compiles: every check, the tasks and their sizes among them."""
    _, settings, _ = train._parse(read(["quick", "--curriculum", str(curriculum)]))
    runs.create(settings, folder)
    assert settings.life.updates in ((7, 7), (100, 100)) and settings.curriculum.kind == "frozen"


def test_mazes_become_a_curriculum(tmp_path: Path, capsys):
    (tmp_path / "a.txt").write_text(TWO.replace("\ufeff", ""), encoding="utf-8")
    (tmp_path / "b.txt").write_text("@G", encoding="utf-8-sig")
    words = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), "--output", str(tmp_path / "three.parquet")]
    assert cli.main(["levels", "import", *words, "--lifetime", "7", "--limit", "30"]) == 0
    family, stored = curriculumfile.opened(tmp_path / "three.parquet")
    assert family.name == "gridworld" and stored.rows.level.walls.shape == (3, 5, 5)
    assert stored.rows.lifetime.tolist() == [7] * 3 and stored.rows.level.limit.tolist() == [9, 9, 30]
    assert "@.A" in stored.columns["text"][1] and "groove train quick --curriculum" in capsys.readouterr().out
    assert cli.main(["levels", "show", str(tmp_path / "three.parquet")]) == 0
    begin_a_run(tmp_path / "three.parquet", tmp_path / "grids")
    assert cli.main(["levels", "import", *words, "--family", "jaxued:Maze"]) == 0
    begin_a_run(tmp_path / "three.parquet", tmp_path / "mazes")
    family, stored = curriculumfile.opened(tmp_path / "three.parquet")
    assert family.name == "jaxued:Maze" and stored.rows.level.wall_map.shape == (3, 13, 13)


def test_what_cannot_be_imported_is_refused(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()

    def refused(content: bytes | None, message: str, *more: str) -> None:
        path = tmp_path / "a.txt"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        assert_refused(["levels", "import", str(path), *more], message, tmp_path / "here", monkeypatch, capsys)

    refused(b"\xff\xfe#", "a.txt is no text in UTF-8")
    refused(None, "a.txt is not a file")
    refused(b"@G", "unknown family 'chain'", "--family", "chain")
    refused(b"@G", "--lifetime must be 1 to ", "--lifetime", "0")
    refused(b"@" + b"." * 300 + b"G", "at most 256 x 256 cells, got 302 x 302")
    refused(b"@" + b"." * 20 + b"G", "must hold the maze of 1 x 22 cells", "--family", "jaxued:Maze")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """Eight grids, the third an edit of the first."""
    family = gridworld.gridworld(height=3, width=4, objects=2)
    grids = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(jax.random.key(0), 8))
    rows = curriculumfile.fresh(grids, lifetime=np.arange(1, 9), score=np.linspace(0, 1, 8))
    rows.parent[2] = 0
    curriculumfile.save(tmp_path / "original.parquet", rows, {"seed": "3"}, family=family, drawings=True)
    return tmp_path / "original.parquet"


def filtered(original: Path, path: Path, rows: list[int]) -> pa.Table:
    """Rows of it as other programs write them: no metadata, lists of any size, wider numbers, columns in another order."""
    whole = pq.read_table(original)
    table = whole.take(rows).select(sorted(whole.column_names))
    wide = {pa.int32(): pa.int64(), pa.float32(): pa.float64(), pa.string(): pa.large_string()}
    for place, field in enumerate(table.schema):
        kind = field.type
        kind = (
            pa.large_list(wide.get(kind.value_type, kind.value_type))
            if pa.types.is_fixed_size_list(kind)
            else wide.get(kind, kind)
        )
        table = table.set_column(place, pa.field(field.name, kind), table.column(place).cast(kind))
    table = table.append_column("mine", pc.multiply(table["score"], 2))
    pq.write_table(table.replace_schema_metadata(None), path, compression="snappy")
    return table


def test_a_filtered_curriculum_is_taken_back(original: Path, tmp_path: Path, capsys):
    filtered(original, tmp_path / "few.parquet", [4, 2, 0])
    with pytest.raises(ValueError, match="is no file of levels"):
        curriculumfile.opened(tmp_path / "few.parquet")
    words = ["levels", "seal", str(tmp_path / "few.parquet"), "--original", str(original)]
    assert cli.main([*words, "--output", str(tmp_path / "sealed.parquet")]) == 0
    assert "3 tasks" in capsys.readouterr().out
    before, after = curriculumfile.opened(original)[1], curriculumfile.opened(tmp_path / "sealed.parquet")[1]
    for old, new in zip(jax.tree.leaves(before.rows), jax.tree.leaves(after.rows), strict=True):
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old[[4, 2, 0]], new)
    assert after.columns["parent_row"].tolist() == [-1, 2, -1] and after.metadata["seed"] == "3"
    np.testing.assert_array_equal(after.columns["mine"], 2 * after.rows.score)
    assert after.metadata["sealed_from"] == before.content


def test_what_pandas_has_filtered_is_taken_back(original: Path, tmp_path: Path):
    """Which numbers the rows that it keeps, in a column of its own; what was NaN may be NaN."""
    pandas = pytest.importorskip("pandas")
    family, stored = curriculumfile.opened(original)
    extra = {**stored.columns, "learner_error": np.full(8, np.nan, np.float32)}
    dataset.save(original, stored.rows.level, extra, stored.metadata, family=family.name)
    frame = pandas.read_parquet(original)
    frame[frame.score > 0.5].sort_values("score", ascending=False).to_parquet(tmp_path / "few.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "few.parquet").names
    assert sealing.seal(tmp_path / "few.parquet", original, tmp_path / "sealed.parquet") == 4
    found = curriculumfile.opened(tmp_path / "sealed.parquet")[1]
    assert found.rows.lifetime.tolist() == [8, 7, 6, 5] and set(found.columns) == set(extra)
    assert np.isnan(found.columns["learner_error"]).all()


def test_what_is_not_of_the_original_is_refused(original: Path, tmp_path: Path):
    path, output = tmp_path / "few.parquet", tmp_path / "sealed.parquet"
    table = filtered(original, path, [0, 1])

    def refused(name: str, values: list | None, message: str) -> None:
        place = table.column_names.index(name)
        changed = table.drop([name]) if values is None else table.set_column(place, name, pa.array(values))
        pq.write_table(changed, path)
        with pytest.raises(ValueError, match=message):
            sealing.seal(path, original, output)
        assert not output.exists()

    refused("level.start", None, "lacks the column level.start")
    refused("level.start", [0.5, 1.0], "the column level.start must hold values of int32")
    refused("level.start", [99, 99], "few.parquet: in row 0 the column level.start")
    refused("level.walls", [[True], [False]], "the column level.walls must hold values of bool.3, 4.")
    refused("score", [None, 1.0], "the column score must be finite, got nan in row 0")
    refused("serial", [None, 1], "the column serial has rows without a value")
    path.write_bytes(b"PAR1 no PAR1")
    with pytest.raises(ValueError, match="is damaged or no Parquet file"):
        sealing.seal(path, original, output)
