"""Tunes A2C and PPO, which learned rules meet on held-out tasks, for each lifetime, on levels of a seed of their own.

`python -m benchmarks.tune_rivals FILE [PRESET ...]` tries every learning rate and entropy weight of
`groove.protocols.search_space` on the families of presets (quick), and writes FILE after each, where it goes on. The
best by the interquartile mean of exact returns, for lifetimes of 5, 10, 30, 100 and 300 updates and those of the presets'
held-out tables, go to `groove/protocols/rivals.json`. It prints one JSON object on its last line: what was chosen, and which
of that lies at an end of the search.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from groove import assembly, config, protocols
from groove.config import Config
from groove.files.writing import write_text
from groove.protocols import RIVALS, Setting, faced, identity, named_rule, search_space
from groove.statistics import interquartile_mean
from levels.base import Family

TUNING_SEED = 31_007
LIFETIMES = (5, 10, 30, 100, 300)
TASKS, AGENTS = 48, 4
STORED = Path(protocols.__file__).parent / "rivals.json"


def lifetimes_of(settings: Config) -> tuple[int, ...]:
    return tuple(sorted({*LIFETIMES, *protocols.protocol(settings).lifetimes}))


def tried(settings: Config, family: Family, rival: str, found: dict[str, dict[str, float]]) -> Iterator[str]:
    """Measures what is not in `found` yet, by setting and lifetime; yields each setting's name when it is there."""
    spec, life = family.environment.spec, settings.life
    lifetimes = lifetimes_of(settings)
    sizes = protocols.Protocol(TASKS, AGENTS, lifetimes)
    levels = protocols.held_out_levels(family, TASKS, seed=TUNING_SEED)

    def make(chosen):
        return named_rule(rival, spec, Setting(*chosen), gamma=life.gamma, lambda_=life.gae_lambda), ()

    live = protocols.assessment(settings, family, make, levels, sizes)
    for setting in search_space(rival, spec):
        name = f"{setting.rate:g} {setting.entropy:g}"
        if name not in found:
            reached = {n: np.asarray(live(jax.random.key(TUNING_SEED), setting, n)) for n in lifetimes}
            worst = {n: np.nan_to_num(values, nan=-np.inf) for n, values in reached.items()}  # what diverged
            found[name] = {str(n): round(float(interquartile_mean(values)), 5) for n, values in worst.items()}
        yield name


def best(found: dict[str, dict[str, float]], lifetime: int) -> list[float]:
    return [float(number) for number in max(found, key=lambda name: found[name][str(lifetime)]).split()]


def main(file: Path, presets: list[str]) -> None:
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    stored = json.loads(STORED.read_text(encoding="utf-8"))["pages"]
    said, ends = {}, []
    for preset in presets:
        settings = config.preset(preset)
        for name in settings.families:
            family, chosen = assembly.family(settings, name), {}
            for rival in RIVALS:
                found = results.setdefault(f"{json.dumps(faced(settings, name))} {rival}", {})
                for setting in tried(settings, family, rival, found):
                    write_text(file, json.dumps(results, indent=1) + "\n")
                    print(preset, name, rival, setting, found[setting], flush=True)
                chosen[rival] = {n: best(found, n) for n in lifetimes_of(settings)}
                rates = sorted({setting.rate for setting in search_space(rival, family.environment.spec)})
                ends += [
                    f"{preset} {name} {rival} {n}" for n, (rate, _) in chosen[rival].items() if rate in (rates[0], rates[-1])
                ]
            by_lifetime = {str(n): {rival: chosen[rival][n] for rival in RIVALS} for n in lifetimes_of(settings)}
            page = {"faced": faced(settings, name), "baselines": {r: identity(r) for r in RIVALS}, "chosen": by_lifetime}
            stored = [*(old for old in stored if old["faced"] != page["faced"]), page]
            write_text(STORED, json.dumps({"pages": stored}, indent=1) + "\n")
            said[f"{preset} {name}"] = by_lifetime
    print(
        json.dumps({"seed": TUNING_SEED, "tasks": TASKS, "agents": AGENTS, "chosen": said, "at_an_end_of_the_search": ends})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["quick"])
