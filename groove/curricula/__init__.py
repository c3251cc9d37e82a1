"""Curricula: which tasks to live on next."""

from groove.curricula.accel import accel
from groove.curricula.alp_gmm import alp_gmm
from groove.curricula.diverse import diverse
from groove.curricula.prioritised import Priority, prioritised, proportional, rank
from groove.curricula.sfl import sfl
from groove.curricula.source import constant, log_uniform, pool
from groove.curricula.uniform import frozen, uniform
from groove.curricula.warm_start import warm_start

plr, dr = prioritised, uniform  # as papers and other libraries call them

__all__ = [
    "Priority",
    "accel",
    "alp_gmm",
    "constant",
    "diverse",
    "dr",
    "frozen",
    "log_uniform",
    "plr",
    "pool",
    "prioritised",
    "proportional",
    "rank",
    "sfl",
    "uniform",
    "warm_start",
]
