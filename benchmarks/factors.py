"""Why does evolution lag behind the meta-gradient, and which of them finds schedules?

One factor at a time around the evolution of `benchmarks.horizons` (TA-LPG, width 32, 6 x 6 grids, lifetimes 10 to 100), at a
quarter of its length: learning rate, noise of the candidates, noise of fitness, size
of the population at equally many lives, learning rate of the agents, and where the search begins: at an untrained rule, or
at one that the meta-gradient found. Two meta-seeds each: to be looked at, not to be claimed from.

`python -m benchmarks.factors FOLDER [METHOD ...]` trains into FOLDER/<method>-<seed>, each run where it stopped, and
judges the rule by exact returns of untrained agents at lifetimes of 10, 30 and 100 on the levels that settings were chosen
on; nothing is tuned by what comes out. It writes FOLDER/factors.json and prints it as one JSON object on its last line. By
method and lifetime, `returns`: means by meta-seed. `schedule`: how a rule's push changes over a life of 100 updates,
on fixed rollouts where only the clock differs, as log(mean |pi_hat| at the end / at the start), for every meta-seed; 0 is no
schedule. `steps`: the same of the size of an agent's updates, which changes in the course of a life without schedule, too.
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from benchmarks import horizons
from benchmarks.horizons import BASE, CHOICE_SEED, GRADIENT, REFINED, TRAINED
from benchmarks.training import finished
from groove import config, protocols, runs
from groove.assembly import Run
from groove.base import Theta
from groove.config import Config
from groove.lifetime import schedules

SEEDS = range(2)
GENERATIONS = 100
LIFETIME = 100


START = dataclasses.replace(BASE, meta_steps=GENERATIONS)


def evolved(**changes: object) -> Config:
    """The base with other settings of evolution."""
    return dataclasses.replace(START, evolution=dataclasses.replace(START.evolution, **changes))


SAMPLED = dataclasses.replace(START.curriculum, exact=False)
METHODS: Mapping[str, Config] = {
    "evolution": START,
    "rate-0.01": evolved(rate=0.01),
    "sigma-0.05": evolved(sigma=0.05),
    "sigma-0.2": evolved(sigma=0.2),
    "sampled-returns": dataclasses.replace(START, curriculum=SAMPLED),
    "rewards-of-the-life": evolved(fitness="reward"),
    "raw-fitness": evolved(shaping="raw"),
    "twice-the-population": dataclasses.replace(START, members=(64,), meta_steps=GENERATIONS // 2, chunk=10),
    "faster-agents": dataclasses.replace(START, grids=dataclasses.replace(START.grids, actor_rate=80.0)),
    "gradient": dataclasses.replace(GRADIENT, meta_steps=400),
    "gradient-then-evolution": dataclasses.replace(REFINED, meta_steps=GENERATIONS // 2, chunk=10),
}
"""A generation of the base is 64 lives; `gradient-then-evolution` starts from the rule of `gradient` with its seed."""


def run(base: Path, method: str, seed: int) -> None:
    """One run, or the rest of it, and its judgement."""
    folder, settings = base / f"{method}-{seed}", dataclasses.replace(METHODS[method], seed=seed)
    if method == "gradient-then-evolution":
        settings = dataclasses.replace(settings, start=str(base / f"gradient-{seed}"))
    result = finished(settings, folder)
    runs.save_rule(result)
    theta = result.run.trainer.theta(result.state)
    found = horizons.judge_of(METHODS[method], CHOICE_SEED)(seed, theta)
    page = {"returns": {h: round(float(np.mean(found[h])), 4) for h in TRAINED}, **changes(result.run, theta)}
    (folder / "judgement.json").write_text(json.dumps(page) + "\n", encoding="utf-8")
    print(folder.name, page, flush=True)


def changes(trained: Run, theta: Theta) -> dict[str, float]:
    """How a rule's push, and the size of updates under it, change over a life."""
    (part,) = trained.parts
    levels = protocols.held_out_levels(part.family, schedules.LEVELS, seed=schedules.SEED)
    answers = schedules.responses(part.rule, part.life, jax.random.key(0), theta, levels, [LIFETIME])[0].pi_hat
    steps = schedules.life_curves(part.rule, part.life, jax.random.key(1), theta, levels, [LIFETIME])[0].step
    tenth = len(steps) // 10
    return {
        "schedule": round(float(np.log(answers[-1] / answers[0])), 4),
        "steps": round(float(np.log((np.mean(steps[-tenth:]) + 1e-9) / (np.mean(steps[:tenth]) + 1e-9))), 4),
    }


def summary(base: Path) -> dict[str, dict[str, object]]:
    """By method, what came out of every meta-seed that is done."""
    found = {}
    for method in METHODS:
        paths = [base / f"{method}-{seed}" / "judgement.json" for seed in SEEDS]
        pages = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
        if pages:
            returns = {h: [page["returns"][str(h)] for page in pages] for h in TRAINED}
            found[method] = {"returns": returns, **{name: [page[name] for page in pages] for name in ("schedule", "steps")}}
    return found


def main(base: Path, methods: list[str]) -> None:
    wanted = [config.check_name("method", method, METHODS) for method in methods] or list(METHODS)
    for seed, method in itertools.product(SEEDS, wanted):
        if not (base / f"{method}-{seed}" / "judgement.json").exists():
            run(base, method, seed)
    page = summary(base)
    (base / "factors.json").write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(page))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/factors"), sys.argv[2:])
