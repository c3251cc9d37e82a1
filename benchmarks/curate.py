"""How fast `groove curate` scores tasks by algorithmic regret: blocks of tasks, those with short lives first.

The grids and agents of the preset `quick`, lives of 10 to 100 updates; A2C learns once as the rule that is scored and twice
as its antagonist, so a task is three lives and three evaluations.

`python -m benchmarks.curate` prints one JSON object on its last line: `tasks_per_second` and `updates_per_second` of agents
in the command's blocks of 32; and, measured in turn on the same tasks, `batching_gain`, the time of one task after the other
over that of blocks, and `sorting_gain`, the time of blocks in the order of drawing over that of blocks by lifetime.
"""

import dataclasses
import json

import jax
import numpy as np

from benchmarks.timing import interleaved
from groove import assembly, curate, curricula
from groove.base import Theta
from groove.config import QUICK, Config
from groove.curate.rating import rater
from groove.files.curriculumfile import Rows

CONFIG = dataclasses.replace(QUICK, life=dataclasses.replace(QUICK.life, updates=(10, 100)))
TASKS, BLOCK, ROUNDS = 128, 32, 5


def measure(config: Config, *, tasks: int, block: int, rounds: int) -> dict[str, float]:
    """The figures of the module's docstring, for the first family of a configuration."""
    name = config.families[0]
    family = assembly.family(config, name)
    rule = assembly.tuned_a2c(config, family.environment.spec, name)
    life, score = assembly.life_of(config, family, rule), assembly.score_of(config, family, rule)
    rows = curate.sampled(jax.random.key(0), family, curricula.log_uniform(*config.life.updates), count=tasks)
    rate, theta = jax.jit(jax.vmap(rater(life, score), (None, 0, None, 0, 0))), rule.init(jax.random.key(0))
    order = np.argsort(rows.lifetime, kind="stable")
    found = interleaved(
        {
            "blocks": lambda: run(rate, theta, rows, order, block),
            "unsorted": lambda: run(rate, theta, rows, np.arange(tasks), block),
            "one_by_one": lambda: run(rate, theta, rows, order, 1),
        },
        rounds=rounds,
    )
    lives = 1 + config.curriculum.antagonists
    return {
        "tasks_per_second": tasks / found["blocks"],
        "updates_per_second": lives * int(rows.lifetime.sum()) / found["blocks"],
        "batching_gain": found["one_by_one"] / found["blocks"],
        "sorting_gain": found["unsorted"] / found["blocks"],
    }


def run(rate, theta: Theta, rows: Rows, order: np.ndarray, block: int) -> list:
    """Scores all rows, `block` at a time."""
    key, found = jax.random.key(1), []
    for place in order.reshape(-1, block).astype(np.int32):
        level = jax.tree.map(lambda leaf: leaf[place], rows.level)  # noqa: B023
        found.append(jax.block_until_ready(rate(key, place, theta, level, rows.lifetime[place])))
    return found


def main() -> None:
    print(json.dumps(measure(CONFIG, tasks=TASKS, block=BLOCK, rounds=ROUNDS)))


if __name__ == "__main__":
    main()
