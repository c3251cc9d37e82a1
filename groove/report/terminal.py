"""What a person at the terminal sees, and what a log file gets instead: all that commands print, they print by this."""

import io
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from groove.config import Config
from groove.protocols import Row
from groove.report.heldout import cells
from groove.runs import Metrics

QUIET_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""
WIDEST_BAR = 40
AS_PYTHON_DOES = warnings.formatwarning
"""How warnings are shown."""


class Progress:
    """Shows how a run gets on: a line that stays on a terminal, plain lines now and then anywhere else.

    Example:
        >>> from groove import config
        >>> from groove.report import terminal
        >>> settings = config.smoke(config.preset("quick"))
        >>> with terminal.Progress(settings) as progress:
        ...     progress.update([{"step": 2, "gridworld/return": 0.5, "gridworld/finished": 2}])
        quick meta-step 2/4 ... gridworld return 0.500
    """

    def __init__(self, config: Config):
        """Args: config: Of the run."""
        self._config = config
        self._console = console()
        self._live: Live | None = None
        self._begun = self._spoke = time.perf_counter()  # `spoke`: when the last plain line was printed
        self._updated = 0.0
        self._step = 0
        self._paces: deque[float] = deque(maxlen=6)  # seconds per meta-step of the last chunks
        self._ended: dict[str, deque[Metrics]] = {name: deque(maxlen=200) for name in config.families}

    def __enter__(self) -> "Progress":
        """Begins to show."""
        self._begun = self._spoke = time.perf_counter()
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._picture, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leaves the last state on the terminal, or says where a plain run stands."""
        if self._live is not None:
            self._live.stop()
        elif self._step and self._spoke < self._updated:
            self._say(self._plain())

    def announce(self, text: str) -> None:
        """Shows a message of one line."""
        self._say(text)

    def update(self, rows: list[Metrics]) -> None:
        """Takes note of the metrics of a chunk."""
        self._step, self._updated = int(rows[-1]["step"] or 0), time.perf_counter()
        seconds = rows[-1].get("chunk_seconds")
        if seconds is not None:
            self._paces.append(seconds / len(rows))
        for name, ended in self._ended.items():
            ended.extend(row for row in rows if row.get(f"{name}/finished"))
        if self._live is None and self._updated - self._spoke >= QUIET_SECONDS:
            self._spoke = time.perf_counter()
            self._say(self._plain())

    def _say(self, text: str) -> None:
        self._console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    @property
    def _remaining(self) -> float | None:
        """Seconds still to go; the first chunk compiles, so it counts only while there is no other."""
        paces = sorted(list(self._paces)[1:] or self._paces)
        return paces[len(paces) // 2] * (self._config.meta_steps - self._step) if paces else None

    def _recent(self, family: str, name: str) -> float | None:
        """The mean over the lives that ended last, about as many as there are members."""
        wanted = self._config.members[self._config.families.index(family)]
        total = count = 0.0
        for row in reversed(self._ended[family]):
            value, lives = row.get(f"{family}/{name}"), row[f"{family}/finished"] or 0
            total, count = (total + value * lives, count + lives) if value is not None else (total, count)
            if count >= wanted:
                break
        return total / count if count else None

    def _families(self) -> list[str]:
        """What each family's agents achieve."""
        score = self._config.curriculum.score
        lines = []
        for name in self._config.families:
            reached, worth = self._recent(name, "return"), self._recent(name, "score") if score != "uniform" else None
            if reached is not None:
                lines.append(f"{name} return {reached:.3f}" + (f" {score} {worth:+.3f}" if worth is not None else ""))
        return lines

    def _times(self) -> str:
        left = self._remaining
        done = clock(time.perf_counter() - self._begun)
        return f"{done}, {clock(left)} left" if left is not None else done

    def _picture(self) -> Text:
        """The live lines: one of progress, one for each family."""
        total = self._config.meta_steps
        ends = f"{self._config.name} {self._step}/{total} ", f" {self._times()}"
        width = min(WIDEST_BAR, self._console.width - sum(map(len, ends)) - 1)
        filled = round(width * self._step / total)
        bar = (("━" * filled, "cyan"), ("━" * (width - filled), "bright_black")) if width >= 5 else ()
        lines = Text("\n" + "\n".join(f"  {line}" for line in self._families())) if self._families() else Text()
        return Text.assemble((ends[0], "bold"), *bar, ends[1], lines)

    def _plain(self) -> str:
        return "  ".join(
            [f"{self._config.name} meta-step {self._step}/{self._config.meta_steps}", self._times(), *self._families()]
        )


def clock(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss.

    Example:
        >>> from groove.report.terminal import clock
        >>> clock(62.4), clock(3723)
        ('1:02', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def print_table(rows: list[Row], caption: str) -> None:
    """Prints the held-out table, a block for each family.

    Args:
        rows: Results, in the order to print.
        caption: What they are.
    """
    output = console()
    for family in dict.fromkeys(row.family for row in rows):
        output.print(_table(family, [row for row in rows if row.family == family]))
        output.print()
    output.print(Text(plain(caption), style="dim"))


def print_rows(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table of text under its title, the first column as names, the others as numbers; no cell is cut or wrapped.

    Example:
        >>> from groove.report.terminal import print_rows
        >>> print_rows("fruit", ["name", "count"], [["apples", "12"], ["figs", "3"]])
        fruit
        name     count
        apples      12
        figs         3
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        others = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *others])

    text = plain("\n".join(map(line, [head, *rows])))
    console().print(Text.assemble((plain(title), "bold"), "\n", text), soft_wrap=True)


def ask(question: str) -> bool:
    """Asks yes or no at the terminal; anything but yes is no.

    Raises:
        ValueError: There is nobody to ask.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise ValueError(f"nobody is at the terminal to answer {question!r}; agree beforehand with --yes.")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _table(family: str, rows: list[Row]) -> Table:
    table = _blank(f"held-out {family}")
    table.add_column("rule")
    lifetimes, found = cells(rows)
    for lifetime in lifetimes:
        table.add_column(f"{lifetime} updates", justify="right")
    for rule, words in found.items():
        table.add_row(Text(plain(rule)), *map(Text, words), style="bold cyan" if rule == "trained rule" else "")
    return table


def _blank(title: str) -> Table:
    heading = Text(plain(title))
    return Table(title=heading, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)


class _Lasting(io.FileIO):
    """A descriptor whose reader may leave, or whose disk may fill: what is written from then on goes nowhere."""

    def write(self, content, /) -> int:
        """As of any file; a full disk is said once."""
        try:
            return super().write(content) or 0
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if not isinstance(error, BrokenPipeError):
                raise
            return len(content)


def open_streams() -> None:
    """Lets output go on that is closed, cannot show every character, or has lost its reader, as of `groove train | head`."""
    warnings.formatwarning = _formatted
    for number in (0, 1, 2):  # or the next file to be opened gets the number, and what others print into it
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.StringIO())
        elif stream is getattr(sys, f"__{name}__"):
            raw, by_line = _Lasting(stream.fileno(), "w", closefd=False), stream.line_buffering or stream.write_through
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "replace", line_buffering=by_line))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


CONTROLS = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\n\t"
}
"""What terminals do not show but obey: control characters, and those that turn the direction of writing."""


def plain(text: str) -> str:
    r"""Text without what a terminal obeys, wherever it comes from; lines and tabs stay.

    Example:
        >>> from groove.report.terminal import plain
        >>> plain("a score\x1b[2J")
        'a score\\x1b[2J'
    """
    return text.translate(CONTROLS)


def _formatted(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning as Python shows it, without what a terminal obeys."""
    return plain(AS_PYTHON_DOES(message, category, filename, lineno, line))


def say(text: str = "", *, end: str = "\n", to: TextIO | None = None) -> None:
    """Prints plain text at once, by default to standard output."""
    print(plain(text), end=end, file=to, flush=True)


def console() -> Console:
    """Standard output, without colours or control characters unless a person looks at it."""
    watched = _watched()
    return Console(file=sys.stdout, force_terminal=watched, no_color=not watched, highlight=False)


def _watched() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("CI") or os.environ.get("TERM") in ("dumb", "unknown")
    return sys.stdout.isatty() and not plain
