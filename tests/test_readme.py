"""The pages: every code block, in smoke size (GROOVE_SMOKE=1), their links, their pictures and the length of the first.

The Python blocks of a page share a namespace, all its blocks a folder, and no page knows of another. A block after the line
`<!-- not run -->` is only checked for syntax. So are the shell blocks that do not begin with `groove ` or `python -m`, and
the one after `<!-- ci: test -->`, which runs these tests.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *(ROOT / room / "README.md" for room in ("levels", "groove", "benchmarks")))
MOST_LINES, MOST_BYTES = 180, 150_000
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = ("bash", "sh", "shell", "console")
NOT_RUN = ("not run", "ci: test")
LIMIT_SECONDS = 600


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of its page, where the code begins
    run: bool
    file: str = ""  # where its code is to be written before what follows
    page: Path = README


def blocks_of(text: str, page: Path = README) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        language, code = match["language"], match["code"]
        wanted = language == "python" or (language in SHELLS and code.startswith(("groove ", "python -m ")))
        found.append(
            Block(
                language,
                code,
                text.count("\n", 0, match.start("code")) + 1,
                wanted and match["mark"] not in NOT_RUN,
                (match["mark"] or "").removeprefix("file: ") if (match["mark"] or "").startswith("file: ") else "",
                page,
            )
        )
    return [block for block in found if block.language in ("python", *SHELLS)]


def compiled(block: Block):
    """The block as code whose tracebacks point into its page."""
    return compile("\n" * (block.line - 1) + block.code, str(block.page), "exec")


def name_of(page: Path) -> str:
    """As messages call it: README.md, levels/README.md."""
    return page.relative_to(ROOT).as_posix()


BLOCKS = {page: blocks_of(page.read_text(encoding="utf-8"), page) for page in PAGES}


@pytest.mark.parametrize(
    "block", [block for found in BLOCKS.values() for block in found], ids=lambda block: f"{name_of(block.page)}-{block.line}"
)
def test_syntax(block: Block):
    if block.language == "python":
        assert compiled(block)
    else:
        subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)


def commands(folder: Path) -> dict[str, str]:
    """An environment in which `python` and `groove` are those under test, installed or not."""
    folder.mkdir()
    script = folder / "groove"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom groove.cli import main\nsys.exit(main())\n", encoding="utf-8")
    script.chmod(0o755)
    path = os.pathsep.join((str(folder), str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


def run_all(blocks: list[Block], folder: Path, environment: dict[str, str]) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        if block.file:
            (folder / block.file).parent.mkdir(exist_ok=True)
            assert (folder / block.file).write_text(block.code, encoding="utf-8")
        if block.run and block.language == "python":
            exec(compiled(block), namespace)
        elif block.run:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.code],
                cwd=folder, env=environment, text=True, timeout=LIMIT_SECONDS, capture_output=True, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            assert done.returncode == 0, (
                f"{name_of(block.page)}, line {block.line}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loose_ranks: None):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    environment = commands(tmp_path / "bin")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run_all(BLOCKS[page], tmp_path / "work", environment)


def test_the_first_page_is_short():
    assert README.read_text(encoding="utf-8").count("\n") <= MOST_LINES


class Link(NamedTuple):
    picture: bool
    text: str
    target: str


def links_of(text: str) -> list[Link]:
    """Links and pictures, those in code left out."""
    bare = re.sub(r"`[^`\n]*`", "code", FENCE.sub("", text))
    return [Link(match["picture"] == "!", match["text"], match["target"]) for match in LINK.finditer(bare)]


def anchors_of(text: str) -> set[str]:
    """What the headings of a page are called in links, as GitHub makes it."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def faults_of(page: Path) -> list[str]:
    """What is wrong with the links and pictures of a page."""
    found = []
    for link in links_of(page.read_text(encoding="utf-8")):
        if re.match(r"https?://", link.target):
            continue
        path, _, anchor = link.target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists():
            found.append(f"{link.target} is not there")
        elif anchor and anchor not in anchors_of(place.read_text(encoding="utf-8")):
            found.append(f"{link.target} has no such heading")
        elif link.picture and (place.stat().st_size > MOST_BYTES or len(link.text) < 20):
            found.append(f"{link.target} has {place.stat().st_size} bytes and the text {link.text!r}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures(page: Path):
    assert faults_of(page) == []


def test_all_pictures_are_shown():
    shown = {
        (page.parent / link.target).resolve() for page in PAGES for link in links_of(page.read_text("utf-8")) if link.picture
    }
    assert shown == set((ROOT / "benchmarks" / "results" / "figures").iterdir())


def test_faulty_links_are_found(tmp_path: Path):
    page = tmp_path / "page.md"
    assert page.write_text("# One thing: two\n[a](#one-thing-two) [b](#two) [c](none.md) ![d](page.md) `[e](f)`\n", "utf-8")
    assert [fault.split(" ")[0] for fault in faults_of(page)] == ["#two", "none.md", "page.md"]


SAMPLE = """
# A page

```python
x = 1
```

<!-- not run -->
```python
raise RuntimeError
```

```bash
pip install something && groove train
```

<!-- ci: test -->

```bash
python -m pytest
```

```bash
python -m json.tool --help > help.txt
```

```python
assert x == 1
from pathlib import Path
assert Path("help.txt").exists()
y = 1 / 0
```

```text
groove train
```
"""


def test_these_tests_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    blocks = blocks_of(SAMPLE)
    assert [(block.language, block.run) for block in blocks] == [
        ("python", True), ("python", False), ("bash", False), ("bash", False), ("bash", True), ("python", True),
    ]  # fmt: skip
    assert SAMPLE.splitlines()[blocks[0].line - 1] == "x = 1"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError) as caught:
        run_all(blocks, tmp_path, commands(tmp_path / "bin"))
    assert caught.traceback[-1].lineno + 1 == SAMPLE.splitlines().index("y = 1 / 0") + 1
    failing = Block("bash", "python -m json.tool absent", 7, True)
    with pytest.raises(AssertionError, match=r"README\.md, line 7"):
        run_all([failing], tmp_path, commands(tmp_path / "bin2"))


def test_the_figures_of_quick_are_those_of_its_results():
    """Every row of the table: the lowest and the highest of five seeds."""
    said = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    page = json.loads((ROOT / "benchmarks" / "results" / "quick.json").read_text(encoding="utf-8"))
    lifetimes = list(page["results"][0]["gridworld"])
    for family, digits in (("gridworld", 2), ("bernoulli-bandit", 1)):
        for rule in ("random policy", "untrained rule", "trained rule", "tuned A2C", "tuned PPO", "optimum"):
            cells = []
            for lifetime in lifetimes:
                points = [f"{found[family][lifetime][rule]['point']:.{digits}f}" for found in page["results"]]
                low, high = min(points, key=float), max(points, key=float)
                cells.append(low if low == high else f"{low} to {high}")
            assert f"| {family} | {rule} | {' | '.join(cells)} |" in said
        above = (f"{page['above_rivals'][family][lifetime]} of {len(page['results'])}" for lifetime in lifetimes)
        assert f"| {family} | seeds above both rivals | {' | '.join(above)} |" in said


def test_the_figures_of_discovery_are_those_of_its_results():
    """Every row of the table."""
    said = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    page = json.loads((ROOT / "benchmarks" / "results" / "discovery.json").read_text(encoding="utf-8"))
    for family, title, digits in (("gridworld", "grids", 2), ("bernoulli-bandit", "bandits", 1)):
        for arm, name in (("ta", "TA-LPG by `discover`"), ("a2c", "A2C, tuned for each"), ("ppo", "PPO, tuned for each")):
            cells = [
                f"{one['point']:.{digits}f} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"
                for one in page[family]["intervals"][arm].values()
            ]
            assert f"| {title} | {name} | {' | '.join(cells)} |" in said


def test_the_figures_of_an_exact_meta_loss_are_those_of_their_results():
    """Means of five seeds each."""
    said = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for name in ("sampled-loss", "exact-loss"):
        results = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))["results"]
        for family, digits in (("gridworld", 2), ("bernoulli-bandit", 1)):
            means = ", ".join(f"{found[family]['trained rule']['point']:.{digits}f}" for found in results)
            assert means in " ".join(said.split())
