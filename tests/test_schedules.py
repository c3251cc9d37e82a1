"""What a rule does at each age: by hand on agents whose every number is known, level where the age is not known."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.base import Outcome, UpdateRule
from groove.lifetime import lifetime, schedules
from groove.nets.agents import tabular
from groove.nets.categorical import entropy
from groove.rules import dpo_drift, horizon, lpg, lpo_drift, ppo_drift, recurrent_targets
from groove.rules.lpg import TargetNetwork
from levels.bandit import BanditLevel, bernoulli_bandit

FAMILY = bernoulli_bandit(arms=2, pulls=(3, 3))
SPEC = FAMILY.environment.spec
ONES, THREES = jnp.ones(2, jnp.float32), jnp.full(2, 3, jnp.int32)
PAYING = BanditLevel(jnp.ones((2, 2)), jnp.zeros(2), jnp.full(2, 2, jnp.int32), THREES)  # two levels that always pay 1
KEY = jax.random.key(5)


def counter(age: bool = False) -> UpdateRule:
    """Its agents are [updates lived, the lifetime that was seen]; the first is the logit of one action, the other's is 0.

    Args:
        age: Whether it moves by 1 - n / N rather than by 1.
    """

    def update(key, theta, agent, rollout, clock):
        by = 1 - clock.update / clock.lifetime if age else 1.0
        info = {"pi_hat_size": agent[0], "y_hat_entropy": agent[1] + clock.update / clock.lifetime}
        return jnp.stack([agent[0] + by, clock.lifetime.astype(jnp.float32)]), info

    def policy(agent, observation, time):
        return jnp.stack([agent[0], jnp.zeros(())])

    return UpdateRule(
        init=lambda key: (),
        init_agent=lambda key: jnp.zeros(2),
        policy=policy,
        update=update,
        diagnose=lambda agent, rollout: {"entropy": entropy(policy(agent, None, None))},
    )


def life_of(rule: UpdateRule):
    """Measured by the updates that were lived; NaN where nobody asked."""

    def evaluate(key, agent, level, wanted):
        return Outcome(jnp.where(wanted, agent[0], jnp.nan), jnp.zeros(()))

    return lifetime(rule, FAMILY.environment, steps=3, environments=2, evaluate=evaluate)


@functools.cache
def counted(*lifetimes: int, age: bool = False) -> list[schedules.LifeCurve]:
    rule = counter(age)
    return schedules.life_curves(rule, life_of(rule), KEY, (), PAYING, lifetimes)


def probabilities(logit: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-np.float64(logit)))
    return np.stack([p, 1 - p])


def test_a_course_by_hand():
    """After n updates an action has the odds exp(n): entropy and divergence have closed forms."""
    course = counted(3, 12)[1]
    n = np.arange(13)
    p = probabilities(n)
    np.testing.assert_allclose(course.entropy, -np.sum(p * np.log(p), axis=0)[1:], rtol=1e-4, atol=1e-7)
    want = np.sum(p[:, :-1] * (np.log(p[:, :-1]) - np.log(p[:, 1:])), axis=0)
    np.testing.assert_allclose(course.step, want, rtol=1e-3, atol=1e-7)
    assert course.reward.tolist() == [1] * 12
    assert course.age.tolist() == (np.unique(np.round(np.linspace(0, 12, 11))) / 12).astype(np.float32).tolist()
    np.testing.assert_allclose(course.episode_return, course.age * 12, rtol=1e-6)
    assert not any(error.any() for error in course[6:])  # all agents are alike


def test_errors_of_a_course_are_those_of_its_means():
    """Agents that only differ in how fast they move, by 1 and by 3: means of two have half their distance for an error."""
    rule = counter()
    faster = rule._replace(
        init_agent=lambda key: jnp.array([0.0, 1.0]),
        update=lambda key, theta, agent, rollout, clock: (agent + agent[1] * jnp.array([1.0, 0.0]), {}),
    )
    life = life_of(faster)

    def begin(key, level, lifetime):
        born = life.begin(key, level, lifetime)
        return born._replace(agent=born.agent.at[1].set(level.pulls.astype(jnp.float32)))

    levels = PAYING._replace(pulls=jnp.array([1, 3], jnp.int32))
    course = schedules.life_curves(faster, life._replace(begin=begin), KEY, (), levels, (3,))[0]
    np.testing.assert_allclose(course.episode_return, [0, 2, 4, 6], rtol=1e-6)
    np.testing.assert_allclose(course.return_error, [0, 1, 2, 3], rtol=1e-6)
    p = [probabilities(speed * np.arange(1, 4)) for speed in (1, 3)]
    entropies = [-np.sum(q * np.log(q), axis=0) for q in p]
    np.testing.assert_allclose(course.entropy_error, np.abs(entropies[0] - entropies[1]) / 2, rtol=1e-3)
    assert course.step_error.shape == (3,) and (course.step_error > 0).all()


def test_courses_stop_at_their_lifetime():
    """Beside a longer life, a shorter one has its own length, measures its end, and is the same without the longer one."""
    short, long = counted(3, 12)
    assert (short.lifetime, long.lifetime) == (3, 12)
    assert [column.shape for column in short[1:]] == [(3,), (3,), (3,), (4,), (4,), (3,), (3,), (4,)]
    assert short.age.tolist() == np.float32([0, 1 / 3, 2 / 3, 1]).tolist()
    assert short.episode_return.tolist() == [0, 1, 2, 3]
    assert same(short, counted(3)[0])


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_agents_that_do_not_know_the_lifetime_begin_alike():
    short, long = counted(3, 12)
    assert np.array_equal(short.entropy, long.entropy[:3]) and np.array_equal(short.step, long.step[:3])
    short, long = counted(3, 12, age=True)
    assert short.entropy[0] == long.entropy[0]  # at n = 0 nothing has passed of either
    assert np.all(short.entropy[1:] > long.entropy[1:3])  # then the short life slows down sooner


def test_the_agents_are_those_of_the_key():
    assert same(counted(3)[0], schedules.life_curves(counter(), life_of(counter()), KEY, (), PAYING, (3,))[0])
    rule = lpg(SPEC, tabular(), targets=recurrent_targets(width=3, predictions=2), predictions=2)
    theta, life = rule.init(KEY), lifetime(rule, FAMILY.environment, steps=3, environments=2)
    run = functools.partial(schedules.life_curves, rule, life, theta=theta, levels=PAYING, lifetimes=(2,))
    one, again, other = (run(key=jax.random.key(seed))[0] for seed in (0, 0, 1))
    assert same(one, again) and not np.array_equal(one.entropy, other.entropy)


def test_responses_are_asked_of_agents_in_the_middle_of_the_shortest_life():
    """The counter has lived 10 // 2 updates of a life of 10, whatever age it is asked at."""
    rule = counter()
    short, long = schedules.responses(rule, life_of(rule), KEY, (), PAYING, (10, 80))
    assert (short.lifetime, long.lifetime) == (10, 80)
    for answer in (short, long):
        assert answer.pi_hat.tolist() == [5] * len(answer.age)
        np.testing.assert_allclose(answer.target_entropy, 10 + answer.age, rtol=1e-6)
    np.testing.assert_allclose(short.age, np.arange(10) / 10, rtol=1e-6)  # no update comes at n = N
    np.testing.assert_allclose(long.age, [*np.arange(10) / 10, 79 / 80], rtol=1e-6)


def spoken(known: horizon.Horizon):
    """LPG whose pi_hat is what it knows of the lifetime, added up, and whose y_hat is (1/4, 3/4)."""

    def apply(theta, x, keep):
        return -jnp.sum(x[..., 6:], axis=-1), jnp.broadcast_to(jnp.log(jnp.array([0.25, 0.75])), (*keep.shape, 2))

    targets = TargetNetwork(lambda key, inputs: (), lambda theta, y: y[..., :1], apply)
    return lpg(SPEC, tabular(), targets=targets, predictions=2, horizon=known)


def asked(rule: UpdateRule, theta=(), lifetimes=(5, 20)) -> list[schedules.Response]:
    life = lifetime(rule, FAMILY.environment, steps=3, environments=2)
    return schedules.responses(rule, life, KEY, theta, PAYING, lifetimes)


def test_lpgs_responses_by_hand():
    for answer in asked(spoken(horizon.fraction)):
        np.testing.assert_allclose(answer.pi_hat, answer.age, rtol=1e-6)
        np.testing.assert_allclose(answer.target_entropy, math.log(4) - 0.75 * math.log(3), rtol=1e-6)
    for answer in asked(spoken(horizon.fraction_and_log)):
        np.testing.assert_allclose(answer.pi_hat, answer.age + math.log(answer.lifetime), rtol=1e-6)


@pytest.mark.parametrize(("known", "levels"), [(horizon.none, 1), (horizon.fraction, 20)])
def test_only_a_rule_that_knows_the_age_answers_by_it(known: horizon.Horizon, levels: int):
    """Level to the last bit without horizon inputs; with n / N another answer at every age, equal ages counted once."""
    rule = lpg(SPEC, tabular(), targets=recurrent_targets(width=3, predictions=2), predictions=2, horizon=known)
    found = asked(rule, rule.init(KEY), (5, 20))
    answers = {age: (pi, y) for row in found for age, pi, y in zip(*(x.tolist() for x in row[1:]), strict=True)}
    assert len(answers) > 10
    assert len({answer[0] for answer in answers.values()}) == min(levels, len(answers))
    assert len({answer[1] for answer in answers.values()}) == min(levels, len(answers))


def test_lifetimes_span_a_range():
    assert schedules.lifetimes(10, 250) == [10, 50, 250]
    assert schedules.lifetimes(1, 2) == [1, 2]


def test_a_single_lifetime_is_seen_beside_a_shorter_and_a_longer_one():
    assert (schedules.lifetimes(4, 4), schedules.lifetimes(1, 1)) == ([2, 4, 8], [1, 2])


# ----- drifts


def theta_of(known: horizon.Horizon, seed: int = 0):
    inputs = 8 * (1 + {horizon.none: 0, horizon.fraction: 1, horizon.fraction_and_log: 2}[known])
    keys = jax.random.split(jax.random.key(seed), 2)
    shapes = {"hidden": (inputs, 5), "output": (5, 1)}
    return {name: jax.random.normal(key, shapes[name], jnp.float32) for name, key in zip(shapes, keys, strict=True)}


@functools.cache
def drifts(known: horizon.Horizon = horizon.fraction, *, lifetime: int = 7, ppo_start: bool = False):
    return schedules.drifts(theta_of(known), known, lifetime=lifetime, ppo_start=ppo_start)


def curve(drift: schedules.DriftCurve):
    """The function that a row tabulates, in float64: f[R] to f[R]."""
    functions = {"PPO": ppo_drift, "DPO": dpo_drift}
    age = jnp.full(0 if math.isnan(drift.age) else 1, drift.age)
    theta = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), theta_of(horizon.fraction if age.size else horizon.none))
    learned = functools.partial(lpo_drift, theta, age=age)
    function = functions.get(drift.name, learned)
    return lambda ratio: function(ratio, jnp.full(ratio.shape, drift.advantage))


def test_ages_are_the_beginning_the_middle_and_the_end():
    rows = drifts()
    assert [(row.name, row.advantage) for row in rows] == [
        (name, sign) for name in ("LPO", "LPO", "LPO", "PPO", "DPO") for sign in (1, -1)
    ]
    assert [row.age for row in rows[:6:2]] == [0, 0.5, 1]  # of a lifetime of 7, too
    assert all(math.isnan(row.age) for row in rows[6:])
    blind = drifts(horizon.none)
    assert [row.name for row in blind[::2]] == ["LPO", "PPO", "DPO"] and math.isnan(blind[0].age)


def test_at_the_end_the_horizon_has_exactly_one():
    """Not (N - 1) / N, which is what the last update of a life sees."""
    for row in drifts()[:6]:
        age, sign = jnp.float32([row.age]), jnp.full(schedules.RATIOS.shape, row.advantage, jnp.float32)
        want = jax.jit(lpo_drift)(theta_of(horizon.fraction), jnp.asarray(schedules.RATIOS), sign, age)
        np.testing.assert_allclose(row.value, want, rtol=1e-5, atol=1e-6)
    seen = []

    def spy(clock):
        seen.append(horizon.fraction_and_log(clock))
        return seen[-1]

    assert schedules.drifts(theta_of(horizon.fraction_and_log), spy, lifetime=7)
    concrete = [entry.tolist() for entry in seen if not isinstance(entry, jax.core.Tracer)]
    for life in (6, 2):
        assert all(np.float32([age, math.log(life)]).tolist() in concrete for age in (0, 0.5, 1))


@pytest.mark.parametrize(
    "known", [horizon.none, horizon.fraction, horizon.fraction_and_log, horizon.scaled, horizon.remaining]
)
def test_drifts_that_know_n_are_drawn_for_two_lives(known: horizon.Horizon):
    """For N and half of it where equal ages mean different drifts; else once, which holds for every N."""
    width = {horizon.none: 0, horizon.fraction_and_log: 2, horizon.scaled: 2}.get(known, 1)
    theta = {"hidden": jnp.ones((8 * (1 + width), 2)) / 4, "output": jnp.ones((2, 1))}
    rows = schedules.drifts(theta, known, lifetime=21)
    learned = [(row.lifetime, row.age) for row in rows if row.name == "LPO" and row.advantage > 0]
    if known in (horizon.fraction_and_log, horizon.scaled, horizon.remaining):
        assert learned == [(20, 0.0), (20, 0.5), (20, 1.0), (10, 0.0), (10, 0.5), (10, 1.0)]
        assert not np.array_equal(rows[2].value, rows[8].value)
    else:
        assert {life for life, _ in learned} == {0} and len(learned) == (3 if width else 1)
    assert {row.lifetime for row in rows if row.name != "LPO"} == {0}
    assert {row.lifetime for row in schedules.drifts(theta, known, lifetime=2)} == {0}  # half of it has no middle


@pytest.mark.parametrize("ppo_start", [False, True])
@pytest.mark.parametrize("known", [horizon.none, horizon.fraction, horizon.fraction_and_log])
def test_no_drift_pushes_where_the_policy_has_not_moved(known: horizon.Horizon, ppo_start: bool):
    here = np.flatnonzero(schedules.RATIOS == 1)
    assert len(here) == 1
    for row in drifts(known, ppo_start=ppo_start):
        assert row.value[here] == 0 and row.slope[here] == 0
        assert np.all(row.value >= 0) and np.any(row.value > 0)


def test_slopes_are_those_of_the_values():
    """Central differences in float64, h = 1e-6, err by O(h^2); of grid points next to a corner nothing is asked."""
    rows = [*drifts(), *drifts(horizon.none)]
    with jax.enable_x64(True):
        at = jnp.asarray(schedules.RATIOS, jnp.float64)
        for row in rows:
            function = curve(row)
            want = np.asarray(function(at + 1e-6) - function(at - 1e-6)) / 2e-6
            smooth = np.abs(np.asarray(function(at + 1e-3) + function(at - 1e-3) - 2 * function(at))) < 1e-4
            assert smooth.mean() > 0.9
            np.testing.assert_allclose(row.value, function(at), rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(row.slope[smooth], want[smooth], rtol=1e-3, atol=1e-4)


def test_ppos_curve_is_ppos():
    """Flat until the clip at 1.2 (A = 1) or 0.8 (A = -1), then of slope A."""
    up, down = drifts()[6:8]
    np.testing.assert_allclose(up.value, np.maximum(schedules.RATIOS - 1.2, 0), atol=1e-6)
    np.testing.assert_allclose(down.value, np.maximum(0.8 - schedules.RATIOS, 0), atol=1e-6)
    assert set(up.slope[schedules.RATIOS > 1.201]) == {1.0} and set(up.slope[schedules.RATIOS < 1.199]) == {0.0}
    assert set(down.slope[schedules.RATIOS < 0.799]) == {-1.0} and set(down.slope[schedules.RATIOS > 0.801]) == {0.0}


def test_starting_from_ppo_adds_its_drift():
    """With a network that says nothing, the learned drift is PPO's less the margin."""
    silent = jax.tree.map(jnp.zeros_like, theta_of(horizon.none))
    learned, _, ppo, *_ = schedules.drifts(silent, horizon.none, lifetime=2, ppo_start=True)
    np.testing.assert_allclose(learned.value, np.maximum(ppo.value - 1e-4, 0), atol=1e-7)
