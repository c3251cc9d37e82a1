"""An agent's life on a task: living, measuring it (sampled or exact, with signals), and what rules do over a life."""

from groove.lifetime.life import (
    Evaluate,
    Lifetime,
    Member,
    View,
    act,
    exact,
    expected,
    lifetime,
    playable,
    sampled,
    whole_life,
)

__all__ = [
    "Evaluate",
    "Lifetime",
    "Member",
    "View",
    "act",
    "exact",
    "expected",
    "lifetime",
    "playable",
    "sampled",
    "whole_life",
]
