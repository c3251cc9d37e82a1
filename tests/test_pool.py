"""The pool of new tasks: numbered, cycled when it runs dry, with references filled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import source
from test_buffer import Toy, bits, curriculum, yes

from groove.curricula import log_uniform, pool
from groove.scores import exact_regret
from groove.scores import uniform as indifferent
from levels.base import Generator

# ----- the pool


def numbered(size, block, key=0):
    return source(size, block), jax.jit(source(size, block).init)(jax.random.key(key))


def handed_out(size, block, pace):
    """Serials and levels of 40 tasks, taken `pace` at a time, refreshed before each."""
    pool, state = numbered(size, block)
    take, refresh = jax.jit(pool.take), jax.jit(pool.refresh)
    rows = []
    while len(rows) < 40:
        state = refresh(jax.random.key(len(rows)), state)  # the host's key changes nothing
        state, task = take(state, yes(pace))
        task = jax.tree.map(np.asarray, task)
        rows += [jax.tree.map(lambda leaf, i=i: leaf[i], task) for i in range(pace)]
    assert int(pool.info(state)["reused"]) == 0
    return rows[:40]


def test_task_number_s_depends_on_s_alone():
    """Not on the size of the pool, the block, or the pace; and they come in order."""
    plain = handed_out(8, 32, 8)
    assert [int(task.origin.serial) for task in plain] == list(range(40))
    assert len({task.level.mean.tobytes() for task in plain}) == 40
    for size, block, pace in ((10, 3, 4), (64, 16, 5), (8, 1, 1)):
        assert [bits(task) for task in handed_out(size, block, pace)] == [bits(task) for task in plain]


def test_new_tasks_are_marked_new():
    task = handed_out(8, 32, 8)[5]
    assert task.origin.slot == -1 and task.origin.stamp == -1 and task.origin.parent == -1
    assert task.origin.learn and task.origin.vector.shape == (0,)


def test_a_dry_pool_cycles_and_counts():
    pool, state = numbered(4, 2)
    take = jax.jit(pool.take)
    state = jax.jit(pool.refresh)(jax.random.key(0), state)
    state, first = take(state, np.array([True, False, True, True, False, True]))
    assert np.asarray(first.origin.serial)[[0, 2, 3, 5]].tolist() == [0, 1, 2, 3]
    state, again = take(state, yes(6))
    assert again.origin.serial.tolist() == [0, 1, 2, 3, 0, 1]
    assert int(pool.info(state)["reused"]) == 6 and int(pool.info(state)["taken"]) == 4
    state = jax.jit(pool.refresh)(jax.random.key(0), state)
    state, fresh = take(state, yes(4))
    assert fresh.origin.serial.tolist() == [4, 5, 6, 7] and int(pool.info(state)["reused"]) == 6


def toys(score, **options):
    """A pool of numbered levels 1 to 99 with references of this score, compiled."""
    generator = Generator(lambda key: Toy(jax.random.randint(key, (), 1, 100)))
    made_by = pool(generator, score, log_uniform(3, 9), size=6, **options)
    return made_by._replace(init=jax.jit(made_by.init), take=jax.jit(made_by.take), refresh=jax.jit(made_by.refresh))


def test_references_are_filled_from_the_beginning_and_by_refresh():
    """By a score whose reference is the level's number plus the lifetime."""
    score = indifferent()._replace(reference=lambda key, level, lifetime: level.number.astype(jnp.float32) + lifetime)
    made_by = toys(score, block=4)
    state, task = made_by.take(made_by.init(jax.random.key(0)), yes(6))
    _, later = made_by.take(made_by.refresh(jax.random.key(0), state), yes(6))
    for made in (task, later):
        np.testing.assert_array_equal(made.reference, np.asarray(made.level.number) + np.asarray(made.lifetime))
    assert len(set(task.reference.tolist())) > 2 and not set(task.origin.serial.tolist()) & set(later.origin.serial.tolist())


def test_no_agent_is_traced_for_the_shape_of_a_reference_that_is_known():
    """To begin traces no more agents than to refill."""
    traced = []

    def reference(key, level, lifetime):
        traced.append(0)
        return jnp.full(2, lifetime, jnp.float32), lifetime > 5

    score = indifferent()._replace(reference=reference, like=(np.zeros(2, np.float32), np.zeros((), bool)))
    made_by = toys(score)
    state = jax.eval_shape(made_by.init, jax.random.key(0))
    begun = len(traced)
    refilled = jax.eval_shape(made_by.refresh, jax.random.key(0), state)
    assert 0 < begun <= len(traced) - begun
    numbers, flags = refilled.task.reference
    assert numbers.shape == (6, 2) and numbers.dtype == jnp.float32 and flags.shape == (6,) and flags.dtype == bool


def test_optima_of_any_type_are_references():
    made_by = toys(exact_regret(lambda level: level.number))
    _, task = made_by.take(made_by.init(jax.random.key(1)), yes(6))
    assert task.reference.dtype == jnp.float32
    np.testing.assert_array_equal(task.reference, task.level.number)


def test_lifetimes_are_log_uniform():
    """From 2 to 5 inclusive: P(n) = log((n + 1) / n) / log 3, within 5 standard errors."""
    count = 30_000
    drawn = np.asarray(jax.jit(jax.vmap(log_uniform(2, 5)))(jax.random.split(jax.random.key(0), count)))
    found = np.bincount(drawn, minlength=6) / count
    want = np.array([0, 0, *(np.log((n + 1) / n) / np.log(3) for n in range(2, 6))])
    assert drawn.min() == 2 and drawn.max() == 5 and drawn.dtype == np.int32
    assert (np.abs(found - want) <= 5 * np.sqrt(want * (1 - want) / count)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: curriculum(capacity=0), "capacity must be at least 1 task, got 0"),
        (lambda: curriculum(capacity=4, replay=1.5), r"replay must lie in \[0, 1\], got 1.5"),
        (lambda: curriculum(capacity=4, staleness=float("nan")), "staleness"),
        (lambda: curriculum(capacity=4, minimal_fill=-0.1), "minimal_fill"),
        (lambda: source(size=0), "size and block must be at least 1, got 0 and 32"),
        (lambda: source(block=0), "size and block must be at least 1, got 64 and 0"),
        (lambda: log_uniform(0, 4), "1 <= low <= high, got low 0 and high 4"),
        (lambda: log_uniform(5, 4), "1 <= low <= high, got low 5 and high 4"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
