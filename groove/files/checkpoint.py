"""Checkpoints: a state on disk, written whole or not at all, and checked before it is used.

A checkpoint is a folder `step_00000123` with the arrays (orbax) and a `manifest.json`, which names its run and lists
the size and SHA-256 of every file and the path, shape and dtype of every leaf. It is written under another name, synced to
the disk and renamed.
"""

import gc
import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from groove.parallel import processes
from levels.files import DAMAGED

Tree = TypeVar("Tree", bound=chex.ArrayTree)

_VERSION, _MANIFEST, _ARRAYS = 2, "manifest.json", "arrays"
_UNFINISHED, _REPLACED = ".unfinished", "_replaced"


class Leaf(NamedTuple):
    """What must agree between a stored leaf and the one it replaces."""

    path: str  # as `jax.tree_util.keystr` writes it
    shape: tuple[int, ...]
    dtype: str  # "float32", "key<fry>"

    def __str__(self) -> str:
        return f"{self.path or 'the state'} {self.dtype}{list(self.shape)}"


class _Damaged(Exception):
    """Why a checkpoint cannot be used."""


def signature(tree: chex.ArrayTree) -> tuple[Leaf, ...]:
    """Path, shape and dtype of every leaf, of arrays or of what `jax.eval_shape` returns.

    Raises:
        ValueError: If a leaf is not an array.

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.files.checkpoint import signature
        >>> signature({"a": jnp.zeros(3)})
        (Leaf(path="['a']", shape=(3,), dtype='float32'),)
    """
    leaves = [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]
    for path, leaf in leaves:
        if not hasattr(leaf, "dtype"):
            raise ValueError(f"{path or 'the state'} must be an array, got {leaf!r}.")
    return tuple(Leaf(path, tuple(leaf.shape), str(leaf.dtype)) for path, leaf in leaves)


def difference(have: Iterable[Leaf], want: Iterable[Leaf]) -> str | None:
    """The first leaf in which two signatures differ, in words; None if they agree."""
    for found, expected in itertools.zip_longest(have, want):
        if found != expected:
            return f"it has {found or 'nothing more'} where {expected or 'nothing more'} is expected"
    return None


def save(folder: str | Path, step: int, state: chex.ArrayTree, *, run: str = "", keep: int = 3) -> Path:
    """Writes a state as `folder/step_<step>`, then removes all but the newest checkpoints. One writer a folder.

    Killed at any moment, it leaves either no new checkpoint or a whole one. Typed keys, empty and sharded arrays are fine.
    Where several processes hold a state they all call this, with a folder that all of them see.

    Args:
        folder: Where checkpoints of this run live; made if need be.
        step: What the state has done so far, at least 0. A checkpoint of the same step is replaced.
        state: A PyTree of arrays.
        run: Whose state it is, such as a hash of all that decides it; only that run may go on from it.
        keep: How many checkpoints stay, at least 1.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: If an argument is out of range or a leaf is no array.
        OSError: If the folder cannot be written.

    Example:
        >>> import tempfile, jax
        >>> from groove.files import checkpoint
        >>> folder, state = tempfile.mkdtemp(), {"key": jax.random.key(0)}
        >>> checkpoint.save(folder, 7, state).name
        'step_00000007'
        >>> step, state = checkpoint.restore(folder, state)
        >>> step
        7
    """
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}.")
    if keep < 1:
        raise ValueError(f"keep must be at least 1 checkpoint, got {keep}.")
    leaves = signature(state)
    folder = Path(folder).resolve()
    target, unfinished = folder / f"step_{step:08d}", folder / _UNFINISHED

    def begin() -> None:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)

    def publish() -> None:
        _write_manifest(unfinished, run, step, leaves)
        replaced = folder / f"{target.name}{_REPLACED}"
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            target.rename(replaced)
        unfinished.rename(target)
        _sync(folder)
        shutil.rmtree(replaced, ignore_errors=True)
        for old in _checkpoints(folder)[keep:]:
            _remove(old)

    processes.by_first(begin)
    _write_arrays(unfinished / _ARRAYS, leaves, state)
    processes.by_first(publish)
    return target


def restore(folder: str | Path, like: Tree, *, run: str = "") -> tuple[int, Tree]:
    """Reads the newest checkpoint of a run that is whole; damaged ones, and those of other runs, are skipped with a warning.

    The arrays equal those saved bit for bit, and calling a compiled function on them does not compile it again: none is
    weakly typed, and each is placed as its counterpart in `like`, or on the default device, uncommitted, where that says
    nothing (so does the output of a `jax.jit` without shardings).

    Args:
        folder: What `save` was given.
        like: A PyTree as saved, of arrays (their values are ignored, they may be donated ones) or of
            `jax.ShapeDtypeStruct`, typed keys included.
        run: As `save` was given.

    Returns:
        The step and the state.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If none is usable, or if the newest whole one has other leaves than `like`.
    """
    checkpoints = _checkpoints(Path(folder).resolve())
    if not checkpoints:
        raise FileNotFoundError(f"{folder} holds no checkpoint.")
    reason = ""
    for path in checkpoints:
        try:
            leaves = _read_manifest(path, run)
            if (other := difference(leaves, signature(like))) is not None:
                raise ValueError(f"{path} is of another configuration, or of another version of groove: {other}.")
            return _step(path), _read_arrays(path / _ARRAYS, leaves, like)
        except (_Damaged, OSError) as error:
            reason = reason or f"{path.name} {error}"
            warnings.warn(f"Skipped the checkpoint {path}: {error}.", stacklevel=2)
    raise ValueError(f"{folder} holds no usable checkpoint: {reason}. Without this folder the run begins anew.")


def newest(folder: str | Path) -> int:
    """The step of the newest checkpoint, whole or not; -1 if there is none."""
    return max((_step(path) for path in _checkpoints(Path(folder))), default=-1)


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first; one that was being replaced when its writer died comes after its replacement."""
    found = [path for path in folder.glob("step_*") if re.fullmatch(rf"step_\d{{8,10}}({_REPLACED})?", path.name)]
    return sorted(found, key=lambda path: (_step(path), not path.name.endswith(_REPLACED)), reverse=True)


def _step(path: Path) -> int:
    return int(path.name.split("_")[1])


def _remove(checkpoint: Path) -> None:
    """What stands in the place of a checkpoint, a link included."""
    if checkpoint.is_dir() and not checkpoint.is_symlink():
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink()


def _write_arrays(path: Path, leaves: tuple[Leaf, ...], state: chex.ArrayTree) -> None:
    """Stores leaves by number: orbax takes neither typed keys in every place nor empty arrays."""
    stored = {str(i): _raw(leaf) for i, leaf in enumerate(jax.tree.leaves(state)) if 0 not in leaves[i].shape}
    with _system_errors(path), ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(path, stored or {"none": jnp.zeros(1)})


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Makes an OSError of orbax's ValueErrors about files, as of a full disk, and keeps its threads from logging pages."""
    before = {logger: logger.disabled for logger in map(logging.getLogger, ("absl", "asyncio"))}
    for logger in before:
        logger.disabled = True
    try:
        yield
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        gc.collect()  # its tasks speak of what they failed with when they go
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
    finally:
        for logger, was in before.items():
            logger.disabled = was


def _read_arrays(path: Path, leaves: tuple[Leaf, ...], like: Tree) -> Tree:
    targets = jax.tree.leaves(like)
    names = [str(i) for i, leaf in enumerate(leaves) if 0 not in leaf.shape] or ["none"]
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            stored = checkpointer.restore(path, restore_args={n: ocp.RestoreArgs(restore_type=np.ndarray) for n in names})
    except (ValueError, KeyError, TypeError) as error:
        raise _Damaged(f"has arrays that cannot be read ({' '.join(str(error).split())[:200]})") from error
    for i, leaf in enumerate(leaves):
        if 0 not in leaf.shape:
            found, wanted = stored[str(i)], jax.eval_shape(_raw, targets[i])
            if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
                raise _Damaged(f"holds an array {found.dtype}{list(found.shape)} for {leaf}")
    values = [_place(stored.get(str(i)), target) for i, target in enumerate(targets)]
    return jax.tree.unflatten(jax.tree.structure(like), values)


def _is_key(leaf: jax.Array | jax.ShapeDtypeStruct) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _raw(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else jnp.asarray(leaf)


def _place(value: np.ndarray | None, like: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    """Makes of a stored value, None if it is empty, an array as `like` is: same dtype, same devices, as firmly committed."""
    if value is None:
        raw = jax.eval_shape(_raw, like)
        value = np.zeros(raw.shape, raw.dtype)
    sharding = _sharding(like)
    if sharding is None or sharding.is_fully_addressable:
        array = jnp.asarray(value)
    else:
        array = jax.make_array_from_callback(value.shape, sharding, lambda rows: value[rows])
    if _is_key(like):
        array = jax.random.wrap_key_data(array, impl=_implementation(like))
    return array if sharding is None or not sharding.is_fully_addressable else jax.device_put(array, sharding)


def _sharding(like: jax.Array | jax.ShapeDtypeStruct) -> jax.sharding.Sharding | None:
    """Where an array must be; None if it may be anywhere, as the outputs of a plain `jax.jit`."""
    if isinstance(like, jax.Array):
        return like.sharding if like.committed else None
    sharding = getattr(like, "sharding", None)
    abstract = isinstance(sharding, jax.sharding.NamedSharding) and isinstance(sharding.mesh, jax.sharding.AbstractMesh)
    return None if abstract else sharding


def _implementation(key: jax.Array | jax.ShapeDtypeStruct) -> str:
    """The name of a key's generator, which `jax.random.key_impl` tells of arrays only, traced ones among them."""
    names = []

    def note(traced: jax.Array) -> jax.Array:
        names.append(str(jax.random.key_impl(traced)))
        return traced

    jax.eval_shape(note, key)
    return names[0]


def _write_manifest(folder: Path, run: str, step: int, leaves: tuple[Leaf, ...]) -> None:
    """Syncs every file to the disk, then lists them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): [path.stat().st_size, _digest(path)] for path in paths}
    for path in (*paths, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync(path)
    body = {"version": _VERSION, "run": run, "step": step, "leaves": leaves, "files": files}
    manifest = folder / _MANIFEST
    manifest.write_text(json.dumps({"sha256": _digest_of(body), **body}, indent=1), encoding="utf-8")
    _sync(manifest)
    _sync(folder)


def _read_manifest(folder: Path, run: str) -> tuple[Leaf, ...]:
    """The leaves of a run's checkpoint, once every file is found to be as it was written."""
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        raise _Damaged(f"has no {_MANIFEST}")
    if any(path.is_symlink() for path in (folder, *folder.rglob("*"))):
        raise _Damaged("holds symbolic links, which lead elsewhere")
    try:
        body = json.loads(manifest.read_text(encoding="utf-8"))
        intact = body.pop("sha256") == _digest_of(body)
    except DAMAGED as error:
        raise _Damaged(f"has an unreadable {_MANIFEST}") from error
    if not intact:
        raise _Damaged(f"has an altered {_MANIFEST}")
    if body.get("version") != _VERSION:
        raise _Damaged(f"is of version {body.get('version')}, not {_VERSION}")
    if body.get("run") != run:
        raise _Damaged("is of another run")
    if type(body.get("step")) is not int or body["step"] != _step(folder):
        raise _Damaged(f"has a {_MANIFEST} of another step, {body.get('step')!r}")
    try:
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in body["files"].items()}
        leaves = tuple(Leaf(str(path), tuple(map(int, shape)), str(dtype)) for path, shape, dtype in body["leaves"])
    except DAMAGED as error:
        raise _Damaged(f"has a {_MANIFEST} without its files or its leaves") from error
    if unlisted := {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {*files, _MANIFEST}:
        raise _Damaged(f"has a file that its {_MANIFEST} does not list, {min(unlisted)}")
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file() or folder not in path.resolve().parents:
            raise _Damaged(f"lacks {name}")
        if path.stat().st_size != size or _digest(path) != digest:
            raise _Damaged(f"has a damaged file, {name}")
    return leaves


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(body: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    if os.name == "nt":  # which opens no folders, and syncs no file that is only read
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
