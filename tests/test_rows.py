"""Rows of stores."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.base import trees


def tree(count, seed):
    drawn = np.random.default_rng(seed)
    return {
        "float": jnp.asarray(drawn.normal(size=(count, 3)), jnp.float32),
        "whole": jnp.asarray(drawn.integers(-9, 9, count), jnp.int32),
        "flag": jnp.asarray(drawn.integers(0, 2, (count, 2, 2)), bool),
        "nothing": jnp.zeros((count, 0), jnp.float32),
        "key": jax.random.split(jax.random.key(seed), count),
    }


def plain(leaves):
    """Keys as numbers, for NumPy."""
    return {name: np.array(jax.random.key_data(leaf) if name == "key" else leaf) for name, leaf in leaves.items()}


@pytest.mark.parametrize("place", [[2, 0, 5, 9], [5, 5, 5, 5], [0, 1, 2, 3], [4, 7, 3, 5]])
def test_new_rows_go_where_they_are_sent(place):
    old, new = tree(5, 0), tree(4, 1)
    expected = plain(old)
    for row, target in enumerate(place):
        for name, leaf in plain(new).items():
            if target < 5:
                expected[name][target] = leaf[row]
    got = jax.jit(lambda old, new, place: trees.tree_scatter(old, new, trees.arrivals(place, 5)))(old, new, jnp.array(place))
    chex.assert_trees_all_equal(plain(got), expected)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, old)


def test_new_rows_may_come_in_any_order():
    place, row = jnp.array([3, 0, 4]), jnp.array([2, 0, 1])
    assert trees.arrivals(place, 4, row).tolist() == [0, -1, -1, 2]


@pytest.mark.parametrize("condition", [True, False])
def test_one_of_two_trees_is_chosen(condition):
    left, right = tree(4, 0), tree(4, 1)
    chex.assert_trees_all_equal(
        plain(trees.tree_where(jnp.array(condition), left, right)), plain(left if condition else right)
    )


def test_one_of_two_trees_is_chosen_row_by_row():
    left, right, wanted = tree(4, 0), tree(4, 1), np.array([True, False, False, True])
    expected = {name: plain(right)[name].copy() for name in right}
    for name, leaf in plain(left).items():
        expected[name][wanted] = leaf[wanted]
    chex.assert_trees_all_equal(plain(trees.tree_where(jnp.asarray(wanted), left, right)), expected)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_rows_are_picked_by_their_numbers(shape):
    store = tree(5, 0)
    number = np.random.default_rng(1).integers(0, 5, shape)
    got = jax.jit(trees.tree_take)(store, jnp.asarray(number, jnp.int32))
    chex.assert_trees_all_equal(plain(got), {name: leaf[number] for name, leaf in plain(store).items()})


def test_no_program_counts_picked_rows_from_the_end():
    """JAX adds three operations to each leaf where a number may be negative, which compile for long in sum."""
    program = jax.make_jaxpr(trees.tree_take)({"a": jnp.zeros((5, 2)), "b": jnp.zeros(5)}, jnp.arange(3))
    assert {equation.primitive.name for equation in program.eqns}.isdisjoint({"lt", "select_n", "add"})
