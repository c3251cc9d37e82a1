"""Rows of PyTrees whose leaves share their leading axis: which of two, and where in a store."""

from typing import TypeVar

import chex
import jax
import jax.numpy as jnp

Tree = TypeVar("Tree", bound=chex.ArrayTree)


def tree_where(condition: jax.Array, true: chex.ArrayTree, false: chex.ArrayTree) -> chex.ArrayTree:
    """Selects one of two trees, of the same shapes and dtypes, by a condition bool[] or, row by row, bool[B]."""

    def leaf(a, b):
        trees = range(condition.ndim)
        return jax.lax.select(jax.lax.broadcast_in_dim(condition, a.shape, trees), a, b)

    return jax.tree.map(leaf, true, false)


def tree_take(tree: Tree, number: jax.Array) -> Tree:
    """Rows of a tree by their numbers, i32[...] in [0, N): PyTree of [N, ...] to [..., ...].

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.base import trees
        >>> trees.tree_take({"a": jnp.array([5, 6, 7])}, jnp.array([2, 0]))["a"].tolist()
        [7, 5]
    """
    chex.assert_type(number, int)
    place = number.astype(jnp.uint32)  # nothing to count from the end, leaf by leaf
    return jax.tree.map(lambda leaf: leaf.at[place].get(mode="promise_in_bounds"), tree)


def arrivals(place: jax.Array, size: int, row: jax.Array | None = None) -> jax.Array:
    """Which of the new rows each row of a store becomes: i32[size], -1 where it stays.

    Args:
        place: i32[B], where in the store each new row goes, at least 0, no place twice; from `size` on nowhere.
        size: Rows of the store.
        row: i32[B], the numbers of the new rows; by default their order.

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.base import trees
        >>> trees.arrivals(jnp.array([2, 4, 0]), 4).tolist()
        [2, -1, 0, -1]
    """
    number = jnp.arange(place.size, dtype=jnp.int32) if row is None else row.astype(jnp.int32)
    return jnp.full(size, -1, jnp.int32).at[place].set(number, mode="drop")


def tree_scatter(old: Tree, new: Tree, arrived: jax.Array) -> Tree:
    """A store in which new rows have taken the place of others.

    One scatter, that of `arrivals`, serves all leaves: XLA for CPUs makes a loop of each, which takes long to compile.

    Args:
        old: PyTree of [N, ...].
        new: PyTree of [B, ...], of the same dtypes.
        arrived: i32[N], what `arrivals` returns.
    """
    return tree_where(arrived >= 0, tree_take(new, jnp.maximum(arrived, 0)), old)
