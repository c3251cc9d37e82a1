"""Meta-optimisers: how theta improves."""

from groove.meta import strategies
from groove.meta.evolution import Visit, evolution, final_return, mean_reward, ranks, raw
from groove.meta.genetic import deep_ga
from groove.meta.gradient import AgentState, FamilySetup, Weights, adam, gradient
from groove.meta.novelty import novelty_search, probes
from groove.meta.truncated import AntitheticPair, noise_reuse_es, persistent_es, truncated, truncated_es

__all__ = [
    "AgentState",
    "AntitheticPair",
    "FamilySetup",
    "Visit",
    "Weights",
    "adam",
    "deep_ga",
    "evolution",
    "final_return",
    "gradient",
    "mean_reward",
    "noise_reuse_es",
    "novelty_search",
    "persistent_es",
    "probes",
    "ranks",
    "raw",
    "strategies",
    "truncated",
    "truncated_es",
]
