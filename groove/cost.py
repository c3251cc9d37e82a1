"""What a run will cost on this machine: an estimate, good to a factor of two or three, made before anything is compiled."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove import build
from groove.config import Config
from levels.base import Array, Spec

EFFICIENCY = 0.3
"""Assumed: the share of the speed of one large product of matrices that a whole meta-step reaches."""
"""Runs that are estimated to take longer ask first."""
SMALL = 2e13
"""Useful operations of a run that never asks, nor is measured: minutes, on whatever machine."""
NUMBER = 4  # bytes of a float32


class Cost(NamedTuple):
    """What a run will cost."""

    hours: float
    bytes: float


def estimate(config: Config) -> Cost:
    """Time and memory of a run on JAX's default device.

    The time is that of the update rule's recurrent net, which dominates at paper scale, from `operations` and the speed of
    a product of matrices, measured here and now (under half a second), times `EFFICIENCY`. Compilation, references and
    evaluation are not counted, and narrow rules, whose small products run slower, take a few times longer. The memory is
    that of `memory`.

    Args:
        config: Of the run.
    """
    return Cost(operations(config) / (EFFICIENCY * _speed()) / 3600, memory(config))


def operations(config: Config) -> float:
    """Useful floating-point operations of a whole run: products of the rule's net, three times for the gradient.

    With rematerialisation it is four times, for the forward pass is made twice.
    """
    width, gates = config.rule.width, build.CELLS[config.rule.cell].gates
    heads = 1 + config.rule.predictions
    forward = 2 * width * (gates * width + gates * _inputs(config) + heads)
    return (4 if config.meta.rematerialise else 3) * forward * sum(config.members) * _tokens(config) * config.meta_steps


def memory(config: Config) -> float:
    """Bytes that the device must hold at once: what the recurrent net keeps for the backward pass, and the agents.

    Per token the net keeps gates before and after their nonlinearity, inputs and carries, about `(2 gates + 3) width`
    numbers; of all K updates, or of one with rematerialisation; of all members, or of one block. Measured against what
    XLA allocates on a CPU, it is within a factor of two.
    """
    largest, block = max(config.members), config.meta.block
    kept = 1 if config.meta.rematerialise else config.meta.updates
    token = (2 * build.CELLS[config.rule.cell].gates + 3) * config.rule.width * NUMBER
    at_once = min(block or largest, largest)
    return at_once * token * _tokens(config) / config.meta.updates * kept + _agents(config)


def confirm(config: Config, *, agreed: bool, ask: Callable[[str], bool]) -> None:
    """Says what a run will cost, unless it is small on any machine, and asks whether to start it.

    Args:
        config: Of the run.
        agreed: Whether to start it without asking.
        ask: `(question) -> whether the answer was yes`.

    Raises:
        ValueError: The answer was no.
    """
    if operations(config) <= SMALL:
        return
    cost = estimate(config)
    print(
        f"{config.name}: about {_hours(cost.hours)} and {cost.bytes / 2**30:.1f} GiB of memory on this machine.", flush=True
    )
    if not agreed and not ask("Start?"):
        raise ValueError(f"the run of {config.name} was not confirmed; start it with --yes, or make it smaller.")


def _tokens(config: Config) -> int:
    """Steps that the rule reads per member and meta-step."""
    return config.life.environments * config.life.steps * config.meta.updates


def _inputs(config: Config) -> int:
    """Width of the net's input: reward, termination, gamma, pi, two embeddings, and what it knows of the lifetime."""
    horizons = {"none": 0, "fraction-and-log": 2}
    return 6 + horizons.get(config.rule.horizon, 1)


def _agents(config: Config) -> float:
    """Bytes of every agent and value function, once for each update that the backward pass returns to, and once more."""
    rows = [_numbers(config, name) * count for name, count in zip(config.families, config.members, strict=True)]
    return NUMBER * sum(rows) * (config.meta.updates + 1)


def _numbers(config: Config, name: str) -> int:
    """Parameters of one agent of a family, with its value function."""
    spec = build.family(config, name).environment.spec
    outputs = spec.actions + config.rule.predictions
    network = build.architecture(config, spec, name).network

    def size(spec: Spec, outputs: int) -> int:
        leaves = jax.tree.leaves(jax.eval_shape(network(spec, outputs).init, jax.random.key(0)))
        return sum(math.prod(leaf.shape) for leaf in leaves)

    moments = 3 if isinstance(spec.observation, Array) else 1  # Adam's, beside the parameters
    return moments * (size(spec, outputs) + size(spec, 1))


def _speed(seconds: float = 0.2) -> float:
    """Operations per second of the default device in products of large float32 matrices: the best within `seconds`."""
    side = 1024 if jax.default_backend() == "cpu" else 4096
    product = (
        jax.jit(partial(jnp.matmul, precision="highest"))
        .lower(*(jax.ShapeDtypeStruct((side, side), jnp.float32),) * 2)
        .compile()
    )
    matrix = jax.block_until_ready(jnp.full((side, side), 1 / side, jnp.float32))
    best, begun = math.inf, time.perf_counter()
    while best == math.inf or time.perf_counter() - begun < seconds:
        before = time.perf_counter()
        matrix = jax.block_until_ready(product(matrix, matrix))
        best = min(best, time.perf_counter() - before)
    return 2 * side**3 / best


def _hours(hours: float) -> str:
    return f"{hours / 24:.0f} days ({hours:.0f} hours)" if hours > 72 else f"{hours:.1f} hours"
