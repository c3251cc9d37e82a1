"""Sampling for learnability: lives that only select (SFL, Rutherford et al. 2024, arXiv 2408.15099)."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from groove.base import Curriculum, Source, Task
from groove.base.ranges import Number, check_shares, is_concrete
from groove.base.trees import tree_take, tree_where
from groove.curricula import buffer
from groove.curricula.buffer import Buffer


class Selection(NamedTuple):
    """The best tasks of the last sweep, and those of the sweep under way."""

    source: chex.ArrayTree
    chosen: Buffer  # what is trained on
    sweep: Buffer  # what has been found since
    tried: jax.Array  # i32[]; tasks scored in this sweep


def sfl(source: Source, *, capacity: int, sweep: int, select: Number = 0.5, share: Number = 0.5) -> Curriculum:
    """Trains on the best of many tasks that were tried first.

    With probability `select` a member tries a new task: it lives there, is scored, and the meta-learner learns nothing from
    it. The `capacity` best of a sweep replace those of the sweep before at the first refresh after `sweep` tasks have been
    tried. The other members train: on one of the chosen tasks, all alike, with probability `share`, else on a new one.

    SFL scores by `scores.learnability`; any score does. Its authors run selection apart from training. Here it is a share of
    the lives, so that its price is counted.

    Args:
        source: Of new tasks.
        capacity: K, tasks chosen, at least 1.
        sweep: Tasks tried before a choice is made, at least `capacity`.
        select: Share of lives that only select, in [0, 1).
        share: Of the others, share that trains on chosen tasks, in [0, 1].
    """
    if not 1 <= capacity <= sweep:
        raise ValueError(f"capacity must be at least 1 and at most the sweep of {sweep} tasks, got {capacity}.")
    if is_concrete(select) and not 0 <= select < 1:
        raise ValueError(f"select must lie in [0, 1), got {select}.")
    check_shares({"share": share})

    def init(key):
        state = source.init(key)
        example = jax.eval_shape(lambda s: source.take(s, jnp.ones(1, bool))[1], state)
        example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), example)
        empty = buffer.init(example, capacity)
        return Selection(state, empty, empty, jnp.zeros((), jnp.int32))

    def propose(key, state, needed):
        select_key, share_key, draw_key = jax.random.split(key, 3)
        held = state.chosen.held
        trying = needed & jax.random.bernoulli(select_key, select, needed.shape)
        known = needed & ~trying & jax.random.bernoulli(share_key, share, needed.shape) & jnp.any(held)
        slot = jax.random.categorical(draw_key, jnp.where(held, 0.0, -jnp.inf), shape=needed.shape).astype(jnp.int32)
        old: Task = tree_take(state.chosen.task, slot)
        fed, new = source.take(state.source, needed & ~known)
        task: Task = tree_where(known, old, new)
        return state._replace(source=fed), task._replace(origin=task.origin._replace(learn=~trying))

    def report(state, tasks, score, outcomes, finished):
        tried = finished & ~tasks.origin.learn
        found = buffer.insert(state.sweep, tasks, score, tried)
        return state._replace(sweep=found, tried=state.tried + jnp.sum(tried, dtype=jnp.int32))

    def refresh(key, state):
        over = state.tried >= sweep
        empty = buffer.clear(state.sweep)
        chosen, begun = tree_where(over, (state.sweep, empty), (state.chosen, state.sweep))
        return Selection(source.refresh(key, state.source), chosen, begun, jnp.where(over, 0, state.tried))

    def info(state):
        held = state.chosen.held
        scores = jnp.where(held, state.chosen.score, 0.0)
        mean = jnp.sum(scores) / jnp.maximum(jnp.sum(held), 1)
        return {**source.info(state.source), "fill": jnp.mean(held, dtype=jnp.float32), "score": mean, "tried": state.tried}

    return Curriculum(
        init=init,
        propose=propose,
        report=report,
        refresh=refresh,
        info=info,
        contents=lambda state: (state.chosen.task, state.chosen.score, state.chosen.held),
        score=source.score,
    )
