"""The buffer and prioritised replay against a plain model in NumPy, fed the same random numbers, slot by slot."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.base import Clock, MetaOptimizer, Origin, Outcome, Signals, Source, Task
from groove.curricula import frozen, prioritised, proportional, rank, sfl
from groove.meta import Visit
from groove.scores import learning_progress, maximum_monte_carlo
from groove.trainer import TaskGroup, trainer

BATCH, LEVELS, STEPS = 6, 11, 40


class Toy(NamedTuple):
    """A level that is a number."""

    number: jax.Array


def task_of(serial, memory):
    """New tasks on levels that come again."""
    minus = jnp.full_like(serial, -1)
    origin = Origin(minus, minus, serial, minus, jnp.zeros((*serial.shape, 0)), jnp.ones(serial.shape, bool))
    return Task(Toy(serial % LEVELS), jnp.full_like(serial, 3), (), memory, origin)


def numbered() -> Source:
    """Tasks by number, in order."""

    def take(state, want):
        serial = state + jnp.cumsum(want, dtype=jnp.int32) - want
        return state + jnp.sum(want, dtype=jnp.int32), task_of(serial, jnp.zeros(want.size, jnp.float32))

    return Source(lambda key: jnp.zeros((), jnp.int32), take, lambda key, state: state, lambda state: {})


class Setting(NamedTuple):
    """How the curriculum is made, and its priority in NumPy."""

    options: dict
    weights: object  # (score, eligible) -> probabilities


def normalised(weight: np.ndarray) -> np.ndarray:
    return weight / weight.sum() if weight.sum() > 0 else weight


def by_rank(score, eligible, temperature):
    """Equal scores share the weights of their ranks."""
    ordered = np.sort(score[eligible])[::-1]
    each = (1.0 / np.arange(1, ordered.size + 1)) ** (1 / temperature)
    shared = {value: each[ordered == value].mean() for value in ordered}
    return normalised(np.array([shared[s] if e else 0.0 for s, e in zip(score, eligible, strict=True)]))


def by_proportion(score, eligible, temperature):
    positive = eligible & (score > 0)
    if not positive.any():
        return normalised(eligible.astype(float))
    return normalised(np.where(positive, np.where(positive, score, 1.0) ** (1 / temperature), 0.0))


SETTINGS = {
    "rank": Setting(
        {"capacity": 5, "replay": 0.6, "minimal_fill": 0.5, "staleness": 0.5, "priority": rank(0.7)},
        functools.partial(by_rank, temperature=0.7),
    ),
    "without-replacement": Setting(
        {
            "capacity": 8,
            "replay": 0.7,
            "minimal_fill": 0.3,
            "staleness": 0.5,
            "priority": proportional(1.3),
            "replace": False,
            "robust": True,
        },
        functools.partial(by_proportion, temperature=1.3),
    ),
}


class Model:
    """What the documentation says, with loops."""

    def __init__(self, setting: Setting):
        self.weights, self.options = setting.weights, setting.options
        size = setting.options["capacity"]
        self.level, self.stamp, self.played, self.born, self.active = (np.zeros(size, int) for _ in range(5))
        self.score, self.memory = np.full(size, -np.inf), np.zeros(size)
        self.clock = self.made = 0

    def probability(self, needed: int) -> np.ndarray:
        held = np.isfinite(self.score)
        idle = held & (self.active <= 0)
        eligible = idle if idle.sum() >= needed else held
        age = np.where(eligible, self.clock - self.played, 0)
        stale = normalised(age.astype(float)) if age.any() else normalised(eligible.astype(float))
        rho = self.options["staleness"]
        return (1 - rho) * self.weights(self.score, eligible) + rho * stale

    def slots(self, probability: np.ndarray, numbers: dict) -> list[int]:
        """Those drawn, in order; as many as there are."""
        if self.options.get("replace", True):
            cumulative = np.cumsum(probability)
            return [int(np.searchsorted(cumulative, point * cumulative[-1], side="right")) for point in numbers["point"]]
        with np.errstate(divide="ignore"):
            keys = np.log(probability) + numbers["gumbel"]
        return [int(slot) for slot in np.argsort(-keys, kind="stable")[:BATCH] if keys[slot] > -np.inf]

    def propose(self, needed: np.ndarray, numbers: dict) -> list[dict | None]:
        probability, held = self.probability(needed.sum()), np.isfinite(self.score).sum()
        drawn = self.slots(probability, numbers) if probability.any() else []
        may = held >= max(1, self.options["minimal_fill"] * self.score.size)
        self.clock += needed.sum()
        found: list[dict | None] = []
        turn = 0
        for member in range(BATCH):
            if not needed[member]:
                found.append(None)
                continue
            asked = may and numbers["again"][member]
            if asked and turn < len(drawn):
                slot = drawn[turn]
                self.active[slot] += 1
                self.played[slot] = self.clock
                found.append({"level": self.level[slot], "slot": slot, "stamp": self.stamp[slot], "learn": True})
            else:
                learn = not self.options.get("robust", False)
                found.append({"level": self.made % LEVELS, "slot": -1, "stamp": -1, "learn": learn})
                self.made += 1
            turn += bool(asked)
        return found

    def report(self, lives: list[dict], score: np.ndarray, memory: np.ndarray, finished: np.ndarray) -> None:
        for own, done in zip(lives, finished, strict=True):
            if done and own["slot"] >= 0 and self.stamp[own["slot"]] == own["stamp"]:
                self.active[own["slot"]] -= 1
        seen, new = set(), []
        for member in range(BATCH):
            level = lives[member]["level"]
            if not finished[member] or level in seen:
                continue
            seen.add(level)
            sound, home = np.isfinite(score[member]), np.flatnonzero((self.level == level) & np.isfinite(self.score))
            if home.size:  # what has no score leaves its slot
                self.score[home[0]], self.memory[home[0]] = score[member] if sound else -np.inf, memory[member]
            elif sound:
                new.append(member)
        best, worst = sorted(new, key=lambda m: -score[m]), np.argsort(self.score, kind="stable")
        beaten = [(m, slot) for m, slot in zip(best, worst, strict=False) if score[m] > self.score[slot]]
        for member, slot in beaten:
            self.level[slot], self.score[slot], self.memory[slot] = lives[member]["level"], score[member], memory[member]
            self.played[slot] = self.born[slot] = self.clock
            self.stamp[slot] += 1
            self.active[slot] = 0


def chance(setting: Setting, key) -> dict:
    """The numbers that a proposal draws from its key."""
    capacity, replay = setting.options["capacity"], setting.options["replay"]
    if setting.options.get("replace", True):
        again, point = jax.random.uniform(key, (2, BATCH), jnp.float32)
        return {"again": again < replay, "point": point}
    decide_key, draw_key = jax.random.split(key)
    again = jax.random.bernoulli(decide_key, replay, (BATCH,))
    return {"again": again, "gumbel": jax.random.gumbel(draw_key, (capacity,), jnp.float32)}


@pytest.mark.parametrize("name", SETTINGS)
def test_prioritised_replay_is_its_model(name):
    """Over random scripts: members end when they like, scores tie, repeat or are not finite, slots are lost meanwhile."""
    setting, rng = SETTINGS[name], np.random.default_rng(3)
    teacher, model = prioritised(numbered(), **setting.options), Model(setting)

    @jax.jit
    def propose(seed, state, needed, lives):
        key = jax.random.key(seed)
        state, tasks = teacher.propose(key, state, needed)
        keep = lambda new, old: jnp.where(needed.reshape(-1, *[1] * (new.ndim - 1)), new, old)  # noqa: E731
        return state, jax.tree.map(keep, tasks, lives), chance(setting, key)

    @jax.jit
    def report(state, tasks, score, memory, finished):
        outcomes = Outcome(score, jnp.zeros_like(score))
        return teacher.report(state, tasks._replace(memory=memory), score, outcomes, finished)

    state = jax.jit(lambda: teacher.init(jax.random.key(0)))()
    lives, own = jax.jit(lambda: task_of(jnp.zeros(BATCH, jnp.int32), jnp.zeros(BATCH, jnp.float32)))(), [{}] * BATCH
    needed, replayed = np.ones(BATCH, bool), 0
    for step in range(STEPS):
        state, lives, numbers = propose(np.int32(step), state, needed, lives)
        proposed = model.propose(needed, jax.tree.map(np.asarray, numbers))
        own = [new or old for new, old in zip(proposed, own, strict=True)]
        replayed += sum(new is not None and new["slot"] >= 0 for new in proposed)
        found = {
            "level": lives.level.number,
            **{field: getattr(lives.origin, field) for field in ("slot", "stamp", "learn")},
        }
        for field, values in found.items():
            np.testing.assert_array_equal(values, [life[field] for life in own], err_msg=f"{field} at step {step}")
        score = rng.integers(-2, 6, BATCH).astype(np.float32) + np.float32(0.25)
        score[rng.random(BATCH) < 0.1] = np.nan
        finished, memory = rng.random(BATCH) < 0.5, rng.random(BATCH).astype(np.float32)
        state = report(state, lives, score, memory, finished)
        model.report(own, score, memory, finished)
        store = state.buffer
        got = {"level": store.task.level.number, "memory": store.task.memory}
        got |= {field: getattr(store, field) for field in ("score", "stamp", "played", "born", "active", "clock")}
        for field, values in got.items():
            np.testing.assert_array_equal(values, getattr(model, field), err_msg=f"{field} after step {step}")
        needed = finished
    assert int(state.replayed) == replayed > 20


# Selection


def test_selection_keeps_the_best_of_each_sweep():
    """Two of at least five that were tried, at the first refresh after them; the next sweep begins from nothing."""
    teacher, rng = sfl(numbered(), capacity=2, sweep=5), np.random.default_rng(1)
    report, refresh = jax.jit(teacher.report), jax.jit(teacher.refresh)
    state = jax.jit(lambda: teacher.init(jax.random.key(0)))()
    tried, sweep, chosen, choices = 0, {}, {}, 0
    for step in range(14):
        serial = (np.arange(BATCH, dtype=np.int32) + BATCH * step) * 5 % 97  # different levels within a sweep
        task = jax.tree.map(np.asarray, task_of(jnp.asarray(serial), jnp.zeros(BATCH, jnp.float32)))
        trying, finished = rng.random(BATCH) < 0.5, rng.random(BATCH) < 0.7
        score = rng.permutation(np.arange(1, 100))[:BATCH].astype(np.float32)
        origin = task.origin._replace(learn=~trying)
        task = task._replace(level=Toy(serial), origin=origin)
        state = report(state, task, score, Outcome(score, score), finished)
        counted = trying & finished
        tried += int(counted.sum())
        sweep |= dict(zip(serial[counted].tolist(), score[counted].tolist(), strict=True))
        state = refresh(jax.random.key(step), state)
        if tried >= 5:
            chosen, sweep, tried, choices = dict(sorted(sweep.items(), key=lambda row: -row[1])[:2]), {}, 0, choices + 1
        assert int(state.tried) == tried
        held = np.asarray(state.chosen.held)
        levels, scores = np.asarray(state.chosen.task.level.number)[held], np.asarray(state.chosen.score)[held]
        assert dict(zip(levels.tolist(), scores.tolist(), strict=True)) == chosen
    assert choices > 3


# Memory


RETURNS = np.array([[0.75, 2.5], [3.25, 1.5], [2.0, 4.75], [1.25, 0.5]], np.float32)
"""By meta-step and task."""
VALUES = np.float32([0.5, 0.125])


def scripted() -> MetaOptimizer:
    """Lives of a meta-step each, whose outcomes are known beforehand; the state counts meta-steps."""

    def begin(key, tasks):
        return tuple(Visit(task, Clock(jnp.zeros_like(task.lifetime), task.lifetime)) for task in tasks)

    def step(key, state, live):
        place = live[0].task.origin.serial
        value = jnp.asarray(RETURNS)[state, place]
        nothing = jnp.zeros_like(value)
        signals = Signals(value, nothing, jnp.asarray(VALUES)[place], nothing, nothing)
        live = tuple(visits._replace(clock=Clock(visits.task.lifetime, visits.task.lifetime)) for visits in live)
        return state + 1, live, (Outcome(value, nothing, signals),), {}

    return MetaOptimizer(lambda key, theta: jnp.zeros((), jnp.int32), begin, lambda state: (), step)


EVERY_VISIT = {
    "learning-progress": (learning_progress(None), np.abs(np.diff(RETURNS, axis=0, prepend=np.float32([[0.25, 0.25]])))),
    "maximum-monte-carlo": (maximum_monte_carlo(), np.maximum.accumulate(RETURNS) - VALUES),
}


@pytest.mark.parametrize("name", EVERY_VISIT)
def test_what_a_score_remembers_comes_back_with_the_task(name):
    """Two tasks, each lived on in every meta-step: the score of a visit is that by hand, which knows the visits before."""
    score, want = EVERY_VISIT[name]
    tasks = task_of(np.arange(2, dtype=np.int32), None)
    reference = np.full(2, 0.25, np.float32) if name == "learning-progress" else ()
    memory = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], 2, 0), score.memory)
    teacher = frozen(jax.tree.map(jnp.asarray, tasks._replace(reference=reference, memory=memory)))
    run = trainer((TaskGroup("toy", 2, teacher, score),), scripted(), lambda key: (), steps=len(RETURNS))

    @jax.jit
    def whole(key):
        return run.chunk(run.refresh(run.init(key)))[1]["toy/score"]

    np.testing.assert_allclose(whole(jax.random.key(0)), want.mean(axis=1), rtol=1e-6)
