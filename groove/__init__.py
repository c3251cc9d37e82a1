"""groove: generates curricula of reinforcement-learning tasks and meta-learns algorithms on them.

The parts are functions in NamedTuples (see `groove.base`); levels and their families live in the package `levels`.
"""

from groove import (
    agents,
    audit,
    build,
    config,
    curate,
    curricula,
    curriculumfile,
    differences,
    evaluate,
    host,
    lifetime,
    meta,
    rules,
    scores,
    statistics,
    trainer,
)
from groove.base import Clock, Curriculum, MetaOptimizer, Outcome, Rollout, Score, Source, Task, UpdateRule
from groove.library import load_rule
from groove.lifetime import Lifetime
from groove.trainer import Trainer

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
    "agents",
    "audit",
    "build",
    "config",
    "curate",
    "curricula",
    "curriculumfile",
    "differences",
    "evaluate",
    "host",
    "lifetime",
    "load_rule",
    "meta",
    "rules",
    "scores",
    "statistics",
    "trainer",
]
