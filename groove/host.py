"""The host's side of a run: its folder, its loop, its logs. What the device does is `groove.trainer`'s."""

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from groove import checkpoint, config, protocols, rulefile, schedules
from groove.base import Theta
from groove.build import HORIZONS, Run, architecture, build, family, learned_rule
from groove.config import Config
from groove.evaluate import walk as walk_of
from groove.trainer import State
from levels import dataset

Tree = TypeVar("Tree")
Metrics: TypeAlias = Mapping[str, float | None]
Sink: TypeAlias = Callable[[list[Metrics]], None]
"""Receives the metrics of a chunk's meta-steps, a row each, in order."""

RULE, START = "rule.safetensors", "start.safetensors"
"""Files of a run folder: theta as trained, and as a run began with it that did not begin with a newborn rule."""
SCHEDULES = "schedules.json"
WALK_STEPS = 60
PACKAGES = ("groove-rl", "jax", "jaxlib", "flax", "optax", "chex", "evosax", "gymnax", "orbax-checkpoint", "numpy")


class NotFinite(RuntimeError):
    """A meta-gradient, or the fitness of a candidate, was not finite."""


class Result(NamedTuple):
    """Where a run stands."""

    run: Run
    folder: Path
    state: State
    finished: bool  # False if it was interrupted


def create(settings: Config, folder: Path) -> None:
    """Makes a new run folder.

    A rule that the run starts from is copied into it.

    Raises:
        ValueError: The configuration is not valid, the folder exists and is not empty, or the rule to start from is
            damaged or of another shape.
        FileNotFoundError: There is no rule to start from.
        OSError: The folder cannot be written.
    """
    settings = config.check(settings)
    assert all(family(settings, name) for name in settings.families)  # those of other libraries are only now looked up
    start = Path(settings.start) / RULE if Path(settings.start).is_dir() else Path(settings.start)
    if settings.start:
        check_start(start, settings)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already; choose another --output, or continue it with --resume {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    if settings.start:
        write_bytes(folder / START, start.read_bytes())
    config.save(settings, folder / "config.json", versions())


def check_start(path: Path, settings: Config) -> None:
    """Raises a ValueError unless the file holds a rule that means the same as the configuration's."""
    metadata = rulefile.load_rule_file(path)[1]
    theirs, ours = config.from_json(metadata["config"]).rule, settings.rule
    for name in ("kind", "horizon", "cell", "width", "predictions", "drift_width", "ppo_start"):
        if getattr(theirs, name) != getattr(ours, name):
            raise ValueError(
                f"start must be a rule like that of the configuration, but rule.{name} differs: "
                f"{getattr(theirs, name)!r} in {path}, {getattr(ours, name)!r} here."
            )
    theta_of(path, settings)


def theta_of(path: Path, settings: Config) -> Theta:
    """Theta in a rule's file, for the rule of a configuration.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or holds a rule of another shape.
    """
    flat, _ = rulefile.load_rule_file(path)
    spec = family(settings, settings.families[0]).environment.spec
    rule = learned_rule(settings, spec, architecture(settings, spec, settings.families[0]))
    try:
        return rulefile.unflatten(jax.eval_shape(rule.init, jax.random.key(0)), flat)
    except ValueError as error:
        raise ValueError(f"{path} must hold a rule like that of the configuration, but {error}") from error


def open_folder(folder: Path) -> Config:
    """Reads the configuration of an existing run.

    Raises:
        ValueError: The folder is no run.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a run folder: it has no config.json.")
    return config.load(folder / "config.json")


def versions() -> dict[str, str]:
    """Versions of the packages that decide what a run computes."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def check_space(run: Run, folder: Path) -> None:
    """Raises an OSError unless the disk has room for the checkpoints that a run keeps, and one more."""
    state = jax.eval_shape(run.trainer.init, jax.random.key(0))
    size = sum(math.prod(leaf.shape) * max(leaf.dtype.itemsize, 4) for leaf in jax.tree.leaves(state))
    needed, free = 4 * size + 2**24, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{folder} needs {needed / 2**20:.0f} MiB of disk for checkpoints, {free / 2**20:.0f} MiB are free.")


def train(folder: Path, sink: Sink, *, announce: Callable[[str], None] = lambda text: None) -> Result:
    """Runs, or goes on with, the run of `folder` until it is done or interrupted.

    The first Ctrl-C (or SIGTERM) ends the run after the current chunk, saved; a second one ends it at once.

    Args:
        folder: Made by `create`. What its newest good checkpoint holds is not done again.
        sink: Receives metrics; rows that were logged before the checkpoint are not sent again.
        announce: Receives one-line messages for a person.

    Raises:
        NotFinite: A meta-gradient or a fitness was not finite; the last good checkpoint is kept.
        OSError: The disk is full or not writable.
    """
    settings = open_folder(folder)
    _announce_versions(folder, announce)
    with _owned(folder):
        run = build(settings, theta_of(folder / START, settings) if settings.start else None)
        check_space(run, folder)
        loop = _Loop(run, folder)
        with _interruptible() as stopped:
            state = loop.start(announce)
            while int(state.step) < settings.meta_steps and not stopped():
                state = loop.chunk(state, sink, save_now=stopped)
        if stopped():
            loop.save(state)
    return Result(run, folder, state, int(state.step) >= settings.meta_steps)


def _announce_versions(folder: Path, announce: Callable[[str], None]) -> None:
    """Says which packages are not those that the run began with: then it may not go on bit for bit."""
    before, now = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("versions", {}), versions()
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        announce(f"other versions than the run began with, so numbers may differ: {', '.join(changed)}")


class _Loop:
    """The compiled functions of a run, and the files that they feed."""

    def __init__(self, run: Run, folder: Path):
        self.run, self.folder = run, folder
        self.init = jax.jit(run.trainer.init)
        self.run_chunk = jax.jit(run.trainer.chunk, donate_argnums=0)
        self.refresh = jax.jit(run.trainer.refresh, donate_argnums=0)
        self.describe = jax.jit(lambda state: describe(run, state))
        self.saved = -1

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def start(self, announce: Callable[[str], None]) -> State:
        key = jax.random.key(self.run.config.seed)
        if self.checkpoints.is_dir() and any(self.checkpoints.glob("step_*")):
            step, state = checkpoint.restore(self.checkpoints, jax.eval_shape(self.init, key))
            announce(f"resuming {self.folder} at meta-step {step} of {self.run.config.meta_steps}")
            self.saved = step
            cut_metrics(self.folder / "metrics.jsonl", step)
            return state
        cut_metrics(self.folder / "metrics.jsonl", 0)
        announce("compiling and filling the pool of tasks")
        return self.refresh(self.init(key))

    def chunk(self, state: State, sink: Sink, save_now: Callable[[], bool]) -> State:
        first, begun = int(state.step), time.perf_counter()
        state, info = self.run_chunk(state)
        seen = {**self.describe(state), **info}
        rows = table(first, jax.device_get(seen), self.run.config.chunk)
        bad = [row["step"] for row in rows if row["nonfinite"]]
        if bad:
            kept = "no checkpoint was written yet" if self.saved < 0 else f"the checkpoint of step {self.saved} is kept"
            what = "meta-gradient" if self.run.config.meta.method == "gradient" else "fitness"
            raise NotFinite(f"the {what} of step {bad[0]} has values that are not finite; {kept} in {self.folder}.")
        state = self.refresh(state)
        rows[-1] = {**rows[-1], "chunk_seconds": time.perf_counter() - begun}
        append_metrics(self.folder / "metrics.jsonl", rows)
        done = first // self.run.config.chunk + 1
        last = first + self.run.config.chunk >= self.run.config.meta_steps
        if last or done % self.run.config.checkpoint_every == 0 or save_now():
            self.save(state)
        sink(rows)
        return state

    def save(self, state: State) -> None:
        if int(state.step) != self.saved:
            self.checkpoints.mkdir(exist_ok=True)
            self.saved = int(state.step)
            where = checkpoint.save(self.checkpoints, self.saved, state)
            assert where.exists()


def describe(run: Run, state: State) -> dict[str, jax.Array]:
    """Means over the tasks being lived on of their levels' features: `<family>/feature_<name>`, f32[]."""
    found: dict[str, jax.Array] = {}
    for part, players in zip(run.parts, state.live, strict=True):
        if part.family.features is not None:
            features = jax.vmap(part.family.features)(players.task.level)
            found |= {f"{part.family.name}/feature_{name}": jnp.mean(value) for name, value in features.items()}
    return found


def table(first: int, info: Mapping[str, np.ndarray], steps: int) -> list[Metrics]:
    """A row of plain numbers for each meta-step, from arrays [steps] or []; None where a number is not finite."""

    def number(value: np.ndarray, step: int) -> float | None:
        chosen = value[step] if np.ndim(value) else value
        return None if not np.isfinite(chosen) else int(chosen) if np.issubdtype(value.dtype, np.integer) else float(chosen)

    return [{"step": first + i + 1, **{name: number(info[name], i) for name in sorted(info)}} for i in range(steps)]


def append_metrics(path: Path, rows: list[Metrics]) -> None:
    """Adds rows to a file of JSON lines and forces them to the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def read_metrics(path: Path) -> list[Metrics]:
    """The rows of a file of JSON lines; a last line that was cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def cut_metrics(path: Path, step: int) -> None:
    """Drops the rows after a meta-step, as they will be written again."""
    rows = [row for row in read_metrics(path) if (row["step"] or 0) <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


@contextmanager
def unless_unused(folder: Path) -> Iterator[None]:
    """Removes a run folder again if what is done with it fails before anything was learned."""
    try:
        yield
    except Exception:
        early = {"config.json", START, ".lock", "metrics.jsonl", "tensorboard"}
        if {path.name for path in folder.iterdir()} <= early and not any(read_metrics(folder / "metrics.jsonl")):
            shutil.rmtree(folder)
        raise


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Holds a run folder for this process alone."""
    import fcntl

    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} is being run by another process.") from None
        yield


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a flag; the next one acts as it did before."""
    caught: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)

    def note(number, frame):
        caught.append(number)
        for kind in kinds:
            signal.signal(kind, before[kind])

    try:
        before = {kind: signal.signal(kind, note) for kind in kinds}
    except ValueError:  # not the main thread: signals are somebody else's
        yield lambda: False
        return
    try:
        yield lambda: bool(caught)
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])


def save_rule(result: Result) -> Path:
    """Writes `rule.safetensors`: theta, with all that `groove.load_rule` needs to use it."""
    path = result.folder / RULE
    specs = {part.family.name: part.family.environment.spec for part in result.run.parts}
    settings = json.loads((result.folder / "config.json").read_text(encoding="utf-8"))
    rulefile.save_rule(
        path,
        result.run.trainer.theta(result.state),
        {
            "config": json.dumps(settings["config"]),
            "families": json.dumps(list(specs)),
            "step": str(int(result.state.step)),
        },
    )
    return path


def evaluate(result: Result) -> list[protocols.Row]:
    """Meets the trained rule with the held-out tasks: `evaluation.json`, and the table that is in it."""
    settings = result.run.config
    newborn = build(settings).trainer  # without what the run may have started from
    untrained = jax.jit(lambda key: newborn.theta(newborn.init(key)))(jax.random.key(settings.seed))
    key = jax.random.fold_in(jax.random.key(protocols.HELD_OUT_SEED), settings.seed + 1)
    rows = protocols.rows(protocols.held_out(result.run, key, untrained, result.run.trainer.theta(result.state)))
    about = {**protocols.protocol(settings)._asdict(), "held_out_seed": protocols.HELD_OUT_SEED}
    lines = [{"family": row.family, "rule": row.rule, **row.interval._asdict()} for row in rows]
    page = {"protocol": {**about, "caption": protocols.caption(settings)}, "rows": lines}
    write_text(result.folder / "evaluation.json", json.dumps(page, indent=2) + "\n")
    return rows


def save_schedules(run: Run, folder: Path, theta: Theta) -> Path:
    """Writes `schedules.json`: what a rule does at each age, the tables behind the report's pictures."""
    settings, lifetimes = run.config, schedules.lifetimes(*run.config.life.updates)
    courses, responses, drifts = {}, {}, []
    for part, own in zip(run.parts, jax.random.split(jax.random.key(schedules.SEED), len(run.parts)), strict=True):
        course_key, response_key = jax.random.split(own)
        name, levels = part.family.name, protocols.held_out_levels(part.family, schedules.LEVELS, seed=schedules.SEED)
        lived = schedules.courses(part.rule, part.life, course_key, theta, levels, lifetimes)
        courses[name] = [plain(row) for row in lived]
        if settings.rule.kind == "lpg":
            answers = schedules.responses(part.rule, part.life, response_key, theta, levels, lifetimes)
            responses[name] = [plain(row) for row in answers]
    if settings.rule.kind == "lpo":
        horizon, longest = HORIZONS[settings.rule.horizon], max(2, lifetimes[-1])
        curves = schedules.drifts(theta, horizon, lifetime=longest, ppo_start=settings.rule.ppo_start)
        drifts = [plain(row) for row in curves]
    path = folder / SCHEDULES
    page = {"courses": courses, "responses": responses, "drifts": drifts, "ratios": schedules.RATIOS.tolist()}
    write_text(path, json.dumps(page) + "\n")
    return path


def plain(row: NamedTuple) -> dict[str, object]:
    """A row of numbers and arrays as JSON has them; None where a number is not finite."""

    def value(x):
        if isinstance(x, np.ndarray):
            return [value(float(entry)) for entry in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return {name: value(entry) for name, entry in row._asdict().items()}


def take(row: int | jax.Array, tree: Tree) -> Tree:
    """One row of every leaf."""
    return jax.tree.map(lambda leaf: leaf[row], tree)


def draw_walk(result: Result) -> Path | None:
    """Teaches a newborn agent on a level in play, lets it walk once: `walk.gif`; None where no family has pictures."""
    theta, key = result.run.trainer.theta(result.state), jax.random.key(result.run.config.seed)
    for part, players in zip(result.run.parts, result.state.live, strict=True):
        lifetimes = players.task.lifetime
        if part.family.image is None or not np.any(lifetimes):
            continue
        level, lifetime = take(jnp.argmax(lifetimes), (players.task.level, lifetimes))

        def walk(key, theta, level, lifetime, part=part):
            life_key, walk_key = jax.random.split(key)
            agent = part.life.live(life_key, theta, level, lifetime)
            return walk_of(part.rule, part.family.environment, walk_key, agent, level, steps=WALK_STEPS)

        from groove.report.gif import save_walk

        path = result.folder / "walk.gif"
        save_walk(path, part.family, level, jax.jit(walk)(key, theta, level, lifetime))
        return path
    return None


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    if part.write_bytes(content) == len(content):
        part.replace(path)


def save_curriculum(result: Result) -> list[Path]:
    """Writes what each curriculum holds: `curriculum.parquet`, or one file per family if there are several."""
    paths = []
    for part, state in zip(result.run.parts, result.state.curricula, strict=True):
        tasks, score, held = jax.device_get(part.share.curriculum.contents(state))
        if not held.any():
            continue
        suffix = "" if len(result.run.parts) == 1 else f"-{part.family.name}"
        path = result.folder / f"curriculum{suffix}.parquet"
        kept = jax.tree.map(
            lambda leaf, rows=held: np.asarray(leaf)[rows], (tasks.level, tasks.lifetime, tasks.origin.serial)
        )
        columns = {"lifetime": kept[1], "serial": kept[2], "score": score[held]}
        paths.append(path)
        content = dataset.save(
            path, kept[0], columns, {"step": str(int(result.state.step)), **versions()}, family=part.family.name
        )
        assert content
    return paths
