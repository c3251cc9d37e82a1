"""A preset with five seeds: what its trained rules reach beside the untrained ones, and beside A2C and PPO.

`python -m benchmarks.quick FOLDER [PRESET [SEEDS]]` trains so many seeds of a preset (five of `quick`) into FOLDER/<seed>,
one after the other; it goes on where it stopped. It prints one JSON object on its last line: for each seed, family and
lifetime the interquartile means with their intervals on held-out levels, and by family and lifetime the seeds whose trained
rule's interval lies above that of the untrained rule (`apart`) and above those of all rivals (`above_rivals`).
"""

import json
import subprocess
import sys
import time
from pathlib import Path

TRAINED, UNTRAINED, RIVALS = "trained rule", "untrained rule", ("tuned A2C", "tuned PPO", "A2C")
Table = dict[str, dict[str, dict[str, dict[str, float]]]]
"""By family, lifetime and rule: low, point and high."""


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


def read(folder: Path) -> Table:
    rows = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["rows"]
    found: Table = {}
    for row in rows:
        one = {name: round(row[name], 5) for name in ("low", "point", "high")}
        found.setdefault(row["family"], {}).setdefault(str(row["lifetime"]), {})[row["rule"]] = one
    return found


def count(results: list[Table], rivals: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """By family and lifetime, the seeds whose trained rule lies above all of some others, intervals apart."""

    def above(own: dict[str, dict[str, float]]) -> bool:
        return own[TRAINED]["low"] > max(own[name]["high"] for name in rivals if name in own)

    return {
        family: {lifetime: sum(above(found[family][lifetime]) for found in results) for lifetime in lifetimes}
        for family, lifetimes in results[0].items()
    }


def main(base: Path, preset: str = "quick", seeds: int = 5) -> None:
    seconds = [round(train(base / str(seed), preset, seed)) for seed in range(seeds)]
    results = [read(base / str(seed)) for seed in range(seeds)]
    page = {"seconds": seconds, "apart": count(results, (UNTRAINED,)), "above_rivals": count(results, RIVALS)}
    print(json.dumps({**page, "results": results}))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quick-seeds"), *sys.argv[2:3], *map(int, sys.argv[3:4]))
