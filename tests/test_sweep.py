"""Runs side by side that differ in numbers: each is the run of its numbers, and every number of `SWEPT` counts."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from groove import assembly, config, runs
from groove.cli import train
from groove.cli.common import read
from groove.config import SWEPT, Config
from groove.meta import strategies
from groove.parallel import devices
from groove.trainer import RUNS, State, Trainer, one_of
from levels.chain import chain, chain_distractors
from tests.test_together import nothing, rows_of, settings, stop

CORRIDOR, BITS = chain(length=(2, 4)), chain_distractors(length=(2, 4), distractors=3)
PLUGGED = ("tests.test_sweep:CORRIDOR", "tests.test_sweep:BITS")
CHUNKS, COMPARED = 2, 3
SWEEP = {"meta.rate": (1e-3, 3e-3), "bandits.critic_rate": (0.5, 0.25)}


class Case(NamedTuple):
    """A kind of run, and numbers that it depends on, each other than its own."""

    base: Config
    numbers: Mapping[str, float]


def changed(base: Config, **parts: Mapping[str, object]) -> Config:
    """With other fields of its parts."""
    return dataclasses.replace(base, **{name: dataclasses.replace(getattr(base, name), **f) for name, f in parts.items()})


def of(families: tuple[str, ...], members: int = 4, **parts: Mapping[str, object]) -> Config:
    """The run of a test, by no preset's name: so it may hold what has no effect."""
    small = settings(families=families, members=(members,) * len(families), meta_steps=4)
    return changed(dataclasses.replace(small, name="sweep"), **parts)


def rates(part: str) -> dict[str, float]:
    numbers = {"actor_rate": 3.0, "critic_rate": 0.3, "antagonist_rate": 0.5, "antagonist_entropy": 10.0}
    return {f"{part}.{name}": value for name, value in numbers.items()}


BANDIT = ("bernoulli-bandit",)
LIVES = {"life.gamma": 0.7, "life.gae_lambda": 0.5, "life.clip": 0.02}
EVOLUTION = {"evolution.sigma": 0.2, "evolution.rate": 0.009, "evolution.floor": 0.008}
QUICKLY = {"decay": 0.5}  # the rate falls so that the floor counts
CASES: Mapping[str, Case] = {
    "gradient": Case(
        of(BANDIT, meta={"decay": False, "clip": 0.0, "member_clip": 0.0}),
        {
            "meta.rate": 0.01,
            "meta.clip": 0.05,
            "meta.member_clip": 0.1,
            "meta.entropy": 0.2,
            "meta.prediction_entropy": 0.1,
            "meta.policy_target": 0.3,
            "meta.prediction_target": 0.2,
            "rule.prediction_weight": 1.5,
            "curriculum.replay": 0.9,
            "curriculum.staleness": 0.8,
            "curriculum.temperature": 2.0,
            **rates("bandits"),
            **LIVES,
        },
    ),
    "edits": Case(
        of(BANDIT, curriculum={"kind": "accel", "minimal_fill": 0.0}), {"curriculum.edit": 0.9, "meta.rate": 0.01}
    ),
    "selection": Case(of(BANDIT, curriculum={"kind": "sfl"}), {"curriculum.select": 0.1, "meta.rate": 0.01}),
    "mixture": Case(of(BANDIT, 12, curriculum={"kind": "alp-gmm"}), {"curriculum.explore": 0.9, "meta.rate": 0.01}),
    "tables": Case(of(("gridworld", "chain"), curriculum={"exact": True}), {**rates("grids"), **rates("chains")}),
    "networks": Case(
        of((*PLUGGED, "gymnax:CartPole-v1"), gymnax={"ranges": ("max_steps_in_episode=40:60",), "antagonist_rate": 0.1}),
        {
            "gymnax.rate": 1e-3,
            "gymnax.antagonist_rate": 1.0,
            "gymnax.antagonist_entropy": 10.0,
            "plugged.rate": 1e-3,
            **rates("plugged"),
        },
    ),
    "lpo": Case(of(BANDIT, rule={"kind": "lpo"}, curriculum={"antagonist": "ppo"}), {"rule.policy_entropy": 0.2, **LIVES}),
    "evolution": Case(of(BANDIT, meta={"method": "evolution"}, evolution=QUICKLY), EVOLUTION),
    "novelty": Case(
        of(BANDIT, meta={"method": "evolution"}, evolution={"strategy": "SNES", "novelty": 0.5}), {"evolution.sigma": 0.3}
    ),
    "genetic": Case(of(BANDIT, meta={"method": "evolution"}, evolution={"strategy": "deep-ga"}), {"evolution.sigma": 0.3}),
    "pieces": Case(of(BANDIT, meta={"method": "evolution"}, evolution={"lives": "persistent", **QUICKLY}), EVOLUTION),
}


def lived(run: Trainer, keys: jax.Array) -> tuple[State, dict[str, np.ndarray]]:
    """The state after some chunks, and what was seen: values lead with the runs, if there are several, and the steps.

    What curricula say of themselves is seen after every chunk only.
    """
    refresh, chunk, told = jax.jit(run.refresh), jax.jit(run.chunk), jax.jit(run.info)
    state, seen = jax.jit(run.init)(keys), []
    for _ in range(CHUNKS):
        state, info = chunk(refresh(state))
        seen.append(jax.device_get({**info, **{name: value[..., None] for name, value in told(state).items()}}))
    return state, {name: np.concatenate([info[name] for info in seen], axis=-1) for name in seen[0]}


def differ(a: object, b: object) -> bool:
    """Whether any number of two trees does."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return not all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_each_is_the_run_of_its_numbers(name: str):
    """The first has its own numbers, the second all of the case's, those behind it one each."""
    base, numbers = CASES[name]
    rows = [{}, numbers, *({field: value} for field, value in numbers.items())]
    configs = [config.check(config.with_numbers(base, row)) for row in rows]
    many = assembly.vmap_runs(assembly.build(base), configs, devices.mesh(1, RUNS))
    keys = jax.vmap(jax.random.key)(np.zeros(len(rows), np.uint32))
    states, seen = lived(many, keys)
    first, *others = [jax.tree.map(lambda leaf, i=i: leaf[i], (seen, states.curricula)) for i in range(len(rows))]
    for field, other in zip(numbers, others[1:], strict=True):
        assert differ(first, other), f"{field} has no effect"
    state, alone = lived(assembly.build(configs[1]).trainer, keys[1])
    assert jax.tree.map(jax.typeof, one_of(states, 1)) == jax.tree.map(jax.typeof, state)
    assert seen.keys() == alone.keys()
    for what, values in alone.items():
        count = 1 if "/curriculum_" in what else COMPARED
        np.testing.assert_allclose(seen[what][1, :count], values[:count], rtol=1e-3, atol=1e-5, err_msg=what, equal_nan=True)


def check_traced(run: assembly.Run, configs: list[Config]) -> None:
    """Traces all that runs side by side do, and computes nothing."""
    many, keys = assembly.vmap_runs(run, configs, devices.mesh(1, RUNS)), jax.random.split(jax.random.key(0), len(configs))
    state = jax.eval_shape(many.init, keys)
    for function in (many.refresh, many.chunk, many.theta, many.tasks, many.info):
        assert jax.tree.leaves(jax.eval_shape(function, state))


@pytest.mark.parametrize("name", strategies.KINDS)
def test_every_strategy_takes_traced_numbers(name: str):
    base = of(BANDIT, meta={"method": "evolution"}, evolution={"strategy": name})
    rate = {"evolution.rate": 0.02} if strategies.KINDS[name].optimizer else {}
    check_traced(assembly.build(base), [base, config.with_numbers(base, {"evolution.sigma": 0.3, **rate})])


@pytest.mark.parametrize("kind", ["start", "antagonist", "autoencoder"])
def test_runs_that_read_files_can_differ_in_numbers(kind: str, tmp_path: Path):
    base = of(BANDIT)
    if kind == "autoencoder":
        base = changed(base, curriculum={"kind": "clutr"})
    else:
        runs.create(base, tmp_path / "first")
        run = runs.assembled(tmp_path / "first")
        state = jax.jit(run.trainer.init)(jax.random.key(0))
        rule = str(runs.save_rule(runs.Result(run, tmp_path / "first", state, True)))
        base = dataclasses.replace(base, start=rule) if kind == "start" else changed(base, curriculum={"antagonist": rule})
    runs.create_together(base, tmp_path / "run", 1, sweep={"meta.rate": (1e-3, 3e-3)})
    folders = runs.folders_of(tmp_path / "run")
    check_traced(runs.assembled(folders[0], new=True), [runs.open_folder(folder) for folder in folders])


def test_every_number_has_a_case():
    assert {field for case in CASES.values() for field in case.numbers} == set(SWEPT)


@pytest.mark.parametrize("field", SWEPT)
def test_bad_numbers_are_refused_as_those_of_a_run_are(field: str):
    """In Python and for all runs, before anything is traced."""
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match=field):
            config.check(config.with_numbers(settings(), {field: bad}))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["meta.rate"], "form FIELD=NUMBER"),
        (["meta.rate="], "form FIELD=NUMBER"),
        (["meta.rate=1e-3,fast"], "form FIELD=NUMBER"),
        (["meta.rate=1e-3"], "at least 2 numbers of meta.rate"),
        (["meta.rate=1e-3,nan"], "all finite"),
        (["meta.rate=0.1,0.10000000001"], "differ as float32"),
        (["meta.rate=1,1e-46"], "differ as float32, from 0 too"),
        (["meta.rate=1,1e39"], "all finite"),
        (["meta.policy-target=1,2", "meta.policy_target=3,4"], "name every field once, got meta.policy_target twice"),
        (["meta.rate=1,2", "meta.rate=3,4"], "name every field once, got meta.rate twice"),
        (["rule.width=4,8"], "cannot vary 'rule.width'.*only meta.rate, .*job array of Slurm"),
        (["seed=0,1"], "cannot vary 'seed': seeds are varied by --seeds"),
        (["meta=0,1"], "cannot vary 'meta'"),
    ],
)
def test_bad_sweeps_are_refused(texts: list[str], says: str):
    with pytest.raises(ValueError, match=says):
        config.sweep_of(texts)


def test_every_combination_is_checked_before_there_is_a_folder(tmp_path: Path):
    with pytest.raises(ValueError, match=r"meta.rate must be positive and finite, got -0.1"):
        runs.create_together(settings(), tmp_path / "run", 1, sweep={"meta.rate": (0.1, -0.1)})
    with pytest.raises(ValueError, match="at least 2"):
        runs.create_together(settings(), tmp_path / "run", 0, sweep={"meta.rate": (0.1, 0.2)})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", ["curriculum.edit", "rule.policy_entropy", "chains.critic_rate"])
def test_numbers_without_effect_are_not_swept(field: str):
    with pytest.raises(ValueError, match=f"no effect in this run: {field}"):
        config.combinations(settings(), 1, {field: (0.1, 0.2), "meta.rate": (0.1, 0.2)})


def test_names_fit_into_file_systems():
    fields = ("rate", "clip", "entropy", "prediction_entropy", "policy_target", "prediction_target")
    sweep = {f"meta.{name}": (0.012345678901234567, 0.2) for name in fields}
    with pytest.raises(ValueError, match="too much for the name of a folder"):
        config.combinations(settings(), 1, sweep)


def test_what_cannot_be_made_whole_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    create = runs.folder.create

    def fails(one: Config, folder: Path, **how: object) -> None:
        if one.seed == 1:
            raise OSError("full")
        create(one, folder, **how)

    monkeypatch.setattr(runs.folder, "create", fails)
    with pytest.raises(OSError, match="full"):
        runs.create_together(settings(), tmp_path / "run", 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("together", [False, True])
def test_a_folder_whose_making_was_killed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool):
    """Nothing that Python does can tidy up after SIGKILL: what is left says of itself that it is not whole."""
    folder = tmp_path / "run"
    make = (lambda: runs.create_together(settings(), folder, 2)) if together else (lambda: runs.create(settings(), folder))
    with monkeypatch.context() as killed, pytest.raises(RuntimeError):
        killed.setattr(runs.folder.config, "save", lambda *args: (_ for _ in ()).throw(RuntimeError))
        killed.setattr(runs.folder.shutil, "rmtree", lambda *args, **options: None)
        make()
    assert any(folder.iterdir())
    make()
    assert [runs.open_folder(own).seed for own in runs.folders_of(folder)] == ([0, 1] if together else [0])
    assert not list(folder.rglob(".unmade"))
    with pytest.raises(ValueError, match="exists already"):
        make()


def test_runs_that_differ_in_more_are_not_side_by_side():
    wider = changed(settings(), rule={"width": 8})
    assert config.differing([settings(), settings(seed=3)]) == {}
    with pytest.raises(ValueError, match="differ in their seeds and in numbers that may be swept, these do in more"):
        config.differing([settings(), wider])


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[runs.Result]]:
    folder = tmp_path_factory.mktemp("sweep") / "four"
    runs.create_together(settings(seed=5), folder, 1, sweep=SWEEP)
    return folder, runs.train_together(folder, [nothing] * 4)


@pytest.mark.slow
def test_every_run_has_a_folder_that_tells(four: tuple[Path, list[runs.Result]]):
    folder, results = four
    pairs = [(rate, critic) for rate in SWEEP["meta.rate"] for critic in SWEEP["bandits.critic_rate"]]
    names = [f"meta.rate={rate},bandits.critic_rate={critic},seed-5" for rate, critic in pairs]
    assert names[0] == "meta.rate=0.001,bandits.critic_rate=0.5,seed-5"
    assert [result.folder.name for result in results] == names
    assert json.loads((folder / "runs.json").read_text()) == {"folders": names}
    for result, (rate, critic) in zip(results, pairs, strict=True):
        own = runs.open_folder(result.folder)
        assert (
            own
            == result.run.config
            == config.with_numbers(settings(seed=5), {"meta.rate": rate, "bandits.critic_rate": critic})
        )
    assert differ(results[0].state.meta, results[1].state.meta) and differ(results[0].state.meta, results[2].state.meta)


@pytest.mark.slow
def test_interrupted_they_go_on_bit_for_bit(four: tuple[Path, list[runs.Result]], tmp_path: Path):
    folder = tmp_path / "again"
    runs.create_together(settings(seed=5), folder, 1, sweep=SWEEP)
    with pytest.raises(KeyboardInterrupt):
        runs.train_together(folder, [nothing, nothing, nothing, stop])
    results = runs.train_together(folder, [nothing] * 4)
    for one, other in zip(results, four[1], strict=True):
        assert rows_of(one.folder) == rows_of(other.folder)
        assert runs.save_rule(one).read_bytes() == runs.save_rule(other).read_bytes()


@pytest.mark.slow
def test_done_each_is_a_run_like_any_other(four: tuple[Path, list[runs.Result]]):
    result = runs.train(four[1][3].folder, nothing)
    assert result.finished and result.run.config.meta.rate == SWEEP["meta.rate"][1]
    assert runs.save_rule(result).exists()


def test_words_become_a_sweep(tmp_path: Path):
    words = ["--sweep", "meta.rate=1e-3,1e-4", "--sweep", "meta.entropy=0,0.1", "--output", str(tmp_path / "run")]
    options, _, _ = train._parse(read(["quick", *words]))
    assert config.sweep_of(options.sweep) == {"meta.rate": (1e-3, 1e-4), "meta.entropy": (0.0, 0.1)}
    for other in (["--distributed"], ["--resume", str(tmp_path)]):
        with pytest.raises(ValueError, match=r"--sweep"):
            train._check_several(dataclasses.replace(options, **{other[0][2:]: Path(other[-1])}), words)


def main(folder: Path) -> None:
    """What a process with two devices does: four runs, shared out."""
    runs.create_together(settings(seed=5), folder, 1, sweep=SWEEP)
    assert all(result.finished for result in runs.train_together(folder, [nothing] * 4, device_count=2))


@pytest.mark.slow
def test_devices_share_out_the_runs_with_their_numbers(four: tuple[Path, list[runs.Result]], tmp_path: Path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    words = [sys.executable, "-m", "tests.test_sweep", str(tmp_path / "two")]
    assert subprocess.run(words, env={**os.environ, "XLA_FLAGS": flags}, cwd=Path(__file__).parents[1]).returncode == 0
    for result in four[1]:
        ours, theirs = rows_of(tmp_path / "two" / result.folder.name), rows_of(result.folder)
        for a, b in zip(ours[:COMPARED], theirs[:COMPARED], strict=True):
            assert a.keys() == b.keys()
            whole = a["step"] <= 2  # rows of the second chunk say what curricula are after its end
            known = {name: value for name, value in b.items() if value is not None and (whole or "/curriculum_" not in name)}
            np.testing.assert_allclose([a[name] for name in known], list(known.values()), rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
