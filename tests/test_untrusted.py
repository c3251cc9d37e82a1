"""Files of strangers that name code: nothing of it runs unless the reader names it too."""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from test_plugged import small

import groove
from groove import cli, config, runs
from groove.cli.common import trusted
from groove.files import curriculumfile, rulefile
from groove.report import page as reports
from levels import dataset
from levels.chain import chain
from levels.gridworld import gridworld

HOSTILE = """
from pathlib import Path

from levels.chain import chain

assert Path("ran").write_text("this was imported")
family = chain(length=(2, 4))


def rule(spec, architecture):
    from groove import rules

    return rules.a2c(spec, architecture)
"""


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A working directory with a module that leaves a mark when it is imported, and files that name it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert (tmp_path / "evilmod.py").write_text(HOSTILE)
    levels = jax.vmap(chain(length=(2, 4)).generator.sample)(jax.random.split(jax.random.key(0), 4))
    rows = curriculumfile.fresh(levels, lifetime=np.full(4, 4), score=np.arange(4))
    assert curriculumfile.save(tmp_path / "f.parquet", rows, {}, family=chain()._replace(name="evilmod:family"))
    bad = {
        "family": (small(("evilmod:family",)), "evilmod:family"),
        "generator": (small(generators=("evilmod:family",)), "evilmod:family"),
        "kind": (small(rule="evilmod:rule"), "evilmod:rule"),
    }
    for name, (settings, _) in bad.items():
        about = {"config": json.dumps(dataclasses.asdict(settings)), "families": json.dumps(settings.families)}
        rulefile.save_rule(tmp_path / f"{name}.safetensors", {"w": np.zeros(1, np.float32)}, about)
    yield {name: named for name, (_, named) in bad.items()}
    assert sys.modules.pop("evilmod", None) is not sys


def refused(words, name, capsys) -> bool:
    """Whether a command ends with 2 and says how to trust, and nothing was imported."""
    code, error = cli.main(words), capsys.readouterr().err
    return code == 2 and f"--trust {name}" in error and error.count("\n") == 1 and not Path("ran").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["levels", "show", "f.parquet"],
        ["levels", "diff", "f.parquet", "f.parquet"],
        ["curate", "--from", "f.parquet", "--rule", "a2c", "--output", "o"],
        ["train", "--curriculum", "f.parquet", "--output", "o"],
    ],
)
def test_a_curriculum_alone_runs_no_code(hostile, words, capsys):
    assert refused(words, "evilmod:family", capsys)
    levels = dataset.load("f.parquet").levels
    assert dataset.save("f.parquet", levels, {"lifetime": [4] * 4, "score": range(4)}, family="os:abort")
    assert refused(words, "os:abort", capsys)


@pytest.mark.parametrize("name", ["family", "generator", "kind"])
def test_a_rule_alone_runs_no_code(hostile, name, capsys):
    path = f"{name}.safetensors"
    with pytest.raises(ValueError, match=f"names '{hostile[name]}', code that a file alone may not run"):
        groove.load_rule(path)
    for words in (["--rule", path], ["--audit", "--rule", path], ["--antagonist", f"./{path}"]):
        assert refused(["curate", *words, "--output", "o"], hostile[name], capsys), words
    words = ["--families", "gridworld", "--members", "2", "--output", "o", "--curriculum.antagonist", f"./{path}"]
    assert refused(["train", *words], hostile[name], capsys)
    if name == "kind":  # whoever brings levels of his own makes neither families nor generators
        assert refused(["evaluate", path, "--suite", "chains", "--output", "o"], hostile[name], capsys)


FIELDS = {
    "families": {"families": ("evilmod:family",)},
    "generators": {"generators": ("evilmod:family",)},
    "rule": {"rule": "evilmod:rule"},
    "kind": {"kind": "evilmod:rule"},
    "score": {"score": "evilmod:rule"},
    "antagonist": {"antagonist": "evilmod:rule"},
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_run_folder_alone_runs_no_code(hostile, field, capsys):
    """Whatever of its configuration names it, whatever reads it, alone or of several."""
    settings, name = small(**FIELDS[field]), "evilmod:rule" if field not in ("families", "generators") else "evilmod:family"
    for folder in ("one", "two/seed-0", "two/seed-1"):
        Path(folder).mkdir(parents=True)
        config.save(settings, Path(folder) / "config.json", {})
    assert Path("two/runs.json").write_text('{"folders": ["seed-0", "seed-1"]}')
    for words in (
        ["report", "one"],
        ["report", "one", "two/seed-0"],
        ["train", "--resume", "one"],
        ["train", "--resume", "two"],
    ):
        assert cli.main(words) == 2
        assert f"names '{name}', code that a file alone may not run; if you know it: groove " in (
            error := capsys.readouterr().err
        )
        assert error.endswith(f"groove {' '.join(words)} --trust {name}\n") and error.count("\n") == 1
    for read in (runs.open_folder, runs.assembled, reports.write, lambda folder: runs.train(folder, lambda rows: None)):
        with pytest.raises(ValueError, match=f"one/config.json names '{name}', code that a file alone may not run"):
            read(Path("one"))
    with pytest.raises(ValueError, match="seed-0/config.json names"):
        runs.train_together(Path("two"), [print] * 2)
    assert not Path("ran").exists() and not Path("one/report.html").exists()
    assert runs.open_folder(Path("one"), trusted=(name,)) == settings


def test_the_antagonist_of_a_run_folder_runs_no_code(hostile, capsys):
    """The copy of its rule may have been exchanged since the folder was made."""
    Path("one").mkdir()
    config.save(small(antagonist="./kind.safetensors"), Path("one/config.json"), {})
    assert Path("kind.safetensors").rename("one/antagonist.safetensors")
    assert refused(["train", "--resume", "one"], "evilmod:rule", capsys)


def test_a_run_folder_is_read_once_it_is_trusted(hostile, capsys):
    Path("one").mkdir()
    config.save(small(("evilmod:family",)), Path("one/config.json"), {})
    assert cli.main(["report", "one", "--trust", "evilmod:family"]) == 0
    assert Path("ran").exists() and Path("one/report.html").exists()


def test_what_the_command_line_names_is_trusted(hostile, capsys):
    words = ["curate", "--from", "f.parquet", "--score", "uniform", "--output"]
    assert cli.main([*words, "a", "--family=evilmod:family"]) == 0 and Path("ran").exists()
    assert cli.main([*words, "b", "--trust", "evilmod:family"]) == 0
    assert cli.main(["levels", "show", "f.parquet", "--trust", "evilmod:family"]) == 0
    family, stored = curriculumfile.opened(Path("a"), trusted=("evilmod:family",))
    assert family.name == "evilmod:family" and len(stored.rows.score) == 4
    assert json.loads(stored.metadata["plugins"]) == {"groove.families": {"evilmod:family": "no installed package"}}
    with pytest.raises(ValueError, match="theta has no leaf"):  # which was looked at once the plug-in was made
        groove.load_rule("family.safetensors", trusted=("evilmod:family",))
    spec = gridworld(height=4, width=4).environment.spec
    with pytest.raises(ValueError, match="theta has no leaf"):  # who brings networks needs no family
        groove.load_rule("family.safetensors", spec, groove.nets.agents.for_spec(spec))


def test_a_file_is_no_word_of_trust(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path("evilmod:family").write_text("a file of that name")
    assert trusted(["--rule", "evilmod:family", "--trust=a.b:c", "d:e"]) == ("a.b:c", "d:e")
