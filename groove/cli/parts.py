"""`groove levels list` and `groove levels check`: the parts that there are, and whether one keeps the laws."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import tyro

from groove import config
from groove.cli.common import cache
from levels import FAMILIES, plugins
from levels.base import Family

OWN: Mapping[str, tuple[str, ...]] = {
    "groove.families": (*FAMILIES, f"{config.GYMNAX}NAME"),
    "groove.generators": ("that of every family",),
    "groove.scores": config.CHOICES["curriculum", "score"],
    "groove.curricula": config.CHOICES["curriculum", "kind"],
    "groove.rules": (*config.CHOICES["rule", "kind"], *config.ANTAGONISTS),
}
"""What this library has of each kind, by the entry points that others offer theirs with."""


@dataclass(frozen=True)
class CheckOptions:
    """Asks every law of a family or a generator: validity, shapes, keys, vmap, retracing, optimum, edits, speed."""

    name: Annotated[str, tyro.conf.Positional]
    """A family or generator, by its name, or as package.module:object."""
    family: str = ""
    """The family that a generator is for, by its name or as package.module:object."""
    levels: int = 64
    """Levels to sample."""
    episodes: int = 64
    """Episodes of each level that is played."""
    seed: int = 0
    """Of all chance."""


def show(words: list[str]) -> int:
    """`groove levels list`."""
    if words:
        print("usage: groove levels list     the families, generators, scores, curricula and rules that can be named")
        return 0 if words in (["-h"], ["--help"]) else 2
    for group, own in OWN.items():
        print(f"{group.removeprefix('groove.'):<11} {', '.join(own)}")
        for plugin in plugins.names(group):
            print(f"{'':<11} {plugin.name}  {plugin.target} of {plugin.distribution}")
    print("Parts of other packages are listed under their entry points; any can be named as package.module:object, too.")
    return 0


def check(words: list[str]) -> int:
    """`groove levels check NAME`: 0 where every law is kept, 1 where one is broken."""
    options = tyro.cli(CheckOptions, args=words, prog="groove levels check")
    from levels import check as laws

    cache()
    ask = functools.partial(
        laws.check, name=options.name, levels=options.levels, episodes=options.episodes, seed=options.seed
    )
    if options.family:
        verdict = ask(plugins.generator(options.name), family=_family(options.family))
    else:
        verdict = ask(_part(options.name))
    print(laws.render(verdict))
    return 1 if verdict.failures else 0


def _family(name: str) -> Family:
    """A family of this library, of the sizes of the preset `quick`, or of another."""
    from groove import build

    if name in FAMILIES or name.startswith(config.GYMNAX):
        return build.family(config.QUICK, name)
    return plugins.family(name, known=FAMILIES)


def _part(name: str):
    """A family or a generator, whichever has the name."""
    generators = [plugin.name for plugin in plugins.names("groove.generators")]
    if name in generators:
        return plugins.generator(name)
    if name in FAMILIES or name.startswith(config.GYMNAX):
        return _family(name)
    return plugins.load("groove.families", name, known=(*FAMILIES, *generators))
