"""Programs of a run as JAX traced them, kept between starts: a second start spends most of its time tracing.

What is kept is good while nothing has changed that it was traced from: the configurations but for their seeds, the shapes of
the state, the devices, versions of packages, JAX's and Flax's settings, and the file of every module that Python had loaded
once it was traced. Nothing is kept where one of these files is younger than the process, which may then have loaded what it
held before; nor of runs that a file or a plug-in has a part in: these may put numbers into programs that no module shows.
"""

import dataclasses
import gc
import hashlib
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeAlias

import chex
import jax
from jax import export

from groove import config
from groove.base import Info
from groove.config import Config, is_file
from groove.devices import CompilerOptions
from groove.host.files import write_bytes
from groove.host.folder import versions
from groove.trainer import State

KEPT = 128
"""Programs kept, the last used: a start needs three, of at most a few megabytes."""
SUFFIX, DIGEST, FORMAT = ".program", 32, 1
"""Of their files, which begin with a hash of so many bytes."""
BORN = time.time_ns() - 60 * 10**9
"""A time before this process loaded its first module, in nanoseconds, with room for clocks of file systems."""
Results: TypeAlias = tuple[chex.ArrayTree, Info]
"""Of a program: the next state, or None, and what is logged."""


class Shelf(NamedTuple):
    """Where programs of one kind of run lie."""

    folder: Path
    about: str  # all that they depend on but for modules


def follows_from_config(settings: Config) -> bool:
    """Whether all that a run computes follows from its configuration and from modules: no file or plug-in is part of it."""
    curriculum = settings.curriculum
    files = settings.start or curriculum.files or is_file(curriculum.antagonist) or curriculum.kind == "clutr"
    return not files and not any(config.plugged(settings))


def shelf(folder: Path, settings: Sequence[Config], state: State) -> Shelf | None:
    """Where the programs of runs side by side lie, or of one run; None if they are not to be kept.

    Args:
        folder: Of all programs.
        settings: Of each run.
        state: Without values.
    """
    hunting = jax.config.values["jax_debug_nans"] or jax.config.values["jax_debug_infs"]  # for operations, one by one
    if hunting or not all(map(follows_from_config, settings)):
        return None
    about = {
        "format": FORMAT,
        "runs": [dataclasses.asdict(dataclasses.replace(one, seed=0)) for one in settings],
        "state": [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(state)],
        "devices": [(device.platform, device.device_kind) for device in jax.devices()],
        "versions": versions(),
        "jax": str(sorted(jax.config.values.items())),
        "flax": sorted((name, value) for name, value in os.environ.items() if name.startswith(("FLAX_", "NNX_"))),
        "path": [sys.prefix, *sys.path],
    }
    return Shelf(folder, json.dumps(about))


class Program:
    """A function of a state, compiled ahead of its first call, which an earlier start may have traced."""

    def __init__(
        self, function: Callable[[State], Results], name: str, *, donate: bool, options: CompilerOptions | None = None
    ):
        """Args: name: Under which it is kept; donate: whether it may reuse the memory of its argument; options: of XLA."""
        self.name, self.donated, self.options = name, (0,) if donate else (), options
        self.inner = jax.jit(function)  # options are for outermost programs only
        self.function = jax.jit(function, donate_argnums=self.donated, compiler_options=options)
        self.call: Callable[[State], Results] = self.function

    def trace(self, state: State, place: Shelf | None) -> Callable[[], None]:
        """Traces it for states like this one, unless a shelf has it. What comes back compiles it."""
        kept = place and (_read(place, self.name) or self._export(state, place))
        lowered = (self._called(kept, state) if kept else self.function).lower(state)

        def compile_it() -> None:
            compiled = lowered.compile()
            if kept:  # else the function has it now, and takes states as devices hold them
                self.call = compiled

        return compile_it

    def __call__(self, state: State) -> Results:
        """Calls what was compiled."""
        return self.call(state)

    def _export(self, state: State, place: Shelf) -> export.Exported | None:
        """Traces it, for the shelf as well; None if it calls what JAX does not export, such as some kernels of GPUs."""
        tree = jax.tree.structure(state)
        opened = jax.jit(lambda *leaves: _opened(self.inner(jax.tree.unflatten(tree, leaves))))
        try:
            kept = export.export(opened)(*jax.tree.leaves(state))
            program = bytes(kept.serialize())
        except Exception:  # it has more than one type; what is wrong with the function is said when it is compiled
            return None
        _write(place, self.name, program)
        return kept

    def _called(self, kept: export.Exported, state: State) -> jax.stages.Wrapped:
        tree = jax.tree.structure(state)

        def call(state: State) -> Results:
            return _closed(kept.call(*jax.tree.leaves(state)), tree)

        return jax.jit(call, donate_argnums=self.donated, compiler_options=self.options)


def _opened(results: Results) -> tuple[tuple[jax.Array, ...], Info]:
    """With leaves in the place of the state, whose types are not JAX's."""
    return tuple(jax.tree.leaves(results[0])), results[1]


def _closed(results: tuple[tuple[jax.Array, ...], Info], tree: jax.tree_util.PyTreeDef) -> Results:
    return (jax.tree.unflatten(tree, results[0]) if results[0] else None), results[1]


def _path(place: Shelf, name: str) -> Path:
    return place.folder / f"{name}-{hashlib.sha256(place.about.encode()).hexdigest()[:32]}{SUFFIX}"


def _read(place: Shelf, name: str) -> export.Exported | None:
    """What an earlier start has traced; None if there is nothing, or nothing good."""
    path = _path(place, name)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):  # of a folder that others own
        os.utime(path)
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        return None
    with zipfile.ZipFile(io.BytesIO(content[DIGEST:])) as found:
        modules, now = json.loads(found.read("modules")), _modules()
        from_here = all(now.get(module, file) == file for module, file in modules["files"].items())
        same = from_here and found.read("about").decode() == place.about and modules["stamp"] == _stamp(modules["files"])[0]
        return export.deserialize(bytearray(found.read("program"))) if same else None


def _write(place: Shelf, name: str, program: bytes) -> None:
    files = _modules()
    (stamp, changed), made = _stamp(files), io.BytesIO()
    if stamp is None or changed > BORN:
        return
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("about", place.about)
        parts.writestr("modules", json.dumps({"files": files, "stamp": stamp}))
        parts.writestr("program", program)
    content = made.getvalue()
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(_path(place, name), hashlib.sha256(content).digest() + content)
        for old in sorted(place.folder.glob(f"*{SUFFIX}"), key=lambda path: -path.stat().st_mtime)[KEPT:]:
            old.unlink(missing_ok=True)
    except OSError:  # no room, or another start was faster: the next one traces again
        return


def _modules() -> dict[str, str]:
    """The files of all loaded modules, by name. Their own `__getattr__` is not asked: it may load more."""
    modules = [(name, module) for name, module in list(sys.modules.items()) if isinstance(module, ModuleType)]
    loaded = {name: object.__getattribute__(module, "__dict__").get("__file__") for name, module in modules}
    return {name: file for name, file in loaded.items() if isinstance(file, str)}


def _stamp(files: Mapping[str, str]) -> tuple[str | None, int]:
    """A hash of the times and sizes of files, None if one is missing; and when the last was changed, moved or made."""
    total, last = hashlib.sha256(), 0
    for file in files.values():
        try:
            found = os.stat(file)
        except OSError:
            return None, last
        total.update(f"{file} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_size}\n".encode())
        last = max(last, found.st_mtime_ns, found.st_ctime_ns)
    return total.hexdigest(), last


@contextmanager
def no_collection() -> Iterator[None]:
    """Keeps Python's collector from looking for garbage: tracing makes millions of objects that live on."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
