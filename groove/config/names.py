"""Names of parts: the built-in ones, and those of other packages, which are checked here and loaded elsewhere."""

import difflib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from groove.config.families import FAMILIES, GYMNAX, MAZE, is_plugged
from groove.config.settings import ALIASES, CHOICES, Config
from levels import plugins

ANTAGONISTS = ("a2c", "ppo", "dpo", "random")
"""What `curriculum.antagonist` may be, beside paths and plug-ins."""
OPEN: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("rule", "kind"): "groove.rules",
        ("curriculum", "kind"): "groove.curricula",
        ("curriculum", "score"): "groove.scores",
    }
)
"""The fields that may name plug-ins as well, by part and field, and of which group. Read-only."""
FAMILY_NAME = re.compile(r"[\w.:+-]+")
"""What the name of a family may be: files are named for it."""


def check_name(kind: str, name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """Returns `name` if it is known, else raises a ValueError that suggests the nearest known one."""
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    raise ValueError(f"unknown {kind} {name!r}; did you mean {near[0]!r}? Known: {', '.join(known)}.")


def check_part(kind: str, name: str, group: str, known: tuple[str, ...]) -> str:
    """Returns `name` if it is known, that of an installed plug-in, or of the form package.module:object.

    Args:
        kind: What messages call it.
        name: To be checked; nothing is imported.
        group: Of plug-ins, one of entry points such as groove.scores.
        known: The built-in names.

    Raises:
        ValueError: It is none of these; suggests the nearest name.
    """
    if name in known or ":" in name:
        return name
    installed = [plugin.name for plugin in plugins.names(group)]
    return check_name(kind, name, tuple(dict.fromkeys((*known, *installed))) or (f"package.module:{kind}",))


def check_choice(part: str, field: str, name: str) -> str:
    """Returns `name` if the field of a part of the configuration may hold it, such as `check_choice("rule", "kind", "lpg")`.

    Raises:
        ValueError: It may not; suggests the nearest name.
    """
    known = CHOICES[part, field]
    if (part, field) == ("curriculum", "kind"):
        name, known = ALIASES.get(name, name), (*known, *ALIASES)
    if (part, field) in OPEN:
        return check_part(field, name, OPEN[part, field], known)
    return check_name(field, name, known)


def check_family(name: str) -> str:
    """Returns `name` if there may be a family of that name: built in, of gymnax, of jaxued, or a plug-in.

    Raises:
        ValueError: There is none; suggests the nearest name.
    """
    if name.startswith(GYMNAX):
        return name
    if name.startswith("jaxued:"):
        return check_name("family", name, (MAZE,))
    check_part("family", name, "groove.families", (*FAMILIES, f"{GYMNAX}CartPole-v1"))
    if not FAMILY_NAME.fullmatch(name):
        raise ValueError(f"families must have names of letters, digits and _.:+- alone, got {name!r}.")
    return name


def is_file(antagonist: str) -> bool:
    """Whether `curriculum.antagonist` names a file or a run folder: by a path with a slash, or by how it ends."""
    return "/" in antagonist or antagonist.endswith(".safetensors")


def generator_of(config: Config, family: str) -> str:
    """The plug-in that makes the levels of a family; empty where the family does so itself."""
    return dict(zip(config.families, config.generators, strict=False)).get(family, "")


def plugged(config: Config) -> Iterator[tuple[str, str]]:
    """The plug-ins that a configuration names: group and name."""
    yield from (("groove.families", name) for name in config.families if is_plugged(name))
    yield from (("groove.generators", name) for name in config.generators if name)
    for (part, field), group in OPEN.items():
        name = getattr(getattr(config, part), field)
        if name not in CHOICES[part, field]:
            yield group, name
    antagonist = config.curriculum.antagonist
    if antagonist not in ANTAGONISTS and not is_file(antagonist):
        yield "groove.rules", antagonist


def sources(config: Config) -> dict[str, dict[str, str]]:
    """Where the plug-ins of a configuration come from: package and version by name by group."""
    found: dict[str, dict[str, str]] = {}
    for group, name in plugged(config):
        found = {**found, group: {**found.get(group, {}), name: plugins.origin(group, name)}}
    return found
