"""Evolution over whole lives: pairs that share all chance, outcomes that stay with their tasks."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.members import life_of, rule_of, signature, tasks

from groove.base import Clock, Origin, Outcome, Rollout, Signals, Task
from groove.lifetime import Lifetime, Member
from groove.meta import deep_ga, evolution, mean_reward, ranks, raw, truncated
from groove.meta.evolution import better_half, whole_life
from groove.meta.strategies import KINDS, Strategy, named
from groove.runs import table
from groove.runs.loop import culprits

# ----- shaping and reports


@pytest.mark.parametrize(
    ("fitness", "want"),
    [
        ([1.0, 2.0], [-0.5, 0.5]),
        ([2.0, 1.0], [0.5, -0.5]),
        ([3.0, 3.0], [0.0, 0.0]),
        ([jnp.nan, -9.0], [-0.5, 0.5]),
        ([-9.0, jnp.inf], [0.5, -0.5]),
        ([jnp.nan, jnp.nan], [0.0, 0.0]),
        ([3.0, 1.0, 2.0], [0.5, -0.5, 0.0]),
        ([1.0, 5.0, 1.0, 5.0, 7.0], [-0.375, 0.125, -0.375, 0.125, 0.5]),
        ([1e30, 1.0, jnp.nan, -1e30], [0.5, 1 / 6, -0.5, -1 / 6]),
    ],
)
def test_ranks(fitness, want):
    np.testing.assert_allclose(ranks(jnp.array(fitness)), want, rtol=1e-6)


def test_raw_fitness():
    """It keeps its scale; a pair adds to 0, and a tie is exactly 0."""
    assert raw(jnp.array([7.0, 3.0])).tolist() == [2.0, -2.0]
    assert raw(jnp.array([0.1, 0.1])).tolist() == [0.0, 0.0]


def test_the_better_half_reports():
    got = better_half(
        Outcome(jnp.array([[1.0, 2.0], [4.0, 3.0], [jnp.nan, -1.0]]), jnp.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]))
    )
    assert got.episode_return.tolist() == [2.0, 4.0, -1.0] and got.standard_error.tolist() == [4.0, 5.0, 8.0]
    signals = Signals(*(jnp.array([[1.0, 2.0], [3.0, 4.0]]) + i for i in range(5)))
    seen = better_half(Outcome(jnp.array([[1.0, 2.0], [4.0, 3.0]]), jnp.zeros((2, 2)), signals)).signals
    assert seen.highest.tolist() == [2.0, 3.0] and seen.advantage_gain.tolist() == [6.0, 7.0]
    many = better_half(Outcome(jnp.array([[1.0, 9.0, 5.0, 2.0]]), jnp.array([[0.0, 3.0, 4.0, 0.0]])))
    assert many.episode_return.tolist() == [7.0] and many.standard_error.tolist() == [2.5]


# ----- toys


class Point(NamedTuple):
    """A level that is a point."""

    point: jax.Array


def toy(value, *, size=3, noise=0.0) -> Lifetime:
    """Agents are points that move by theta, and by chance, in each update; rewards and returns are `value(agent, point)`."""

    def begin(key, level, lifetime):
        return Member(noise * jax.random.normal(key, (size,)), (), (), Clock(jnp.zeros((), jnp.int32), lifetime))

    def rollout(key, member, level):
        none, no = jnp.zeros((1, 1)), jnp.zeros((1, 1), bool)
        reward = value(member.agent, level.point).reshape(1, 1)
        return member, Rollout(none, none, none.astype(jnp.int32), reward, no, no, none, none)

    def update(key, theta, member, level):
        alive = member.clock.update < member.clock.lifetime
        moved = member.agent + theta + noise * jax.random.normal(key, (size,))
        member = member._replace(
            agent=jnp.where(alive, moved, member.agent),
            clock=member.clock._replace(update=member.clock.update + alive.astype(jnp.int32)),
        )
        return member, rollout(key, member, level)[1], {"after_death": jnp.where(alive, 0.0, 1.0)}

    def evaluate(key, agent, level, wanted):
        return Outcome(value(agent, level.point) + noise * jax.random.normal(key), jnp.zeros(()))

    return Lifetime(begin, rollout, update, lambda *rest: None, evaluate)


def at(points, lifetimes, learn=True) -> Task:
    """Tasks on toy levels."""
    points = jnp.asarray(points, jnp.float32)
    count = len(points)
    minus = jnp.full(count, -1, jnp.int32)
    origin = Origin(minus, minus, minus, minus, jnp.zeros((count, 0)), jnp.broadcast_to(jnp.asarray(learn), (count,)))
    return Task(Point(points), jnp.asarray(lifetimes, jnp.int32), (), (), origin)


class Told(NamedTuple):
    candidates: object
    fitness: jax.Array


def fixed(population, *, mirrored=True) -> Strategy:
    """Always asks for the candidates that it begins with; its state keeps what it was told."""
    return Strategy(
        population=population,
        mirrored=mirrored,
        init=lambda key, theta: Told(theta, jnp.zeros(population)),
        ask=lambda key, state: (state, state.candidates),
        tell=lambda key, state, candidates, fitness: Told(candidates, fitness),
        theta=lambda state: jax.tree.map(lambda leaf: leaf[0], state.candidates),
    )


@functools.cache
def generation(lives, population, mirrored, **options):
    """(meta-optimiser, its compiled step)."""
    meta = evolution(lives, fixed(population, mirrored=mirrored), **options)
    return meta, jax.jit(meta.step)


def told(lives, candidates, *batches, mirrored=True, seed=0, **options):
    """(fitness [population], outcomes, info, live) of one generation of the given candidates."""
    meta, step = generation(lives, len(jax.tree.leaves(candidates)[0]), mirrored, **options)
    state = meta.init(jax.random.key(9), candidates)
    live = meta.begin(jax.random.key(8), batches)
    state, live, outcomes, info = step(jax.random.key(seed), state, live)
    return np.asarray(state.fitness), outcomes, info, live


def first(agent, point):
    return 100.0 * agent[0] + point[0]


SURE, CHANCY = (toy(first),), (toy(first, noise=1.0),)


def itself(fitness):
    return fitness


LIVES_DIFFER = at([[7.0] * 3, [1.0] * 3, [4.0] * 3, [2.0] * 3], [2, 9, 5, 9])
FOURS = jnp.arange(24.0).reshape(8, 3)


@pytest.mark.parametrize("options", [{}, {"block": 2}, {"block": 4, "grouped": False}], ids=str)
def test_outcomes_stay_with_their_tasks(options):
    """By hand: pair i lives on task i, for that task's lifetime; whoever waits in a block for others stays as it was."""
    fitness, outcomes, info, live = told(SURE, FOURS, LIVES_DIFFER, shaping=itself, **options)
    own = np.array([3.0 * i for i in range(8)])
    want = 100 * own * np.tile([2, 9, 5, 9], 2) + np.tile([7, 1, 4, 2], 2)
    assert fitness.tolist() == want.tolist()
    assert outcomes[0].episode_return.tolist() == want[4:].tolist()  # each pair's better one
    assert live[0].clock.update.tolist() == live[0].clock.lifetime.tolist() == [2, 9, 5, 9] and live[0].finished.all()
    assert info["after_death"] == 0 and info["nonfinite"] == 0 and info["ties"] == 0
    np.testing.assert_allclose(info["fitness"], want.mean(), rtol=1e-6)
    np.testing.assert_allclose(info["fitness_spread"], (want[4:] - want[:4]).mean(), rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"block": 8}], ids=str)
def test_candidates_without_mirrors_share_all_tasks(options):
    """Every candidate lives on every task: it is told the mean, and a task reports the mean of its four best."""
    fitness, outcomes, _, _ = told(SURE, FOURS, LIVES_DIFFER, mirrored=False, shaping=itself, **options)
    every = 100 * 3 * np.arange(8.0)[None] * np.array([2, 9, 5, 9])[:, None] + np.array([7, 1, 4, 2])[:, None]
    np.testing.assert_allclose(fitness, every.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(outcomes[0].episode_return, every[:, 4:].mean(axis=1), rtol=1e-6)


def test_families_share_the_population():
    """The first family's pairs come first; without mirrors all families' tasks count alike."""
    one, two = at([[0.0] * 3], [1]), at([[1000.0] * 3, [2000.0] * 3, [3000.0] * 3], [1, 2, 3])
    lives = (toy(first), toy(lambda agent, point: -first(agent, point)))
    own = 300 * np.arange(8.0)
    want = np.concatenate([[own[0]], -own[1:4] * [1, 2, 3] - [1e3, 2e3, 3e3]])
    mirror = np.concatenate([[own[4]], -own[5:] * [1, 2, 3] - [1e3, 2e3, 3e3]])
    fitness, outcomes, _, _ = told(lives, FOURS, one, two, shaping=itself)
    assert fitness.tolist() == [*want, *mirror]
    assert [len(outcome.episode_return) for outcome in outcomes] == [1, 3]
    np.testing.assert_allclose(outcomes[1].episode_return, want[1:])
    shaped, _, _, _ = told(lives, FOURS, one, two, mirrored=False)
    np.testing.assert_allclose(shaped, (ranks(jnp.asarray(own)) + 3 * ranks(jnp.asarray(-own))) / 4, atol=1e-6)


def test_pairs_share_all_chance():
    """Birth, updates and measurement are noisy, yet equal candidates live equal lives, bit for bit; others do not."""
    twins = jnp.tile(FOURS[:4], (2, 1))
    same = at([[0.0] * 3] * 4, [3] * 4)
    fitness, _, info, _ = told(CHANCY, twins, same, shaping=itself)
    assert np.array_equal(fitness[:4], fitness[4:]) and info["ties"] == 1
    chance = fitness[:4] - 900 * np.arange(4.0)
    assert np.unique(np.round(chance, 2)).size == 4  # every task has words of its own
    shared, _, _, _ = told(CHANCY, jnp.tile(FOURS[:1], (8, 1)), same, mirrored=False, shaping=itself)
    assert np.unique(shared).size == 1
    again, _, _, _ = told(CHANCY, twins, same, shaping=itself, seed=1)
    assert (again != fitness).all()


def test_tasks_that_are_not_to_be_learned_from():
    """They count as ties, and report all the same."""
    task = at(LIVES_DIFFER.level.point, [2, 9, 5, 9], learn=[True, False, True, False])
    fitness, outcomes, _, _ = told(SURE, FOURS, task)
    assert fitness.tolist() == [-0.5, 0, -0.5, 0, 0.5, 0, 0.5, 0]
    assert (np.asarray(outcomes[0].episode_return) > 1000).all()
    only, _, _, _ = told(SURE, FOURS, task, mirrored=False)
    np.testing.assert_allclose(only, ranks(jnp.arange(8.0)) / 2, atol=1e-7)


@pytest.mark.parametrize("name", KINDS)
def test_where_no_task_is_to_be_learned_from_nothing_moves(name):
    """As robust PLR begins: theta and the strategy's distribution stay bit for bit, though lives differ."""
    strategy, theta = named(name, jnp.zeros(3), population=8), jnp.array([1.1, -2.3, 0.7])
    meta, task = evolution(SURE, strategy), at(LIVES_DIFFER.level.point, [2, 9, 5, 9], learn=False)
    state, live = meta.init(jax.random.key(0), theta), meta.begin(jax.random.key(1), (task,))
    after, _, _, info = jax.jit(meta.step)(jax.random.key(2), state, live)
    assert np.array_equal(meta.theta(after), theta) and info["theta_step"] == 0 and info["fitness_spread"] > 0
    wide = (lambda state: state.std) if hasattr(state, "std") else jax.tree.leaves
    assert np.array_equal(wide(after), wide(state))
    moved = jax.jit(meta.step)(jax.random.key(2), state, meta.begin(jax.random.key(1), (LIVES_DIFFER,)))[0]
    assert (meta.theta(moved) != theta).any()


def test_fitness_that_is_not_finite():
    """It is counted, ranks last, and does not report; where all have it, that is an error."""
    life = toy(lambda agent, point: jnp.where(agent[0] == point[0], jnp.nan, agent[0]))
    fitness, outcomes, info, _ = told((life,), FOURS, at([[0.0] * 3, [15.0] * 3, [-1.0] * 3, [-1.0] * 3], [1] * 4))
    assert info["diverged"] == 2 and info["nonfinite"] == 0
    assert fitness.tolist() == [-0.5, 0.5, -0.5, -0.5, 0.5, -0.5, 0.5, 0.5]
    assert outcomes[0].episode_return.tolist() == [12.0, 3.0, 18.0, 21.0]
    np.testing.assert_allclose(
        [info["fitness"], info["fitness_spread"]], [np.mean([12, 3, 6, 9, 18, 21]), (9 + 0 + 12 + 12) / 4]
    )  # the worst of all stands for who diverged
    _, _, info, _ = told((toy(lambda agent, point: jnp.nan * point[0]),), FOURS, LIVES_DIFFER)
    assert info["diverged"] == info["nonfinite"] == 8
    assert culprits(table(0, jax.device_get(info), 1)[0]) == "the fitness"


@pytest.mark.parametrize("lives", ["whole", "persistent"])
def test_what_was_not_finite_has_its_name(lives):
    """Theta where it is that alone, though nobody's fitness tells; else whatever a row of metrics lacks."""
    far = jnp.full(3, jnp.inf)
    if lives == "whole":
        meta = evolution(
            SURE, named("Open_ES", jnp.zeros(3), population=8), fitness=lambda outcome, info: info["after_death"]
        )
    else:
        meta = truncated((toy(lambda agent, point: 0.0 * point[0]),), optax.adam(0.1), jnp.zeros(3), updates=2)
    start = meta.init(jax.random.key(0), jnp.zeros(3))
    broken = start.replace(mean=far) if lives == "whole" else start._replace(parameters=far)
    info = jax.jit(meta.step)(jax.random.key(2), broken, meta.begin(jax.random.key(1), (LIVES_DIFFER,)))[3]
    assert info["nonfinite"] >= 3 and culprits(table(0, jax.device_get(info), 1)[0]) == "theta"
    row = {"fitness": None, "gradient_norm": None, "theta_step": 0.1}
    assert culprits(row) == "the fitness and the meta-gradient" and culprits({"meta_loss": 1.0}).startswith("the meta-grad")


def test_fitness_may_be_the_mean_reward():
    """An agent at theta, 2 theta, ... earns their mean over the life."""
    fitness, outcomes, _, _ = told(
        (toy(lambda agent, point: agent[0]),), FOURS, LIVES_DIFFER, shaping=itself, fitness=mean_reward
    )
    lifetimes = np.tile([2, 9, 5, 9], 2)
    np.testing.assert_allclose(fitness, 3 * np.arange(8.0) * (lifetimes + 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(outcomes[0].episode_return, (3 * np.arange(8.0) * lifetimes)[4:], rtol=1e-6)


def test_a_step_reports_how_far_theta_moved():
    strategy = named("Open_ES", jnp.zeros(3), population=8, optimizer=optax.sgd(0.5))
    meta = evolution(SURE, strategy)
    state, live = meta.init(jax.random.key(0), jnp.ones(3)), meta.begin(jax.random.key(1), (LIVES_DIFFER,))
    assert meta.theta(state).tolist() == [1.0, 1.0, 1.0]
    after, _, _, info = jax.jit(meta.step)(jax.random.key(2), state, live)
    np.testing.assert_allclose(info["theta_step"], np.linalg.norm(meta.theta(after) - 1.0), rtol=1e-6)
    assert meta.theta(after)[0] > 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: evolution((), fixed(8), block=0), "block must be at least 1, got 0"),
        (lambda: told(SURE, FOURS, LIVES_DIFFER, block=3), "block must divide the 4 couples of candidates, got 3"),
        (lambda: told(SURE, FOURS[:6], LIVES_DIFFER), "twice the number of tasks, 4, got 6"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ----- a real rule on real tasks

NAME = "lpg-fraction-and-log"


@functools.cache
def pairs():
    """Four candidates and their mirror images."""
    theta = rule_of(NAME).init(jax.random.key(0))
    leaves, structure = jax.tree.flatten(theta)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.5 * jax.random.normal(k, (4, *leaf.shape)) for k, leaf in zip(keys, leaves, strict=True)]
    both = [jnp.concatenate([leaf[None] + e, leaf[None] - e]) for leaf, e in zip(leaves, noise, strict=True)]
    return jax.tree.unflatten(structure, both)


@functools.cache
def lived(swapped=False, **options):
    candidates = jax.tree.map(lambda leaf: jnp.roll(leaf, 4, axis=0), pairs()) if swapped else pairs()
    batch = tasks(4, lifetimes=(2, 9))
    return told((life_of(NAME),), candidates, batch, shaping=itself, fitness=mean_reward, **options)


def test_members_of_a_pair_may_be_exchanged():
    """Then their outcomes are, exactly."""
    (fitness, outcomes, *_), (other, swapped, *_) = lived(), lived(swapped=True)
    assert np.array_equal(fitness[:4], other[4:]) and np.array_equal(fitness[4:], other[:4])
    assert np.array_equal(outcomes[0].episode_return, swapped[0].episode_return)
    assert (fitness[:4] != fitness[4:]).any()


@pytest.mark.parametrize("options", [{"grouped": False}, {"block": 2}], ids=str)
def test_order_and_blocks_do_not_matter(options):
    """Lives of 2 to 9 updates: their order changes nothing, nor who is stepped beside whom but for rounding."""
    (fitness, outcomes, *_), (other, others, *_) = lived(), lived(**options)
    if "block" not in options:
        assert np.array_equal(fitness, other) and np.array_equal(outcomes[0].episode_return, others[0].episode_return)
    np.testing.assert_allclose(fitness, other, rtol=1e-5)
    np.testing.assert_allclose(outcomes[0].episode_return, others[0].episode_return, rtol=1e-5)


def test_a_whole_life_is_that_of_a_loop():
    """Born, updated as often as the lifetime says, each with words of its own, then measured."""
    life, theta = life_of(NAME), jax.tree.map(lambda leaf: leaf[0], pairs())
    task = jax.tree.map(lambda leaf: leaf[1], tasks(4, lifetimes=(2, 9)))
    member, outcome, info = jax.jit(lambda key: whole_life(life, key, theta, task))(jax.random.key(3))
    begin_key, life_key, measure_key = jax.random.split(jax.random.key(3), 3)
    update = jax.jit(life.update)
    other, rewards = life.begin(begin_key, task.level, task.lifetime), []
    for n in range(int(task.lifetime)):
        other, rollout, _ = update(jax.random.fold_in(life_key, n), theta, other, task.level)
        rewards.append(float(rollout.reward.mean()))
    np.testing.assert_allclose(info["reward"], np.mean(rewards), rtol=1e-5)
    assert int(member.clock.update) == int(task.lifetime)
    want = life.evaluate(measure_key, other.agent, task.level, jnp.array(True))
    np.testing.assert_allclose(outcome.episode_return, want.episode_return, rtol=1e-5)


def test_theta_of_any_strategy_is_one_rule():
    """Trees in, trees out: of the shapes and types of the rule's own."""
    theta = rule_of(NAME).init(jax.random.key(0))
    for strategy in (named("SNES", theta, population=4), deep_ga(population=4, parents=1)):
        found = jax.eval_shape(lambda key, strategy=strategy: strategy.theta(strategy.init(key, theta)), jax.random.key(0))
        assert signature(found) == signature(theta)
