"""The families that come with groove: a line each says what a run must know of one before it is made."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from groove.config.settings import Bandits, Chains, Config, Grids
from levels import FAMILIES as MADE
from levels.base import Family

GYMNAX = "gymnax:"
"""What the names of families from gymnax begin with."""
MAZE = "jaxued:Maze"
"""The family of jaxued's mazes."""
Make: TypeAlias = Callable[[str, Config], Family]
"""`(name, config) -> family`, of the sizes that the configuration says."""


class Entry(NamedTuple):
    """A family, by its name."""

    part: str  # of a configuration: the sizes of its levels, and its agents' settings
    make: Make
    tables: bool = True  # its agents are tables, whose learning rates the part has
    optimum: bool = True  # the optimum of a level is known
    exact: bool = True  # so is what a policy is worth on it


def _grids(name: str, config: Config) -> Family:
    own: Grids = config.grids
    sizes = {"height": own.side[1], "width": own.side[1], "objects": own.objects, "episode_limit": own.limit[1]}
    return MADE[name](**sizes, side=own.side, limit=own.limit)


def _bandits(name: str, config: Config) -> Family:
    own: Bandits = config.bandits
    return MADE[name](arms=own.arms, pulls=own.pulls)


def _chains(name: str, config: Config) -> Family:
    own: Chains = config.chains
    return MADE[name](length=own.length, noise=own.noise)


def _maze(name: str, config: Config) -> Family:
    from levels.adapters.jaxued import maze  # jaxued takes a second to import

    return maze()


def _gymnax(name: str, config: Config) -> Family:
    from levels.adapters.gymnax import from_gymnax  # so does gymnax

    return from_gymnax(name.removeprefix(GYMNAX), ranges=_ranges(config.gymnax.ranges))


FAMILIES: Mapping[str, Entry] = MappingProxyType(
    {
        "gridworld": Entry("grids", _grids),
        "gridworld-planes": Entry("grids", _grids, tables=False, optimum=False, exact=False),
        "bernoulli-bandit": Entry("bandits", _bandits),
        "gaussian-bandit": Entry("bandits", _bandits),
        "chain": Entry("chains", _chains),
        "chain-distractors": Entry("chains", _chains, tables=False, exact=False),
        MAZE: Entry("plugged", _maze, tables=False, exact=False),
    }
)
"""By name. Read-only."""
ANY_OF_GYMNAX = Entry("gymnax", _gymnax, tables=False, optimum=False, exact=False)


def entry(name: str) -> Entry | None:
    """What is known of the family of that name; None where it is a plug-in."""
    return ANY_OF_GYMNAX if name.startswith(GYMNAX) else FAMILIES.get(name)


def part_of(name: str) -> str:
    """The part of a configuration that is about a family and its agents."""
    known = entry(name)
    return known.part if known else "plugged"


def is_plugged(name: str) -> bool:
    """Whether a family of that name is a plug-in."""
    return entry(name) is None


def _ranges(texts: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Pairs by field."""
    found: dict[str, tuple[float, float]] = {}
    for field, pair in map(_range, texts):
        if field in found:
            raise ValueError(f"gymnax.ranges must name every field once, got {field} twice.")
        found[field] = pair
    return found


def _range(text: str) -> tuple[str, tuple[float, float]]:
    """FIELD=LOW:HIGH as a name and a pair."""
    try:
        field, values = text.split("=")
        low, high = map(float, values.split(":"))
    except ValueError:
        raise ValueError(f"gymnax.ranges must have the form FIELD=LOW:HIGH, got {text!r}.") from None
    return field, (low, high)
