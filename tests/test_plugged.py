"""Parts of other packages in runs: named, refused with the reason before there is a folder, trained, resumed, loaded."""

import dataclasses
import json
import os
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import groove
from groove import assembly, cli, config, curate, runs
from groove.cli import trial
from groove.files import curriculumfile
from groove.runs import playing
from levels import dataset, plugins

PARTS = """
import jax
import jax.numpy as jnp

from groove import curricula, rules
from groove.base import Score
from levels.base import Generator
from levels.chain import chain

CORRIDOR = chain(length=(2, 4))


def half(key):
    level = CORRIDOR.generator.sample(key)
    return jax.tree.map(lambda leaf: leaf.astype("bfloat16") if leaf.dtype == "float32" else leaf, level)


NARROW = CORRIDOR._replace(generator=Generator(half))


def open_fields(key, family):
    level = family.generator.sample(key)
    rows, columns = jnp.indices(level.walls.shape)
    return level._replace(walls=(rows >= level.height) | (columns >= level.width))


def padded(key, family):
    level = family.generator.sample(key)
    return level._replace(walls=jnp.pad(level.walls, 1))


def branching(key):
    return 1.0 if jax.random.uniform(key) < 0.5 else 0.0


def gap(family, antagonist):
    def reference(key, level, lifetime):
        live_key, measure_key = jax.random.split(key)
        agent = antagonist.live(live_key, (), level, lifetime)
        return antagonist.evaluate(measure_key, agent, level, jnp.bool_(True)).episode_return

    return Score(reference, lambda outcome, reference, memory: (reference - outcome.episode_return, memory))


SURPRISE = Score(
    reference=lambda key, level, lifetime: (),
    score=lambda outcome, reference, memory: (outcome.signals.advantage_size, memory),
)
HOPELESS = Score(
    reference=lambda key, level, lifetime: (),
    score=lambda outcome, reference, memory: (jnp.log(-1.0 - outcome.episode_return**2), memory),
)
COMPLEX = SURPRISE._replace(reference=lambda key, level, lifetime: jnp.complex64(0))


def unsound():
    # pays NaN on the way to its bad end, where it is short
    reset, step = CORRIDOR.environment.reset, CORRIDOR.environment.step

    def paid(noise, level, state, action):
        state, timestep = step(noise, level, state, action)
        return state, timestep._replace(reward=jnp.where((level.length < 4) & (action == 0), jnp.nan, timestep.reward))

    return CORRIDOR._replace(environment=CORRIDOR.environment._replace(step=paid))


def ill(key):
    level = CORRIDOR.generator.sample(key)
    return level._replace(noise=jnp.where(level.length < 4, jnp.inf, level.noise))


UNLIKE = SURPRISE._replace(like=jnp.zeros(2, jnp.float32))
FORGETFUL = SURPRISE._replace(score=lambda outcome, reference, memory: (outcome.episode_return, outcome))


def keeping(source, family, score, capacity):
    return curricula.prioritised(source, capacity=capacity)


def stuck(source, family, score, capacity):
    return curricula.uniform(source)._replace(report=lambda *given: ())


def talkative(source, family, score, capacity):
    return curricula.uniform(source)._replace(info=lambda state: {"shares": jnp.zeros(5, jnp.float32)})


def learner(spec, architecture):
    return rules.lpg(spec, architecture, targets=rules.recurrent_targets(width=4, predictions=3), predictions=3)


def handmade(spec, architecture):
    return rules.a2c(spec, architecture)


def growing(spec, architecture):
    rule = rules.a2c(spec, architecture)
    return rule._replace(update=lambda key, theta, agent, rollout, clock: ((agent, agent), {}))


def silent(spec, architecture):
    return rules.a2c(spec, architecture)._replace(diagnose=lambda agent, rollout: {})


def failing(*arguments):
    raise RuntimeError("out of order")
"""
ENTRIES = """
[groove.families]
corridor = someones_parts:CORRIDOR
a/b = someones_parts:CORRIDOR
broken = someones_parts:failing
lost = nobodys_parts:family
[groove.generators]
padded = someones_parts:padded
open = someones_parts:open_fields
[groove.scores]
gap = someones_parts:gap
[groove.curricula]
keeping = someones_parts:keeping
[groove.rules]
learner = someones_parts:learner
handmade = someones_parts:handmade
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package as pip leaves it, in a folder of its own; the working directory is another one."""
    folder, work = tmp_path / "site", tmp_path / "work"
    info = folder / "someones_parts-0.3.dist-info"
    assert (info.mkdir(parents=True), work.mkdir()) == (None, None)
    for path, text in (
        (folder / "someones_parts.py", PARTS),
        (info / "entry_points.txt", ENTRIES),
        (info / "METADATA", "Metadata-Version: 2.1\nName: someones-parts\nVersion: 0.3\n"),
    ):
        assert path.write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(work)
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    assert sys.modules.pop("someones_parts", None) is not sys


def small(families=("gridworld",), generators=(), rule="lpg", **curriculum) -> config.Config:
    start = config.smoke(config.QUICK)
    return dataclasses.replace(
        start,
        families=families,
        members=(2,) * len(families),
        generators=generators,
        rule=dataclasses.replace(start.rule, kind=rule),
        curriculum=dataclasses.replace(start.curriculum, **curriculum),
    )


def test_names_are_checked_without_importing(installed):
    good = small(("gridworld", "corridor"), ("open", ""), "learner", kind="keeping", score="gap", antagonist="handmade")
    assert config.check(good) == good and "someones_parts" not in sys.modules
    assert config.sources(good) == {
        "groove.families": {"corridor": "someones-parts 0.3"},
        "groove.generators": {"open": "someones-parts 0.3"},
        "groove.rules": {"learner": "someones-parts 0.3", "handmade": "someones-parts 0.3"},
        "groove.curricula": {"keeping": "someones-parts 0.3"},
        "groove.scores": {"gap": "someones-parts 0.3"},
    }
    assert config.sources(small(antagonist="runs/first")) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (small(("coridor",)), r"unknown family 'coridor'; did you mean 'corridor'\? Known: gridworld, "),
        (small(("a/b",)), "families must have names of letters, digits and .* alone, got 'a/b'"),
        (small(("jaxued:Mase",)), "unknown family 'jaxued:Mase'; did you mean 'jaxued:Maze'"),
        (small(generators=("opn",)), "unknown generator 'opn'; did you mean 'open'"),
        (small(generators=("open", "open")), r"generators must be none or one a family, got \('open', 'open'\)"),
        (small(score="gab"), "unknown score 'gab'; did you mean 'gap'"),
        (small(kind="keepin"), "unknown kind 'keepin'; did you mean 'keeping'"),
        (small(rule="lerner"), "unknown kind 'lerner'; did you mean 'learner'"),
        (small(antagonist="handmad"), "unknown antagonist 'handmad'; did you mean 'handmade'"),
        (small(("jaxued:Maze",), exact=True), "curriculum.exact needs exact returns, which 'jaxued:Maze' lacks"),
    ],
)
def test_unknown_names_get_a_suggestion(installed, settings, message):
    with pytest.raises(ValueError, match=message):
        config.check(settings)


M = "someones_parts:"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (small((M + "failing",)), "plug-in 'someones_parts:failing' fails: RuntimeError: out of order"),
        (small((M + "gap",)), "plug-in 'someones_parts:gap' fails: TypeError"),
        (small((M + "PARTS",)), "plug-in 'someones_parts:PARTS' cannot be loaded"),
        (small((M + "NARROW",)), r"NARROW' cannot be used: \w+ of a sample is bfloat16, which no file of levels can hold"),
        (small(score=M + "COMPLEX"), r"COMPLEX' cannot be used: a reference is complex64, which no file of levels can hold"),
        (small(generators=(M + "padded",)), r"walls of a sample is bool\[6,6\], of a level of gridworld bool\[4,4\]"),
        (small(generators=(M + "branching",)), "plug-in 'someones_parts:branching' fails: TracerBoolConversionError"),
        (small(score=M + "FORGETFUL"), "'someones_parts:FORGETFUL' cannot be used: the memory after a score is .*"),
        (small(score=M + "UNLIKE"), "'someones_parts:UNLIKE' cannot be used: what is like a reference is .*"),
        (small(score=M + "learner"), "plug-in 'someones_parts:learner' fails|must be a Score or a function that makes one"),
        (small(kind=M + "talkative"), "'someones_parts:talkative' cannot be used: .* of info's info is f32"),
        (small(kind=M + "stuck"), "'someones_parts:stuck' cannot be used: the state after report is nothing"),
        (small(rule=M + "growing"), "'someones_parts:growing' cannot be used: the agent after an update is"),
        (small(rule=M + "silent"), "cannot be used: diagnose does not give the policy's entropy"),
        (small(rule="handmade"), "rule.kind must name a rule with parameters to learn, 'handmade' has none"),
        (small(antagonist=M + "growing"), "'someones_parts:growing' cannot be used"),
    ],
)
def test_what_is_broken_is_refused_with_the_reason(installed, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        assembly.build(config.check(settings))
    assert "\n" not in str(caught.value)


def test_nothing_is_left_of_a_run_that_is_refused(installed, tmp_path, capsys):
    words = ["train", "--families", "gridworld", "--members", "2", "--generators", f"{M}padded", "--output", "run"]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert "plug-in 'someones_parts:padded'" in error and error.count("\n") == 1
    assert not list((tmp_path / "work").iterdir())


def test_only_scores_that_read_signals_have_agents_watched(installed):
    for score, watched in (("gap", False), (f"{M}SURPRISE", True), ("regret", False), ("max-mc", True)):
        part = assembly.build(small(score=score)).parts[0]
        agent = jax.eval_shape(part.rule.init_agent, jax.random.key(0))
        assert (type(agent).__name__ == "Watched") is watched, score


def test_a_score_and_an_antagonist_of_others_are_computed(installed):
    run = assembly.build(small(score="gap", antagonist="handmade"))
    state = jax.jit(run.trainer.refresh)(jax.jit(run.trainer.init)(jax.random.key(0)))
    state, info = jax.jit(run.trainer.chunk)(state)
    assert int(state.step) == 2 and np.all(np.isfinite(info["gradient_norm"]))


def test_the_working_directory_holds_parts_too(installed, tmp_path, capsys):
    assert (tmp_path / "work" / "mine_alone.py").write_text("raise RuntimeError('found it')\n")
    assert cli.main(["train", "--families", "mine_alone:family", "--members", "2"]) == 2
    assert "plug-in 'mine_alone:family' cannot be imported: RuntimeError: found it" in capsys.readouterr().err


def test_all_parts_are_listed_and_broken_ones_with_the_reason(installed, capsys):
    assert cli.main(["levels", "list"]) == 0
    lines = [line[12:].split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    listed = dict(lines)
    assert listed["gridworld"] == "built in" and listed["jaxued:Maze"].startswith("jaxued ")
    assert {"open", "padded", "keeping", "learner", "handmade", "lpg", "accel", "max-mc", "gymnax:NAME"} <= set(listed)
    assert listed["corridor"] == "someones-parts 0.3, someones_parts:CORRIDOR"
    assert listed["gap"] == "someones-parts 0.3, someones_parts:gap"
    assert listed["broken"].endswith("; broken: fails: RuntimeError: out of order")
    assert "; broken: cannot be imported: ModuleNotFoundError: No module named 'nobodys_parts'" in listed["lost"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["corridor", "--only", "variety"], 0, "corridor: all of 2 laws are kept."),
        (["open", "--family", "gridworld", "--only", "validity"], 0, "open: all of 3 laws are kept."),
        (["padded", "--family", "gridworld", "--only", "form"], 1, "walls of a sample is bool[6,6]"),
        (["padded", "--only", "form"], 1, "a key and a family, which is not known here"),
        (["broken"], 1, "RuntimeError in failing"),
        (["lost"], 1, "cannot be imported: ModuleNotFoundError"),
        (["corrido"], 2, "unknown family or generator 'corrido'; did you mean 'corridor'"),
        (["opem", "--family", "gridworld"], 2, "unknown generator 'opem'; did you mean 'open'"),
        (["corridor", "--levels", "1"], 2, "levels and episodes must be at least 2, got (1, 64)"),
    ],
)
def test_parts_are_checked_by_name(installed, capsys, words, code, said):
    size = [] if "--levels" in words else ["--levels", "4"]
    assert cli.main(["levels", "check", *words, *size]) == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


@pytest.mark.parametrize(
    ("words", "kind", "code", "said"),
    [
        ("gap", "--curriculum.score gap", 0, "gap: all of 2 laws are kept."),
        (f"{M}SURPRISE --family corridor", f"--curriculum.score {M}SURPRISE", 0, "passed   contract"),
        ("keeping", "--curriculum.kind keeping", 0, "keeping: all of 2 laws are kept."),
        ("learner", "--rule.kind learner", 0, "learner: all of 2 laws are kept."),
        (f"{M}handmade", f"--curriculum.antagonist {M}handmade", 0, "all of 2 laws are kept."),
        ("max-mc", "--curriculum.score max-mc", 0, "max-mc: all of 2 laws are kept."),
        (
            f"{M}FORGETFUL",
            "",
            1,
            f"FAILED   contract    plug-in '{M}FORGETFUL' cannot be used: the memory after a score",
        ),
        (f"{M}stuck", "", 1, "the state after report is nothing"),
        (f"{M}growing", "", 1, "the agent after an update is"),
        (f"{M}failing --kind score", "", 1, "RuntimeError: out of order"),
        ("gapp --kind score", "", 2, "unknown score 'gapp'; did you mean 'gap'"),
        ("gap --kind sore", "", 2, "unknown kind 'sore'; did you mean 'score'"),
    ],
)
def test_scores_curricula_and_rules_are_tried(installed, capsys, monkeypatch, words, kind, code, said):
    """The last line is a command that uses what is whole, and asks again about what is not."""
    monkeypatch.setattr(trial, "lived", lambda run: "2 of a small run, all numbers finite.")
    assert cli.main(["levels", "check", *words.split()]) == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err
    if code == 0:
        family = "corridor" if "corridor" in words else "gridworld"
        trust = f" --trust {words.split()[0]}" if ":" in words else ""
        assert shown.out.splitlines()[-1] == f"groove train --families {family} --members 48 {kind}{trust}"
    if code == 1:
        assert shown.out.splitlines()[-1] == f"groove levels check {words}"


@pytest.mark.parametrize(
    "words", ["corridor", f"{M}CORRIDOR", "open --family gridworld", f"{M}open_fields --family gridworld", "gap"]
)
def test_the_last_line_of_a_check_is_a_command_that_works(installed, capsys, monkeypatch, words):
    monkeypatch.setattr(trial, "lived", lambda run: "")
    only = [] if words == "gap" else ["--only", "variety", "--levels", "4"]
    assert cli.main(["levels", "check", *words.split(), *only]) == 0
    *_, before, last = capsys.readouterr().out.splitlines()
    assert before == "to use it:" and last.startswith("groove train ") and ("--trust" in last) == (":" in words)
    monkeypatch.delenv("GROOVE_SMOKE")
    monkeypatch.setattr(cli.train, "_train", lambda *given: (_ for _ in ()).throw(RuntimeError("as far as the folder")))
    assert cli.main([*shlex.split(last)[1:], "--output", "run"]) == 1
    assert capsys.readouterr().err == "groove: as far as the folder\n"
    trusted = (words.split()[0],)
    assert words.split()[0] in dict(map(reversed, config.plugged(runs.open_folder(Path("run"), trusted=trusted))))


def test_a_broken_law_is_asked_again_by_the_last_line(installed, capsys):
    assert cli.main(["levels", "check", "padded", "--family", "gridworld", "--only", "form", "--levels", "4"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "groove levels check padded --family gridworld --only 'form'"
    assert cli.main([*shlex.split(last)[1:], "--levels", "4"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("words", "code"), [("gap", 0), (f"{M}HOPELESS", 1)])
def test_a_small_run_uses_what_is_checked(installed, capsys, words, code):
    assert cli.main(["levels", "check", words]) == code
    said = "passed   meta-steps    2 of a small run" if code == 0 else "FAILED   meta-steps    "
    assert said in capsys.readouterr().out


def test_the_command_leaves_at_once(installed, capsys, monkeypatch):
    """With the code of its verdict, once that is out; who calls `main` in a process of their own stays."""
    left = []
    monkeypatch.setattr(sys, "argv", ["/usr/bin/groove"])
    monkeypatch.setattr(os, "_exit", lambda code: left.append((code, capsys.readouterr().out.splitlines()[0])))
    for name, code, said in (("corridor", 0, "all of 2 laws are kept"), ("broken", 1, "1 of 1 laws is broken")):
        cli.main(["levels", "check", name, "--only", "variety", "--levels", "4"])
        assert left[-1][0] == code and said in left[-1][1]


def test_help_of_list_and_check_teaches(capsys):
    assert cli.main(["levels", "list", "--help"]) == 0
    assert "package.module:object" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["levels", "check", "--help"])
    assert "groove levels check open-fields --family gridworld" in capsys.readouterr().out


def test_a_curriculum_of_another_generator_says_so(installed, tmp_path):
    path = tmp_path / "open.parquet"
    assert cli.main(["curate", "--generator", "open", "--score", "exact-regret", "--output", str(path)]) == 0
    stored = curriculumfile.opened(path)[1]
    assert json.loads(stored.metadata["generator"])["generator"] == "open"
    assert not stored.rows.level.walls[:, 0, 0].any()


@pytest.mark.parametrize("audit", [[], ["--audit"]])
def test_an_antagonist_of_others_in_curation(installed, audit, capsys):
    """By its entry point and by package.module:object; where it comes from is part of the plan and of the metadata."""
    few = ["--families", "bernoulli-bandit", "--scores", "regret"] if audit else ["--family", "bernoulli-bandit"]
    for name, output in (("handmade", "a"), (f"{M}handmade", "b")):
        assert cli.main(["curate", *audit, *few, "--rule", "random", "--antagonist", name, "--output", output]) == 0
        if not audit:
            about = dataset.describe(output).metadata
            assert json.loads(about["plugins"]) == {
                "groove.rules": {name: config.sources(small(antagonist=name))["groove.rules"][name]}
            }
            assert json.loads(about["score"])["antagonist"] == name
    with pytest.raises(ValueError, match=f"'{M}growing' cannot be used"):
        curate.antagonist_of(small(antagonist=f"{M}growing"), "gridworld", assembly.family(small(), "gridworld"))


@pytest.mark.parametrize("audit", [[], ["--audit"]])
@pytest.mark.parametrize("rule", ["handmade", f"{M}learner", "dpo"])
def test_rules_of_others_and_dpo_live_on_tasks(installed, audit, rule):
    few = ["--families", "bernoulli-bandit", "--scores", "exact-regret"] if audit else ["--family", "bernoulli-bandit"]
    assert cli.main(["curate", *audit, *few, "--rule", rule, "--output", "a"]) == 0
    said = json.loads(Path("a/audit.json").read_text()) if audit else json.loads(dataset.describe("a").metadata["rule"])
    if not audit:
        assert said["name"] == rule and ("origin" in said) == (rule != "dpo")
    with pytest.raises(ValueError, match=f"'{M}growing' cannot be used"):
        curate.learner_of(small(), f"{M}growing", "gridworld", assembly.family(small(), "gridworld"))


def test_the_leaf_and_the_level_that_are_not_finite_are_named(installed):
    sound, paying = (plugins.family("groove.families", f"{M}{name}") for name in ("CORRIDOR", "unsound"))
    held = sound._replace(generator=plugins.generator("groove.generators", f"{M}ill"))
    keys = jax.random.split(jax.random.key(0), 8)
    for family, what in ((paying, "the reward"), (held, "the level's noise")):
        levels = jax.jit(jax.vmap(family.generator.sample))(keys)
        short = np.asarray(levels.length) < 4
        found = playing.unsound(family, levels)
        assert found.startswith(f"{what} is not finite in the family 'chain' on the level: length ")
        assert f"length {levels.length[int(np.argmax(short))]}," in found
        assert playing.unsound(family, jax.tree.map(lambda leaf: leaf[~short], levels)) == ""  # noqa: B023


@pytest.mark.slow
def test_a_reward_that_is_not_finite_is_blamed_on_its_family(installed, tmp_path):
    runs.create(small((M + "unsound",), score="uniform", kind="uniform"), tmp_path / "run")
    said = f"the reward is not finite in the family '{M}unsound' on the level: length [23].*; so .* of step"
    with pytest.raises(runs.NotFinite, match=said):
        runs.train(tmp_path / "run", lambda rows: None, trusted=(M + "unsound",))


@pytest.mark.slow
def test_a_score_that_is_not_finite_ends_the_run(installed, tmp_path):
    runs.create(small(score=M + "HOPELESS"), tmp_path / "run")
    with pytest.raises(runs.NotFinite, match=r"the score of gridworld of step \d has values that are not finite"):
        runs.train(tmp_path / "run", lambda rows: None, trusted=(M + "HOPELESS",))


@pytest.mark.slow
def test_a_run_of_other_peoples_parts_resumes_and_its_rule_loads(installed, tmp_path, monkeypatch):
    settings = small(("gridworld", "corridor"), ("open", ""), "learner", kind="keeping")
    for name in ("run", "again"):
        assert runs.create(settings, tmp_path / name) is None
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["plugins"] == config.sources(settings) and config.load(tmp_path / "run" / "config.json") == settings
    whole = runs.train(tmp_path / "run", lambda rows: None)
    with pytest.raises(KeyboardInterrupt):
        runs.train(tmp_path / "again", interrupt)
    resumed = runs.train(tmp_path / "again", lambda rows: None)
    pairs = zip(jax.tree.leaves(whole.run.trainer.theta(whole.state)), leaves(resumed), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert not whole.state.live[0].task.level.walls[:, 0, 0].any()

    path = runs.save_rule(whole)
    assert len(jax.tree.leaves(groove.load_rule(path)[1])) == len(leaves(whole))
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(installed)])
    assert sys.modules.pop("someones_parts")
    with pytest.raises(ValueError, match="rule.safetensors needs what is not here: unknown family 'corridor'"):
        groove.load_rule(path)


def interrupt(rows):
    raise KeyboardInterrupt


def leaves(result):
    return jax.tree.leaves(result.run.trainer.theta(result.state))
