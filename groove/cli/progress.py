"""How far work has come: a bar where a person looks, a line now and then anywhere else."""

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from groove.report.terminal import QUIET_SECONDS, clock, console


class Counter:
    """Shows how many of a known number of things are done, with an estimate of the time to go.

    Example:
        >>> from groove.cli.progress import Counter
        >>> with Counter("tasks") as counter:
        ...     counter.update(64, 64)
        64/64 tasks  0:00
    """

    def __init__(self, what: str):
        """Args: what: The things that are counted."""
        self._what = what
        self._console = console()
        self._begun = self._spoke = time.perf_counter()
        self._first: tuple[int, float] | None = None  # things done and the time when the first call came, which compiled
        self._text = ""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[times]}"))
        self._bar = Progress(*columns, console=self._console) if self._console.is_terminal else None
        self._task = self._bar.add_task(what, total=None, times="compiling") if self._bar else None

    def __enter__(self) -> "Counter":
        """Begins to show."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leaves the last state on the terminal."""
        if self._bar:
            self._bar.stop()
        elif self._text:
            self._console.print(self._text, markup=False, highlight=False)

    def update(self, done: int, total: int) -> None:
        """Takes note of how many things are done."""
        now = time.perf_counter()
        self._first = self._first or (done, now)
        seconds = (now - self._first[1]) / max(1, done - self._first[0]) * (total - done)
        left = f", {clock(seconds)} left" if done > self._first[0] else ""
        times = f"{clock(now - self._begun)}{left}"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, times=times)
            return
        self._text = f"{done}/{total} {self._what}  {times}"
        if now - self._spoke >= QUIET_SECONDS:
            self._console.print(self._text, markup=False, highlight=False)
            self._spoke, self._text = now, ""
