"""Who is kept, where likeness counts beside the score."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from groove.base import Task
from groove.curricula.buffer import Buffer, RetentionScore
from levels.base import Level


def diverse(features: Callable[[Level], Mapping[str, jax.Array]], *, weight: float = 0.5) -> RetentionScore:
    """Weighs a task's score with the distance to the nearest other level, both as ranks among all that compete.

    worth = (1 - weight) r(score) + weight r(distance), r in [0, 1] the share of competitors that have less. Distances are
    Euclidean over a family's features, each divided by its deviation among the competitors. A copy has the lowest rank of
    distance, whatever its score.

    Args:
        features: A family's `features`.
        weight: In [0, 1]; 0 keeps by score alone.

    Returns:
        For `prioritised(worth=...)`. It takes time and memory quadratic in capacity and batch.

    Example:
        >>> import levels
        >>> from groove import curricula
        >>> family = levels.bandit.bernoulli_bandit(arms=3)
        >>> worth = curricula.diverse(family.features, weight=0.3)
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie in [0, 1], got {weight}.")

    def measure(level):
        return jnp.stack([jnp.asarray(value, jnp.float32) for _, value in sorted(features(level).items())])

    def worth(buffer: Buffer, task: Task, score: jax.Array, new: jax.Array) -> tuple[jax.Array, jax.Array]:
        compete = jnp.concatenate([buffer.held, new])
        points = jnp.concatenate([jax.vmap(measure)(buffer.task.level), jax.vmap(measure)(task.level)])
        scores = jnp.concatenate([buffer.score, score])
        value = (1 - weight) * _share(scores, compete) + weight * _share(nearest(points, compete), compete)
        value = jnp.where(compete, value, -jnp.inf)
        return value[: buffer.score.size], value[buffer.score.size :]

    return worth


def nearest(points: jax.Array, valid: jax.Array) -> jax.Array:
    """The distance f32[n] from each of f32[n, d] to the nearest other valid one, inf if there is none.

    Coordinates are divided by their deviation over the valid points; those that do not vary do not count.
    """
    count = jnp.maximum(jnp.sum(valid, dtype=jnp.float32), 1.0)
    mean = jnp.sum(jnp.where(valid[:, None], points, 0.0), axis=0) / count
    centred = jnp.where(valid[:, None], points - mean[None], 0.0)
    deviation = jnp.sqrt(jnp.sum(jnp.square(centred), axis=0) / count)
    scaled = centred * jnp.where(deviation > 0, 1.0 / jnp.where(deviation > 0, deviation, 1.0), 0.0)[None]
    square = jnp.sum(jnp.square(scaled), axis=1)
    distance = jnp.maximum(square[:, None] + square[None] - 2 * scaled @ scaled.T, 0.0)
    others = valid[None] & ~jnp.eye(valid.size, dtype=bool)
    return jnp.sqrt(jnp.min(jnp.where(others, distance, jnp.inf), axis=1))


def _share(value: jax.Array, valid: jax.Array) -> jax.Array:
    """The share of the valid that have less: f32[n] in [0, 1]; of equals it is the same."""
    ordered = jnp.sort(jnp.where(valid, value, jnp.inf))
    less = jnp.searchsorted(ordered, value, side="left").astype(jnp.float32)
    return less / jnp.maximum(jnp.sum(valid, dtype=jnp.float32) - 1, 1.0)
