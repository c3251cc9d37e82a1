"""Scores of tasks: untrained agents of a rule live on them, in blocks of one shape."""

from collections.abc import Callable
from typing import TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np

from groove.base import Outcome, Reference, Score, Theta
from groove.files.curriculumfile import Rows
from groove.files.journal import Journal
from groove.lifetime import Lifetime, whole_life
from levels.base import Level

Measure: TypeAlias = Callable[[jax.Array, jax.Array, Theta, Level, jax.Array], chex.ArrayTree]
"""`(key, number i32[], theta, level, lifetime i32[]) -> tree`, what is measured of one task; numbers part tasks."""


class Stopped(Exception):
    """Rating was asked to stop; the journal holds what was done."""


def rated(
    key: jax.Array,
    rows: Rows,
    life: Lifetime,
    theta: Theta,
    score: Score,
    *,
    block: int = 32,
    journal: Journal | None = None,
    seen: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Rows:
    """The rows with their scores, what these compare with and what the rule reached.

    Tasks are lived on in blocks, those with short lives first, so that they do not wait for long ones. The numbers depend on
    the key, the rows and the size of a block, whether they are found at once or in several goes.

    Args:
        key: Not to be used again; row r draws from the key and r alone.
        rows: Tasks; their scores are ignored.
        life: How the rule's agents live and are measured, with the signals that the score needs.
        theta: Of the rule.
        score: What tasks are scored by; visits before this one are not known to it.
        block: Tasks lived on at once, at least 1.
        journal: Keeps finished blocks, and gives them back when the same work begins anew.
        seen: `(done, total) -> None`, called with numbers of tasks after every block.
        stopped: Asked before every block whether to stop.

    Returns:
        The same rows in the same order. Scores may be NaN or infinite where returns are.

    Raises:
        ValueError: `block` is less than 1, or a block of the journal is of other work.
        Stopped: `stopped` said so.

    Example:
        >>> import jax, levels
        >>> from groove import curate, curricula, lifetime, rules, scores
        >>> family = levels.bandit.bernoulli_bandit(arms=3)
        >>> life = lifetime.lifetime(rules.random_policy(family.environment.spec), family.environment, environments=2)
        >>> rows = curate.sampled(jax.random.key(0), family, curricula.constant(1), count=3)
        >>> rows = curate.rated(jax.random.key(1), rows, life, (), scores.exact_regret(family.optimum))
        >>> rows.score.shape, rows.outcome.episode_return.shape
        ((3,), (3,))
    """
    measure = rater(life, score)
    tree = in_blocks(key, rows, measure, theta, block=block, journal=journal, seen=seen, stopped=stopped)
    return rows._replace(reference=tree[0], outcome=tree[1], score=tree[2])


def in_blocks(
    key: jax.Array,
    rows: Rows,
    measure: Measure,
    theta: Theta,
    *,
    block: int = 32,
    journal: Journal | None = None,
    seen: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> chex.ArrayTree:
    """What is measured of every task, as `rated` does it: compiled once, in blocks, those with short lives first.

    Args:
        key: Given to every call of `measure`.
        rows: Tasks; row r has the number r.
        measure: Of one task.
        theta: Of the rule.
        block: Tasks measured at once, at least 1.
        journal: As in `rated`.
        seen: As in `rated`.
        stopped: As in `rated`.

    Returns:
        The tree that `measure` returns, its leaves NumPy arrays [rows, ...] in the order of the rows.

    Raises:
        ValueError: `block` is less than 1, there are no rows, or a block of the journal is of other work.
        Stopped: `stopped` said so.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1 task, got {block}.")
    total = len(rows.lifetime)
    if not total:
        raise ValueError("rows must hold at least 1 task, got 0.")
    order = np.argsort(rows.lifetime, kind="stable")
    compiled = jax.jit(jax.vmap(measure, (None, 0, None, 0, 0)))
    found = []
    for number, begin in enumerate(range(0, total, block)):
        place = order[np.minimum(np.arange(begin, begin + block), total - 1)]
        known = None if journal is None else journal.read(number)
        if known is None:
            if stopped():
                raise Stopped(f"stopped after {begin} of {total} tasks")
            level = jax.tree.map(lambda leaf: leaf[place], rows.level)  # noqa: B023
            tree = jax.device_get(compiled(key, place.astype(np.int32), theta, level, rows.lifetime[place]))
            known = jax.tree.leaves(tree)
            if journal is not None:
                journal.write(number, known)
        found.append(known)
        seen(min(total, begin + block), total)
    leaves = [np.concatenate(parts)[:total][np.argsort(order)] for parts in zip(*found, strict=True)]
    like = jax.eval_shape(measure, key, _example(rows.serial), theta, *_examples(rows))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def rater(life: Lifetime, score: Score) -> Callable[..., tuple[Reference, Outcome, jax.Array]]:
    """`(key, number i32[], theta, level, lifetime i32[]) -> (reference, outcome, score f32[])`, of one task.

    Args:
        life: How the rule's agents live and are measured.
        score: What tasks are scored by.
    """
    memory = jax.tree.map(jnp.asarray, score.memory)

    def one(key, number, theta, level: Level, lifetime):
        reference_key, *keys = jax.random.split(jax.random.fold_in(key, number), 3)
        reference = score.reference(reference_key, level, lifetime)
        outcome = whole_life(life, keys, theta, level, lifetime)
        return reference, outcome, score.score(outcome, reference, memory)[0]

    return one


def _example(column: np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(column.shape[1:], column.dtype)


def _examples(rows: Rows) -> tuple[Level, jax.ShapeDtypeStruct]:
    return jax.tree.map(_example, (rows.level, rows.lifetime))
