"""Configurations as JSON."""

import dataclasses
import hashlib
import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Literal, Union, get_args, get_origin

from groove.config.checks import check
from groove.config.names import sources
from groove.config.settings import Config
from levels.files import DAMAGED, parsed, read_json, whole


def save(config: Config, path: Path, versions: Mapping[str, str]) -> None:
    """Writes a configuration as JSON, with versions and what else numbers depend on, and where its plug-ins come from."""
    page = {"config": dataclasses.asdict(config), "versions": dict(versions), "plugins": sources(config)}
    with whole(path) as file:
        file.write(f"{json.dumps(page, indent=2)}\n".encode())


def identity(*several: Config) -> str:
    """A hash of all that decides what a run computes, its seed among it; of runs side by side, of all of them.

    Example:
        >>> from groove import config
        >>> len(config.identity(config.QUICK))
        64
    """
    said = [dataclasses.asdict(one) for one in several]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def load(path: Path) -> Config:
    """Reads a configuration that `save` wrote.

    Raises:
        ValueError: The file is no configuration of this version of groove; the message names it.
    """
    try:
        return from_json(json.dumps(read_json(path)["config"]))
    except DAMAGED as error:
        raise ValueError(f"{path} is not a configuration of this version of groove: {str(error).rstrip('.')}.") from error


def versions_of(path: Path) -> dict[str, str]:
    """The versions, and what else numbers depend on, that `save` wrote beside a configuration.

    Raises:
        ValueError: They are damaged; the message names the file.
    """
    return _texts(path, read_json(path).get("versions", {}), "versions")


def plugins_of(path: Path) -> dict[str, str]:
    """Where the plug-ins of a configuration that `save` wrote came from, by name.

    Raises:
        ValueError: As of `versions_of`.
    """
    groups = read_json(path).get("plugins", {})
    if not isinstance(groups, dict):
        raise ValueError(f"{path}: plugins must be an object of objects, got {reprlib.repr(groups)}.")
    return {name: where for group in groups.values() for name, where in _texts(path, group, "plugins").items()}


def _texts(path: Path, found: object, name: str) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError(f"{path}: {name} must be an object of texts, got {reprlib.repr(found)}.")
    return found


LATER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"Config": ("reproducible",), "Meta": ("objective", "fading", "member_clip")}
)
"""Fields that files of earlier versions lack: by default they mean what was so before. Read-only."""


def from_json(text: str) -> Config:
    """A checked configuration from the JSON of its fields.

    Raises:
        ValueError: It has other fields, or values that no run can have.
    """
    try:
        return check(_rebuild(Config, parsed(text, "the configuration")))
    except (TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ValueError(f"not a configuration of this version of groove: {error}.") from error


def _rebuild(kind, values):
    """A dataclass from nested dictionaries; lists become tuples."""
    parts = {f.name: f.type for f in dataclasses.fields(kind)}
    if not isinstance(values, dict):
        raise TypeError(f"{kind.__name__} must be an object of fields, got {str(values)[:40]}")
    differ = (set(values) ^ set(parts)) - (set(LATER.get(kind.__name__, ())) - set(values))
    if differ:
        raise TypeError(f"fields of {kind.__name__} differ: {sorted(differ)}")

    def one(name, value):
        if dataclasses.is_dataclass(parts[name]):
            return _rebuild(parts[name], value)
        return _checked(name, parts[name], value)

    return kind(**{name: one(name, value) for name, value in values.items()})


def _checked(name, hint, value):
    """The value of a field, if it is of the field's type: a number, a name, or a tuple of them."""
    if get_origin(hint) is not tuple:
        expected = str if get_origin(hint) in (Literal, Union, UnionType) else hint
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise TypeError(f"{name} must be of type {expected.__name__}, got {value!r}")
        return value
    kinds = get_args(hint)
    if not isinstance(value, list) or (Ellipsis not in kinds and len(value) != len(kinds)):
        raise TypeError(f"{name} must be a list like {hint}, got {value!r}")
    return tuple(_checked(name, kinds[0], entry) for entry in value)
