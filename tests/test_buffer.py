"""The scored store, its replay and the pool of new tasks: against formulas, numpy and jaxued."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import tasks

from groove.base import Origin, Outcome, Task
from groove.curricula import buffer, log_uniform, pool, prioritised, proportional, rank
from groove.curricula.prioritised import replay_distribution
from groove.scores import uniform as indifferent
from levels.base import Generator

DRAWS = 20_000


class Toy(NamedTuple):
    """A level that is a number."""

    number: jax.Array


def made(numbers, memory=None, lifetime=5, origin=None):
    """New tasks on levels of these numbers."""
    numbers = np.asarray(numbers, np.int32)
    count = numbers.size
    minus = np.full(count, -1, np.int32)
    new = Origin(minus, minus, numbers, minus, np.zeros((count, 0), np.float32), np.ones(count, bool))
    memory = np.zeros(count, np.float32) if memory is None else np.asarray(memory, np.float32)
    return Task(Toy(numbers), np.full(count, lifetime, np.int32), (), memory, origin or new)


@functools.cache
def empty(capacity):
    return jax.jit(lambda: buffer.init(jax.tree.map(lambda leaf: leaf[0], made([0])), capacity))()


insert = jax.jit(buffer.insert)
take = jax.jit(buffer.draw)


@functools.partial(jax.jit, static_argnums=1)
def odds(store, kind, temperature, staleness, needed=1):
    """Of every slot to be replayed: one program for all temperatures and shares of staleness."""
    return replay_distribution(store, kind(temperature), staleness=staleness, needed=needed)


def put(store, numbers, scores, **options):
    task = made(numbers, **options)
    return insert(store, task, np.asarray(scores, np.float32), np.ones(len(scores), bool))


def contents(store):
    """{level: score} of what is held."""
    held = np.asarray(store.held)
    return dict(zip(np.asarray(store.task.level.number)[held].tolist(), np.asarray(store.score)[held].tolist(), strict=True))


def yes(count):
    return np.ones(count, bool)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


# ----- what is kept


@pytest.mark.parametrize(("capacity", "batch"), [(7, 5), (3, 6), (1, 4), (16, 16)])
def test_the_highest_scores_stay(capacity, batch):
    """Against a dictionary in numpy, over random batches: some not finished, not finite, of known or repeated levels."""
    rng = np.random.default_rng(0)
    store, kept = empty(capacity), {}
    for _ in range(25):
        numbers = rng.integers(1, 4 * capacity, batch)
        scores = rng.permutation(1000)[:batch].astype(np.float32) + rng.random()  # no ties
        scores[rng.random(batch) < 0.1] = np.nan
        finished = rng.random(batch) < 0.8
        store = insert(store, made(numbers), scores, finished)
        first = {}
        for number, score, done in zip(numbers.tolist(), scores.tolist(), finished, strict=True):
            if done:
                first.setdefault(number, score)
        lost = [number for number, score in first.items() if not np.isfinite(score)]
        kept, first = ({n: s for n, s in scored.items() if n not in lost} for scored in (kept, first))
        kept |= {n: s for n, s in first.items() if n in kept}  # those held are updated, and then all compete
        everything = kept | first
        kept = dict(sorted(everything.items(), key=lambda item: -item[1])[:capacity])
        assert contents(store) == pytest.approx(kept)
    assert len(kept) == min(capacity, len(kept)) > 0


def test_levels_keep_their_scores_memories_and_lifetimes():
    store = put(empty(4), [10, 20, 30], [1.0, 3.0, 2.0], memory=[0.1, 0.2, 0.3])
    rows = sorted(zip(store.task.level.number.tolist(), store.score.tolist(), store.task.memory.tolist(), strict=True))
    np.testing.assert_allclose(rows, [[0, -np.inf, 0], [10, 1, 0.1], [20, 3, 0.2], [30, 2, 0.3]], rtol=1e-6)
    store = put(store, [20], [0.5], memory=[0.9])
    slot = store.task.level.number.tolist().index(20)
    assert store.score[slot] == 0.5 and store.task.memory[slot] == np.float32(0.9)


def test_equal_tasks_are_stored_once():
    """Equal in level and lifetime; another lifetime is another task. Of several the first in the batch wins."""
    store = put(empty(8), [5, 5, 6, 5], [1.0, 9.0, 2.0, 3.0])
    assert contents(store) == {5: 1.0, 6: 2.0}
    store = put(store, [5, 6], [4.0, 0.0])
    assert contents(store) == {5: 4.0, 6: 0.0}
    store = put(store, [5], [7.0], lifetime=6)
    assert sorted(zip(store.task.lifetime.tolist(), store.score.tolist(), strict=True))[-2:] == [(5, 4.0), (6, 7.0)]


def test_the_first_report_of_a_task_counts():
    task = made([5, 5, 5])
    store = insert(empty(2), task, np.array([np.nan, 2.0, 3.0], np.float32), np.array([True, True, True]))
    assert contents(store) == {}
    store = insert(empty(2), task, np.array([1.0, 2.0, 3.0], np.float32), np.array([False, True, True]))
    assert contents(store) == {5: 2.0}


def test_tasks_whose_score_is_not_finite_are_not_kept():
    """As where an agent diverged: they do not come in, and leave if they were there; who lived there too competes anew."""
    store = put(empty(3), [1, 2], [1.0, 2.0])
    for bad in (np.nan, np.inf, -np.inf):
        assert contents(put(store, [1, 3], [bad, bad])) == {2: 2.0}
    slots = np.array([store.task.level.number.tolist().index(1)] * 2, np.int32)
    store, both = take(store, slots, yes(2))
    store = insert(store, both, np.array([np.nan, 5.0], np.float32), np.array([True, False]))
    assert contents(store) == {2: 2.0} and store.active.sum() == 1
    store = insert(store, both, np.array([np.nan, 5.0], np.float32), np.array([False, True]))
    assert contents(store) == {1: 5.0, 2: 2.0} and (store.active == 0).all()


def test_equals_do_not_replace_what_is_stored():
    store = put(empty(2), [1, 2], [1.0, 1.0])
    assert bits(put(store, [3], [1.0])) == bits(store)


def test_reports_that_are_not_finished_change_nothing():
    store = put(empty(3), [1, 2, 3], [1.0, 2.0, 3.0])
    store, task = take(store, np.array([0, 1], np.int32), yes(2))
    assert bits(insert(store, task, np.array([9.0, np.nan], np.float32), np.zeros(2, bool))) == bits(store)


@pytest.mark.parametrize("pair", [(0, 1), (1, 0)])
def test_fingerprints_see_every_number_and_its_place(pair):
    level, fingerprint = jax.tree.map(np.asarray, tasks(2).level), jax.jit(buffer.fingerprint)
    hashed = {tuple(fingerprint(jax.tree.map(lambda leaf, i=i: leaf[i], level)).tolist()) for i in pair}
    assert len(hashed) == 2
    a, b = ({"x": np.array(v, np.float32), "y": np.bool_(True)} for v in ([1.0, 2.0], [2.0, 1.0]))
    assert fingerprint(a).tolist() != fingerprint(b).tolist()
    assert fingerprint(a).tolist() == fingerprint(jax.tree.map(np.array, a)).tolist()
    numbers = np.arange(-50_000, 50_000, dtype=np.int32)
    prints = np.asarray(jax.jit(jax.vmap(buffer.fingerprint))(numbers))
    assert len(np.unique(prints, axis=0)) == numbers.size


# ----- slots, stamps and lives


def test_members_come_and_go():
    store = put(empty(3), [1, 2, 3], [1.0, 2.0, 3.0])
    store, task = take(store, np.array([1, 1, 2, 0], np.int32), np.array([True, True, True, False]))
    assert store.active.tolist() == [0, 2, 1]
    assert task.origin.slot.tolist()[:3] == [1, 1, 2] and task.level.number[0] == store.task.level.number[1]
    store = insert(store, task, np.array([5.0, 6.0, 7.0, 8.0], np.float32), np.array([True, True, False, False]))
    assert store.active.tolist() == [0, 0, 1]
    assert store.score[1] == 5.0  # of two reports on one slot the first
    store = insert(store, task, np.array([5.0, 6.0, np.nan, 8.0], np.float32), np.array([False, False, True, False]))
    assert store.active.tolist() == [0, 0, 0]  # a score that is not finite still ends the life


def test_a_slot_evicted_under_a_living_agent():
    """Its report does not touch the level that took its place, but competes as new."""
    store = put(empty(2), [1, 2], [1.0, 5.0])
    slot = store.task.level.number.tolist().index(1)
    store, task = take(store, np.array([slot], np.int32), yes(1))
    assert store.active[slot] == 1
    store = put(store, [3], [4.0])  # evicts level 1, whose agent still lives
    assert contents(store) == {3: 4.0, 2: 5.0} and store.active.tolist() == [0, 0]
    low = insert(store, task, np.array([0.5], np.float32), yes(1))
    assert contents(low) == {3: 4.0, 2: 5.0} and low.active.tolist() == [0, 0]
    high = insert(store, task, np.array([4.5], np.float32), yes(1))
    assert contents(high) == {1: 4.5, 2: 5.0} and high.active.tolist() == [0, 0]
    again, _ = take(store, np.array([slot], np.int32), yes(1))  # another agent on the new level of that slot
    assert insert(again, task, np.array([0.5], np.float32), yes(1)).active[slot] == 1  # is not sent home by the old one


def test_a_level_that_came_back_elsewhere_is_updated_there():
    store = put(empty(2), [1, 2], [1.0, 5.0])
    store, task = take(store, np.array([store.task.level.number.tolist().index(1)], np.int32), yes(1))
    store = put(store, [3, 4], [6.0, 7.0])
    store = put(store, [1], [8.0])
    store = insert(store, task, np.array([9.0], np.float32), yes(1))
    assert contents(store) == {1: 9.0, 4: 7.0}


# ----- what is replayed


def filled(scores, age=None, active=None):
    """A full store of these scores, with proposals since each was played."""
    capacity = len(scores)
    store = put(empty(capacity), range(1, capacity + 1), scores)
    order = np.argsort(np.asarray(store.task.level.number))
    clock = np.int32(100)
    given = np.zeros(capacity, np.int32) if age is None else np.asarray(age, np.int32)
    busy = np.zeros(capacity, np.int32) if active is None else np.asarray(active, np.int32)
    place = np.empty(capacity, int)
    place[order] = np.arange(capacity)
    return store._replace(clock=clock, played=clock - given[place], active=busy[place])


def by_level(store, probability):
    """Probabilities in the order of the levels' numbers."""
    return np.asarray(probability)[np.argsort(np.asarray(store.task.level.number))]


def test_rank_by_hand():
    """Temperature 1/2: (1/rank)^2 over ranks 2, 1, 3: 1/4, 1, 1/9 of 49/36."""
    store = filled([5.0, 7.0, -1.0])
    got = by_level(store, odds(store, rank, 0.5, 0.0))
    np.testing.assert_allclose(got, np.array([9, 36, 4]) / 49, rtol=1e-6)


def test_proportional_by_hand():
    """Temperature 1/2: 1, 9 and nothing for what is not positive; alike where nothing is."""
    store = filled([1.0, 3.0, 0.0, -2.0])
    got = by_level(store, odds(store, proportional, 0.5, 0.0))
    np.testing.assert_allclose(got, [0.1, 0.9, 0.0, 0.0], rtol=1e-6)
    store = filled([-1.0, -3.0])
    np.testing.assert_allclose(odds(store, proportional, 0.5, 0.0), [0.5, 0.5])


def test_staleness_by_hand():
    """Ages 1 and 3 beside ranks 1 and 2 at temperature 1: 3/4 (2/3, 1/3) + 1/4 (1/4, 3/4)."""
    store = filled([2.0, 1.0], age=[1, 3])
    got = by_level(store, odds(store, rank, 1.0, 0.25))
    np.testing.assert_allclose(got, [9 / 16, 7 / 16], rtol=1e-6)


def test_levels_in_play_are_left_out_unless_too_few_remain():
    store = filled([4.0, 3.0, 2.0], active=[1, 0, 0])
    got = by_level(store, odds(store, rank, 1.0, 0.5, 2))
    assert got[0] == 0 and got[1:].all() and got.sum() == pytest.approx(1)
    assert by_level(store, odds(store, rank, 1.0, 0.5, 3)).all()


@pytest.mark.parametrize("priority", [(rank, 0.3), (rank, 1e-3), (proportional, 0.3), (proportional, 1e-3)])
@pytest.mark.parametrize("scores", [[1e6, 1.0, -1e6], [-1e6] * 3, [1e6] * 3, [0.0] * 3, [3e38, -3e38, 1e-38]])
def test_extreme_scores(priority, scores):
    store = filled(scores, age=[1, 2, 3])
    got = np.asarray(odds(store, *priority, 0.3))
    assert np.isfinite(got).all() and (got >= 0).all() and got.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("priority", [(rank, 0.3), (proportional, 0.3)])
def test_unscored_slots_have_no_probability(priority):
    store = put(empty(6), [1, 2], [-5.0, 0.0])._replace(clock=np.int32(50))
    got = np.asarray(odds(store, *priority, 0.5))
    assert (got[~np.asarray(store.held)] == 0).all() and got.sum() == pytest.approx(1)
    assert not np.asarray(odds(empty(3), *priority, 0.5)).any()


def test_the_temperature_has_an_effect():
    store = filled([5.0, 4.0, 3.0, 2.0, 1.0])
    hot, cold = (by_level(store, odds(store, rank, t, 0.0)) for t in (2.0, 0.1))
    assert cold[0] > 0.99 and hot[0] < 0.4
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature must be positive"):
            rank(temperature)


@pytest.fixture
def jaxued_sampler(monkeypatch, loose_ranks):
    """jaxued's sampler, an oracle; it calls a function that jax no longer has."""
    monkeypatch.setattr(jax, "tree_map", jax.tree.map, raising=False)
    from jaxued.level_sampler import LevelSampler

    return LevelSampler


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize(("temperature", "staleness"), [(0.3, 0.3), (1.0, 0.0), (0.1, 1.0), (0.5, 0.7)])
def test_jaxued_weights_alike(jaxued_sampler, size, temperature, staleness):
    """Rank weights, staleness weights and their mixture, of a full and of a half-empty store without ties."""
    rng = np.random.default_rng(size)
    scores = rng.permutation(size).astype(np.float32) - 2
    ages = rng.integers(1, 30, size)
    sampler = jaxued_sampler(8, staleness_coeff=staleness, prioritization_params={"temperature": temperature})
    pad = (0, 8 - size)
    scores = np.pad(scores, pad, constant_values=-np.inf)
    played = np.pad((100 - ages).astype(np.int32), pad)

    @jax.jit
    def weights(scores, played, size):
        known = {"scores": scores, "timestamps": played, "size": size, "episode_count": 100}
        return sampler.level_weights(sampler.initialize(jnp.zeros(())) | known)

    want = weights(scores, played, size)
    store = empty(8)._replace(score=scores, played=played, clock=np.int32(100))
    got = odds(store, rank, temperature, staleness)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


def test_jaxued_keeps_the_same_levels(jaxued_sampler):
    """Batches of new levels without ties into a full store: both keep the highest scores."""
    rng = np.random.default_rng(3)
    scores = rng.permutation(40).astype(np.float32)
    sampler = jaxued_sampler(8, staleness_coeff=0.0, duplicate_check=False)
    state, store = jax.jit(sampler.initialize)(np.float32(0)), empty(8)
    insert_batch = jax.jit(sampler.insert_batch)
    for batch in scores.reshape(5, 8):
        state, _ = insert_batch(state, batch, batch, None)
        store = put(store, batch, batch)
        np.testing.assert_array_equal(np.sort(store.score), np.sort(state["scores"]))


# ----- proposals


def curriculum(**options):
    """Prioritised replay over a source of numbered levels 1000, 1001, ..."""
    score = indifferent()._replace(memory=np.zeros((), np.float32))
    generator = Generator(lambda key: Toy(jax.random.randint(key, (), 1000, 2**30)))
    return prioritised(pool(generator, score, log_uniform(5, 5), size=64), **options)


def start(kind, scores, **options):
    state = jax.jit(kind.init)(jax.random.key(0))
    return state._replace(buffer=filled(scores, **options)) if scores else state


def proposals(kind, batch, scores, count=DRAWS, **options):
    """The levels of many proposals of `batch` members each, all from one state."""
    state = start(kind, list(scores), **options)
    keys = jax.random.split(jax.random.key(3), count // batch)
    drawn = jax.jit(jax.vmap(lambda key: kind.propose(key, state, yes(batch))[1].level.number))(keys)
    return np.asarray(drawn)


@pytest.mark.parametrize("priority", [(rank, 1.0), (proportional, 1.0)], ids=["rank", "proportional"])
@pytest.mark.parametrize("staleness", [0.0, 0.4])
def test_replay_frequencies(priority, staleness):
    """Scores 4, 3, 2, 1; ages 1, 2, 3, 4. Each draw of a batch follows the formula."""
    kind = curriculum(capacity=4, replay=1.0, staleness=staleness, priority=priority[0](priority[1]))
    store = filled([4.0, 3.0, 2.0, 1.0], age=[1, 2, 3, 4])
    drawn = proposals(kind, 4, [4.0, 3.0, 2.0, 1.0], age=[1, 2, 3, 4])
    found = np.bincount(drawn.ravel(), minlength=5)[1:] / DRAWS
    want = by_level(store, odds(store, *priority, staleness))
    assert drawn.max() <= 4
    assert (np.abs(found - want) < 5 * np.sqrt(want * (1 - want) / DRAWS)).all()


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("replay", [0.0, 0.3, 1.0])
def test_the_replay_probability(replay, replace):
    kind = curriculum(capacity=16, replay=replay, replace=replace)
    drawn = proposals(kind, 8, tuple(float(s) for s in range(16)))
    share = (drawn < 1000).mean()
    assert abs(share - replay) <= 5 * np.sqrt(replay * (1 - replay) / drawn.size)


def test_nothing_is_replayed_before_the_minimal_fill():
    kind = curriculum(capacity=8, replay=1.0, minimal_fill=0.5)
    propose = jax.jit(kind.propose)
    state = start(kind, [])
    for count, replays in ((0, False), (3, False), (4, True)):
        store = put(empty(8), range(1, count + 1), [1.0] * count) if count else empty(8)
        _, task = propose(jax.random.key(0), state._replace(buffer=store), yes(6))
        assert (np.asarray(task.level.number) < 1000).all() == replays
        assert (np.asarray(task.level.number) >= 1000).all() == (not replays)
    _, task = jax.jit(curriculum(capacity=8, replay=1.0, minimal_fill=0.0).propose)(jax.random.key(0), state, yes(6))
    assert (np.asarray(task.level.number) >= 1000).all()  # and never from an empty store


def test_unscored_slots_are_never_replayed():
    kind = curriculum(capacity=16, replay=1.0, minimal_fill=0.1, staleness=0.9)
    state = start(kind, [])
    state = state._replace(buffer=put(empty(16), [1, 2, 3], [-1.0, -2.0, -3.0])._replace(clock=np.int32(9)))
    keys = jax.random.split(jax.random.key(3), 500)
    drawn = jax.jit(jax.vmap(lambda key: kind.propose(key, state, yes(4))[1].level.number))(keys)
    assert set(np.unique(drawn).tolist()) == {1, 2, 3}


@pytest.mark.parametrize("capacity", [5, 3])
def test_no_duplicates_where_they_are_not_wanted(capacity):
    """Five members over stores of five and of three: each level at most once, and new tasks for the rest."""
    kind = curriculum(capacity=capacity, replay=1.0, replace=False)
    drawn = proposals(kind, 5, tuple(float(s) for s in range(capacity)))
    ordered = np.sort(drawn, axis=1)
    assert (ordered[:, :capacity] == np.arange(1, capacity + 1)).all()
    assert (ordered[:, capacity:] >= 1000).all()


def test_draws_without_replacement_follow_the_weights():
    """Two of three with weights 6, 3, 2 (of 11, rank 1): the first alone, then the second among those left."""
    kind = curriculum(capacity=3, replay=1.0, staleness=0.0, priority=rank(1.0), replace=False)
    drawn = proposals(kind, 2, (3.0, 2.0, 1.0))
    weight = np.array([6, 3, 2]) / 11
    for first in range(3):
        for second in set(range(3)) - {first}:
            want = weight[first] * weight[second] / (1 - weight[first])
            found = ((drawn[:, 0] == first + 1) & (drawn[:, 1] == second + 1)).mean()
            assert abs(found - want) < 5 * np.sqrt(want * (1 - want) / len(drawn))


def test_levels_in_play_are_not_proposed():
    kind = curriculum(capacity=6, replay=1.0)
    drawn = proposals(kind, 3, [6.0, 5.0, 4.0, 3.0, 2.0, 1.0], count=900, active=[1, 1, 0, 0, 0, 0])
    assert set(np.unique(drawn).tolist()) == {3, 4, 5, 6}


def test_only_those_who_needed_one_are_counted_and_marked():
    kind = curriculum(capacity=4, replay=1.0, priority=rank(1e-3), staleness=0.0)
    state = start(kind, [9.0, 1.0, 1.0, 1.0])
    after, task = jax.jit(kind.propose)(jax.random.key(0), state, np.array([False, True, False]))
    assert task.level.number[1] == 1
    slot = int(task.origin.slot[1])
    assert after.buffer.clock == state.buffer.clock + 1 and after.replayed == 1
    assert after.buffer.active.tolist() == [int(i == slot) for i in range(4)]
    assert after.buffer.played.tolist() == [101 if i == slot else 100 for i in range(4)]


def test_reports_reach_the_store():
    """Through the curriculum: two batches lived, reported, and replayed with the scores they were given."""
    kind = curriculum(capacity=8, replay=1.0, minimal_fill=0.5)
    state = start(kind, [])
    propose = jax.jit(kind.propose)
    state, task = propose(jax.random.key(0), state, yes(4))
    score = np.array([3.0, 1.0, 4.0, 2.0], np.float32)
    state = jax.jit(kind.report)(state, task, score, Outcome(-score, np.zeros(4, np.float32)), yes(4))
    assert sorted(contents(state.buffer).values()) == [1.0, 2.0, 3.0, 4.0]
    want = dict(zip(task.level.number.tolist(), score.tolist(), strict=True))
    assert contents(state.buffer) == want
    state, again = propose(jax.random.key(1), state, yes(4))
    assert set(again.level.number.tolist()) <= set(want)
