"""Puts faults into the source, one line at a time, and asks the tests whether they notice.

    python tests/faults.py [WORD ...] [--jobs 2] [--list FILE]

`faults.toml` beside this file lists faults: a file, a piece of it that occurs once, what stands there instead, and the tests
that should notice. Each is put into a scratch copy of the source, which those fast tests then meet; whoever passes them
survives. With words, only faults whose number, group, file or texts hold one of them. No test, and no part of CI.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

HOME = Path(__file__).resolve().parents[1]
SOURCE = ("groove", "levels", "tests", "benchmarks", "pyproject.toml", "README.md")
LIMIT = 900
"""Seconds after which tests that do not end count as having noticed."""


class Fault(NamedTuple):
    """One fault."""

    number: int  # in the list, from 1
    group: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.number:3} {self.group:10} {self.file}: {first_line(self.old)}  ->  {first_line(self.new)}"


def first_line(text: str) -> str:
    """Of several lines the first."""
    line, *more = text.strip().splitlines() or [""]
    return f"{line} ..." if more else line


def read(path: Path) -> list[Fault]:
    """The faults of a list, each with a piece that its file has exactly once."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
    found = [Fault(number, **{**row, "tests": tuple(row["tests"])}) for number, row in enumerate(rows, 1)]
    for fault in found:
        times = (HOME / fault.file).read_text(encoding="utf-8").count(fault.old)
        if times != 1:
            raise SystemExit(f"{fault}\nmust occur once in the file, occurs {times} times.")
    return found


def survives(fault: Fault, scratch: Path) -> bool:
    """Whether the tests that should notice a fault pass with it in place; the scratch copy is as before afterwards."""
    path = scratch / fault.file
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace(fault.old, fault.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow"]
    command += fault.tests
    environment = {**os.environ, "PYTHONPATH": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(right, encoding="utf-8")
    if run.returncode not in (0, 1, 2):  # 2: a module that could not be imported
        raise SystemExit(f"{fault}\npytest ended with {run.returncode}: {' '.join(fault.tests)}")
    return run.returncode == 0


def copied(folder: Path) -> Path:
    """A scratch copy of the source."""
    for name in SOURCE:
        if (HOME / name).is_dir():
            shutil.copytree(HOME / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(HOME / name, folder / name)
    return folder


def main() -> None:
    """Tries the faults that are asked for; ends with 1 if one survives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="of faults to try; all by default")
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at once")
    parser.add_argument("--list", type=Path, default=Path(__file__).with_suffix(".toml"), help="of faults")
    asked = parser.parse_args()
    faults = [f for f in read(asked.list) if not asked.words or any(word in f"#{f.number} {f}" for word in asked.words)]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(asked.jobs) as pool:
        scratches: SimpleQueue[Path] = SimpleQueue()
        for job in range(asked.jobs):
            scratches.put(copied(Path(name) / str(job)))

        def one(fault: Fault) -> bool:
            scratch = scratches.get()
            try:
                alive = survives(fault, scratch)
            finally:
                scratches.put(scratch)
            print(f"{'survives' if alive else 'noticed '}  {fault}", flush=True)
            return alive

        alive = list(pool.map(one, faults))
    print(f"{sum(alive)} of {len(faults)} survive")
    sys.exit(any(alive))


if __name__ == "__main__":
    main()
