"""A generation of TA-LPG by evolution on GROOVE's grids: 32 candidates x 16 environments x 20 steps, GRU 256.

Lifetimes are log-uniform from 10 to 250. `python -m benchmarks.evolution` prints one JSON object on its last line:
`seconds_per_generation`, everything included; `flops`, useful ones: forward products of the updates that lives really need;
`peak_flops_per_second` of a large float32 product, timed between the generations; `fraction_of_peak`; `grouping_gain`, the
time of the same generations with all candidates in one batch, which ends with the longest life, over that of lives grouped
by lifetime; `sorting_gain`, in batches of eight lives each: drawn as they come, over sorted by lifetime first.
"""

import dataclasses
import json
import statistics
import time

import jax
import numpy as np

from benchmarks.products import forward_flops, large_product
from groove.assembly import Run, build
from groove.config import TA_LPG, Config
from groove.meta import evolution, strategies
from groove.trainer import State, Trainer, trainer

CONFIG = dataclasses.replace(
    TA_LPG,
    members=(16,),
    meta_steps=100,
    chunk=1,
    life=dataclasses.replace(TA_LPG.life, environments=16),
    evolution=dataclasses.replace(TA_LPG.evolution, block=1),
)
GENERATIONS = 6


def arranged(run: Run, *, block: int, grouped: bool) -> Trainer:
    """The run with its lives arranged otherwise."""
    part = run.parts[0]
    theta = jax.eval_shape(part.rule.init, jax.random.key(0))
    strategy = strategies.named("Open_ES", theta, population=2 * run.config.members[0])
    meta = evolution((part.life,), strategy, block=block, grouped=grouped)
    return trainer((part.group,), meta, part.rule.init, steps=run.config.chunk)


def measure(config: Config, generations: int = GENERATIONS) -> dict[str, float]:
    run, pairs = build(config), config.members[0]
    methods = {
        "couples": arranged(run, block=1, grouped=True),
        "one batch": arranged(run, block=pairs, grouped=False),
        "sorted": arranged(run, block=pairs // 4, grouped=True),
        "unsorted": arranged(run, block=pairs // 4, grouped=False),
    }
    start = jax.jit(run.trainer.refresh)(jax.jit(run.trainer.init)(jax.random.key(0)))
    states: dict[str, State] = dict.fromkeys(methods, start)
    compiled = {name: jax.jit(part.chunk).lower(start).compile() for name, part in methods.items()}
    refresh = jax.jit(run.trainer.refresh)
    product, product_flops = large_product()
    seconds: dict[str, list[float]] = {name: [] for name in (*methods, "product")}
    updates = []
    for _ in range(1 + generations):  # the first is not counted
        for name, chunk in compiled.items():
            begin = time.perf_counter()
            states[name] = jax.block_until_ready(chunk(states[name])[0])
            seconds[name].append(time.perf_counter() - begin)
            states[name] = refresh(states[name])
            begin = time.perf_counter()
            jax.block_until_ready(product())
            seconds["product"].append(time.perf_counter() - begin)
        updates.append(2 * int(np.sum(states["couples"].live[0].task.lifetime)))
    total = {name: sum(seconds[name][1:]) for name in methods}
    peak = product_flops / statistics.median(seconds["product"][1:])
    flops = forward_flops(dataclasses.replace(config, members=(1,)), inputs=8) * sum(updates[1:])
    return {
        "seconds_per_generation": total["couples"] / generations,
        "updates_per_generation": sum(updates[1:]) / generations,
        "flops": flops / generations,
        "peak_flops_per_second": peak,
        "fraction_of_peak": flops / total["couples"] / peak,
        "grouping_gain": total["one batch"] / total["couples"],
        "sorting_gain": total["unsorted"] / total["sorted"],
    }


if __name__ == "__main__":
    print(json.dumps(measure(CONFIG)))
