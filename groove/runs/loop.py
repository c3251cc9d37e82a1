"""The loop of a run, or of several side by side: chunks of meta-steps, what is logged of them, what is saved."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from groove import config
from groove.assembly import Run, remade, vmap_runs
from groove.base import Info, Task
from groove.files import checkpoint
from groove.parallel import devices, processes
from groove.runs import nan_origin, playing
from groove.runs.folder import begun, open_folder
from groove.runs.metrics import Metrics, Sink, append_metrics, cut_metrics, table
from groove.runs.process import interruptible
from groove.trainer import SPECS, State, one_of, shared, spread

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
    trusted: tuple[str, ...] = ()  # plug-ins that its folder may name


class Loop:
    """The compiled functions of a run, or of several side by side, and the files that they feed."""

    def __init__(
        self,
        run: Run,
        home: Path,
        folders: Sequence[Path],
        mesh: Mesh,
        *,
        debug: bool,
        trusted: tuple[str, ...] = (),
    ):
        """Args: home: Where checkpoints are; folders: of each run, `home` where there is one."""
        self.run, self.home, self.folders, self.mesh = run, home, folders, mesh
        self.debug, self.trusted = debug, trusted
        self.alone = tuple(folders) == (home,)
        self.settings = [open_folder(folder, trusted=trusted) for folder in folders]
        seeds = np.array([settings.seed for settings in self.settings], np.uint32)
        self.seeds = seeds[0] if self.alone else seeds
        trainer = shared(run.trainer, mesh) if self.alone else vmap_runs(run, self.settings, mesh)
        self.init = jax.jit(lambda seeds: trainer.init(self.each(jax.random.key)(seeds)))
        self.run_chunk = jax.jit(trainer.chunk, donate_argnums=() if debug else 0)
        self.refresh = jax.jit(trainer.refresh, donate_argnums=0)
        self.describe = jax.jit(lambda state: {**trainer.info(state), **self.described(trainer.tasks(state))})
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
            Result(remade(self.run, settings), folder, self.of_run(state, i), finished, self.trusted)
            for i, (settings, folder) in enumerate(zip(self.settings, self.folders, strict=True))
        ]
        if finished and not self.alone:
            self.part(state)
        return results

    def part(self, states: State, *, but: int = -1) -> None:
        """Gives each of several runs a checkpoint of its own, so that it may go on alone; or all but one of them."""
        for place, folder in enumerate(self.folders):
            if place != but:
                own = config.identity(self.settings[place])
                checkpoint.save(folder / "checkpoints", int(states.step), one_of(states, place), run=own)

    def each(self, function: Callable) -> Callable:
        """A function of a run's values, for all runs."""
        return function if self.alone else jax.vmap(function)

    def described(self, tasks: tuple[Task, ...]) -> Info:
        """What is logged of the tasks being lived on, of all runs."""
        return self.each(functools.partial(describe, self.run))(tasks)

    def of_run(self, state: State, place: int) -> State:
        """One run's state."""
        return state if self.alone else one_of(state, place)

    @property
    def checkpoints(self) -> Path:
        """Where they are, of all runs."""
        return self.home / "checkpoints"

    def start(self, announce: Callable[[str], None]) -> State:
        """The state to go on from, with all that follows compiled."""
        if begun(self.home):
            step, state = self.restore()
            announce(f"resuming {self.home} at meta-step {step} of {self.run.config.meta_steps}")
            self.saved = step
            processes.by_first(lambda: self.cut(step))
            if step < self.run.config.meta_steps:
                return self.compile(lambda: state)
            return state
        processes.by_first(lambda: self.cut(0))
        announce("compiling and filling the pool of tasks")
        lowered = self.init.lower(self.seeds)
        return self.compile(lambda: lowered.compile()(self.seeds))

    def restore(self) -> tuple[int, State]:
        """The newest good checkpoint: its meta-step, and the state."""
        return checkpoint.restore(self.checkpoints, self.like, run=config.identity(*self.settings))

    def compile(self, begin: Callable[[], State]) -> State:
        """Compiles what a chunk needs, side by side: XLA's compiler keeps less than two threads busy. Begins meanwhile.

        Args:
            begin: Makes the state to go on from, while Python traces these programs.
        """
        # The longest first: while XLA simplifies the chunk, Python traces the rest.
        programs = (self.run_chunk, self.refresh, self.describe)
        with ThreadPoolExecutor() as pool:
            beginning = pool.submit(begin)
            compiling = [pool.submit(one.lower(self.like).compile) for one in programs]  # kept by the jitted functions
            for one in compiling:
                one.result()  # raises what the compiler did
            return beginning.result()

    def cut(self, step: int) -> None:
        """Drops what was logged after a meta-step."""
        for folder in self.folders:
            cut_metrics(folder / "metrics.jsonl", step)

    def chunk(self, state: State, sinks: Sequence[Sink], save_now: Callable[[], bool]) -> State:
        """The meta-steps of one chunk, checked, logged, saved if it is time, and shown; and the refresh behind them."""
        clock, first, before = time.perf_counter(), int(state.step), state  # the clock first: the step waits for a refresh
        state, info = self.run_chunk(before)
        rows = self.rows(first, jax.device_get({**self.describe(state), **info}))
        for place, own in enumerate(rows):
            self.check(own, place, before, state)
        state = self.refresh(state)  # goes on while rows are written and shown
        seconds = time.perf_counter() - clock
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
        """Logs the rows of each run in its own folder."""
        for folder, own in zip(self.folders, rows, strict=True):
            append_metrics(folder / "metrics.jsonl", own)

    def check(self, rows: Sequence[Metrics], place: int, before: State, after: State) -> None:
        """Raises NotFinite if a run's metrics count numbers that are not finite, or a life ended with one."""
        bad = next((row for row in rows if row["nonfinite"] or ill_measured(row)), None)
        if bad is None:
            return
        kept = "no checkpoint was written yet" if self.saved < 0 else f"the checkpoint of step {self.saved} is kept"
        said = self.blamed(place, before, after)
        if not self.alone:
            said = f"{said} It is the run in {self.folders[place]}. {self.spare(place)}"
        what = f"{culprits(bad)} of step {bad['step']} has values that are not finite"
        if found := self.unsound(self.of_run(self.collect(after), place)):
            what = f"{found}; so {what}"
        raise NotFinite(f"{what}; {kept} in {self.home}. {said}")

    def unsound(self, state: State) -> str:
        """Which leaf of which level, in play or newly sampled, a family of somebody else is to blame for; "" if none is."""
        for part, players in zip(self.run.parts, state.live, strict=True):
            name = part.family.name
            if not (config.is_plugged(name) or config.generator_of(self.run.config, name)):
                continue
            keys = jax.random.split(jax.random.key(playing.SEED), LOOKED_AT)
            sampled = jax.jit(jax.vmap(part.family.generator.sample))(keys)
            found = filter(None, (playing.unsound(part.family, some) for some in (players.task.level, sampled)))
            if said := next(found, ""):
                return said
        return ""

    def spare(self, broken: int) -> str:
        """Lets the other runs go on without a broken one, from the last checkpoint of all; says so."""
        if self.saved < 0:
            return "The others have learned nothing yet."
        self.part(self.collect(self.restore()[1]), but=broken)
        return "The others may go on, each alone: groove train --resume with their folders."

    def blamed(self, place: int, before: State, after: State) -> str:
        """Which leaves a chunk broke, and by which operation if a person wants to know."""
        leaves = nan_origin.broken(self.of_run(after, place))
        said = f"{leaves}." if leaves else "Every leaf of theta and of the members is finite."
        if not self.debug:
            return f"{said} To learn where it came from, go on with --debug."
        chunk = remade(self.run, self.settings[place]).trainer.chunk
        found = nan_origin.origin(chunk, self.of_run(self.collect(before), place))
        return f"{said} The first operation to make NaN: {found or 'none; it began with inf'}."

    @functools.cached_property
    def like(self) -> State:
        """The state as its devices hold it, without values."""
        state = jax.eval_shape(self.init, self.seeds)
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
        """Writes a checkpoint, unless there is one of this step."""
        if int(state.step) != self.saved:
            processes.by_first(lambda: self.checkpoints.mkdir(exist_ok=True))
            self.saved = int(state.step)
            checkpoint.save(self.checkpoints, self.saved, state, run=config.identity(*self.settings))


def ill_measured(row: Metrics) -> list[str]:
    """Which measurements of lives that ended with a meta-step are not finite, in words."""
    ended = [name.removesuffix("/finished") for name, count in row.items() if name.endswith("/finished") and count]
    kinds = ("return", "score")
    return [f"the {kind} of {family}" for family in ended for kind in kinds if row.get(f"{family}/{kind}", 0.0) is None]


def culprits(row: Metrics) -> str:
    """What was not finite in a meta-step whose metrics count such numbers, in words."""
    names = {"fitness": "the fitness", "gradient_norm": "the meta-gradient", "theta_step": "theta"}
    found = [words for name, words in names.items() if name in row and row[name] is None] + ill_measured(row)
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
