"""The sizes that the levels of a curriculum were made with, as its file says them."""

import dataclasses
import json
import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from groove import assembly
from groove.config import Config, generator_of
from groove.config.limits import RANGES

Settings = TypeVar("Settings")


def generator(config: Config, name: str) -> dict[str, object]:
    """The configuration of a family's generator: what of `groove.assembly.sizes` is not about agents."""
    own = assembly.sizes(config, name)
    sampler = {"generator": generator_of(config, name)} if generator_of(config, name) else {}
    return {"family": name, **sampler, **{field: getattr(own, field) for field in _sizes(own)}}


def sized(config: Config, metadata: Mapping[str, str], *, where: object = "the file") -> Config:
    """The configuration with the generator's sizes that a file was made with, as far as the file says them.

    Args:
        config: To start from.
        metadata: Of the file.
        where: What messages call the file.

    Raises:
        ValueError: The file says sizes that no levels have; names the field.
    """
    said = _said(metadata)
    if not isinstance(said.get("family"), str):
        return config
    own = assembly.sizes(config, said["family"])
    known = {name: _size(where, name, kind, said[name]) for name, kind in _sizes(own).items() if name in said}
    part = next(field.name for field in dataclasses.fields(config) if getattr(config, field.name) is own)
    return _replace(config, {part: _replace(own, known)})


def _said(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a file says of its generator; nothing where that is not JSON of ours, for others may write what they like."""
    try:
        found = json.loads(metadata.get("generator", "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _sizes(own: object) -> dict[str, Any]:
    """The fields of `groove.assembly.sizes` that are about levels, and their types."""
    return {name: kind for name, kind in get_type_hints(type(own)).items() if not name.endswith(("rate", "entropy"))}


def _size(where: object, name: str, kind: Any, value: Any) -> object:
    """The value of a field, once it is found to be of its type and in its range."""
    inner, several = (get_args(kind)[0], True) if get_origin(kind) is tuple else (kind, False)
    entries = value if several and isinstance(value, list) else [value]
    pair = several and Ellipsis not in get_args(kind)
    fits = isinstance(value, list) == several and (not pair or len(entries) == 2)
    if not fits or not all(type(entry) is inner or (inner is float and type(entry) is int) for entry in entries):
        raise ValueError(f"{where}: generator.{name} must be of the type {kind}, got {reprlib.repr(value)}.")
    low, high = RANGES.get(name, (None, None))
    if low is not None and not (all(low <= entry <= high for entry in entries) and entries == sorted(entries)):
        raise ValueError(f"{where}: generator.{name} must lie in {low} .. {high}, in order, got {reprlib.repr(value)}.")
    return tuple(entries) if several else value


def _replace(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]
