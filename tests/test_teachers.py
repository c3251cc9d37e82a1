"""Every teacher and every score trains `quick`, in smoke size, from configuration to logged metrics, and teaches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove import curate, curricula, runs
from groove.assembly import build
from groove.assembly import family as build_family
from groove.config import QUICK, Config, check, smoke
from groove.files import curriculumfile
from groove.runs import Metrics

EVOLVED = dataclasses.replace(QUICK.meta, method="evolution")


def quick(*, evolved=False, **curriculum) -> Config:
    small = smoke(dataclasses.replace(QUICK, meta=EVOLVED) if evolved else QUICK)
    return check(dataclasses.replace(small, curriculum=dataclasses.replace(small.curriculum, **curriculum)))


def grids(**curriculum) -> Config:
    """One family, and a life a meta-step: 32 of them in 8 meta-steps, enough for every teacher to teach."""
    small = quick()
    life, teacher = dataclasses.replace(small.life, updates=(2, 2)), dataclasses.replace(small.curriculum, **curriculum)
    small = dataclasses.replace(small, families=("gridworld",), members=(4,), meta_steps=8, life=life)
    return check(dataclasses.replace(small, curriculum=teacher))


RUNS = {
    "plr-robust": grids(robust=True, minimal_fill=0.0, score="exact-regret"),
    "plr-diverse": grids(diversity=0.5, score="normalised-regret"),
    "accel-robust": grids(kind="accel", robust=True, minimal_fill=0.0, score="positive-value-loss"),
    "sfl": grids(kind="sfl", score="learnability", sweep=4),
    "alp-gmm": grids(kind="alp-gmm", score="l1-value-loss"),
    "clutr": grids(kind="clutr"),
    "max-mc-evolved": quick(evolved=True, score="max-mc"),
    "progress": quick(score="learning-progress"),
    "ppo": quick(evolved=True, kind="accel", antagonist="ppo", exact=True),
}
TAUGHT = {
    "plr-robust": ("replayed", "fill"),
    "plr-diverse": ("replayed", "fill"),
    "accel-robust": ("edits", "replayed"),
    "sfl": ("fill",),
    "alp-gmm": ("components", "progress"),
    "clutr": ("learned",),
}
"""What a teacher says of itself that is above 0 once it has taught."""


def assert_lived(rows: list[Metrics], settings: Config) -> None:
    """Every meta-step is there, and every score of a life that ended is finite."""
    assert len(rows) == settings.meta_steps
    for family in settings.families:
        seen = [row[f"{family}/score"] for row in rows if row[f"{family}/finished"]]
        assert seen and np.isfinite(np.array(seen, float)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_teacher_trains_and_teaches(name, tmp_path):
    rows: list[Metrics] = []
    runs.create(RUNS[name], tmp_path / "run")
    assert runs.train(tmp_path / "run", rows.extend).finished
    assert_lived(rows, RUNS[name])
    for taught in TAUGHT.get(name, ()):
        assert rows[-1][f"gridworld/curriculum_{taught}"] > 0, taught


def test_a_frozen_set_is_passed_through(tmp_path):
    kind = build_family(grids(), "gridworld")
    rows = curate.sampled(jax.random.key(0), kind, curricula.constant(2), count=5)
    path = tmp_path / "five.parquet"
    assert curriculumfile.save(path, rows._replace(score=np.arange(5, dtype=np.float32)), {}, family=kind)
    settings, lived = grids(kind="frozen", files=(str(path),)), []
    runs.create(settings, tmp_path / "run")
    result = runs.train(tmp_path / "run", lived.extend)
    assert_lived(lived, settings)
    assert lived[-1]["gridworld/curriculum_passes"] > 0
    walls = {level.tobytes() for level in np.asarray(rows.level.walls)}
    assert {level.tobytes() for level in np.asarray(result.state.live[0].task.level.walls)} <= walls


def stop(rows: list[Metrics]) -> None:
    """Ends a process in the midst of a run, as far as its folder can tell."""
    if rows[-1]["step"] == 6:
        raise InterruptedError


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alp-gmm", "clutr", "sfl"])
def test_a_teacher_that_was_stopped_teaches_on(name, tmp_path):
    """Once it had begun to teach: bit for bit as if it had not been stopped."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        runs.create(RUNS[name], folder)
    with pytest.raises(InterruptedError):
        runs.train(parts, stop)
    assert runs.read_metrics(parts / "metrics.jsonl")[-1][f"gridworld/curriculum_{TAUGHT[name][0]}"] > 0
    pair = [runs.train(folder, lambda rows: None).state for folder in (whole, parts)]
    for one, other in zip(*map(jax.tree.leaves, pair), strict=True):
        raw = [jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (one, other)]
        np.testing.assert_array_equal(*raw)


@pytest.mark.slow
def test_a_learned_rule_as_antagonist_is_copied_into_the_run(tmp_path):
    """Its file may go: the run has its own."""
    runs.create(quick(), tmp_path / "first")
    trained = runs.train(tmp_path / "first", lambda rows: None)
    path = runs.save_rule(trained)
    later = quick(antagonist=str(tmp_path / "first"))
    runs.create(later, tmp_path / "second")
    path.unlink()
    assert runs.train(tmp_path / "second", lambda rows: None).finished


def test_an_antagonist_that_is_missing_is_said_before_anything_is_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        runs.create(quick(antagonist="runs/nobody"), tmp_path / "run")
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
