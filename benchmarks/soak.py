"""Does a long run stay as it begins: memory, time per step, disk?

`python -m benchmarks.soak [MINUTES]` trains a run of the size of `quick` for so long (30 by default), in its own folder,
and looks at it after every chunk. Keys, first and last quarter of what came after the first two minutes, as medians:
`host_megabytes` (resident memory), `live_megabytes` (arrays that JAX holds), `seconds_per_step`, `checkpoint_megabytes`; and
`growth`, the last over the first of each.
"""

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from groove import config, runs

WARMING = 120.0
KINDS = ("host_megabytes", "live_megabytes", "seconds_per_step", "checkpoint_megabytes")


def look(folder: Path, seconds_per_step: float) -> tuple[float, ...]:
    """The four quantities, now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    live = sum(array.nbytes for array in jax.live_arrays() if not jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key))
    disk = sum(path.stat().st_size for path in (folder / "checkpoints").rglob("*") if path.is_file())
    return pages * 4096 / 1e6, live / 1e6, seconds_per_step, disk / 1e6


def main(minutes: float) -> None:
    settings = dataclasses.replace(config.QUICK, name="custom", meta_steps=10_000_000, checkpoint_every=1)
    seen: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory() as place:
        folder, begun = Path(place) / "run", time.perf_counter()
        runs.create(settings, folder)

        def sink(rows):
            passed = time.perf_counter() - begun
            if passed > WARMING:
                seen.append(look(folder, rows[-1]["chunk_seconds"] / len(rows)))
            if passed > 60 * minutes:
                raise KeyboardInterrupt

        try:
            done = runs.train(folder, sink).finished
        except KeyboardInterrupt:
            done = False
    assert not done
    quarter = max(1, len(seen) // 4)
    first, last = (np.median(np.array(rows), axis=0) for rows in (seen[:quarter], seen[-quarter:]))
    page = {name: [round(float(a), 4), round(float(b), 4)] for name, a, b in zip(KINDS, first, last, strict=True)}
    growth = {name: round(b / a, 4) for name, (a, b) in page.items()}
    print(json.dumps({**page, "growth": growth, "chunks": len(seen), "minutes": minutes}))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
