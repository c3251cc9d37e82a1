"""Statistics of a few runs on several tasks, in NumPy.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv 2108.13264).
"""

from groove.statistics.aggregates import interquartile_mean, median, optimality_gap
from groove.statistics.bootstrap import Interval, clustered_bootstrap, nested_bootstrap, said, stratified_bootstrap
from groove.statistics.comparison import (
    Profile,
    performance_profile,
    probability_of_improvement,
    share_below,
    worst_count,
    worst_mean,
)

__all__ = [
    "Interval",
    "Profile",
    "clustered_bootstrap",
    "interquartile_mean",
    "median",
    "nested_bootstrap",
    "optimality_gap",
    "performance_profile",
    "probability_of_improvement",
    "said",
    "share_below",
    "stratified_bootstrap",
    "worst_count",
    "worst_mean",
]
