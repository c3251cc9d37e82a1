"""Runs of several seeds side by side: each is the run of its seed, in a folder of its own, and all go on together."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from groove import cli, config, runs
from groove.config import Config
from groove.runs import cost, training

STEPS, CHUNK = 6, 2


def settings(**changes: object) -> Config:
    """The smallest run with replayed regret, whose lives end in the course of a chunk."""
    small = config.smoke(config.preset("quick"))
    curriculum = dataclasses.replace(small.curriculum, kind="prioritised", score="regret", minimal_fill=0.1, capacity=16)
    some = {"families": ("bernoulli-bandit",), "members": (4,), "meta_steps": STEPS, "chunk": CHUNK, "checkpoint_every": 1}
    some["meta"] = dataclasses.replace(small.meta, objective="sampled", rate=1e-3)  # so that critics' rates count
    return dataclasses.replace(small, name="custom", curriculum=curriculum, **{**some, **changes})


def stop(rows) -> None:
    raise KeyboardInterrupt


def nothing(rows) -> None:
    """Sees metrics and does nothing."""


def rows_of(folder: Path) -> list[dict]:
    found = runs.read_metrics(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in found]


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> tuple[Path, list[runs.Result]]:
    folder = tmp_path_factory.mktemp("together") / "three"
    runs.create_together(settings(seed=5), folder, 3)
    return folder, runs.train_together(folder, [nothing] * 3)


def test_each_is_the_run_of_its_seed(three, tmp_path):
    folder, results = three
    assert [result.run.config.seed for result in results] == [5, 6, 7]
    assert [result.folder for result in results] == [folder / f"seed-{seed}" for seed in (5, 6, 7)]
    runs.create(settings(seed=6), tmp_path / "alone")
    alone = runs.train(tmp_path / "alone", nothing)
    beside, by_itself = rows_of(results[1].folder), rows_of(alone.folder)
    assert len(beside) == len(by_itself) == STEPS
    for name in by_itself[0]:
        first = CHUNK if "/curriculum_" in name else 3  # rows of the second chunk say what curricula are after its end
        ours, theirs = ([row[name] for row in rows[:first]] for rows in (beside, by_itself))
        known = [(a, b) for a, b in zip(ours, theirs, strict=True) if b is not None]
        assert [a is None for a in ours] == [b is None for b in theirs], name
        if known:
            np.testing.assert_allclose(*zip(*known, strict=True), rtol=1e-3, atol=1e-5, err_msg=name)


def test_they_differ(three):
    thetas = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(r.run.trainer.theta(r.state))]) for r in three[1]]
    assert not np.array_equal(thetas[0], thetas[1]) and not np.array_equal(thetas[1], thetas[2])


def test_interrupted_they_go_on_bit_for_bit(three, tmp_path):
    runs.create_together(settings(seed=5), tmp_path / "again", 3)
    with pytest.raises(KeyboardInterrupt):
        runs.train_together(tmp_path / "again", [nothing, nothing, stop])
    with pytest.raises(ValueError, match="go on together"):
        runs.train(tmp_path / "again" / "seed-6", nothing)
    results = runs.train_together(tmp_path / "again", [nothing] * 3)
    for one, other in zip(results, three[1], strict=True):
        assert rows_of(one.folder) == rows_of(other.folder)
        assert runs.save_rule(one).read_bytes() == runs.save_rule(other).read_bytes()


def test_done_each_is_a_run_like_any_other(three):
    folder = three[0] / "seed-7"
    result = runs.train(folder, nothing)
    assert result.finished and int(result.state.step) == STEPS
    assert runs.save_rule(result).exists()


def test_one_that_is_not_finite_stops_all_and_the_others_go_on_alone(three, tmp_path, monkeypatch):
    """As if the second run had made NaN in the second chunk, so that nothing is compiled for this test."""
    calls = []

    def table(first, info, steps):
        calls.append(first)
        return [{**row, "nonfinite": int(len(calls) == 5)} for row in runs.table(first, info, steps)]

    folder = tmp_path / "bad"
    runs.create_together(settings(seed=5), folder, 3)
    with monkeypatch.context() as patched, pytest.raises(runs.NotFinite) as raised:
        patched.setattr(runs.loop, "table", table)
        runs.train_together(folder, [nothing] * 3)
    assert f"of step 3 has values that are not finite; the checkpoint of step 2 is kept in {folder}." in str(raised.value)
    assert f"It is the run in {folder / 'seed-6'}. The others may go on, each alone" in str(raised.value)
    with pytest.raises(ValueError, match="go on together"):
        runs.train(folder / "seed-6", nothing)
    assert runs.train(folder / "seed-7", nothing).finished
    assert [row["step"] for row in rows_of(folder / "seed-7")] == [1, 2, 3, 4, 5, 6]
    assert rows_of(folder / "seed-7")[:2] == rows_of(three[0] / "seed-7")[:2]
    with pytest.raises(ValueError, match="seed-7 has gone on alone, to meta-step 6: resume each run by its own folder"):
        runs.train_together(folder, [nothing] * 3)
    assert len(rows_of(folder / "seed-7")) == STEPS


def test_a_new_folder_is_removed_with_all_runs_or_none(tmp_path):
    for learned in (False, True):
        folder = tmp_path / str(learned)
        runs.create_together(settings(seed=5), folder, 2)
        with pytest.raises(OSError, match="full"), runs.unless_unused(folder):
            runs.append_metrics(folder / "seed-5" / "metrics.jsonl", [{"step": 1}] if learned else [])
            raise OSError("full")
        assert (folder / "seed-6" / "config.json").exists() == learned == folder.exists()


def test_curricula_to_begin_with_are_refused(tmp_path):
    begun = dataclasses.replace(settings().curriculum, files=("grids.parquet",))
    with pytest.raises(ValueError, match="start them apart"):
        runs.create_together(dataclasses.replace(settings(), curriculum=begun), tmp_path / "run", 2)
    assert not (tmp_path / "run").exists()


def test_means_are_shown():
    rows = runs.averaged([[{"step": 1, "a": 1.0, "b": None, "c": None}], [{"step": 1, "a": 3.0, "b": 4.0, "c": None}]])
    assert rows == [{"step": 1, "a": 2.0, "b": 4.0, "c": None}]


def test_a_list_of_runs_is_checked(tmp_path):
    (tmp_path / "runs.json").write_text('{"folders": ["../elsewhere", "seed-1"]}')
    with pytest.raises(ValueError, match=r"runs\.json does not name"):
        runs.folders_of(tmp_path)
    assert runs.folders_of(tmp_path / "none") == (tmp_path / "none",)
    with pytest.raises(ValueError, match="at least 2"):
        runs.create_together(settings(), tmp_path / "one", 1)


def test_cost_is_that_of_all(monkeypatch, capsys):
    monkeypatch.setattr(cost, "environment_steps", lambda config: cost.SMALL * 0.4)
    monkeypatch.setattr(cost, "compiled_bytes", lambda config: 2**30)
    cost.confirm(settings(), runs=2, agreed=False, ask=lambda question: False)
    cost.confirm(settings(), runs=3, agreed=False, ask=lambda question: True)
    assert "1e+09 steps of environments, 3 times" in (said := capsys.readouterr().out) and "3.0 GiB" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--seeds", "2", "--seed", str(2**32 - 2)], "seed must be between"),
        (["--seeds", "3", "--devices", "2"], "devices must"),
        (["--sweep", "meta.rate=1e-3,-1"], "meta.rate must be positive and finite, got -1.0"),
        (["--sweep", "rule.width=4,8"], "cannot vary 'rule.width'"),
        (["--sweep", "meta.rate=1e-3,1e-4", "--meta.rate", "1e-2"], "--meta.rate and --sweep meta.rate exclude each other"),
        (["--sweep", "meta.policy_target=1,2", "--meta.policy-target", "3"], "exclude each other"),
        (["--sweep", "evolution.sigma=0.2,0.3"], "cannot vary what has no effect in this run: evolution.sigma"),
        (["--sweep", "meta.rate=1e-3,1e-4", "--devices", "3"], "devices must"),
    ],
)
def test_bad_words_are_refused_and_leave_nothing(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    assert cli.main(["train", "quick", "--output", str(tmp_path / "run"), *words]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_makes_runs_and_goes_on_with_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    folder = tmp_path / "runs"
    words = ["--families", "bernoulli-bandit", "--members", "2"]
    assert cli.main(["train", "quick", "--seeds", "2", "--output", str(folder), *words]) == 0
    said = capsys.readouterr().out
    assert "seed-0" in said and "seed-1" in said and "2 runs side by side" in said
    assert all((folder / f"seed-{seed}" / "report.html").is_file() for seed in (0, 1))
    assert cli.main(["train", "--resume", str(folder), "--seeds", "3"]) == 2
    assert "is a folder of 2 runs" in capsys.readouterr().err
    assert cli.main(["train", "--resume", str(folder)]) == 0


def main(folder: Path) -> None:
    """What a process with two devices does: two runs, shared out."""
    runs.create_together(settings(seed=5), folder, 2)
    assert all(result.finished for result in runs.train_together(folder, [nothing] * 2, device_count=2))


@pytest.mark.slow
def test_devices_share_out_the_runs(three, tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    words = [sys.executable, "-m", "tests.test_together", str(tmp_path / "two")]
    assert subprocess.run(words, env={**os.environ, "XLA_FLAGS": flags}, cwd=Path(__file__).parents[1]).returncode == 0
    for seed in (5, 6):
        ours, theirs = rows_of(tmp_path / "two" / f"seed-{seed}"), rows_of(three[0] / f"seed-{seed}")
        for a, b in zip(ours[:3], theirs[:3], strict=True):
            assert a.keys() == b.keys()
            whole = a["step"] <= CHUNK
            known = {name: value for name, value in b.items() if value is not None and (whole or "/curriculum_" not in name)}
            np.testing.assert_allclose([a[name] for name in known], list(known.values()), rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))


def test_devices_that_cannot_all_share_a_run(monkeypatch: pytest.MonkeyPatch):
    """One process takes as many as can and says so; of several every device must share, and no more than members can."""
    monkeypatch.setattr(training.jax, "devices", lambda: [None] * 4)
    monkeypatch.setattr(training.devices, "mesh", lambda count: count)
    said: list[str] = []
    assert training.mesh_of(settings(members=(4,)), None, said.append) == 4 and not said
    assert training.mesh_of(settings(members=(6,)), None, said.append) == 3
    assert said == ["3 of 4 devices share the run: no more can share members (6,) evenly"]
    assert training.mesh_of(settings(members=(6,)), 2, said.append) == 2 and len(said) == 1
    with pytest.raises(ValueError, match=r"devices must be so many that they can share members \(6,\) evenly, got 4"):
        training.mesh_of(settings(members=(6,)), 4, said.append)
    monkeypatch.setattr(training.processes, "alone", lambda: False)
    assert training.mesh_of(settings(members=(4,)), None, said.append) == 4
    with pytest.raises(ValueError, match=r"all 4 devices of all processes must share a run, members \(6,\) let 3\."):
        training.mesh_of(settings(members=(6,)), None, said.append)
    blocks = dataclasses.replace(settings().meta, block=2)
    with pytest.raises(ValueError, match=r"share members \(4,\) in blocks of 2 \(meta\.block\), got 4"):
        training.mesh_of(settings(members=(4,), meta=blocks), 4, said.append)
