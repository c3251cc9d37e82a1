"""`groove levels list`: the parts that there are."""

from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from groove import config
from groove.files.library import config_of
from groove.files.rulefile import load_rule_file, locate, shipped
from groove.report.terminal import plain, say
from levels import FAMILIES, plugins
from levels.plugins import Plugin

USAGE = """usage: groove levels list     the families, generators, scores, curricula and rules that can be named

Parts of other packages are imported to see whether they are whole: one that is not is listed as broken, with the reason.
Whatever is not offered by an entry point can be named as package.module:object, also where it lies in this folder.
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


class Row(NamedTuple):
    """A part that can be named."""

    group: str
    name: str
    source: str  # where it comes from
    broken: str = ""  # why it cannot be used


def show(words: list[str]) -> int:
    """`groove levels list`."""
    from groove.report.terminal import console

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
            found.extend(Row(group, name, card(name)) for name in shipped())
        if group == "groove.families":
            found.extend(Row(group, name, f"{package} {metadata.version(package)}") for name, package in ADAPTED.items())
        found.extend(_row(plugin) for plugin in plugins.names(group))
    return found


def card(name: str) -> str:
    """How a rule that comes with groove was learned, from its file.

    Example:
        >>> from groove.cli.parts import card
        >>> learned, _, what = card("shipped/quick").partition(": ")
        >>> learned, what
        ('learned by quick, seed 0, 1250 meta-steps', 'lpg, knows scaled; lives of 5 to 100 updates on gridworld and \
bernoulli-bandit')
    """
    metadata = load_rule_file(locate(name))[1]
    settings = config_of(name, metadata)
    low, high = settings.life.updates
    knows = "" if settings.rule.horizon == "none" else f", knows {settings.rule.horizon}"
    return (
        f"learned by {settings.name}, seed {settings.seed}, {metadata['step']} meta-steps: {settings.rule.kind}{knows}; "
        f"lives of {low} to {high} updates on {' and '.join(settings.families)}"
    )


def _row(plugin: Plugin) -> Row:
    """A part of another package, once it was imported."""
    source = f"{plugin.distribution}, {plugin.target}"
    try:
        if plugin.group == "groove.families":
            plugins.family(plugin.group, plugin.name)
        else:
            kind = "a part or a function that makes one"
            plugins.load(plugin.group, plugin.name, accepts=_is_part, kind=kind)
    except ValueError as error:
        reason = str(error).removeprefix(str(plugin)).removeprefix(f"plug-in {plugin.name!r}")
        return Row(plugin.group, plugin.name, source, reason.strip())
    return Row(plugin.group, plugin.name, source)


def _is_part(found: object) -> bool:
    return callable(found) or hasattr(found, "_fields")
