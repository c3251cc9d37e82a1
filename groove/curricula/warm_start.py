"""Curricula that begin with tasks that somebody has scored before."""

import jax
import jax.numpy as jnp

from groove.base import Curriculum, Outcome, Task


def warm_start(curriculum: Curriculum, tasks: Task, score: jax.Array) -> Curriculum:
    """The same curriculum, that begins as if these tasks had been lived on and reported with these scores.

    Args:
        curriculum: One that keeps what is reported to it, such as `prioritised` or `edited`.
        tasks: [size, ...], with references filled; serials must be none of the curriculum's own.
        score: f32[size], finite.

    Raises:
        ValueError: There are no tasks, or not as many scores.

    Example:
        >>> import jax, jax.numpy as jnp, levels
        >>> from groove import curricula, scores
        >>> family = levels.bandit.bernoulli_bandit(arms=2)
        >>> source = curricula.pool(family.generator, scores.uniform(), curricula.constant(3), size=4)
        >>> tasks = source.take(source.init(jax.random.key(1)), jnp.ones(2, bool))[1]
        >>> teacher = curricula.warm_start(curricula.prioritised(source, capacity=4), tasks, jnp.array([1.0, 2.0]))
        >>> float(teacher.contents(teacher.init(jax.random.key(0)))[1].max())
        2.0
    """
    size = tasks.lifetime.shape[0]
    if size < 1 or score.shape != (size,):
        raise ValueError(f"tasks must hold at least 1 task, and score one for each, got {size} and scores {score.shape}.")
    unknown = jnp.full(size, jnp.nan, jnp.float32)

    def init(key):
        init_key, refresh_key = jax.random.split(key)
        state = curriculum.report(curriculum.init(init_key), tasks, score, Outcome(unknown, unknown), jnp.ones(size, bool))
        return curriculum.refresh(refresh_key, state)  # which may make something of them, such as edits

    return curriculum._replace(init=init)
