"""Evaluation on suites: who takes part, what is kept, what is said of it."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest

from groove import cli, evaluation, protocols, rules
from groove.evaluation import execution, results
from groove.lifetime import exact, learning_curve, lifetime
from groove.protocols import PROTOCOLS, Setting, Tuned
from groove.report import figures
from groove.report import suites as pages
from levels.bandit import bernoulli_bandit
from levels.suites import SUITES, splits

NOTHING = Tuned({}, {})
SUITE, SCALE = "chains", "smoke"


def plan(*words: str, tuned: Tuned = NOTHING, suite: str = SUITE) -> evaluation.Plan:
    return evaluation.Plan(suite, SCALE, evaluation.named_methods(words, suite, tuned), tuned)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results of A2C."""
    folder = tmp_path_factory.mktemp("results")
    evaluation.evaluated(plan("a2c"), folder)
    return folder


def made_up(**changes) -> pa.Table:
    """Two rules on two tasks, two seeds, two points: returns 0.1 (task) + seed + 10 (update)."""
    rows = [(rule, task, seed, update) for rule in ("a", "b") for task in ("x", "y") for seed in (0, 1) for update in (1, 4)]
    rule, task, seed, update = (np.array(column) for column in zip(*rows, strict=True))
    columns = {
        "rule": rule,
        "meta_seed": np.zeros(len(rows), int),
        "learned": rule == "b",
        "tuned": np.ones(len(rows), bool),
        "suite": np.repeat("s", len(rows)),
        "suite_hash": np.repeat("h", len(rows)),
        "scale": np.repeat("tiny", len(rows)),
        "protocol_hash": np.repeat("p", len(rows)),
        "split": np.repeat("c", len(rows)),
        "task": task,
        "seed": seed,
        "update": update,
        "lifetime": np.repeat(4, len(rows)),
        "episode_return": 0.1 * (task == "y") + seed + 10.0 * update + (rule == "b"),
        "standard_error": np.zeros(len(rows)),
        "zero": np.zeros(len(rows)),
        "one": np.repeat(100.0, len(rows)),
        "one_is": np.repeat("optimum", len(rows)),
        "about": np.repeat("{}", len(rows)),
        "versions": np.repeat("{}", len(rows)),
    }
    return results.table_of(columns | changes)


# Lives


def test_every_suite_has_a_protocol():
    assert set(PROTOCOLS) == set(SUITES)


def test_what_is_measured_does_not_depend_on_the_other_points_nor_on_blocks():
    family = bernoulli_bandit(arms=3, pulls=(4, 4))
    rule = rules.a2c(family.environment.spec)
    life = lifetime(
        rule, family.environment, environments=2, steps=3, evaluate=exact(rule, family.environment, family.value)
    )
    levels = jax.vmap(family.generator.sample)(jax.random.split(jax.random.key(0), 3))

    def courses(points, levels=levels, first=0, block=2):
        return learning_curve.learning_curves(
            life, jax.random.key(1), (), levels, jnp.array(points, jnp.int32), agents=2, first=first, block=block
        ).episode_return

    whole = courses([2, 5])
    assert whole.shape == (3, 2, 2)
    np.testing.assert_allclose(whole[..., 1:], courses([5], block=3), rtol=1e-6)
    rest = courses([2, 5], levels=jax.tree.map(lambda leaf: leaf[2:], levels), first=2)
    np.testing.assert_allclose(whole[2:], rest, rtol=1e-6)


def test_a_course_ends_like_the_same_life_by_hand():
    family = bernoulli_bandit(arms=3, pulls=(4, 4))
    rule = rules.a2c(family.environment.spec)
    life = lifetime(
        rule, family.environment, environments=2, steps=3, evaluate=exact(rule, family.environment, family.value)
    )
    level = jax.tree.map(np.asarray, jax.jit(family.generator.sample)(jax.random.key(0)))
    stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf[None]), level)
    found = learning_curve.learning_curves(life, jax.random.key(1), (), stacked, jnp.array([3], jnp.int32), agents=1)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), 0), 0)
    begin_key, life_key, measure_key = jax.random.split(key, 3)
    member, update = jax.jit(life.begin)(begin_key, level, np.int32(3)), jax.jit(life.update)
    for n in range(3):
        member = update(jax.random.fold_in(life_key, n), (), member, level)[0]
    assert int(member.clock.lifetime) == int(member.clock.update) == 3
    want = jax.jit(life.evaluate)(jax.random.fold_in(measure_key, 3), member.agent, level, np.array(True)).episode_return
    np.testing.assert_allclose(np.asarray(found.episode_return)[0, 0, 0], want, rtol=1e-6)


# What is kept


def test_rows_are_those_of_the_protocol(done: Path):
    table = results.read(done)
    budget = PROTOCOLS[SUITE].budgets[SCALE]
    tasks = [task for split in splits(SUITES[SUITE]) for task in split.tasks[: budget.tasks]]
    points = protocols.points_of(PROTOCOLS[SUITE], SCALE)
    assert table.num_rows == len(tasks) * budget.seeds * len(points)
    assert table["task"].unique().to_pylist() == tasks
    assert table["suite_hash"].unique().to_pylist() + table["protocol_hash"].unique().to_pylist() == protocols.hashes(
        SUITE, SCALE
    )
    about = json.loads(table["about"][0].as_py())
    assert about["rule"] == "a2c" and about["rate"] == 40.0
    assert set(table["one_is"].to_pylist()) == {"optimum"} and set(table["tuned"].to_pylist()) == {False}


def test_what_is_done_is_not_done_again(done: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(execution, "_lived", lambda *args: pytest.fail("lived again"))
    before = results.read(done)
    assert evaluation.evaluated(plan("a2c"), done).equals(before)


def test_stopped_and_resumed_is_never_stopped(done: Path, tmp_path: Path):
    asked = iter([False, True])
    with pytest.raises(evaluation.Stopped, match="stopped after 2 of 4 tasks"):
        evaluation.evaluated(plan("a2c"), tmp_path, stopped=lambda: next(asked))
    assert 0 < results.read(tmp_path).num_rows < results.read(done).num_rows
    assert evaluation.evaluated(plan("a2c"), tmp_path).equals(results.read(done))


def test_another_rule_of_the_same_name_is_refused(done: Path):
    other = Tuned({"a2c": {split: Setting(1.0, 0.0) for split in SUITES[SUITE].splits}}, {})
    with pytest.raises(ValueError, match="different rules called 'a2c'.*LABEL=RULE"):
        evaluation.evaluated(plan("a2c", tuned=other), done)


def test_other_numbers_for_0_and_1_are_refused_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    once = plan("random", suite="classic", tuned=Tuned({}, {"CartPole-v1": (20.0, 400.0)}))
    table = made_up(
        **{
            name: np.repeat(str(value), 16)
            for name, value in execution._identity(once, next(execution._pieces(once))).items()
            if name in results.PLACE
        },
        task=np.repeat("CartPole-v1", 16),
        meta_seed=np.repeat((0, 1, 0, 1), 4),
        one=np.repeat(300.0, 16),
        one_is=np.repeat("a2c", 16),
    )
    assert results.write(tmp_path / results.NAME, table)
    monkeypatch.setattr(execution, "_lived", lambda *args: pytest.fail("lived"))
    with pytest.raises(ValueError, match="other numbers for 0 and 1 on the task CartPole-v1"):
        evaluation.evaluated(once, tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="groove evaluate writes one"):
        results.read(tmp_path)
    path = tmp_path / "results.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match="damaged or no Parquet file"):
        results.read(path)
    assert results.write(path, made_up())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged or no Parquet file"):
        results.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(["task"]), "has other columns"),
        (lambda table: pa.concat_tables([table, table]), "holds 16 rows twice"),
        (lambda table: table.replace_schema_metadata({}), "no file of results"),
        (lambda table: table.replace_schema_metadata({results.KEY: b"9"}), "has version '9' of the columns"),
    ],
)
def test_files_of_others(tmp_path: Path, change, message: str):
    path = tmp_path / "results.parquet"
    assert results.write(path, change(made_up()))
    with pytest.raises(ValueError, match=message):
        results.read(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("episode_return", np.inf, "episode_return must be finite, or NaN where an agent diverged: see row 0"),
        ("about", "[1]", "about must hold JSON objects"),
        ("one", 0.0, "zero must be below one, both finite, got 0.0 and 0.0 on 'x'"),
        ("zero", np.nan, "zero must be below one, both finite, got nan and 100.0"),
        ("one_is", "the best", "one_is must be optimum, a2c, flat or nothing, got 'the best'"),
    ],
)
def test_values_of_others(tmp_path: Path, column: str, value, message: str):
    assert results.write(tmp_path / "results.parquet", made_up(**{column: np.repeat(value, 16)}))
    with pytest.raises(ValueError, match=message):
        results.read(tmp_path)


def test_files_are_put_together():
    first, second = made_up().slice(0, 10), made_up().slice(6)
    assert results.merged([first, second]).sort_by([("rule", "ascending")]).num_rows == 16
    other = made_up(episode_return=np.zeros(16))
    with pytest.raises(ValueError, match="two files differ on a"):
        results.merged([made_up(), other])


def test_machines_may_round_differently():
    assert (
        results.merged([made_up(), made_up(episode_return=np.array(made_up()["episode_return"]) * (1 + 1e-7))]).num_rows
        == 16
    )


def test_large_seeds_are_kept(tmp_path: Path):
    assert results.write(tmp_path / results.NAME, made_up(meta_seed=np.full(16, 2**32 - 3)))
    assert results.read(tmp_path)["meta_seed"].to_pylist() == [2**32 - 3] * 16


def test_few_tasks_are_shared_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(execution, "workers", lambda: 4)
    assert [execution.block_of(tasks) for tasks in (1, 5, 16, 1000)] == [1, 2, 4, execution.BLOCK]


def about_run(seed: int, **settings: object) -> np.ndarray:
    return np.repeat(json.dumps({"rule": "lpg", "sha256": str(seed), "config": {"seed": seed, "start": "", **settings}}), 16)


def test_one_name_is_one_training():
    """From several seeds, and from the trained rules of several seeds; not from other settings, nor from none."""
    first = made_up(about=about_run(0, gamma=0.9))
    for settings, fits in (({"gamma": 0.9}, True), ({"gamma": 0.5}, False), ({"gamma": 0.9, "start": "runs/a"}, False)):
        second = made_up(meta_seed=np.ones(16, int), about=about_run(1, **settings))
        if fits:
            assert results.merged([first, second]).num_rows == 32
        else:
            with pytest.raises(ValueError, match="different rules called 'a' on c.*LABEL=RULE"):
                results.merged([first, second])
    with pytest.raises(ValueError, match="different rules called 'a'"):
        results.merged([first.slice(0, 4), made_up(about=about_run(2, gamma=0.9)).slice(4)])  # one meta-seed, two files
    started = [made_up(meta_seed=np.repeat(i, 16), about=about_run(i, start=f"runs/{i}")) for i in (0, 1)]
    assert results.merged(started).num_rows == 32


def test_a_task_has_one_0_and_1():
    half = made_up(one=np.repeat(50.0, 16)).slice(8)
    for tables in ([made_up().slice(0, 8), half], [half, made_up().slice(0, 8)]):
        with pytest.raises(ValueError, match="what 0 and 1 are on the task x of s is said in several ways"):
            results.merged(tables)


# Who takes part


def test_unknown_rules_and_names_given_twice():
    with pytest.raises(ValueError, match="unknown rule 'a2x'; did you mean 'a2c'"):
        plan("a2x")
    with pytest.raises(ValueError, match="must differ in label or meta-seed, got 'a2c'"):
        plan("a2c", "a2c")
    with pytest.raises(ValueError, match="RULE or LABEL=RULE"):
        plan("=a2c")
    assert [one.label for one in plan("mine=a2c", "a2c").methods] == ["mine", "a2c"]
    for word in ("a2c=ppo", "random=a2c"):
        with pytest.raises(ValueError, match="belongs to the rule"):
            plan(word)
    for word in ("a\nb=a2c", f"{'long' * 30}=a2c"):
        with pytest.raises(ValueError, match="LABEL of 1 to 80 characters"):
            plan(word)


def test_folders_of_sweeps_are_paths_not_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("meta.rate=0.1,seed-0").mkdir()
    with pytest.raises(FileNotFoundError, match=r"meta.rate=0.1,seed-0"):
        plan("meta.rate=0.1,seed-0")
    with pytest.raises(FileNotFoundError, match=r"^runs/first is not a file"):
        plan("mine=runs/first")  # whatever holds a slash is a path
    with pytest.raises(FileNotFoundError, match=r"^runs/meta.rate=0.1,seed-0 is not a file"):
        plan("runs/meta.rate=0.1,seed-0")


def test_an_edited_rule_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    seen = []
    for gamma in (0.9, 0.5):
        (tmp_path / "edited_rule.py").write_text(f"GAMMA = {gamma}\n")
        (one,) = plan("edited_rule:rule").methods
        seen.append(one.about(splits(SUITES[SUITE])[0])["source"])
    assert seen[0] != seen[1] and all(seen)


def test_a_rule_of_others_is_traced_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """By package.module:object in the working directory: whole, and one whose agents change their form."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    whole = "from groove import rules\ndef rule(spec, architecture):\n    return rules.a2c(spec, architecture)\n"
    broken = "def broken(spec, architecture):\n    return rule(spec, architecture)._replace(policy=lambda *seen: 0.0)\n"
    assert (tmp_path / "my_own_rule.py").write_text(whole + broken)
    found = plan("mine=my_own_rule:rule")
    assert evaluation.check(found) is found
    assert found.methods[0].about(splits(SUITES[SUITE])[0])["rule"] == "my_own_rule:rule"
    words = ["evaluate", "bad=my_own_rule:broken", "--suite", SUITE, "--scale", SCALE, "--output", "o"]
    assert cli.main(words) == 2
    assert "plug-in 'bad' cannot be used" in capsys.readouterr().err and not Path("o").exists()


def test_tuned_settings_reach_the_rule():
    found = Tuned({"a2c": {"chain": Setting(3.0, 0.25)}}, {})
    (one,) = plan("a2c", tuned=found).methods
    chain, distractors = splits(SUITES[SUITE])
    said = {"rule": "a2c", "rate": 3.0, "entropy": 0.25, **protocols.identity("a2c")}
    assert one.about(chain) == said and one.tuned(chain)
    assert one.about(distractors)["rate"] == 5e-4 and not one.tuned(distractors)


@pytest.mark.parametrize("name", ["EPOCHS", "MINIBATCHES", "CRITIC_SHARE"])
def test_all_that_decides_a_baseline_is_in_its_identity(name: str, monkeypatch: pytest.MonkeyPatch):
    """What was tuned, and what results say of it, belong to these numbers."""
    before = protocols.identity("ppo"), plan("ppo").methods[0].about(splits(SUITES[SUITE])[0])
    monkeypatch.setattr(protocols.baselines, name, 1)
    after = protocols.identity("ppo"), plan("ppo").methods[0].about(splits(SUITES[SUITE])[0])
    assert before[0] != after[0] and before[1] != after[1]
    arguments = {"clip", "epochs", "minibatches", "anneal", "critic_share", "tabular", "mlp", "convolutional"}
    assert set(after[0]) == arguments and set(after[0]["tabular"]) == {"clip", "zeros"}


def test_rules_of_others_are_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "rule_as_given.py").write_text("from groove.rules import a2c as rule\n")
    (one,) = plan("rule_as_given:rule").methods
    split = splits(SUITES[SUITE])[0]
    assert not one.tuned(split)
    about = np.repeat(json.dumps(one.about(split)), 16)
    (suite_result,) = evaluation.suite_results(made_up(about=about, tuned=np.zeros(16, bool)))
    said = " ".join(pages.warnings(suite_result))
    assert "Settings as given, not tuned for this suite: a, b." in said and "untuned" not in said
    smoke = pages.warnings(suite_result._replace(scale="smoke"))[0]
    assert smoke == "This is a smoke test: it shows that everything runs, and proves nothing of any rule."


# What is said


def test_standings_by_hand():
    (suite_result,) = evaluation.suite_results(made_up())
    assert suite_result.tasks == ("x", "y") and suite_result.points == (1, 4) and not suite_result.unnormalised
    a, b = suite_result.entries
    np.testing.assert_allclose(a.scores, [[[0.40, 0.401], [0.41, 0.411]]])
    np.testing.assert_allclose(b.courses[0], [[[0.11, 0.111], [0.12, 0.121]]])
    assert (a.learned, b.learned, b.metas) == (False, True, 1)
    np.testing.assert_allclose(suite_result.raw["a"], [40.5, 40.6])
    assert evaluation.improvements(suite_result)["b", "a"].point == pytest.approx(0.875)  # of four pairs three, one tied


def test_meta_seeds_are_an_axis():
    table = pa.concat_tables([made_up(), made_up(meta_seed=np.ones(16, int))])
    (suite_result,) = evaluation.suite_results(table)
    assert [entry.metas for entry in suite_result.entries] == [2, 2]
    assert suite_result.entries[0].scores.shape == (2, 2, 2)


def test_rules_that_are_not_done_are_left_out():
    (suite_result,) = evaluation.suite_results(made_up().slice(0, 15))
    assert [entry.rule for entry in suite_result.entries] == ["a"] and suite_result.unfinished == ("b",)
    assert any("not met all these tasks yet: b" in warning for warning in pages.warnings(suite_result))


def test_tasks_without_a_range_are_not_normalised():
    x = np.array(made_up()["task"]) == "x"
    one, is_one = np.where(x, 100.0, np.nan), np.where(x, "optimum", "flat")
    (suite_result,) = evaluation.suite_results(made_up(one=one, one_is=is_one))
    assert suite_result.tasks == ("x",) and suite_result.unnormalised == ("y",)
    assert list(suite_result.raw["a"]) == pytest.approx([40.5, 40.6])


def test_where_nothing_is_known_a2c_is_one():
    names = {"a": "random", "b": "a2c"}
    rule = np.array([names[name] for name in made_up()["rule"].to_pylist()])
    nothing = {"rule": rule, "one": np.full(16, np.nan), "zero": np.full(16, np.nan)}
    (flat,) = evaluation.suite_results(made_up(**nothing, one_is=np.repeat("flat", 16)))
    assert not flat.tasks and flat.unnormalised == ("x", "y")  # whoever takes part
    (suite_result,) = evaluation.suite_results(made_up(**nothing, one_is=np.repeat("", 16)))
    assert suite_result.ones == ("a2c here",)
    random, antagonist = suite_result.entries
    assert float(random.scores.mean()) == pytest.approx(0.0) and float(antagonist.scores.mean()) == pytest.approx(1.0)


def test_bounds_come_from_the_suite_or_from_references():
    split = splits(SUITES["classic"])[0]
    zero, one, is_one = execution.bounds(split, Tuned({}, {"CartPole-v1": (20.0, 400.0)}))
    assert (zero.tolist(), one.tolist(), is_one.tolist()) == ([20.0], [400.0], ["a2c"])
    zero, one, is_one = execution.bounds(split, NOTHING)
    assert np.isnan([zero, one]).all() and is_one.tolist() == [""]
    assert execution.bounds(split, Tuned({}, {"CartPole-v1": (20.0, 20.0)}))[2].tolist() == ["flat"]
    maze = splits(SUITES["mazes"])[0]
    assert np.isnan(execution.bounds(maze, NOTHING)[1]).sum() == len(maze.flat) == 1


# Commands


def test_suites_are_listed_and_drawn(capsys):
    assert cli.main(["levels", "suites"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name:<17}" in listed for name in SUITES)
    assert cli.main(["levels", "suites", "chains", "--first", "1"]) == 0
    drawn = capsys.readouterr().out
    assert "chain-5-quiet" in drawn and "5 steps" in drawn and "chain-5-noisy" not in drawn
    assert cli.main(["levels", "suites", "chain"]) == 2
    assert "did you mean 'chains'?" in capsys.readouterr().err


def test_names_of_strangers_are_names(tmp_path: Path):
    """Not paths, nor mathematics, nor hidden."""
    rule = np.where(np.array(made_up()["rule"]) == "a", r"x$\frac{$", "_" + "long" * 15)
    found = evaluation.suite_results(made_up(rule=rule, suite=np.repeat("../../evil", 16), scale=np.repeat("a/b", 16)))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    page = pages.write(found, tmp_path / "deep" / "er").read_text(encoding="utf-8")
    assert r"x$\frac{$" in page and "long" * 15 in page
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {file.parent.name for file in files} == {"er", "figures"} and all(
        "evil" in f.name for f in files if f.suffix == ".png"
    )


def test_pictures_of_one_name_are_kept_apart(tmp_path: Path):
    figures.save([figures.Picture("a", b"1", ""), figures.Picture("a", b"2", ""), figures.Picture("..", b"3", "")], tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".png", "a-2.png", "a.png"]


def test_a_run_keeps_its_page(tmp_path: Path, capsys):
    assert (tmp_path / "config.json").write_text("{}")
    assert cli.main(["evaluate", "a2c", "--suite", SUITE, "--scale", SCALE, "--output", str(tmp_path)]) == 2
    assert "is a run's folder" in capsys.readouterr().err
    assert cli.main(["report", "--output", str(tmp_path / "x.html")]) == 2
    assert "needs at least one run or result" in capsys.readouterr().err


def test_the_terminal_says_what_was_not_tuned(tmp_path: Path, capsys):
    assert cli.main(["evaluate", "a2c", "--suite", SUITE, "--scale", SCALE, "--output", str(tmp_path)]) == 0
    assert "note        Not tuned for this suite at this scale: a2c" in capsys.readouterr().out
    assert {"python", "device", "jax"} <= json.loads(results.read(tmp_path)["versions"][0].as_py()).keys()


def test_results_are_drawn_again(done: Path, tmp_path: Path, capsys):
    assert cli.main(["report", str(done), "--output", str(tmp_path / "page.html")]) == 0
    assert "page.html" in capsys.readouterr().out and "a2c" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_tuning_by_command_says_what_it_chose(tmp_path: Path, capsys):
    path = tmp_path / "mine.json"
    assert cli.main(["tune", "a2c", "--suite", SUITE, "--scale", SCALE, "--output", str(path)]) == 0
    chosen = protocols.tuned(SUITE, SCALE, path).settings["a2c"]["chain"]
    with pytest.raises(ValueError, match=r"mine.json says nothing of the suite bandits at the scale smoke"):
        protocols.tuned("bandits", SCALE, path)
    assert f"rate {chosen.rate:<8g} entropy {chosen.entropy:g}" in capsys.readouterr().out
    assert cli.main(["tune", "a2x", "--output", str(path)]) == 2
    assert "unknown rule 'a2x'" in capsys.readouterr().err


def test_the_page_has_the_figures_of_the_committed_results():
    root = Path(__file__).parents[1]
    (suite_result,) = evaluation.suite_results(results.read(root / "benchmarks" / "results" / "grid-unseen-small.parquet"))
    assert suite_result.hashes == tuple(protocols.hashes("grid-unseen", "small")), (
        "the suite or its protocol has changed since"
    )
    assert len(suite_result.tasks) == 64 and all(entry.tuned or entry.learned for entry in suite_result.entries)
    _, head, rows = pages.lines(suite_result)
    said = (root / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for row in (head, *rows):
        assert "| " + " | ".join(row).rstrip() + " |" in said
