"""What a run will cost on this machine: time to a factor of two or three, memory to two, before anything is compiled."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from groove import build, devices
from groove.base import Clock
from groove.config import Config, in_haste, population, whole_lives
from groove.lifetime import lifetime
from groove.meta.strategies import KINDS
from levels.base import Array, Discrete, Spec

EFFICIENCY = 0.3
"""Assumed: the share of the speed of one large product of matrices that a whole meta-step reaches."""
SMALL = 2e13
"""Useful operations of a run that never asks, nor is measured: minutes, on whatever machine."""
NUMBER = 4  # bytes of a float32


class Cost(NamedTuple):
    """What a run will cost."""

    hours: float
    bytes: float


def estimate(config: Config) -> Cost:
    """Time and memory of a run on JAX's default device.

    The time is that of the update rule's net and of LPO's agents, which dominate at paper scale: `operations` over the speed
    of a product of matrices, measured here and now (under half a second), times `EFFICIENCY`. Compilation, references and
    evaluation are not counted, and narrow rules, whose small products run slower, take a few times longer. The memory is
    that of `memory`.

    Args:
        config: Of the run.
    """
    return Cost(operations(config) / (EFFICIENCY * _speed()) / 3600, memory(config))


def operations(config: Config) -> float:
    """Useful floating-point operations of a whole run: products of the rule's net and, for LPO, of the agents' networks.

    A gradient takes three times the forward pass; four times with rematerialisation, for the forward pass is made twice.
    """
    passes = 1 if config.meta.method == "evolution" else 4 if config.meta.rematerialise else 3
    return passes * _forward(config) * (lives(config) * updates(config) + _probing(config)) * config.meta_steps


def _probing(config: Config) -> float:
    """Updates that novelty search spends on its probes in a generation."""
    if not (whole_lives(config) and config.evolution.novelty):
        return 0
    return population(config) * config.evolution.probes * len(config.families) * config.life.updates[1]


def lives(config: Config) -> int:
    """Agents that a meta-step plays with: members, couples of candidates, or every candidate on every task."""
    tasks = sum(config.members)
    if config.meta.method == "gradient":
        return tasks
    settings = config.evolution
    paired = settings.lives != "whole" or (settings.strategy in KINDS and KINDS[settings.strategy].mirrored)
    return 2 * tasks if paired else population(config) * tasks


def updates(config: Config) -> float:
    """Updates of each of them in a meta-step: K, or the mean of log-uniform lifetimes."""
    low, high = config.life.updates
    if not whole_lives(config):
        return config.meta.updates
    return (high - low) / math.log(high / low) if high > low else low


def thetas(config: Config) -> int:
    """Rules that a generation of evolution holds at once: its candidates, two a task in pieces of lives."""
    return population(config) if whole_lives(config) else 2 * sum(config.members)


def memory(config: Config) -> float:
    """Bytes that the device must hold at once: what is kept of updates, the candidates, and the agents.

    Per token, a step of an environment, an update keeps its rollout, under LPO three times (as it was played, in order and
    in minibatches); what the agents' networks compute of the observations before and after the step; and under LPG the gates
    of the recurrent net before and after their nonlinearity, inputs and carries, about `(2 gates + 3) width` numbers. Of all
    K updates, or of one with rematerialisation or under evolution; of all members, or of one block. Measured against what
    XLA allocates on a CPU, it is within a factor of two.
    """
    if config.meta.method == "evolution":
        at_once, kept = 2 * config.evolution.block, 1
    else:
        largest = max(config.members)
        at_once, kept = min(config.meta.block or largest, largest), 1 if config.meta.rematerialise else config.meta.updates
    gates = (2 * build.CELLS[config.rule.cell].gates + 3) * config.rule.width if config.rule.kind == "lpg" else 0
    copies = 3 if config.rule.kind == "lpo" else 1
    seen = max(copies * _row(config, name) + 2 * NUMBER * _activations(config, name) for name in config.families)
    candidates = 4 * _theta(config) * (thetas(config) if config.meta.method == "evolution" else 1)
    return at_once * kept * _tokens(config) * (NUMBER * gates + seen) + NUMBER * candidates + _agents(config, at_once)


def compiled_bytes(config: Config) -> int:
    """What XLA allocates for a chunk of a run on one device: arguments, results that are no arguments, temporaries.

    It compiles the chunk. Of the curriculum that has no more than tasks in play: buffers are small beside agents.
    """
    plain = dataclasses.replace(config.curriculum, kind="uniform", score="uniform", antagonist="a2c", files=())
    trainer = build.build(dataclasses.replace(config, start="", curriculum=plain)).trainer
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    how = devices.compiler_options(hasty=in_haste(config, 1))
    analysis = jax.jit(trainer.chunk, donate_argnums=0, compiler_options=how).lower(state).compile().memory_analysis()
    if analysis is None:
        raise ValueError("memory cannot be limited here: this backend does not say what a compiled program needs.")
    fresh = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.argument_size_in_bytes + fresh + analysis.temp_size_in_bytes


def fitted(config: Config, budget: float, *, share: int = 1, announce: Callable[[str], None] = lambda text: None) -> Config:
    """The configuration with the largest blocks whose compiled program needs no more than so many bytes.

    Blocks change no equation: gradients are summed over them, lives do not meet. They get smaller, by
    half or more, until one fits; each is compiled.

    Args:
        config: Of the run.
        budget: Bytes, on one device.
        share: Devices that share the members. Only blocks that they can share evenly are tried. Under gradients each needs
            what one device does for its part, under evolution it is taken to need what one does for all.
        announce: Is told what each block needs.

    Raises:
        ValueError: Not even blocks of one member fit.
    """
    needed = 0
    gradient = config.meta.method == "gradient"
    for candidate in _in_blocks(config):
        block = candidate.meta.block if gradient else candidate.evolution.block
        cut = (block or 1) if gradient or not whole_lives(config) else 1
        if share > 1 and not devices.fit(config.members, share, block=cut):
            continue
        own = tuple(count // share for count in config.members) if gradient else config.members
        needed = compiled_bytes(dataclasses.replace(candidate, members=own))
        announce(f"blocks of {block or 'all'} members need {needed / 2**30:.2f} GiB of {budget / 2**30:.2f} GiB")
        if needed <= budget:
            return candidate
    raise ValueError(f"memory must be at least {needed / 2**30:.2f} GiB for this run, got {budget / 2**30:.2f} GiB.")


def _in_blocks(config: Config) -> Iterator[Config]:
    """The configuration, and with smaller and smaller blocks, down to single members."""
    yield config
    if config.meta.method != "gradient":
        for block in _smaller(config.evolution.block):
            yield dataclasses.replace(config, evolution=dataclasses.replace(config.evolution, block=block))
        return
    common = math.gcd(*config.members)
    first = (common,) if not config.meta.block and common < max(config.members) else ()
    for block in (*first, *_smaller(config.meta.block or common)):
        yield dataclasses.replace(config, meta=dataclasses.replace(config.meta, block=block))


def _smaller(block: int) -> Iterator[int]:
    """Divisors of a block, each at most half of the one before, down to 1."""
    while block > 1:
        block = next(size for size in range(block // 2, 0, -1) if block % size == 0)
        yield block


def confirm(
    config: Config,
    *,
    runs: int = 1,
    agreed: bool,
    ask: Callable[[str], bool],
    announce: Callable[[str], None] = print,
) -> None:
    """Says what a run will cost, unless it is small on any machine, and asks whether to start it.

    Args:
        config: Of the run.
        runs: How many such runs are made side by side.
        agreed: Whether to start it without asking.
        ask: `(question) -> whether the answer was yes`.
        announce: Is told what it will cost.

    Raises:
        ValueError: The answer was no.
    """
    if runs * operations(config) <= SMALL:
        return
    cost = Cost(*(runs * number for number in estimate(config)))
    where = "this machine" if jax.local_device_count() == 1 else f"one of this machine's {jax.local_device_count()} devices"
    announce(f"{config.name}: about {_hours(cost.hours)} and {cost.bytes / 2**30:.1f} GiB of memory on {where}.")
    if not agreed and not ask("Start?"):
        raise ValueError(f"the run of {config.name} was not confirmed; start it with --yes, or make it smaller.")


def _tokens(config: Config) -> int:
    """Steps that the rule reads per agent and update."""
    return config.life.environments * config.life.steps


def _forward(config: Config) -> float:
    """Operations of one update of one agent."""
    rule, known = config.rule, jax.eval_shape(build.HORIZONS[config.rule.horizon], _now()).size
    if rule.kind == "lpg":
        gates = build.CELLS[rule.cell].gates
        return _tokens(config) * 2 * rule.width * (gates * (rule.width + 6 + known) + 1 + rule.predictions)
    drift = 2 * rule.drift_width * (8 * (1 + known) + 1)
    rollout = _tokens(config) * _network(config)
    return rollout + 3 * rule.epochs * (rollout + _tokens(config) * drift)


def _now() -> Clock:
    return Clock(jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32))


def _network(config: Config) -> float:
    """Operations of an agent's policy and value function on one observation, the largest of all families."""

    def one(name: str) -> float:
        apply, *arguments = _shown(config, name)
        return float((jax.jit(apply).lower(*arguments).cost_analysis() or {}).get("flops", 0.0))

    return max(map(one, config.families))


def _shown(config: Config, name: str) -> tuple[Callable, chex.ArrayTree, jax.Array, jax.Array]:
    """A network as large as an agent's policy and value function, its parameters, an observation and a time."""
    spec = build.family(config, name).environment.spec
    network, shown = build.architecture(config, spec, name).network(spec, spec.actions + 1), spec.observation
    seen = jnp.zeros((), jnp.int32) if isinstance(shown, Discrete) else jnp.zeros(shown.shape, jnp.float32)
    return network.apply, jax.eval_shape(network.init, jax.random.key(0)), seen, jnp.float32(0)


def _activations(config: Config, name: str) -> int:
    """Numbers that a network holds of one observation: what it gathers for its layers, and what these give."""
    apply, *arguments = _shown(config, name)
    steps = jax.make_jaxpr(apply)(*arguments).jaxpr.eqns
    wide = [step for step in steps if step.primitive.name in ("concatenate", "dot_general", "conv_general_dilated")]
    return sum(math.prod(found.aval.shape) for step in wide for found in step.outvars)


def _row(config: Config, name: str) -> float:
    """Bytes of a token of a rollout, with the random words that it was played with."""
    family = build.family(config, name)
    spec = family.environment.spec
    rule = build.learned_rule(config, spec, build.architecture(config, spec, name))
    life, key = lifetime(rule, family.environment, steps=1, environments=1), jax.random.key(0)

    def played(key):
        level = family.generator.sample(key)
        return life.rollout(key, life.begin(key, level, jnp.int32(1)), level)[1]

    rows = jax.tree.leaves(jax.eval_shape(played, key))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in rows) + NUMBER * (1 + spec.noise + spec.reset_noise)


def _theta(config: Config) -> int:
    """Parameters of the learned rule."""
    name = config.families[0]
    spec = build.family(config, name).environment.spec
    rule = build.learned_rule(config, spec, build.architecture(config, spec, name))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(rule.init, jax.random.key(0))))


def _agents(config: Config, at_once: int) -> float:
    """Bytes of the agents and value functions: of every member, once for each update that a backward pass returns to."""
    if whole_lives(config):
        return NUMBER * at_once * max(_numbers(config, name) for name in config.families)
    kept = 2 if config.meta.method == "evolution" else config.meta.updates + 1
    rows = [_numbers(config, name) * count for name, count in zip(config.families, config.members, strict=True)]
    return NUMBER * sum(rows) * kept


def _numbers(config: Config, name: str) -> int:
    """Parameters of one agent of a family, with its value function."""
    spec = build.family(config, name).environment.spec
    outputs = spec.actions + (config.rule.predictions if config.rule.kind == "lpg" else 0)
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
