"""Every code block of README.md, in smoke size (GROOVE_SMOKE=1): Python blocks share a namespace, all blocks a folder.

A block after the line `<!-- not run -->` is only checked for syntax. So are the shell blocks that do not begin with
`groove ` or `python -m`, and the one after `<!-- ci: test -->`, which runs these tests.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FENCE = re.compile(r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = ("bash", "sh", "shell", "console")
NOT_RUN = ("not run", "ci: test")
LIMIT_SECONDS = 600


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of README.md, where the code begins
    run: bool
    file: str = ""  # where its code is to be written before what follows


def blocks_of(text: str) -> list[Block]:
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
            )
        )
    return [block for block in found if block.language in ("python", *SHELLS)]


def compiled(block: Block):
    """The block as code whose tracebacks point into README.md."""
    return compile("\n" * (block.line - 1) + block.code, str(README), "exec")


BLOCKS = blocks_of(README.read_text(encoding="utf-8")) if README.exists() else []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line{block.line}")
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
            assert done.returncode == 0, f"README.md, line {block.line}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


@pytest.mark.slow
@pytest.mark.skipif(not any(block.run for block in BLOCKS), reason="README.md has no blocks to run")
def test_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loose_ranks: None):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    environment = commands(tmp_path / "bin")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run_all(BLOCKS, tmp_path / "work", environment)


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
