"""Prioritised level replay (Jiang et al. 2021, arXiv 2010.03934) over tasks."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp

from groove.base import Curriculum, Info, Source, Task
from groove.base.ranges import Number, check_shares, is_concrete
from groove.base.trees import tree_where
from groove.curricula import buffer
from groove.curricula.buffer import Buffer, RetentionScore

Priority: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
"""`(score f32[C], eligible bool[C]) -> probabilities f32[C]`, 0 where not eligible; all 0 if nothing is."""


def _normalised(weight: jax.Array) -> jax.Array:
    total = jnp.sum(weight)
    return weight / jnp.where(total > 0, total, 1.0)


def _tempered(log_weight: jax.Array, eligible: jax.Array, temperature: Number) -> jax.Array:
    masked = jnp.where(eligible, log_weight / temperature, -jnp.inf)
    best = jnp.max(masked)
    return _normalised(jnp.where(eligible, jnp.exp(masked - jnp.where(best > -jnp.inf, best, 0.0)), 0.0))


def rank(temperature: Number = 0.3) -> Priority:
    """P proportional to (1 / rank)^(1 / temperature), rank 1 the highest score; equal scores share their ranks' weight."""
    _check_temperature(temperature)

    def priority(score, eligible):
        key = jnp.where(eligible, -score, jnp.inf)
        order = jnp.argsort(key, stable=True)
        place = jnp.zeros(score.size, jnp.int32).at[order].set(jnp.arange(1, score.size + 1, dtype=jnp.int32))
        weight = _tempered(-jnp.log(place.astype(jnp.float32)), eligible, temperature)[order]
        group = jnp.cumsum(jnp.append(False, key[order][1:] != key[order][:-1]), dtype=jnp.int32)
        total, size = (jax.ops.segment_sum(x, group, score.size) for x in (weight, jnp.ones_like(weight)))
        return jnp.zeros_like(weight).at[order].set((total / jnp.maximum(size, 1.0))[group])

    return priority


def proportional(temperature: Number = 0.3) -> Priority:
    """P proportional to max(score, 0)^(1 / temperature); uniform where no score is positive."""
    _check_temperature(temperature)

    def priority(score, eligible):
        positive = eligible & (score > 0)
        weight = _tempered(jnp.log(jnp.where(positive, score, 1.0)), positive, temperature)
        return jnp.where(jnp.any(positive), weight, _normalised(eligible.astype(jnp.float32)))

    return priority


def _check_temperature(temperature: Number) -> None:
    if is_concrete(temperature) and not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}.")


class Prioritised(NamedTuple):
    """The store and what feeds it."""

    source: chex.ArrayTree
    buffer: Buffer
    replayed: jax.Array  # i32[]; proposals that came from the buffer


def replay_distribution(
    store: Buffer, priority: Priority, *, staleness: Number, needed: int | jax.Array = 1, in_play: bool = False
) -> jax.Array:
    """P = (1 - staleness) P_score + staleness P_stale over slots: f32[capacity].

    P_stale is proportional to the proposals since a slot was last played. Slots in play are left out unless fewer than
    `needed` others remain, or `in_play`.
    """
    idle = store.held & (store.active <= 0)
    enough = jnp.sum(idle) >= needed
    eligible = jnp.where(in_play | ~enough, store.held, idle)
    age = jnp.where(eligible, (store.clock - store.played).astype(jnp.float32), 0.0)
    stale = jnp.where(jnp.any(age > 0), _normalised(age), _normalised(eligible.astype(jnp.float32)))
    return (1.0 - staleness) * priority(store.score, eligible) + staleness * stale


def _with_replacement(point: jax.Array, probability: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Slots i32[B] drawn by points f32[B] in [0, 1), and bool[B]: there was one to draw."""
    cumulative = jnp.cumsum(probability)
    slot = jnp.searchsorted(cumulative, point * cumulative[-1], side="right").astype(jnp.int32)
    last = probability.size - 1 - jnp.argmax(probability[::-1] > 0)
    return jnp.minimum(slot, last), jnp.broadcast_to(cumulative[-1] > 0, point.shape)


def _without_replacement(key: jax.Array, probability: jax.Array, batch: int) -> tuple[jax.Array, jax.Array]:
    """Different slots i32[batch], and bool[batch]: there was one to draw."""
    gumbel = jax.random.gumbel(key, probability.shape, jnp.float32)
    keys, slot = jax.lax.top_k(jnp.log(probability) + gumbel, min(batch, probability.size))
    missing = (0, batch - slot.size)
    return jnp.pad(slot, missing), jnp.pad(keys > -jnp.inf, missing)


def health(store: Buffer, odds: jax.Array) -> Info:
    """What a buffer is like: whether it is full, narrow, stale or restless.

    Args:
        store: The buffer.
        odds: f32[capacity], the replay distribution over all that is held, in play or not.

    Returns:
        `fill`, the share of slots held; `entropy` of the replay distribution in nats, and `effective`, its exponential: as
        many tasks, all alike, would have that entropy; `age`, the mean number of proposals since a task came in; `written`,
        tasks that came in so far, whose growth is the churn.
    """
    held = store.held
    entropy = -jnp.sum(jnp.where(odds > 0, odds * jnp.log(jnp.where(odds > 0, odds, 1.0)), 0.0))
    age = jnp.sum(jnp.where(held, store.clock - store.born, 0)) / jnp.maximum(jnp.sum(held), 1)
    fill = jnp.mean(held, dtype=jnp.float32)
    effective = jnp.where(jnp.any(held), jnp.exp(entropy), 0.0)
    return {"fill": fill, "entropy": entropy, "effective": effective, "age": age, "written": jnp.sum(store.stamp)}


def prioritised(
    source: Source,
    *,
    capacity: int,
    replay: Number = 0.5,
    minimal_fill: float = 0.5,
    staleness: Number = 0.3,
    priority: Priority | None = None,
    replace: bool = True,
    robust: bool = False,
    worth: RetentionScore = buffer.by_score,
) -> Curriculum:
    """Replays stored tasks by score and staleness, and takes new ones from a source.

    A member that needs a task replays one with probability `replay`, once the buffer is filled to `minimal_fill`. When its
    lifetime ends, the task (re)enters the buffer with its score.

    Args:
        source: Of new tasks.
        capacity: Tasks stored, at least 1.
        replay: Probability of a replay, in [0, 1].
        minimal_fill: Share of the capacity that must be held before the first replay, in [0, 1].
        staleness: rho, the weight of staleness beside the score, in [0, 1].
        priority: `rank(temperature)` or `proportional(temperature)`; by default `rank(0.3)`.
        replace: Whether one proposal may draw a task for several members. Without, a proposal that runs out of tasks takes
            new ones.
        robust: Whether the meta-learner may learn from replayed tasks only, so that lives on new ones do no more than score
            them (robust PLR, Jiang et al. 2021b, arXiv 2110.02439).
        worth: Who is kept when the buffer is full; by default the highest scores. See `diverse`.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1 task, got {capacity}.")
    check_shares({"replay": replay, "minimal_fill": minimal_fill, "staleness": staleness})
    priority = priority or rank()

    def init(key):
        state = source.init(key)
        example = jax.eval_shape(lambda s: source.take(s, jnp.ones(1, bool))[1], state)
        example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), example)
        return Prioritised(state, buffer.init(example, capacity), jnp.zeros((), jnp.int32))

    def decide(key, probability, batch: int):
        """bool[batch], whether to replay; slots i32[batch] drawn from `probability`; bool[batch], there was one to draw."""
        if replace:
            chance, point = jax.random.uniform(key, (2, batch), jnp.float32)
            return chance < replay, *_with_replacement(point, probability)
        decide_key, draw_key = jax.random.split(key)
        again = jax.random.bernoulli(decide_key, replay, (batch,))
        return again, *_without_replacement(draw_key, probability, batch)

    def propose(key, state, needed):
        store = state.buffer
        probability = replay_distribution(store, priority, staleness=staleness, needed=jnp.sum(needed))
        filled = jnp.sum(store.held) >= max(1, minimal_fill * capacity)
        again, slot, found = decide(key, probability, needed.size)
        asked = needed & filled & again
        turn = jnp.maximum(jnp.cumsum(asked, dtype=jnp.int32) - 1, 0)
        slot, again = slot[turn], asked & found[turn]
        store = store._replace(clock=store.clock + jnp.sum(needed, dtype=jnp.int32))
        store, old = buffer.draw(store, slot, again)
        fed, new = source.take(state.source, needed & ~again)
        replayed = state.replayed + jnp.sum(again, dtype=jnp.int32)
        task: Task = tree_where(again, old, new)
        learn = again if robust else jnp.ones_like(again)
        return Prioritised(fed, store, replayed), task._replace(origin=task.origin._replace(learn=learn))

    def info(state):
        store = state.buffer
        scores = jnp.where(store.held, store.score, 0.0)
        score = jnp.sum(scores) / jnp.maximum(jnp.sum(store.held), 1)
        odds = replay_distribution(store, priority, staleness=staleness, in_play=True)
        return {**source.info(state.source), **health(store, odds), "score": score, "replayed": state.replayed}

    return Curriculum(
        init=init,
        propose=propose,
        report=lambda state, tasks, score, outcomes, finished: state._replace(
            buffer=buffer.insert(state.buffer, tasks, score, finished, worth)
        ),
        refresh=lambda key, state: state._replace(source=source.refresh(key, state.source)),
        info=info,
        contents=lambda state: (state.buffer.task, state.buffer.score, state.buffer.held),
        score=source.score,
    )
