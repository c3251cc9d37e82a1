"""Third-party parts, found by entry point or named as `package.module:object`.

An installed package offers parts through entry points, in `pyproject.toml` for example

    [project.entry-points."groove.families"]
    corridor = "my_package.corridors:corridor"

Which groups there are, and what scores, curricula and rules are, is not known here: who asks for a part says it. Listing
parts imports nothing, so that a broken one cannot hide the others.
"""

from levels.plugins.finding import Plugin, load, names, origin, reason, source
from levels.plugins.making import PluginError, blamed, blaming, family, generator, made, make

__all__ = [
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
