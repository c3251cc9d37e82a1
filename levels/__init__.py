"""What can be learned: families of levels, their environments, generators and exact optima. Never imports `groove`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from levels import bandit, chain, gridworld
from levels.bandit import BanditLevel
from levels.base import Array, Discrete, Environment, Family, Generator, Level, Policy, Spec, TimeStep
from levels.chain import ChainLevel
from levels.gridworld import GridLevel, Thing, from_text, grid_level, to_text

FAMILIES: Mapping[str, Callable[..., Family]] = MappingProxyType(
    {
        "gridworld": gridworld.gridworld,
        "gridworld-planes": gridworld.planes,
        "bernoulli-bandit": bandit.bernoulli_bandit,
        "gaussian-bandit": bandit.gaussian_bandit,
        "chain": chain.chain,
        "chain-distractors": chain.chain_distractors,
    }
)
"""Factories of families by name. Read-only."""

__all__ = [
    "FAMILIES",
    "Array",
    "BanditLevel",
    "ChainLevel",
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
    "from_text",
    "grid_level",
    "to_text",
]
