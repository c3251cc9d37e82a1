"""A process that works alone on its files, and stops when it is asked to."""

import importlib
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TextIO

from groove.parallel import processes

LOCK = ".lock"
"""Of a run folder: held by the process that makes it or runs in it."""


def _module(name: str) -> ModuleType | None:
    """A module that not every system has."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


fcntl, msvcrt = _module("fcntl"), _module("msvcrt")


class InUse(ValueError):
    """Another process is at work in the folder."""


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Holds a run folder for this process, or those that make one run with it, alone.

    Raises:
        InUse: Another one has it.
    """
    with ExitStack() as stack:
        processes.by_first(lambda: stack.enter_context(locked(folder)))
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run folder for this process, as `owned` does, where no other makes the run with it."""
    with (folder / LOCK).open("w") as lock:
        try:
            _hold(lock)
        except (BlockingIOError, PermissionError):
            raise InUse(f"{folder} is being run by another process.") from None
        yield


def _hold(file: TextIO) -> None:
    """Locks an open file until it is closed, by whatever the system has for it; Python for the web has nothing.

    Raises:
        BlockingIOError, PermissionError: Another process has it.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt is not None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a flag; the next one acts as it did before.

    Of several processes that make one run all learn of it: they have to ask at the same places.
    """
    caught: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)

    def note(number, frame):
        caught.append(number)
        for kind in kinds:
            signal.signal(kind, before[kind])

    try:
        before = {kind: signal.signal(kind, note) for kind in kinds}
    except ValueError:  # not the main thread: signals are somebody else's
        yield lambda: processes.any_of(False)
        return
    try:
        yield lambda: processes.any_of(bool(caught))
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])
