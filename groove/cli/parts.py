"""`groove levels list` and `groove levels check`: the parts that there are, and whether one keeps the laws."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple

import tyro
from rich.table import Table
from rich.text import Text

from groove import config
from groove.cli.common import cache, leave, smoke
from groove.rulefile import shipped
from groove.terminal import plain, say
from levels import FAMILIES, plugins
from levels import check as laws
from levels.base import Family
from levels.plugins import Plugin

USAGE = """usage: groove levels list     the families, generators, scores, curricula and rules that can be named

Parts of other packages are imported to see whether they are whole: one that is not is listed as broken, with the reason.
Whatever is not offered by an entry point can be named as package.module:object, also where it lies in this folder.
"""
CHECK_USAGE = """Asks every law of a family or a generator, draws the level on which one is broken, says what to do about it:

  groove levels check corridor                               a family of another package, by the name of its entry point
  groove levels check open-fields --family gridworld         a generator, with the family that its levels are for
  groove levels check my_module:corridor --levels 16         what lies in this folder; fewer levels, sooner done

Ends with 0 where every law is kept, with 1 where one is broken.

"""
OWN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "groove.families": tuple(FAMILIES),
        "groove.generators": ('""',),
        "groove.scores": config.CHOICES["curriculum", "score"],
        "groove.curricula": config.CHOICES["curriculum", "kind"],
        "groove.rules": (*config.CHOICES["rule", "kind"], *(f"{name} (antagonist)" for name in config.ANTAGONISTS)),
    }
)
"""What this library has of each kind, by the entry points that others offer theirs with. Read-only."""
ADAPTED: Mapping[str, str] = MappingProxyType({f"{config.GYMNAX}NAME": "gymnax", config.MAZE: "jaxued"})
"""Families by adapter, and the packages that they come from. Read-only."""
STYLES: Mapping[str, str] = MappingProxyType({"passed": "green", "FAILED": "bold red", "skipped": "dim"})


class Row(NamedTuple):
    """A part that can be named."""

    group: str
    name: str
    source: str  # where it comes from
    broken: str = ""  # why it cannot be used


@dataclass(frozen=True)
class CheckOptions:
    """Asks every law of a family or a generator: validity, shapes, keys, vmap, retracing, optimum, edits, speed."""

    name: Annotated[str, tyro.conf.Positional]
    """A family or generator, by its name, or as package.module:object."""
    family: str = ""
    """The family that a generator is for, by its name or as package.module:object; its sizes are those of `quick`."""
    levels: int = 64
    """Levels to sample."""
    episodes: int = 64
    """Episodes of each level that is played."""
    seed: int = 0
    """Of all chance."""
    seconds: float = 60.0
    """Sampling and playing must compile in this time each."""
    only: tuple[str, ...] = ()
    """Laws to ask, with those that they need; by default all."""


def show(words: list[str]) -> int:
    """`groove levels list`."""
    from groove.terminal import console

    if words:
        say(USAGE, end="")
        return 0 if words in (["-h"], ["--help"]) else 2
    found, output = rows(), console()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for i, row in enumerate(found):
        group = "" if i and found[i - 1].group == row.group else row.group.removeprefix("groove.")
        source = f"{row.source}; broken: {row.broken}" if row.broken else row.source
        if output.is_terminal:
            table.add_row(Text(group, "bold"), Text(plain(row.name)), Text(plain(source), "red" if row.broken else "dim"))
        else:
            say(f"{group:<11} {row.name:<24} {source}")
    if output.is_terminal:
        output.print(table)
    return 0


def rows() -> list[Row]:
    """All parts that can be named by kind, the built-in ones before those of other packages."""
    found: list[Row] = []
    for group, own in OWN.items():
        found.extend(Row(group, name, "the family's own" if name == '""' else "built in") for name in own)
        if group == "groove.rules":
            found.extend(Row(group, name, "learned, comes with groove") for name in shipped())
        if group == "groove.families":
            found.extend(Row(group, name, f"{package} {metadata.version(package)}") for name, package in ADAPTED.items())
        found.extend(_row(plugin) for plugin in plugins.names(group))
    return found


def _row(plugin: Plugin) -> Row:
    """A part of another package, once it was imported."""
    source = f"{plugin.distribution}, {plugin.target}"
    try:
        if plugin.group == "groove.families":
            plugins.family(plugin.name)
        else:
            kind = "a part or a function that makes one"
            plugins.load(plugin.group, plugin.name, accepts=_is_part, kind=kind)
    except ValueError as error:
        reason = str(error).removeprefix(str(plugin)).removeprefix(f"plug-in {plugin.name!r}")
        return Row(plugin.group, plugin.name, source, reason.strip())
    return Row(plugin.group, plugin.name, source)


def _is_part(found: object) -> bool:
    return callable(found) or hasattr(found, "_fields")


def check(words: list[str]) -> int:
    """`groove levels check NAME`: 0 where every law is kept, 1 where one is broken."""
    from groove.terminal import console

    if "-h" in words or "--help" in words:
        say(CHECK_USAGE)
    options = tyro.cli(CheckOptions, args=words, prog="groove levels check")
    cache()
    output = console()
    if output.is_terminal:
        with output.status(f"asking {options.name} about {len(laws.LAWS)} laws"):
            verdict = _verdict(options)
        for line in plain(laws.render(verdict)).splitlines():
            output.print(Text(line, STYLES.get(line.partition(" ")[0], "")), soft_wrap=True)
    else:
        verdict = _verdict(options)
        say(laws.render(verdict))
    return _left(0 if verdict.passed else 1)


def _left(code: int) -> int:
    """Ends the process of the command `groove`; anywhere else, returns the exit code."""
    if Path(sys.argv[0]).stem == "groove":
        # Nothing is left to be done or written, and Python would spend minutes on freeing what it traced of a slow plug-in.
        leave(code)
    return code


def _verdict(options: CheckOptions) -> laws.Verdict:
    family = _family(options.family) if options.family else None
    try:
        part = _part(options.name, family)
    except plugins.PluginError as error:
        return laws.Verdict(options.name, (laws.Finding("making", "failed", str(error)),))
    return laws.check(
        part,
        family=family,
        name=options.name,
        levels=options.levels,
        episodes=options.episodes,
        seed=options.seed,
        seconds=options.seconds,
        only=options.only,
    )


def _family(name: str) -> Family:
    """A family by its name, of the sizes of the preset `quick` where those are for groove to say."""
    from groove import build

    return build.family(smoke(config.QUICK), config.check_family(name))


def _part(name: str, family: Family | None) -> object:
    """What a name stands for: a family, or a generator, and that at once where there is a family for it."""
    if family is None and not config.is_plugged(name):
        return _family(name)
    generators = [plugin.name for plugin in plugins.names("groove.generators")]
    families = [plugin.name for plugin in plugins.names("groove.families")]
    if family is not None and ":" not in name:
        config.check_name("generator", name, tuple(generators) or ("package.module:generator",))
    elif ":" not in name:
        config.check_name("family or generator", name, (*FAMILIES, *ADAPTED, *families, *generators))
    wanted = family is not None or (name in generators and name not in families)
    try:
        return plugins.load("groove.generators" if wanted else "groove.families", name)
    except ValueError as error:
        raise plugins.PluginError(str(error)) from error
