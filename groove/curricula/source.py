"""Where new tasks come from: a pool whose references are computed ahead of need, in blocks."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp

from groove.base import Info, Origin, Score, Source, Task
from groove.base.trees import arrivals, tree_scatter, tree_take
from groove.parallel import devices
from levels.base import Generator, Level

Lifetimes: TypeAlias = Callable[[jax.Array], jax.Array]


def constant(updates: int) -> Lifetimes:
    """Every lifetime is `updates` agent updates: `(key) -> i32[]`."""
    if updates < 1:
        raise ValueError(f"updates must be at least 1, got {updates}.")
    return lambda key: jnp.full((), updates, jnp.int32)


def log_uniform(low: int, high: int) -> Lifetimes:
    """Lifetimes whose logarithm is uniform, rounded down, from `low` to `high` inclusive: `(key) -> i32[]`."""
    if not 1 <= low <= high:
        raise ValueError(f"lifetimes must satisfy 1 <= low <= high, got low {low} and high {high}.")

    def sample(key):
        power = jax.random.uniform(key, (), jnp.float32, math.log(low), math.log(high + 1))
        return jnp.clip(jnp.exp(power).astype(jnp.int32), low, high)

    return sample


class Pool(NamedTuple):
    """Tasks waiting to be lived on, handed out in order, round and round."""

    task: Task  # PyTree of [size, ...]
    key: jax.Array  # typed key[]; what all tasks are drawn from
    taken: jax.Array  # i32[]; tasks handed out so far
    filled: jax.Array  # i32[]; tasks made so far; task number s lies in place s mod size
    reused: jax.Array  # i32[]; tasks handed out although they had been before

    @property
    def ready(self) -> jax.Array:
        """i32[]: tasks made and not yet handed out."""
        return self.filled - self.taken


class Ring(NamedTuple):
    """A pool whose tasks are made under a guide, which may change from one refresh to the next.

    Attributes:
        blank: `(key, guide) -> Pool`, empty: refresh before the first `take`. Of the guide only the shapes matter.
        refresh: `(Pool, guide) -> Pool`, replaces what was taken. What waits stays, made under the guides of its time, and
            is handed out first: under a guide that always moves, tasks are `size` tasks late.
        take: `(Pool, want bool[B]) -> (Pool, tasks [B, ...])`; rows nobody wants are to be ignored.
        drop: `(Pool) -> Pool`, without what waits: the next refresh makes tasks of the same numbers under its own guide. Who
            was never handed out leaves no trace but the time that its reference took.
    """

    blank: Callable[[jax.Array, chex.ArrayTree], Pool]
    refresh: Callable[[Pool, chex.ArrayTree], Pool]
    take: Callable[[Pool, jax.Array], tuple[Pool, Task]]
    drop: Callable[[Pool], Pool]

    def init(self, key: jax.Array, guide: chex.ArrayTree) -> Pool:
        """A full pool."""
        return self.refresh(self.blank(key, guide), guide)


def new_task(
    score: Score, key: jax.Array, level: Level, lifetime: jax.Array, *, serial: jax.Array, vector: jax.Array | None = None
) -> Task:
    """A task that nobody has lived on, with its reference.

    Args:
        score: Whose reference is computed, and whose memory begins.
        key: Of the reference.
        level: Unbatched.
        lifetime: i32[].
        serial: i32[], unique among the tasks of one curriculum.
        vector: f32[d], what the level was decoded from; None if it was not.
    """
    minus, nothing = jnp.full((), -1, jnp.int32), jnp.zeros(0, jnp.float32)
    origin = Origin(minus, minus, serial, minus, nothing if vector is None else vector, jnp.array(True))
    memory = jax.tree.map(jnp.asarray, score.memory)
    return Task(level, lifetime, score.reference(key, level, lifetime), memory, origin)


Make: TypeAlias = Callable[[Score, jax.Array, jax.Array, chex.ArrayTree], Task]
"""`(score, key, serial i32[], guide) -> Task`, a new task with the reference of this score."""


def ring(score: Score, make: Make, *, size: int, block: int = 32) -> Ring:
    """A pool of `size` tasks made by `make`, in blocks of `block` by vmap, one a device.

    Args:
        score: Whose references are computed.
        make: What makes a task; its key depends on the pool's and the serial alone.
        size: The most tasks that are taken between two refreshes; with fewer the pool hands out tasks twice and counts them.
        block: Tasks made at once.
    """
    if size < 1 or block < 1:
        raise ValueError(f"size and block must be at least 1, got {size} and {block}.")
    block = min(block, size)

    def one(key, serial, guide):
        return make(score, jax.random.fold_in(key, serial), serial, guide)

    def blank(key, guide):
        alike = score if score.like is None else score._replace(reference=lambda key, level, lifetime: score.like)
        example = jax.eval_shape(partial(make, alike), key, jax.ShapeDtypeStruct((), jnp.int32), guide)
        zero = jnp.zeros((), jnp.int32)
        return Pool(jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), example), key, zero, zero, zero)

    def fill(state, guide):
        serial = state.filled + jnp.arange(block * devices.count(), dtype=jnp.int32)
        wanted = serial < state.taken + size
        place = jnp.where(wanted, serial % size, size)
        made = devices.blockwise(lambda serial: one(state.key, serial, guide), serial, block=block)
        task = tree_scatter(state.task, made, arrivals(place, size))
        return state._replace(task=task, filled=state.filled + jnp.sum(wanted, dtype=jnp.int32))

    def refresh(state, guide):
        return jax.lax.while_loop(lambda state: state.filled < state.taken + size, lambda state: fill(state, guide), state)

    def take(state, want):
        number = state.taken + jnp.cumsum(want, dtype=jnp.int32) - want
        fresh, stale = want & (number < state.filled), want & (number >= state.filled)
        again = state.reused + jnp.cumsum(stale, dtype=jnp.int32) - stale
        task = tree_take(state.task, jnp.where(stale, again, number) % size)
        taken = state.taken + jnp.sum(fresh, dtype=jnp.int32)
        return state._replace(taken=taken, reused=state.reused + jnp.sum(stale, dtype=jnp.int32)), task

    return Ring(blank, refresh, take, lambda state: state._replace(filled=state.taken))


def pool_info(state: Pool) -> Info:
    """How many tasks a pool has handed out, and how many of them twice."""
    return {"taken": state.taken, "reused": state.reused}


def pool(generator: Generator, score: Score, lifetimes: Lifetimes, *, size: int, block: int = 32) -> Source:
    """A pool of `size` tasks with random levels and lifetimes, their references computed in blocks of `block`.

    Task number s depends on the pool's key and s alone, whatever the size, the block or the pace at which tasks are taken.

    Args:
        generator: Samples levels.
        score: Whose references are computed, by vmap over a block.
        lifetimes: `(key) -> i32[]`.
        size: The most tasks that are taken between two refreshes; with fewer the pool hands out tasks twice and counts them.
        block: Tasks made at once.
    """

    def make(score, key, serial, guide):
        level_key, lifetime_key, reference_key = jax.random.split(key, 3)
        return new_task(score, reference_key, generator.sample(level_key), lifetimes(lifetime_key), serial=serial)

    tasks = ring(score, make, size=size, block=block)
    return Source(
        init=lambda key: tasks.init(key, ()),
        take=tasks.take,
        refresh=lambda key, state: tasks.refresh(state, ()),
        info=pool_info,
        score=score,
    )
