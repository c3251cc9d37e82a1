"""The recurrent layer against flax's cells, and its own reverse pass against plain differentiation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.nets import recurrent

STEPS, ENVIRONMENTS, INPUTS, WIDTH = 5, 3, 4, 6

every_cell = pytest.mark.parametrize("cell", [recurrent.gru, recurrent.lstm], ids=["gru", "lstm"])


def data(cell, seed=0, dtype=jnp.float32, batch=()):
    """Weights with biases that are not zero, inputs, and a keep that is 0 in a quarter of the steps."""
    keys = jax.random.split(jax.random.key(seed), 6)
    shapes = ((INPUTS, cell.gates * WIDTH), (WIDTH, cell.gates * WIDTH), (cell.gates * WIDTH,), (cell.gates * WIDTH,))
    weights = (0.5 * jax.random.normal(k, (*batch, *shape), dtype) for k, shape in zip(keys, shapes, strict=False))
    inputs = jax.random.normal(keys[4], (*batch, STEPS, ENVIRONMENTS, INPUTS), dtype)
    keep = (jax.random.uniform(keys[5], (*batch, STEPS, ENVIRONMENTS)) > 0.25).astype(dtype)
    return recurrent.Weights(*weights), inputs, keep


def flax_cell(cell, weights):
    """Flax's cell with the same weights. Its gates have one bias where ours have two, which add up."""
    x, h, x_bias, h_bias = (np.split(np.asarray(leaf), cell.gates, axis=-1) for leaf in weights)
    if cell is recurrent.gru:
        for i in (0, 1):
            x_bias[i] = x_bias[i] + h_bias[i]
        parts = {f"i{n}": {"kernel": x[i], "bias": x_bias[i]} for i, n in enumerate("rzn")}
        parts |= {f"h{n}": {"kernel": h[i]} for i, n in enumerate("rz")}
        return nn.GRUCell(WIDTH), parts | {"hn": {"kernel": h[2], "bias": h_bias[2]}}
    parts = {f"i{n}": {"kernel": x[i]} for i, n in enumerate("ifgo")}
    parts |= {f"h{n}": {"kernel": h[i], "bias": x_bias[i] + h_bias[i]} for i, n in enumerate("ifgo")}
    return nn.OptimizedLSTMCell(WIDTH), parts


@every_cell
def test_equals_flax(cell, loose_ranks):
    weights, inputs, keep = data(cell)
    module, parameters = flax_cell(cell, weights)
    carry = jnp.zeros((ENVIRONMENTS, WIDTH))
    carry = carry if cell is recurrent.gru else (carry, carry)
    want = [None] * STEPS
    for t in reversed(range(STEPS)):
        carry = jax.tree.map(lambda array, t=t: array * keep[t][:, None], carry)
        carry, want[t] = module.apply({"params": parameters}, carry, inputs[t])
    got = recurrent.backwards(cell, weights, inputs, keep)
    np.testing.assert_allclose(got, np.stack(want), atol=1e-5)  # sums of 10 products near 1, five steps: 50 * 2^-24 * few


@every_cell
def test_forgets_where_an_episode_ended(cell):
    """What comes after an ended step changes nothing before it, in its own environment; in the others it does."""
    weights, inputs, _ = data(cell)
    keep = jnp.ones((STEPS, ENVIRONMENTS)).at[2, 1].set(0.0)
    other = inputs.at[3:].add(1.0)
    run = jax.jit(lambda x: recurrent.backwards(cell, weights, x, keep))
    same = jnp.all(run(inputs) == run(other), axis=-1)
    assert same[:3, 1].all() and not same[:3, 0].any() and not same[:3, 2].any() and not same[3:].any()


def naive(cell, weights, inputs, keep):
    """The recurrence as it is written, for plain differentiation."""

    def step(carry, now):
        x, k = now
        kept = tuple(array * k[:, None] for array in carry)
        bias = weights.input_bias[None], weights.hidden_bias[None]
        carry = cell.step(x @ weights.input + bias[0], kept[0] @ weights.hidden + bias[1], kept)
        return carry, carry[0]

    start = (jnp.zeros((ENVIRONMENTS, WIDTH), inputs.dtype),) * cell.carries
    return jax.lax.scan(step, start, (inputs, keep), reverse=True)[1]


def loss(layer, cell, weights, inputs, keep):
    """A scalar in which every output has a weight of its own."""
    output = layer(cell, weights, inputs, keep)
    return jnp.sum(output * jnp.sin(jnp.arange(output.size, dtype=output.dtype)).reshape(output.shape))


@every_cell
def test_gradients_equal_plain_ones(cell):
    with jax.enable_x64(True):
        weights, inputs, keep = data(cell, dtype=jnp.float64)
        got, want = (
            jax.jit(jax.value_and_grad(lambda w, x, layer=layer: loss(layer, cell, w, x, keep), (0, 1)))(weights, inputs)
            for layer in (recurrent.backwards, naive)
        )
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@every_cell
@pytest.mark.parametrize("shared", [True, False], ids=["shared weights", "own weights"])
def test_gradients_equal_plain_ones_under_vmap(cell, shared):
    """Members may share weights, as under a meta-gradient, or each have their own, as under evolution."""
    with jax.enable_x64(True):
        weights, inputs, keep = data(cell, dtype=jnp.float64, batch=(3,))
        weights = jax.tree.map(lambda leaf: leaf[0], weights) if shared else weights

        def total(layer, weights, inputs):
            each = jax.vmap(lambda w, x, k: loss(layer, cell, w, x, k), (None if shared else 0, 0, 0))
            return jnp.sum(each(weights, inputs, keep))

        got, want = (
            jax.jit(jax.grad(lambda w, x, layer=layer: total(layer, w, x), (0, 1)))(weights, inputs)
            for layer in (recurrent.backwards, naive)
        )
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@every_cell
def test_vmap_equals_the_loop(cell):
    weights, inputs, keep = data(cell, batch=(3,))
    together = jax.vmap(lambda w, x, k: recurrent.backwards(cell, w, x, k))(weights, inputs, keep)
    for i in range(3):
        row = jax.tree.map(lambda leaf, i=i: leaf[i], weights)
        np.testing.assert_allclose(together[i], recurrent.backwards(cell, row, inputs[i], keep[i]), atol=1e-5)


@every_cell
def test_initial_weights(cell):
    weights = recurrent.init(jax.random.key(0), cell, INPUTS, WIDTH)
    assert weights.input.shape == (INPUTS, cell.gates * WIDTH)
    for gate in jnp.split(weights.hidden, cell.gates, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(WIDTH), atol=1e-5)
    assert not weights.input_bias.any() and not weights.hidden_bias.any()
    assert all(leaf.dtype == jnp.float32 and not leaf.weak_type for leaf in weights)
