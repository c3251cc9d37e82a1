"""Files from strangers cost no more than their size, and numbers out of range are refused at once."""

import atexit
import dataclasses
import json
import os
import re
import sys
import threading
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

import levels
from groove import assembly, cli, config, evaluation, runs
from groove.cli.common import trained_with
from groove.config import QUICK
from groove.curate import Journal
from groove.evaluation import results
from groove.files import curriculumfile, library, rulefile
from groove.protocols.tuned import read_tuned
from groove.report import contests, lineage
from groove.report import levels as pages
from groove.report import page as reports
from levels import dataset, plugins
from levels.base import Generator
from levels.check import check
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
    (suite_result,) = evaluation.suite_results(table)
    assert tracemalloc.get_traced_memory()[1] < 2**23 and suite_result.unfinished == ("a",)
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
    antagonist = dataclasses.replace(settings, curriculum=dataclasses.replace(settings.curriculum, antagonist=str(path)))
    monkeypatch.setattr(jnp, "zeros", lambda *given: made.append(array := zeros(*given)) or array)
    with pytest.raises(ValueError, match="theta has no leaf"):
        assembly.build(antagonist, assembly.Inputs(saved=lambda spec: library.fixed_rule(path, spec)))
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


# What is damaged

NESTED = "[" * 200_000
DOTS = "level" + ".a" * 5000


def test_metadata_that_nest_are_damaged(tmp_path: Path):
    level = {"level": pa.array(np.zeros(1, np.float32))}
    schema = pa.schema([pa.field("level", pa.float32(), False, {"shape": "[]"})], {header.KEY: NESTED})
    pq.write_table(pa.Table.from_arrays(list(level.values()), schema=schema), tmp_path / "f")
    with pytest.raises(ValueError, match="f is no file of levels"):
        dataset.describe(tmp_path / "f")
    written(tmp_path / "g", level, {}, {"generator": NESTED, "rule": NESTED})
    assert curriculumfile.sized(QUICK, dataset.describe(tmp_path / "g").metadata) == QUICK
    assert pages._said(NESTED) == NESTED
    for metadata in ({"config": NESTED}, {"config": "{}"}, {}, {"config": "5"}):
        rulefile.save_rule(tmp_path / "rule.safetensors", {"w": np.zeros(1, np.float32)}, {**metadata, "families": NESTED})
        for read in (library.load_rule, trained_with, lambda path: runs.check_start(path, QUICK)):
            with pytest.raises(ValueError, match="rule.safetensors (needs what is not here|does not say which run)"):
                read(tmp_path / "rule.safetensors")


def test_columns_that_nest_are_refused(tmp_path: Path):
    path = written(tmp_path / "f", {DOTS: pa.array(np.zeros(1, np.float32))}, {})
    with pytest.raises(ValueError, match="f has a column of a level with 5000 dots, more than 32"):
        dataset.load(path)


@pytest.mark.parametrize("line", ["5", "null", '{"step": "7"}', '{"a": 1}', f'{{"step": {"9" * 400}, "a": 1e999}}', NESTED])
def test_a_run_with_damaged_metrics_says_where(tmp_path: Path, line: str):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl is damaged: line 2 .* Remove the line, or the file, to go on"):
        runs.cut_metrics(tmp_path / "metrics.jsonl", 1)


@pytest.mark.parametrize("text", [NESTED, '{"folders": "ab"}', '{"folders": ["..", "a"]}', '{"folders": [1, 2]}', "[]"])
def test_folders_of_runs_are_names(tmp_path: Path, text: str):
    (tmp_path / "runs.json").write_text(text)
    with pytest.raises(ValueError, match="runs.json does not name the folders of runs"):
        runs.folders_of(tmp_path)


@pytest.mark.parametrize("text", [NESTED, "[[1]]", "5", "[]", "{"])
def test_the_plan_of_a_journal_is_an_object(tmp_path: Path, text: str):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match="plan.json is damaged.* to begin anew|seed is None there, 0 here"):
        Journal(tmp_path, {"seed": 0})


@pytest.mark.parametrize(
    "setting", ['{"rate": NaN, "entropy": 0}', '{"rate": 1, "entropy": -1}', '{"rate": 1e999, "entropy": 0}']
)
def test_tuned_settings_are_numbers(tmp_path: Path, setting: str):
    settings = f'{{"a2c": {{"x": {{{setting}}}}}}}'
    about = '"references": {}, "baselines": {"a2c": ""}, "hashes": ["", ""], "search": {}'
    page = f'{{"settings": {settings}, {about}}}'
    for text in (f'{{"chains": {{"small": {page}}}}}', NESTED, '{"chains": {"small": 5}}'):
        (tmp_path / "tuned.json").write_text(text)
        with pytest.raises(ValueError, match="tuned.json is no file of tuned settings"):
            read_tuned(tmp_path / "tuned.json")


def test_a_working_directory_that_is_gone_is_named(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "getcwd", lambda: os.stat("nowhere at all"))
    assert cli.main(["levels", "list"]) == 2
    assert capsys.readouterr().err == "groove: the working directory was deleted; change to another one.\n"


@pytest.mark.parametrize("wild", ["GeneratorExit", "SystemExit", "asyncio.CancelledError", "BaseException"])
def test_plugins_raise_what_they_like(tmp_path: Path, monkeypatch, capsys, wild: str):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"wild_{wild.lower().replace('.', '_')}"
    (tmp_path / f"{name}.py").write_text(f"import asyncio\nraise {wild}('no')\n")
    assert cli.main(["train", "--families", f"{name}:family", "--members", "2"]) == 2
    assert f"plug-in '{name}:family' cannot be imported: {wild.split('.')[-1]}: no" in capsys.readouterr().err
    assert cli.main(["levels", "check", f"{name}:family"]) == 1

    def fails(key):
        raise BaseException("of all")

    assert "BaseException in fails" in check(fails, only=("variety",)).failures[0].reason
    with pytest.raises(plugins.PluginError, match="plug-in 'x' fails: BaseException: of all"):
        plugins.blamed("x", Generator(fails)).sample(None)


def test_threads_of_plugins_do_not_keep_the_process(monkeypatch):
    """Of the command `groove`: whoever calls `main` in a process of their own keeps them."""
    left, stop = [], threading.Event()
    thread = threading.Thread(target=stop.wait)
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(atexit, "_run_exitfuncs", lambda: left.append("atexit"))
    for program, want in (("pytest", []), ("/usr/bin/groove", [])):
        monkeypatch.setattr(sys, "argv", [program])
        assert cli.main(["help"]) == 0 and left == want
    thread.start()
    assert cli.main(["help"]) == 0 and left == ["atexit", 0]
    stop.set()
    thread.join()


def test_of_many_rules_the_best_are_drawn(monkeypatch):
    """Pairs of rules are more than a file has rows."""
    monkeypatch.setattr(contests, "DRAWN", 2)
    rows = [made_up(rule=np.repeat(name, 16), episode_return=np.full(16, value)) for name, value in (("c", 1.0), ("d", 7.0))]
    halves = [table.filter(np.array(made_up()["rule"]) == "a") for table in [made_up(), *rows]]
    (suite_result,) = evaluation.suite_results(pa.concat_tables(halves))
    asked, improvements = [], evaluation.improvements
    monkeypatch.setattr(
        evaluation, "improvements", lambda suite_result: asked.append(suite_result) or improvements(suite_result)
    )
    drawn = contests.pictures(
        suite_result, {entry.rule: evaluation.sums(suite_result, entry) for entry in suite_result.entries}
    )
    assert len(drawn) == 4 and all("Drawn are the best 2 of 3 rules." in picture.caption for picture in drawn)
    assert [entry.rule for entry in asked[0].entries] == ["a", "d"]


@pytest.mark.parametrize("kind", ["F8_E5M2", "F8_E4M3", "F8_E8M0"])
def test_types_of_numbers_that_nobody_has_are_damage(tmp_path: Path, kind: str):
    head = {"__metadata__": {"format": "groove.rule.1"}, "w": {"dtype": kind, "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(head).encode()
    (tmp_path / "rule.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"ab")
    with pytest.raises(ValueError, match="rule.safetensors is damaged or no safetensors file"):
        rulefile.load_rule_file(tmp_path / "rule.safetensors")


def test_files_give_no_orders_to_the_terminal(tmp_path: Path, monkeypatch, capsys):
    """Neither by what is shown of them nor by what is wrong with them."""
    monkeypatch.chdir(tmp_path)
    family = levels.chain.chain(length=(2, 4))
    some = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(jax.random.key(0), 4))
    rows = curriculumfile.fresh(some, lifetime=np.full(4, 4), score=np.arange(4))
    curriculumfile.save(Path("f"), rows, {"rule": "\x1b[2J", "seed": '"\\u009b1m"'}, family=family)
    assert cli.main(["levels", "show", "f", "--first", "1"]) == 0
    curriculumfile.save(Path("g"), rows, {"curriculum": "\x1b]0;evil\x07"}, family=family)
    assert cli.main(["levels", "show", "g"]) == 2
    curriculumfile.save(Path("h"), rows, {}, family=family._replace(name="evil\x1b[2J"))
    assert cli.main(["levels", "show", "h"]) == 2
    Path("run").mkdir()
    Path("run/config.json").write_text('{"config": {"\\u001b[2J": 1}}')
    assert cli.main(["report", "run"]) == 2
    assert cli.main(["levels", "\x1b[2J"]) == 2
    shown = capsys.readouterr()
    assert "\\x1b[2J" in shown.out and all(one.isprintable() or one == "\n" for one in shown.out + shown.err)


@pytest.mark.parametrize("name", ["gymnax:Nobody", "nobodys_module:family"])
def test_a_run_of_what_is_not_here_names_its_file(tmp_path: Path, name: str):
    settings = dataclasses.replace(config.smoke(QUICK), families=(name,), members=(2,))
    config.save(settings, tmp_path / "config.json", {})
    for read in (reports.write, runs.assembled):
        with pytest.raises(ValueError, match=r"config.json: (unknown gymnax environment 'Nobody'|.*cannot be imported)"):
            read(tmp_path, trusted=(name,))
