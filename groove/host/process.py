"""A process that works alone on its files, stops when it is asked to, and may be in a hurry."""

import importlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TextIO

import jax

from groove import processes

LOCK = ".lock"
"""Of a run folder: held by the process that makes it or runs in it."""
HURRY = (
    "--xla_backend_extra_options=xla_cpu_disable_loop_unrolling,xla_cpu_disable_slp_vectorizer,"
    "xla_cpu_small_while_loop_byte_threshold=8000000"
)
"""Flags with which XLA compiles in less time for CPUs: loops are not unrolled, and small ones are one function."""


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


def hurry() -> None:
    """Has XLA compile all that this process computes in less time, unless JAX computes already.

    Small programs run as fast for it; agents' lives in large ones, and what evolution computes, need more time.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    of_a_file = bool(flags) and not flags.lstrip().startswith("-")  # then XLA takes them for its name
    if not (hurried() or of_a_file or _begun()):
        os.environ["XLA_FLAGS"] = f"{HURRY} {flags}".strip()  # a person's own flags come last, and so count


def hurried() -> bool:
    """Whether XLA's flags are those of `hurry`."""
    return HURRY in os.environ.get("XLA_FLAGS", "")


def cpu_devices() -> int:
    """How many CPU devices JAX is told to make of this process's cores, before it does; usually 1."""
    said = re.findall(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return max(jax.config.values["jax_num_cpu_devices"], *map(int, said[-1:]), 1)


def _begun() -> bool:
    """Whether JAX has begun to compute, so that XLA's flags are read: then it refuses another number of CPU devices."""
    number = jax.config.values["jax_num_cpu_devices"]
    try:
        jax.config.update("jax_num_cpu_devices", number + 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", number)
    return False
