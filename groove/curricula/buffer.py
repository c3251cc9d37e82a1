"""A store of scored tasks with a fixed capacity. Every operation is batched: nothing loops over insertions."""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp

from groove.base import Task
from groove.base.trees import arrivals, tree_scatter, tree_take


class Buffer(NamedTuple):
    """Scored tasks. The leading axis of every field is `capacity`, but for the clock."""

    task: Task  # PyTree of [capacity, ...]
    score: jax.Array  # f32[capacity]; -inf where empty
    fingerprint: jax.Array  # u32[capacity, 2]; of level and lifetime; zeros where empty
    stamp: jax.Array  # i32[capacity]; writes of a new task to the slot
    played: jax.Array  # i32[capacity]; clock at the last proposal
    born: jax.Array  # i32[capacity]; clock when the task was written
    active: jax.Array  # i32[capacity]; members that live on the task now
    clock: jax.Array  # i32[]; proposals so far

    @property
    def held(self) -> jax.Array:
        """bool[capacity]: the slot holds a scored task."""
        return self.score > -jnp.inf


def init(example: Task, capacity: int) -> Buffer:
    """An empty buffer for tasks like `example` (arrays or their shapes)."""
    return Buffer(
        task=jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), example),
        score=jnp.full(capacity, -jnp.inf, jnp.float32),
        fingerprint=jnp.zeros((capacity, 2), jnp.uint32),
        stamp=jnp.zeros(capacity, jnp.int32),
        played=jnp.zeros(capacity, jnp.int32),
        born=jnp.zeros(capacity, jnp.int32),
        active=jnp.zeros(capacity, jnp.int32),
        clock=jnp.zeros((), jnp.int32),
    )


def clear(buffer: Buffer) -> Buffer:
    """The same buffer without tasks."""
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), buffer.task)
    return init(example, buffer.score.size)


def fingerprint(tree: chex.ArrayTree) -> jax.Array:
    """A 64-bit hash u32[2] of a PyTree's values; equal trees hash alike, others almost surely not."""
    flat = jnp.concatenate([_as_words(leaf) for leaf in jax.tree.leaves(tree)])
    place = jnp.arange(flat.size, dtype=jnp.uint32)
    mixed = [_scramble(_scramble(flat + jnp.uint32(seed)) ^ (place * jnp.uint32(0x9E3779B9))) for seed in (1, 2)]
    return jnp.stack([jnp.sum(half, dtype=jnp.uint32) for half in mixed])


def _as_words(leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32).ravel()
    return leaf.astype(jnp.uint32).ravel()


def _scramble(x: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3, a bijection of u32 that flips about half the bits for each one changed."""
    steps = ((16, 0x85EBCA6B), (13, 0xC2B2AE35))
    x = reduce(lambda x, step: (x ^ (x >> step[0])) * jnp.uint32(step[1]), steps, x)
    return x ^ (x >> 16)


RetentionScore: TypeAlias = Callable[[Buffer, Task, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""`(buffer, tasks [B, ...], score f32[B], new bool[B]) -> (worth f32[capacity], worth f32[B])`, what decides who is kept: of
what is stored, -inf where nothing is, and of what is new; that of other rows is ignored."""


def by_score(buffer: Buffer, task: Task, score: jax.Array, new: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A `Worth`: the score and nothing else."""
    return buffer.score, score


def insert(buffer: Buffer, task: Task, score: jax.Array, finished: jax.Array, worth: RetentionScore = by_score) -> Buffer:
    """Writes the reports of a batch: level, score and memory together.

    A task whose slot still carries its stamp, or that equals a stored one, updates that slot's score and memory. Others
    compete as new: of stored and new tasks those of the highest worth stay, and of equals the stored. Where several members
    report one task, the first wins. A task whose score is not finite, as where an agent diverged, is not kept: it does not
    come in, and leaves its slot.

    Args:
        buffer: The store.
        task: [B, ...], as proposed, with the memory to keep.
        score: f32[B].
        finished: bool[B]; other rows change nothing.
        worth: Who is kept; by default the highest scores.
    """
    released = _release(buffer, task, finished)
    prints = jax.vmap(lambda t: fingerprint((t.level, t.lifetime)))(task)
    reported, sound = finished & _first(prints, finished), jnp.isfinite(score)
    slot = _home(released, task, prints)
    updated = _update(released, task, jnp.where(sound, score, -jnp.inf), jnp.where(reported, slot, -1))
    return _compete(updated, task, score, prints, reported & sound & (slot < 0), worth)


def _release(buffer: Buffer, task: Task, finished: jax.Array) -> Buffer:
    """Tells the slots that these members left them."""
    left = finished & _stands(buffer, task)
    active = buffer.active.at[_place(buffer, jnp.where(left, task.origin.slot, -1))].add(-1, mode="drop")
    return buffer._replace(active=active)


def _stands(buffer: Buffer, task: Task) -> jax.Array:
    """bool[B]: the task still occupies the slot that it was drawn from."""
    slot = task.origin.slot
    return (slot >= 0) & (buffer.stamp[jnp.maximum(slot, 0)] == task.origin.stamp)


def _place(buffer: Buffer, slot: jax.Array) -> jax.Array:
    """Slots for a scatter that drops: -1, which would count from the end, becomes the capacity."""
    return jnp.where(slot < 0, buffer.score.size, slot)


def _first(prints: jax.Array, valid: jax.Array) -> jax.Array:
    """bool[B]: of valid rows, no other before this one has the same fingerprint."""
    equal = jnp.all(prints[:, None] == prints[None], axis=-1) & valid[None]
    return jnp.argmax(equal, axis=1) == jnp.arange(valid.size)


def _home(buffer: Buffer, task: Task, prints: jax.Array) -> jax.Array:
    """i32[B]: the slot that holds this very task, -1 if none."""
    equal = jnp.all(prints[:, None] == buffer.fingerprint[None], axis=-1) & buffer.held[None]
    return jnp.where(jnp.any(equal, axis=1), jnp.argmax(equal, axis=1), -1).astype(jnp.int32)


def _update(buffer: Buffer, task: Task, score: jax.Array, slot: jax.Array) -> Buffer:
    arrived = arrivals(_place(buffer, slot), buffer.score.size)
    memory, score = tree_scatter((buffer.task.memory, buffer.score), (task.memory, score), arrived)
    return buffer._replace(score=score, task=buffer.task._replace(memory=memory))


def _compete(
    buffer: Buffer, task: Task, score: jax.Array, prints: jax.Array, new: jax.Array, worth: RetentionScore
) -> Buffer:
    """The best new tasks meet the worst slots, best against worst, and replace what they exceed."""
    entrants = min(score.size, buffer.score.size)
    kept, offered = worth(buffer, task, score, new)
    challenge, row = jax.lax.top_k(jnp.where(new, offered, -jnp.inf), entrants)
    defence, slot = jax.lax.top_k(-kept, entrants)
    arrived = arrivals(_place(buffer, jnp.where(challenge > -defence, slot, -1)), buffer.score.size, row)
    came = arrived >= 0
    stored = (buffer.task, buffer.score, buffer.fingerprint)
    task, score, fingerprint = tree_scatter(stored, (task, score, prints), arrived)
    return buffer._replace(
        task=task,
        score=score,
        fingerprint=fingerprint,
        stamp=buffer.stamp + came,
        played=jnp.where(came, buffer.clock, buffer.played),
        born=jnp.where(came, buffer.clock, buffer.born),
        active=jnp.where(came, 0, buffer.active),
    )


def draw(buffer: Buffer, slot: jax.Array, wanted: jax.Array) -> tuple[Buffer, Task]:
    """Takes the tasks of `slot` i32[B] for the members `wanted` bool[B], who live on them from now on."""
    place = _place(buffer, jnp.where(wanted, slot, -1))
    task, stamp = tree_take((buffer.task, buffer.stamp), slot)
    origin = task.origin._replace(slot=slot, stamp=stamp)
    times = jnp.zeros_like(buffer.active).at[place].add(1, mode="drop")
    played = jnp.where(times > 0, buffer.clock, buffer.played)
    return buffer._replace(active=buffer.active + times, played=played), task._replace(origin=origin)
