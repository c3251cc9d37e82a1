"""Divergence is an outcome with a name: it has no return, ranks last, is never replayed, and is counted."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove import cli, evaluation, rules, statistics, trainer
from groove.base import Curriculum, Outcome, Task, UpdateRule
from groove.evaluation import results
from groove.lifetime import Evaluate, act, exact, lifetime, playable, sampled
from groove.lifetime.signals import Watched, observed
from groove.meta.evolution import mean_reward, raw
from groove.nets import agents
from groove.nets.critic import Critic
from groove.protocols import Setting
from groove.report import suites as pages
from groove.scores import Antagonist, algorithmic_regret
from levels.bandit import BanditLevel, bernoulli_bandit

FAMILY = bernoulli_bandit(arms=3)
FIRST_IS_BEST = BanditLevel(
    np.array([1.0, 0.0, 0.0], np.float32), np.zeros((), np.float32), np.array(3, np.int32), np.array(10, np.int32)
)
SOUND, LOST, ENDLESS = [0.0, 0.0, 0.0], [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]


def rule(watched: bool = False) -> UpdateRule:
    """Agents are logits that never change."""

    def policy(agent, observation, time):
        return (agent.agent if watched else agent)["logits"]

    return UpdateRule(
        init=lambda key: (),
        init_agent=lambda key: {"logits": jnp.zeros(3), "number": jnp.zeros((), jnp.int32)},
        policy=policy,
        update=lambda key, theta, agent, rollout, clock: (agent, {}),
        diagnose=lambda agent, rollout: {"entropy": jnp.float32(0)},
    )


def measured(evaluate: Evaluate, logits: list[float], *, watched: bool = False, value: float = 0.0) -> Outcome:
    life = lifetime(rule(watched), FAMILY.environment, evaluate=evaluate)
    agent = {"logits": jnp.array(logits, jnp.float32), "number": jnp.int32(3)}
    held = Watched(agent, jnp.float32(value)) if watched else agent
    return jax.jit(life.evaluate)(jax.random.key(0), held, FIRST_IS_BEST, jnp.array(True))


KINDS = {
    "exact": exact(rule(), FAMILY.environment, FAMILY.value),
    "sampled": sampled(rule(), FAMILY.environment),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_that_diverged_has_no_return(kind: str):
    """Though action 0, which NaN would choose, is the best of all."""
    assert 0 < measured(KINDS[kind], SOUND).episode_return < 10
    for logits in (LOST, ENDLESS, [-np.inf] * 3):
        assert np.isnan(measured(KINDS[kind], logits).episode_return)
    assert measured(KINDS[kind], [0.0, -np.inf, -np.inf]).episode_return == 10  # masked is not diverged


def test_nor_have_its_signals():
    critic = Critic(None, None, None, value=lambda learner, observation, time: learner)
    watch = observed(rule(watched=True), FAMILY.environment, critic, success=FAMILY.success)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(measured(watch, SOUND, watched=True)))
    for logits, value in ((ENDLESS, 0.0), (SOUND, np.nan)):
        found = measured(watch, logits, watched=True, value=value)
        assert np.isnan(found.episode_return) and np.isnan(found.signals.highest)


def test_a_masked_action_is_never_played():
    """The cumulative sum of seven sevenths ends below the highest word's number: what lies behind it is masked."""
    words = jnp.array([0, 1, 2**31, 2**32 - 2**9, 2**32 - 1], jnp.uint32)
    for count in (3, 7, 11, 49):
        for masked in ([count], [0, count + 1], [0, 2, count + 1, count + 2]):
            size = count + len(masked)
            logits = jnp.where(jnp.isin(jnp.arange(size), jnp.array(masked)), -jnp.inf, 0.3)
            assert not np.isin(jax.jit(jax.vmap(act, (0, None)))(words, logits), masked).any()


MASK = jnp.array([-jnp.inf, 0.0, 0.0])


def masked(architecture: agents.Architecture) -> agents.Architecture:
    """Networks as users write them who forbid the first action; predictions of LPG's, behind the logits, are free."""

    def network(spec, outputs):
        made = architecture.network(spec, outputs)
        free = jnp.zeros(max(0, outputs - 3)) if outputs >= 3 else None

        def apply(parameters, observation, time):
            found = made.apply(parameters, observation, time)
            return found if free is None else found + jnp.concatenate([MASK, free])

        return made._replace(apply=apply)

    return architecture._replace(network=network)


@pytest.mark.parametrize("make", [rules.a2c, rules.ppo, rules.dpo, rules.lpo, rules.lpg], ids=lambda make: make.__name__)
def test_agents_learn_behind_a_mask(make):
    """Their parameters stay finite, the masked arm is never pulled, though it is the best, and they learn of the others."""
    sizes = {"minibatches": 4} if make in (rules.ppo, rules.dpo, rules.lpo) else {}
    sizes |= {"targets": rules.recurrent_targets(width=4, predictions=2)} if make is rules.lpg else {}
    made = make(FAMILY.environment.spec, masked(agents.tabular(actor_rate=2.0, critic_rate=0.5)), **sizes)
    life = lifetime(made, FAMILY.environment, steps=10, environments=8)
    second = FIRST_IS_BEST._replace(mean=np.array([1.0, 0.7, 0.2], np.float32))

    @jax.jit
    def lived(key, second):
        begin_key, *keys = jax.random.split(key, 6)
        theta = made.init(begin_key)

        def update(member, key):
            member, rollout, info = life.update(key, theta, member, second)
            return member, (rollout.action, info)

        born = life.begin(begin_key, second, jnp.int32(9))
        member, (actions, infos) = jax.lax.scan(update, born, jnp.stack(keys))
        return born.agent, member.agent, actions, infos

    born, agent, actions, infos = lived(jax.random.key(0), second)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((agent, infos)))
    assert set(np.unique(actions)) == {1, 2}
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*map(jax.tree.leaves, (born, agent)), strict=True))


def test_what_can_be_played():
    rows = [SOUND, [-np.inf, 0.0, 1.0], LOST, ENDLESS, [-np.inf] * 3]
    assert jax.vmap(playable)(jnp.array(rows)).tolist() == [True, True, False, False, False]


def test_the_worst_fitness_stands_for_none():
    lost = jnp.array([[5.0, jnp.nan], [2.0, 4.0], [jnp.inf, 9.0]])
    assert raw(lost).tolist() == [[1.5, -1.5], [-1.0, 1.0], [-3.5, 3.5]]
    assert raw(jnp.full((2, 2), jnp.nan)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert mean_reward(Outcome(jnp.array(jnp.nan), jnp.array(0.0)), {"reward": jnp.array(7.0)}) != 7.0


def test_lives_that_diverged_are_counted_apart():
    """The third agent diverged, the antagonist of the fourth did, the last one lives on: nothing of them is in the means."""
    told = []
    quiet = Curriculum(*[None] * 6)._replace(report=lambda state, tasks, score, outcomes, finished: told.append(score))
    score = algorithmic_regret(lifetime(rule(), FAMILY.environment))
    reference = Antagonist(jnp.array([5.0, 7.0, 9.0, np.nan, 9.0]), jnp.zeros(5), jnp.zeros(5))
    task = Task((), jnp.ones(5, jnp.int32), reference, (), ())
    outcome = Outcome(jnp.array([1.0, 2.0, np.nan, 8.0, 8.0]), jnp.zeros(5))
    finished = jnp.array([True, True, True, True, False])
    _, seen = trainer._report(trainer.TaskGroup("x", 5, quiet, score), (), (task, finished), outcome)
    assert {name: float(value) for name, value in seen.items()} == {
        "x/return": 1.5,
        "x/score": 4.5,
        "x/finished": 2,
        "x/diverged": 2,
    }
    assert np.isnan(told[0][2:4]).all()
    broken = trainer.TaskGroup("x", 5, quiet, score._replace(score=lambda outcome, reference, memory: (jnp.nan, memory)))
    assert np.isnan(trainer._report(broken, (), (task, finished), outcome)[1]["x/score"])  # a fault of the score's own


# ----- statistics: what diverged counts as below everything

SCORES = np.array([[[0.5, 0.1], [np.nan, 0.2], [0.9, 0.3], [0.7, 0.4]]])


def test_statistics_of_order_go_on():
    found = statistics.nested_bootstrap(SCORES, seed=0)
    assert found.point == pytest.approx((0.2 + 0.3 + 0.4 + 0.5) / 4) and found.low <= found.point < found.high
    mean = statistics.nested_bootstrap(SCORES, np.mean, seed=0)
    assert mean.point == mean.low == -np.inf and "diverged" in mean.words()
    assert statistics.nested_bootstrap(SCORES, statistics.optimality_gap, seed=0).words().startswith("diverged")
    assert statistics.stratified_bootstrap([[np.nan], [1.0], [1.0], [1.0]], seed=0).point == 1
    assert statistics.clustered_bootstrap([[np.nan]], seed=0) == (-np.inf, -np.inf, -np.inf)


def test_comparisons_count_it_as_lost():
    other = np.full((1, 2, 2), 0.6)
    assert statistics.probability_of_improvement(SCORES, other, seed=0).point == pytest.approx((2 / 4 + 0) / 2)
    assert statistics.probability_of_improvement(other * np.nan, other * np.nan, seed=0) == (0.5, 0.5, 0.5)
    assert statistics.share_below(SCORES, other, seed=0).point == 1.0
    assert statistics.share_below(other, SCORES, seed=0).point == 0.0
    assert statistics.performance_profile(SCORES, [-9.0, 0.6], seed=0).point.tolist() == [7 / 8, 2 / 8]
    assert statistics.worst_mean(SCORES, share=1.0, seed=0).words() == "diverged"
    chosen_by = [0.2 + 0.3 + 0.4, 0.5 + 0.9 + 0.7, 0.1 + 0.2 + 0.4, 0.1 + 0.2 + 0.3]  # who diverged chooses the first task
    assert statistics.worst_mean(SCORES, share=0.5, seed=0).point == pytest.approx(sum(chosen_by) / 12)


# ----- suites


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a rule of the user's, whose agents turn to NaN with the first update."""
    folder = tmp_path_factory.mktemp("diverged")
    (folder / "turns_to_nan.py").write_text(
        "import jax\nfrom groove import rules\n\n\ndef rule(spec, architecture):\n"
        "    made = rules.a2c(spec, architecture)\n\n"
        "    def update(*inputs):\n"
        "        agent, info = made.update(*inputs)\n"
        "        lost = float('nan')\n"
        "        return jax.tree.map(lambda x: x * lost if x.dtype == 'float32' else x, agent), info\n\n"
        "    return made._replace(update=update)\n"
    )
    return folder


def test_a_folder_with_a_diverged_rule_can_be_used(place: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    common = ["--suite", "chains", "--scale", "smoke", "--output", "out"]
    assert cli.main(["evaluate", "nan=turns_to_nan:rule", *common]) == 0
    assert cli.main(["evaluate", "a2c", *common]) == 0
    said = capsys.readouterr().out
    assert "note        Diverged: nan in " in said
    assert cli.main(["report", "out"]) == 0
    (suite_result,) = evaluation.suite_results(results.read(Path("out")))
    count, of = suite_result.diverged["nan"]
    assert count == of > 0 and suite_result.diverged["a2c"][0] == 0
    sums = {entry.rule: evaluation.sums(suite_result, entry) for entry in suite_result.entries}
    assert [row[:2] for row in pages.summary(suite_result, sums)[1]][-1] == ["nan", "diverged"]
    beaten = evaluation.improvements(suite_result)
    assert beaten["a2c", "nan"].point == 1 and beaten["nan", "a2c"].point == 0
    assert "diverged" in (Path("out") / "report.html").read_text()
    table = results.read(Path("out"))
    others = results.table_of(
        {
            name: np.nan_to_num(np.array(table[name])) if name == "episode_return" else np.array(table[name])
            for name in table.column_names
        }
    )
    assert results.merged([table, table]).num_rows == table.num_rows
    with pytest.raises(ValueError, match="two files differ on nan"):
        results.merged([table, others])


def test_the_best_setting_is_none_that_diverged():
    settings = tuple(Setting(rate, 0.0) for rate in (1.0, 2.0, 3.0))
    found = evaluation.tuning.Search(settings, np.array([np.nan, 0.25, 0.125]))
    assert found.best == Setting(2.0, 0.0)
    assert json.dumps(found.tried) == '{"rate 1, entropy 0": null, "rate 2, entropy 0": 0.25, "rate 3, entropy 0": 0.125}'
    with pytest.raises(ValueError, match="with all 3 settings that were tried some agent diverged"):
        _ = found._replace(scores=np.full(3, np.nan)).best
