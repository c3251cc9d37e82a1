"""A learned rule on disk: one safetensors file, theta by leaf path, with what rebuilds the rule as metadata."""

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TypeVar

import chex
import jax
import numpy as np
import safetensors
import safetensors.flax

from groove.files.checkpoint import Leaf, signature
from levels.files import whole

Tree = TypeVar("Tree", bound=chex.ArrayTree)

RULE = "rule.safetensors"
"""The rule's file in a run's folder."""
_FORMAT = "groove.rule.1"
_RESERVED = ("format", "sha256")


def locate(path: str | Path) -> Path:
    """The file of a rule: itself, that of a run's folder, or of a rule that comes with groove, called shipped/NAME.

    Example:
        >>> from groove.files.rulefile import locate
        >>> locate("shipped/quick").name
        'quick.safetensors'
    """
    path = Path(path)
    if path.is_dir():
        return path / RULE
    ours = Path(str(resources.files("groove"))) / f"{path}.safetensors"
    return ours if not path.exists() and path.parent == Path("shipped") and ours.is_file() else path


def shipped() -> list[str]:
    """Names of the rules that come with groove.

    Example:
        >>> from groove.files.rulefile import shipped
        >>> "shipped/quick" in shipped()
        True
    """
    folder = Path(str(resources.files("groove"))) / "shipped"
    return sorted(f"shipped/{path.stem}" for path in folder.glob("*.safetensors"))


def save_rule(path: str | Path, theta: chex.ArrayTree, metadata: Mapping[str, str]) -> None:
    """Writes theta and its metadata, whole or not at all; the same ones always make the same bytes.

    Args:
        path: The file, replaced if it exists; its folder must exist.
        theta: A PyTree of numeric arrays.
        metadata: What rebuilds the rule (name, widths, versions), as strings; "format" and "sha256" are taken.

    Raises:
        ValueError: If a leaf is no array or is not finite, or a metadata name is taken or its value no string.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile, jax.numpy as jnp
        >>> from groove.files.rulefile import load_rule_file, save_rule, unflatten
        >>> path = tempfile.mkdtemp() + "/rule.safetensors"
        >>> save_rule(path, {"w": jnp.arange(3)}, {"rule": "lpg"})
        >>> flat, metadata = load_rule_file(path)
        >>> metadata, unflatten({"w": jnp.zeros(3, int)}, flat)
        ({'rule': 'lpg'}, {'w': Array([0, 1, 2], dtype=int32)})
    """
    for name, value in metadata.items():
        if name in _RESERVED or not isinstance(value, str):
            raise ValueError(f"metadata must map names other than {_RESERVED} to strings, got {name!r}: {value!r}.")
    paths = [leaf.path for leaf in signature(theta)]
    tensors = dict(zip(paths, jax.tree.leaves(theta), strict=True))
    if (bad := _not_finite(tensors)) is not None:
        raise ValueError(f"theta must be finite, {bad or 'its only leaf'} is not.")
    header = {**metadata, "format": _FORMAT, "sha256": _digest(tensors, metadata)}
    with whole(Path(path)) as file:
        file.write(_in_order(safetensors.flax.save(tensors, header)))


def load_rule_file(path: str | Path) -> tuple[dict[str, jax.Array], dict[str, str]]:
    """Reads what `save_rule` wrote, once it is found to be whole.

    Returns:
        Theta's leaves by path (see `unflatten`) and the metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no rule, is damaged, or is not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file.")
    try:
        with safetensors.safe_open(path, framework="flax") as file:
            header = file.metadata() or {}
            with jax.ensure_compile_time_eval():  # plain arrays, also where numbers are traced
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except (safetensors.SafetensorError, AttributeError, TypeError) as error:  # some types of numbers are not NumPy's
        raise ValueError(f"{path} is damaged or no safetensors file: {error}.") from error
    if header.get("format") != _FORMAT:
        raise ValueError(f"{path} is no rule of format {_FORMAT!r}, its format is {header.get('format')!r}.")
    metadata = {name: value for name, value in sorted(header.items()) if name not in _RESERVED}
    if header.get("sha256") != _digest(tensors, metadata):
        raise ValueError(f"{path} is damaged: its content does not have the hash that it states.")
    if (bad := _not_finite(tensors)) is not None:
        raise ValueError(f"{path} must be finite, {bad or 'its only leaf'} is not.")
    return tensors, metadata


def unflatten(like: Tree, flat: Mapping[str, jax.Array]) -> Tree:
    """Puts leaves by path into the structure of `like`.

    Args:
        like: A PyTree of arrays or of `jax.ShapeDtypeStruct`, as `jax.eval_shape(rule.init, key)` gives.
        flat: What `load_rule_file` returned.

    Raises:
        ValueError: If a leaf is missing or one too many, or has another shape or dtype.
    """
    wanted = signature(like)
    unknown = sorted(set(flat) - {leaf.path for leaf in wanted})
    if unknown:
        raise ValueError(f"theta has no leaf {unknown[0] or 'without a path'}, but the file has.")
    for leaf in wanted:
        found = flat.get(leaf.path)
        if found is None or Leaf(leaf.path, found.shape, str(found.dtype)) != leaf:
            have = "nothing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise ValueError(f"theta must have {leaf}, the file has {have} there.")
    return jax.tree.unflatten(jax.tree.structure(like), [flat[leaf.path] for leaf in wanted])


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted, which safetensors writes in another order every time.

    Such a file is the length of its header (u64, little-endian), the header, JSON padded with spaces to a multiple of eight
    bytes, and the data, whose places the header counts from its own end.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written + content[end:]


def _not_finite(tensors: Mapping[str, jax.Array]) -> str | None:
    """The first leaf with a nan or an infinity."""
    return next((name for name, leaf in tensors.items() if not np.all(np.isfinite(np.asarray(leaf)))), None)


def _digest(tensors: Mapping[str, jax.Array], metadata: Mapping[str, str]) -> str:
    """SHA-256 of names, shapes, dtypes and bytes, whatever their order in the file."""
    total = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, leaf in sorted(tensors.items()):
        total.update(json.dumps([name, str(leaf.dtype), leaf.shape]).encode())
        total.update(np.asarray(leaf).tobytes())
    return total.hexdigest()
