"""Curricula: which tasks to live on next."""

from groove.curricula.prioritised import Priority, prioritised, proportional, rank
from groove.curricula.source import constant, log_uniform, pool
from groove.curricula.uniform import frozen, uniform

__all__ = ["Priority", "constant", "frozen", "log_uniform", "pool", "prioritised", "proportional", "rank", "uniform"]
