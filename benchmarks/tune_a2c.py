"""Tunes A2C, the baseline and antagonist of the preset `quick`, by grid search on levels of a seed of their own.

`python -m benchmarks.tune_a2c` prints one JSON object on its last line: the interquartile mean of returns for each learning
rate and entropy weight, and the best of each family. The values chosen stand in `groove.config.QUICK`.
"""

import dataclasses
import itertools
import json

import jax
import numpy as np

from groove import assembly, protocols
from groove.config import QUICK, Config
from groove.statistics import interquartile_mean

TUNING_SEED = 31_007
RATES = {"gridworld": (10.0, 20.0, 40.0), "bernoulli-bandit": (4.0, 8.0, 16.0, 32.0)}
ENTROPIES = (0.0, 0.003, 0.01, 0.03)
SIZES = protocols.Protocol(tasks=48, agents=4, lifetime=QUICK.life.updates[1])


def measure(config: Config, name: str) -> float:
    family = assembly.family(config, name)
    rule = assembly.tuned_a2c(config, family.environment.spec, name)
    levels = protocols.held_out_levels(family, SIZES.tasks, seed=TUNING_SEED)
    returns = protocols.assessment(config, family, rule, levels, SIZES)(jax.random.key(TUNING_SEED), ())
    return float(interquartile_mean(np.nan_to_num(returns, nan=-np.inf)))  # what diverged is the worst


def main() -> None:
    found = {}
    for name in QUICK.families:
        field = "grids" if name == "gridworld" else "bandits"
        results = {}
        for rate, entropy in itertools.product(RATES[name], ENTROPIES):
            sizes = dataclasses.replace(getattr(QUICK, field), antagonist_rate=rate, antagonist_entropy=entropy)
            results[f"rate {rate:g}, entropy {entropy:g}"] = measure(dataclasses.replace(QUICK, **{field: sizes}), name)
            print(
                name, f"rate {rate:g}, entropy {entropy:g}: {results[f'rate {rate:g}, entropy {entropy:g}']:.3f}", flush=True
            )
        found[name] = {"best": max(results, key=results.__getitem__), "results": results}
    print(json.dumps({"seed": TUNING_SEED, **SIZES._asdict(), "families": found}))


if __name__ == "__main__":
    main()
