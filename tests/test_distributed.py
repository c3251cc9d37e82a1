"""Two real processes make one run on the loopback: its numbers, a death of one of them, and going on with another number."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from test_devices import metrics, settings

from groove import runs
from groove.parallel import processes

STEPS = 40
PATIENCE = 120.0


def run(folder: Path) -> None:
    """What each process does, once it has joined the others: the run of a folder, or the rest of it."""
    made = dataclasses.replace(settings("evolution"), meta_steps=STEPS, checkpoint_every=1)
    if not (folder / "config.json").exists():
        processes.by_first(lambda: runs.create(made, folder))
    assert runs.train(folder, lambda rows: None).finished
    processes.leave()


def started(folder: Path, count: int, process: int, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, str(folder), str(count), str(process), str(port)]
    flags = os.environ.get("XLA_FLAGS", "")
    return subprocess.Popen(
        command, env={**os.environ, "XLA_FLAGS": flags}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def together(folder: Path, count: int) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [started(folder, count, i, port) for i in range(count)]


def completed(folder: Path, count: int) -> None:
    for one in together(folder, count):
        output, _ = one.communicate(timeout=600)
        assert one.returncode == 0, output[-3000:]


def killed(folder: Path, count: int, victim: int) -> list[tuple[int, str, float]]:
    """Kills one process once there is a checkpoint: (exit code, output, seconds after the kill) of the others."""
    every = together(folder, count)
    limit = time.monotonic() + 300
    while not any((folder / "checkpoints").glob("step_*")):
        assert time.monotonic() < limit and all(one.poll() is None for one in every)
        time.sleep(0.05)
    every[victim].send_signal(signal.SIGKILL)
    begun, found = time.monotonic(), []
    for i, one in enumerate(every):
        output, _ = one.communicate(timeout=PATIENCE)
        if i != victim:
            found.append((one.returncode, output, time.monotonic() - begun))
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    completed(folder, 1)
    return metrics(folder)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_dies_the_other_ends_with_an_error_and_the_run_goes_on_alone(undisturbed, tmp_path, victim):
    folder = tmp_path / "run"
    ((code, output, seconds),) = killed(folder, 2, victim)
    assert code != 0 and seconds < processes.HEARTBEAT + 30
    assert "another one of the run failed" in output or "another task died" in output, output[-3000:]
    assert len(metrics(folder)) < STEPS
    completed(folder, 1)
    assert metrics(folder) == undisturbed


@pytest.mark.slow
def test_a_run_begun_alone_goes_on_with_two(undisturbed, tmp_path):
    folder = tmp_path / "run"
    assert killed(folder, 1, 0) == []
    assert 0 < len(metrics(folder)) < STEPS
    completed(folder, 2)
    assert metrics(folder) == undisturbed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("127.0.0.1:1", 2, -1), "belong together"),
        (("", 2, 0), "belong together"),
        (("127.0.0.1:1", 2, 2), "--process must be below --processes, 2, got 2"),
    ],
)
def test_processes_that_cannot_be_found_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        processes.join(*arguments)


def test_where_there_is_no_cluster_it_must_be_named():
    """In a process of its own: JAX looks for others only before it computes anything."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI", "KUBERNETES", "TPU"))
    }
    command = [sys.executable, "-c", "from groove.parallel import processes; processes.join()"]
    found = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=300)
    assert found.returncode != 0 and "ValueError: --distributed found no cluster that it knows" in found.stderr


def test_alone_there_is_nobody_to_wait_for():
    done: list[int] = []
    processes.by_first(lambda: done.append(1))
    processes.leave()
    processes.abandon(1)
    assert done == [1] and processes.alone() and processes.first()
    assert processes.any_of(True) and not processes.any_of(False)


def test_errors_are_those_of_lost_processes_only_where_there_are_others(monkeypatch):
    error = jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed")
    with pytest.raises(jax.errors.JaxRuntimeError), processes.together():
        raise error
    monkeypatch.setattr(processes, "alone", lambda: False)
    with pytest.raises(processes.Lost, match="was killed or cannot be reached.*Gloo"), processes.together():
        raise error
    with pytest.raises(ValueError, match="capacity"), processes.together():
        raise ValueError("capacity must be positive, got 0.")


if __name__ == "__main__":
    if int(sys.argv[2]) > 1:
        processes.join(f"127.0.0.1:{sys.argv[4]}", int(sys.argv[2]), int(sys.argv[3]))
    try:
        run(Path(sys.argv[1]))
    except (RuntimeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        processes.abandon(1)
        raise
