"""Several processes, on one machine or on many, that make one run: JAX's own multi-controller runtime.

All of them compute; the first one alone writes logs and speaks to people. Where there is but one, these functions cost
nothing.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import chex
import jax
import numpy as np

HEARTBEAT = 60
"""Seconds after which a process that gave no sign of life counts as dead, and the others end with an error."""
_STATUS = re.compile(r"(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): ")


class Lost(RuntimeError):
    """Another process of the run failed, was killed, or cannot be reached."""


def join(coordinator: str = "", count: int = 0, index: int = -1) -> None:
    """Makes this process one of those of a run. To be called before anything is computed.

    Args:
        coordinator: HOST:PORT of the first process, reachable by all. By default JAX finds it, and the rest, itself: under
            Slurm, Open MPI, on TPU pods, and under Kubernetes with the package `kubernetes`, where a pod may read pods and
            jobs.
        count: Number of processes.
        index: Of this one, from 0.

    Raises:
        ValueError: Only some of the arguments are given, they do not fit, or JAX detects no cluster.
        Lost: The others did not come.
    """
    given = (bool(coordinator), count > 0, index >= 0)
    if any(given) and not all(given):
        raise ValueError("--coordinator, --processes and --process belong together: give all of them, or none.")
    if all(given) and index >= count:
        raise ValueError(f"--process must be below --processes, {count}, got {index}.")
    try:
        jax.distributed.initialize(
            coordinator or None,
            count or None,
            index if index >= 0 else None,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=HEARTBEAT,
        )
        barrier("begin")  # now, since connections are not waited for as long as the first process may later take alone
    except ValueError as error:
        raise ValueError(
            "--distributed found no cluster that it knows (Slurm, Open MPI, Kubernetes); name --coordinator HOST:PORT, "
            f"--processes and --process: {error}"
        ) from error
    except RuntimeError as error:
        raise Lost(f"the processes of the run did not find each other: {error}") from error


def joined() -> bool:
    """Whether this process has joined others, and not left them."""
    return jax.distributed.is_initialized()


def leave() -> None:
    """Ends the work together, when all have come so far; what follows each does alone."""
    if joined():
        barrier("end")
        jax.distributed.shutdown()


def cores() -> int:
    """Cores of the machine that this process may use; all of them where the system does not say."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # of macOS and Windows
        return os.cpu_count() or 1


def abandon(code: int) -> None:
    """Ends this process at once where there are others: an orderly end would wait for those that may be dead."""
    if joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def alone() -> bool:
    """Whether there is but one process."""
    return jax.process_count() == 1


def first() -> bool:
    """Whether this is the process that writes and speaks."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until all processes have come to the same place."""
    if alone():
        return
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def any_of(flag: bool) -> bool:
    """Whether it is true in any process: the same answer in all of them."""
    if alone():
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def by_first(action: Callable[[], None]) -> None:
    """Lets the first process do something, and the others wait for it.

    Raises:
        Lost: It failed; in the first process, whatever it raised.
    """
    failed: Exception | None = None
    if first():
        try:
            action()
        except Exception as error:
            failed = error
    if any_of(failed is not None):
        raise failed or Lost("the first process of the run ended with an error: see what it said.")


@contextmanager
def together() -> Iterator[None]:
    """Says of an error in what several processes compute that one of them was lost, where that may be so.

    Raises:
        Lost: In the place of JAX's error.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # of a broken connection it is now the one, now the other
        if alone() or not _STATUS.match(str(error)):
            raise
        raise Lost(
            "this process ends, since another one of the run failed, was killed or cannot be reached; what was saved goes "
            f"on with --resume. JAX says: {error}"
        ) from error


def local(tree: chex.ArrayTree) -> chex.ArrayTree:
    """The arrays of a tree, held whole by every device, as this process's first device holds them."""

    def leaf(array):
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jax.random.key_data(array).addressable_data(0), impl=jax.random.key_impl(array))
        return array.addressable_data(0)

    return jax.tree.map(leaf, tree)
