"""How long `groove train` takes from its start to its first metric: with an empty compilation cache, and with a filled one.

`python -m benchmarks.startup [PRESET]...` starts the command twice for each preset, with a cache of its own, and stops it at
the first line of metrics. Keys, all in seconds but the last: `cold` and `warm` of the first preset; `presets`, both of each;
`compiled_again`, the number of programs that second starts put into the cache although the first had been through them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

COMMAND = "import sys; from groove.cli import main; sys.exit(main())"


def first_metric(preset: str, folder: Path, cache: Path) -> float:
    """Seconds from the start of the command to the first line of metrics."""
    words = [sys.executable, "-c", COMMAND, "train", preset, "--output", str(folder), "--yes"]
    begun = time.perf_counter()
    run = subprocess.Popen(words, env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}, stdout=subprocess.DEVNULL)
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        if run.poll() is not None:
            raise RuntimeError(f"groove train ended with {run.returncode} before its first metric.")
        time.sleep(0.02)
    seconds = time.perf_counter() - begun
    run.send_signal(signal.SIGKILL)
    assert run.wait() != 0
    return seconds


class Start(NamedTuple):
    """Seconds to the first metric, and what the second start compiled again."""

    cold: float
    warm: float
    again: int


def starts(preset: str) -> Start:
    """Starts twice."""
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        cache = base / "cache"
        cold = first_metric(preset, base / "cold", cache)
        programs = {path.name for path in cache.glob("*-cache")}
        warm = first_metric(preset, base / "warm", cache)
        return Start(round(cold, 2), round(warm, 2), len({path.name for path in cache.glob("*-cache")} - programs))


def main(presets: Sequence[str]) -> None:
    found = {preset: starts(preset) for preset in presets}
    times = {preset: {"cold": one.cold, "warm": one.warm} for preset, one in found.items()}
    again = sum(one.again for one in found.values())
    print(json.dumps({**times[presets[0]], "compiled_again": again, "presets": times}))


if __name__ == "__main__":
    main(sys.argv[1:] or ("quick",))
