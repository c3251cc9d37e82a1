"""Protocols of suites, their budgets, and the search for settings of baselines."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_evaluation import SCALE, SUITE

from groove import cli, evaluation, protocols
from groove.protocols import PROTOCOLS, Budget, Setting
from levels.suites import SUITES, splits

# Protocols


def test_scales_change_the_budget_alone():
    for protocol in PROTOCOLS.values():
        assert set(protocol.budgets) == set(protocols.SCALES)
        prints = {protocols.fingerprint(protocol, scale) for scale in protocols.SCALES}
        assert len(prints) == len(protocols.SCALES)
        for name in Budget._fields:
            values = [getattr(protocol.budgets[scale], name) for scale in protocols.SCALES]
            assert values == sorted(values), f"{protocol.suite}: {name} must grow with the scale"


PRINTS = {
    "grid-handcrafted": "e2e0fc3f 737d8495 bd6e6b76 1035d974",
    "grid-random": "d18cc5ac edd8990a 1cb8c567 6e6bfb0e",
    "mazes": "2d92d6c6 282f00e2 3825a1c0 774350da",
    "grid-unseen": "209457d2 a6cc26ae f1371f2b e2c0041a",
    "bandits": "bebfa210 f16694d4 e950ace4 6776c2c1",
    "chains": "e2500df4 49343260 949718e9 ddd34401",
    "minatar": "25b8c204 adaada3b aad50659 04f86d47",
    "classic": "5d0054e6 eaa22105 bf5b97d5 53b9a0d7",
    "bsuite": "c9c706eb b00241ac 067a9ab5 6dc78ece",
}
"""Pinned: whoever changes what a protocol means counts its version up, and changes these."""


@pytest.mark.parametrize("suite", PROTOCOLS)
def test_protocols_are_pinned(suite: str):
    prints = [protocols.fingerprint(PROTOCOLS[suite], scale)[:8] for scale in protocols.SCALES]
    assert " ".join(prints) == PRINTS[suite]


def test_settings_are_for_their_levels_and_protocol(tmp_path: Path):
    path = tmp_path / "tuned.json"
    page = {"hashes": protocols.hashes(SUITE, SCALE), "settings": {"a2c": {"chain": {"rate": 1, "entropy": 0}}}}
    page |= {"references": {"x": [0, 1]}, "search": {}, "baselines": {"a2c": protocols.identity("a2c")}}
    path.write_text(json.dumps({SUITE: {SCALE: page}}))
    assert protocols.tuned(SUITE, SCALE, path) == ({"a2c": {"chain": Setting(1.0, 0.0)}}, {"x": (0.0, 1.0)})
    for name, value in (("critic_share", 0.2), ("normalise_advantage", False)):  # another A2C was tuned
        others = {"a2c": {**protocols.identity("a2c"), name: value}}
        path.write_text(json.dumps({SUITE: {SCALE: {**page, "baselines": others}}}))
        assert protocols.tuned(SUITE, SCALE, path) == ({}, {})
    path.write_text(json.dumps({SUITE: {SCALE: {**page, "hashes": ["other", "levels"]}}}))
    with pytest.raises(ValueError, match="is of other levels, or another protocol, than the suite chains"):
        protocols.tuned(SUITE, SCALE, path)
    path.write_text("{")
    with pytest.raises(ValueError, match="no file of tuned settings"):
        protocols.tuned(SUITE, SCALE, path)


def test_a_traced_setting_is_the_setting():
    """One compiled function of the rate and entropy gives what a rule made of the numbers gives."""
    spec = splits(SUITES[SUITE])[0].family.environment.spec
    split = splits(SUITES[SUITE])[0]
    live = evaluation.tuning.lived(PROTOCOLS[SUITE], SCALE, "a2c", split)
    levels = jax.tree.map(lambda leaf: jnp.asarray(leaf[:2]), split.practice)
    traced = jax.jit(live)(jax.random.key(0), levels, Setting(jnp.float32(20.0), jnp.float32(0.03)))
    plain = jax.jit(lambda key: live(key, levels, Setting(20.0, 0.03)))(jax.random.key(0))
    np.testing.assert_allclose(traced, plain, rtol=1e-5)
    assert spec.actions == 2


def test_tuning_finds_what_is_best_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "tuned.json"
    page = evaluation.tune("chains", "smoke", ["a2c"], path)
    for split in SUITES["chains"].splits:
        tried, best = page["search"]["a2c"][split], page["settings"]["a2c"][split]
        assert tried[f"rate {best['rate']:g}, entropy {best['entropy']:g}"] == max(tried.values())
        assert len(tried) == len(protocols.search_space("a2c", SUITES["chains"].splits[split].family().environment.spec))
    monkeypatch.setattr(evaluation.tuning, "search", lambda *args: pytest.fail("searched again"))
    assert evaluation.tune("chains", "smoke", ["a2c"], path) == json.loads(path.read_text())["chains"]["smoke"]
    assert protocols.tuned("chains", "smoke", path).settings["a2c"].keys() == SUITES["chains"].splits.keys()


def test_a_folder_is_refused_before_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(evaluation.tuning, "search", lambda *args: pytest.fail("searched"))
    assert cli.main(["tune", "a2c", "--suite", "chains", "--scale", "smoke", "--output", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said == f"groove: {tmp_path} is a folder, not a file.\n"


def test_a_search_in_which_all_diverge_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The others are done and kept, and the message names it."""

    def search(protocol, scale, rule, split):
        score = np.nan if split.name == "chain" else 0.5
        return evaluation.tuning.Search((Setting(1.0, 0.0),), np.array([score]))

    monkeypatch.setattr(evaluation.tuning, "search", search)
    path = tmp_path / "tuned.json"
    with pytest.raises(ValueError, match=r"some agent diverged: ppo on chain\. The others are kept"):
        evaluation.tune("chains", "smoke", ["ppo"], path)
    assert protocols.tuned("chains", "smoke", path).settings["ppo"].keys() == SUITES["chains"].splits.keys() - {"chain"}


def test_two_searches_into_one_file_keep_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, found = tmp_path / "tuned.json", evaluation.tuning.Search((Setting(1.0, 0.0),), np.zeros(1))

    def search(protocol, scale, rule, split):
        if rule == "ppo":  # meanwhile another process is done with its own
            monkeypatch.setattr(evaluation.tuning, "search", lambda *args: found)
            evaluation.tune("chains", "smoke", ["dpo"], path)
        return found

    monkeypatch.setattr(evaluation.tuning, "search", search)
    evaluation.tune("chains", "smoke", ["ppo"], path)
    settings = protocols.tuned("chains", "smoke", path).settings
    assert {(rule, name) for rule, own in settings.items() for name in own} == {
        (rule, name) for rule in ("ppo", "dpo") for name in SUITES["chains"].splits
    }


@pytest.mark.parametrize("suite", PROTOCOLS)
def test_all_baselines_are_tuned_at_the_scale_small(suite: str):
    """And where no optimum is known, what random and tuned A2C reach is stored for every task."""
    found = protocols.tuned(suite, "small")
    for split in splits(SUITES[suite]):
        for rule in protocols.BASELINES:
            assert found.settings[rule][split.name] in protocols.search_space(rule, split.family.environment.spec)
        unknown = np.array(split.tasks)[~np.isfinite(split.optimum)]
        assert set(unknown.tolist()) <= found.references.keys()


def test_every_baseline_has_a_default():
    for split in (splits(SUITES["chains"])[0], splits(SUITES["classic"])[0]):
        spec = split.family.environment.spec
        for name in protocols.BASELINES:
            setting = protocols.default_setting(name, spec)
            assert protocols.named_rule(name, spec, setting, gamma=0.99, lambda_=0.95).init(jax.random.key(0)) == ()
            assert setting.entropy == 0.01
