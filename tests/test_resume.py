"""Real processes, really killed: a resumed run ends bit for bit like one that was never stopped."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks import chaos
from groove import config, runs
from groove.files import rulefile

ROOT = Path(__file__).parents[1]
SETTINGS = """
import dataclasses
import sys
from groove import config
from groove import runs
small = config.smoke(config.preset(sys.argv[2]))
settings = dataclasses.replace(small, families=("gridworld",), members=(2,), meta_steps=80, chunk=2, checkpoint_every=1)
"""
STEPS = 80
TRAIN = (
    SETTINGS
    + """
from pathlib import Path
folder = Path(sys.argv[1])
if not (folder / "config.json").exists():
    runs.create(settings, folder)
result = runs.train(folder, lambda rows: None)
if result.finished:
    path = runs.save_rule(result)
sys.exit(0 if result.finished else 130)
"""
)


def users() -> dict[str, str]:
    """An environment with the threads and compiler flags of users, not those of the tests."""
    ours = ("XLA_FLAGS", "NPROC", "OMP_NUM_THREADS")
    return {name: value for name, value in os.environ.items() if name not in ours} | {"PYTHONPATH": str(ROOT)}


def command(folder: Path, preset: str = "quick") -> list[str]:
    return [sys.executable, "-c", TRAIN, str(folder), preset]


def start(folder: Path, preset: str = "quick") -> subprocess.Popen:
    return subprocess.Popen(command(folder, preset), cwd=ROOT, env=users())


def rows(folder: Path) -> list[dict]:
    """The metrics, without what depends on the clock."""
    found = runs.read_metrics(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in found]


def wait_for(process: subprocess.Popen, happened) -> bool:
    """Waits until something has happened; False if the process ended before."""
    while process.poll() is None:
        if happened():
            return True
        time.sleep(0.002)
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert start(folder).wait(timeout=600) == 0
    return folder


def equal(folder: Path, other: Path) -> bool:
    assert rows(folder) == rows(other)
    (flat, about), (other_flat, other_about) = (
        rulefile.load_rule_file(path / "rule.safetensors") for path in (folder, other)
    )
    assert about == other_about and list(flat) == list(other_flat)
    return all(np.array_equal(flat[name], other_flat[name]) for name in flat)


MOMENTS = {
    "before the first step": lambda folder: (folder / "config.json").exists(),
    "after some steps": lambda folder: len(runs.read_metrics(folder / "metrics.jsonl")) >= 4,
    "while a checkpoint is written": lambda folder: (
        len(runs.read_metrics(folder / "metrics.jsonl")) >= 8
        and any(path for path in (folder / "checkpoints").glob("*") if not path.name.startswith("step_"))
    ),
    "late": lambda folder: len(runs.read_metrics(folder / "metrics.jsonl")) >= 18,
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_as_if_it_had_not_been(moment, undisturbed, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    assert wait_for(process, lambda: MOMENTS[moment](folder)), "the moment never came"
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert len(rows(folder)) < STEPS
    assert start(folder).wait(timeout=600) == 0
    assert equal(folder, undisturbed)


@pytest.mark.slow
def test_a_killed_run_by_evolution_ends_as_if_it_had_not_been(tmp_path):
    """The strategy's mean and Adam's moments, the curriculum and every key survive."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert start(whole, "ta-lpg-small").wait(timeout=600) == 0
    process = start(folder, "ta-lpg-small")
    assert wait_for(process, lambda: len(runs.read_metrics(folder / "metrics.jsonl")) >= 8), "the moment never came"
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert 8 <= len(rows(folder)) < STEPS
    assert start(folder, "ta-lpg-small").wait(timeout=600) == 0
    assert len(rows(whole)) == STEPS and rows(whole)[-1]["theta_step"] > 0
    assert equal(folder, whole)


@pytest.mark.slow
def test_ctrl_c_saves_and_a_damaged_checkpoint_is_skipped(undisturbed, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    assert wait_for(process, lambda: len(runs.read_metrics(folder / "metrics.jsonl")) >= 8)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    checkpoints = sorted((folder / "checkpoints").glob("step_*"))
    assert len(rows(folder)) == int(checkpoints[-1].name.removeprefix("step_"))
    victim = max((path for path in checkpoints[-1].rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-7])
    assert start(folder).wait(timeout=600) == 0
    assert equal(folder, undisturbed)


@pytest.mark.slow
def test_signals_full_disks_and_flipped_bits_change_nothing(undisturbed, tmp_path):
    """The short form of `python -m benchmarks.chaos`: one run, in turn disturbed in ways that no test above has."""
    with chaos.small_disk(tmp_path / "disk") as disk:
        folder, log = tmp_path / "disk" / "run", tmp_path / "log"
        run = chaos.Subject(folder, command, users(), log, chunk=2, most_chunks=3, disk=disk)
        chance = random.Random(0)
        assert chaos.terminate(run, chance) == 130
        assert chaos.fill_disk(run, chance) not in (0, 130)
        assert chaos.flip(run, chance) == -signal.SIGKILL
        assert len(rows(folder)) < STEPS
        chaos.finish(run)
        assert "Skipped the checkpoint" in log.read_text()
        assert equal(folder, undisturbed) and chaos.same_states(folder, undisturbed)


def test_a_run_goes_on_only_in_its_own_folder(tmp_path):
    with pytest.raises(ValueError, match="is not a run folder"):
        runs.open_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"config": {"name": "old"}}))
    with pytest.raises(ValueError, match="not a configuration of this version"):
        runs.open_folder(tmp_path)
    with pytest.raises(ValueError, match="exists already"):
        runs.create(config.QUICK, tmp_path)


def test_two_processes_cannot_share_a_folder(tmp_path):
    with runs.owned(tmp_path), pytest.raises(ValueError, match="being run by another process"), runs.owned(tmp_path):
        pass


def test_of_starts_at_once_on_one_folder_one_makes_it(tmp_path):
    """Also where a killed start has left something."""
    settings = config.smoke(config.QUICK)
    for left in (False, True):
        folder, gate = tmp_path / f"run-{left}", threading.Barrier(6)
        if left:
            folder.mkdir()
            for name in (".unmade", "start.safetensors"):
                (folder / name).touch()

        def start(number, folder=folder, gate=gate):
            gate.wait()
            try:
                runs.create(dataclasses.replace(settings, seed=number), folder)
            except ValueError as error:
                return str(error)
            return number

        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(start, range(6)))
        (winner,) = [one for one in found if isinstance(one, int)]
        assert all("exists already" in one or "by another process" in one for one in found if one != winner)
        assert runs.open_folder(folder).seed == winner
        assert {path.name for path in folder.iterdir()} == {"config.json", ".lock"}


def test_a_folder_that_is_being_made_is_left_alone(tmp_path):
    (tmp_path / ".unmade").touch()
    with runs.locked(tmp_path), pytest.raises(ValueError, match="by another process"):
        runs.create(config.QUICK, tmp_path)
    assert (tmp_path / ".unmade").exists()


def test_somebody_elses_folder_gets_no_file(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="exists already"):
        runs.create(config.QUICK, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_metrics_are_cut_back_to_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    runs.append_metrics(path, [{"step": i, "x": i / 3} for i in range(1, 6)])
    with path.open("a") as file:
        assert file.write('{"step": 6, "x"') > 0
    runs.cut_metrics(path, 3)
    assert runs.read_metrics(path) == [{"step": i, "x": i / 3} for i in range(1, 4)]
