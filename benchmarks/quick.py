"""The preset `quick` with five seeds: does the trained rule beat the untrained one, and how near does it come to tuned A2C?

`python -m benchmarks.quick FOLDER [PRESET [SEEDS]]` trains so many seeds of a preset (five of `quick`) into FOLDER/<seed>,
one after the other; it goes on where it stopped.
It prints one JSON object on its last line: for each seed and family the interquartile means with their intervals on held-out
levels, `apart` (seeds whose trained rule's interval lies above the untrained one's, by family) and `share_of_a2c`.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

TRAINED, UNTRAINED, RIVALS = "trained rule", "untrained rule", ("tuned A2C", "A2C")


def train(folder: Path, preset: str, seed: int) -> float:
    """Trains one seed, or goes on with it; seconds, 0 if it was done already."""
    if (folder / "evaluation.json").exists():
        return 0.0
    words = ["--resume", str(folder)] if folder.exists() else [preset, "--seed", str(seed), "--output", str(folder)]
    begin = time.perf_counter()
    run = "import sys; from groove.cli import main; sys.exit(main(sys.argv[1:]))"
    finished = subprocess.run([sys.executable, "-c", run, "train", *words], check=True)
    assert finished.returncode == 0
    return time.perf_counter() - begin


def read(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """By family and rule: low, point and high."""
    rows = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["rows"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        found.setdefault(row["family"], {})[row["rule"]] = {name: row[name] for name in ("low", "point", "high")}
    return found


def main(base: Path, preset: str = "quick", seeds: int = 5) -> None:
    seconds = [train(base / str(seed), preset, seed) for seed in range(seeds)]
    results = [read(base / str(seed)) for seed in range(seeds)]
    families = list(results[0])
    apart = {name: sum(r[name][TRAINED]["low"] > r[name][UNTRAINED]["high"] for r in results) for name in families}
    share = {
        name: [
            r[name][TRAINED]["point"] / next(r[name][antagonist] for antagonist in RIVALS if antagonist in r[name])["point"]
            for r in results
        ]
        for name in families
    }
    print(json.dumps({"seconds": seconds, "apart": apart, "share_of_a2c": share, "results": results}))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quick-seeds"), *sys.argv[2:3], *map(int, sys.argv[3:4]))
