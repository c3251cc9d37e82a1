"""Files from strangers cost no more than their size, and numbers out of range are refused at once."""

import dataclasses
import json
import re
import time
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import assert_refused
from test_evaluation import made_up

from groove import build, config, evaluation, library, rulefile
from groove.config import QUICK
from groove.evaluation import results
from groove.report import lineage
from levels import dataset
from levels.dataset import header, parquet


def written(path: Path, columns: dict[str, pa.Array], shapes: dict[str, tuple[int, ...]], metadata=None) -> Path:
    """A file of levels as a stranger may write it."""
    fields = [
        pa.field(name, column.type, False, {"shape": json.dumps(shapes.get(name, ()))}) for name, column in columns.items()
    ]
    schema = pa.schema(fields, header.write("x", metadata or {}, "0" * 64))
    pq.write_table(
        pa.Table.from_arrays(list(columns.values()), schema=schema), path, compression="zstd", write_page_checksum=True
    )
    return path


# Memory


def test_columns_of_nothing_are_not_free(tmp_path: Path):
    """Thirty lists without entries in half a million rows are 60 MB of places where nothing begins."""
    empty = pa.ListArray.from_arrays(pa.array(np.zeros(500_001, np.int32)), pa.array([], pa.float32()))
    names = [f"level.a{i}" for i in range(30)]
    path = written(tmp_path / "f", dict.fromkeys(names, empty), dict.fromkeys(names, (0,)))
    assert path.stat().st_size < 200_000
    with pytest.raises(
        ValueError, match="f holds 500000 rows, 114 MiB in all, more than the .* MiB that may be read of a file of"
    ):
        dataset.load(path)
    few = dataset.save(path, {"a": np.zeros((2, 0), np.float32)}, family="x")
    assert dataset.load(path).content == few


def test_text_takes_as_much_as_its_longest_word_in_every_row(tmp_path: Path):
    """A word of a million letters and fifty short ones: as NumPy has them, 200 MB."""
    words, level = pa.array(["x" * 1_000_000, *["y"] * 50]), pa.array(np.zeros(51, np.float32))
    path = written(tmp_path / "f", {"level": level, "text": words}, {})
    assert path.stat().st_size < 10_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="f: the text of the column text takes more than 6. MiB"):
        dataset.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_memory_follows_the_size_of_the_file(tmp_path: Path):
    path = tmp_path / "f"
    for size, most in ((0, 2**26), (1000, 2**26 + 256_000), (2**23, 2**30)):
        assert path.write_bytes(b"x" * size) == size and parquet.most_bytes_of(path) == most


def test_a_cube_of_results_takes_no_more_than_its_rows():
    """Rows that differ in everything span a cube of their fourth power."""
    count = 40
    other = {name: np.arange(count) for name in ("update", "seed", "meta_seed")}
    table = made_up().slice(0, 1).take(pa.array(np.zeros(count, int)))
    changed = {**other, "task": np.array([f"t{i}" for i in range(count)])}
    for name, column in changed.items():
        field = results.SCHEMA.field(name)
        table = table.set_column(results.SCHEMA.get_field_index(name), field, pa.array(column, field.type))
    tracemalloc.start()
    (standing,) = evaluation.standings(table)
    assert tracemalloc.get_traced_memory()[1] < 2**22 and standing.unfinished == ("a",)
    tracemalloc.stop()


def test_text_of_results_is_counted_before_it_is_copied(tmp_path: Path, monkeypatch):
    about = json.dumps({"rule": "x" * 10_000})
    assert results.write(tmp_path / results.NAME, made_up(about=np.repeat(about, 16)))
    assert results.read(tmp_path).num_rows == 16
    monkeypatch.setattr(parquet, "LEAST_BYTES", 100_000)
    monkeypatch.setattr(results, "TIMES", 1)
    with pytest.raises(ValueError, match="its text takes more than the 0 MiB that may be read of such a file"):
        results.read(tmp_path)
    monkeypatch.setattr(parquet, "LEAST_BYTES", 100)
    with pytest.raises(ValueError, match="holds 16 rows, .* more than the 0 MiB that may be read of a file of"):
        results.read(tmp_path)


def test_a_rule_is_compared_before_it_takes_memory(tmp_path: Path, monkeypatch):
    """Of widths that a file claims and has not the shapes are found, but no array is made."""
    metadata = rulefile.load_rule_file(rulefile.locate("shipped/quick"))[1]
    about = json.loads(metadata["config"])
    about["rule"]["width"] = 12_000
    rulefile.save_rule(
        path := tmp_path / "wide.safetensors", {"w": np.zeros(9, np.float32)}, {**metadata, "config": json.dumps(about)}
    )
    settings, zeros, made = config.smoke(QUICK), jnp.zeros, []
    rival = dataclasses.replace(settings, curriculum=dataclasses.replace(settings.curriculum, antagonist=str(path)))
    monkeypatch.setattr(jnp, "zeros", lambda *given: made.append(array := zeros(*given)) or array)
    with pytest.raises(ValueError, match="theta has no leaf"):
        build.build(rival, build.Inputs(saved=lambda spec: library.load_rule(path, spec)))
    large = [array for array in made if array.size > 10_000]
    assert large and all(isinstance(array, jax.core.Tracer) for array in large)


# Time


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_line_of_twenty_thousand_parents_ends(order: slice):
    serial = np.arange(20_000)[order]
    begun = time.perf_counter()
    found = lineage.lineage(serial, serial - 1)
    (tree,) = lineage.trees(found, np.arange(20_000.0)[order])
    assert time.perf_counter() - begun < 5
    assert np.array_equal(found.generation, serial) and not found.family.any()
    assert sorted(found.generation[list(tree.rows)]) == list(range(lineage.NODES)) and tree.size == 20_000


def test_a_circle_of_twenty_thousand_parents_ends():
    serial = np.arange(20_000)
    found = lineage.lineage(serial, (serial - 1) % 20_000)
    assert sorted(found.generation) == list(range(20_000)) and not found.family.any()


# Numbers out of range

LARGE = {
    "a width": (["train", "--rule.width", "99999999999"], "rule.width must be at most 1048576, got 99999999999"),
    "a side": (["train", "--grids.side", "4", "100000"], "grids.side must satisfy 2 <= low <= high <= 256, got (4, 100000)"),
    "arms": (["train", "--bandits.arms", "99999999999"], "bandits.arms must be at most 1048576, got 99999999999"),
    "a count": (["curate", "--count", "99999999999999"], "count must be at most 16777216 tasks, got 99999999999999"),
    "a size": (["curate", "--size", "99999999999999"], "size must be at most 16777216 tasks, got 99999999999999"),
    "an audit": (["curate", "--audit", "--count", "99999999999"], "count must be at most 1048576, got 99999999999"),
    "seeds": (["train", "--seeds", "99999999"], "runs side by side must be at most 1024, got 99999999"),
    "no memory": (["train", "--memory", "nan"], "--memory must be positive and finite"),
    "all memory": (["train", "--memory", "inf"], "--memory must be positive and finite"),
    "levels": (["levels", "check", "chain", "--levels", "99999999999"], "levels and episodes must be at most 1048576"),
    "a seed": (["levels", "check", "chain", "--seed", "99999999999"], "seed must be between 0 and 4294967295"),
}


@pytest.mark.parametrize("name", LARGE)
def test_flags_out_of_range_are_refused_at_once(name: str, tmp_path: Path, monkeypatch, capsys):
    assert_refused(*LARGE[name], tmp_path, monkeypatch, capsys)


PARTS = {field.name: field.type for field in dataclasses.fields(config.Config) if dataclasses.is_dataclass(field.type)}
NUMBERS = [
    (part, field.name, field.type)
    for part, kind in [("", config.Config), *PARTS.items()]
    for field in dataclasses.fields(kind)
    if field.type in (int, float, tuple[int, int], tuple[float, float], tuple[int, ...])
]


@pytest.mark.parametrize(("part", "name", "kind"), NUMBERS, ids=[f"{part}.{name}" for part, name, _ in NUMBERS])
def test_every_number_of_a_configuration_has_an_end(part: str, name: str, kind: type):
    """However large it is, one line names it, from flags as from files."""
    whole = kind in (int, tuple[int, int], tuple[int, ...])
    most = 10**30 if whole else 1e300
    value = (most,) if kind == tuple[int, ...] else (1, most) if kind in (tuple[int, int], tuple[float, float]) else most
    # a custom configuration of all kinds: what has no effect is not asked about
    settings = dataclasses.replace(QUICK, name="custom", families=("gridworld",), members=(4,))
    own = dataclasses.replace(getattr(settings, part), **{name: value}) if part else None
    changed = dataclasses.replace(settings, **({part: own} if part else {name: value}))
    with pytest.raises(ValueError, match=f"{name}.* must .*got .*{re.escape(str(most)[:4])}") as caught:
        config.check(changed)
    assert "\n" not in str(caught.value)
