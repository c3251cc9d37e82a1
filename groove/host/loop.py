"""The loop of a run: chunks of meta-steps, what is logged of them, what is saved."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
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
from groove.host.folder import TOGETHER, assembled, check_space, folders_of, open_folder, versions
from groove.host.metrics import Metrics, Sink, append_metrics, cut_metrics, table
from groove.host.process import interruptible, owned
from groove.trainer import RUNS, SPECS, State, one_of, shared, side_by_side, spread

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
        ValueError: There are not as many devices, or they do not divide every family's members; or the folder is one of
            runs side by side that are not done.
        NotFinite: A meta-gradient, a fitness or theta was not finite; the last good checkpoint is kept.
        OSError: The disk is full or not writable.
    """
    settings = open_folder(folder)
    _check_alone(folder)
    _announce_versions(folder, announce)
    with owned(folder):
        run = _assembled(folder, folder)
        processes.by_first(lambda: check_space(run, folder))
        loop = _Loop(run, folder, (folder,), mesh_of(settings, device_count, announce), debug=debug)
        return loop.train((sink,), announce)[0]


def train_together(
    folder: Path,
    sinks: Sequence[Sink],
    *,
    announce: Callable[[str], None] = lambda text: None,
    device_count: int | None = None,
    debug: bool = False,
) -> list[Result]:
    """Runs, or goes on with, several runs that differ in their seed, as one program.

    Args:
        folder: Made by `create_together`. The runs have folders of their own in it, in which their results lie; until they
            are done, what is saved of all of them lies in `folder`.
        sinks: One for each run; otherwise as of `train`.
        announce: As of `train`.
        device_count: How many devices share out the runs; by default as many as can. It must divide their number.
        debug: As of `train`.

    Raises:
        ValueError: There are not as many devices, or they do not divide the number of runs.
        NotFinite: As of `train`, of any run.
        OSError: The disk is full or not writable.
    """
    folders = folders_of(folder)
    count = device_count or devices.usable((len(folders),), len(jax.devices()))
    if not processes.alone():
        raise ValueError("several seeds are one process's work; give each process a seed of its own.")
    if (idle := len(jax.devices()) - count) > 0 and device_count is None:
        announce(
            f"{count} devices share out {len(folders)} runs, {idle} have no work: so many must divide the number of runs"
        )
    if not devices.fit((len(folders),), count):
        raise ValueError(f"devices must divide the number of runs, got {count} and {len(folders)}.")
    _announce_versions(folders[0], announce)
    with ExitStack() as stack:
        for held in (folder, *folders):
            stack.enter_context(owned(held))
        run = _assembled(folders[0], folder)
        check_space(run, folder, runs=len(folders))
        return _Loop(run, folder, folders, devices.mesh(count, RUNS), debug=debug).train(sinks, announce)


def _check_alone(folder: Path) -> None:
    """Raises a ValueError for one of several runs side by side that are not done: what is saved of it lies elsewhere."""
    beside = folder.resolve().parent
    if not (beside / TOGETHER).is_file() or _begun(folder):
        return
    if folder.resolve() in folders_of(beside):
        raise ValueError(f"{folder} is one of several runs, which go on together: groove train --resume {beside}")


def _assembled(folder: Path, saved: Path) -> Run:
    return assembled(folder, new=not _begun(saved))


def _begun(folder: Path) -> bool:
    """Whether there is a checkpoint."""
    return any((folder / "checkpoints").glob("step_*"))


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
    """The compiled functions of a run, or of several side by side, and the files that they feed."""

    def __init__(self, run: Run, home: Path, folders: Sequence[Path], mesh: Mesh, *, debug: bool):
        """Args: home: Where checkpoints are; folders: of each run, `home` itself where there is one."""
        self.run, self.home, self.folders, self.mesh, self.debug = run, home, folders, mesh, debug
        self.alone = tuple(folders) == (home,)
        self.settings = [open_folder(folder) for folder in folders]
        trainer = shared(run.trainer, mesh) if self.alone else side_by_side(run.trainer, mesh)
        self.init = jax.jit(lambda seeds: trainer.init(self.each(jax.random.key)(seeds)))
        self.run_chunk = jax.jit(trainer.chunk, donate_argnums=() if debug else 0)
        self.refresh = jax.jit(trainer.refresh, donate_argnums=0)
        self.describe = jax.jit(lambda state: self.each(lambda tasks: describe(run, tasks))(trainer.tasks(state)))
        self.saved = -1

    def train(self, sinks: Sequence[Sink], announce: Callable[[str], None]) -> list[Result]:
        """Until the runs are done, or interrupted and saved."""
        total = self.run.config.meta_steps
        with interruptible() as stopped, processes.together():
            state = self.start(announce)
            while int(state.step) < total and not stopped():
                state = self.chunk(state, sinks, save_now=stopped)
        if stopped():
            self.save(state)
        state, finished = self.collect(state), int(state.step) >= total
        results = [
            Result(self.run._replace(config=settings), folder, self.of_run(state, i), finished)
            for i, (settings, folder) in enumerate(zip(self.settings, self.folders, strict=True))
        ]
        if finished and not self.alone:
            self.part(state)
        return results

    def part(self, states: State, *, but: int = -1) -> None:
        """Gives each of several runs a checkpoint of its own, so that it may go on alone; or all but one of them."""
        for place, folder in enumerate(self.folders):
            if place != but:
                checkpoint.save(folder / "checkpoints", int(states.step), one_of(states, place))

    def each(self, function: Callable) -> Callable:
        """A function of a run's values, for all runs."""
        return function if self.alone else jax.vmap(function)

    def of_run(self, state: State, place: int) -> State:
        """One run's state."""
        return state if self.alone else one_of(state, place)

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    def start(self, announce: Callable[[str], None]) -> State:
        seeds = np.array([settings.seed for settings in self.settings], np.uint32)
        seeds = seeds[0] if self.alone else seeds
        like = self.like(jax.eval_shape(self.init, seeds))
        if _begun(self.home):
            step, state = checkpoint.restore(self.checkpoints, like)
            announce(f"resuming {self.home} at meta-step {step} of {self.run.config.meta_steps}")
            self.saved = step
            processes.by_first(lambda: self.cut(step))
            if step < self.run.config.meta_steps:
                self.compile(like)
            return state
        processes.by_first(lambda: self.cut(0))
        announce("compiling and filling the pool of tasks")
        self.compile(like)
        return self.refresh(self.init(seeds))

    def compile(self, like: State) -> None:
        """Compiles what a chunk needs side by side: XLA's compiler keeps less than two threads busy."""
        with ThreadPoolExecutor() as pool:
            started = [pool.submit(f.lower(like).compile) for f in (self.refresh, self.run_chunk, self.describe)]
            for one in started:
                one.result()  # raises what the compiler did

    def cut(self, step: int) -> None:
        for folder in self.folders:
            cut_metrics(folder / "metrics.jsonl", step)

    def chunk(self, state: State, sinks: Sequence[Sink], save_now: Callable[[], bool]) -> State:
        first, begun, before = int(state.step), time.perf_counter(), state
        state, info = self.run_chunk(before)
        rows = self.rows(first, jax.device_get({**self.describe(state), **info}))
        for place, own in enumerate(rows):
            self.check(own, place, before, state)
        state = self.refresh(state)
        seconds = time.perf_counter() - begun
        for own in rows:
            own[-1] = {**own[-1], "chunk_seconds": seconds}
        processes.by_first(lambda: self.append(rows))
        done = first // self.run.config.chunk + 1
        last = first + self.run.config.chunk >= self.run.config.meta_steps
        if last or done % self.run.config.checkpoint_every == 0 or save_now():
            self.save(state)
        for sink, own in zip(sinks, rows, strict=True):
            sink(own)
        return state

    def rows(self, first: int, seen: Mapping[str, np.ndarray]) -> list[list[Metrics]]:
        """The metrics of a chunk's meta-steps, of each run."""
        own = [{name: value if self.alone else value[i] for name, value in seen.items()} for i in range(len(self.folders))]
        return [table(first, values, self.run.config.chunk) for values in own]

    def append(self, rows: Sequence[Sequence[Metrics]]) -> None:
        for folder, own in zip(self.folders, rows, strict=True):
            append_metrics(folder / "metrics.jsonl", own)

    def check(self, rows: Sequence[Metrics], place: int, before: State, after: State) -> None:
        """Raises NotFinite if a run's metrics count numbers that are not finite."""
        bad = next((row for row in rows if row["nonfinite"]), None)
        if bad is None:
            return
        kept = "no checkpoint was written yet" if self.saved < 0 else f"the checkpoint of step {self.saved} is kept"
        said = self.blamed(place, before, after)
        if not self.alone:
            said = f"{said} It is the run in {self.folders[place]}. {self.spare(place)}"
        what = f"{culprits(bad)} of step {bad['step']} has values that are not finite"
        raise NotFinite(f"{what}; {kept} in {self.home}. {said}")

    def spare(self, broken: int) -> str:
        """Lets the other runs go on without a broken one, from the last checkpoint of all; says so."""
        if self.saved < 0:
            return "The others have learned nothing yet."
        seeds = np.array([settings.seed for settings in self.settings], np.uint32)
        states = checkpoint.restore(self.checkpoints, self.like(jax.eval_shape(self.init, seeds)))[1]
        self.part(self.collect(states), but=broken)
        return "The others may go on, each alone: groove train --resume with their folders."

    def blamed(self, place: int, before: State, after: State) -> str:
        """Which leaves a chunk broke, and by which operation if a person wants to know."""
        leaves = faults.broken(self.of_run(after, place))
        said = f"NaN is in {leaves}." if leaves else "No leaf of theta or of the members holds NaN."
        if not self.debug:
            return f"{said} To learn where it came from, go on with --debug."
        found = faults.origin(self.run.trainer.chunk, self.of_run(self.collect(before), place))
        return f"{said} The first operation to make NaN: {found or 'none; it began with inf'}."

    def like(self, state: State) -> State:
        """A state as its devices hold it, without values."""
        if self.mesh.size == 1:
            return state
        held = devices.shardings(self.mesh, SPECS if self.alone else spread(), state)
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
