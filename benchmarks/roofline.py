"""What a meta-step should cost on H100s, on paper: PREDICTIONS, from counts and published peak rates. Nothing runs.

`python -m benchmarks.roofline` prints one JSON object on its last line. It counts, for the preset `groove`:

- `flops` of a meta-step, by hand: three products forward and back, and forward once more for rematerialisation. `xla_flops`
  is what `cost_analysis` says of small runs (`SMALL`, one step of one update, since XLA counts a loop's body once),
  extrapolated as a sum of a part for each member and update and a part for each token. One step needs no product back
  through time, so that is missing there.
- `bytes` that go through the memory, by hand: arrays that the recurrent net reads and writes between its products, and the
  agents' tables; `xla_bytes`, as for flops.
- `kernels`: operations that start one after the other, in the program that XLA compiles for a CPU (a GPU's is fused
  otherwise), loops times their known lengths: of `updates`, and what `evaluation` of the lives that end and `references` of
  the tasks that follow, none of them replayed, add to each meta-step.
- `collectives` of a meta-step on 64 devices, and `gathered`, the bytes that each device receives in them.

`seconds` has the predictions for 1 GPU and for 64 that share its lives: of compute in three precisions, memory, starting
kernels, and collectives. Their `sum` takes the larger one of compute, in TF32, JAX's default on such a GPU, and memory.
Nothing is taken to overlap but these two.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache

import chex
import jax
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from benchmarks.products import forward_flops
from groove.assembly import build, life_of
from groove.config import GROOVE, Config
from groove.parallel import devices
from groove.trainer import SPECS, State

FLOPS = {"float32": 67e12, "tf32": 494.7e12, "bf16": 989e12}
"""Operations per second of an H100 SXM, dense (NVIDIA's data sheet)."""
MEMORY, NETWORK = 3.35e12, 50e9
"""Bytes per second of its memory, and of 400 Gb/s InfiniBand for each GPU, slower than NVLink's 900 GB/s."""
LAUNCH, LATENCY = 3e-6, 50e-6
"""Assumed: seconds from the start of a small kernel to that of the next, and of an empty collective among 64 GPUs."""
HOSTS, GPUS = 8, 8
NUMBER = 4  # bytes of a float32
EPISODE, STEPS_AT_ONCE = 750, 25
"""Steps of the longest episode that GROOVE's grids allow: so long an evaluation of many takes, in blocks of so many."""
SMALL = ((2, 64), (2, 128), (4, 64))
"""Members and environments of the runs that XLA counts."""
_ROW = re.compile(r"^\s+(?:ROOT )?%\S+ = (?:\(.*?\)|\S+) ([a-z-]+)\(")
_FREE = ("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "iota", "after-all")


def hand_flops(config: Config) -> float:
    passes = 4 if config.meta.rematerialise else 3
    return passes * config.meta.updates * forward_flops(config)


def hand_bytes(config: Config) -> float:
    """A token's net: 24 widths forward (carry, gates of both products, their stacks), twice that backward.

    A member's update: its tables some 20 times (gradient, norm, step, choice, and back).
    """
    tokens = sum(config.members) * config.life.environments * config.life.steps
    forward = 2 if config.meta.rematerialise else 1
    net = tokens * NUMBER * config.rule.width * 24 * (forward + 2)
    tables = 20 * (forward + 1) / 2 * sum(config.members) * member_bytes(config)
    return config.meta.updates * (net + tables)


def member_bytes(config: Config) -> float:
    """Bytes of an agent and its value function."""
    live = abstract(config).live[0]
    leaves = jax.tree.leaves((live.member.agent, live.critic))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) / config.members[0]


def abstract(config: Config) -> State:
    """A state without values."""
    return jax.eval_shape(build(config).trainer.init, jax.random.key(0))


def resized(config: Config, members: int, environments: int, *, steps: int, updates: int) -> Config:
    """The run with one meta-step a chunk, and so many members, environments, steps and updates."""
    life = dataclasses.replace(config.life, environments=environments, steps=steps)
    meta = dataclasses.replace(config.meta, updates=updates)
    return dataclasses.replace(config, name="roofline", members=(members,), chunk=1, life=life, meta=meta)


def xla_counts(config: Config, kind: str) -> float:
    """What XLA counts of one step of one update, as a + b members + c tokens, at the size of `config`."""
    rows, values = [], []
    for members, environments in SMALL:
        rows.append([1.0, members, members * environments])
        values.append(counted(members, environments)[kind])
    start, by_member, by_token = np.linalg.solve(np.array(rows), np.array(values))
    members = sum(config.members)
    token = by_token * config.life.environments * config.life.steps
    return config.meta.updates * (config.life.steps * start + members * (by_member + token))


@cache
def counted(members: int, environments: int) -> dict[str, float]:
    small = resized(GROOVE, members, environments, steps=1, updates=1)
    analysis = jax.jit(build(small).trainer.chunk).lower(abstract(small)).compile().cost_analysis()
    assert analysis is not None
    return {kind: analysis[kind] for kind in ("flops", "bytes accessed")}


class Program:
    """A compiled program's text, as kernels that start one after the other."""

    def __init__(self, text: str):
        self.bodies: dict[str, list[str]] = {}
        self.entry = ""
        name = ""
        for line in text.splitlines():
            if line.endswith("{") and line.startswith(("%", "ENTRY")):
                name = line.removeprefix("ENTRY ").split(" ")[0]
                self.bodies[name] = []
                self.entry = name if line.startswith("ENTRY") else self.entry
            elif name:
                self.bodies[name].append(line)

    def kernels(self, name: str, unknown: int) -> int:
        """Kernels of a computation; loops of unknown length run `unknown` times."""
        return sum(self._cost(line, unknown) for line in self.bodies[name])

    def _cost(self, line: str, unknown: int) -> int:
        found = _ROW.match(line)
        if found is None or found.group(1) in _FREE:
            return 0
        kind = found.group(1)
        if kind == "while":
            trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            return (int(trips.group(1)) if trips else unknown) * self.kernels(_called(line, "body"), unknown)
        if kind == "conditional":
            branches = re.findall(r"%[\w.\-]+", line.split("branch_computations={")[1].split("}")[0])
            return max(self.kernels(branch, unknown) for branch in branches)
        if kind == "call":
            return self.kernels(_called(line, "to_apply"), unknown)
        return 1


def _called(line: str, role: str) -> str:
    found = re.search(rf"{role}=(%[\w.\-]+)", line)
    assert found is not None
    return found.group(1)


def kernels(function: Callable, *arguments: chex.ArrayTree) -> tuple[int, int]:
    """Kernels of a function without its loops of unknown length, and of one turn of those."""
    program = Program(jax.jit(function).lower(*arguments).compile().as_text() or "")
    none, once = (program.kernels(program.entry, trips) for trips in (0, 1))
    return none, once - none


@cache
def sequence(config: Config, gpus: int) -> dict[str, float]:
    """Kernels of a meta-step: of all its updates, and its share of what the end of a life costs."""
    small = resized(config, 2, 2, steps=config.life.steps, updates=config.meta.updates)
    run, state = build(small), abstract(small)
    (part,), players = run.parts, state.live[0]
    antagonist = life_of(small, part.family, part.antagonist)
    keys, theta = jax.eval_shape(lambda: (jax.random.split(jax.random.key(0), 2), part.antagonist.init(jax.random.key(0))))
    levels, lifetimes = players.task.level, players.task.lifetime
    updates, evaluation = kernels(run.trainer.chunk, state)
    rival_life = jax.vmap(antagonist.live, (0, None, 0, 0))
    _, rival_update = kernels(rival_life, keys, theta, levels, lifetimes)
    measure = EPISODE / STEPS_AT_ONCE * evaluation
    length, members = config.life.updates[0], sum(config.members)
    turns = math.ceil(members / max(8, members // 4) / gpus)  # blocks of tasks whose references are computed
    of_a_life = config.meta.updates / length
    references = of_a_life * turns * (length * rival_update + measure)
    return {"updates": updates, "evaluation": of_a_life * measure, "references": references}


def collectives(config: Config, count: int) -> tuple[int, int]:
    """How often the devices that share a meta-step wait for one another, and the bytes that each of them receives."""
    one = dataclasses.replace(config, chunk=1)
    mesh = AbstractMesh((count,), (devices.AXIS,))
    chunk = devices.everywhere(mesh, build(one).trainer.chunk, (SPECS,), (SPECS, P()))
    found = list(gathers(jax.make_jaxpr(chunk)(abstract(one)).jaxpr))
    return len(found), sum(math.prod(shape.shape) * shape.dtype.itemsize for shape in found)


def gathers(jaxpr: Jaxpr) -> Iterator[jax.core.ShapedArray]:
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("all_gather", "psum"):
            yield from (variable.aval for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from gathers(inner)


def predicted(config: Config, gpus: int) -> dict[str, float]:
    """Seconds of a meta-step whose lives so many GPUs share."""
    waits, gathered = collectives(config, gpus) if gpus > 1 else (0, 0)
    compute = {name: hand_flops(config) / gpus / rate for name, rate in FLOPS.items()}
    memory = hand_bytes(config) / gpus / MEMORY
    starting = LAUNCH * sum(sequence(config, gpus).values())
    exchange = waits * LATENCY + gathered / NETWORK
    total = max(compute["tf32"], memory) + starting + exchange
    return {**compute, "memory": memory, "starting": starting, "collectives": exchange, "sum": total}


def main(config: Config) -> None:
    gpus = HOSTS * GPUS
    waits, gathered = collectives(config, gpus)
    flops, bytes_moved = hand_flops(config), hand_bytes(config)
    page = {
        "flops": flops,
        "xla_flops": xla_counts(config, "flops"),
        "bytes": bytes_moved,
        "xla_bytes": xla_counts(config, "bytes accessed"),
        "flops_per_byte": flops / bytes_moved,
        "kernels": sequence(config, 1),
        "kernels_of_64": sequence(config, gpus),
        "collectives": waits,
        "gathered": gathered,
        "seconds": {str(count): predicted(config, count) for count in (1, gpus)},
    }
    print(json.dumps(page))


if __name__ == "__main__":
    main(GROOVE)
