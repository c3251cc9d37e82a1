"""What is shown: alive on a terminal, plain elsewhere."""

import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from groove import config
from groove.cli.progress import Counter
from groove.protocols import Row
from groove.report import terminal
from groove.runs import Metrics
from groove.statistics import Interval

REGRET = dataclasses.replace(config.QUICK.curriculum, score="regret")
RUN = dataclasses.replace(config.QUICK, members=(48, 16), meta_steps=400, curriculum=REGRET)

ROWS = [
    Row(family, 10, rule, Interval(low, low + 0.1, low + 0.25))
    for family in ("gridworld", "[bold]bandit[/bold]")
    for rule, low in (("untrained rule", -0.125), ("trained rule", 1.0))
]


class Screen(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal, 40 columns wide."""
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": "40", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    made = Screen()
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stdout=made, stdin=made))
    return made


def chunk(step: int, reached: float = 0.5, lives: int = 48) -> list[Metrics]:
    ended = {"gridworld/return": reached, "gridworld/score": 0.25, "gridworld/finished": lives}
    nothing = {"gridworld/return": None, "gridworld/score": None, "gridworld/finished": 0}
    return [{"step": step - 1, **nothing}, {"step": step, **ended, "chunk_seconds": 1.0}]


def test_a_terminal_gets_a_live_line(screen: Screen):
    with terminal.Progress(RUN) as progress:
        progress.announce("compiling [1/2]")
        progress.update(chunk(100))
    shown = screen.getvalue()
    assert "compiling [1/2]" in shown and "\x1b[" in shown and "━" in shown
    assert "quick 100/400" in shown and "gridworld return 0.500 regret +0.250" in shown
    assert "2:30 left" in shown  # 300 meta-steps, half a second each
    assert shown.endswith("\x1b[?25h")  # the cursor is back


def test_lines_fit_a_narrow_terminal(screen: Screen):
    progress = terminal.Progress(RUN)
    progress.update(chunk(100))
    assert all(len(line) <= 40 for line in progress._picture().plain.split("\n"))


def drawn(screen: Screen) -> list[str]:
    """What was shown, line by line, without the terminal's control codes."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()))


def test_long_names_are_wrapped_at_the_width(screen: Screen):
    """Progress, the table and a counter, with the longest numbers; nothing is left to the terminal's own wrapping."""
    long = dataclasses.replace(RUN, name="ta-lpg-small", meta_steps=100_000)
    ended = {f"{name}/{what}": -12.345 for name in RUN.families for what in ("return", "score", "finished")}
    with terminal.Progress(long) as progress:
        progress._begun -= 50_000
        progress.update([{"step": 2000, **{name: abs(value) for name, value in ended.items()}, "chunk_seconds": 900.0}])
    terminal.print_table([row._replace(interval=Interval(-12.5, -12.345, -12.123)) for row in ROWS], "a caption " * 9)
    with Counter("tasks of the longest name") as counter:
        for done in (1, 2000):
            counter.update(done, 10_000)
    lines = drawn(screen)
    assert any(line.startswith("ta-lpg-small 2000/100000") for line in lines) and "a caption" in "".join(lines)
    assert any("bernoulli-bandit return" in line for line in lines)
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("name", ["NO_COLOR", "CI"])
def test_a_terminal_can_ask_for_plain_lines(screen: Screen, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "1")
    with terminal.Progress(RUN) as progress:
        progress.update(chunk(100))
    terminal.print_table(ROWS, "caption")
    with Counter("tasks") as counter:
        counter.update(1, 2)
    assert "\x1b" not in screen.getvalue() and "meta-step 100/400" in screen.getvalue()


def test_a_pipe_gets_few_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(terminal.time, "perf_counter", lambda: now)
    with terminal.Progress(RUN) as progress:
        progress.announce("compiling")
        for step in range(2, 52, 2):
            now += 1.0
            progress.update(chunk(step, step / 10))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "compiling"
    assert [line.split("  ")[0] for line in lines[1:]] == [f"quick meta-step {step}/400" for step in (20, 40, 50)]
    assert lines[1].split("  ")[1:] == ["0:10, 3:10 left", "gridworld return 2.000 regret +0.250"]
    assert all(character.isprintable() for line in lines for character in line)


def test_a_pipe_gets_the_last_line_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(terminal.time, "perf_counter", lambda: now)
    with terminal.Progress(RUN) as progress:
        now = 11.0
        progress.update(chunk(400))
    assert capsys.readouterr().out.count("400/400") == 1


def test_nothing_is_said_of_a_run_that_did_nothing(capsys: pytest.CaptureFixture[str]):
    with terminal.Progress(RUN):
        pass
    assert capsys.readouterr().out == ""


def test_recent_lives_count_by_their_number():
    progress = terminal.Progress(RUN)  # 48 members on grids
    progress.update([*chunk(2, 100.0), *chunk(4, 1.0, lives=16), *chunk(6, 2.0, lives=32)])
    assert progress._recent("gridworld", "return") == pytest.approx((1.0 * 16 + 2.0 * 32) / 48)
    assert progress._recent("bernoulli-bandit", "return") is None


def test_the_first_chunk_does_not_count_once_there_is_another():
    progress = terminal.Progress(RUN)
    progress.update([{"step": 20, "chunk_seconds": 60.0}])
    assert progress._remaining == 60.0 * 380
    progress.update([{"step": 40, "chunk_seconds": 2.0}])
    assert progress._remaining == 2.0 * 360


def test_scores_have_their_own_names(capsys: pytest.CaptureFixture[str]):
    scored = dataclasses.replace(RUN, curriculum=dataclasses.replace(RUN.curriculum, score="learnability"))
    with terminal.Progress(scored) as progress:
        progress._spoke -= 100
        progress.update([{"step": 2, "gridworld/return": 0.5, "gridworld/score": 0.25, "gridworld/finished": 2}])
    assert "gridworld return 0.500 learnability +0.250" in (shown := capsys.readouterr().out) and "regret" not in shown


def test_an_unscored_run_has_no_regret(capsys: pytest.CaptureFixture[str]):
    with terminal.Progress(config.LPG) as progress:
        progress.update(chunk(10))
    assert "gridworld return 0.500" in (shown := capsys.readouterr().out) and "regret" not in shown


@pytest.mark.parametrize("kind", ["pipe", "screen"])
def test_the_table_is_aligned(kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]):
    screen = request.getfixturevalue("screen") if kind == "screen" else None
    terminal.print_table(ROWS, "what it shows")
    shown = screen.getvalue() if screen else capsys.readouterr().out
    lines = [line.split("\x1b[0m")[0] for line in shown.splitlines()] if screen else shown.splitlines()
    assert any(line.startswith("untrained rule  -0.02 (-0.12 to 0.12)") for line in lines)
    assert "held-out [bold]bandit[/bold]" in shown and "what it shows" in shown
    if not screen:
        assert "trained rule      1.10 (1.00 to 1.25)" in lines
        assert "rule                       10 updates" in lines
        assert all(character.isprintable() for line in lines for character in line)


@pytest.mark.parametrize(("answer", "want"), [("y", True), ("YES", True), ("", False), ("no", False), ("yesterday", False)])
def test_only_yes_is_yes(monkeypatch: pytest.MonkeyPatch, answer: str, want: bool):
    monkeypatch.setattr(sys, "stdin", Screen(f"{answer}\n"))
    assert terminal.ask("Start?") is want


def test_the_end_of_input_is_no(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", Screen(""))
    assert terminal.ask("Start?") is False


def test_nobody_to_ask_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(ValueError, match="nobody is at the terminal to answer 'Start\\?'; agree beforehand with --yes"):
        terminal.ask("Start?")


@pytest.mark.parametrize(("seconds", "want"), [(0, "0:00"), (59.6, "1:00"), (3599.6, "1:00:00"), (90061, "25:01:01")])
def test_clock(seconds: float, want: str):
    assert terminal.clock(seconds) == want


def test_a_reader_that_leaves_ends_nothing():
    """As `groove train | head -1` does."""
    code = """
import sys
from groove.report import terminal
terminal.open_streams()
output = terminal.console()
for number in range(3000):
    output.print("x" * 70)
print("more of it", flush=True)
print("and not even flushed")
sys.stderr.write("came to its end")
"""
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stderr is not None
    assert run.stdout.readline() == "x" * 70 + "\n"
    run.stdout.close()
    assert run.stderr.read() == "came to its end" and run.wait() == 0
    run.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk is always full here")
def test_a_full_disk_is_one_line():
    """As `groove levels suites > /dev/full` says it, also where little is written, and only at the end."""
    code = "import sys; from groove.cli import main; sys.exit(main(sys.argv[1:]))"
    for words in (["levels", "suites"], ["--version"]):
        with Path("/dev/full").open("w") as full:
            found = subprocess.run([sys.executable, "-c", code, *words], stdout=full, stderr=subprocess.PIPE, text=True)
        assert found.returncode == 1 and found.stderr == "groove: [Errno 28] No space left on device\n", found.stderr


def test_what_terminals_obey_is_shown(capsys: pytest.CaptureFixture[str]):
    terminal.say("a\x1b[31m b\x07\x9b c\u202ed\te\x00")
    terminal.print_rows("t\x1b]0;x", ["rule\r", "score"], [["evil\x1b[2J", "1"]])
    with terminal.Progress(RUN) as progress:
        progress.announce("jax \x1b[1;1H")
    assert terminal._formatted(UserWarning("lacks \x1b[2J"), UserWarning, "f", 1).splitlines()[0].endswith("lacks \\x1b[2J")
    assert (shown := capsys.readouterr().out).startswith("a\\x1b[31m b\\x07\\x9b c\\u202ed\te\\x00\n")
    assert all(character.isprintable() or character in "\n\t" for character in shown)
