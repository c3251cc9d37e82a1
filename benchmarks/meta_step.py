"""One meta-step of LPG on GROOVE's training grids: 16 lifetimes x 16 environments x 20 steps, K = 5, GRU 256.

Every lifetime ends at every fifth meta-step and is then evaluated over 4 episodes and replaced, all within the time
measured. `python -m benchmarks.meta_step` prints one JSON object on its last line: `seconds` per meta-step, `flops` (useful
ones: three times the forward products), `peak_flops_per_second` of a large float32 product in the same run,
`fraction_of_peak`, `compile_seconds`, `peak_memory_bytes` (the process's), and `exact_over_sampled`: how much longer
meta-steps of the preset `quick` take with an exact meta-loss than with a sampled one.
"""

import dataclasses
import functools
import json
import resource
import time

import jax

from benchmarks.products import forward_flops, large_product
from benchmarks.timing import interleaved
from groove.assembly import build
from groove.config import LPG, QUICK, Config

CONFIG = dataclasses.replace(
    LPG,
    members=(16,),
    chunk=5,
    life=dataclasses.replace(LPG.life, updates=(25, 25), environments=16),
    meta=dataclasses.replace(LPG.meta, rematerialise=False),
)


def measure(config: Config, rounds: int = 8) -> dict[str, float]:
    trainer = build(config).trainer
    state = jax.jit(trainer.refresh)(jax.jit(trainer.init)(jax.random.key(0)))
    begin = time.perf_counter()
    chunk = jax.jit(trainer.chunk).lower(state).compile()
    compile_seconds = time.perf_counter() - begin
    product, product_flops = large_product()
    seconds = interleaved({"chunk": lambda: chunk(state), "product": product}, rounds=rounds)
    step = seconds["chunk"] / config.chunk
    flops = 3 * config.meta.updates * forward_flops(config)
    peak = product_flops / seconds["product"]
    return {
        "seconds": step,
        "flops": flops,
        "peak_flops_per_second": peak,
        "fraction_of_peak": flops / step / peak,
        "compile_seconds": compile_seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def exact_over_sampled(config: Config, rounds: int = 8) -> float:
    """Time of a chunk under uniform levels, so that only the meta-losses differ."""
    uniform = dataclasses.replace(config.curriculum, kind="uniform", score="uniform")
    chunks = {}
    for objective in ("sampled", "exact"):
        meta = dataclasses.replace(config.meta, objective=objective)
        trainer = build(dataclasses.replace(config, curriculum=uniform, meta=meta)).trainer
        state = jax.jit(trainer.refresh)(jax.jit(trainer.init)(jax.random.key(0)))
        chunks[objective] = functools.partial(jax.jit(trainer.chunk).lower(state).compile(), state)
    seconds = interleaved(chunks, rounds=rounds)
    return seconds["exact"] / seconds["sampled"]


if __name__ == "__main__":
    print(json.dumps({**measure(CONFIG), "exact_over_sampled": exact_over_sampled(QUICK)}))
