"""How long `groove train` takes from its start to its first metric: with an empty compilation cache, and with a filled one.

`python -m benchmarks.startup [PRESET]...` starts the command twice for each preset, with a cache of its own, and stops it at
the first line of metrics. Keys, in seconds where nothing else is said: `cold` and `warm` of the first preset; `presets`,
both of each; `probe`, the mean of what a process took right before and behind the first preset's cold start to import JAX
and to compile a plain program; `cold_in_probes`, their ratio: how long the start is, whatever the machine is busy with;
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
PROBE = """
import jax
import jax.numpy as jnp

def plain(x):
    for number in range(60):
        x = jnp.sort(jnp.sin(x + number))
    return x

jax.jit(plain).lower(jnp.zeros(200)).compile()
"""


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
    run.wait()
    return seconds


def probe() -> float:
    """Seconds of a process that imports JAX and compiles a plain program."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROBE], env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}, check=True)
    return time.perf_counter() - begun


class Start(NamedTuple):
    """Seconds to the first metric and of a probe, and what the second start compiled again."""

    cold: float
    warm: float
    probe: float
    again: int


def starts(preset: str) -> Start:
    """Starts twice."""
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        cache = base / "cache"
        before = probe()
        cold = first_metric(preset, base / "cold", cache)
        pace = (before + probe()) / 2
        programs = {path.name for path in cache.glob("*-cache")}
        warm = first_metric(preset, base / "warm", cache)
        again = {path.name for path in cache.glob("*-cache")} - programs
        return Start(round(cold, 2), round(warm, 2), round(pace, 2), len(again))


def main(presets: Sequence[str]) -> None:
    found = {preset: starts(preset) for preset in presets}
    times = {preset: {"cold": one.cold, "warm": one.warm} for preset, one in found.items()}
    first, again = found[presets[0]], sum(one.again for one in found.values())
    pace = {"probe": first.probe, "cold_in_probes": round(first.cold / first.probe, 2)}
    print(json.dumps({**times[presets[0]], **pace, "compiled_again": again, "presets": times}))


if __name__ == "__main__":
    main(sys.argv[1:] or ("quick",))
