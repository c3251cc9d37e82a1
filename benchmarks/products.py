"""Floating-point operations: what a machine can do, and what LPG asks of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from groove.config import Config

SIZE = 4096


def large_product() -> tuple[Callable[[], jax.Array], float]:
    """A float32 matrix product that shows the machine's peak, and its flops."""
    matrix = jax.random.normal(jax.random.key(0), (SIZE, SIZE), jnp.float32)
    multiply = jax.jit(lambda a: a @ a)
    return lambda: multiply(matrix), 2.0 * SIZE**3


def forward_flops(config: Config, inputs: int = 6) -> float:
    """Flops of the matrix products in one update of every member: embedding, recurrent layer, heads."""
    tokens = sum(config.members) * config.life.environments * config.life.steps
    width, predictions = config.rule.width, config.rule.predictions
    gates = {"gru": 3, "lstm": 4}[config.rule.cell]
    embedding = 2 * (predictions * 16 + 16)
    products = embedding + (inputs + width) * gates * width + width * (1 + predictions)
    return 2.0 * tokens * products
