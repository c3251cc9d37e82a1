"""Update rules: one file a rule."""

from groove.rules import horizon
from groove.rules.a2c import a2c
from groove.rules.lpg import lpg, recurrent_targets
from groove.rules.random import random_policy

__all__ = ["a2c", "horizon", "lpg", "random_policy", "recurrent_targets"]
