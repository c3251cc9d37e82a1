"""Every teacher and every score trains `quick`, in smoke size, from configuration to logged metrics."""

import dataclasses

import numpy as np
import pytest

from groove import host
from groove.build import build
from groove.config import QUICK, Config, check, smoke

EVOLVED = dataclasses.replace(QUICK.meta, method="evolution")


def quick(*, evolved=False, **curriculum) -> Config:
    small = smoke(dataclasses.replace(QUICK, meta=EVOLVED) if evolved else QUICK)
    return check(dataclasses.replace(small, curriculum=dataclasses.replace(small.curriculum, **curriculum)))


RUNS = {
    "accel-robust": quick(kind="accel", robust=True, minimal_fill=0.0, score="positive-value-loss"),
    "sfl": quick(kind="sfl", score="learnability", sweep=4),
    "alp-gmm": quick(kind="alp-gmm", score="l1-value-loss"),
    "clutr": quick(kind="clutr"),
    "max-mc-evolved": quick(evolved=True, score="max-mc"),
    "progress-ppo": quick(score="learning-progress", antagonist="random"),
    "ppo": quick(evolved=True, kind="accel", antagonist="ppo", exact=True),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_teacher_trains(name, tmp_path):
    rows = []
    host.create(RUNS[name], tmp_path / "run")
    result = host.train(tmp_path / "run", rows.extend)
    assert result.finished and len(rows) == RUNS[name].meta_steps
    for family in RUNS[name].families:
        seen = [row[f"{family}/score"] for row in rows if row[f"{family}/finished"]]
        assert seen and np.isfinite(np.array(seen, float)).all()


def test_a_learned_rule_as_antagonist_is_copied_into_the_run(tmp_path):
    """Its file may go: the run has its own."""
    host.create(quick(), tmp_path / "first")
    trained = host.train(tmp_path / "first", lambda rows: None)
    path = host.save_rule(trained)
    later = quick(antagonist=str(tmp_path / "first"))
    host.create(later, tmp_path / "second")
    path.unlink()
    assert host.train(tmp_path / "second", lambda rows: None).finished


def test_an_antagonist_that_is_missing_is_said_before_anything_is_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        host.create(quick(antagonist="runs/nobody"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="unknown antagonist 'a3c'; did you mean 'a2c'"):
        quick(antagonist="a3c")
    with pytest.raises(ValueError, match="is a file, and nobody has read it"):
        build(quick(antagonist="runs/nobody"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sweep", 3, r"curriculum.sweep must be 0 or at least curriculum.capacity \(4\), got 3"),
        ("window", 10, "curriculum.window must exceed the 10 Gaussians of the mixture, got 10"),
        ("select", 1.0, "curriculum.select must be below 1"),
        ("edit", 1.5, "curriculum.edit must be between 0 and 1, got 1.5"),
        ("edits", 0, "curriculum.edits must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        quick(**{name: value})
