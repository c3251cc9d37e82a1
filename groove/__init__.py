"""groove: generates curricula of reinforcement-learning tasks and meta-learns algorithms on them.

The parts are functions in NamedTuples (see `groove.base`); levels and their families live in the package `levels`. Rooms
and names load when they are asked for, so that `import groove` is light.
"""

import importlib
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groove import (
        analysis,
        assembly,
        config,
        curate,
        curricula,
        evaluation,
        files,
        lifetime,
        meta,
        nets,
        protocols,
        rules,
        runs,
        scores,
        statistics,
        trainer,
    )
    from groove.base import Clock, Curriculum, MetaOptimizer, Outcome, Rollout, Score, Source, Task, UpdateRule
    from groove.files.library import load_rule
    from groove.lifetime import Lifetime
    from groove.trainer import Trainer

ROOMS = (
    "analysis",
    "assembly",
    "base",
    "config",
    "curate",
    "curricula",
    "evaluation",
    "files",
    "lifetime",
    "meta",
    "nets",
    "parallel",
    "protocols",
    "report",
    "rules",
    "runs",
    "scores",
    "statistics",
    "trainer",
)
NAMES = MappingProxyType(
    {
        **dict.fromkeys(
            ("Clock", "Curriculum", "MetaOptimizer", "Outcome", "Rollout", "Score", "Source", "Task", "UpdateRule"),
            "groove.base",
        ),
        "Lifetime": "groove.lifetime",
        "Trainer": "groove.trainer",
        "load_rule": "groove.files.library",
    }
)
"""Where the public names are. Read-only."""

__all__ = [
    "Clock",
    "Curriculum",
    "Lifetime",
    "MetaOptimizer",
    "Outcome",
    "Rollout",
    "Score",
    "Source",
    "Task",
    "Trainer",
    "UpdateRule",
    "__version__",
    "analysis",
    "assembly",
    "config",
    "curate",
    "curricula",
    "evaluation",
    "files",
    "lifetime",
    "load_rule",
    "meta",
    "nets",
    "protocols",
    "rules",
    "runs",
    "scores",
    "statistics",
    "trainer",
]

__version__: str = metadata.version("groove-rl")


def __getattr__(name: str) -> object:
    """A room or a public name, loaded now."""
    if name in ROOMS:
        return importlib.import_module(f"groove.{name}")
    if name in NAMES:
        return getattr(importlib.import_module(NAMES[name]), name)
    raise AttributeError(f"module 'groove' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
