"""What `import groove` gives: little at first, whole jobs in one call, and a run that is put together and stepped."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest

import groove
from groove import cli, config, curricula, lifetime, meta, rules, scores, trainer
from groove.evaluation import methods, results
from groove.nets import agents, critic
from levels import bandit

SMALL = dataclasses.replace(
    config.smoke(config.QUICK), name="custom", families=("bernoulli-bandit",), members=(2,), meta_steps=2, chunk=1
)
HEAVY = ("jax", "orbax", "pyarrow", "safetensors", "gymnax", "jaxued", "evosax", "matplotlib")


def test_importing_groove_loads_nothing_heavy():
    code = f"import groove, sys; print([name for name in {HEAVY} if name in sys.modules]); groove.scores, groove.load_rule"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_is_there():
    assert all(getattr(groove, name) is not None for name in groove.__all__)
    assert set(groove.__all__) == set(dir(groove))
    with pytest.raises(AttributeError, match="module 'groove' has no attribute 'nothing'"):
        assert groove.nothing


def test_the_version_is_said(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"groove {groove.__version__}\n"


def test_a_rule_is_trained_loaded_and_measured(tmp_path):
    """And is called by its folder's name; the same call again does nothing more; other settings are refused."""
    result = groove.train(SMALL, tmp_path / "mine")
    assert result.finished and (tmp_path / "mine" / "evaluation.json").is_file()
    _, theta = groove.load_rule(tmp_path / "mine")
    learned = jax.tree.leaves(result.run.trainer.theta(result.state))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(theta), learned, strict=True))
    again = groove.train(SMALL, tmp_path / "mine")
    assert int(again.state.step) == SMALL.meta_steps
    with pytest.raises(ValueError, match="holds a run of another configuration"):
        groove.train(dataclasses.replace(SMALL, seed=1), tmp_path / "mine")

    (found,) = groove.evaluate([tmp_path / "mine", "random"], "bandits", "smoke")
    assert sorted(entry.rule for entry in found.entries) == ["mine", "random"]
    (kept,) = groove.evaluate(["random"], "bandits", "smoke", folder=tmp_path / "results")
    table = results.read(tmp_path / "results" / results.NAME)
    assert [entry.rule for entry in kept.entries] == ["random"] and table.num_rows


def test_rules_are_called_by_their_folders(tmp_path):
    """Or that of runs side by side, or their file; never as a rule that was written by hand."""
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "runs.json").write_text('{"folders": ["seed-0", "seed-1"]}')
    names = {"both/seed-0/rule.safetensors": "both", "one/rule.safetensors": "one", "x/two.safetensors": "two"}
    assert {path: methods._name_of(tmp_path / path, SMALL) for path in names} == names
    assert methods._name_of(tmp_path / ("x" * 81) / "rule.safetensors", SMALL) == "custom"


def test_a_run_is_put_together_and_steps():
    """Its score is named once; two steps are a chunk of two."""
    family = bandit.bernoulli_bandit(arms=3, pulls=(4, 4))
    spec = family.environment.spec
    rule = rules.lpg(spec, targets=rules.recurrent_targets(width=4, predictions=3), predictions=3)
    life = lifetime.lifetime(rule, family.environment, environments=2, steps=4)
    tasks = curricula.pool(family.generator, scores.exact_regret(family.optimum), curricula.constant(2), size=4)
    learner = meta.gradient((meta.FamilySetup(rule, life, critic.critic(spec, agents.for_spec(spec))),), meta.adam(1e-3))
    group = trainer.TaskGroup("bandits", 2, curricula.plr(tasks, capacity=4))
    run = trainer.trainer((group,), learner, rule.init, steps=2)
    state = jax.jit(run.init)(jax.random.key(0))
    stepped, step = state, jax.jit(run.step)
    for _ in range(2):
        stepped, info = step(stepped)
    assert info["bandits/finished"].shape == ()
    whole, rows = jax.jit(run.chunk)(state)
    assert rows["bandits/finished"].shape == (2,)
    for a, b in zip(jax.tree.leaves(run.theta(stepped)), jax.tree.leaves(run.theta(whole)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    idle = trainer.TaskGroup("idle", 2, group.curriculum._replace(score=None))
    with pytest.raises(ValueError, match="the task group 'idle' needs a score, for its curriculum has none"):
        jax.eval_shape(trainer.trainer((idle,), learner, rule.init).init, jax.random.key(0))
