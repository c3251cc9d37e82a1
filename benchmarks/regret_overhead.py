"""What a curriculum of algorithmic regret costs beside uniform levels, over whole lifetimes.

16 lifetimes of 250 updates x 16 environments x 20 steps, K = 5, GRU 256, GROOVE's training grids; the antagonist is trained
twice per new task. A round is one lifetime of every member: 50 meta-steps, the evaluation of the agents, scores, the store
and, under regret, the references of all tasks taken.

`python -m benchmarks.regret_overhead` prints one JSON object on its last line: `ratio`, the time of all rounds under regret
over that under uniform levels, at the start of a run of the preset `groove`, where every task is new; `ratio_replaying`,
the same once half of the tasks are replays; and the seconds per meta-step of each.
"""

import dataclasses
import json
import time

import jax

from groove.assembly import build
from groove.config import GROOVE, Config

CONFIG = dataclasses.replace(
    GROOVE,
    members=(16,),
    chunk=50,
    life=dataclasses.replace(GROOVE.life, environments=16),
    meta=dataclasses.replace(GROOVE.meta, rematerialise=False),
)
CONTESTANTS = {
    "regret": CONFIG.curriculum,
    "regret_replaying": dataclasses.replace(CONFIG.curriculum, minimal_fill=0.0),
    "uniform": dataclasses.replace(CONFIG.curriculum, kind="uniform", score="uniform"),
}
ROUNDS = 4


class Runner:
    """A run that goes on chunk by chunk."""

    def __init__(self, config: Config):
        trainer = build(config).trainer
        self.chunk = jax.jit(trainer.chunk, donate_argnums=0)
        self.refresh = jax.jit(trainer.refresh, donate_argnums=0)
        self.state = jax.jit(trainer.init)(jax.random.key(0))
        self.steps = config.chunk

    def seconds(self) -> float:
        """Seconds per meta-step of one more chunk, with the refresh of what it took."""
        begin = time.perf_counter()
        self.state, _ = self.chunk(self.state)
        self.state = jax.block_until_ready(self.refresh(self.state))
        return (time.perf_counter() - begin) / self.steps


def main() -> None:
    runners = {name: Runner(dataclasses.replace(CONFIG, curriculum=part)) for name, part in CONTESTANTS.items()}
    rounds = [{name: runner.seconds() for name, runner in runners.items()} for _ in range(ROUNDS + 1)][1:]  # one compiles
    seconds = {name: sum(r[name] for r in rounds) / ROUNDS for name in runners}
    ratios = {
        "ratio": seconds["regret"] / seconds["uniform"],
        "ratio_replaying": seconds["regret_replaying"] / seconds["uniform"],
    }
    print(json.dumps({**ratios, "seconds": seconds}))


if __name__ == "__main__":
    main()
