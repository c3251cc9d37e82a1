"""One meta-step, from tasks to tasks, and chunks of them: where curricula, scores and meta-optimisers meet."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from groove.base import Curriculum, Info, MetaOptimizer, Outcome, Score, Task, Theta
from groove.base.ranges import has_nan
from groove.base.trees import tree_where
from groove.parallel import devices


class TaskGroup(NamedTuple):
    """One family's part of a run: what its members live on, and how that is chosen."""

    name: str
    members: int  # B, lives at a time
    curriculum: Curriculum
    score: Score | None = None  # by default that of the curriculum

    @property
    def scored_by(self) -> Score:
        """Its score.

        Raises:
            ValueError: Neither it nor its curriculum has one.
        """
        found = self.score or self.curriculum.score
        if found is None:
            raise ValueError(f"the task group {self.name!r} needs a score, for its curriculum has none.")
        return found


class State(NamedTuple):
    """Everything a run needs to go on: arrays only. Where several devices share it, `live` is cut, the rest is copied."""

    step: jax.Array  # i32[]; meta-steps done
    key: jax.Array  # typed key[]; of the whole run, never consumed but folded
    curricula: tuple[chex.ArrayTree, ...]  # one per family
    meta: chex.ArrayTree
    live: tuple[chex.ArrayTree, ...]  # one per family


class Trainer(NamedTuple):
    """A training run as pure functions.

    Attributes:
        init: `(key) -> State`, every member awaiting its first task.
        step: `(state) -> (state, info)`, one meta-step.
        chunk: `(state) -> (state, info)`, meta-steps scanned on the device; info's leaves lead with the axis [steps].
        refresh: `(state) -> state`, between chunks: curricula replace what they handed out.
        theta: `(state) -> theta`.
        tasks: `(state) -> tasks`, what is being lived on: one PyTree of [B, ...] per family.
        info: `(state) -> info`, what the curricula say of themselves: `<family>/curriculum_<name>`.
    """

    init: Callable[[jax.Array], State]
    step: Callable[[State], tuple[State, Info]]
    chunk: Callable[[State], tuple[State, Info]]
    refresh: Callable[[State], State]
    theta: Callable[[State], Theta]
    tasks: Callable[[State], tuple[Task, ...]]
    info: Callable[[State], Info]


SPECS = State._make([P(), P(), P(), P(), P(devices.AXIS)])
"""How several devices hold a state."""
RUNS = "runs"
"""The axis of the mesh where several devices share out runs that differ in their seeds and in numbers."""
Swept: TypeAlias = Mapping[str, jax.typing.ArrayLike]
"""By name: f32[], those of a run, or f32[R] of several."""
SEPARATE = State._make([None, 0, 0, 0, 0])
"""The axes of runs side by side: all of them have done as many meta-steps, the rest of each is its own."""


def trainer(
    groups: tuple[TaskGroup, ...], meta: MetaOptimizer, theta: Callable[[jax.Array], Theta], *, steps: int = 1
) -> Trainer:
    """Puts the parts of a run together.

    Args:
        groups: One per family, in the order of the meta-optimiser's families.
        meta: How theta improves.
        theta: `(key) -> theta`, a rule's `init`.
        steps: Meta-steps per chunk, at least 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")

    def keys_of(state: State):
        """Of this number's step: a key for each family's proposal, one for each refresh, those of births and the meta-step.

        By one split: each compiles for long on CPUs.
        """
        own = jax.random.split(jax.random.fold_in(state.key, state.step), 2 * len(groups) + 2)
        return own[: len(groups)], own[len(groups) : -2], own[-2], own[-1]

    def propose(keys, curricula, needed):
        results = [
            part.curriculum.propose(k, state, need)
            for part, k, state, need in zip(groups, keys, curricula, needed, strict=True)
        ]
        return tuple(result[0] for result in results), tuple(result[1] for result in results)

    def init(key):
        run_key, theta_key, meta_key, *keys = jax.random.split(key, 3 + len(groups))
        curricula = tuple(part.curriculum.init(k) for part, k in zip(groups, keys, strict=True))
        everyone = tuple(jnp.ones(part.members, bool) for part in groups)
        tasks = jax.eval_shape(lambda key: propose([key] * len(groups), curricula, everyone)[1], key)
        for part, own in zip(groups, tasks, strict=True):
            _check_score(part, own)
        live = jax.eval_shape(meta.begin, key, tasks)
        nobody = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), live)
        return State(jnp.zeros((), jnp.int32), run_key, curricula, meta.init(meta_key, theta(theta_key)), nobody)

    def step(state):
        propose_keys, _, begin_key, step_key = keys_of(state)
        needed = devices.gather(tuple(players.finished for players in state.live))
        curricula, tasks = propose(propose_keys, state.curricula, needed)
        live = _renew(meta, begin_key, state.live, tasks, needed)
        optimizer, live, outcomes, info = meta.step(step_key, state.meta, live)
        ended = devices.gather(tuple((players.task, players.finished) for players in live))
        reports = [_report(*row) for row in zip(groups, curricula, ended, devices.gather(outcomes), strict=True)]
        seen = {**info, **{name: value for report in reports for name, value in report[1].items()}}
        return State(state.step + 1, state.key, tuple(report[0] for report in reports), optimizer, live), seen

    def refresh(state):
        rows = zip(groups, keys_of(state)[1], state.curricula, strict=True)
        return state._replace(curricula=tuple(part.curriculum.refresh(key, own) for part, key, own in rows))

    def info(state):
        found = [part.curriculum.info(own) for part, own in zip(groups, state.curricula, strict=True)]
        named = zip(groups, found, strict=True)
        return {f"{part.name}/curriculum_{name}": value for part, own in named for name, value in own.items()}

    return Trainer(
        init=init,
        step=step,
        chunk=lambda state: jax.lax.scan(lambda state, _: step(state), state, None, length=steps),
        refresh=refresh,
        theta=lambda state: meta.theta(state.meta),
        tasks=lambda state: devices.gather(tuple(players.task for players in state.live)),
        info=info,
    )


def shared(run: Trainer, place: Mesh) -> Trainer:
    """The same run on all devices of a mesh: each lives a part of every family's members.

    Args:
        run: Whose numbers of members the number of devices divides.
        place: Made by `devices.mesh`.
    """
    if place.size == 1:
        return run
    step, chunk = (devices.everywhere(place, function, (SPECS,), (SPECS, P())) for function in (run.step, run.chunk))
    refresh = devices.everywhere(place, run.refresh, (SPECS,), SPECS)
    tasks = devices.everywhere(place, run.tasks, (SPECS,), P())
    info = devices.everywhere(place, run.info, (SPECS,), P())
    init = devices.everywhere(place, run.init, (P(),), SPECS)
    return _held(run._replace(init=init, step=step, chunk=chunk, refresh=refresh, tasks=tasks, info=info), place, SPECS)


def side_by_side(make: Callable[[Swept], Trainer], numbers: Swept, place: Mesh) -> Trainer:
    """Runs that differ in their seeds and in numbers, in one program: what comes in and goes out has a leading axis [R].

    All but `State.step`. Each device of the mesh computes some of the runs, alone.

    Args:
        make: `(numbers f32[]) -> one of them`; numbers are traced, and decide neither what is computed nor its shapes.
        numbers: f32[R] by name, those of all runs; none where only seeds differ.
        place: Made by `devices.mesh` with the axis `RUNS`; its size must divide R.
    """

    def every(function, axes, specs, given=SEPARATE, held=None):
        """`(trainer, state) -> result` of all runs: `(states) -> results` with these axes, held by devices like that."""
        mapped = jax.vmap(lambda own, state: function(make(own), state), (0, given), axes)
        if place.size > 1:
            mapped = devices.everywhere(place, mapped, (P(RUNS), held or spread()), specs)
        return partial(mapped, numbers)

    many = Trainer(
        init=every(lambda run, key: run.init(key), SEPARATE, spread(), 0, P(RUNS)),
        step=every(lambda run, state: run.step(state), (SEPARATE, 0), (spread(), P(RUNS))),
        chunk=every(lambda run, state: run.chunk(state), (SEPARATE, 0), (spread(), P(RUNS))),
        refresh=every(lambda run, state: run.refresh(state), SEPARATE, spread()),
        theta=every(lambda run, state: run.theta(state), 0, P(RUNS)),
        tasks=every(lambda run, state: run.tasks(state), 0, P(RUNS)),
        info=every(lambda run, state: run.info(state), 0, P(RUNS)),
    )
    return many if place.size == 1 else _held(many, place, spread())


def spread() -> State:
    """How several devices hold runs side by side."""
    return State._make(P() if axis is None else P(RUNS) for axis in SEPARATE)


def one_of(states: State, place: int) -> State:
    """The state of one of several runs side by side."""
    return states._replace(
        **{
            name: jax.tree.map(lambda leaf: leaf[place], getattr(states, name))
            for name, axis in SEPARATE._asdict().items()
            if axis is not None
        }
    )


def _held(run: Trainer, place: Mesh, specs: State) -> Trainer:
    """The same, but that devices hold a state in one way after every function: each other way is another compilation."""

    def held(state):
        return jax.lax.with_sharding_constraint(state, devices.shardings(place, specs, state))

    def chunk(state):
        state, info = run.chunk(state)
        return held(state), info

    return run._replace(init=lambda key: held(run.init(key)), chunk=chunk, refresh=lambda state: held(run.refresh(state)))


def _check_score(part: TaskGroup, tasks: Task) -> None:
    """Raises a ValueError unless the references and memories of a curriculum's tasks are those of the group's score."""
    one, score = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tasks), part.scored_by
    key = jax.eval_shape(lambda: jax.random.key(0))
    reference = jax.eval_shape(score.reference, key, one.level, one.lifetime) if score.like is None else score.like
    for name, held, made in (("reference", one.reference, reference), ("memory", one.memory, score.memory)):
        forms = [(jax.tree.structure(tree), [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]) for tree in (held, made)]
        if forms[0] != forms[1]:
            raise ValueError(
                f"the task group {part.name!r} and its curriculum must have one score: the {name} of its tasks is "
                f"{forms[0][0]}, that of the group's score {forms[1][0]}, or has other arrays."
            )


def _report(
    part: TaskGroup, curriculum: chex.ArrayTree, ended: tuple[Task, jax.Array], outcome: Outcome
) -> tuple[chex.ArrayTree, Info]:
    """Scores the lives that ended and tells the curriculum, which does not replay what has no score.

    Lives that diverged, the agent's or its antagonist's, are counted apart. A score that is not finite of lives that did not
    is a fault of the score's, and shows in the mean.
    """
    task, finished = ended
    score, memory = jax.vmap(part.scored_by.score)(outcome, task.reference, task.memory)
    state = part.curriculum.report(curriculum, task._replace(memory=memory), score, outcome, finished)
    rivals = jax.vmap(has_nan)((jnp.zeros_like(score), task.reference))
    diverged = finished & (~jnp.isfinite(outcome.episode_return) | (rivals & ~jnp.isfinite(score)))
    sound = finished & ~diverged
    count = jnp.sum(sound, dtype=jnp.int32)

    def mean(values):
        total = jnp.sum(jnp.where(sound, values, 0.0))
        return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)  # not 0 / 0, which --debug would blame

    lost = jnp.sum(diverged, dtype=jnp.int32)
    seen = {"return": mean(outcome.episode_return), "score": mean(score), "finished": count, "diverged": lost}
    return state, {f"{part.name}/{name}": value for name, value in seen.items()}


def _renew(
    meta: MetaOptimizer, key: jax.Array, live: tuple, tasks: tuple[Task, ...], needed: tuple[jax.Array, ...]
) -> tuple:
    """Puts new members in the place of those whose lifetime ended; costs nothing while none has."""

    def renew():
        new = meta.begin(key, tasks)
        return tuple(tree_where(*row) for row in zip(devices.local_shard(needed), new, live, strict=True))

    return jax.lax.cond(jnp.any(jnp.concatenate(needed)), renew, lambda: live)
