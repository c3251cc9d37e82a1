"""Every preset runs from the command line to the page, and so do gymnax's environments and LPO by meta-gradients."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import groove
from groove import assembly, cli, config, protocols, rules, runs
from groove.config.presets import OURS, PROVENANCE
from groove.files import library
from groove.lifetime import schedules
from groove.report import ages, record
from groove.runs import cost
from levels import dataset

SHORT = ("--gymnax.ranges", "max_steps_in_episode=5:10")
BANDIT = ("--families", "bernoulli-bandit", "--members", "4")
CARTPOLE = ("--families", "gymnax:CartPole-v1", "--members", "4")
POLES = ("--gymnax.ranges", "gravity=8:12", "max_steps_in_episode=20:40")
REGRET = ("--curriculum.kind", "prioritised", "--curriculum.score", "regret")
COMMANDS = {
    "ta-lpg-small": (),
    "ta-lpg": (),
    "lpo-small": BANDIT,
    "ta-lpo-small": BANDIT,
    "lpo": SHORT,
    "ta-lpo": (*CARTPOLE, *POLES, *REGRET),
    "lpo-small by gradients": ("--meta.method", "gradient", *BANDIT),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run that `groove train` made; each is made once."""

    @functools.cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("runs") / name
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GROOVE_SMOKE", "1")
            assert cli.main(["train", name.split()[0], "--output", str(folder), *COMMANDS[name]]) == 0
        return folder

    return make


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS])
def folder(request: pytest.FixtureRequest, trained: Callable[[str], Path]) -> Path:
    return trained(request.param)


@pytest.mark.parametrize("name", config.PRESETS)
def test_every_preset_builds(name: str):
    run = assembly.build(config.check(config.smoke(config.preset(name))))
    assert [part.family.name for part in run.parts] == list(config.preset(name).families)
    assert jax.tree.leaves(jax.eval_shape(run.trainer.init, jax.random.key(0)).meta)


@pytest.mark.parametrize("name", config.PRESETS)
def test_where_fields_come_from_is_known(name: str):
    """Every field that is named exists, once; presets for two cores are ours altogether, those of paper scale are not."""
    sources = PROVENANCE[name]
    fields = [field for found in sources.values() for field in found]
    assert len(set(fields)) == len(fields) and OURS in sources
    assert bool(fields) == (name in BIG)
    for field in fields:
        assert functools.reduce(getattr, field.split("."), config.preset(name)) is not None


def test_no_preset_lacks_its_provenance():
    assert set(PROVENANCE) == set(config.PRESETS)


def test_a_run_is_complete(folder: Path):
    """Nothing is missing from the page but a walk where levels have no pictures; every file can be read back."""
    settings, found = runs.open_folder(folder), record.read(folder)
    gymnax = settings.families[0].startswith(config.GYMNAX)
    assert found.missing == (("No agent's walk was drawn yet (walk.gif).",) if gymnax else ())
    assert (found.walk is None) == gymnax and found.evaluation is not None
    rows = found.metrics
    assert len(rows) == settings.meta_steps and all(row["nonfinite"] == 0 for row in rows)
    rules = ["random policy", "untrained rule", "trained rule", "A2C"]
    for name in settings.families:
        reached = [row.rule for row in found.evaluation.rows if row.family == name]
        assert reached == rules + ([] if gymnax else ["optimum"])
    page = (folder / "report.html").read_text()
    assert f"groove&#x27;s preset {settings.name}" in page or f"groove's preset {settings.name}" in page
    assert "A2C was not tuned for these families and lives." in page


def test_a_run_tells_what_its_rule_does_at_each_age(folder: Path):
    settings, found = runs.open_folder(folder), ages.read(folder / runs.SCHEDULES)
    low, high = settings.life.updates
    for name in settings.families:
        assert [course.lifetime for course in found.courses[name]] == schedules.lifetimes(low, high)
        for course in found.courses[name]:
            assert all(np.isfinite(column).all() for column in course[1:])
            assert np.all(course.entropy > 0) and np.all(course.step >= 0)
    lpg = settings.rule.kind == "lpg"
    assert list(found.responses) == (list(settings.families) if lpg else []) and bool(found.drifts) != lpg
    drawn = {file.stem for file in (folder / "figures").iterdir()}
    assert list(found.credits) == list(found.responses)
    want = {f"course-{name}" for name in settings.families}
    want |= {f"{kind}-{name}" for name in found.responses for kind in ("response", "credit")}
    assert {name.replace(":", "-") for name in want} | (set() if lpg else {"drift"}) <= drawn


def test_a_learned_rule_is_loaded_and_used(folder: Path):
    """With the theta of the run, which a fixed rule has whatever the key, and agents of the run's families."""
    run, (rule, learned) = assembly.build(runs.open_folder(folder)), groove.load_rule(folder)
    fixed = library.fixed_rule(folder)
    want = jax.tree.leaves(runs.theta_of(folder / runs.RULE, run.config))
    for theta in (learned, *(fixed.init(jax.random.key(seed)) for seed in (0, 1))):
        assert want and all(np.array_equal(a, b) for a, b in zip(want, jax.tree.leaves(theta), strict=True))
    born = jax.eval_shape(run.parts[0].rule.init_agent, jax.random.key(0))
    assert jax.tree.structure(born) == jax.tree.structure(jax.eval_shape(rule.init_agent, jax.random.key(0)))


@pytest.mark.slow
def test_regret_fills_the_buffer_under_evolution(trained: Callable[[str], Path]):
    """Of gridworlds, bandits and gymnax's levels: whole lives end with every step, are scored, stored and replayed."""
    for name in ("ta-lpg-small", "ta-lpo"):
        folder = trained(name)
        settings = runs.open_folder(folder)
        assert (settings.curriculum.kind, settings.curriculum.score) == ("prioritised", "regret")
        rows = runs.read_metrics(folder / "metrics.jsonl")
        for family, members in zip(settings.families, settings.members, strict=True):
            assert [row[f"{family}/finished"] for row in rows] == [members] * len(rows)
            assert all(np.isfinite(row[f"{family}/score"]) for row in rows)
        for family, kept in record.read(folder).kept.items():
            written = int(rows[-1][f"{family}/curriculum_written"])
            assert len(kept.score) == min(written, settings.curriculum.capacity) > 1 and np.isfinite(kept.score).all()
            assert len(set(kept.score.tolist())) > 1


@pytest.mark.slow
def test_levels_of_gymnax_come_back_from_the_curriculum(trained: Callable[[str], Path]):
    """Dictionaries of parameters, within the ranges that were asked for; the page draws how they drift."""
    folder = trained("ta-lpo")
    run = assembly.build(runs.open_folder(folder))
    family = run.parts[0].family
    like = jax.eval_shape(family.generator.sample, jax.random.key(0))
    found = dataset.load(folder / "curriculum.parquet", like, family="gymnax:CartPole-v1")
    assert sorted(found.levels) == ["gravity", "max_steps_in_episode"]
    assert all(jax.vmap(family.generator.is_valid)(found.levels))
    assert len(np.unique(found.levels["gravity"])) > 1
    assert {8 <= x <= 12 for x in found.levels["gravity"]} == {20 <= x <= 40 for x in found.levels["max_steps_in_episode"]}
    page = (folder / "report.html").read_text()
    assert "Mean features of the gymnax:CartPole-v1 levels" in page and "gravity" in page


@pytest.mark.parametrize("name", ["gymnax:CartPole-v1", "gymnax:SpaceInvaders-MinAtar", "gymnax:FrozenLake-misc"])
def test_antagonists_have_rates_of_their_own(name: str, monkeypatch: pytest.MonkeyPatch):
    """Adam's first step is as long as its rate: of agents, and of A2C, actor and critic alike."""
    limits = ("max_steps_in_episode=5:10",)
    chosen = config.Gymnax(ranges=limits, rate=0.01, antagonist_rate=0.3, antagonist_entropy=0.7)
    settings = dataclasses.replace(config.LPO, families=(name,), gymnax=chosen)
    spec = assembly.family(settings, name).environment.spec
    seen = {}
    monkeypatch.setattr(rules, "a2c", lambda spec, architecture, **options: (architecture, seen.update(options))[0])
    for architecture, rate in (
        (assembly.architecture(settings, spec, name), 0.01),
        (assembly.tuned_a2c(settings, spec, name), 0.3),
    ):
        one = jnp.ones(1)
        for optimizer in (architecture.actor, architecture.critic):
            step, _ = optimizer.update(one, optimizer.init(one), one)
            np.testing.assert_allclose(step, -rate, rtol=1e-3)
    assert seen["entropy_weight"] == 0.7


BIG = {name for name, settings in config.PRESETS.items() if cost.environment_steps(settings) > cost.SMALL}


def test_presets_of_paper_scale_ask():
    assert {"lpg", "groove", "ta-lpg", "ta-groove", "lpo", "ta-lpo"} == BIG


@pytest.mark.parametrize("name", ["ppo", "dpo"])
def test_antagonists_of_one_loop_have_their_own_names(name: str, monkeypatch: pytest.MonkeyPatch):
    """As `curriculum.antagonist` names them, with the antagonist's entropy and the loop of the configuration."""
    settings = dataclasses.replace(config.QUICK, curriculum=dataclasses.replace(config.QUICK.curriculum, antagonist=name))
    spec = assembly.family(config.check(settings), "gridworld").environment.spec
    for other in ("ppo", "dpo"):
        monkeypatch.setattr(rules, other, lambda *parts, other=other, **options: (other, options))
    made, options = assembly.antagonist(settings, spec, "gridworld", None)
    assert made == name and options["entropy_weight"] == settings.grids.antagonist_entropy
    assert (options["epochs"], options["minibatches"]) == (settings.rule.epochs, settings.rule.minibatches)


def test_who_was_tuned_is_said():
    """Only for the families and lives that rivals were tuned on."""
    assert protocols.is_tuned(config.QUICK)
    for name in ("ta-lpg", "lpo", "ta-lpo"):
        assert not protocols.is_tuned(config.preset(name))
        assert "A2C was not tuned for these families and lives." in protocols.caption(config.preset(name))
