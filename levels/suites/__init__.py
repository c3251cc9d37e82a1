"""Named, fixed, hashed sets of held-out levels, for measuring how well what was learned elsewhere generalises.

A suite is data: its levels lie beside this module as Parquet, with what a random policy and an optimal one reach on each.
`python -m levels.suites.make` wrote them; nothing is drawn when a suite is used. Whoever changes a level changes the hash.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from levels import dataset
from levels.base import Family, Level
from levels.suites import kinds
from levels.suites.kinds import Kind

__all__ = ["SMALLEST_RANGE", "SUITES", "Kind", "Split", "Suite", "content", "splits", "tasks"]

SMALLEST_RANGE = 0.02
"""Tasks whose optimum is less than this above a random policy, in units of what counts as much, are not normalised."""


class Suite(NamedTuple):
    """A named set of levels."""

    name: str
    version: int  # whoever changes what a suite holds, or means, counts this up
    about: str
    splits: Mapping[str, Kind]  # the family of each set of levels that it has, by the set's name


class Split(NamedTuple):
    """The levels of one family in a suite. Arrays are NumPy's, of the levels' order in the file."""

    name: str
    family: Family
    levels: Level  # [tasks, ...]
    tasks: tuple[str, ...]  # their names, unique in the suite
    random: np.ndarray  # f64[tasks]; exact return of the uniform policy, nan where it is not known exactly
    optimum: np.ndarray  # f64[tasks]; exact, nan where it is not known
    practice: Level  # [more tasks, ...]; like the levels, for tuning: nothing is reported of them
    practice_random: np.ndarray  # f64[more tasks]
    practice_optimum: np.ndarray  # f64[more tasks]
    alone: bool  # whether the family has but one level, on which tuning has to happen too, with other seeds

    @property
    def flat(self) -> tuple[str, ...]:
        """Names of tasks on which an optimal policy gains too little over a random one to divide by."""
        small = self.optimum - self.random < self.smallest
        return tuple(name for name, flat in zip(self.tasks, small, strict=True) if flat)

    @property
    def smallest(self) -> float:
        """The smallest range of returns to divide by: a share of the number of pulls of a bandit, of 1 elsewhere."""
        scale = float(self.family.environment.spec.episode_limit) if "bandit" in self.family.name else 1.0
        return SMALLEST_RANGE * scale


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite(
                "grid-handcrafted",
                1,
                "Five tabular grids of Oh et al. (2020, arXiv 2007.08794), as in GROOVE's appendix C.",
                {"grid-handcrafted": kinds.HANDCRAFTED},
            ),
            Suite(
                "grid-random",
                1,
                "Five grids of Oh et al. (2020) whose objects lie elsewhere in every episode; seen as planes.",
                {"grid-random": kinds.RANDOM, "grid-random-small": kinds.RANDOM_SMALL},
            ),
            Suite(
                "mazes",
                1,
                "Eight mazes of 13 x 13 from jaxued, each with three objects of random rewards (GROOVE) and with a goal.",
                {"mazes": kinds.MAZES},
            ),
            Suite(
                "grid-unseen",
                1,
                "Random grids: 1,000 of GROOVE's training distribution, and 1,000 larger, denser and longer ones.",
                {"grid-inside": kinds.INSIDE, "grid-outside": kinds.OUTSIDE},
            ),
            Suite(
                "bandits",
                1,
                "Bernoulli and Gaussian bandits of 2 to 20 arms; the best arm stands out by much (easy) or little (hard).",
                {"bernoulli": kinds.BERNOULLI, "gaussian": kinds.GAUSSIAN},
            ),
            Suite(
                "chains",
                1,
                "Delayed chains of 5 to 50 steps (Oh et al. 2020), with and without noise, and with 20 distractor bits.",
                {"chain": kinds.CHAIN, "chain-distractors": kinds.CHAIN_DISTRACTORS},
            ),
            Suite(
                "minatar",
                1,
                "Four games of Min-Atar (Young and Tian 2019, arXiv 1903.03176) in gymnax.",
                kinds.of_gymnax("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "SpaceInvaders-MinAtar"),
            ),
            Suite(
                "classic",
                1,
                "Classic control in gymnax.",
                kinds.of_gymnax("CartPole-v1", "Acrobot-v1", "MountainCar-v0"),
            ),
            Suite(
                "bsuite",
                1,
                "Three environments of bsuite (Osband et al. 2020, arXiv 1908.03568) in gymnax.",
                kinds.of_gymnax("Catch-bsuite", "DeepSea-bsuite", "DiscountingChain-bsuite"),
            ),
        )
    }
)
"""All suites by name. Read-only."""


def path_of(split: str) -> Path:
    """Where the levels of a split lie."""
    return Path(str(resources.files("levels.suites"))) / "data" / f"{split.replace(':', '-')}.parquet"


def splits(suite: Suite) -> tuple[Split, ...]:
    """Everything that a suite holds, checked level by level. Read once a process.

    Example:
        >>> from levels.suites import SUITES, splits
        >>> found = splits(SUITES["grid-handcrafted"])[0]
        >>> found.tasks, found.flat
        (('dense', 'sparse', 'long', 'longer', 'long_dense'), ())
    """
    return tuple(_split(name, kind) for name, kind in suite.splits.items())


@functools.cache
def _stored(name: str, kind: Kind) -> tuple[Family, dataset.Dataset]:
    family = kind.family()
    return family, dataset.load(path_of(name), family=family)


def _split(name: str, kind: Kind) -> Split:
    family, found = _stored(name, kind)
    practice = found.columns["practice"]
    alone = bool(not practice.any())
    rehearsed = practice | alone

    def levels(chosen: np.ndarray) -> Level:
        return jax.tree.map(lambda leaf: leaf[chosen], found.levels)

    columns = found.columns
    return Split(
        name=name,
        family=family,
        levels=levels(~practice),
        tasks=tuple(columns["name"][~practice].tolist()),
        random=columns["random"][~practice],
        optimum=columns["optimum"][~practice],
        practice=levels(rehearsed),
        practice_random=columns["random"][rehearsed],
        practice_optimum=columns["optimum"][rehearsed],
        alone=alone,
    )


def content(suite: Suite) -> str:
    """The hash of a suite: SHA-256 over its name, its version, and every split's family and file.

    Example:
        >>> from levels.suites import SUITES, content
        >>> len(content(SUITES["chains"]))
        64
    """
    parts = [
        [name, kind.name, sorted(kind.arguments.items()), dataset.describe(path_of(name)).content]
        for name, kind in suite.splits.items()
    ]
    return hashlib.sha256(json.dumps([suite.name, suite.version, parts]).encode()).hexdigest()


def tasks(suite: Suite) -> list[tuple[str, str, int]]:
    """Split, family and number of tasks, for each split; levels are not read."""
    return [(name, kind.name, int(dataset.describe(path_of(name)).metadata["tasks"])) for name, kind in suite.splits.items()]
