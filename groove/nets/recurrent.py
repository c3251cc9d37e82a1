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

from groove.nets.products import product

Carry = tuple[jax.Array, ...]


class Cell(NamedTuple):
    """The elementwise part of a recurrent cell. Static and hashable.

    Attributes:
        gates: The number of gates; pre-activations are f32[..., gates * width].
        carries: The number of carried arrays f32[..., width]; the first is the output.
        step: `(input gates, hidden gates, carry) -> carry`.
        reverse: `(input gates, hidden gates, carry, gradient of the new carry) -> (gradients of input gates, of hidden
            gates, of carry)`, the pullback of `step`, written by hand: the derived one was half as slow again.
    """

    gates: int
    carries: int
    step: Callable[[jax.Array, jax.Array, Carry], Carry]
    reverse: Callable[[jax.Array, jax.Array, Carry, Carry], tuple[jax.Array, jax.Array, Carry]]


def _gru_gates(x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Reset, update, new and the hidden part of new."""
    width = x.shape[-1] // 3
    reset, update = jnp.split(jax.nn.sigmoid(x[..., : 2 * width] + h[..., : 2 * width]), 2, axis=-1)
    h_new = h[..., 2 * width :]
    return reset, update, jnp.tanh(x[..., 2 * width :] + reset * h_new), h_new


def _gru(x: jax.Array, h: jax.Array, carry: Carry) -> Carry:
    _, update, new, _ = _gru_gates(x, h)
    return (new + update * (carry[0] - new),)


def _gru_reverse(x: jax.Array, h: jax.Array, carry: Carry, gradient: Carry) -> tuple[jax.Array, jax.Array, Carry]:
    reset, update, new, h_new = _gru_gates(x, h)
    to_new = gradient[0] * (1 - update) * (1 - new * new)
    to_update = gradient[0] * (carry[0] - new) * update * (1 - update)
    to_reset = to_new * h_new * reset * (1 - reset)
    to_x = jnp.concatenate([to_reset, to_update, to_new], axis=-1)
    to_h = jnp.concatenate([to_reset, to_update, to_new * reset], axis=-1)
    return to_x, to_h, (gradient[0] * update,)


def _lstm_gates(x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Input, forget, new and output gate."""
    enter, forget, new, leave = jnp.split(x + h, 4, axis=-1)
    return jax.nn.sigmoid(enter), jax.nn.sigmoid(forget), jnp.tanh(new), jax.nn.sigmoid(leave)


def _lstm(x: jax.Array, h: jax.Array, carry: Carry) -> Carry:
    enter, forget, new, leave = _lstm_gates(x, h)
    memory = forget * carry[1] + enter * new
    return leave * jnp.tanh(memory), memory


def _lstm_reverse(x: jax.Array, h: jax.Array, carry: Carry, gradient: Carry) -> tuple[jax.Array, jax.Array, Carry]:
    enter, forget, new, leave = _lstm_gates(x, h)
    seen = jnp.tanh(forget * carry[1] + enter * new)
    to_memory = gradient[1] + gradient[0] * leave * (1 - seen * seen)
    to_gates = [
        to_memory * new * enter * (1 - enter),
        to_memory * carry[1] * forget * (1 - forget),
        to_memory * enter * (1 - new * new),
        gradient[0] * seen * leave * (1 - leave),
    ]
    both = jnp.concatenate(to_gates, axis=-1)
    return both, both, (jnp.zeros_like(carry[0]), to_memory * forget)


gru = Cell(gates=3, carries=1, step=_gru, reverse=_gru_reverse)
"""Gated recurrent unit (Cho et al. 2014), reset after the product; the carry is (h,)."""

lstm = Cell(gates=4, carries=2, step=_lstm, reverse=_lstm_reverse)
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
    input_gates = product(inputs, weights.input) + weights.input_bias[None, None]
    hidden_gates = product(trace.kept[0], weights.hidden) + weights.hidden_bias[None, None]
    return _attach(cell, input_gates, hidden_gates, trace)


class _Trace(NamedTuple):
    """A run of the layer, as its reverse pass needs it. Leading axes [T, E], but for the weights."""

    weights: Weights
    inputs: jax.Array
    keep: jax.Array
    kept: Carry  # the carry that each step started from
    hidden: jax.Array  # hidden gates
    output: jax.Array


def _run(cell: Cell, weights: Weights, inputs: jax.Array, keep: jax.Array) -> _Trace:
    def step(carry, now):
        x, k = now
        kept = tuple(array * k[:, None] for array in carry)
        hidden = kept[0] @ weights.hidden + weights.hidden_bias[None]
        carry = cell.step(x @ weights.input + weights.input_bias[None], hidden, kept)
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
        input_gates = x @ weights.input + weights.input_bias[None]
        gradient = (gradient[0] + output, *gradient[1:])
        input_gates, hidden_gates, before = cell.reverse(input_gates, hidden, kept, gradient)
        before = (before[0] + hidden_gates @ weights.hidden.T, *before[1:])
        return tuple(array * k[:, None] for array in before), (input_gates, hidden_gates)

    start = jax.tree.map(lambda array: jnp.zeros(array.shape[1:], array.dtype), trace.kept)
    steps = (trace.inputs, trace.keep, trace.kept, trace.hidden, output_gradient)
    return (*jax.lax.scan(step, start, steps)[1], None)


_attach.defvjp(_attach_forward, _attach_reverse)
