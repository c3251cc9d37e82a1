"""What can be learned: families of levels, their environments, generators and exact optima. Never imports `groove`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from levels.bandit import BanditLevel, bernoulli_bandit, gaussian_bandit
from levels.base import Array, Discrete, Environment, Family, Generator, Level, Policy, Spec, TimeStep
from levels.gridworld import GridLevel, Thing, from_text, grid_level, gridworld, planes, to_text

FAMILIES: Mapping[str, Callable[..., Family]] = MappingProxyType(
    {
        "gridworld": gridworld,
        "gridworld-planes": planes,
        "bernoulli-bandit": bernoulli_bandit,
        "gaussian-bandit": gaussian_bandit,
    }
)
"""Factories of families by name. Read-only."""

__all__ = [
    "FAMILIES",
    "Array",
    "BanditLevel",
    "Discrete",
    "Environment",
    "Family",
    "Generator",
    "GridLevel",
    "Level",
    "Policy",
    "Spec",
    "Thing",
    "TimeStep",
    "bernoulli_bandit",
    "from_text",
    "gaussian_bandit",
    "grid_level",
    "gridworld",
    "planes",
    "to_text",
]
