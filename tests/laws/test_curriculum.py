"""What every curriculum promises."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from members import CURRICULA, signature, source

from groove.base import Outcome
from groove.curricula import rank

BATCH = 8

every_curriculum = pytest.mark.parametrize("name", CURRICULA)


@functools.cache
def compiled(name):
    curriculum = CURRICULA[name]()
    return curriculum._replace(**{name: jax.jit(part) for name, part in curriculum._asdict().items() if callable(part)})


EVERYONE, NOBODY = np.ones(BATCH, bool), np.zeros(BATCH, bool)


def outcomes(score):
    return Outcome(-score, np.zeros(BATCH, np.float32))


def bits(tree):
    data = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in jax.tree.leaves(tree))
    return [np.asarray(leaf).tobytes() for leaf in data]


def one(name, state, seed, needed=None, finished=None):
    """A proposal and a report, with random scores."""
    curriculum = compiled(name)
    propose_key, refresh_key = jax.random.split(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    needed = EVERYONE if needed is None else needed
    state, tasks = curriculum.propose(propose_key, state, needed)
    score = rng.standard_normal(BATCH, np.float32)
    finished = rng.random(BATCH) < 0.7 if finished is None else finished
    state = curriculum.report(state, tasks, score, outcomes(score), finished)
    return curriculum.refresh(refresh_key, state), tasks


@functools.cache
def used(name):
    """A curriculum in the midst of a run."""
    curriculum = compiled(name)
    state = curriculum.init(jax.random.key(0))
    for seed in range(6):
        state, _ = one(name, state, seed)
    return state


@every_curriculum
def test_signatures(name):
    arguments = {
        "init": ["key"],
        "propose": ["key", "state", "needed"],
        "report": ["state", "tasks", "score", "outcomes", "finished"],
        "refresh": ["key", "state"],
        "info": ["state"],
        "contents": ["state"],
    }
    curriculum = CURRICULA[name]()
    found = {field: list(inspect.signature(getattr(curriculum, field)).parameters) for field in arguments}
    assert found == arguments
    assert set(curriculum._fields) == {*arguments, "score"}


def test_signatures_of_a_source():
    pool = source()
    arguments = {"init": ["key"], "take": ["state", "want"], "refresh": ["key", "state"], "info": ["state"]}
    assert {field: list(inspect.signature(getattr(pool, field)).parameters) for field in arguments} == arguments
    assert set(pool._fields) == {*arguments, "score"}


@every_curriculum
def test_states_keep_their_types(name):
    """Shapes, dtypes and weakness: a change would compile a run's chunk a second time."""
    curriculum = compiled(name)
    start = curriculum.init(jax.random.key(0))
    assert signature(start) == signature(curriculum.refresh(jax.random.key(1), start)) == signature(used(name))
    assert not any(weak for *_, weak in signature(start))


@every_curriculum
def test_proposals_nobody_needed_change_nothing(name):
    state = used(name)
    after, _ = compiled(name).propose(jax.random.key(9), state, NOBODY)
    assert bits(after) == bits(state)


@every_curriculum
def test_reports_of_unfinished_lives_change_nothing(name):
    state, tasks = compiled(name).propose(jax.random.key(9), used(name), EVERYONE)
    score = np.full(BATCH, 1e6, np.float32)
    after = compiled(name).report(state, tasks, score, outcomes(score), NOBODY)
    assert bits(after) == bits(state)


@every_curriculum
def test_rows_nobody_needed_take_nothing_away(name):
    """Five members ask one by one, or together among rows that do not: sources and cycles advance alike."""
    some = np.array([True, False, True, True, False, False, True, True])
    state, tasks = compiled(name).propose(jax.random.key(3), used(name), some)
    info, before = compiled(name).info(state), compiled(name).info(used(name))
    if name == "uniform":
        assert info["taken"] - before["taken"] == 5
        assert len(set(np.asarray(tasks.origin.serial)[some].tolist())) == 5
    if name.startswith("prioritised"):
        fresh = info["taken"] + info["reused"] - before["taken"] - before["reused"]
        assert fresh + info["replayed"] - before["replayed"] == 5
        assert state.buffer.clock - used(name).buffer.clock == 5
    if name == "frozen":
        assert state.proposed - used(name).proposed == 5


@every_curriculum
def test_tasks_are_ones_that_can_be_lived(name):
    state = used(name)
    for seed in range(20, 24):
        state, tasks = one(name, state, seed)
        assert (np.asarray(tasks.lifetime) >= 2).all() and (np.asarray(tasks.lifetime) <= 9).all()
        assert (np.asarray(tasks.level.arms) >= 2).all()
        assert np.asarray(tasks.origin.learn).all() or name.endswith(("robust", "selected"))
        assert tasks.origin.learn.dtype == bool


@every_curriculum
@pytest.mark.parametrize("scale", [1e6, -1e6, 0.0, np.nan, np.inf, -np.inf])
def test_no_score_does_harm(name, scale):
    """Huge, equal and non-finite ones: proposals go on, and what is kept has finite scores."""
    state = used(name)
    for seed in range(30, 33):
        key = jax.random.key(seed)
        state, tasks = compiled(name).propose(key, state, EVERYONE)
        score = np.array([0.5, *[scale] * (BATCH - 1)], np.float32)
        state = compiled(name).report(state, tasks, score, outcomes(score), EVERYONE)
    state, tasks = compiled(name).propose(key, state, EVERYONE)
    _, scores, held = compiled(name).contents(state)
    assert np.isfinite(np.asarray(scores)[np.asarray(held)]).all()
    assert (np.asarray(tasks.lifetime) >= 2).all()
    assert all(np.isfinite(value).all() for value in compiled(name).info(state).values())


@every_curriculum
def test_the_same_key_proposes_the_same(name):
    (a, first), (b, second) = (compiled(name).propose(jax.random.key(5), used(name), EVERYONE) for _ in "ab")
    assert bits((a, first)) == bits((b, second))


@pytest.mark.parametrize("name", [name for name in CURRICULA if name.startswith("frozen")])
def test_a_frozen_set_is_used_up_before_it_begins_again(name):
    """In any proposal sizes, smaller and larger than the set: each pass holds each task once, in another order."""
    curriculum = compiled(name)
    state = curriculum.init(jax.random.key(4))
    size = state.task.lifetime.size
    rng, drawn = np.random.default_rng(0), []
    while len(drawn) < 12 * size:
        needed = rng.random(BATCH) < rng.random()
        state, tasks = curriculum.propose(jax.random.key(0), state, needed)
        drawn += np.asarray(tasks.origin.serial)[needed].tolist()
        place = np.asarray(tasks.origin.serial)
        want = jax.tree.map(lambda leaf, place=place: np.asarray(leaf)[place], state.task)
        assert bits((tasks.level, tasks.lifetime)) == bits((want.level, want.lifetime))
    passes = [tuple(drawn[i * size : (i + 1) * size]) for i in range(12)]
    assert all(sorted(row) == list(range(size)) for row in passes)
    assert len(set(passes)) > 3
    assert int(curriculum.info(state)["passes"]) == len(drawn) // size


def test_reports_on_one_frozen_task_pair_score_and_memory():
    """Eight members on three tasks: the score kept and the memory kept come from the same member."""
    curriculum = compiled("frozen-smaller-than-the-batch")
    state, tasks = curriculum.propose(jax.random.key(0), curriculum.init(jax.random.key(0)), EVERYONE)
    number = np.arange(BATCH, dtype=np.float32)
    state = curriculum.report(state, tasks._replace(memory=number), 10 + number, outcomes(number), EVERYONE)
    np.testing.assert_array_equal(state.score, 10 + np.asarray(state.task.memory))
    firsts = [tasks.origin.serial.tolist().index(place) for place in range(3)]
    assert state.task.memory.tolist() == firsts  # the first member wins, as in the buffer


def test_equal_scores_are_replayed_alike():
    """Ranks 2 and 3 are equal: at temperature 1 the weights 1, 1/2, 1/3 become 1, 5/12, 5/12 over their sum of 11/6."""
    probability = jax.jit(rank(1.0))(np.float32([1, 3, 1, 9]), np.array([True, True, True, False]))
    np.testing.assert_allclose(probability, np.array([5 / 12, 1.0, 5 / 12, 0.0]) / (11 / 6), rtol=1e-6)
