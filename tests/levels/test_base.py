"""Random words and weights are those of JAX's own functions, however they are batched, and compile as one batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.nets.agents import lecun_normal
from levels.base import in_one_batch, words

DRAWS = {
    "words": (lambda key: words(key, 4, 3, 2), lambda key: jax.random.bits(key, (4, 3, 2), jnp.uint32)),
    "no words": (lambda key: words(key, 0, 3), lambda key: jax.random.bits(key, (0, 3), jnp.uint32)),
    **{
        f"weights of {rows} rows": (
            lambda key, rows=rows: lecun_normal(key, (rows, 3)),
            lambda key, rows=rows: jax.nn.initializers.lecun_normal()(key, (rows, 3)),
        )
        for rows in (2, 3, 7, 8, 17)
    },
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_those_of_jax_under_any_number_of_vmaps(name):
    ours, of_jax = DRAWS[name]
    for shape in ((), (3,), (3, 2), (2, 1, 2)):
        keys = jax.random.split(jax.random.key(1), shape)
        for _ in shape:
            ours, of_jax = jax.vmap(ours), jax.vmap(of_jax)
        np.testing.assert_array_equal(jax.jit(ours)(keys), jax.jit(of_jax)(keys))
        ours, of_jax = DRAWS[name]


def test_keys_may_be_batched_on_any_axis():
    keys = jax.random.split(jax.random.key(2), (3, 2))
    found = jax.jit(jax.vmap(jax.vmap(lambda key: words(key, 5)), in_axes=1))(keys)
    np.testing.assert_array_equal(found, jax.jit(lambda keys: jax.vmap(jax.vmap(lambda key: words(key, 5)))(keys.T))(keys))


def test_nested_vmaps_draw_in_one():
    keys = jax.random.split(jax.random.key(3), (3, 2))
    program = str(jax.make_jaxpr(jax.vmap(jax.vmap(lambda key: in_one_batch(jax.random.bits, key))))(keys))
    assert "reshape" in program and "u32[6]" in program


def test_what_is_drawn_may_weigh_what_is_differentiated():
    keys = jax.random.split(jax.random.key(4), 3)

    def loss(x, key):
        return x * jnp.sum(words(key, 4) >> 20).astype(jnp.float32)

    slopes = jax.jit(jax.vmap(jax.grad(jax.checkpoint(loss)), (None, 0)))(1.0, keys)
    summed = jax.jit(jax.vmap(lambda key: jnp.sum(words(key, 4) >> 20).astype(jnp.float32)))
    np.testing.assert_array_equal(slopes, summed(keys))
