"""The packages of levels/README.md: built from its text, installed with pip, listed, checked and trained on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_readme import FENCE, ROOT, commands

PAGE = ROOT / "levels" / "README.md"
MOST_LINES = {"open_fields.py": 10, "corridor.py": 60}
GENERATOR = ("--families", "gridworld", "--generators", "open-fields")
FAMILY = ("--families", "corridor")


def files() -> dict[str, str]:
    """The files of packages that the page shows, by path."""
    found = FENCE.finditer(PAGE.read_text(encoding="utf-8"))
    marked = {match["mark"][6:]: match["code"] for match in found if (match["mark"] or "").startswith("file: ")}
    return {path: code for path, code in marked.items() if "/" in path}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A working directory, and an environment in which groove and both packages are there."""
    folder = tmp_path_factory.mktemp("recipes")
    for name, text in files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        assert (folder / name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--target", "site"]
    packages = sorted({f"./{Path(name).parent}" for name in files()})
    done = subprocess.run([*pip, *packages], cwd=folder, text=True, timeout=300, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    places = os.pathsep.join((str(folder / "site"), str(ROOT)))
    (folder / "work").mkdir()
    return folder / "work", {**commands(folder / "bin"), "PYTHONPATH": places, "GROOVE_SMOKE": "1"}


def groove(installed: tuple[Path, dict[str, str]], *words: str) -> str:
    folder, environment = installed
    done = subprocess.run(
        ["groove", *words], cwd=folder, env=environment, text=True, timeout=600, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_recipes_are_short_and_whole():
    names = {Path(name).name: text for name, text in files().items()}
    assert set(names) == {*MOST_LINES, "pyproject.toml"} and len(files()) == 4
    for name, most in MOST_LINES.items():
        assert names[name].count("\n") < most


@pytest.mark.slow
def test_recipes_are_listed(installed):
    lines = [line.split() for line in groove(installed, "levels", "list").splitlines()]
    assert any(words[-4:] == ["corridor", "corridor", "0.1,", "corridor:corridors"] for words in lines)
    assert any(words[-4:] == ["open-fields", "open-fields", "0.1,", "open_fields:open_fields"] for words in lines)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("open-fields", "--family", "gridworld"), ("corridor",)], ids=["generator", "family"])
def test_recipes_pass_the_check(installed, words):
    assert "laws are kept" in groove(installed, "levels", "check", *words, "--levels", "8", "--episodes", "8")


@pytest.mark.slow
@pytest.mark.parametrize("words", [GENERATOR, FAMILY], ids=["generator", "family"])
def test_recipes_train(installed, words):
    assert "report.html" in groove(installed, "train", "quick", *words, "--members", "2", "--output", f"run-{words[1]}")
    stored = (installed[0] / f"run-{words[1]}" / "config.json").read_text(encoding="utf-8")
    assert f'"{words[-1]}": "{words[-1]} 0.1"' in stored
