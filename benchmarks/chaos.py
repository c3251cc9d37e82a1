"""Does a run that is disturbed again and again end as if nothing had happened?

`python -m benchmarks.chaos [DISTURBANCES] [SEED]` makes a small run of `groove train` twice. The first is left alone. The
second is disturbed (20 times by default), in turn by each kind of `KINDS`, at moments drawn from a seed (0 by default), and
goes on with `--resume` each time. Where a tmpfs may be mounted the second lies on a small one, which fills up; elsewhere the
system refuses to let its files grow. Progress goes to stderr. Keys: `disturbances`, how many of each kind; `identical`, what
it consists of, and the `first_difference`; `exit_codes` that disturbances led to; `checkpoints_skipped`, since they were
damaged; `half_written`, left by a run that ended. The exit code is 1 where the two are not identical.
"""

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import jax
import numpy as np

from groove import config, runs
from groove.files import checkpoint

CHUNK = 20
PAUSE = 0.5
"""Most seconds between the last of them and the disturbance: about one chunk and its checkpoint."""
PATIENCE = 600.0
"""Seconds after which a process that does not get on, or does not end, has failed."""
DISK_MEBIBYTES = 64
SMALL = (
    *("--families", "gridworld", "--members", "4", "--grids.side", "4", "5", "--rule.width", "8", "--rule.predictions", "4"),
    *("--life.updates", "10", "20", "--life.environments", "4", "--life.steps", "10", "--curriculum.capacity", "16"),
    *("--chunk", str(CHUNK), "--checkpoint-every", "1"),
)
"""What makes of `quick` a run of many checkpoints; regret and the curriculum stay on."""
FILES = ("rule.safetensors", "evaluation.json", "schedules.json", "curriculum.parquet")
COMMAND = "import sys; from groove.cli import main; sys.exit(main())"

Words: TypeAlias = Callable[[Path], list[str]]
"""The command that begins the run of a folder, or goes on with it."""


class Subject(NamedTuple):
    """A run, and where it lives."""

    folder: Path
    words: Words
    environment: Mapping[str, str]
    log: Path  # what it prints
    chunk: int  # meta-steps
    most_chunks: int = 6  # that are logged before a disturbance comes
    disk: Path | None = None  # the small file system that it lies on, if there is one
    cache: Path | None = None  # its compiled programs, to be thrown away before it is disturbed while it compiles
    compiling: float = 10.0  # seconds from the start to the first metric, without that


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def last_step(folder: Path) -> int:
    """The last meta-step that has been logged, 0 if none has."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().rsplit(b"\n", 2) if path.exists() else []
    return int(json.loads(lines[-2])["step"]) if len(lines) > 1 else 0


def half_written(folder: Path) -> bool:
    """Whether a checkpoint is being written, or was when the run was killed."""
    return any(not path.name.startswith("step_") for path in (folder / "checkpoints").glob("*"))


def start(run: Subject) -> subprocess.Popen[bytes]:
    with run.log.open("ab") as log:
        return subprocess.Popen(
            run.words(run.folder), env={**run.environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def wait_for(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> bool:
    """Waits until something has happened; False if the process ended before."""
    limit = time.monotonic() + PATIENCE
    while process.poll() is None:
        if happened():
            return True
        if time.monotonic() > limit:
            process.kill()
            raise RuntimeError(f"the run did nothing for {PATIENCE:.0f} s.")
        time.sleep(0.005)
    return False


def start_and_wait(run: Subject, chunks: int) -> subprocess.Popen[bytes]:
    """A process that has logged so many chunks more than were logged ever before."""
    wanted = last_step(run.folder) + chunks * run.chunk
    process = start(run)
    if not wait_for(process, lambda: last_step(run.folder) >= wanted):
        said = run.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"the run ended with {process.returncode} before meta-step {wanted}:\n{said}")
    return process


def start_at_random(run: Subject, chance: random.Random) -> subprocess.Popen[bytes]:
    """A process at a random moment of its work."""
    process = start_and_wait(run, chance.randint(1, run.most_chunks))
    time.sleep(chance.uniform(0.0, PAUSE))
    return process


def end(process: subprocess.Popen[bytes], kind: signal.Signals) -> int:
    process.send_signal(kind)
    return process.wait(timeout=PATIENCE)


def kill(run: Subject, chance: random.Random) -> int:
    """Ends it at once."""
    return end(start_at_random(run, chance), signal.SIGKILL)


def terminate(run: Subject, chance: random.Random) -> int:
    """Asks it to end, which it does after its chunk."""
    return end(start_at_random(run, chance), signal.SIGTERM)


def kill_while_compiling(run: Subject, chance: random.Random) -> int:
    """Ends it between its start and its first metric, with nothing compiled beforehand."""
    if run.cache is not None:
        shutil.rmtree(run.cache, ignore_errors=True)
    before, moment = last_step(run.folder), time.monotonic() + chance.uniform(0.0, run.compiling)
    process = start(run)
    if not wait_for(process, lambda: time.monotonic() > moment or last_step(run.folder) > before):
        raise RuntimeError(f"the run ended with {process.returncode} while it compiled.")
    return end(process, signal.SIGKILL)


def kill_while_saving(run: Subject, chance: random.Random) -> int:
    """Ends it while the folder is there in which it writes a checkpoint."""
    shutil.rmtree(run.folder / "checkpoints" / ".unfinished", ignore_errors=True)  # of an earlier kill
    process = start_and_wait(run, chance.randint(1, run.most_chunks))
    if not wait_for(process, lambda: half_written(run.folder)):
        raise RuntimeError(f"the run ended with {process.returncode} before its next checkpoint.")
    time.sleep(chance.uniform(0.0, 0.1))
    return end(process, signal.SIGKILL)


def fill_disk(run: Subject, chance: random.Random) -> int:
    """Leaves no room on its disk, or too little for a checkpoint, until it has ended; then there is room again."""
    process = start_at_random(run, chance)
    if run.disk is None:  # the next metrics do not fit
        most = (run.folder / "metrics.jsonl").stat().st_size + chance.randrange(2000)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        return process.wait(timeout=PATIENCE)
    ballast, left = run.disk / "ballast", chance.randrange(size_of(newest(run.folder)[0]))

    def never() -> bool:  # what the run removes is taken as well
        fill(ballast, left)
        return False

    wait_for(process, never)
    ballast.unlink()
    if process.returncode == 0:
        raise RuntimeError("the run came to its end on a full disk.")
    return process.wait()


def fill(ballast: Path, left: int) -> None:
    """Takes all room on the disk but so many bytes."""
    surplus = shutil.disk_usage(ballast.parent).free - left
    if surplus <= 0:
        return
    with ballast.open("ab", buffering=0) as file:
        try:
            while surplus > 0:
                surplus -= file.write(bytes(min(surplus, 2**16)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def truncate(run: Subject, chance: random.Random) -> int:
    """Kills it, and cuts a file of its newest checkpoint off."""
    code = kill(run, chance)
    path = damaged(run, chance)
    os.truncate(path, chance.randrange(path.stat().st_size))
    return code


def flip(run: Subject, chance: random.Random) -> int:
    """Kills it, and turns one bit of its newest checkpoint."""
    code = kill(run, chance)
    path = damaged(run, chance)
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))
    return code


def damaged(run: Subject, chance: random.Random) -> Path:
    """Which file is damaged: any of the newest checkpoint. There must be another checkpoint to go back to."""
    checkpoints = newest(run.folder)
    if len(checkpoints) < 2:
        raise RuntimeError("a run of one checkpoint has none to go back to.")
    return chance.choice([path for path in sorted(checkpoints[0].rglob("*")) if path.is_file() and path.stat().st_size])


def newest(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted((folder / "checkpoints").glob("step_*"), reverse=True)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


Disturbance: TypeAlias = Callable[[Subject, random.Random], int]
"""Starts a run, disturbs it, and returns the exit code that this led to."""
KINDS: Mapping[str, Disturbance] = MappingProxyType(
    {
        "killed": kill,
        "terminated": terminate,
        "killed while compiling": kill_while_compiling,
        "killed while saving": kill_while_saving,
        "disk full": fill_disk,
        "checkpoint truncated": truncate,
        "checkpoint with a flipped bit": flip,
    }
)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mounts a small tmpfs on a new folder; None where that is not allowed."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEBIBYTES}m", "tmpfs", str(folder)]
    able = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = able and subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def same_states(folder: Path, other: Path) -> bool:
    """Whether the newest checkpoints of two runs hold the same step and, bit for bit, the same arrays."""
    like = jax.eval_shape(runs.assembled(folder).trainer.init, jax.random.key(0))
    (step, state), (other_step, other_state) = (
        checkpoint.restore(one / "checkpoints", like, run=config.identity(runs.open_folder(one))) for one in (folder, other)
    )

    def content(leaf: jax.Array) -> bytes:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()

    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(other_state), strict=True)
    return step == other_step and all(content(a) == content(b) for a, b in pairs)


def first_difference(folder: Path, other: Path) -> str:
    """Where two runs logged something else, but for what depends on the clock; "" if nowhere."""

    def rows(one: Path) -> list[dict[str, float | None]]:
        found = runs.read_metrics(one / "metrics.jsonl")
        return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in found]

    some, others = rows(folder), rows(other)
    for row, other_row in zip(some, others, strict=False):
        if row != other_row:
            names = sorted(name for name in {*row, *other_row} if row.get(name) != other_row.get(name))
            return f"meta-step {row['step']}: {', '.join(names)}"
    return "" if len(some) == len(others) else f"{len(some)} and {len(others)} meta-steps"


def words_of(meta_steps: int) -> Words:
    """`groove train` as a person would start it, and go on with it."""

    def words(folder: Path) -> list[str]:
        begin = ["quick", *SMALL, "--meta-steps", str(meta_steps), "--output", str(folder)]
        if not (folder / "config.json").exists():
            return [sys.executable, "-c", COMMAND, "train", *begin]
        return [sys.executable, "-c", COMMAND, "train", "--resume", str(folder)]

    return words


def finish(run: Subject) -> None:
    """Lets a run come to its end."""
    code = start(run).wait()
    if code != 0:
        raise RuntimeError(f"the run ended with {code}:\n{run.log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def disturb(run: Subject, chance: random.Random, count: int) -> tuple[dict[str, list[int]], int]:
    """Exit codes by kind, and how often a checkpoint was left half-written. Every kind comes before any comes again."""
    codes: dict[str, list[int]] = {kind: [] for kind in KINDS}
    halves = 0
    kinds: list[str] = []
    for number in range(count):
        kinds = kinds or chance.sample(list(KINDS), len(KINDS))
        kind = kinds.pop()
        code = KINDS[kind](run, chance)
        codes[kind].append(code)
        half = half_written(run.folder)
        halves += half
        where = f"at meta-step {last_step(run.folder)}, exit code {code}" + (", a checkpoint half-written" if half else "")
        say(f"{number + 1}/{count} {kind}: {where}")
    return codes, halves


def leave_alone(run: Subject) -> float:
    """A run from its start to its end; seconds to its first metric, compilation included."""
    begun = time.monotonic()
    process = start_and_wait(run, 1)
    seconds = time.monotonic() - begun
    if process.wait() != 0:
        raise RuntimeError(f"the undisturbed run ended with {process.returncode}.")
    return seconds


def compare(folder: Path, other: Path) -> dict[str, bool | str]:
    """What two finished runs have in common."""
    difference, states = first_difference(folder, other), same_states(folder, other)
    files = all((folder / name).read_bytes() == (other / name).read_bytes() for name in FILES)
    same = {"metrics_identical": not difference, "state_identical": states, "files_identical": files}
    return {"identical": all(same.values()), **same, "first_difference": difference}


def main(count: int, seed: int) -> int:
    begun, chance, meta_steps = time.monotonic(), random.Random(seed), CHUNK * 10 * (count + 1)
    with tempfile.TemporaryDirectory() as place, small_disk(Path(place) / "disk") as disk:
        base = Path(place)
        cache = base / "cache"
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
        whole = Subject(base / "undisturbed" / "run", words_of(meta_steps), environment, base / "undisturbed.log", CHUNK)
        say(f"undisturbed: {meta_steps} meta-steps")
        compiling = leave_alone(whole)
        run = whole._replace(folder=base / "disk" / "run", log=base / "disturbed.log")
        codes, halves = disturb(run._replace(disk=disk, cache=cache, compiling=compiling), chance, count)
        say("going on to the end")
        finish(run)
        found = compare(run.folder, whole.folder)
        skipped = run.log.read_text(encoding="utf-8", errors="replace").count("Skipped the checkpoint")
    page = {
        "disturbances": {kind: len(ends) for kind, ends in codes.items()},
        **found,
        "exit_codes": codes,
        "checkpoints_skipped": skipped,
        "half_written": halves,
        "disk": f"tmpfs of {DISK_MEBIBYTES} MiB" if disk else "limit on the size of a file",
        "meta_steps": meta_steps,
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
    }
    print(json.dumps(page))
    return 0 if found["identical"] else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
