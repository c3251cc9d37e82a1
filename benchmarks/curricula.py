"""Does it matter which tasks a rule is trained on? Teachers and scores at one equal budget, and what each of them costs.

LPG by meta-gradient on grids of side 4 to 6 and on bandits: 20 + 12 lives at a time, 300 meta-steps, lifetimes of 50 to 100
updates, three meta-seeds. The budget is lifetimes lived: those that only select, as SFL's and robust PLR's, count like all
others. Uniform levels; PLR with each score; robust PLR; PLR with likeness; ACCEL, plain and robust; SFL; ALP-GMM; CLUTR,
its autoencoder trained once and cached. All settings are the library's defaults but for sizes: none was tuned, and none was
looked at on the levels that judge.

`python -m benchmarks.curricula FOLDER [METHOD ...]` trains into FOLDER/<method>-<seed>, each run where it stopped, and
judges the rule by exact returns of untrained agents on held-out levels of both families; with the only METHOD `cost` it
measures costs alone. In the end it writes FOLDER/curricula.json and prints it as one JSON object on its last line:
`results`, by method and family the interquartile mean over levels and meta-seeds with an interval that resamples meta-
seeds, and the mean of every meta-seed (with three of them these are to be looked at, and claim nothing); `cost`, the time
of equally many updates lived over that under uniform levels, in steady state, all methods taking turns in one run.
"""

import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import jax
import numpy as np

from benchmarks.training import finished
from groove import config, protocols, runs
from groove.assembly import Run, build
from groove.base import Theta
from groove.config import Bandits, Config, Curriculum, Grids, Life, Meta, Rule
from groove.statistics import clustered_bootstrap

SEEDS = range(3)
FILLING, ROUNDS = 6, 12
SIZES = Curriculum(capacity=40, sweep=60, window=100, latent_batch=32)
BASE = Config(
    name="curricula",
    families=("gridworld", "bernoulli-bandit"),
    members=(20, 12),
    meta_steps=300,
    chunk=20,
    checkpoint_every=8,
    grids=Grids(side=(4, 6), objects=3, limit=(20, 50), antagonist_rate=20.0, antagonist_entropy=0.003),
    bandits=Bandits(actor_rate=8.0, antagonist_rate=16.0, antagonist_entropy=0.01),
    rule=Rule(width=32),
    life=Life(updates=(50, 100), environments=8),
    meta=Meta(rate=1e-3, clip=0.5, decay=True, entropy=0.03),
    curriculum=SIZES,
)
KINDS: Mapping[str, dict[str, object]] = {
    "uniform": {"kind": "uniform", "score": "uniform"},
    "plr-regret": {},
    "plr-normalised-regret": {"score": "normalised-regret"},
    "plr-exact-regret": {"score": "exact-regret"},
    "plr-l1-value-loss": {"score": "l1-value-loss"},
    "plr-positive-value-loss": {"score": "positive-value-loss"},
    "plr-max-mc": {"score": "max-mc"},
    "plr-learnability": {"score": "learnability"},
    "plr-learning-progress": {"score": "learning-progress"},
    "plr-robust": {"robust": True},
    "plr-diverse": {"diversity": 0.5},
    "accel": {"kind": "accel"},
    "accel-robust": {"kind": "accel", "robust": True},
    "sfl": {"kind": "sfl", "score": "learnability"},
    "alp-gmm": {"kind": "alp-gmm", "score": "uniform"},
    "clutr": {"kind": "clutr"},
}


def settings_of(method: str, seed: int = 0) -> Config:
    """The configuration of one run."""
    return dataclasses.replace(BASE, seed=seed, curriculum=dataclasses.replace(SIZES, **KINDS[method]))


@cache
def judges() -> dict[str, Callable[[jax.Array, Theta], jax.Array]]:
    """`(key, theta) -> returns [levels, agents]` by family: the same for all methods."""
    sizes, longest = protocols.protocol(BASE), BASE.life.updates[1]

    def judge_of(part):
        levels = protocols.held_out_levels(part.family, sizes.tasks)
        live = protocols.assessment(BASE, part.family, lambda theta: (part.rule, theta), levels, sizes)
        return lambda key, theta: live(key, theta, longest)

    return {part.family.name: judge_of(part) for part in build(settings_of("uniform")).parts}


def say(folder: Path, text: str) -> None:
    print(f"{folder.name}: {text}", flush=True)


def run(folder: Path, method: str, seed: int) -> None:
    """One run, or the rest of it, and its judgement."""
    result = finished(settings_of(method, seed), folder)
    runs.save_curriculum(result)
    found = judge(result.run, result.run.trainer.theta(result.state), seed)
    (folder / "judgement.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    say(folder, str({name: round(float(np.mean(values)), 3) for name, values in found.items()}))


def judge(trained: Run, theta: Theta, seed: int) -> dict[str, list[float]]:
    """By family, a mean return for each held-out level."""
    key = jax.random.key(5_000 + seed)
    return {name: np.round(np.mean(np.asarray(assess(key, theta)), axis=1), 5).tolist() for name, assess in judges().items()}


class Runner:
    """A run that goes on chunk by chunk, timed."""

    def __init__(self, folder: Path):
        trainer = runs.assembled(folder, new=True).trainer
        self.chunk = jax.jit(trainer.chunk, donate_argnums=0)
        self.refresh = jax.jit(trainer.refresh, donate_argnums=0)
        self.state = jax.jit(trainer.init)(jax.random.key(0))

    def seconds(self) -> float:
        """Of one more chunk with its refresh."""
        begin = time.perf_counter()
        self.state, _ = self.chunk(self.state)
        self.state = jax.block_until_ready(self.refresh(self.state))
        return time.perf_counter() - begin


def costs(base: Path, methods: list[str]) -> dict[str, float]:
    """Seconds over those under uniform levels: sums over rounds in which all take turns.

    A round is a chunk, in which all methods live equally many updates, with the refresh of what it took. There are so many
    that mixtures are fitted and policies learn several times; what that costs counts. Chunks in which buffers fill do not.
    """
    runners = {}
    for method in dict.fromkeys(("uniform", *methods)):
        folder = base / f"cost-{method}"
        if not folder.exists():
            runs.create(settings_of(method), folder, announce=lambda text, folder=folder: say(folder, text))
        runners[method] = Runner(folder)
    for runner in runners.values():
        for _ in range(FILLING):
            runner.seconds()
    rounds = [{name: runner.seconds() for name, runner in runners.items()} for _ in range(ROUNDS)]
    total = {name: sum(one[name] for one in rounds) for name in runners}
    return {name: seconds / total["uniform"] for name, seconds in total.items()}


def judgements(base: Path) -> Iterator[tuple[str, list[dict[str, list[float]]]]]:
    """Each method's judgements by meta-seed, of those that are complete."""
    for method in KINDS:
        paths = [base / f"{method}-{seed}" / "judgement.json" for seed in SEEDS]
        if all(path.exists() for path in paths):
            yield method, [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def summary(base: Path) -> dict[str, dict[str, dict[str, object]]]:
    """By method and family: interquartile mean with its interval, and a mean for every meta-seed."""
    tables = {
        method: {name: np.array([row[name] for row in rows]) for name in BASE.families} for method, rows in judgements(base)
    }
    return {
        method: {
            name: {**clustered_bootstrap(table, seed=0)._asdict(), "seeds": np.mean(table, axis=1).round(4).tolist()}
            for name, table in by_family.items()
        }
        for method, by_family in tables.items()
    }


def main(base: Path, methods: list[str]) -> None:
    wanted = [config.check_name("method", method, KINDS) for method in methods if method != "cost"] or list(KINDS)
    if methods != ["cost"]:
        for seed, method in itertools.product(SEEDS, wanted):
            if not (base / f"{method}-{seed}" / "judgement.json").exists():
                run(base / f"{method}-{seed}", method, seed)
    path = base / "cost.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not set(wanted) <= set(known):
        known = costs(base, wanted)
        path.write_text(json.dumps(known) + "\n", encoding="utf-8")
    page = {"results": summary(base), "cost": known, "lives": BASE.members}
    (base / "curricula.json").write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(page))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/curricula"), sys.argv[2:])
