"""What every comparison promises: nothing is tuned on what is reported, and rows are what their names say.

Spies stand for the functions that live, so that nothing is compiled but a few hashes.
"""

import dataclasses
import zlib
from collections import Counter
from types import MappingProxyType, SimpleNamespace

import chex
import jax
import numpy as np
import pytest

from groove import protocols, statistics
from groove.base import Clock, Outcome
from groove.config import QUICK, smoke
from groove.config.families import FAMILIES
from groove.evaluation import execution, methods, tuning
from groove.lifetime import Lifetime, Member, exact, learning_curve, lifetime
from groove.protocols import (
    PROTOCOLS,
    Budget,
    Setting,
    SuiteProtocol,
    Tuned,
    default_setting,
    heldout,
    points_of,
    search_space,
)
from groove.runs import artefacts
from groove.statistics import nested_bootstrap, performance_profile, probability_of_improvement, share_below, worst_mean
from levels.bandit import bernoulli_bandit
from levels.base import Array, words
from levels.chain import chain
from levels.suites import SUITES, Split, splits

SCALE = "smoke"
FAMILY = bernoulli_bandit(arms=2, pulls=(2, 2))
TASKS = ("p", "q", "r", "s", "t")


def bits(key) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def rows_of(levels) -> set[bytes]:
    """The content of each level."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(levels)]
    return {b"".join(leaf[row].tobytes() for leaf in leaves) for row in range(len(leaves[0]))}


def split(name: str = "made-up") -> Split:
    """Five tasks whose optimum nobody knows, and four levels for practice."""
    made = np.linspace(0.1, 0.9, 9, dtype=np.float32)
    both = jax.tree.map(np.asarray, jax.vmap(FAMILY.generator.decode)(np.linspace(made, made + 0.05, 5, axis=1)))
    levels, practice = (jax.tree.map(lambda leaf, part=part: leaf[part], both) for part in (slice(0, 5), slice(5, 9)))
    known, unknown = np.zeros(4), np.full(5, np.nan)
    return Split(name, FAMILY, levels, TASKS, np.zeros(5), unknown, practice, known, known + 2, alone=False)


def plan(*methods) -> execution.Plan:
    return execution.Plan("chains", SCALE, methods, Tuned({}, {}))


def method(meta_seed: int):
    return SimpleNamespace(label="rule", meta_seed=meta_seed)


def pieces(made: Split, meta_seeds: int, block: int):
    return [
        execution.Piece(method(meta), made, first, min(block, len(TASKS) - first))
        for meta in range(meta_seeds)
        for first in range(0, len(TASKS), block)
    ]


@pytest.fixture
def budget(monkeypatch):
    """All tasks of the made-up split are asked for."""
    protocol = PROTOCOLS["chains"]
    budgets = {**protocol.budgets, SCALE: protocol.budgets[SCALE]._replace(tasks=len(TASKS))}
    monkeypatch.setattr(execution, "PROTOCOLS", {"chains": protocol._replace(budgets=budgets)})


def reported(made: Split, meta_seeds: int = 2) -> tuple[set[bytes], set[tuple[int, ...]]]:
    """The levels and the keys that an evaluation lives with."""
    levels, keys = set(), set()

    def spy(key, own, first):
        levels.update(rows_of(own))
        keys.add(bits(key))
        nothing = np.zeros((len(jax.tree.leaves(own)[0]), 1, 1))
        return Outcome(nothing, nothing)

    for piece in pieces(made, meta_seeds, execution.block_of(len(TASKS))):
        execution._lived(plan(), piece, spy)
    return levels, keys


def tuned(made: Split, monkeypatch) -> list[tuple[set[bytes], tuple[int, ...]]]:
    """The levels and the key that settings are tried with, and those of what counts as 0 and 1."""
    calls = []

    def spy(life, key, theta, levels, points, *, agents, block):
        calls.append((rows_of(levels), bits(key)))
        nothing = np.zeros((len(jax.tree.leaves(levels)[0]), agents, 1))
        return Outcome(jax.numpy.asarray(nothing, jax.numpy.float32), nothing)

    monkeypatch.setattr(tuning.learning_curve, "learning_curves", spy)
    monkeypatch.setattr(tuning.protocols, "search_space", lambda rule, spec: (Setting(1.0, 0.0), Setting(2.0, 0.0)))
    with jax.disable_jit():
        tuning.search(PROTOCOLS["chains"], SCALE, "a2c", made)
        tried = len(calls)
        tuning.references(PROTOCOLS["chains"], SCALE, Setting(1.0, 0.0), made)
    assert tried == 2 and len(calls) == 4
    return calls


def test_tuning_and_reporting_share_no_level_and_no_key(budget, monkeypatch):
    made = split()
    levels, keys = reported(made)
    calls = tuned(made, monkeypatch)
    assert levels == rows_of(made.levels) and len(keys) == 2
    for tried, key in calls[:2]:
        assert tried and not tried & levels
        assert key not in keys
    for tried, key in calls[2:]:  # what counts as 0 and 1 is measured on the tasks themselves, by other agents
        assert tried == levels
        assert key not in keys | {bits for _, bits in calls[:2]}


def test_who_has_no_settings_or_those_of_a_chapter_is_tuned():
    """Random always; A2C on one of two splits, which its settings name; PPO on none."""
    found = methods.named_methods(("random", "a2c", "ppo"), "chains", Tuned({"a2c": {"first": Setting(2.0, 0.1)}}, {}))
    tuned = {one.label: [one.tuned(split(name)) for name in ("first", "second")] for one in found}
    assert tuned == {"random": [True, True], "a2c": [True, False], "ppo": [False, False]}


def test_labels_have_up_to_80_letters():
    assert methods.named_methods((f"{'x' * 80}=a2c",), "chains", Tuned({}, {}))[0].label == "x" * 80
    for label in ("x" * 81, " ", "a\tb"):
        with pytest.raises(ValueError, match="LABEL of 1 to 80 characters"):
            methods.named_methods((f"{label}=a2c",), "chains", Tuned({}, {}))


@pytest.mark.parametrize(
    ("known", "words", "added"),
    [
        ([[0.5, 1.5], [2.5]], ("a2c",), False),
        ([[0.5, 1.5], [np.nan]], ("a2c",), True),
        ([[0.5, np.nan], [2.5]], ("a2c",), True),
        ([[np.nan]], ("random", "a2c"), False),
    ],
)
def test_the_random_policy_joins_where_0_is_not_known_of_every_task(monkeypatch, known, words, added):
    monkeypatch.setattr(execution, "splits", lambda suite: [SimpleNamespace(random=np.array(row)) for row in known])
    assert execution.requested_rules(words, "chains") == (*words, *["random"] * added)


RETURNS = np.float32(np.random.default_rng(3).permutation(48).reshape(3, 4, 4) / 16)
"""Of three settings on four levels for practice, four agents each."""
LOW, WIDTH = np.array([0.25, -0.5, 0.75, -1.25]), np.array([1.75, 0.03, 0.5, 0.05])


@pytest.mark.parametrize("known", ["some", "none", "flat"])
def test_settings_are_scored_between_0_and_1(monkeypatch, known):
    """Means over agents, then over levels with a range of at least 0.04: all but one. The setting of a lost agent is out.

    Where nothing is known, 0 and 1 are the least and the most that was reached; where all are flat, returns are as they are.
    """
    returns, widths = RETURNS.copy(), {"some": WIDTH, "none": np.full(4, np.nan), "flat": np.full(4, 0.03)}[known]
    returns[1, 2, 3] = np.nan
    spied = lambda *_: lambda key, levels, setting: jax.numpy.asarray(returns)[setting.rate.astype(int)]  # noqa: E731
    monkeypatch.setattr(tuning, "lived", spied)
    monkeypatch.setattr(tuning.protocols, "search_space", lambda rule, spec: tuple(Setting(float(i), 0.1) for i in range(3)))
    made = split()._replace(practice_random=LOW, practice_optimum=LOW + widths)
    found = tuning.search(PROTOCOLS["chains"], SCALE, "a2c", made)
    mean = np.float64(RETURNS[[0, 2]]).mean(2)
    if known == "none":
        want = ((mean - mean.min(0)) / np.ptp(mean, axis=0)).mean(1)
    else:
        want = mean.mean(1) if known == "flat" else ((mean - LOW) / WIDTH)[:, [0, 2, 3]].mean(1)
    np.testing.assert_allclose(found.scores, [want[0], np.nan, want[1]], rtol=1e-5)
    assert found.best == found.settings[2 * int(np.argmax(want))]


@pytest.mark.parametrize(("name", "steps"), [("a2c", 1), ("ppo", 16), ("dpo", 16)])
def test_defaults_move_tables_as_far_whatever_the_rule(name, steps):
    """The rates of all gradient steps of an update add up to GROOVE's; Adam's is its own. Searches reach either way."""
    table, array = FAMILY.environment.spec, FAMILY.environment.spec._replace(observation=Array((5,)))
    assert default_setting(name, table) == (40.0 / steps, 0.01) and default_setting(name, array) == (5e-4, 0.01)
    for spec in (table, array):
        rates, weights = (sorted(set(column)) for column in zip(*search_space(name, spec), strict=True))
        assert rates[0] < default_setting(name, spec).rate < rates[-1] and 0.01 in weights


def test_suites_keep_what_is_for_practice_apart():
    for made in (*splits(SUITES["chains"]), *splits(SUITES["bandits"])):
        assert made.alone or not rows_of(made.levels) & rows_of(made.practice), made.name


def known_by_its_key() -> Lifetime:
    """Lives of agents who are nothing but a number of their birth's key, and are measured by that."""

    def begin(key, level, lifetime):
        return Member(words(key, 2), (), (), Clock(lifetime * 0, lifetime))

    def evaluate(key, agent, level, wanted):
        born = (agent >> 8).astype("float32")
        return Outcome(born[0], born[1])

    return Lifetime(begin, None, lambda key, theta, member, level: (member, None, None), None, evaluate)


def test_agents_are_born_of_keys_of_their_own_whatever_the_blocks(budget, monkeypatch):
    """By meta-seed, task and place: another for each, in blocks of any size; other splits have others again."""
    monkeypatch.setattr(execution, "life_of", lambda *arguments: known_by_its_key())
    rule = SimpleNamespace(init=lambda key: ())

    def born(made: Split, block: int, together: int) -> np.ndarray:
        """[metas, tasks, agents, 2]."""
        monkeypatch.setattr(execution, "block_of", lambda tasks: block)
        monkeypatch.setattr(execution, "agents_at_once", lambda made: together)
        measure, parts = execution.measured(plan(), rule, made), pieces(made, 2, block)
        found = [np.stack(execution._lived(plan(), piece, measure)[:2], axis=-1)[:, :, -1] for piece in parts]
        return np.concatenate(found).reshape(2, len(TASKS), -1, 2)

    whole = born(split(), 5, 4)
    np.testing.assert_array_equal(whole, born(split(), 2, 1))
    everyone = np.concatenate([whole, born(split("other"), 5, 4)]).reshape(-1, 2)
    assert len(np.unique(everyone, axis=0)) == len(everyone) == 4 * len(TASKS) * PROTOCOLS["chains"].budgets[SCALE].seeds


# The table that ends a run


class Spied:
    """What is lived in place of agents: returns by rule and theta, known beforehand."""

    def __init__(self, monkeypatch, answers):
        self.calls = []

        def assessment(config, family, make, levels, sizes):
            def live(key, numbers, lifetime):
                rule, theta = make(numbers)
                self.calls.append((rows_of(levels), bits(key), theta, lifetime))
                return np.full((sizes.tasks, sizes.agents), answers[rule, theta] + lifetime, np.float32)

            return live

        monkeypatch.setattr(heldout, "assessment", assessment)
        monkeypatch.setattr(heldout.rules, "random_policy", lambda spec: "random")
        monkeypatch.setattr(heldout, "named_rule", lambda name, spec, chosen, *, gamma, lambda_: f"{name} {chosen.rate:g}")


def table(monkeypatch, seed: int = 0, tuned=MappingProxyType({})):
    answers = {("random", ()): 0.5, ("learned", "before"): 1.25, ("learned", "after"): 2.75, ("antagonist", ()): 1.75}
    answers |= {(f"{name} {rate}", ()): 4.0 + rate for name in ("a2c", "ppo") for rate in (1, 2, 3)}
    monkeypatch.setattr(heldout, "rivals", lambda config, name: tuned)
    spied = Spied(monkeypatch, answers)
    config = dataclasses.replace(smoke(QUICK), seed=seed, life=dataclasses.replace(QUICK.life, updates=(3, 7)))
    parts = [SimpleNamespace(family=FAMILY, rule="learned", antagonist="antagonist")] * 2
    run = SimpleNamespace(config=config, parts=parts)
    return spied, heldout.held_out(run, jax.random.key(5), "before", "after")


def test_rows_are_what_their_names_say(monkeypatch):
    spied, results = table(monkeypatch)
    assert [result.lifetime for result in results] == [3, 7, 21] * 2
    for result in results:
        n = result.lifetime
        means = {name: float(values.mean()) for name, values in result.returns.items() if name != "optimum"}
        assert means == {"random policy": 3.5, "untrained rule": 1.25 + n, "trained rule": 2.75 + n, "A2C": 1.75 + n}
        best = np.asarray(result.returns["optimum"])
        assert np.ptp(best, axis=1).max() == 0 < np.ptp(best)
    keys = Counter(key for _, key, _, _ in spied.calls)
    assert len(keys) == 2 and len(set(keys.values())) == 1  # rules of a family share their chance, families do not


def test_rivals_have_the_settings_of_each_lifetime(monkeypatch):
    """And are met only if there are settings for every lifetime of the table."""
    pairs = {n: {"a2c": Setting(rate, 0.0), "ppo": Setting(4.0 - rate, 0.0)} for rate, n in ((1.0, 3), (2.0, 7), (3.0, 21))}
    for result in table(monkeypatch, tuned=pairs)[1]:
        rate = pairs[result.lifetime]["a2c"].rate
        found = {name: float(result.returns[name][0, 0]) - result.lifetime for name in ("tuned A2C", "tuned PPO")}
        assert found == {"tuned A2C": 4 + rate, "tuned PPO": 8 - rate} and "A2C" not in result.returns
    few = {n: pairs[n] for n in (3, 7)}
    assert all("A2C" in result.returns and "tuned A2C" not in result.returns for result in table(monkeypatch, tuned=few)[1])


def test_agents_of_the_table_live_as_long_as_it_says():
    """Those of A2C at the rate that is asked for, as `returns` lives them."""
    config, spec = smoke(dataclasses.replace(QUICK, families=("bernoulli-bandit",), members=(2,))), FAMILY.environment.spec
    sizes, key = protocols.Protocol(tasks=3, agents=2, lifetimes=(1, 30)), jax.random.key(3)
    levels = heldout.held_out_levels(FAMILY, sizes.tasks)

    def made(rate):
        return protocols.named_rule("a2c", spec, Setting(rate, 0.0), gamma=0.99, lambda_=0.95), ()

    live = heldout.assessment(config, FAMILY, made, levels, sizes)
    found = {case: np.asarray(live(key, *case)) for case in ((5.0, 1), (5.0, 30), (50.0, 1))}
    for (rate, updates), got in found.items():
        rule, steps = made(rate)[0], {"steps": config.life.steps, "environments": config.life.environments}
        life = lifetime(rule, FAMILY.environment, evaluate=exact(rule, FAMILY.environment, FAMILY.value), **steps)
        lifetimes = np.full(sizes.tasks, updates, np.int32)
        want = jax.jit(lambda life=life, n=lifetimes: learning_curve.returns(life, key, (), levels, n, agents=2))()
        np.testing.assert_allclose(got, want, rtol=1e-5)
    assert np.ptp([values.mean() for values in found.values()]) > 0.05
    assert len({values.mean() for values in found.values()}) == 3


def test_held_out_levels_do_not_depend_on_the_runs_seed(monkeypatch):
    levels = [table(monkeypatch, seed=seed)[0].calls[0][0] for seed in (0, 1)]
    own = rows_of(heldout.held_out_levels(FAMILY, 4, seed=1))
    assert levels[0] == levels[1] == rows_of(heldout.held_out_levels(FAMILY, 4))
    assert not levels[0] & own


@pytest.mark.parametrize(
    ("changes", "tuned"),
    [
        ({}, True),
        ({"families": QUICK.families[:1], "seed": 5}, True),
        ({"grids": dataclasses.replace(QUICK.grids, actor_rate=1.0)}, True),
        ({"life": dataclasses.replace(QUICK.life, updates=(10, 100))}, True),
        ({"life": dataclasses.replace(QUICK.life, updates=(11, 100))}, False),
        ({"families": ("chain",)}, False),
        ({"generators": ("package.module:maze", "")}, False),
        ({"life": dataclasses.replace(QUICK.life, steps=QUICK.life.steps + 1)}, False),
        ({"grids": dataclasses.replace(QUICK.grids, objects=2)}, False),
        ({"bandits": dataclasses.replace(QUICK.bandits, arms=QUICK.bandits.arms + 1)}, False),
    ],
    ids=["quick", "one", "agents", "known", "lifetime", "family", "generator", "life", "grids", "bandits"],
)
def test_rivals_are_called_tuned_where_they_were_tuned(changes, tuned):
    """On the families, sizes and lives of the preset quick, drawn by their own generators."""
    config = dataclasses.replace(QUICK, **changes)
    assert heldout.is_tuned(config) == tuned
    assert ("A2C was not tuned" in heldout.caption(config)) == (not tuned)


@pytest.mark.parametrize(("members", "tasks", "agents"), [((15,), 4, 2), ((7, 8), 4, 2), ((16,), 48, 4), ((8, 9), 48, 4)])
def test_comparisons_are_small_where_the_run_is(members, tasks, agents):
    config = dataclasses.replace(QUICK, members=members, life=dataclasses.replace(QUICK.life, updates=(3, 7)))
    assert heldout.protocol(config) == (tasks, agents, (3, 7, 21))
    fixed = dataclasses.replace(config, life=dataclasses.replace(QUICK.life, updates=(7, 7)))
    assert heldout.protocol(fixed).lifetimes == (7,)


@pytest.mark.parametrize(("lifetime", "points"), [(29, (3, 9, 29)), (100, (10, 30, 100)), (4, (1, 4)), (1, (1,))])
def test_agents_are_measured_at_the_nearest_updates(lifetime, points):
    """To a tenth, three tenths and all of a life: at least one, and none twice."""
    budget = Budget(tasks=1, seeds=1, lifetime=lifetime, environments=1, episodes=1)
    assert points_of(SuiteProtocol("own", {"own": budget}), "own") == points


def width(interval) -> float:
    return interval.high - interval.low


def test_intervals_of_the_table_are_of_other_agents_on_the_same_tasks():
    tasks, agents = np.linspace(1.25, 9.75, 6), np.linspace(-0.75, 1.5, 4)
    alike, unlike = np.repeat(tasks[:, None], 4, 1), np.repeat(agents[None], 6, 0)
    found = heldout.rows([heldout.HeldOut("f", 7, {"alike": alike, "unlike": unlike})])
    assert width(found[0].interval) == 0 < width(found[1].interval)


METAS = np.linspace(-1.5, 1.75, 7)[:, None, None] + np.zeros((7, 5, 20))
RUNS = np.linspace(-1.5, 1.75, 5)[None, :, None] + np.zeros((7, 5, 20))
FLAT = np.full((3, 5, 20), 0.125)
INTERVALS = {
    "nested": lambda scores: nested_bootstrap(scores, seed=1),
    "improvement": lambda scores: probability_of_improvement(scores, FLAT, seed=1),
    "improvement-of-the-other": lambda scores: probability_of_improvement(FLAT, scores, seed=1),
    "below": lambda scores: share_below(scores, FLAT, seed=1),
    "worst": lambda scores: worst_mean(scores, seed=1),
    "profile": lambda scores: statistics.Interval(*(part[0] for part in performance_profile(scores, [0.0], seed=1)[1:])),
}


@pytest.mark.parametrize("name", INTERVALS)
def test_identical_runs_of_unlike_meta_seeds_give_a_wide_interval(name):
    """Resampled are the meta-seeds and the runs within: where either differ, intervals have a width; where neither do, none.

    Seven meta-seeds spread evenly over 3.25: their mean's deviation is 1.08 / sqrt(7) = 0.41, so that 95 % take 1.6; those
    of the interquartile mean more.
    """
    alike, metas, runs = (width(INTERVALS[name](table)) for table in (0 * METAS, METAS, RUNS))
    assert alike < 1e-9 < min(metas, runs)
    if name in ("nested", "worst"):
        assert 1.2 < metas < 2.4


def test_shares_below_leave_out_where_the_baseline_gains_nothing():
    """Of four tasks the rule is below three quarters of the baseline on the first alone; the last two do not count."""
    rule, antagonist = np.array([[[0.5, 1.25, -3.0, -4.0]]]), np.array([[[1.0, 1.5, -2.0, -1.25]]])
    assert share_below(rule, antagonist, seed=0).point == 0.25


def test_agents_that_meet_held_out_levels_have_keys_of_their_own():
    """None is the key of a family's levels, whatever the seed; names of the same letters have other levels."""

    def roots(seed: int, data: np.ndarray) -> set[bytes]:
        keys = jax.jit(jax.vmap(lambda number: jax.random.key_data(jax.random.fold_in(jax.random.key(seed), number))))(data)
        return {row.tobytes() for row in np.asarray(keys)}

    names = (*FAMILIES, "gymnax:CartPole-v1", "abc", "cba")
    drawn = np.array([zlib.crc32(name.encode()) for name in names], np.uint32)
    levels, agents = roots(protocols.HELD_OUT_SEED, drawn), roots(artefacts.AGENTS_SEED, np.arange(5000, dtype=np.uint32))
    assert len(levels) == len(names) and not levels & agents
    assert artefacts.AGENTS_SEED != protocols.HELD_OUT_SEED  # nor of the seeds past those
    root = jax.random.split(jax.random.fold_in(jax.random.key(protocols.HELD_OUT_SEED), drawn[0]), 2)
    sampled = jax.jit(jax.vmap(chain().generator.sample))(root)
    family = chain()._replace(name=names[0])
    chex.assert_trees_all_equal(protocols.held_out_levels(family, 2), sampled)
