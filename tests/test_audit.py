"""Score audit: scores and yardsticks of the same tasks, how they rank them, and the page that says so."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from commands import assert_refused
from scipy import stats

from groove import analysis, assembly, cli, config, curate, curricula, lifetime, meta, rules, scores
from groove.analysis import Findings
from groove.base import Outcome, Score
from groove.cli import audit as command
from groove.files import rulefile
from groove.files.curriculumfile import Rows
from groove.nets import agents
from groove.nets.critic import critic
from groove.report import audit as pages
from levels.bandit import bernoulli_bandit

SMALL = dataclasses.replace(
    config.smoke(config.QUICK),
    families=("bernoulli-bandit",),
    members=(1,),
    life=config.Life(updates=(2, 4), environments=2, steps=5),
    curriculum=dataclasses.replace(config.smoke(config.QUICK).curriculum, kind="uniform"),
)
SEEDED = tuple(dataclasses.replace(SMALL, seed=seed) for seed in (0, 1))
PLAN = analysis.Plan(SMALL, rule="a2c", count=5, agents=2, members=2, others=2, block=2)
BANDITS = bernoulli_bandit(arms=3, pulls=(5, 5))
ZERO = jnp.zeros((), jnp.float32)


def tasks(count: int) -> Rows:
    return curate.sampled(jax.random.key(0), BANDITS, curricula.constant(2), count=count)


def mute(key, agent, level, wanted) -> Outcome:
    """A life that reaches 0."""
    return Outcome(ZERO, ZERO)


def scored_by_hand(family: str = "maze") -> Findings:
    """Scores that follow the yardstick, oppose it, know nothing of it and do not vary; one number is not finite."""
    size = np.arange(12, dtype=np.float32)
    unrelated = np.float32([3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2])
    found = {"follows": np.exp(size), "opposes": -(size**3), "unrelated": unrelated, "constant": np.zeros(12, np.float32)}
    found["broken"] = np.where(size > 1, np.nan, size).astype(np.float32)
    rows = np.arange(12, dtype=np.int32)
    return Findings(family, rows, rows + 1, found, {"exact-regret": size}, {"yardstick improvement": "needs <b>time</b>."})


def test_scores_that_follow_oppose_or_say_nothing():
    """What lives measured: the optimum as a score ranks tasks as the regret of agents that reach 0 does."""
    rule = rules.random_policy(BANDITS.environment.spec)
    life = lifetime.lifetime(rule, BANDITS.environment, environments=2, steps=5, evaluate=mute)
    best = scores.exact_regret(BANDITS.optimum)
    found = {
        "follows": best._replace(score=lambda outcome, best, memory: (jnp.exp(best), memory)),
        "opposes": best._replace(score=lambda outcome, best, memory: (-best, memory)),
        "constant": scores.uniform(),
    }
    yardstick = analysis.shortfall(life, BANDITS.optimum, agents=2)
    measure = analysis.together({"scores": analysis.scored(life, found), "yardsticks": yardstick})
    result = analysis.measured(jax.random.key(1), tasks(7), measure, (), family=BANDITS.name, block=3)
    np.testing.assert_allclose(result.yardsticks["exact-regret"], jax.vmap(BANDITS.optimum)(tasks(7).level), rtol=1e-6)
    agree = {one.score: one for one in analysis.correlations(result)}
    for name, want in (("follows", 1.0), ("opposes", -1.0)):
        assert agree[name].interval == pytest.approx((want, want, want), abs=1e-12)
    assert agree["constant"].interval is None and agree["constant"].reason == "the score is the same on all tasks"
    assert {one.tasks for one in agree.values()} == {7}


def test_correlations_are_over_the_tasks_where_both_are_finite():
    size, score = np.arange(12, dtype=np.float32), np.float32([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8])
    size[3], score[[3, 5, 8]] = np.nan, [np.inf, np.nan, -np.inf]
    rows = np.arange(12, dtype=np.int32)
    (found,) = analysis.correlations(Findings("maze", rows, rows + 1, {"score": score}, {"improvement": size}))
    kept = [0, 1, 2, 4, 6, 7, 9, 10, 11]
    assert found.tasks == 9 and found.interval is not None
    assert found.interval.point == pytest.approx(stats.spearmanr(size[kept], score[kept]).statistic)


def test_every_score_sees_the_same_life_and_shared_references_are_one():
    rule = rules.random_policy(BANDITS.environment.spec)
    life = lifetime.lifetime(rule, BANDITS.environment, environments=2, steps=5)
    seen = scores.uniform()._replace(score=lambda outcome, reference, memory: (outcome.episode_return, memory))
    drawn = Score(lambda key, level, lifetime: jax.random.uniform(key), lambda outcome, known, memory: (known, memory))
    every = {"one": seen, "two": seen, "first": drawn, "same": drawn, "other": drawn}
    measure = analysis.scored(life, every, shared={"same": "first"})
    found = curate.in_blocks(jax.random.key(1), tasks(4), measure, (), block=4)
    assert np.array_equal(found["one"], found["two"]) and np.array_equal(found["first"], found["same"])
    assert not np.any(found["first"] == found["other"])


def learner(change: float):
    """A meta-optimiser that adds `change` to theta, for a tiny LPG, and lives whose agents are measured by their size."""
    spec = BANDITS.environment.spec
    rule = rules.lpg(spec, targets=rules.recurrent_targets(width=4, predictions=3), predictions=3)
    life = functools.partial(lifetime.lifetime, rule, BANDITS.environment, environments=2, steps=5)
    value = critic(spec, agents.for_spec(spec))
    learned = meta.gradient((meta.FamilySetup(rule, life(evaluate=mute), value),), optax.adam(1.0))

    def step(key, theta, live):
        outcome = jax.tree.map(lambda leaf: jnp.zeros(live[0].finished.shape), Outcome(ZERO, ZERO))
        return jax.tree.map(lambda leaf: leaf + change, theta), live, (outcome,), {}

    measured = life(evaluate=lambda key, agent, level, wanted: Outcome(optax.tree.norm(agent), ZERO))
    pretended = learned._replace(init=lambda key, theta: theta, theta=lambda theta: theta, step=step)
    return rule, pretended, measured


@pytest.mark.parametrize("change", [0.0, 0.5])
def test_improvement_is_what_a_change_of_theta_brings(change: float):
    """Before and after meet the same chance: without a change there is no improvement, exactly; with one there is some."""
    rule, learned, life = learner(change)
    theta, others = rule.init(jax.random.key(2)), tasks(2)
    measure = analysis.improvement(jax.random.key(3), learned, life, others, steps=2, members=2, agents=2)
    found = curate.in_blocks(jax.random.key(1), tasks(3), measure, theta, block=3)
    assert set(found) == {"improvement", "improvement-elsewhere"}
    for values in found.values():
        assert np.all(np.isfinite(values)) and np.all((values != 0) == (change != 0))
    assert len(set(found["improvement-elsewhere"].tolist())) == 1  # this change is the same whatever the level


def test_training_takes_as_many_steps_and_lives_as_are_asked_for():
    """Five steps of a half each; every one sees three lives, all on the one level and of its lifetime."""
    learned, seen = learner(0.5)[1], set()

    def step(key, theta, live):
        seen.add(live[0].finished.shape)
        return learned.step(key, theta + jnp.mean(live[0].task.lifetime) - 2, live)

    level = jax.tree.map(lambda leaf: leaf[0], tasks(1).level)
    spied = learned._replace(step=step)
    found = analysis.measures.trained(jax.random.key(0), spied, jnp.zeros(3), level, jnp.int32(2), members=3, steps=5)
    assert found.tolist() == [2.5] * 3 and seen == {(3,)}


def test_bad_arguments():
    _, still, life = learner(0.0)
    with pytest.raises(ValueError, match="agents must be at least 1, got 0"):
        analysis.shortfall(life, BANDITS.optimum, agents=0)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        analysis.improvement(jax.random.key(3), still, life, tasks(1), steps=0)
    cases = {"count must be at least 3": {"count": 2}, "others must be at least 1": {"others": 0}, "scores": {"scores": ()}}
    for message, change in cases.items():
        with pytest.raises(ValueError, match=message):
            analysis.check(dataclasses.replace(PLAN, **change))
    with pytest.raises(ValueError, match="did you mean 'regret'"):
        analysis.check(dataclasses.replace(PLAN, scores=("regert",)))


def test_what_cannot_be_measured_is_said_with_the_reason():
    """Of a hand-written rule no improvement; of a family without optimum, success and exact returns their scores, too."""
    plan = dataclasses.replace(PLAN, config=dataclasses.replace(SMALL, families=("gridworld-planes",)))
    part = analysis.score_audit._part(plan, "gridworld-planes")
    _, scores_skipped = analysis.score_audit._scores(plan, part)
    found, yardsticks_skipped = analysis.score_audit._yardsticks(plan, part)
    assert not found and set(scores_skipped) == {"exact-regret", "learnability"}
    assert "needs a known optimum" in scores_skipped["exact-regret"]
    assert "'gridworld-planes' lacks its optimum" in yardsticks_skipped["yardstick exact-regret"]
    assert "a2c is written by hand" in yardsticks_skipped["yardstick improvement"]


def test_a_learned_rule_is_found_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the configuration of its run; a folder of the working directory needs no slash."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").mkdir()
    family = assembly.family(SMALL, "bernoulli-bandit")
    spec = family.environment.spec
    theta = assembly.learned_rule(SMALL, spec, agents.for_spec(spec)).init(jax.random.key(4))
    about = {"config": json.dumps(dataclasses.asdict(SMALL)), "families": json.dumps(SMALL.families), "step": "0"}
    rulefile.save_rule(Path("first/rule.safetensors"), theta, about)
    found = curate.learner_of(SMALL, "first", "bernoulli-bandit", family)
    assert jax.tree.all(jax.tree.map(np.array_equal, found.theta, theta)) and found.about["run"] == "first"
    plan, output = command._parse(["--rule", "first", "--steps", "3"])
    assert plan.config.families == SMALL.families and plan.config.life == SMALL.life and plan.config.rule == SMALL.rule
    assert (plan.rule, plan.steps, output) == ("first", 3, Path("audit"))


def test_steps_cover_the_longest_life():
    assert analysis.steps_of(PLAN) == 2 and analysis.steps_of(dataclasses.replace(PLAN, steps=7)) == 7


def test_families_and_seeds_have_chances_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """Of two families, two seeds, and of sampling and measuring no two draw from one key."""
    keys: list[tuple[int, ...]] = []

    def spy(key, *_, **__):
        keys.append(tuple(jax.random.key_data(key).tolist()))

    monkeypatch.setattr(analysis.score_audit.curate, "sampled", spy)
    monkeypatch.setattr(analysis.score_audit, "measured", spy)
    both = dataclasses.replace(SMALL, families=("bernoulli-bandit", "gaussian-bandit"), members=(1, 1))
    for seed in (0, 1):
        analysis.audit(dataclasses.replace(PLAN, scores=("exact-regret",), config=dataclasses.replace(both, seed=seed)))
    assert len(set(keys)) == len(keys) == 8


def test_the_other_levels_are_as_many_as_asked_for_and_the_same_for_all_seeds():
    one, two = (analysis.score_audit._others(dataclasses.replace(PLAN, config=seeded), BANDITS) for seeded in SEEDED)
    assert len(one.lifetime) == PLAN.others == 2 < PLAN.count
    assert all(map(np.array_equal, jax.tree.leaves((one.level, one.lifetime)), jax.tree.leaves((two.level, two.lifetime))))


def test_an_audit_goes_on_bit_for_bit(tmp_path: Path):
    """In blocks of two and stopped in between, with the same numbers; another audit is refused its folder."""
    plan = dataclasses.replace(PLAN, scores=("exact-regret", "max-mc"))
    whole = analysis.audit(plan)
    calls: list[tuple[int, int]] = []
    with pytest.raises(curate.Stopped, match="bernoulli-bandit: stopped after 2 of 5 tasks"):
        analysis.audit(plan, journals=tmp_path, seen=lambda *count: calls.append(count), stopped=lambda: bool(calls))
    again = analysis.audit(plan, journals=tmp_path)
    assert calls == [(2, 5)] and json.dumps(analysis.page(again.findings[0])) == json.dumps(analysis.page(whole.findings[0]))
    with pytest.raises(ValueError, match="holds the beginning of other work"):
        analysis.audit(dataclasses.replace(plan, agents=3), journals=tmp_path)


def test_the_page_and_the_numbers(tmp_path: Path):
    """All numbers as JSON, without NaN; names escaped; every correlation in words, those that are missing with why."""
    report = analysis.Report(PLAN, {"name": "<i>mine</i>"}, (scored_by_hand("R&D <maze>"),))
    page = pages.write(report, tmp_path / "audit").read_text(encoding="utf-8")
    for text in ("+1.00 (+1.00 to +1.00)", "-1.00 (-1.00 to -1.00)", "none: the score is the same on all tasks"):
        assert text in page
    assert "none: 2 tasks are too few" in page and "nan" not in page.replace("Finance", "").lower().split("base64")[0]
    count = len(report.findings[0].serial)
    assert f"Rank correlations over {count} tasks of R&amp;D" in page and pages._count(1, "task") == "1 task"
    assert "R&amp;D &lt;maze&gt;" in page and "&lt;i&gt;mine&lt;/i&gt;" in page and "needs &lt;b&gt;time&lt;/b&gt;." in page
    assert "<i>" not in page and "<b>" not in page and "<maze>" not in page
    order = [page.index(f'<th scope="row">{name}</th>') for name in ("follows", "unrelated", "opposes", "constant")]
    assert order == sorted(order)
    numbers = json.loads((tmp_path / "audit" / "audit.json").read_text(), parse_constant=pytest.fail)
    (family,) = numbers["families"]
    assert family["tasks"][3] == {
        "serial": 3,
        "lifetime": 4,
        "scores": {"follows": pytest.approx(np.exp(3)), "opposes": -27.0, "unrelated": 3.0, "constant": 0.0, "broken": None},
        "yardsticks": {"exact-regret": 3.0},
    }
    assert {"point": None, "low": None}.items() <= family["correlations"][3].items()


@pytest.mark.slow
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """An untrained rule on bandits: table, page, numbers, all yardsticks; the same words again are refused."""
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    monkeypatch.chdir(tmp_path)
    words = ["curate", "--audit", "--families", "bernoulli-bandit", "--count", "4", "--output", "a"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "4/4 tasks" in shown and "rank correlations on bernoulli-bandit" in shown and "positive-value-loss" in shown
    (family,) = json.loads(Path("a/audit.json").read_text())["families"]
    assert set(family["tasks"][0]["scores"]) == set(analysis.SCORES) and not family["skipped"]
    assert set(family["tasks"][0]["yardsticks"]) == set(analysis.TITLES)
    assert sorted(path.name for path in Path("a").iterdir()) == ["audit.html", "audit.json", "figures"]
    assert cli.main(words) == 2
    assert "a holds an audit already" in capsys.readouterr().err


BAD = {
    "unknown rule": (["--rule", "a3c"], "unknown rule 'a3c'; did you mean 'a2c'"),
    "unknown family": (["--families", "bandits"], "did you mean"),
    "unknown score": (["--scores", "regert"], "did you mean 'regret'"),
    "too few tasks": (["--count", "2"], "count must be at least 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, tmp_path: Path, monkeypatch, capsys):
    words, message = BAD[case]
    assert_refused(["curate", "--audit", *words], message, tmp_path, monkeypatch, capsys)
