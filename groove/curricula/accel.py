"""ACCEL: small edits of the tasks that teach most (Parker-Holder et al. 2022, arXiv 2203.01302)."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from groove.base import Curriculum, Score, Task
from groove.base.ranges import Number, check_shares
from groove.base.trees import tree_take, tree_where
from groove.curricula.prioritised import Priority, rank
from groove.curricula.source import Pool, new_task, ring
from levels.base import Generator

FIRST_SERIAL = 2**30
"""Of edited tasks; those of a source count from 0."""


class Edited(NamedTuple):
    """A curriculum, and edits of what it keeps, waiting to be lived on."""

    inner: chex.ArrayTree
    pool: Pool


class _Parents(NamedTuple):
    """What edits are made from."""

    task: Task  # PyTree of [C, ...]
    probability: jax.Array  # f32[C]


def accel(
    curriculum: Curriculum,
    generator: Generator,
    score: Score | None = None,
    *,
    rate: Number = 0.5,
    edits: int = 3,
    size: int,
    block: int = 32,
    priority: Priority | None = None,
    learn: bool = True,
) -> Curriculum:
    """Lets members live on edits of what a curriculum keeps.

    Edits are made, and their references computed, in `refresh`. A member that needs a task gets an edit with probability
    `rate`, as far as there are any, else what the curriculum proposes. What it reports enters the curriculum like any other
    task, with its parent's serial.

    Edits are handed out in the order in which they were made, each after the `size` made before it: so far its parent's
    choice lies back. They are not made anew whenever scores change, for their references cost more than all else. `waiting`
    in info counts them.

    Args:
        curriculum: That keeps tasks by score, such as `prioritised`.
        generator: With `mutate`.
        score: Whose references are computed; by default that of the curriculum.
        rate: In [0, 1].
        edits: Of a level, one upon the other, at least 1.
        size: The most edits that are taken between two refreshes; when they run out, the curriculum proposes.
        block: Edits made at once.
        priority: Who becomes a parent; by default `rank(0.3)`.
        learn: Whether the meta-learner may learn from edits that were never scored; False for ACCEL on robust PLR.
    """
    check_shares({"rate": rate})
    scored = score or curriculum.score
    if scored is None:
        raise ValueError("score must be given, for the curriculum has none.")
    if edits < 1:
        raise ValueError(f"edits must be at least 1, got {edits}.")
    if generator.mutate is None:
        raise ValueError("accel() needs a generator with mutate, got one without.")
    mutate, choice = generator.mutate, priority or rank()

    def make(score, key, serial, parents: _Parents) -> Task:
        parent_key, edit_key, reference_key = jax.random.split(key, 3)
        row = jax.random.categorical(parent_key, jnp.log(parents.probability))
        parent = tree_take(parents.task, row)
        level, _ = jax.lax.scan(
            lambda level, key: (mutate(key, level), None), parent.level, jax.random.split(edit_key, edits)
        )
        made = new_task(
            score, reference_key, level, parent.lifetime, serial=FIRST_SERIAL + serial, vector=parent.origin.vector
        )
        return made._replace(origin=made.origin._replace(parent=parent.origin.serial, learn=jnp.array(learn)))

    tasks = ring(scored, make, size=size, block=block)

    def parents(inner) -> tuple[_Parents, jax.Array]:
        kept, scores, held = curriculum.contents(inner)
        return _Parents(kept, choice(scores, held)), jnp.any(held)

    def init(key):
        inner_key, pool_key = jax.random.split(key)
        inner = curriculum.init(inner_key)
        return Edited(inner, tasks.blank(pool_key, jax.eval_shape(parents, inner)[0]))  # nothing to edit yet

    def propose(key, state, needed):
        decide_key, inner_key = jax.random.split(key)
        asked = needed & jax.random.bernoulli(decide_key, rate, needed.shape)
        given = asked & (jnp.cumsum(asked, dtype=jnp.int32) <= state.pool.ready)
        inner, others = curriculum.propose(inner_key, state.inner, needed & ~given)
        pool, edits = tasks.take(state.pool, given)
        return Edited(inner, pool), tree_where(given, edits, others)

    def refresh(key, state):
        inner = curriculum.refresh(key, state.inner)
        guide, any_held = parents(inner)
        return Edited(inner, jax.lax.cond(any_held, lambda: tasks.refresh(state.pool, guide), lambda: state.pool))

    return Curriculum(
        init=init,
        propose=propose,
        report=lambda state, tasks, score, outcomes, finished: state._replace(
            inner=curriculum.report(state.inner, tasks, score, outcomes, finished)
        ),
        refresh=refresh,
        info=lambda state: {**curriculum.info(state.inner), "edits": state.pool.taken, "waiting": state.pool.ready},
        contents=lambda state: curriculum.contents(state.inner),
        score=scored,
    )
