"""Runs of two families: one compilation, nothing lost between chunks, lives counted, and that they learn."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import REMEMBERING, SCORES, signature, tasks

from groove import curricula
from groove.assembly import build
from groove.base import Curriculum, MetaOptimizer, Outcome, Task
from groove.config import QUICK, Config, Grids, Life, Meta, Rule, check, smoke
from groove.config import Curriculum as Choice
from groove.lifetime import exact, learning_curve, lifetime
from groove.protocols import held_out_levels
from groove.trainer import TaskGroup, trainer

TINY = check(smoke(QUICK))  # two members in each of two families, lives of 4 updates, K = 2, chunks of 2 steps


class Compiled:
    """A run's functions, compiled once."""

    def __init__(self, config):
        self.run = build(config)
        self.init = jax.jit(self.run.trainer.init)
        self.chunk = jax.jit(self.run.trainer.chunk)
        self.refresh = jax.jit(self.run.trainer.refresh)

    def chunks(self, state, count):
        infos = []
        for _ in range(count):
            state, info = self.chunk(self.refresh(state))
            infos.append(jax.tree.map(np.asarray, info))
        return state, jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos)


@functools.cache
def tiny():
    return Compiled(TINY)


@functools.cache
def finished():
    """Four chunks from one start."""
    return tiny().chunks(tiny().init(jax.random.key(0)), 4)


def bits(tree):
    data = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in jax.tree.leaves(tree))
    return [np.asarray(leaf).tobytes() for leaf in data]


def through_memory(state):
    """The state as it comes back from elsewhere: other buffers, same numbers."""

    def leaf(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.array(np.asarray(jax.random.key_data(x)).copy()))
        return jnp.array(np.asarray(x).copy())

    return jax.tree.map(leaf, state)


def test_states_keep_their_types():
    """Of init, refresh, chunk and a state that was brought back: shapes, dtypes, weakness."""
    start = tiny().init(jax.random.key(0))
    want = signature(start)
    assert not any(weak for *_, weak in want)
    assert signature(tiny().refresh(start)) == signature(finished()[0]) == signature(through_memory(start)) == want


def test_a_new_run_has_tasks_to_live_on():
    """There is no pool to be filled first: lives of the first chunk have a length, and levels a size."""
    state, _ = tiny().chunk(tiny().init(jax.random.key(0)))
    grid, bandit = (players.task for players in state.live)
    assert (grid.lifetime == 4).all() and (bandit.lifetime == 4).all()
    assert (grid.level.height > 0).all() and (bandit.level.arms > 0).all()


def test_one_compilation_for_many_chunks():
    state, _ = finished()
    tiny().chunks(through_memory(state), 2)
    assert tiny().chunk._cache_size() == tiny().refresh._cache_size() == tiny().init._cache_size() == 1


def test_resumed_equals_never_stopped():
    """Bit for bit: two chunks, a trip through memory, and two more."""
    state, first = tiny().chunks(tiny().init(jax.random.key(0)), 2)
    state, second = tiny().chunks(through_memory(state), 2)
    whole, infos = finished()
    assert bits(state) == bits(whole)
    assert bits(jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second)) == bits(infos)


def test_other_seeds_give_other_runs():
    other, _ = tiny().chunks(tiny().init(jax.random.key(1)), 1)
    one, _ = tiny().chunks(tiny().init(jax.random.key(0)), 1)
    assert bits(other.meta) != bits(one.meta)


def test_lives_are_counted():
    """Lives of 4 updates under K = 2: every member of both families ends with every second step."""
    state, info = finished()
    assert state.step == 8
    for name in TINY.families:
        assert info[f"{name}/finished"].tolist() == [0, 2] * 4
        reported = np.isfinite(info[f"{name}/return"])
        assert reported.tolist() == [False, True] * 4
    assert all(players.member.clock.update.tolist() == [4, 4] for players in state.live)
    assert (info["nonfinite"] == 0).all() and (info["gradient_norm"] > 0).all()


def test_tasks_are_new_for_new_lives_only():
    """A member keeps its task while it lives; the pool gave out as many as there were lives."""
    state, _ = tiny().chunks(tiny().init(jax.random.key(0)), 3)
    info = jax.jit(tiny().run.trainer.info)(state)
    for name in TINY.families:
        lives = 3 * 2
        assert info[f"{name}/curriculum_taken"] + info[f"{name}/curriculum_replayed"] == lives
        assert info[f"{name}/curriculum_reused"] == 0


def test_theta_is_shared_and_moves():
    start = tiny().init(jax.random.key(0))
    theta, before = tiny().run.trainer.theta(finished()[0]), tiny().run.trainer.theta(start)
    assert signature(theta) == signature(before)
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(theta), strict=True):
        assert np.any(old != new), path


class Player(NamedTuple):
    """A member that only ever begins and ends."""

    task: Task

    @property
    def finished(self):
        return jnp.ones(2, bool)


@pytest.mark.compiles(200)  # without jit, so that keys have values
def test_every_key_is_used_once():
    """Those that refreshes and steps hand to curricula, untrained agents and the meta-optimiser are all different."""
    seen = []

    def note(key):
        if not isinstance(key, jax.core.Tracer):  # init asks for shapes only
            seen.append(tuple(np.asarray(jax.random.key_data(key)).tolist()))

    def propose(key, state, needed):
        note(key)
        return state, tasks(2)

    def refresh(key, state):
        note(key)
        return state

    def begin(key, batches):
        note(jax.random.split(key, 1)[0])  # one for each family, as the curricula's
        return tuple(Player(batch) for batch in batches)

    def step(key, state, live):
        note(key)
        return state, live, (Outcome(jnp.zeros(2), jnp.zeros(2)),), {}

    idle = Curriculum(
        init=lambda key: jnp.zeros(()),
        propose=propose,
        report=lambda state, tasks, score, outcomes, finished: state,
        refresh=refresh,
        info=lambda state: {},
        contents=lambda state: (),
    )
    meta = MetaOptimizer(lambda key, theta: theta, begin, lambda state: state, step)
    watched = trainer((TaskGroup("idle", 2, idle, REMEMBERING),), meta, lambda key: jnp.zeros(1), steps=2)
    state = watched.init(jax.random.key(0))
    with jax.disable_jit():
        for _ in range(3):
            state, _ = watched.chunk(watched.refresh(state))
    assert len(seen) == len(set(seen)) == 3 + 6 * 3


def test_a_class_and_its_curriculum_have_one_score():
    """Else what a task remembers and compares with is not what the class scores by: refused when a run begins."""
    family = build(TINY).parts[1].family
    for own, other, what in (("exact-regret", "uniform", "reference"), ("uniform", "maximum-monte-carlo", "memory")):
        source = curricula.pool(family.generator, SCORES[own], curricula.constant(3), size=2)
        mixed = trainer((TaskGroup("bandits", 2, curricula.uniform(source), SCORES[other]),), None, lambda key: (), steps=1)
        with pytest.raises(ValueError, match=f"'bandits' and its curriculum must have one score: the {what} of its"):
            mixed.init(jax.random.key(0))


LEARNING = Config(
    families=("gridworld",),
    members=(16,),
    meta_steps=150,
    chunk=50,
    grids=Grids(side=(4, 4), objects=2, limit=(10, 15)),
    rule=Rule(width=16, predictions=4),
    life=Life(updates=(30, 30), environments=4, steps=15),
    meta=Meta(rate=3e-3, clip=0.5, updates=5),
    curriculum=Choice(capacity=32, antagonists=1),
)


@pytest.mark.slow
def test_it_learns():
    """The trained rule's agents beat those of its own step 0, in exact values on levels that it never saw.

    The difference per level, averaged over agents, must lie 5 standard errors above 0.
    """
    compiled = Compiled(check(LEARNING))
    start = compiled.init(jax.random.key(0))
    state, _ = compiled.chunks(start, LEARNING.meta_steps // LEARNING.chunk)
    part = compiled.run.parts[0]
    measure = exact(part.rule, part.family.environment, part.family.value)
    life = lifetime(part.rule, part.family.environment, steps=15, environments=4, evaluate=measure)
    levels, lifetimes = held_out_levels(part.family, 48), jnp.full(48, 30, jnp.int32)
    reach = jax.jit(lambda theta: learning_curve.returns(life, jax.random.key(1), theta, levels, lifetimes, agents=2))
    after, before = (np.asarray(reach(compiled.run.trainer.theta(s))).mean(axis=1) for s in (state, start))
    gain = after - before
    assert gain.mean() > 5 * gain.std(ddof=1) / np.sqrt(48), (before.mean(), after.mean())


def test_bad_arguments():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        trainer((), None, None, steps=0)
