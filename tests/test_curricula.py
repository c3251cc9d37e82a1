"""What each teacher does that others do not: robust PLR, ACCEL, SFL, ALP-GMM."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import BANDIT, REMEMBERING, sample, source
from laws.members import tasks as members_tasks

from groove import buffer
from groove.base import Outcome
from groove.curricula import diverse, edited, log_uniform, mixture, prioritised, rank, selected
from groove.curricula.diverse import nearest
from groove.curricula.edited import FIRST_SERIAL
from groove.curricula.mixture import Gaussians, Progress, _nearest, draw, fit
from groove.curricula.prioritised import health
from levels.base import Generator

EVERYONE = jnp.ones(8, bool)


def outcomes(values):
    values = jnp.asarray(values, jnp.float32)
    return Outcome(values, jnp.zeros_like(values))


def compiled(curriculum):
    jitted = {field: jax.jit(getattr(curriculum, field)) for field in ("propose", "report", "refresh")}
    return curriculum._replace(**jitted)


def begin(curriculum, seed=0):
    return curriculum.refresh(jax.random.key(seed + 1), curriculum.init(jax.random.key(seed)))


def play(curriculum, state, seed, score=lambda tasks: jnp.arange(8, dtype=jnp.float32)):
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
def accel(rate=0.5, size=32, edits=1):
    inner = prioritised(source(), capacity=8, minimal_fill=0.0, replay=0.0)
    priority = rank(0.01)  # the best, and nobody else
    return compiled(
        edited(inner, BANDIT.generator, REMEMBERING, rate=rate, edits=edits, size=size, block=8, priority=priority)
    )


def test_nothing_is_edited_before_something_is_kept():
    curriculum = accel(rate=1.0)
    _, tasks = curriculum.propose(jax.random.key(0), begin(curriculum), EVERYONE)
    assert (tasks.origin.parent == -1).all() and (tasks.origin.serial < FIRST_SERIAL).all()


def test_edits_are_of_the_best_and_say_so():
    """One edit changes a level, keeps its lifetime, and names its parent; it competes like any other task."""
    curriculum = accel(rate=1.0)
    state, first = play(curriculum, begin(curriculum), 0)
    best = jax.tree.map(lambda leaf: leaf[7], first)
    state = curriculum.refresh(jax.random.key(2), state)
    state, children = play(curriculum, state, 1, lambda tasks: jnp.full(8, 99.0).at[0].set(100.0))
    assert (children.origin.parent == best.origin.serial).all()
    assert len(set(children.origin.serial.tolist())) == 8 and (children.origin.serial >= FIRST_SERIAL).all()
    assert (children.lifetime == best.lifetime).all()
    changed = [any(np.any(old != new[row]) for old, new in zip(best.level, children.level, strict=True)) for row in range(8)]
    assert all(changed)
    state = curriculum.refresh(jax.random.key(3), state)
    assert 100.0 in np.asarray(curriculum.contents(state)[1])


def test_edits_come_at_their_rate_while_there_are_any():
    curriculum = accel(rate=0.25, size=64)
    state, _ = play(curriculum, begin(curriculum), 0)
    state = curriculum.refresh(jax.random.key(1), state)
    found = []
    for seed in range(40):
        state, tasks = curriculum.propose(jax.random.key(seed), state, EVERYONE)
        found += (tasks.origin.serial >= FIRST_SERIAL).tolist()
        if seed % 4 == 3:
            state = curriculum.refresh(jax.random.key(seed), state)
    assert abs(np.mean(found) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / len(found))
    few = accel(rate=1.0, size=3)
    state, _ = play(few, begin(few), 0)
    _, tasks = few.propose(jax.random.key(5), few.refresh(jax.random.key(1), state), EVERYONE)
    assert (tasks.origin.serial >= FIRST_SERIAL).sum() == 3  # then the curriculum proposes


def test_edits_upon_edits():
    """Nine edits lead further than one: more arms differ."""

    def distance(edits):
        curriculum = accel(rate=1.0, edits=edits)
        state, first = play(curriculum, begin(curriculum), 0)
        _, children = play(curriculum, curriculum.refresh(jax.random.key(2), state), 1)
        return np.mean(np.asarray(children.level.mean) != np.asarray(first.level.mean)[7])

    assert distance(9) > distance(1)


def test_accel_needs_edits():
    with pytest.raises(ValueError, match="needs a generator with mutate"):
        edited(prioritised(source(), capacity=4), Generator(BANDIT.generator.sample), REMEMBERING, size=4)
    with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\], got 2"):
        edited(prioritised(source(), capacity=4), BANDIT.generator, REMEMBERING, size=4, rate=2)


def test_the_nearest_other_by_hand():
    """The second coordinate does not vary. The first has deviation 1 over (0, 2), and sqrt(8/9) over (0, 2, 2)."""
    points = jnp.array([[0.0, 7.0], [2.0, 7.0], [2.0, 7.0], [100.0, 1.0]])
    got = nearest(points, jnp.array([True, True, False, False]))
    assert got[:2].tolist() == [2.0, 2.0]
    three = nearest(points, jnp.array([True, True, True, False]))
    assert three[1:3].tolist() == [0.0, 0.0] and three[0] == pytest.approx(2 / np.sqrt(8 / 9))
    assert nearest(points, jnp.array([True, False, False, False]))[0] == jnp.inf


def test_likeness_counts_beside_the_score():
    """A full buffer of two twins and a loner: a distant newcomer of low score replaces a twin, not the loner."""
    level = lambda mean: jax.tree.map(lambda leaf: leaf[0], sample(BANDIT, 1))._replace(mean=jnp.array([mean, 0.0, 0.0]))  # noqa: E731
    features = lambda level: {"first": level.mean[0]}  # noqa: E731

    def store(worth):
        tasks, newcomer = ([level(m) for m in means] for means in ([0.1, 0.11, 0.5], [1.0]))
        stack = lambda levels: jax.tree.map(lambda *leaves: jnp.stack(leaves), *levels)  # noqa: E731
        empty = buffer.init(jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[0], members_tasks(1))), 3)
        first = members_tasks(3)._replace(level=stack(tasks), lifetime=jnp.full(3, 5))
        full = buffer.insert(empty, first, jnp.array([3.0, 2.0, 1.0]), jnp.ones(3, bool), worth)
        last = members_tasks(1)._replace(level=stack(newcomer), lifetime=jnp.full(1, 5))
        after = buffer.insert(full, last, jnp.array([0.5]), jnp.ones(1, bool), worth)
        return sorted(after.task.level.mean[:, 0].tolist())

    assert store(buffer.by_score) == pytest.approx([0.1, 0.11, 0.5])
    assert store(diverse(features, weight=0.9)) == pytest.approx([0.1, 0.5, 1.0])
    assert store(diverse(features, weight=0.0)) == pytest.approx([0.1, 0.11, 0.5])


def test_the_health_of_a_buffer_by_hand():
    """Two of four slots held, replayed with odds 3/4 and 1/4, written at 2 and 6 of 10 proposals."""
    empty = buffer.init(jax.tree.map(lambda leaf: leaf[0], members_tasks(1)), 4)
    store = empty._replace(
        score=jnp.array([1.0, 2.0, -jnp.inf, -jnp.inf]),
        stamp=jnp.array([2, 1, 0, 0]),
        born=jnp.array([2, 6, 0, 0]),
        clock=jnp.int32(10),
    )
    got = health(store, jnp.array([0.75, 0.25, 0.0, 0.0]))
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert got["fill"] == 0.5 and got["age"] == 6 and got["written"] == 3
    assert got["entropy"] == pytest.approx(entropy) and got["effective"] == pytest.approx(np.exp(entropy))
    assert health(empty, jnp.zeros(4))["effective"] == 0


def test_selection_learns_nothing_and_keeps_the_best():
    """A sweep of 16 tasks whose scores are their serials: the four highest are trained on, all alike."""
    curriculum = compiled(selected(source(), capacity=4, sweep=16, select=0.5, share=1.0))
    state, tried = begin(curriculum), []

    def serials(tasks):
        return tasks.origin.serial.astype(jnp.float32)

    while not curriculum.contents(state)[2].any():
        state, tasks = play(curriculum, state, len(tried), serials)
        tried += tasks.origin.serial[~tasks.origin.learn].tolist()
        state = curriculum.refresh(jax.random.key(len(tried)), state)
    chosen, _, held = curriculum.contents(state)
    assert len(tried) >= 16 and sorted(chosen.origin.serial.tolist()) == sorted(tried)[-4:] and held.all()
    trained = []
    for seed in range(50):
        _, tasks = curriculum.propose(jax.random.key(seed), state, EVERYONE)
        new = np.asarray(~tasks.origin.learn)
        assert not np.isin(tasks.origin.serial[new], tried).any()
        trained += tasks.origin.serial[~new].tolist()
    counts = np.array([trained.count(serial) for serial in sorted(tried)[-4:]])
    assert counts.sum() == len(trained)
    assert (abs(counts / len(trained) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / len(trained))).all()


def test_selection_checks_its_numbers():
    with pytest.raises(ValueError, match="capacity must be at least 1 and at most the sweep of 3 tasks, got 4"):
        selected(source(), capacity=4, sweep=3)


def test_the_mixture_goes_where_progress_is():
    """Returns jump about where the first coordinate exceeds 0.7 and stand still elsewhere."""
    rng = np.random.default_rng(0)
    vectors = rng.random((250, 2)).astype(np.float32)
    progress = np.where(vectors[:, 0] > 0.7, rng.random(250), 0.01 * rng.random(250)).astype(np.float32)
    found = Gaussians(*map(jnp.asarray, fit(vectors, progress, 1, most=10)))
    points = jax.vmap(lambda key: draw(key, found, explore=0.0))(jax.random.split(jax.random.key(0), 500))
    assert np.mean(points[:, 0] > 0.65) > 0.8 and (points >= 0).all() and (points <= 1).all()
    mixed = jax.vmap(lambda key: draw(key, found, explore=0.5))(jax.random.split(jax.random.key(1), 2000))
    low = np.mean(mixed[:, 0] < 0.5)  # half of the free half, and next to nothing of the others
    assert abs(low - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000) + 0.05


def test_a_mixture_without_progress_is_uniform():
    nothing = Gaussians(jnp.zeros(3), jnp.zeros((3, 2)), jnp.zeros((3, 2, 2)))
    points = jax.vmap(lambda key: draw(key, nothing, explore=0.0))(jax.random.split(jax.random.key(0), 1000))
    assert (abs(points.mean(0) - 0.5) < 5 * np.sqrt(1 / 12 / 1000)).all()


def test_progress_is_measured_against_the_nearest_earlier_task():
    none = jnp.zeros(4)
    state = Progress(None, jnp.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.9, 0.9]]), jnp.array([1.0, 2.0, 3.0, 9.0]),
                     none, jnp.int32(3), jnp.int32(0), None)  # fmt: skip
    got = _nearest(state, jnp.array([[0.1, 0.2], [0.95, 0.9], [0.6, 0.6]]))
    assert got.tolist() == [1.0, 2.0, 3.0]  # the fourth is not known yet


def test_the_mixture_is_refitted_every_window():
    """By way of the host, inside a compiled refresh; decoded levels keep the vector that they came from."""
    make = mixture(BANDIT.generator, REMEMBERING, log_uniform(2, 9), size=16, window=16, history=40, components=3)
    curriculum = compiled(make)
    state, fits = begin(curriculum), []
    for seed in range(6):
        state, tasks = play(curriculum, state, seed, lambda tasks: 10 * tasks.origin.vector[:, 0])
        level = jax.vmap(BANDIT.generator.decode)(tasks.origin.vector)
        assert all(np.array_equal(a, b) for a, b in zip(level, tasks.level, strict=True))
        state = curriculum.refresh(jax.random.key(seed), state)
        fits.append(int(state.fitted))
    assert fits == [0, 16, 16, 32, 32, 48]
    assert curriculum.info(state)["components"] >= 2


def test_the_mixture_checks_its_generator():
    with pytest.raises(ValueError, match="needs a generator with decode"):
        mixture(Generator(BANDIT.generator.sample), REMEMBERING, log_uniform(2, 9), size=4)
