"""How suites are run: lifetimes, agents, environments, seeds. A scale changes the budget, never a definition."""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

VERSION = 1
"""Of everything here. Whoever changes what a protocol means counts this up."""
SCALES = ("smoke", "small", "medium", "paper")
"""From seconds, for tests, over minutes on two cores, to what papers did."""
NETWORKS = (
    "discrete observations: a table, SGD, critic at a tenth of the actor's rate; images of at least 3 x 3: a convolution of "
    "16 x 3 x 3, then 128; other arrays: a perceptron of 64, 64; Adam; gradients clipped at a global norm of 0.5"
)
"""What agents are, in words: those of `groove.nets.agents.for_spec`."""


class Budget(NamedTuple):
    """How much of a suite is run."""

    tasks: int  # of each split, the first ones
    seeds: int  # agents a task
    lifetime: int  # agent updates
    environments: int  # parallel environments of an agent
    episodes: int  # that measure a return where it is not exact


class SuiteProtocol(NamedTuple):
    """How a suite is run."""

    suite: str
    budgets: Mapping[str, Budget]  # by scale
    steps: int = 20  # of each environment per update
    gamma: float = 0.99
    lambda_: float = 0.95
    points: tuple[float, ...] = (0.1, 0.3, 1.0)  # shares of the lifetime at which agents are measured


def _protocol(suite: str, small: Budget, medium: Budget, paper: Budget) -> SuiteProtocol:
    tiny = Budget(tasks=min(2, small.tasks), seeds=2, lifetime=4, environments=2, episodes=2)
    return SuiteProtocol(suite, MappingProxyType({"smoke": tiny, "small": small, "medium": medium, "paper": paper}))


PROTOCOLS: Mapping[str, SuiteProtocol] = MappingProxyType(
    {
        found.suite: found
        for found in (
            _protocol(
                "grid-handcrafted",
                Budget(tasks=5, seeds=8, lifetime=250, environments=16, episodes=16),
                Budget(tasks=5, seeds=16, lifetime=1000, environments=64, episodes=16),
                Budget(tasks=5, seeds=64, lifetime=2500, environments=64, episodes=16),
            ),
            _protocol(
                "grid-random",
                Budget(tasks=3, seeds=4, lifetime=100, environments=16, episodes=8),
                Budget(tasks=3, seeds=8, lifetime=500, environments=64, episodes=16),
                Budget(tasks=3, seeds=16, lifetime=2500, environments=64, episodes=16),
            ),
            _protocol(
                "mazes",
                Budget(tasks=16, seeds=4, lifetime=250, environments=16, episodes=16),
                Budget(tasks=16, seeds=16, lifetime=1000, environments=64, episodes=16),
                Budget(tasks=16, seeds=64, lifetime=2500, environments=64, episodes=16),
            ),
            _protocol(
                "grid-unseen",
                Budget(tasks=32, seeds=4, lifetime=100, environments=16, episodes=16),
                Budget(tasks=200, seeds=8, lifetime=250, environments=64, episodes=16),
                Budget(tasks=1000, seeds=16, lifetime=250, environments=64, episodes=16),
            ),
            _protocol(
                "bandits",
                Budget(tasks=30, seeds=16, lifetime=100, environments=16, episodes=16),
                Budget(tasks=30, seeds=64, lifetime=100, environments=64, episodes=16),
                Budget(tasks=30, seeds=64, lifetime=250, environments=64, episodes=16),
            ),
            _protocol(
                "chains",
                Budget(tasks=10, seeds=8, lifetime=100, environments=16, episodes=16),
                Budget(tasks=10, seeds=32, lifetime=250, environments=64, episodes=16),
                Budget(tasks=10, seeds=64, lifetime=250, environments=64, episodes=16),
            ),
            _protocol(
                "minatar",
                Budget(tasks=1, seeds=3, lifetime=100, environments=16, episodes=8),
                Budget(tasks=1, seeds=5, lifetime=781, environments=64, episodes=16),
                Budget(tasks=1, seeds=10, lifetime=7812, environments=64, episodes=32),
            ),
            _protocol(
                "classic",
                Budget(tasks=1, seeds=4, lifetime=150, environments=16, episodes=8),
                Budget(tasks=1, seeds=10, lifetime=390, environments=64, episodes=16),
                Budget(tasks=1, seeds=10, lifetime=1562, environments=64, episodes=32),
            ),
            _protocol(
                "bsuite",
                Budget(tasks=1, seeds=8, lifetime=150, environments=16, episodes=16),
                Budget(tasks=1, seeds=10, lifetime=390, environments=64, episodes=32),
                Budget(tasks=1, seeds=20, lifetime=1562, environments=64, episodes=32),
            ),
        )
    }
)
"""By suite; at the scale `paper`, Min-Atar lives for 10^7 steps, lifetimes on grids are GROOVE's. Read-only."""


def points_of(protocol: SuiteProtocol, scale: str) -> tuple[int, ...]:
    """The updates after which agents are measured, increasing; the last is the lifetime.

    Example:
        >>> from groove.protocols import PROTOCOLS, points_of
        >>> points_of(PROTOCOLS["grid-unseen"], "small")
        (10, 30, 100)
    """
    lifetime = protocol.budgets[scale].lifetime
    return tuple(dict.fromkeys(max(1, round(share * lifetime)) for share in protocol.points))


def fingerprint(protocol: SuiteProtocol, scale: str) -> str:
    """SHA-256 over all that decides how a suite is run at a scale, levels apart.

    Example:
        >>> from groove.protocols import PROTOCOLS, fingerprint
        >>> len(fingerprint(PROTOCOLS["chains"], "paper"))
        64
    """
    said = {**protocol._asdict(), "budgets": protocol.budgets[scale]._asdict(), "networks": NETWORKS, "version": VERSION}
    return hashlib.sha256(json.dumps({**said, "scale": scale}, sort_keys=True).encode()).hexdigest()
