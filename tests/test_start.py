"""Runs that start from a rule that another run learned."""

import dataclasses

import chex
import pytest

from groove import runs
from groove.config import preset, smoke
from groove.files.rulefile import load_rule_file


def test_a_run_may_start_from_a_rule(tmp_path):
    """Theta begins as it was saved, also after that file is gone; another shape is refused at once."""
    first = dataclasses.replace(smoke(preset("quick")), families=("bernoulli-bandit",), members=(2,), meta_steps=2)
    runs.create(first, tmp_path / "first")
    rule = runs.save_rule(runs.train(tmp_path / "first", lambda rows: None))
    theta, _ = load_rule_file(rule)
    second = dataclasses.replace(first, start=str(tmp_path / "first"), meta=dataclasses.replace(first.meta, rate=1e-30))
    runs.create(second, tmp_path / "second")
    rule.unlink()
    runs.train(tmp_path / "second", lambda rows: None)
    again, _ = load_rule_file(runs.save_rule(runs.train(tmp_path / "second", lambda rows: None)))
    chex.assert_trees_all_close(again, theta, atol=1e-20)
    wider = dataclasses.replace(first, start=str(tmp_path / "second"), rule=dataclasses.replace(first.rule, width=5))
    with pytest.raises(ValueError, match="a rule like that of the configuration"):
        runs.create(wider, tmp_path / "third")
    assert not (tmp_path / "third").exists()
    with pytest.raises(FileNotFoundError):
        runs.create(dataclasses.replace(first, start=str(tmp_path / "nowhere")), tmp_path / "third")
