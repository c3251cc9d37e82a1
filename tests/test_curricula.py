"""What each teacher does that others do not: robust PLR, ACCEL, SFL, ALP-GMM."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import BANDIT, REMEMBERING, source
from laws.members import tasks as members_tasks

from groove.base import Outcome
from groove.curricula import accel, alp_gmm, buffer, diverse, log_uniform, prioritised, rank, sfl, warm_start
from groove.curricula.accel import FIRST_SERIAL
from groove.curricula.alp_gmm import Gaussians, History, _nearest, draw, fit
from groove.curricula.diverse import nearest
from groove.curricula.prioritised import _with_replacement, health
from levels.base import Generator

EVERYONE = np.ones(8, bool)
near = jax.jit(nearest)


def outcomes(values):
    values = np.asarray(values, np.float32)
    return Outcome(values, np.zeros_like(values))


def compiled(curriculum):
    jitted = {field: jax.jit(getattr(curriculum, field)) for field in ("init", "propose", "report", "refresh")}
    return curriculum._replace(**jitted)


def begin(curriculum, seed=0):
    return curriculum.refresh(jax.random.key(seed + 1), curriculum.init(jax.random.key(seed)))


def play(curriculum, state, seed, score=lambda tasks: np.arange(8, dtype=np.float32)):
    """Everyone proposes, lives and reports."""
    state, tasks = curriculum.propose(jax.random.key(seed), state, EVERYONE)
    value = score(tasks)
    return curriculum.report(state, tasks, value, outcomes(value), EVERYONE), tasks


def test_robust_replay_learns_from_replayed_tasks_only():
    curriculum = compiled(prioritised(source(), capacity=16, minimal_fill=0.25, replay=0.5, robust=True))
    state, first = play(curriculum, begin(curriculum), 0)
    assert not first.origin.learn.any()
    learned = []
    for seed in range(1, 8):
        state, tasks = play(curriculum, state, seed)
        np.testing.assert_array_equal(tasks.origin.learn, tasks.origin.slot >= 0)
        learned += tasks.origin.learn.tolist()
    assert 10 < sum(learned) < 46  # of 56 with probability 1/2: five standard errors are 18.7


@functools.cache
def small_accel(rate=0.5, size=32, edits=1):
    inner = prioritised(source(), capacity=8, minimal_fill=0.0, replay=0.0)
    priority = rank(0.01)  # the best, and nobody else
    return compiled(
        accel(inner, BANDIT.generator, REMEMBERING, rate=rate, edits=edits, size=size, block=8, priority=priority)
    )


def test_nothing_is_edited_before_something_is_kept():
    curriculum = small_accel(rate=1.0)
    _, tasks = curriculum.propose(jax.random.key(0), begin(curriculum), EVERYONE)
    assert (tasks.origin.parent == -1).all() and (tasks.origin.serial < FIRST_SERIAL).all()


def test_edits_are_of_the_best_and_say_so():
    """One edit changes a level, keeps its lifetime, and names its parent; it competes like any other task."""
    curriculum = small_accel(rate=1.0)
    state, first = play(curriculum, begin(curriculum), 0)
    best = jax.tree.map(lambda leaf: np.asarray(leaf)[7], first)
    state = curriculum.refresh(jax.random.key(2), state)
    state, children = play(curriculum, state, 1, lambda tasks: np.array([100.0] + [99.0] * 7, np.float32))
    assert (children.origin.parent == best.origin.serial).all()
    assert len(set(children.origin.serial.tolist())) == 8 and (children.origin.serial >= FIRST_SERIAL).all()
    assert (children.lifetime == best.lifetime).all()
    differs = [(old != np.asarray(new)).reshape(8, -1) for old, new in zip(best.level, children.level, strict=True)]
    assert np.concatenate(differs, axis=1).any(axis=1).all()
    state = curriculum.refresh(jax.random.key(3), state)
    assert 100.0 in np.asarray(curriculum.contents(state)[1])


def test_edits_come_at_their_rate_while_there_are_any():
    curriculum = small_accel(rate=0.25, size=64)
    state, _ = play(curriculum, begin(curriculum), 0)
    state = curriculum.refresh(jax.random.key(1), state)
    found = []
    for seed in range(40):
        state, tasks = curriculum.propose(jax.random.key(seed), state, EVERYONE)
        found += (tasks.origin.serial >= FIRST_SERIAL).tolist()
        if seed % 4 == 3:
            state = curriculum.refresh(jax.random.key(seed), state)
    assert abs(np.mean(found) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / len(found))
    few = small_accel(rate=1.0, size=3)
    state, _ = play(few, begin(few), 0)
    _, tasks = few.propose(jax.random.key(5), few.refresh(jax.random.key(1), state), EVERYONE)
    assert (tasks.origin.serial >= FIRST_SERIAL).sum() == 3  # then the curriculum proposes


def test_edits_upon_edits():
    """Nine edits lead further than one: more arms differ."""

    def distance(edits):
        curriculum = small_accel(rate=1.0, edits=edits)
        state, first = play(curriculum, begin(curriculum), 0)
        _, children = play(curriculum, curriculum.refresh(jax.random.key(2), state), 1)
        return np.mean(np.asarray(children.level.mean) != np.asarray(first.level.mean)[7])

    assert distance(9) > distance(1)


def test_what_was_scored_before_is_edited_from_the_beginning():
    scored = members_tasks(3)
    scored = scored._replace(origin=scored.origin._replace(serial=np.arange(100, 103, dtype=np.int32)))
    teacher = compiled(warm_start(small_accel(rate=1.0), scored, np.float32([3.0, 2.0, 1.0])))
    _, tasks = teacher.propose(jax.random.key(1), teacher.init(jax.random.key(0)), EVERYONE)
    assert (tasks.origin.serial >= FIRST_SERIAL).all() and set(tasks.origin.parent.tolist()) == {100}  # the best alone


def test_accel_needs_edits():
    with pytest.raises(ValueError, match="needs a generator with mutate"):
        accel(prioritised(source(), capacity=4), Generator(BANDIT.generator.sample), REMEMBERING, size=4)
    with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\], got 2"):
        accel(prioritised(source(), capacity=4), BANDIT.generator, REMEMBERING, size=4, rate=2)


def test_the_nearest_other_by_hand():
    """The second coordinate does not vary. The first has deviation 1 over (0, 2), and sqrt(8/9) over (0, 2, 2)."""
    points = np.array([[0.0, 7.0], [2.0, 7.0], [2.0, 7.0], [100.0, 1.0]], np.float32)
    got = near(points, np.array([True, True, False, False]))
    assert got[:2].tolist() == [2.0, 2.0]
    three = near(points, np.array([True, True, True, False]))
    assert three[1:3].tolist() == [0.0, 0.0] and three[0] == pytest.approx(2 / np.sqrt(8 / 9))
    assert near(points, np.array([True, False, False, False]))[0] == jnp.inf


def test_likeness_counts_beside_the_score():
    """A full buffer of two twins and a loner: a distant newcomer of low score replaces a twin, not the loner."""
    features = lambda level: {"first": level.mean[0]}  # noqa: E731

    def tasks(means):
        made = jax.tree.map(np.asarray, members_tasks(len(means)))
        level = jax.tree.map(lambda leaf: np.repeat(leaf[:1], len(means), axis=0), made.level)
        level = level._replace(mean=np.pad(np.array(means, np.float32)[:, None], ((0, 0), (0, 2))))
        return made._replace(level=level, lifetime=np.full(len(means), 5, np.int32))

    first, last = tasks([0.1, 0.11, 0.5]), tasks([1.0])

    def store(worth):
        @jax.jit
        def means(first, last):
            empty = buffer.init(jax.tree.map(lambda leaf: leaf[0], first), 3)
            full = buffer.insert(empty, first, jnp.array([3.0, 2.0, 1.0]), jnp.ones(3, bool), worth)
            return buffer.insert(full, last, jnp.array([0.5]), jnp.ones(1, bool), worth).task.level.mean[:, 0]

        return sorted(means(first, last).tolist())

    assert store(buffer.by_score) == pytest.approx([0.1, 0.11, 0.5])
    assert store(diverse(features, weight=0.9)) == pytest.approx([0.1, 0.5, 1.0])
    assert store(diverse(features, weight=0.0)) == pytest.approx([0.1, 0.11, 0.5])


def test_the_health_of_a_buffer_by_hand():
    """Two of four slots held, replayed with odds 3/4 and 1/4, written at 2 and 6 of 10 proposals."""
    tasks, measure = members_tasks(1), jax.jit(health)
    empty = jax.jit(lambda: buffer.init(jax.tree.map(lambda leaf: leaf[0], tasks), 4))()
    store = empty._replace(
        score=np.array([1.0, 2.0, -np.inf, -np.inf], np.float32),
        stamp=np.array([2, 1, 0, 0], np.int32),
        born=np.array([2, 6, 0, 0], np.int32),
        clock=np.int32(10),
    )
    got = measure(store, np.array([0.75, 0.25, 0.0, 0.0], np.float32))
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert got["fill"] == 0.5 and got["age"] == 6 and got["written"] == 3
    assert got["entropy"] == pytest.approx(entropy) and got["effective"] == pytest.approx(np.exp(entropy))
    assert measure(empty, np.zeros(4, np.float32))["effective"] == 0


def test_no_rounding_leads_to_an_empty_slot():
    """Summary of a thousand odds, taken in parts, may end above that of all who have any: points next to 1 lie between."""
    odds = np.random.default_rng(0).random((100, 1000), np.float32)
    odds[:, 500:] = 0
    points = np.array([0, 1 - 2.0**-23, 1 - 2.0**-24], np.float32)
    slot, found = jax.jit(jax.vmap(_with_replacement, (None, 0)))(points, odds)
    assert found.all() and (np.take_along_axis(odds, np.asarray(slot), axis=1) > 0).all()


def test_selection_learns_nothing_and_keeps_the_best():
    """A sweep of 16 tasks whose scores are their serials: the four highest are trained on, all alike."""
    curriculum = compiled(sfl(source(), capacity=4, sweep=16, select=0.5, share=1.0))
    state, tried = begin(curriculum), []

    def serials(tasks):
        return np.asarray(tasks.origin.serial, np.float32)

    while not curriculum.contents(state)[2].any():
        state, tasks = play(curriculum, state, len(tried), serials)
        tried += np.asarray(tasks.origin.serial)[~np.asarray(tasks.origin.learn)].tolist()
        state = curriculum.refresh(jax.random.key(len(tried)), state)
    chosen, _, held = curriculum.contents(state)
    assert len(tried) >= 16 and sorted(chosen.origin.serial.tolist()) == sorted(tried)[-4:] and held.all()
    trained = []
    for seed in range(50):
        _, tasks = curriculum.propose(jax.random.key(seed), state, EVERYONE)
        new, serial = ~np.asarray(tasks.origin.learn), np.asarray(tasks.origin.serial)
        assert not np.isin(serial[new], tried).any()
        trained += serial[~new].tolist()
    counts = np.array([trained.count(serial) for serial in sorted(tried)[-4:]])
    assert counts.sum() == len(trained)
    assert (abs(counts / len(trained) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / len(trained))).all()


def test_before_the_first_choice_everybody_gets_a_new_task():
    """Although all are to train on chosen ones: none of them is a row of the empty store."""
    curriculum = compiled(sfl(source(), capacity=4, sweep=16, select=0.0, share=1.0))
    _, tasks = curriculum.propose(jax.random.key(0), begin(curriculum), EVERYONE)
    assert tasks.origin.serial.tolist() == list(range(8)) and tasks.origin.learn.all() and (tasks.lifetime > 0).all()


def test_selection_checks_its_numbers():
    with pytest.raises(ValueError, match="capacity must be at least 1 and at most the sweep of 3 tasks, got 4"):
        sfl(source(), capacity=4, sweep=3)


@functools.partial(jax.jit, static_argnums=2, static_argnames="explore")
def vectors_of(found, key, count, *, explore):
    return jax.vmap(lambda key: draw(key, found, explore=explore))(jax.random.split(key, count))


def drawn(found, seed, count, *, explore):
    """That many points of the mixture."""
    return np.asarray(vectors_of(found, jax.random.key(seed), count, explore=explore))


def test_the_mixture_goes_where_progress_is():
    """Returns jump about where the first coordinate exceeds 0.7 and stand still elsewhere."""
    rng = np.random.default_rng(0)
    vectors = rng.random((250, 2)).astype(np.float32)
    progress = np.where(vectors[:, 0] > 0.7, rng.random(250), 0.01 * rng.random(250)).astype(np.float32)
    found = Gaussians(*fit(vectors, progress, 1, most=10))
    points = drawn(found, 0, 500, explore=0.0)
    assert np.mean(points[:, 0] > 0.65) > 0.8 and (points >= 0).all() and (points <= 1).all()
    mixed = drawn(found, 1, 2000, explore=0.5)
    low = np.mean(mixed[:, 0] < 0.5)  # half of the free half, and next to nothing of the others
    assert abs(low - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000) + 0.05


def test_a_mixture_without_progress_is_uniform():
    nothing = Gaussians(*(np.zeros(shape, np.float32) for shape in ((3,), (3, 2), (3, 2, 2))))
    points = drawn(nothing, 0, 1000, explore=0.0)
    assert (abs(points.mean(0) - 0.5) < 5 * np.sqrt(1 / 12 / 1000)).all()


def test_progress_is_measured_against_the_nearest_earlier_task():
    known = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.9, 0.9]], np.float32)
    returns, none = np.array([1.0, 2.0, 3.0, 9.0], np.float32), np.zeros(4, np.float32)
    state = History(None, known, returns, none, np.int32(3), np.int32(0), None)
    got = jax.jit(_nearest)(state, np.array([[0.1, 0.2], [0.95, 0.9], [0.6, 0.6]], np.float32))
    assert got.tolist() == [1.0, 2.0, 3.0]  # the fourth is not known yet


def test_the_mixture_is_refitted_every_window():
    """By way of the host, inside a compiled refresh; decoded levels keep the vector that they came from."""
    make = alp_gmm(BANDIT.generator, REMEMBERING, log_uniform(2, 9), size=16, window=16, history=40, components=3)
    curriculum = compiled(make)
    state, fits, decode = begin(curriculum), [], jax.jit(jax.vmap(BANDIT.generator.decode))
    for seed in range(6):
        state, tasks = play(curriculum, state, seed, lambda tasks: 10 * np.asarray(tasks.origin.vector)[:, 0])
        level = decode(tasks.origin.vector)
        assert all(np.array_equal(a, b) for a, b in zip(level, tasks.level, strict=True))
        state = curriculum.refresh(jax.random.key(seed), state)
        fits.append(int(state.fitted))
    assert fits == [0, 16, 16, 32, 32, 48]
    assert curriculum.info(state)["components"] >= 2


def test_the_mixture_checks_its_generator():
    with pytest.raises(ValueError, match="needs a generator with decode"):
        alp_gmm(Generator(BANDIT.generator.sample), REMEMBERING, log_uniform(2, 9), size=4)
