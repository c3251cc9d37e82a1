"""Update rules: one file a rule, or a family of them that share a loop."""

from groove.rules import horizon
from groove.rules.a2c import a2c
from groove.rules.lpg import lpg, lpg_answers, recurrent_targets
from groove.rules.lpo import drift as lpo_drift
from groove.rules.lpo import features as lpo_features
from groove.rules.lpo import lpo
from groove.rules.ppo import dpo, dpo_drift, ppo, ppo_drift
from groove.rules.random import random_policy

__all__ = [
    "a2c",
    "dpo",
    "dpo_drift",
    "horizon",
    "lpg",
    "lpg_answers",
    "lpo",
    "lpo_drift",
    "lpo_features",
    "ppo",
    "ppo_drift",
    "random_policy",
    "recurrent_targets",
]
