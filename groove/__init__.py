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
        parallel,
        protocols,
        report,
        rules,
        runs,
        scores,
        statistics,
        trainer,
    )
    from groove.base import Clock, Curriculum, MetaOptimizer, Outcome, Rollout, Score, Source, Task, UpdateRule
    from groove.evaluation import evaluate
    from groove.files.library import load_rule
    from groove.lifetime import Lifetime
    from groove.runs.complete import train
    from groove.trainer import Trainer

_PLACES = MappingProxyType(
    {
        **dict.fromkeys(
            ("Clock", "Curriculum", "MetaOptimizer", "Outcome", "Rollout", "Score", "Source", "Task", "UpdateRule"),
            "groove.base",
        ),
        "Lifetime": "groove.lifetime",
        "Trainer": "groove.trainer",
        "evaluate": "groove.evaluation",
        "load_rule": "groove.files.library",
        "train": "groove.runs.complete",
    }
)
"""Where the public names are that are no rooms. Read-only."""

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
    "evaluate",
    "evaluation",
    "files",
    "lifetime",
    "load_rule",
    "meta",
    "nets",
    "parallel",
    "protocols",
    "report",
    "rules",
    "runs",
    "scores",
    "statistics",
    "train",
    "trainer",
]

__version__: str = metadata.version("groove-rl")


def __getattr__(name: str) -> object:
    """A room or a public name, loaded now."""
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    if name in __all__:
        return importlib.import_module(f"groove.{name}")
    raise AttributeError(f"module 'groove' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
