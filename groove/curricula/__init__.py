"""Curricula: which tasks to live on next."""

from groove.curricula.diverse import diverse
from groove.curricula.edited import edited
from groove.curricula.mixture import mixture
from groove.curricula.prioritised import Priority, prioritised, proportional, rank
from groove.curricula.selected import selected
from groove.curricula.source import constant, log_uniform, pool
from groove.curricula.started import started
from groove.curricula.uniform import frozen, uniform

__all__ = [
    "Priority",
    "constant",
    "diverse",
    "edited",
    "frozen",
    "log_uniform",
    "mixture",
    "pool",
    "prioritised",
    "proportional",
    "rank",
    "selected",
    "started",
    "uniform",
]
