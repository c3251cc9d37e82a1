"""Does a rule learn better if it knows how much of the agent's lifetime is left, and who finds such a rule?

TA-LPG against LPG by evolution with the same budget, and TA-LPG by meta-gradient, on 6 x 6 grids with three objects: nets
of width 32, lifetimes log-uniform from 10 to 100, five meta-seeds each. A fourth method evolves the better of two rules that
the meta-gradient found (from different seeds, judged on levels of seed 777). Three more ask what stops a learned rule at the
shortest lifetime: the meta-gradient on lives of ten updates alone, the same back through all ten of them, and the same with
agents that learn as fast as A2C tuned for ten updates does. Evolution has three times the learning rate of Jackson, Lu et
al. 2024 and exact returns as fitness: with theirs, and with returns of four sampled episodes, single runs on levels of seed
777 stood at 0.48, 0.63, 0.76 (N = 10, 30, 100) after 540 generations, with exact returns alone at 0.57, 0.74, 0.84, with
both at 0.73, 0.86, 0.91 after 400.

`python -m benchmarks.horizons FOLDER [METHOD ...]` trains into FOLDER/<method>-<seed>, each run where it stopped, and judges
every rule at lifetimes inside and outside the range of training, by exact returns on held-out levels. A2C is tuned for each
lifetime on levels of another seed. In the end it writes FOLDER/horizons.json and prints it as one JSON object on its last
line: by method and lifetime, the interquartile mean over levels and meta-seeds with its 95 % interval. What is resampled is
the meta-seed: agents under one rule are not independent runs. A2C's seeds are its agents'.

Settings were chosen on levels of seed 777, and on others that nothing is reported of; the levels of `JUDGEMENT_SEED` served
nothing but the final judgement.
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.training import finished
from groove import assembly, config, rules, runs
from groove.base import Theta, UpdateRule
from groove.config import Config, Curriculum, Evolution, Grids, Life, Meta, Rule
from groove.lifetime import learning_curve, lifetime
from groove.nets import agents
from groove.protocols import held_out_levels
from groove.statistics import clustered_bootstrap
from levels.base import Level

SEEDS = range(5)
HORIZONS = (5, 10, 30, 100, 300)
TRAINED = (10, 30, 100)
TASKS, AGENTS = 64, 4
TUNING_SEED, CHOICE_SEED, JUDGEMENT_SEED = 31_007, 777, 90_211
RATES, ENTROPIES = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0), (0.0, 0.003, 0.01, 0.03, 0.1)

BASE = Config(
    name="horizons",
    members=(32,),
    meta_steps=400,
    chunk=20,
    checkpoint_every=2,
    grids=Grids(side=(6, 6), objects=3, limit=(20, 50)),
    rule=Rule(width=32, horizon="fraction-and-log"),
    life=Life(updates=(10, 100), environments=8),
    meta=Meta(method="evolution"),
    evolution=Evolution(rate=0.03, block=16),
    curriculum=Curriculum(kind="uniform", score="uniform", exact=True),
)
GRADIENT = dataclasses.replace(
    BASE,
    members=(64,),
    meta_steps=1200,
    meta=Meta(rate=1e-3, clip=0.5, decay=True, per_life=True),
    curriculum=dataclasses.replace(BASE.curriculum, exact=False),
)
REFINED = dataclasses.replace(BASE, meta_steps=200, evolution=Evolution(sigma=0.03, rate=0.005, decay=0.99, block=16))
"""Starts from a rule by meta-gradient, see `better_start`."""
TEN = dataclasses.replace(GRADIENT, life=dataclasses.replace(GRADIENT.life, updates=(10, 10)))
"""Trained on lives of ten updates alone: what is left when nothing has to be shared between lifetimes."""
METHODS: Mapping[str, Config] = {
    "ta-lpg-evolution": BASE,
    "lpg-evolution": dataclasses.replace(BASE, rule=dataclasses.replace(BASE.rule, horizon="none")),
    "ta-lpg-gradient": GRADIENT,
    "ta-lpg-refined": REFINED,
    "ten": TEN,
    "ten-untruncated": dataclasses.replace(TEN, meta_steps=600, meta=dataclasses.replace(TEN.meta, updates=10)),
    "ten-faster-agents": dataclasses.replace(TEN, grids=dataclasses.replace(TEN.grids, actor_rate=80.0)),
}


class Judge:
    """What untrained agents of a rule reach at each lifetime, by exact returns on fixed levels."""

    def __init__(self, rule: UpdateRule, settings: Config, levels: Level):
        family = assembly.family(settings, "gridworld")
        exact = assembly.measure(settings, family, rule, exactly=True)
        life = lifetime(
            rule, family.environment, steps=settings.life.steps, environments=settings.life.environments, evaluate=exact
        )

        def judge(key: jax.Array, theta: Theta, updates: jax.Array) -> jax.Array:
            lifetimes = jnp.broadcast_to(updates, (TASKS,))
            return jnp.mean(learning_curve.returns(life, key, theta, levels, lifetimes, agents=AGENTS), axis=1)

        self.judge = jax.jit(judge)

    def __call__(self, seed: int, theta: Theta) -> dict[int, list[float]]:
        """By lifetime, a mean return for each level."""
        key = jax.random.key(1_000 + seed)
        return {h: np.round(np.asarray(self.judge(key, theta, jnp.int32(h))), 5).tolist() for h in HORIZONS}


@cache
def levels(seed: int = JUDGEMENT_SEED) -> Level:
    return held_out_levels(assembly.family(BASE, "gridworld"), TASKS, seed=seed)


@cache
def judge_of(settings: Config, seed: int = JUDGEMENT_SEED) -> Judge:
    """Of rules by one configuration."""
    spec = assembly.family(settings, "gridworld").environment.spec
    learned = assembly.learned_rule(settings, spec, assembly.architecture(settings, spec, "gridworld"))
    return Judge(learned, settings, levels(seed))


def run(folder: Path, method: str, seed: int) -> None:
    """One run, or the rest of it, and its judgement."""
    settings = dataclasses.replace(METHODS[method], seed=seed)
    if method == "ta-lpg-refined":
        settings = dataclasses.replace(settings, start=str(better_start(folder.parent, seed)))
    result = finished(settings, folder)
    runs.save_rule(result)
    theta = result.run.trainer.theta(result.state)
    found = judge_of(METHODS[method])(seed, theta)
    (folder / "judgement.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(folder.name, {h: round(float(np.mean(values)), 3) for h, values in found.items()}, flush=True)


def better_start(base: Path, seed: int) -> Path:
    """The better of two rules by meta-gradient, from seeds of their own, on the levels that settings were chosen on."""
    method, folders = "ta-lpg-gradient", [base / f"ta-lpg-gradient-{s}" for s in (seed, seed + len(SEEDS))]
    for folder, own in zip(folders, (seed, seed + len(SEEDS)), strict=True):
        if not (folder / "judgement.json").exists():
            run(folder, method, own)

    def worth(folder: Path) -> float:
        found = judge_of(BASE, CHOICE_SEED)(0, runs.theta_of(folder / runs.RULE, BASE))
        return sum(float(np.mean(found[h])) for h in TRAINED)

    return max(folders, key=worth)


def tuned_a2c(folder: Path) -> None:
    """A2C with the learning rate and the entropy weight that suit each lifetime best, on other levels."""
    spec = assembly.family(BASE, "gridworld").environment.spec

    def rule(rate: float, weight: float) -> UpdateRule:
        return rules.a2c(spec, agents.tabular(actor_rate=rate), entropy_weight=weight)

    grid = list(itertools.product(RATES, ENTROPIES))
    tried = {choice: Judge(rule(*choice), BASE, levels(TUNING_SEED))(0, ()) for choice in grid}
    best = {h: max(grid, key=lambda choice, h=h: float(np.mean(tried[choice][h]))) for h in HORIZONS}
    judges = {choice: Judge(rule(*choice), BASE, levels()) for choice in set(best.values())}
    found = [{choice: judge(seed, ()) for choice, judge in judges.items()} for seed in SEEDS]
    rows = [{h: by_choice[best[h]][h] for h in HORIZONS} for by_choice in found]
    folder.mkdir(parents=True, exist_ok=True)
    page = {"chosen": {h: {"rate": rate, "entropy": weight} for h, (rate, weight) in best.items()}, "seeds": rows}
    (folder / "judgement.json").write_text(json.dumps(page) + "\n", encoding="utf-8")


def optimum() -> float:
    family = assembly.family(BASE, "gridworld")
    return float(jnp.mean(jax.jit(lambda found: learning_curve.optima(family, found))(levels())))


def judgements(base: Path) -> Iterator[tuple[str, list[dict[str, list[float]]]]]:
    """Each method's judgements by meta-seed, of those that are complete."""
    yield "tuned A2C", json.loads((base / "a2c" / "judgement.json").read_text(encoding="utf-8"))["seeds"]
    for method in METHODS:
        paths = [base / f"{method}-{seed}" / "judgement.json" for seed in SEEDS]
        if all(path.exists() for path in paths):
            yield method, [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def summary(base: Path) -> dict[str, object]:
    """Interquartile means with intervals, and each method's advantage over tuned A2C."""
    tables = {name: {h: np.array([row[str(h)] for row in rows]) for h in HORIZONS} for name, rows in judgements(base)}
    intervals = {
        name: {h: clustered_bootstrap(table[h], seed=0)._asdict() for h in HORIZONS} for name, table in tables.items()
    }
    antagonist = intervals["tuned A2C"]
    beats = {
        name: {h: bool(found[h]["low"] > antagonist[h]["high"]) for h in HORIZONS}
        for name, found in intervals.items()
        if name != "tuned A2C"
    }
    chosen = json.loads((base / "a2c" / "judgement.json").read_text(encoding="utf-8"))["chosen"]
    by_seed = {name: {h: np.mean(table[h], axis=1).round(4).tolist() for h in HORIZONS} for name, table in tables.items()}
    return {
        "intervals": intervals,
        "beats_tuned_a2c": beats,
        "beats_it_at_every_trained_lifetime": [name for name, won in beats.items() if all(won[h] for h in TRAINED)],
        "means_by_meta_seed": by_seed,
        "differences": differences(by_seed),
        "a2c": chosen,
        "mean_optimum": optimum(),
    }


COMPARED = (
    ("lpg-evolution", "tuned A2C"),
    ("ta-lpg-evolution", "tuned A2C"),
    ("ta-lpg-gradient", "tuned A2C"),
    ("ta-lpg-refined", "tuned A2C"),
    ("ta-lpg-evolution", "lpg-evolution"),
    ("ta-lpg-refined", "ta-lpg-gradient"),
)


def differences(means: Mapping[str, Mapping[int, list[float]]]) -> dict[str, dict[int, dict[str, float]]]:
    """How far mean returns lie apart, with 95 % bootstrap intervals over meta-seeds, drawn for each method apart."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for one, other in COMPARED:
        if one in means and other in means:
            rows = {h: (np.array(means[one][h]), np.array(means[other][h])) for h in HORIZONS}
            found[f"{one} - {other}"] = {h: _difference(*pair) for h, pair in rows.items()}
    return found


def _difference(one: np.ndarray, other: np.ndarray, resamples: int = 10_000) -> dict[str, float]:
    random = np.random.default_rng(0)
    drawn = [random.choice(values, (resamples, len(values))).mean(1) for values in (one, other)]
    low, high = np.percentile(drawn[0] - drawn[1], (2.5, 97.5))
    return {"low": round(float(low), 4), "point": round(float(one.mean() - other.mean()), 4), "high": round(float(high), 4)}


def main(base: Path, methods: list[str]) -> None:
    for seed, method in itertools.product(SEEDS, methods):
        if not (base / f"{method}-{seed}" / "judgement.json").exists():
            run(base / f"{method}-{seed}", config.check_name("method", method, METHODS), seed)
    if not (base / "a2c" / "judgement.json").exists():
        tuned_a2c(base / "a2c")
    page = summary(base)
    (base / "horizons.json").write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(page))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/horizons"), sys.argv[2:] or list(METHODS))
