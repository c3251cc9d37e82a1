"""The command line: bad input is one line before any work, and the whole of `groove train` runs."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import groove
from groove import cli, config, runs
from groove.parallel import processes

ROOT = Path(__file__).parents[1]


def groove_command(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "import sys; from groove.cli import main; sys.exit(main())", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "GROOVE_SMOKE": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


CARTPOLE = ["train", "--families", "gymnax:CartPole-v1", "--members", "4"]
BAD = {
    "unknown command": (["trian"], "did you mean 'train'"),
    "unknown preset": (["train", "quik"], "did you mean 'quick'"),
    "unknown family": (["train", "--families", "gridwrld", "--members", "2"], "did you mean 'gridworld'"),
    "unknown score": (["train", "--curriculum.score", "regert"], "unknown score 'regert'; did you mean 'regret'"),
    "unpaired families": (["train", "--families", "gridworld", "--members", "2", "3"], "families and members must pair up"),
    "lifetime of 0": (["train", "--life.updates", "0", "4"], "life.updates must satisfy"),
    "K longer than a lifetime": (["train", "--meta.updates", "9"], "meta.updates (K) must not exceed"),
    "block that does not divide": (["train", "--members", "4", "4", "--meta.block", "3"], "meta.block must be 0 or divide"),
    "small capacity": (["train", "--members", "8", "8", "--curriculum.capacity", "4"], "curriculum.capacity must hold"),
    "negative rate": (["train", "--meta.rate", "-1"], "meta.rate must be positive and finite, got -1.0"),
    "rate that is no number": (["train", "--meta.rate", "nan"], "meta.rate must be positive and finite, got nan"),
    "seed that no key takes": (["train", "--seed", "-1"], "seed must be between 0 and"),
    "share above 1": (["train", "--curriculum.replay", "1.5"], "curriculum.replay must be between 0 and 1"),
    "chunk that does not divide": (["train", "--chunk", "3"], "chunk must divide meta_steps"),
    "unknown gymnax environment": (["train", "--families", "gymnax:CartPol-v1", "--members", "4"], "mean 'CartPole-v1'"),
    "gymnax environment without a name": (
        ["train", "--families", "gymnax:", "--members", "4"],
        "unknown gymnax environment",
    ),
    "gymnax environment of torques": (["train", "--families", "gymnax:Pendulum-v1", "--members", "4"], "discrete actions"),
    "unknown field of gymnax": ([*CARTPOLE, "--gymnax.ranges", "gravty=8:12"], "did you mean 'gravity'"),
    "range without an end": ([*CARTPOLE, "--gymnax.ranges", "gravity=8"], "gymnax.ranges must have the form FIELD=LOW:HIGH"),
    "range of words": ([*CARTPOLE, "--gymnax.ranges", "gravity=low:high"], "got 'gravity=low:high'"),
    "range that falls": ([*CARTPOLE, "--gymnax.ranges", "gravity=12:8"], "gravity must be an increasing pair"),
    "range that is not finite": ([*CARTPOLE, "--gymnax.ranges", "gravity=8:inf"], "gravity must be an increasing pair"),
    "range of nothing": ([*CARTPOLE, "--gymnax.ranges", "gravity=nan:nan"], "gravity must be an increasing pair"),
    "range given twice": ([*CARTPOLE, "--gymnax.ranges", "gravity=8:9", "gravity=9:10"], "gravity twice"),
    "episodes of no steps": ([*CARTPOLE, "--gymnax.ranges", "max_steps_in_episode=0:9"], "must be limited to 1 to"),
    "steps and a half": ([*CARTPOLE, "--gymnax.ranges", "max_steps_in_episode=5.5:9"], "must be drawn between integers"),
    "ranges of no family": (["train", "--gymnax.ranges", "gravity=8:12"], "gymnax.ranges need a family gymnax:NAME"),
    "optimum that nobody knows": ([*CARTPOLE, "--curriculum.score", "exact-regret"], "'gymnax:CartPole-v1' lacks"),
    "unknown method": (["train", "--meta.method", "evolve"], "did you mean 'evolution'"),
    "unknown rule": (["train", "--rule.kind", "lop"], "unknown kind 'lop'; did you mean 'lpo'"),
    "unknown strategy": (["train", "ta-lpg-small", "--evolution.strategy", "OpenES"], "did you mean 'Open_ES'"),
    "candidates that no tasks share": (
        ["train", "ta-lpg-small", "--evolution.population", "6"],
        "evolution.population must be",
    ),
    "minibatches that do not divide": (["train", "lpo-small", "--rule.minibatches", "3"], "rule.minibatches must divide"),
    "no run to resume": (["train", "--resume", "nowhere"], "nowhere is not a run folder"),
    "no run to report": (["report", "nowhere"], "nowhere is not a run folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    words, message = BAD[case]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_existing_folder_is_not_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    kept = tmp_path / "notes.txt"
    assert kept.write_text("mine") == 4
    assert cli.main(["train", "--output", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    blocked = tmp_path / "file"
    assert blocked.write_text("") == 0
    assert cli.main(["train", "--output", str(blocked / "run")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_full_disk_is_met_before_work(tmp_path, monkeypatch):
    small = config.smoke(config.QUICK)
    runs.create(small, tmp_path / "run")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**20})())
    with pytest.raises(OSError, match="of disk for checkpoints"):
        runs.train(tmp_path / "run", lambda rows: None)
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    assert cli.main(["train", "--output", str(tmp_path / "other")]) == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--distributed"], "--distributed needs --output FOLDER or --resume FOLDER"),
        (["--distributed", "--output", "x", "--processes", "two"], "must be whole numbers, got two and -1"),
        (["--distributed", "--output", "x", "--processes", "2"], "belong together"),
        (["--memory", "-1"], "--memory must be positive"),
    ],
)
def test_processes_and_memory_are_checked_first(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    assert cli.main(["train", "quick", *words]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_words_of_distributed_reach_jax(tmp_path, monkeypatch, capsys):
    """As numbers, before anything else is done."""
    joined = []

    def join(*arguments):
        joined.append(arguments)
        raise processes.Lost("nobody came")

    monkeypatch.setattr(processes, "join", join)
    words = ["--coordinator", "127.0.0.1:9", "--processes=2", "--process", "1", "--output", str(tmp_path / "run")]
    assert cli.main(["train", "quick", "--distributed", *words]) == 1
    assert joined == [("127.0.0.1:9", 2, 1)] and "nobody came" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--coordinator=127.0.0.1:9", "--processes=2", "--process=1"])
def test_what_processes_say_to_each_other_wants_distributed(tmp_path, capsys, flag):
    assert cli.main(["train", "quick", flag, "--output", str(tmp_path / "run")]) == 2
    assert "give --distributed as well" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_limit_of_memory_decides_the_blocks_of_the_run(tmp_path, monkeypatch):
    """The run's own configuration has them, so that it goes on with them."""
    asked = []

    def fitted(settings, budget, share, announce):
        asked.append((budget, share))
        return dataclasses.replace(settings, meta=dataclasses.replace(settings.meta, block=1))

    def stop(*arguments, **options):
        raise RuntimeError("far enough")

    monkeypatch.setenv("GROOVE_SMOKE", "1")
    monkeypatch.setattr("groove.runs.cost.fitted", fitted)
    monkeypatch.setattr(runs, "train", stop)
    monkeypatch.setattr(runs, "unless_unused", lambda folder: contextlib.nullcontext())
    assert cli.main(["train", "quick", "--memory", "2", "--output", str(tmp_path / "run")]) == 1
    assert asked == [(2 * 2**30, 1)] and runs.open_folder(tmp_path / "run").meta.block == 1


def test_another_configuration_is_refused_on_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    runs.create(config.smoke(config.QUICK), tmp_path / "run")
    assert cli.main(["train", "--resume", str(tmp_path / "run"), "--meta.rate", "0.5"]) == 2
    assert "meta.rate is 0.005 there, 0.5 here" in capsys.readouterr().err
    assert cli.main(["train", "groove", "--resume", str(tmp_path / "run")]) == 2
    assert "is a run of the preset 'quick'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_meta_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    small = config.smoke(config.QUICK)
    runs.create(small, tmp_path / "run")
    real = runs.table

    def poisoned(first, info, steps):
        rows = real(first, info, steps)
        return [{**row, "nonfinite": 1} if row["step"] == 4 else row for row in rows]

    monkeypatch.setattr(runs.loop, "table", poisoned)
    with pytest.raises(runs.NotFinite, match="step 4 .* the checkpoint of step 2 is kept"):
        runs.train(tmp_path / "run", lambda rows: None)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step_*")] == ["step_00000002"]


@pytest.mark.slow
def test_train_leaves_a_run_that_can_be_used(tmp_path):
    done = groove_command("train", "quick", "--seed", "3", "--output", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for rule in ("random policy", "untrained rule", "trained rule", "A2C", "optimum"):
        assert rule in done.stdout
    folder = tmp_path / "run"
    assert len(runs.read_metrics(folder / "metrics.jsonl")) == 4
    assert json.loads((folder / "evaluation.json").read_text())["rows"]
    for name in ("report.html", "walk.gif", "rule.safetensors", "curriculum-gridworld.parquet"):
        assert (folder / name).stat().st_size > 0
    rule, theta = groove.load_rule(folder)
    agent = rule.init_agent(jax.random.key(0))
    assert jax.tree.leaves(theta) and jax.tree.leaves(agent)
    again = groove_command("train", "--resume", "run", folder=tmp_path)
    assert again.returncode == 0, again.stderr


def test_help_explains_flags():
    done = groove_command("train", "--help", folder=ROOT)
    assert done.returncode == 0
    for word in ("--seed", "--output", "--resume", "--sweep", "--meta.rate", "Adam's learning rate", "presets"):
        assert word.lower() in done.stdout.lower()
