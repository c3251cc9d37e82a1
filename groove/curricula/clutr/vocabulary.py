"""Levels as sequences: every number of a level becomes one of a few values that it takes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from levels.base import Level


class Vocabulary(NamedTuple):
    """The values that each of the L numbers of a level may take."""

    value: jax.Array  # f32[L, K]; ascending, the last one repeated where there are fewer than K


def numbers(level: Level) -> jax.Array:
    """All numbers of a level in a row, f32[L]."""
    return jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(level)])


def assemble(row: jax.Array, like: Level) -> Level:
    """The level of a row of numbers f32[L]: the inverse of `numbers`, rounded where `like` holds integers.

    Args:
        row: f32[L].
        like: A level, of arrays or of `jax.ShapeDtypeStruct`.
    """
    leaves, place = [], 0
    for leaf in jax.tree.leaves(like):
        part = row[place : place + leaf.size].reshape(leaf.shape)
        place += leaf.size
        whole = jnp.issubdtype(leaf.dtype, jnp.integer)
        leaves.append(part > 0.5 if leaf.dtype == bool else (jnp.round(part) if whole else part).astype(leaf.dtype))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def vocabulary(rows: np.ndarray, *, size: int = 16) -> Vocabulary:
    """What the numbers of sampled levels are like: all their values where these are few, else quantiles.

    Args:
        rows: f32[n, L], finite.
        size: K, values of a number, at least 2.
    """
    if size < 2:
        raise ValueError(f"size must be at least 2 values, got {size}.")

    def values(column: np.ndarray) -> np.ndarray:
        known = np.unique(column)
        if len(known) > size:
            known = np.quantile(column, (np.arange(size) + 0.5) / size)
        return np.pad(known, (0, size - len(known)), mode="edge")

    return Vocabulary(jnp.asarray(np.stack([values(column) for column in np.asarray(rows).T]), jnp.float32))


def tokens(found: Vocabulary, row: jax.Array) -> jax.Array:
    """Which value is nearest to each number, i32[L]; of equals the first."""
    return jnp.argmin(jnp.abs(found.value - row[:, None]), axis=1).astype(jnp.int32)


def spoken(found: Vocabulary, token: jax.Array) -> jax.Array:
    """The numbers f32[L] of tokens i32[L]."""
    return jnp.take_along_axis(found.value, token[:, None], axis=1)[:, 0]
