"""Contracts of the parts; PyTrees row by row (`trees`) and ranges of numbers (`ranges`): what all rooms stand on."""

from groove.base.contracts import (
    Agent,
    Clock,
    Curriculum,
    Info,
    Memory,
    MetaOptimizer,
    Origin,
    Outcome,
    Reference,
    Rollout,
    Score,
    Signals,
    Source,
    Task,
    Theta,
    UpdateRule,
)

__all__ = [
    "Agent",
    "Clock",
    "Curriculum",
    "Info",
    "Memory",
    "MetaOptimizer",
    "Origin",
    "Outcome",
    "Reference",
    "Rollout",
    "Score",
    "Signals",
    "Source",
    "Task",
    "Theta",
    "UpdateRule",
]
