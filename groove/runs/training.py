"""Runs from their start, or from where they stood, to their end: which devices take part, and who may begin."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import jax
from jax.sharding import Mesh

from groove.config import Config, blocks_of_lives, sources, whole_lives
from groove.files import checkpoint
from groove.parallel import devices, processes
from groove.runs.folder import (
    TOGETHER,
    assembled,
    begun,
    check_space,
    folders_of,
    open_folder,
    versions,
    versions_of,
)
from groove.runs.loop import Loop, Result
from groove.runs.metrics import Sink
from groove.runs.process import owned
from groove.trainer import RUNS


def train(
    folder: Path,
    sink: Sink,
    *,
    announce: Callable[[str], None] = lambda text: None,
    device_count: int | None = None,
    debug: bool = False,
    trusted: tuple[str, ...] = (),
) -> Result:
    """Runs, or goes on with, the run of `folder` until it is done or interrupted.

    The first Ctrl-C (or SIGTERM) ends the run after the current chunk, saved; a second one ends it at once.

    Args:
        folder: Made by `create`. What its newest good checkpoint holds is not done again.
        sink: Receives metrics; rows that were logged before the checkpoint are not sent again.
        announce: Receives one-line messages for a person.
        device_count: How many devices share the run; by default as many as there are and can. A run may go on with another
            number.
        debug: Whether to keep what is needed to say which operation was the first to make NaN: twice the memory for agents,
            and minutes when it happens.
        trusted: Plug-ins of the form package.module:object that the folder may name, see `open_folder`.

    Raises:
        ValueError: There are not as many devices, or they do not divide every family's members; the folder is one of runs
            side by side that are not done, or names a plug-in that is not trusted.
        NotFinite: A meta-gradient, a fitness or theta was not finite; the last good checkpoint is kept.
        OSError: The disk is full or not writable.
    """
    settings = open_folder(folder, trusted=trusted)
    _check_alone(folder)
    _announce_changes(folder, settings, announce)
    with owned(folder):
        run = assembled(folder, new=not begun(folder), trusted=trusted)
        processes.by_first(lambda: check_space(run, folder))
        mesh = mesh_of(settings, device_count, announce)
        loop = Loop(run, folder, (folder,), mesh, debug=debug, trusted=trusted)
        return loop.train((sink,), announce)[0]


def train_together(
    folder: Path,
    sinks: Sequence[Sink],
    *,
    announce: Callable[[str], None] = lambda text: None,
    device_count: int | None = None,
    debug: bool = False,
    trusted: tuple[str, ...] = (),
) -> list[Result]:
    """Runs, or goes on with, several runs that differ in their seeds and in numbers, as one program.

    Args:
        folder: Made by `create_together`. The runs have folders of their own in it, in which their results lie; until they
            are done, what is saved of all of them lies in `folder`.
        sinks: One for each run; otherwise as of `train`.
        announce: As of `train`.
        device_count: How many devices share out the runs; by default as many as can. It must divide their number.
        debug: As of `train`.
        trusted: As of `train`.

    Raises:
        ValueError: There are not as many devices, or they do not divide the number of runs; or one of these has gone on
            alone.
        NotFinite: As of `train`, of any run.
        OSError: The disk is full or not writable.
    """
    folders = folders_of(folder)
    _check_together(folder, folders)
    count = device_count or devices.usable((len(folders),), len(jax.devices()))
    if not processes.alone():
        raise ValueError("runs side by side are one process's work; give each process a run of its own.")
    if (idle := len(jax.devices()) - count) > 0 and device_count is None:
        announce(
            f"{count} devices share out {len(folders)} runs, {idle} have no work: their number must divide that of runs"
        )
    if not devices.fit((len(folders),), count):
        raise ValueError(f"devices must divide the number of runs, got {count} and {len(folders)}.")
    _announce_changes(folders[0], open_folder(folders[0], trusted=trusted), announce)
    with ExitStack() as stack:
        for held in (folder, *folders):
            stack.enter_context(owned(held))
        run = assembled(folders[0], new=not begun(folder), trusted=trusted)
        check_space(run, folder, runs=len(folders))
        mesh = devices.mesh(count, RUNS)
        loop = Loop(run, folder, folders, mesh, debug=debug, trusted=trusted)
        return loop.train(sinks, announce)


def _check_alone(folder: Path) -> None:
    """Raises a ValueError for one of several runs side by side that are not done: what is saved of it lies elsewhere."""
    beside = folder.resolve().parent
    if not (beside / TOGETHER).is_file() or begun(folder):
        return
    if folder.resolve() in folders_of(beside):
        raise ValueError(f"{folder} is one of several runs, which go on together: groove train --resume {beside}")


def _check_together(folder: Path, folders: Sequence[Path]) -> None:
    """Raises a ValueError if one of several runs has gone on alone: what it learned since would be lost."""
    together = checkpoint.newest(folder / "checkpoints")
    for own in folders:
        if (alone := checkpoint.newest(own / "checkpoints")) > together:
            raise ValueError(f"{own} has gone on alone, to meta-step {alone}: resume each run by its own folder.")


def mesh_of(settings: Config, wanted: int | None, announce: Callable[[str], None]) -> Mesh:
    """The devices that share a run.

    Args:
        settings: Of the run.
        wanted: How many; by default as many as there are and can.
        announce: Is told where not all can.
    """
    available, whole, field = len(jax.devices()), whole_lives(settings), "evolution.block"
    block = 1 if whole else settings.evolution.block
    if settings.meta.method == "gradient":
        block, field = settings.meta.block or 1, "meta.block"
    count = wanted or devices.usable(settings.members, available, block=block)
    evenly = f"in blocks of {block} ({field})" if block > 1 else "evenly"
    if wanted is None and count < available:
        announce(f"{count} of {available} devices share the run: no more can share members {settings.members} {evenly}")
    if count > 1 and not devices.fit(settings.members, count, block=block):
        raise ValueError(f"devices must be so many that they can share members {settings.members} {evenly}, got {count}.")
    if whole and count > (blocks := blocks_of_lives(settings)):
        announce(f"{count} devices share {blocks} blocks of lives, so that some have no work: make {field} smaller")
    if count < available and not processes.alone():
        raise ValueError(
            f"all {available} devices of all processes must share a run, members {settings.members} let {count}."
        )
    return devices.mesh(count)


def _announce_changes(folder: Path, settings: Config, announce: Callable[[str], None]) -> None:
    """Says what is not as it was when the run began, such as packages: then it may not go on bit for bit."""
    before, now = versions_of(folder), versions()
    for parts in sources(settings).values():
        now = {**parts, **now}
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        announce(f"not as when the run began, so numbers may differ: {', '.join(changed)}")
