"""Curricula without preference: domain randomisation, and a frozen set of tasks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove.base import Curriculum, Source, Task
from groove.base.trees import arrivals, tree_scatter, tree_take


def uniform(source: Source) -> Curriculum:
    """Domain randomisation: every task is new. Its state is the source's."""

    def contents(state):
        nothing = jnp.zeros(state.task.lifetime.size, jnp.float32)
        return state.task, nothing, jnp.zeros(nothing.size, bool)

    return Curriculum(
        init=source.init,
        propose=lambda key, state, needed: source.take(state, needed),
        report=lambda state, tasks, score, outcomes, finished: state,
        refresh=source.refresh,
        info=source.info,
        contents=contents,
        score=source.score,
    )


class Frozen(NamedTuple):
    """A fixed set of tasks and where its cycle stands."""

    task: Task  # PyTree of [size, ...]
    score: jax.Array  # f32[size]; of the last report, -inf before the first
    key: jax.Array  # typed key[]; of the shuffles
    proposed: jax.Array  # i32[]; proposals so far


def frozen(tasks: Task) -> Curriculum:
    """A fixed set, of any size: shuffled anew for each pass, and every pass uses each task once.

    Args:
        tasks: [size, ...], with references filled; `origin.serial` is overwritten by the place in the set.
    """
    size = tasks.lifetime.shape[0]
    if size < 1:
        raise ValueError("tasks must hold at least 1 task, got 0.")
    minus = jnp.full(size, -1, jnp.int32)
    tasks = jax.tree.map(jnp.asarray, tasks)  # those of a file are NumPy's
    origin = tasks.origin._replace(serial=jnp.arange(size, dtype=jnp.int32), slot=minus, stamp=minus)
    tasks = tasks._replace(origin=origin)

    def init(key):
        return Frozen(tasks, jnp.full(size, -jnp.inf, jnp.float32), key, jnp.zeros((), jnp.int32))

    def propose(key, state, needed):
        number = state.proposed + jnp.cumsum(needed, dtype=jnp.int32) - needed
        first = state.proposed // size
        passes = first + jnp.arange(needed.size // size + 2, dtype=jnp.int32)
        order = jax.vmap(lambda p: jax.random.permutation(jax.random.fold_in(state.key, p), size))(passes)
        row = order[number // size - first, number % size]
        proposed = state.proposed + jnp.sum(needed, dtype=jnp.int32)
        return state._replace(proposed=proposed), tree_take(state.task, row)

    def report(state, tasks, score, outcomes, finished):
        place = jnp.where(finished & jnp.isfinite(score), tasks.origin.serial, size)
        first = jnp.argmax(place[:, None] == place[None], axis=1) == jnp.arange(place.size)
        arrived = arrivals(jnp.where(first, place, size), size)  # of several reports on one task the first wins
        memory, score = tree_scatter((state.task.memory, state.score), (tasks.memory, score), arrived)
        return state._replace(task=state.task._replace(memory=memory), score=score)

    return Curriculum(
        init=init,
        propose=propose,
        report=report,
        refresh=lambda key, state: state,
        info=lambda state: {"passes": state.proposed // size},
        contents=lambda state: (state.task, state.score, state.score > -jnp.inf),
    )
