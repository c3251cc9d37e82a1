"""The families that suites are made of, with their sizes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from levels import FAMILIES
from levels.base import Family

Value: TypeAlias = bool | int | tuple[int, int]
GYMNAX = "gymnax:"
"""What the names of families from gymnax begin with."""


class Kind(NamedTuple):
    """A family as a name and the arguments of its factory."""

    name: str
    arguments: Mapping[str, Value] = MappingProxyType({})

    def __hash__(self) -> int:
        """Of all that it says."""
        return hash((self.name, tuple(self.arguments.items())))

    def family(self) -> Family:
        """The family itself."""
        if self.name.startswith(GYMNAX):
            from levels.adapters.gymnax import from_gymnax  # gymnax takes a second to import

            return from_gymnax(self.name.removeprefix(GYMNAX))
        return FAMILIES[self.name](**self.arguments)


def _kind(name: str, **arguments: Value) -> Kind:
    return Kind(name, MappingProxyType(arguments))


def of_gymnax(*names: str) -> Mapping[str, Kind]:
    """Environments of gymnax as splits, which are called like their families."""
    return MappingProxyType({GYMNAX + name: _kind(GYMNAX + name) for name in names})


HANDCRAFTED = _kind("gridworld", height=13, width=13, objects=7, episode_limit=2000)
RANDOM = _kind("gridworld-planes", height=11, width=11, objects=4, episode_limit=2000, scatter=True)
RANDOM_SMALL = _kind("gridworld-planes", height=5, width=7, objects=4, episode_limit=500, scatter=True)
MAZES = _kind("gridworld", height=13, width=13, objects=3, episode_limit=750)
INSIDE = _kind("gridworld")
"""GROOVE's training grids, the defaults of `gridworld`."""
OUTSIDE = _kind(
    "gridworld",
    height=12,
    width=12,
    objects=6,
    episode_limit=1000,
    side=(11, 12),
    number=(5, 6),
    limit=(750, 1000),
    walls=36,
)
"""Larger than 10 x 10, with 25 % walls in place of 15 %, no fewer objects than five, and longer than 750 steps."""
BERNOULLI = _kind("bernoulli-bandit", arms=20, pulls=(20, 20))
GAUSSIAN = _kind("gaussian-bandit", arms=20, pulls=(20, 20))
CHAIN = _kind("chain", length=(5, 50))
CHAIN_DISTRACTORS = _kind("chain-distractors", length=(5, 50))
