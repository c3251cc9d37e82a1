"""The loop of a run: chunks of meta-steps, what is logged of them, what is saved."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from groove import checkpoint, devices, processes
from groove.base import Task
from groove.build import Run
from groove.config import Config, blocks_of_lives, sources, whole_lives
from groove.host import faults
from groove.host.folder import assembled, check_space, open_folder, versions
from groove.host.metrics import Metrics, Sink, append_metrics, cut_metrics, table
from groove.host.process import interruptible, owned
from groove.trainer import SPECS, State, shared

LOOKED_AT = 64
"""Levels of a family whose optimum is computed after every chunk: some milliseconds each at paper scale."""


class NotFinite(RuntimeError):
    """A meta-gradient, the fitness of a candidate, or theta was not finite."""


class Result(NamedTuple):
    """Where a run stands."""

    run: Run
    folder: Path
    state: State
    finished: bool  # False if it was interrupted


def train(
    folder: Path,
    sink: Sink,
    *,
    announce: Callable[[str], None] = lambda text: None,
    device_count: int | None = None,
    debug: bool = False,
) -> Result:
    """Runs, or goes on with, the run of `folder` until it is done or interrupted.

    The first Ctrl-C (or SIGTERM) ends the run after the current chunk, saved; a second one ends it at once.

    Args:
        folder: Made by `create`. What its newest good checkpoint holds is not done again.
        sink: Receives metrics; rows that were logged before the checkpoint are not sent again.
        announce: Receives one-line messages for a person.
        device_count: How many devices share the run; by default as many as there are and can. A run may go on with another
            number.
        debug: Whether to keep what is needed to say which operation was the first to make NaN: twice the memory for agents,
            and minutes when it happens.

    Raises:
        ValueError: There are not as many devices, or they do not divide every family's members.
        NotFinite: A meta-gradient, a fitness or theta was not finite; the last good checkpoint is kept.
        OSError: The disk is full or not writable.
    """
    settings = open_folder(folder)
    _announce_versions(folder, announce)
    with owned(folder):
        run = assembled(folder, new=not any((folder / "checkpoints").glob("step_*")))
        processes.by_first(lambda: check_space(run, folder))
        loop = _Loop(run, folder, mesh_of(settings, device_count, announce), debug=debug)
        with interruptible() as stopped, processes.together():
            state = loop.start(announce)
            while int(state.step) < settings.meta_steps and not stopped():
                state = loop.chunk(state, sink, save_now=stopped)
        if stopped():
            loop.save(state)
        state = loop.collect(state)
    return Result(run, folder, state, int(state.step) >= settings.meta_steps)


def mesh_of(settings: Config, wanted: int | None, announce: Callable[[str], None]) -> Mesh:
    """The devices that share a run.

    Args:
        settings: Of the run.
        wanted: How many; by default as many as there are and can.
        announce: Is told where not all can.
    """
    available, whole, field = len(jax.devices()), whole_lives(settings), "evolution.block"
    block = 1 if whole else settings.evolution.block
    if settings.meta.method == "gradient":
        block, field = settings.meta.block or 1, "meta.block"
    count = wanted or devices.usable(settings.members, available, block=block)
    evenly = f"in blocks of {block} ({field})" if block > 1 else "evenly"
    if wanted is None and count < available:
        announce(f"{count} of {available} devices share the run: no more can share members {settings.members} {evenly}")
    if count > 1 and not devices.fit(settings.members, count, block=block):
        raise ValueError(f"devices must be so many that they can share members {settings.members} {evenly}, got {count}.")
    if whole and count > (blocks := blocks_of_lives(settings)):
        announce(f"{count} devices share {blocks} blocks of lives, so that some have no work: make {field} smaller")
    if count < available and not processes.alone():
        raise ValueError(
            f"all {available} devices of all processes must share a run, members {settings.members} let {count}."
        )
    return devices.mesh(count)


def _announce_versions(folder: Path, announce: Callable[[str], None]) -> None:
    """Says which packages are not those that the run began with: then it may not go on bit for bit."""
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    before, now = stored.get("versions", {}), versions()
    for group, parts in sources(open_folder(folder)).items():
        before, now = {**stored.get("plugins", {}).get(group, {}), **before}, {**parts, **now}
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        announce(f"other versions than the run began with, so numbers may differ: {', '.join(changed)}")


class _Loop:
    """The compiled functions of a run, and the files that they feed."""

    def __init__(self, run: Run, folder: Path, mesh: Mesh, *, debug: bool):
        self.run, self.folder, self.mesh, self.debug = run, folder, mesh, debug
        trainer = shared(run.trainer, mesh)
        self.init = jax.jit(lambda seed: trainer.init(jax.random.key(seed)))
        self.run_chunk = jax.jit(trainer.chunk, donate_argnums=() if debug else 0)
        self.refresh = jax.jit(trainer.refresh, donate_argnums=0)
        self.describe = jax.jit(lambda state: describe(run, trainer.tasks(state)))
        self.saved = -1

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def start(self, announce: Callable[[str], None]) -> State:
        seed = np.uint32(self.run.config.seed)
        if self.checkpoints.is_dir() and any(self.checkpoints.glob("step_*")):
            step, state = checkpoint.restore(self.checkpoints, self.like(jax.eval_shape(self.init, seed)))
            announce(f"resuming {self.folder} at meta-step {step} of {self.run.config.meta_steps}")
            self.saved = step
            processes.by_first(lambda: cut_metrics(self.folder / "metrics.jsonl", step))
            return state
        processes.by_first(lambda: cut_metrics(self.folder / "metrics.jsonl", 0))
        announce("compiling and filling the pool of tasks")
        return self.refresh(self.init(seed))

    def chunk(self, state: State, sink: Sink, save_now: Callable[[], bool]) -> State:
        first, begun, before = int(state.step), time.perf_counter(), state
        state, info = self.run_chunk(before)
        seen = {**self.describe(state), **info}
        rows = table(first, jax.device_get(seen), self.run.config.chunk)
        bad = [row for row in rows if row["nonfinite"]]
        if bad:
            kept = "no checkpoint was written yet" if self.saved < 0 else f"the checkpoint of step {self.saved} is kept"
            what, step, said = culprits(bad[0]), bad[0]["step"], self.blamed(before, state)
            raise NotFinite(f"{what} of step {step} has values that are not finite; {kept} in {self.folder}. {said}")
        state = self.refresh(state)
        rows[-1] = {**rows[-1], "chunk_seconds": time.perf_counter() - begun}
        processes.by_first(lambda: append_metrics(self.folder / "metrics.jsonl", rows))
        done = first // self.run.config.chunk + 1
        last = first + self.run.config.chunk >= self.run.config.meta_steps
        if last or done % self.run.config.checkpoint_every == 0 or save_now():
            self.save(state)
        sink(rows)
        return state

    def blamed(self, before: State, after: State) -> str:
        """Which leaves a chunk broke, and by which operation if a person wants to know."""
        leaves = faults.broken(after)
        said = f"NaN is in {leaves}." if leaves else "No leaf of theta or of the members holds NaN."
        if not self.debug:
            return f"{said} To learn where it came from, go on with --debug."
        found = faults.origin(self.run.trainer.chunk, self.collect(before))
        return f"{said} The first operation to make NaN: {found or 'none; it began with inf'}."

    def like(self, state: State) -> State:
        """A state as its devices hold it, without values."""
        if self.mesh.size == 1:
            return state
        held = devices.shardings(self.mesh, SPECS, state)
        return jax.tree.map(lambda leaf, way: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=way), state, held)

    def collect(self, state: State) -> State:
        """The state on one device, of every process."""
        if self.mesh.size == 1:
            return state
        return processes.local(jax.jit(lambda state: state, out_shardings=NamedSharding(self.mesh, P()))(state))

    def save(self, state: State) -> None:
        if int(state.step) != self.saved:
            processes.by_first(lambda: self.checkpoints.mkdir(exist_ok=True))
            self.saved = int(state.step)
            where = checkpoint.save(self.checkpoints, self.saved, state)
            assert where.exists()


def culprits(row: Metrics) -> str:
    """What was not finite in a meta-step whose metrics count such numbers, in words."""
    names = {"fitness": "the fitness", "gradient_norm": "the meta-gradient", "theta_step": "theta"}
    found = [words for name, words in names.items() if name in row and row[name] is None]
    return " and ".join(found) or "the meta-gradient, the fitness or theta"


def describe(run: Run, tasks: tuple[Task, ...]) -> dict[str, jax.Array]:
    """Means over the tasks being lived on of their levels' features: `<family>/feature_<name>`, f32[].

    And `<family>/solvable`, where optima are known: the share of the first `LOOKED_AT` of them whose optimum is above 0.
    """
    found: dict[str, jax.Array] = {}
    for part, played in zip(run.parts, tasks, strict=True):
        if part.family.features is not None:
            features = jax.vmap(part.family.features)(played.level)
            found |= {f"{part.family.name}/feature_{name}": jnp.mean(value) for name, value in features.items()}
        if part.family.optimum is not None:
            some = jax.tree.map(lambda leaf: leaf[:LOOKED_AT], played.level)
            best = jax.lax.map(part.family.optimum, some, batch_size=16)
            found |= {f"{part.family.name}/solvable": jnp.mean(best > 0, dtype=jnp.float32)}
    return found
