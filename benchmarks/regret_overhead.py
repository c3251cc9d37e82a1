"""What a curriculum of algorithmic regret costs beside uniform levels, over whole lifetimes.

16 lifetimes of 250 updates x 16 environments x 20 steps, K = 5, GRU 256, GROOVE's training grids; the antagonist is trained
twice per new task. A round is one lifetime of every member: 50 meta-steps, the evaluation of the agents, scores, the store
and, under regret, the references of all tasks taken (half of them are replays).

`python -m benchmarks.regret_overhead` prints one JSON object on its last line: seconds per meta-step of both, the share of
the time under regret that the refresh took, `refresh_share`, and their `ratio`.
"""

import dataclasses
import json
import statistics
import time

import jax

from groove import memory
from groove.build import build
from groove.config import GROOVE, Config

CONFIG = dataclasses.replace(
    GROOVE,
    members=(16,),
    chunk=50,
    life=dataclasses.replace(GROOVE.life, environments=16),
    meta=dataclasses.replace(GROOVE.meta, rematerialise=False),
    curriculum=dataclasses.replace(GROOVE.curriculum, minimal_fill=0.0),
)
UNIFORM = dataclasses.replace(CONFIG, curriculum=dataclasses.replace(CONFIG.curriculum, kind="uniform", score="uniform"))
ROUNDS = 4


class Runner:
    """A run that goes on chunk by chunk."""

    def __init__(self, config: Config):
        trainer = build(config).trainer
        self.chunk = jax.jit(trainer.chunk, donate_argnums=0)
        self.refresh = jax.jit(trainer.refresh, donate_argnums=0)
        self.state = self.refresh(jax.jit(trainer.init)(jax.random.key(0)))
        self.steps = config.chunk

    def seconds(self) -> tuple[float, float]:
        """Seconds per meta-step of one more chunk, and the part of it that the refresh took."""
        begin = time.perf_counter()
        self.state, _ = jax.block_until_ready(self.chunk(self.state))
        middle = time.perf_counter()
        self.state = jax.block_until_ready(self.refresh(self.state))
        end = time.perf_counter()
        return (end - begin) / self.steps, (end - middle) / self.steps


def main() -> None:
    runners = {"regret": Runner(CONFIG), "uniform": Runner(UNIFORM)}
    rounds = [{name: runner.seconds() for name, runner in runners.items()} for _ in range(ROUNDS + 1)][1:]
    regret = statistics.median(r["regret"][0] for r in rounds)
    print(
        json.dumps(
            {
                "regret_seconds": regret,
                "uniform_seconds": statistics.median(r["uniform"][0] for r in rounds),
                "refresh_share": statistics.median(r["regret"][1] / r["regret"][0] for r in rounds),
                "ratio": statistics.median(r["regret"][0] / r["uniform"][0] for r in rounds),
            }
        )
    )


if __name__ == "__main__":
    memory.keep()
    main()
