"""One run shared by two processes, against the same run in one: the processes themselves, that `benchmarks.scaling` times.

`python -m benchmarks.two_processes COORDINATOR COUNT INDEX DEVICES CORE...` builds the run whose configuration it reads from
the first line of its input, on DEVICES devices of each of COUNT processes, and keeps to the given cores; with COUNT 1 it
joins nobody. It says `ready` when it has compiled; for each further line it computes one more chunk and its refresh, and
says `done`. It ends with its input.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import jax

from benchmarks.timing import interleaved
from groove import config
from groove.assembly import build
from groove.config import Config
from groove.parallel import devices, processes
from groove.trainer import shared

FIRST, SECOND = (sorted(os.sched_getaffinity(0)) * 2)[:2]
"""Two of the cores that this process may use; the same one twice where it may use no other."""
Start = tuple[int, tuple[tuple[int, ...], ...]]
"""Devices of each process, and the cores of each."""
STARTS: Mapping[str, Start] = {
    "one_thread": (1, ((FIRST,),)),
    "one_process": (1, ((FIRST, SECOND),)),
    "one_process_two_devices": (2, ((FIRST, SECOND),)),
    "two_processes": (1, ((FIRST,), (SECOND,))),
}
"""How the run is started. XLA computes with as many threads as a process may use cores."""


class Group:
    """The processes of one run, that compute a chunk when they are asked to."""

    def __init__(self, start: Start):
        count, cores = start
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        coordinator = f"127.0.0.1:{free_port()}"
        self.members = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.two_processes",
                    coordinator,
                    str(len(cores)),
                    str(index),
                    str(count),
                    *map(str, own),
                ],
                env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for index, own in enumerate(cores)
        ]

    def ask(self, line: str, answer: str) -> None:
        """Says a line to all of them, and waits until all have answered."""
        for member in self.members:
            assert member.stdin is not None
            print(line, file=member.stdin, flush=True)
        for member in self.members:
            assert member.stdout is not None
            if all(said.strip() != answer for said in member.stdout):  # what libraries say is passed over
                raise RuntimeError(f"a process of the run ended with {member.wait()}.")

    def chunk(self) -> None:
        self.ask("", "done")

    def end(self) -> None:
        for member in self.members:
            assert member.stdin is not None
            member.stdin.close()
        for member in self.members:
            with member:
                if member.wait():
                    raise RuntimeError(f"a process ended with {member.returncode}.")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def started(settings: Config, start: Start) -> Iterator[Group]:
    group = Group(start)
    try:
        group.ask(json.dumps(dataclasses.asdict(settings)), "ready")
        yield group
    finally:
        group.end()


def measure(settings: Config, *, rounds: int, starts: Mapping[str, Start] = STARTS) -> dict[str, float]:
    """Seconds per meta-step of the run, by how it is started: medians over rounds in which all take turns."""
    with ExitStack() as stack:
        groups = {name: stack.enter_context(started(settings, start)) for name, start in starts.items()}
        seconds = interleaved({name: group.chunk for name, group in groups.items()}, rounds=rounds)
    return {name: value / settings.chunk for name, value in seconds.items()}


def main(coordinator: str, count: int, index: int, own_devices: int, cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    settings = config.from_json(sys.stdin.readline())
    if count > 1:
        processes.join(coordinator, count, index)
    trainer = shared(build(settings).trainer, devices.mesh(count * own_devices))
    chunk, refresh = jax.jit(trainer.chunk, donate_argnums=0), jax.jit(trainer.refresh, donate_argnums=0)
    state = refresh(jax.jit(lambda: trainer.init(jax.random.key(0)))())
    compiled = chunk.lower(state).compile()
    print("ready", flush=True)
    for _ in sys.stdin:
        state = jax.block_until_ready(refresh(compiled(state)[0]))
        print("done", flush=True)
    processes.leave()


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    main(sys.argv[1], numbers[0], numbers[1], numbers[2], set(numbers[3:]))
