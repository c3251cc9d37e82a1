"""Recurrent layers that run backwards over a trajectory, built for speed in training.

A cell is its elementwise part alone; the products around it are written once. The layer's own reverse pass computes the
gradients of the gates; those of the weights follow outside the loop over time, in one large product over steps,
environments and whatever axes the caller maps over.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

Carry = tuple[jax.Array, ...]


class Cell(NamedTuple):
    """The elementwise part of a recurrent cell. Static and hashable.

    Attributes:
        gates: The number of gates; pre-activations are f32[..., gates * width].
        carries: The number of carried arrays f32[..., width]; the first is the output.
        step: `(input gates, hidden gates, carry) -> carry`.
    """

    gates: int
    carries: int
    step: Callable[[jax.Array, jax.Array, Carry], Carry]


def _gru(x: jax.Array, h: jax.Array, carry: Carry) -> Carry:
    x_reset, x_update, x_new = jnp.split(x, 3, axis=-1)
    h_reset, h_update, h_new = jnp.split(h, 3, axis=-1)
    update = jax.nn.sigmoid(x_update + h_update)
    new = jnp.tanh(x_new + jax.nn.sigmoid(x_reset + h_reset) * h_new)
    return (new + update * (carry[0] - new),)


def _lstm(x: jax.Array, h: jax.Array, carry: Carry) -> Carry:
    enter, forget, new, leave = jnp.split(x + h, 4, axis=-1)
    memory = jax.nn.sigmoid(forget) * carry[1] + jax.nn.sigmoid(enter) * jnp.tanh(new)
    return jax.nn.sigmoid(leave) * jnp.tanh(memory), memory


gru = Cell(gates=3, carries=1, step=_gru)
"""Gated recurrent unit (Cho et al. 2014), reset after the product; the carry is (h,)."""

lstm = Cell(gates=4, carries=2, step=_lstm)
"""Long short-term memory (Hochreiter and Schmidhuber 1997); the carry is (h, c)."""


class Weights(NamedTuple):
    """A recurrent layer's parameters, in gate order: reset, update, new (GRU); input, forget, new, output (LSTM)."""

    input: jax.Array  # f32[inputs, gates * width]
    hidden: jax.Array  # f32[width, gates * width]
    input_bias: jax.Array  # f32[gates * width]
    hidden_bias: jax.Array  # f32[gates * width]


def init(key: jax.Array, cell: Cell, inputs: int, width: int) -> Weights:
    """Lecun-normal input weights, an orthogonal hidden matrix per gate, zero biases."""
    input_key, hidden_key = jax.random.split(key)
    orthogonal = jax.nn.initializers.orthogonal()
    hidden = [orthogonal(gate_key, (width, width), jnp.float32) for gate_key in jax.random.split(hidden_key, cell.gates)]
    bias = jnp.zeros(cell.gates * width, jnp.float32)
    lecun = jax.nn.initializers.lecun_normal()
    return Weights(lecun(input_key, (inputs, cell.gates * width)), jnp.concatenate(hidden, axis=1), bias, bias)


def backwards(cell: Cell, weights: Weights, inputs: jax.Array, keep: jax.Array) -> jax.Array:
    """Runs a cell from the last step to the first.

    h_t = cell(x_t, k_t h_{t+1}), from h_T = 0.

    Args:
        cell: `gru` or `lstm`.
        weights: The layer's parameters.
        inputs: f32[T, E, inputs], x_t.
        keep: f32[T, E], k_t; 0 where step t + 1 belongs to another episode.

    Returns:
        f32[T, E, width], h_t. Differentiable once, in reverse, in weights and inputs.
    """
    trace = _run(cell, *jax.lax.stop_gradient((weights, inputs, keep)))
    input_gates = _product(inputs, weights.input, weights.input_bias)
    hidden_gates = _product(trace.kept[0], weights.hidden, weights.hidden_bias)
    return _attach(cell, input_gates, hidden_gates, trace)


class _Trace(NamedTuple):
    """A run of the layer, as its reverse pass needs it. Leading axes [T, E], but for the weights."""

    weights: Weights
    inputs: jax.Array
    keep: jax.Array
    kept: Carry  # the carry that each step started from
    hidden: jax.Array  # hidden gates
    output: jax.Array


def _product(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    return x @ weight + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


def _run(cell: Cell, weights: Weights, inputs: jax.Array, keep: jax.Array) -> _Trace:
    def step(carry, now):
        x, k = now
        kept = tuple(array * k[:, None] for array in carry)
        hidden = _product(kept[0], weights.hidden, weights.hidden_bias)
        carry = cell.step(_product(x, weights.input, weights.input_bias), hidden, kept)
        return carry, (kept, hidden, carry[0])

    start = (jnp.zeros((inputs.shape[1], weights.hidden.shape[0]), inputs.dtype),) * cell.carries
    _, (kept, hidden, output) = jax.lax.scan(step, start, (inputs, keep), reverse=True)
    return _Trace(weights, inputs, keep, kept, hidden, output)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attach(cell: Cell, input_gates: jax.Array, hidden_gates: jax.Array, trace: _Trace) -> jax.Array:
    """The run's output, with its gradient in the gates. Their values are not used, so the compiler drops their products."""
    return trace.output


def _attach_forward(cell: Cell, input_gates: jax.Array, hidden_gates: jax.Array, trace: _Trace):
    return trace.output, trace


def _attach_reverse(cell: Cell, trace: _Trace, output_gradient: jax.Array):
    weights = trace.weights

    def step(gradient, now):
        x, k, kept, hidden, output = now
        input_gates = _product(x, weights.input, weights.input_bias)
        _, pullback = jax.vjp(cell.step, input_gates, hidden, kept)
        input_gates, hidden_gates, before = pullback((gradient[0] + output, *gradient[1:]))
        before = (before[0] + hidden_gates @ weights.hidden.T, *before[1:])
        return tuple(array * k[:, None] for array in before), (input_gates, hidden_gates)

    start = jax.tree.map(lambda array: jnp.zeros(array.shape[1:], array.dtype), trace.kept)
    steps = (trace.inputs, trace.keep, trace.kept, trace.hidden, output_gradient)
    return (*jax.lax.scan(step, start, steps)[1], None)


_attach.defvjp(_attach_forward, _attach_reverse)
