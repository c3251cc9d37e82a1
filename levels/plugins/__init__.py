"""Third-party parts, found by entry point or named as `package.module:object`.

An installed package offers parts through entry points, in `pyproject.toml` for example

    [project.entry-points."groove.families"]
    corridor = "my_package.corridors:corridor"

Listing them imports nothing, so that a broken one cannot hide the others. What scores, curricula and rules are is not known
here: who asks for one says what it must be.
"""

from levels.plugins.finding import GROUPS, Plugin, load, names, origin, reason, source
from levels.plugins.making import PluginError, blamed, blaming, family, generator, made, make

__all__ = [
    "GROUPS",
    "Plugin",
    "PluginError",
    "blamed",
    "blaming",
    "family",
    "generator",
    "load",
    "made",
    "make",
    "names",
    "origin",
    "reason",
    "source",
]
