"""Curation: tasks made, scored and chosen; the same numbers whether at once or in several goes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import assert_refused

from groove import cli, config, curate, curricula, lifetime, rules, scores
from groove.cli import curate as curate_command
from groove.curate import Curation, Journal
from groove.files import curriculumfile, sizes
from groove.lifetime import Lifetime
from levels.bandit import bernoulli_bandit
from levels.gridworld import gridworld

ROOT = Path(__file__).parents[1]
SCORED = dataclasses.replace(config.smoke(config.QUICK).curriculum, score="regret")
LIFE = config.Life(updates=(1, 4), environments=2, steps=5)
SMALL = dataclasses.replace(config.smoke(config.QUICK), life=LIFE, curriculum=SCORED)
BANDITS = bernoulli_bandit(arms=3, pulls=(5, 5))
GRIDS = gridworld(height=4, width=4, objects=2, episode_limit=10)
PLAN = Curation(SMALL, "bernoulli-bandit", rule="random", count=10, size=4, block=4)


def life_of(rule) -> Lifetime:
    return lifetime.lifetime(rule, BANDITS.environment, environments=2, steps=5)


RANDOM = life_of(rules.random_policy(BANDITS.environment.spec))
REGRET = scores.algorithmic_regret(life_of(rules.a2c(BANDITS.environment.spec)))


def tasks(count: int, seed: int = 0) -> curriculumfile.Rows:
    return curate.sampled(jax.random.key(seed), BANDITS, curricula.log_uniform(1, 4), count=count)


def equal(a: curriculumfile.Rows, b: curriculumfile.Rows) -> bool:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_a_task_depends_on_key_and_number_alone():
    few, many = tasks(3), tasks(300)
    assert equal(few, curriculumfile.take(many, np.arange(3)))
    assert not equal(few, tasks(3, seed=1))
    assert many.serial.tolist() == list(range(300)) and np.all(many.parent == -1)
    assert np.all(np.isnan(many.score)) and set(many.lifetime.tolist()) == {1, 2, 3, 4}
    with pytest.raises(ValueError, match="count must be at least 1 task, got 0"):
        tasks(0)


def test_children_are_edits_with_lineage():
    rows = curate.sampled(jax.random.key(0), GRIDS, curricula.constant(3), count=5)
    rows = rows._replace(serial=rows.serial + 7)
    family = curate.edited(jax.random.key(1), GRIDS, rows, count=12, edits=2)
    assert equal(curriculumfile.take(family, np.arange(5)), rows)
    assert family.serial[5:].tolist() == list(range(12, 24))
    assert family.parent[5:].tolist() == [7 + i % 5 for i in range(12)]
    assert np.all(jax.jit(jax.vmap(GRIDS.generator.is_valid))(family.level))
    for child in range(5, 17):
        pair = [jax.tree.leaves(curriculumfile.row(family.level, place)) for place in (child, (child - 5) % 5)]
        assert any(not np.array_equal(a, b) for a, b in zip(*pair, strict=True))
    assert curriculumfile.parent_rows(family.serial, family.parent)[5:].tolist() == [i % 5 for i in range(12)]
    mute = GRIDS._replace(generator=GRIDS.generator._replace(mutate=None))
    with pytest.raises(ValueError, match="edits need a generator that can mutate"):
        curate.edited(jax.random.key(1), mute, rows, count=1, edits=1)
    with pytest.raises(ValueError, match="edits at least 1, got 1 and 0"):
        curate.edited(jax.random.key(1), GRIDS, rows, count=1, edits=0)


def test_scores_are_those_of_whole_lives():
    """Row by row, in whatever order they were lived: reference, outcome and score belong to their row."""
    rows = curate.rated(jax.random.key(2), tasks(7), RANDOM, (), scores.exact_regret(BANDITS.optimum), block=3)
    best = jax.vmap(BANDITS.optimum)(rows.level)
    np.testing.assert_array_equal(rows.reference, best)
    np.testing.assert_array_equal(rows.score, best - rows.outcome.episode_return)
    assert rows.serial.tolist() == list(range(7))
    regret = curate.rated(jax.random.key(2), tasks(7), RANDOM, (), REGRET, block=3)
    np.testing.assert_array_equal(regret.outcome.episode_return, rows.outcome.episode_return)
    np.testing.assert_array_equal(regret.score, regret.reference.episode_return - regret.outcome.episode_return)


def test_blocks_are_compiled_once():
    traced = []

    def reference(key, level, lifetime):
        traced.append(1)
        return jnp.zeros(())

    counted = scores.uniform()._replace(reference=reference)
    first = curate.rated(jax.random.key(2), tasks(9), RANDOM, (), counted, block=2)
    assert len(first.score) == 9 and len(traced) <= 2  # once to compile, once for the shapes of what comes back


def test_bad_arguments():
    for rows, block, message in ((tasks(3), 0, "block must be at least 1"), (tasks(3), 1, "at least 1 task, got 0")):
        chosen = rows if block == 0 else curriculumfile.take(rows, np.zeros(0, int))
        with pytest.raises(ValueError, match=message):
            curate.rated(jax.random.key(2), chosen, RANDOM, (), scores.uniform(), block=block)
    cases = {
        "keep must be one of top, strata, all, got 'best'": {"keep": "best"},
        "size must be at least 1 tasks, got 0": {"size": 0},
        "count must be at least 1 tasks, got 0": {"count": 0},
        "edits must be at least 0, and need tasks to start from, got 2": {"edits": 2},
    }
    for message, change in cases.items():
        with pytest.raises(ValueError, match=message):
            curate.check(dataclasses.replace(PLAN, **change))


def rows_of(score) -> curriculumfile.Rows:
    return curriculumfile.fresh(np.arange(len(score)), lifetime=np.ones(len(score)), score=score)


def test_selection():
    rows = rows_of([1.0, np.nan, 3.0, 3.0, -np.inf, 2.0])
    assert curate.finite(rows).serial.tolist() == [0, 2, 3, 5]
    sound = curate.finite(rows)
    assert curate.top(sound, 3).serial.tolist() == [2, 3, 5]
    assert len(curate.top(sound, 99).score) == 4
    twice = curriculumfile.take(sound, np.array([0, 1, 0, 2, 1]))
    assert curate.unique(twice).serial.tolist() == [0, 2, 3]
    other = twice._replace(lifetime=np.array([1, 1, 2, 1, 1], np.int32))
    assert curate.unique(other).serial.tolist() == [0, 2, 0, 3]
    for choose in (curate.top, lambda rows, size: curate.strata(rows, size, seed=0)):
        with pytest.raises(ValueError, match="size must be at least 1 task, got 0"):
            choose(rows, 0)


@pytest.mark.parametrize(("keep", "serials"), [("top", [4, 1]), ("all", [4, 1, 0])])
def test_what_is_left_out_is_counted(keep: str, serials: list[int]):
    """Of eight tasks two have no finite score; of the others one level is there three times, one twice."""
    scored = [1.5, 2.5, 1.0, np.nan, 3.5, 2.0, 0.5, -np.inf]
    rows = curriculumfile.fresh(np.array([5, 6, 5, 7, 8, 6, 5, 9]), lifetime=np.ones(8), score=scored)
    kept, choice = curate.curation._choose(dataclasses.replace(PLAN, keep=keep, size=2), rows)
    assert kept.serial.tolist() == serials
    assert choice == {"keep": keep, "edits": 0, "scored": 8, "not_finite": 2, "twice": 3, "kept": len(serials)}


def test_strata_are_equal_shares_of_the_order():
    rows = rows_of(np.random.default_rng(0).permutation(1000))
    kept = [curate.strata(rows, 10, seed=seed) for seed in range(200)]
    assert all(np.array_equal(one.score // 100, np.arange(10)[::-1]) for one in kept)
    spread = np.stack([one.score % 100 for one in kept])
    error = np.sqrt((100**2 - 1) / 12 / spread.size)  # of a mean of uniform integers
    assert abs(spread.mean() - 49.5) < 5 * error


def test_a_journal_gives_back_what_it_was_given(tmp_path: Path):
    journal = Journal(tmp_path / "j", {"seed": 1, "sides": (4, 6)})
    leaves = [np.arange(6, dtype=np.float32).reshape(3, 2), np.array([True, False, True]), np.zeros((3, 0), np.int32)]
    journal.write(5, leaves)
    again = Journal(tmp_path / "j", {"seed": 1, "sides": (4, 6)})
    assert again.read(4) is None
    for got, want in zip(again.read(5) or [], leaves, strict=True):
        np.testing.assert_array_equal(got, want, strict=True)
    for changes, said in (({"seed": 2}, "seed is 1 there, 2 here"), ({"more": 3}, "more is None there, 3 here")):
        with pytest.raises(ValueError, match=f"holds the beginning of other work: {said}"):
            Journal(tmp_path / "j", {"seed": 1, "sides": (4, 6)} | changes)
    with pytest.raises(ValueError, match=r"sides is \[4, 6\] there, None here"):
        Journal(tmp_path / "j", {"seed": 1})
    path = next((tmp_path / "j").glob("block_*"))
    path.write_bytes(path.read_bytes()[:-9])
    assert again.read(5) is None
    (tmp_path / "j" / "plan.json").write_text("{")
    with pytest.raises(ValueError, match="plan.json is damaged"):
        Journal(tmp_path / "j", {})
    again.remove()
    assert not (tmp_path / "j").exists()


def test_what_was_stopped_goes_on_bit_for_bit(tmp_path: Path):
    """Also after a block was damaged; what was done is not done again."""
    whole = curate.curate(PLAN, tmp_path / "whole.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.parquet"]
    output, calls = tmp_path / "parts.parquet", []
    with pytest.raises(curate.Stopped, match="stopped after 8 of 10 tasks"):
        curate.curate(PLAN, output, seen=lambda done, total: calls.append(done), stopped=lambda: len(calls) == 2)
    assert not output.exists() and calls == [4, 8]
    folder = curate.journal_of(output)
    blocks = sorted(folder.glob("block_*"))
    assert len(blocks) == 2
    blocks[0].write_bytes(blocks[0].read_bytes()[:50])
    changed = blocks[1].stat().st_mtime_ns
    with pytest.raises(curate.Stopped):
        curate.curate(PLAN, output, stopped=lambda: folder.joinpath(blocks[0].name).stat().st_size > 50)
    assert blocks[1].stat().st_mtime_ns == changed
    done = curate.curate(dataclasses.replace(PLAN, keep="top"), output)
    assert done.content == whole.content and equal(done.rows, whole.rows)
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "whole.parquet"))
    assert not folder.exists()
    with pytest.raises(ValueError, match="exists already"):
        curate.curate(PLAN, output)
    other = curate.curate(dataclasses.replace(PLAN, config=dataclasses.replace(SMALL, seed=1)), tmp_path / "other.parquet")
    assert other.content != whole.content


@pytest.mark.slow
def test_a_killed_command_goes_on_bit_for_bit(tmp_path: Path):
    code = "import sys; from groove.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["curate", "--family", "bernoulli-bandit", "--count", "2000", "--size", "50", "--output"]

    def start(output: str) -> subprocess.Popen:
        environment = os.environ | {"GROOVE_SMOKE": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, "-c", code, *words, output], cwd=tmp_path, env=environment)

    assert start("whole.parquet").wait(timeout=300) == 0
    process, folder = start("parts.parquet"), curate.journal_of(tmp_path / "parts.parquet")
    while process.poll() is None and len(list(folder.glob("block_*"))) < 20:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL, "it ended before it was killed"
    assert start("parts.parquet").wait(timeout=300) == 0
    assert pq.read_table(tmp_path / "parts.parquet").equals(pq.read_table(tmp_path / "whole.parquet"), check_metadata=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.parquet", "whole.parquet"]


def test_a_file_can_be_scored_anew_and_edited(tmp_path: Path):
    first = curate.curate(dataclasses.replace(PLAN, keep="strata", drawings=True), tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet").to_pandas()
    assert {"lifetime", "score", "serial", "parent", "parent_row", "feature_best", "text"} <= set(table.columns)
    assert {"reference_episode_return", "reference_standard_error", "learner_episode_return"} <= set(table.columns)
    assert np.allclose(table["reference_episode_return"] - table["learner_episode_return"], table["score"])
    plan = dataclasses.replace(PLAN, start=str(tmp_path / "a.parquet"), keep="all")
    again = curate.curate(dataclasses.replace(plan, rule="a2c"), tmp_path / "b.parquet")
    assert sorted(again.kept.serial) == sorted(first.kept.serial)
    assert not np.array_equal(again.rows.score, first.kept.score)
    edited = curate.curate(dataclasses.replace(plan, edits=1, count=6), tmp_path / "c.parquet")
    assert len(edited.rows.score) == 4 + 6
    stored = curriculumfile.load(tmp_path / "c.parquet", BANDITS)
    children = stored.rows.parent >= 0
    assert stored.metadata["source"] == first.content
    assert np.array_equal(stored.rows.serial[stored.columns["parent_row"][children]], stored.rows.parent[children])


def test_the_file_says_what_made_it(tmp_path: Path):
    curate.curate(PLAN, tmp_path / "a.parquet")
    about = curriculumfile.load(tmp_path / "a.parquet", BANDITS).metadata
    assert about["curriculum"] == curriculumfile.VERSION and about["seed"] == "0" and about["source"] == ""
    assert json.loads(about["generator"]) == {"family": "bernoulli-bandit", "arms": 3, "pulls": [5, 5]}
    assert json.loads(about["rule"]) == {"name": "random"}
    assert json.loads(about["score"])["name"] == "regret"
    assert json.loads(about["life"]) == {"updates": [1, 4], "environments": 2, "steps": 5}
    assert "jax" in json.loads(about["versions"])
    kept = json.loads(about["selection"])
    assert kept == {"keep": "top", "edits": 0, "scored": 10, "not_finite": 0, "twice": 0, "kept": 4}
    wider = dataclasses.replace(SMALL, bandits=dataclasses.replace(SMALL.bandits, arms=7))
    assert sizes.sized(wider, about) == SMALL
    assert sizes.sized(wider, {"generator": "{"}) == wider


def test_rules_and_scores_that_cannot_be(tmp_path: Path):
    with pytest.raises(ValueError, match="unknown rule 'a3c'; did you mean 'a2c'"):
        curate.curate(dataclasses.replace(PLAN, rule="a3c"), tmp_path / "a")
    scored = dataclasses.replace(SMALL, curriculum=dataclasses.replace(SMALL.curriculum, score="exact-regret"))
    with pytest.raises(ValueError, match="'exact-regret' needs a known optimum"):
        curate.curate(dataclasses.replace(PLAN, config=scored, family="gridworld-planes"), tmp_path / "a")
    with pytest.raises(curate.Stopped):
        curate.curate(PLAN, tmp_path / "a", stopped=lambda: True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("score", ["normalised-regret", "exact-regret", "max-mc", "learnability", "learning-progress"])
def test_every_score_can_be_asked_for(score: str, tmp_path: Path):
    scored = dataclasses.replace(SMALL, curriculum=dataclasses.replace(SMALL.curriculum, score=score))
    made = curate.curate(dataclasses.replace(PLAN, config=scored, rule="a2c", count=4), tmp_path / "a")
    assert np.all(np.isfinite(made.kept.score))


def test_the_command(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    monkeypatch.chdir(tmp_path)
    words = ["curate", "--family", "bernoulli-bandit", "--rule", "random", "--score", "exact-regret"]
    assert cli.main([*words, "--output", "a.parquet"]) == 0
    shown = capsys.readouterr().out
    assert "12/12 tasks" in shown and "kept        4 tasks" in shown
    assert cli.main([*words, "--output", "a.parquet"]) == 2
    assert "a.parquet exists already" in capsys.readouterr().err
    assert cli.main(["curate", "--from", "a.parquet", "--score", "exact-regret", "--output", "b.parquet"]) == 0
    assert pq.read_metadata("b.parquet").num_rows == 4


BAD = {
    "unknown family": (["--family", "bandits"], "did you mean"),
    "unknown score": (["--score", "regert"], "did you mean 'regret'"),
    "unknown choice": (["--keep", "best"], "unknown keep 'best'"),
    "unknown rule": (["--rule", "a3c"], "unknown rule 'a3c'; did you mean 'a2c'"),
    "no such file": (["--from", "nowhere.parquet"], "nowhere.parquet is not a file"),
    "nothing to edit": (["--edits", "2"], "edits must be at least 0, and need tasks to start from"),
    "no tasks": (["--count", "0"], "count must be at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, tmp_path: Path, monkeypatch, capsys):
    words, message = BAD[case]
    assert_refused(["curate", *words], message, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("name", config.PRESETS)
def test_the_sizes_of_every_preset_can_be_taken(name: str):
    """Also of those that evolve, whose population would not fit a single life."""
    curation, _ = curate_command._parse([name])
    assert curation.config.life == config.preset(name).life


def test_lives_may_be_shorter_than_a_piece_of_training():
    """Nothing is learned in pieces here, so that no flag of theirs can be missed."""
    curation, _ = curate_command._parse(["--life.updates", "2", "3"])
    assert curation.config.life.updates == (2, 3)
