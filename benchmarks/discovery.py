"""Do learned rules beat what people wrote? Rules of a preset against A2C and PPO tuned for each length of life.

`python -m benchmarks.discovery FOLDER PRESET [ARM ...]` trains five meta-seeds of every arm into FOLDER/<arm>-<seed>, each
where it stopped: `ta` is the preset as it is, `blind` the same without horizon inputs, `uniform` under uniform levels,
`sampled` with a sampled meta-loss. Every rule is judged after lives of 5, 10, 30, 100 and 300 updates by exact returns on
held-out levels of the preset's families, which nothing was chosen on; so are A2C and PPO with the settings of
`groove/protocols/rivals.json`, and the optimum. It writes FOLDER/discovery.json and prints it as one JSON object on its
last line: interquartile means over levels and meta-seeds with 95 % intervals that resample meta-seeds (those of A2C and PPO
are their agents'), `above` (where a rule's interval lies above those of both), means by meta-seed, and `collapsed` (seeds
below 0.9 of their arm's median).
"""

import dataclasses
import itertools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.training import finished
from groove import assembly, config, protocols, runs
from groove.config import Config
from groove.files.writing import write_text
from groove.lifetime import learning_curve
from groove.protocols import RIVALS, Setting, named_rule
from groove.statistics import clustered_bootstrap

SEEDS = range(5)
LIFETIMES = (5, 10, 30, 100, 300)
TASKS, AGENTS = 64, 4


def arms(settings: Config) -> dict[str, Config]:
    """By name."""
    uniform = dataclasses.replace(settings.curriculum, kind="uniform", score="uniform")
    return {
        "ta": settings,
        "blind": dataclasses.replace(settings, rule=dataclasses.replace(settings.rule, horizon="none")),
        "uniform": dataclasses.replace(settings, curriculum=uniform),
        "sampled": dataclasses.replace(settings, meta=dataclasses.replace(settings.meta, objective="sampled")),
    }


def judges(settings: Config, make) -> dict[str, object]:
    """By family: `(key, numbers, lifetime) -> f32[TASKS, AGENTS]`."""
    sizes = protocols.Protocol(TASKS, AGENTS, LIFETIMES)
    found = {}
    for name in settings.families:
        family = assembly.family(settings, name)
        levels = protocols.held_out_levels(family, TASKS)
        found[name] = protocols.assessment(settings, family, make(name, family.environment.spec), levels, sizes)
    return found


def judged(live, numbers, seed: int) -> dict[str, list[float]]:
    """By lifetime, a mean return for each level."""
    key = jax.random.key(1_000 + seed)
    values = {n: jnp.mean(live(key, numbers(n), n), axis=1) for n in LIFETIMES}
    return {str(n): np.round(np.asarray(found, np.float64), 5).tolist() for n, found in values.items()}


def learned(settings: Config, folder: Path) -> None:
    """One run, or the rest of it, and its judgement."""
    result = finished(settings, folder)
    runs.save_rule(result)
    theta = result.run.trainer.theta(result.state)

    def make(name, spec):
        rule = assembly.learned_rule(settings, spec, assembly.architecture(settings, spec, name))
        return lambda theta: (rule, theta)

    page = {name: judged(live, lambda n: theta, settings.seed) for name, live in judges(settings, make).items()}
    write_text(folder / "judgement.json", json.dumps(page) + "\n")
    print(folder.name, means(page), flush=True)


def rival(settings: Config, name: str, folder: Path) -> None:
    """What a hand-written rule reaches with agents of five seeds."""
    chosen = {family: protocols.rivals(settings, family) for family in settings.families}

    def make(family, spec):
        life = settings.life
        return lambda own: (named_rule(name, spec, Setting(*own), gamma=life.gamma, lambda_=life.gae_lambda), ())

    made = judges(settings, make)
    for seed in SEEDS:
        path = folder / f"{name}-{seed}" / "judgement.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            page = {
                family: judged(live, lambda n, family=family: chosen[family][n][name], seed) for family, live in made.items()
            }
            write_text(path, json.dumps(page) + "\n")
            print(path.parent.name, means(page), flush=True)


def means(page) -> dict[str, dict[str, float]]:
    return {family: {n: round(float(np.mean(values)), 3) for n, values in rows.items()} for family, rows in page.items()}


def summary(settings: Config, folder: Path) -> dict[str, object]:
    """Everything that has five seeds."""
    pages = {}
    for name in (*RIVALS, *arms(settings)):
        paths = [folder / f"{name}-{seed}" / "judgement.json" for seed in SEEDS]
        if all(path.exists() for path in paths):
            pages[name] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    found: dict[str, object] = {"preset": settings.name, "seeds": len(SEEDS), "tasks": TASKS, "agents": AGENTS}
    for family in settings.families:
        tables = {
            arm: {n: np.array([page[family][str(n)] for page in rows]) for n in LIFETIMES} for arm, rows in pages.items()
        }
        intervals = {
            arm: {n: clustered_bootstrap(rows[n], seed=0)._asdict() for n in LIFETIMES} for arm, rows in tables.items()
        }
        best = {n: max(intervals[name][n]["high"] for name in RIVALS) for n in LIFETIMES}
        by_seed = {arm: {n: np.mean(rows[n], axis=1).round(4).tolist() for n in LIFETIMES} for arm, rows in tables.items()}
        kind = assembly.family(settings, family)
        optima = learning_curve.optima(kind, protocols.held_out_levels(kind, TASKS))
        found[family] = {
            "intervals": intervals,
            "above": {arm: [n for n in LIFETIMES if rows[n]["low"] > best[n]] for arm, rows in intervals.items()},
            "means_by_meta_seed": by_seed,
            "collapsed": {
                arm: sorted(
                    {seed for values in rows.values() for seed in np.flatnonzero(values < 0.9 * np.median(values)).tolist()}
                )
                for arm, rows in by_seed.items()
            },
            "optimum": float(clustered_bootstrap(np.asarray(optima)[None], seed=0).point),
        }
    return found


def main(folder: Path, preset: str, wanted: list[str]) -> None:
    settings = config.preset(preset)
    if not protocols.is_tuned(settings):
        raise SystemExit(f"rivals are not tuned for {preset}: python -m benchmarks.tune_rivals FILE {preset}")
    for name in RIVALS:
        rival(settings, name, folder)
    for seed, arm in itertools.product(SEEDS, wanted):
        own = dataclasses.replace(arms(settings)[config.check_name("arm", arm, arms(settings))], seed=seed)
        if not (folder / f"{arm}-{seed}" / "judgement.json").exists():
            learned(own, folder / f"{arm}-{seed}")
    page = summary(settings, folder)
    write_text(folder / "discovery.json", json.dumps(page, indent=1) + "\n")
    print(json.dumps(page))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] or ["ta"])
