"""Where a run finds itself: a folder that is taken, a clock that jumps, no home, no terminal, a narrow one."""

import dataclasses
import io
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from groove import cli, config, evaluation, lifetime, runs
from groove.cli import train
from groove.cli.common import SHORTEST, cache
from groove.files.writing import user_cache
from groove.parallel import processes
from groove.report import terminal
from groove.runs import folder as folders
from groove.runs import latents, process, training
from levels.check import check

ROOT = Path(__file__).parents[1]
SMALL = dataclasses.replace(config.smoke(config.QUICK), families=("bernoulli-bandit",), members=(2,), meta_steps=6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of three chunks, each with a checkpoint, and what it leaves of a curriculum."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    runs.create(SMALL, folder)
    result = runs.train(folder, lambda rows: None)
    assert result.finished and runs.save_curriculum(result)
    return folder


def rows(folder: Path) -> list[dict]:
    """The metrics, without what depends on the clock."""
    found = runs.read_metrics(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in found]


def test_a_second_run_of_a_folder_refuses_and_leaves_the_first_alone(tmp_path, capsys):
    """Also where the first has learned nothing yet, and a folder that nothing was learned in would be removed."""
    folder = tmp_path / "run"
    runs.create(SMALL, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
    with runs.owned(folder):
        assert cli.main(["train", "--resume", str(folder)]) == 2
        with pytest.raises(runs.InUse), runs.unless_unused(folder), runs.owned(folder):
            pass
    error = capsys.readouterr().err
    assert "is being run by another process" in error and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} == before
    assert cli.main(["train", "--output", str(folder)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_folders_are_held_until_the_reports_are_written(tmp_path, monkeypatch):
    runs.create_together(SMALL, tmp_path / "two", 2)
    folders = runs.folders_of(tmp_path / "two")
    refused = []

    def finish(result, *, named: bool) -> None:
        for folder in (tmp_path / "two", *folders):
            with pytest.raises(runs.InUse), runs.owned(folder):
                pass
            refused.append(folder)

    results = [runs.Result(runs.assembled(folder), folder, None, True) for folder in folders]
    monkeypatch.setattr(train, "_train", lambda *_: results)
    monkeypatch.setattr(train, "_finish", finish)
    assert cli.main(["train", "--resume", str(tmp_path / "two")]) == 0
    assert len(refused) == 6
    with runs.owned(tmp_path / "two"):
        pass


def test_a_run_that_cannot_go_on_yet_is_kept(tmp_path, monkeypatch, capsys):
    """It had only begun when it was killed, and then the disk was full."""
    runs.create(SMALL, tmp_path / "run")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 0})())
    assert cli.main(["train", "--resume", str(tmp_path / "run")]) == 1
    assert "of disk for checkpoints" in capsys.readouterr().err
    assert runs.open_folder(tmp_path / "run") == SMALL


def test_a_clock_that_runs_backwards_changes_nothing(trained, tmp_path, monkeypatch):
    """Checkpoints that seem to come from the future, the oldest from the farthest; the run goes on from the last step."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    shutil.rmtree(folder / "checkpoints" / "step_00000006")
    for age, path in enumerate(sorted((folder / "checkpoints").iterdir())):
        for one in (path, *path.rglob("*")):
            os.utime(one, (2**32 - age * 2**20,) * 2)
    ticks = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1e9 - 3600.0 * next(ticks))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))
    said: list[str] = []
    assert runs.train(folder, lambda rows: None, announce=said.append).finished
    assert f"resuming {folder} at meta-step 4 of 6" in said
    assert rows(folder) == rows(trained)
    assert all(row.get("chunk_seconds", 0.0) >= 0 for row in runs.read_metrics(folder / "metrics.jsonl"))


HOMES = {
    "home below a file": {"HOME": "/dev/null/home"},
    "cache below a file": {"XDG_CACHE_HOME": "/dev/null/cache"},
}


@pytest.mark.parametrize("case", HOMES)
def test_without_a_cache_folder_there_is_no_cache(case, monkeypatch):
    for name in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in HOMES[case].items():
        monkeypatch.setenv(name, value)
    before = jax.config.jax_compilation_cache_dir
    cache()
    assert jax.config.jax_compilation_cache_dir == before
    assert latents._folder().name == "groove-latent"


@pytest.mark.parametrize(("said", "want"), [(None, SHORTEST), ("5", 0.3)])
def test_short_compilations_are_kept_unless_the_user_says_otherwise(said, want, monkeypatch):
    name, before = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.delenv(name, raising=False)
    if said:
        monkeypatch.setenv(name, said)
    try:
        jax.config.update(name.lower(), 0.3)
        cache()
        assert jax.config.jax_persistent_cache_min_compile_time_secs == want
    finally:
        jax.config.update(name.lower(), before)


def test_folders_that_cannot_be_written_and_users_without_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache("jax") == tmp_path / "groove" / "jax"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert user_cache("jax") is None

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert user_cache("jax") is None


def test_a_log_of_ascii_without_home_or_terminal(trained, tmp_path):
    """A whole process as CI starts it, that draws pictures; nothing in its output is for a terminal, nor an error."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    mine = ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR", "MPLCONFIGDIR", "NO_COLOR")
    kept = {name: value for name, value in os.environ.items() if name not in mine}
    about = {"HOME": "/dev/null/home", "CI": "true", "FORCE_COLOR": "1", "COLUMNS": "40", "PYTHONIOENCODING": "ascii"}
    found = subprocess.run(
        [sys.executable, "-c", "import sys; from groove.cli import main; sys.exit(main())", "report", str(folder)],
        env=kept | about | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert b"\x1b" not in found.stdout + found.stderr and b"Traceback" not in found.stderr
    assert (folder / "report.html").is_file()


def test_output_that_cannot_show_every_character_shows_the_others(trained, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii", write_through=True))
    file = str(trained / "curriculum.parquet")
    assert cli.main(["levels", "diff", file, file]) == 0
    assert b"feature" in shown.getvalue() and b"?" in shown.getvalue()


def test_closed_output_and_input(monkeypatch):
    """As of a service: Python has None in the place of its streams."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert cli.main(["levels", "list"]) == 0
    assert cli.main(["train", "quik"]) == 2
    with pytest.raises(ValueError, match="nobody is at the terminal"):
        terminal.ask("Start?")


def test_a_run_says_where_random_numbers_are_drawn_otherwise(tmp_path, monkeypatch):
    """Seeds mean other levels then."""
    assert runs.versions()[folders.RANDOM] == "threefry2x32"
    runs.create(SMALL, tmp_path / "run")
    assert folders.versions_of(tmp_path / "run")[folders.RANDOM] == "threefry2x32"
    other = {"jax_default_prng_impl": "rbg", "jax_threefry_partitionable": False, "jax_random_seed_offset": 7}
    before = {name: jax.config.values[name] for name in other}
    said: list[str] = []
    try:
        for name, value in other.items():
            jax.config.update(name, value)
        training._announce_changes(tmp_path / "run", SMALL, said.append)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    now = "rbg, not partitionable, seeds plus 7"
    assert said == [f"not as when the run began, so numbers may differ: JAX's random numbers threefry2x32 -> {now}"]


def test_systems_that_lack_something_go_on(tmp_path, monkeypatch):
    """macOS does not count a process's cores; Windows has another lock; Python for the web has none."""
    assert processes.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processes.cores() == os.cpu_count()
    assert process._module("no_module_of_any_system") is None
    monkeypatch.setattr(process, "fcntl", None)
    with runs.owned(tmp_path):
        pass
    locked = []

    def locking(number: int, how: int, size: int) -> None:
        if locked:
            raise PermissionError("held")
        locked.append((how, size))

    monkeypatch.setattr(process, "msvcrt", type("msvcrt", (), {"LK_NBLCK": 2, "locking": staticmethod(locking)}))
    with runs.owned(tmp_path), pytest.raises(runs.InUse, match="is being run by another process"), runs.owned(tmp_path):
        pass
    assert locked == [(2, 1)]


def test_commands_compute_with_32_bits(monkeypatch, capsys):
    """Whatever JAX_ENABLE_X64 says; in Python who asks for 64 is refused."""
    found = []
    monkeypatch.setattr(cli.levels, "run", lambda words: found.append(jax.config.jax_enable_x64) or 0)
    jax.config.update("jax_enable_x64", True)
    try:
        assert cli.main(["levels", "list"]) == 0 and found == [False] and jax.config.jax_enable_x64
        for build in (
            lambda: config.check(SMALL),
            lambda: lifetime.lifetime(None, None),
            lambda: evaluation.check(evaluation.Plan("chains", "small", (), None)),
            lambda: check(lambda key: key),
        ):
            with pytest.raises(ValueError, match="unset JAX_ENABLE_X64"):
                build()
    finally:
        jax.config.update("jax_enable_x64", False)
