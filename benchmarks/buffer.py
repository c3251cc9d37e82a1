"""Insert and draw 512 tasks in a store of 4000, beside jaxued's sampler.

`python -m benchmarks.buffer` prints one JSON object on its last line: seconds of each operation and `insert_speedup`, the
time of jaxued's insertion over ours. Both hold the same gridworld levels, are full, meet 512 new levels of which half are
better than what they hold, and look for duplicates. jaxued 0.0.1 calls `jax.tree_map`, which this process gives back to it.
"""

import json

import jax
import jax.numpy as jnp

jax.tree_map = jax.tree.map  # type: ignore[attr-defined]
from jaxued.level_sampler import LevelSampler  # noqa: E402

from benchmarks.timing import interleaved  # noqa: E402
from groove.base import Origin, Task  # noqa: E402
from groove.curricula import buffer, rank  # noqa: E402
from groove.curricula.prioritised import replay_distribution  # noqa: E402
from levels.gridworld import gridworld  # noqa: E402

CAPACITY, BATCH = 4000, 512


def tasks(key: jax.Array, count: int) -> Task:
    level = jax.vmap(gridworld().generator.sample)(jax.random.split(key, count))
    minus = jnp.full(count, -1, jnp.int32)
    origin = Origin(minus, minus, jnp.arange(count, dtype=jnp.int32), minus, jnp.zeros((count, 0)), jnp.ones(count, bool))
    return Task(level, jnp.full(count, 250, jnp.int32), (), (), origin)


def ours(old: Task, new: Task, scores: tuple[jax.Array, jax.Array]):
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), old)
    everyone = jnp.ones(BATCH, bool)
    full = jax.jit(buffer.insert)(buffer.init(example, CAPACITY), old, scores[0], jnp.ones(CAPACITY, bool))
    insert = jax.jit(buffer.insert)

    def draw(store, key):
        cumulative = jnp.cumsum(replay_distribution(store, rank(0.3), staleness=0.3))
        points = jax.random.uniform(key, (BATCH,)) * cumulative[-1]
        return buffer.draw(store, jnp.searchsorted(cumulative, points).astype(jnp.int32), everyone)

    drawn = jax.jit(draw)
    return lambda: insert(full, new, scores[1], everyone), lambda: drawn(full, jax.random.key(1))


def theirs(old: Task, new: Task, scores: tuple[jax.Array, jax.Array]):
    sampler = LevelSampler(capacity=CAPACITY, prioritization_params={"temperature": 0.3}, duplicate_check=True)
    empty = sampler.initialize(jax.tree.map(lambda leaf: leaf[0], old.level), {})
    insert = jax.jit(lambda state, level, score: sampler.insert_batch(state, level, score, {})[0])
    full = jax.block_until_ready(insert(empty, old.level, scores[0]))
    drawn = jax.jit(lambda state, key: sampler.sample_replay_levels(state, key, BATCH))
    return lambda: insert(full, new.level, scores[1]), lambda: drawn(full, jax.random.PRNGKey(1))


def main() -> None:
    old, new = tasks(jax.random.key(2), CAPACITY), tasks(jax.random.key(3), BATCH)
    scores = (jax.random.uniform(jax.random.key(4), (CAPACITY,)), jax.random.uniform(jax.random.key(5), (BATCH,)) + 0.25)
    our_insert, our_draw = ours(old, new, scores)
    their_insert, their_draw = theirs(old, new, scores)
    seconds = interleaved({"insert": our_insert, "draw": our_draw}, rounds=20)
    seconds |= interleaved({"jaxued_insert": their_insert, "jaxued_draw": their_draw, "insert_again": our_insert}, rounds=3)
    print(json.dumps({**seconds, "insert_speedup": seconds["jaxued_insert"] / seconds["insert_again"]}))


if __name__ == "__main__":
    main()
