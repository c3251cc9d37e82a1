"""Runs what a protocol asks for: every rule on every split of a suite, in blocks of tasks, kept as they are done."""

import functools
import itertools
import json
import math
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from groove import protocols, runs
from groove.assembly import check_rule
from groove.base import Outcome, UpdateRule
from groove.evaluation import results
from groove.evaluation.methods import RANDOM, Method
from groove.lifetime import Lifetime, exact, learning_curve, lifetime, sampled
from groove.parallel import processes
from groove.parallel.devices import check_precision
from groove.protocols import PROTOCOLS, Budget, SuiteProtocol, Tuned
from levels.base import Discrete, Level
from levels.suites import SUITES, Split, splits

Found = TypeVar("Found")
Courses: TypeAlias = Callable[[jax.Array, Level, jax.Array], Outcome]
"""`(key, levels, place of the first) -> outcomes f32[tasks, agents, points]`, compiled once whatever the block of tasks."""
SEED = 50_423
"""Of all agents that are evaluated; those of tuning have other seeds."""
BLOCK = 16
"""Most tasks of one call, after which what was found is kept."""

CACHED = 2**19
"""Numbers of agents' tables that a CPU steps together: two MiB, so that they stay in its cache."""


class Stopped(Exception):
    """Somebody asked to stop; what was done is kept."""


class Plan(NamedTuple):
    """One evaluation."""

    suite: str
    scale: str
    methods: tuple[Method, ...]
    tuned: Tuned  # settings of baselines, and what counts as 0 and 1 where nothing is exact


class Piece(NamedTuple):
    """A rule on some tasks of a split: what is found out, and kept, at once."""

    method: Method
    split: Split
    first: int  # of the tasks
    number: int


def evaluated(
    plan: Plan,
    folder: Path,
    *,
    seen: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> pa.Table:
    """Measures what is not yet in `folder/results.parquet`, and keeps it there, block by block.

    Args:
        plan: What to measure. Results that the folder holds already, of whatever rules, suites and scales, stay in it.
        folder: Must exist.
        seen: `(done, total) -> None`, tasks lived on by all rules, called after every block.
        stopped: Asked before every block whether to stop.

    Returns:
        All that the folder holds then.

    Raises:
        ValueError: The folder's results are damaged.
        OSError: A file cannot be written.
        groove.evaluation.Stopped: `stopped` said so; what was done is kept.
    """
    path = folder / results.NAME
    table = results.read(path) if path.is_file() else results.empty()
    pieces = list(_pieces(plan))
    done, total = 0, sum(piece.number for piece in pieces)
    missing = [piece for piece in pieces if not _holds(table, plan, piece)]
    done = total - sum(piece.number for piece in missing)
    machine = {"python": platform.python_version(), "device": jax.devices()[0].device_kind}
    versions = json.dumps({**runs.versions(), **machine}, sort_keys=True)
    for _, same in itertools.groupby(missing, lambda piece: (*piece.method[:2], piece.split.name)):
        waiting = list(same)
        measure = measured(plan, waiting[0].method.make(waiting[0].split), waiting[0].split)
        while waiting:
            if stopped():
                raise Stopped(f"stopped after {done} of {total} tasks")
            now, waiting = waiting[: workers()], waiting[workers() :]
            found = together([functools.partial(_lived, plan, piece, measure) for piece in now])
            rows = [results.table_of(_columns(plan, *pair, versions)) for pair in zip(now, found, strict=True)]
            table = results.merged([table, *rows])
            results.write(path, table)
            done += sum(piece.number for piece in now)
            seen(done, total)
    return table


def check(plan: Plan) -> Plan:
    """Returns the plan once every rule was made for every family of the suite, and traced: before anything is written.

    Raises:
        ValueError: A rule cannot be made, or does not keep the contract of `groove.base`; the message names it.
    """
    check_precision()
    protocol = PROTOCOLS[plan.suite]
    for method, split in itertools.product(plan.methods, splits(SUITES[plan.suite])):
        made = method.make(split)
        life = life_of(protocol, protocol.budgets[plan.scale], made, split)
        check_rule(method.label, made, life, split.family)
    return plan


def _pieces(plan: Plan) -> Iterator[Piece]:
    """Everything that a plan asks for, rule by rule."""
    wanted = PROTOCOLS[plan.suite].budgets[plan.scale].tasks
    for method in plan.methods:
        for split in splits(SUITES[plan.suite]):
            tasks = min(wanted, len(split.tasks))
            for first in range(0, tasks, block_of(tasks)):
                yield Piece(method, split, first, min(block_of(tasks), tasks - first))


def block_of(tasks: int) -> int:
    """How many tasks a call has: so many that all workers have some."""
    return min(BLOCK, -(-tasks // workers()))


def _holds(table: pa.Table, plan: Plan, piece: Piece) -> bool:
    """Whether all rows of a piece are there, of these levels, this protocol and this very rule."""
    return _wanted(plan, piece) <= _held(table, plan, piece)


def _wanted(plan: Plan, piece: Piece) -> set[tuple[str, int, int]]:
    protocol = PROTOCOLS[plan.suite]
    tasks = piece.split.tasks[piece.first : piece.first + piece.number]
    seeds, points = range(protocol.budgets[plan.scale].seeds), protocols.points_of(protocol, plan.scale)
    return {(task, seed, point) for task in tasks for seed in seeds for point in points}


def _held(table: pa.Table, plan: Plan, piece: Piece) -> set[tuple[str, int, int]]:
    """Raises a ValueError if a rule of that name was another one when it was measured, or 0 and 1 were other numbers."""
    own = _identity(plan, piece)
    here = _rows(table, {name: own[name] for name in results.PLACE})
    _check_bounds(here, plan, piece.split)
    same = _rows(here, {"rule": own["rule"]})
    rows = _rows(same, {"meta_seed": own["meta_seed"]})
    about = _about(piece)
    trainings = {results.training(text) for text in same["about"].unique().to_pylist()}
    if trainings - {results.training(about)} or any(text != about for text in rows["about"].unique().to_pylist()):
        raise ValueError(results.another(piece.method.label, piece.split.name))
    return set(zip(*(rows[name].to_pylist() for name in ("task", "seed", "update")), strict=True))


def _rows(table: pa.Table, values: Mapping[str, str | int]) -> pa.Table:
    for name, value in values.items():
        table = table.filter(pc.equal(table[name], value))
    return table


def _check_bounds(rows: pa.Table, plan: Plan, split: Split) -> None:
    now = {task: bound for task, *bound in zip(split.tasks, *bounds(split, plan.tuned), strict=True)}
    for row in rows.group_by(["task", "zero", "one", "one_is"]).aggregate([]).to_pylist():
        zero, one, is_one = now[row["task"]]
        if row["one_is"] != is_one or not np.allclose([row["zero"], row["one"]], [zero, one], equal_nan=True):
            raise ValueError(
                f"the results have other numbers for 0 and 1 on the task {row['task']} than these settings of baselines: "
                "choose another --output."
            )


def _identity(plan: Plan, piece: Piece) -> dict[str, str | int]:
    suite_hash, protocol_hash = protocols.hashes(plan.suite, plan.scale)
    return {
        "rule": piece.method.label,
        "meta_seed": piece.method.meta_seed,
        "suite": plan.suite,
        "suite_hash": suite_hash,
        "scale": plan.scale,
        "protocol_hash": protocol_hash,
        "split": piece.split.name,
    }


def _about(piece: Piece) -> str:
    return json.dumps(piece.method.about(piece.split), sort_keys=True, default=float)


def measured(plan: Plan, rule: UpdateRule, split: Split) -> Courses:
    """A rule's agents on a split, with a protocol's sizes; returns are exact where the family knows them."""
    protocol = PROTOCOLS[plan.suite]
    budget = protocol.budgets[plan.scale]
    life = life_of(protocol, budget, rule, split)
    points = jnp.asarray(protocols.points_of(protocol, plan.scale), jnp.int32)
    block = agents_at_once(split)

    def courses(key, levels, first):
        theta = rule.init(jax.random.key(0))  # what a learned rule has learned
        return learning_curve.learning_curves(
            life, key, theta, levels, points, agents=budget.seeds, first=first, block=block
        )

    return jax.jit(courses)


def life_of(protocol: SuiteProtocol, budget: Budget, rule: UpdateRule, split: Split) -> Lifetime:
    """How a rule's agents live on a split; their returns are exact where the family knows them."""
    environment, value = split.family.environment, split.family.value
    measure = exact(rule, environment, value) if value else sampled(rule, environment, episodes=budget.episodes)
    return lifetime(rule, environment, steps=protocol.steps, environments=budget.environments, evaluate=measure)


def workers() -> int:
    """How many calls to have under way at once: on a CPU one a core, since small steps keep no more than one busy."""
    return processes.cores() if jax.default_backend() == "cpu" else 1


def together(calls: Sequence[Callable[[], Found]]) -> list[Found]:
    """Makes calls at once, each in a thread of its own; results in the order of the calls."""
    with ThreadPoolExecutor(max(1, len(calls))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def agents_at_once(split: Split) -> int:
    """How many agents to step together, a power of two: on a CPU so few that their tables stay in cache."""
    if jax.default_backend() != "cpu":
        return 512
    spec = split.family.environment.spec
    numbers = spec.observation.n * (spec.actions + 1) if isinstance(spec.observation, Discrete) else CACHED
    return 2 ** int(np.clip(math.log2(CACHED / numbers), 0, 7))


def key_of(split: Split, meta_seed: int, seed: int = SEED) -> jax.Array:
    """The key of all agents of a rule on a split. Rules share it, meta-seeds do not."""
    named = jax.random.fold_in(jax.random.key(seed), zlib.crc32(split.name.encode()))
    return jax.random.fold_in(named, meta_seed)


def _lived(plan: Plan, piece: Piece, measure: Courses) -> Outcome:
    """Outcomes f32[tasks, seeds, points] of a piece. A short block is filled up, so that all have one shape."""
    tasks = min(PROTOCOLS[plan.suite].budgets[plan.scale].tasks, len(piece.split.tasks))
    rows = np.minimum(piece.first + np.arange(block_of(tasks)), tasks - 1)
    levels = jax.tree.map(lambda leaf: jnp.asarray(leaf[rows]), piece.split.levels)
    found = measure(key_of(piece.split, piece.method.meta_seed), levels, jnp.int32(piece.first))
    found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[: piece.number], found)
    return jax.tree.map(lambda leaf: np.where(np.isfinite(found.episode_return), leaf, np.nan), found)  # else it diverged


def _columns(plan: Plan, piece: Piece, found: Outcome, versions: str) -> results.Columns:
    """Rows of what was found, task by task, seed by seed, point by point."""
    shape = found.episode_return.shape
    points = protocols.points_of(PROTOCOLS[plan.suite], plan.scale)
    places = np.arange(piece.first, piece.first + piece.number)
    zero, one, is_one = bounds(piece.split, plan.tuned)
    same = {
        **_identity(plan, piece),
        "learned": piece.method.learned,
        "tuned": piece.method.tuned(piece.split),
        "lifetime": points[-1],
        "about": _about(piece),
        "versions": versions,
    }
    columns: dict[str, np.ndarray] = {name: np.repeat(value, shape[0] * shape[1] * shape[2]) for name, value in same.items()}
    return columns | {
        "task": _spread(np.array(piece.split.tasks)[places], shape, 0),
        "seed": _spread(np.arange(shape[1]), shape, 1),
        "update": _spread(np.array(points), shape, 2),
        "episode_return": np.reshape(found.episode_return, -1),
        "standard_error": np.reshape(found.standard_error, -1),
        "zero": _spread(zero[places], shape, 0),
        "one": _spread(one[places], shape, 0),
        "one_is": _spread(is_one[places], shape, 0),
    }


def _spread(values: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """A value for every place along an axis, as a column of all rows."""
    return np.broadcast_to(np.expand_dims(values, [i for i in range(len(shape)) if i != axis]), shape).reshape(-1)


def bounds(split: Split, tuned: Tuned) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What counts as 0 and 1 on each task, and what 1 is; nan where a task cannot be normalised."""
    zero, one = split.random.copy(), split.optimum.copy()
    is_one = np.where(np.isfinite(one), results.OPTIMUM, results.UNKNOWN).astype("<U8")
    for place, name in enumerate(split.tasks):
        if not is_one[place] and name in tuned.references:
            zero[place], one[place] = tuned.references[name]
            is_one[place] = results.A2C
    small = ~(one - zero >= split.smallest)
    flat = small & np.isfinite(one - zero)
    zero[small], one[small], is_one[small], is_one[flat] = np.nan, np.nan, results.UNKNOWN, results.FLAT
    return zero, one, is_one


def requested_rules(words: Sequence[str], suite: str) -> tuple[str, ...]:
    """The words of a user, with the random policy where nothing says what 0 is."""
    known = all(np.isfinite(split.random).all() for split in splits(SUITES[suite]))
    return tuple(words) if known or RANDOM in words else (*words, RANDOM)
