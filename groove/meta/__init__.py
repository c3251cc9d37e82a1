"""Meta-optimisers: how theta improves."""

from groove.meta.gradient import Player, Stage, Weights, adam, gradient

__all__ = ["Player", "Stage", "Weights", "adam", "gradient"]
