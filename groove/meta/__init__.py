"""Meta-optimisers: how theta improves."""

from groove.meta import strategies
from groove.meta.evolution import Visit, evolution, final_return, mean_reward, ranks, raw
from groove.meta.genetic import deep_ga
from groove.meta.gradient import Player, Stage, Weights, adam, gradient
from groove.meta.novelty import probes, seeking
from groove.meta.truncated import Couple, forgetful, noise_reuse, persistent, truncated

__all__ = [
    "Couple",
    "Player",
    "Stage",
    "Visit",
    "Weights",
    "adam",
    "deep_ga",
    "evolution",
    "final_return",
    "forgetful",
    "gradient",
    "mean_reward",
    "noise_reuse",
    "persistent",
    "probes",
    "ranks",
    "raw",
    "seeking",
    "strategies",
    "truncated",
]
