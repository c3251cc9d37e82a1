"""How two curricula differ: what they share, how their levels are distributed, whether they rank alike."""

from collections.abc import Mapping
from typing import NamedTuple

import chex
import jax
import numpy as np
from scipy import stats

from groove.files.curriculumfile import Rows
from groove.statistics import Interval
from levels.base import Family, Level


class Feature(NamedTuple):
    """A feature of the levels of two curricula."""

    name: str
    first: np.ndarray  # f32[rows of the first]
    second: np.ndarray  # f32[rows of the second]
    distance: float  # the largest difference of the two distribution functions (Kolmogorov and Smirnov), in [0, 1]


class Difference(NamedTuple):
    """How two curricula differ. Equal levels are counted once."""

    levels: tuple[int, int, int]  # in the first only, in both, in the second only
    tasks: tuple[int, int, int]  # the same of levels with their lifetimes
    features: tuple[Feature, ...]  # those that differ most first
    scores: np.ndarray  # f32[shared tasks, 2]; in the first and in the second
    correlation: (
        Interval | None
    )  # Spearman's, of these scores, 95 %; None where fewer than 3 tasks or equal scores leave it open


def compare(first: Rows, second: Rows, families: tuple[Family, Family]) -> Difference:
    """Compares two curricula of one kind of level.

    Args:
        first: Rows of one.
        second: Rows of the other.
        families: Of either; they may differ in size, then no level is shared.

    Raises:
        ValueError: The families are of different names.

    Example:
        >>> import jax, levels
        >>> from groove.files import curriculumfile
        >>> from groove.analysis import differences
        >>> family = levels.bandit.bernoulli_bandit(arms=3)
        >>> many = jax.vmap(family.generator.sample)(jax.random.split(jax.random.key(0), 4))
        >>> rows = curriculumfile.fresh(many, lifetime=[5] * 4, score=[1.0, 2.0, 3.0, 4.0])
        >>> found = differences.compare(rows, curriculumfile.take(rows, [3, 2, 1]), (family, family))
        >>> found.levels, found.correlation.point
        ((1, 3, 0), 1.0)
    """
    if families[0].name != families[1].name:
        raise ValueError(f"curricula must be of one family, got {families[0].name!r} and {families[1].name!r}.")
    levels = tuple(_places(rows.level) for rows in (first, second))
    tasks = tuple(_places((rows.level, rows.lifetime)) for rows in (first, second))
    shared = [name for name in reversed(tasks[0]) if name in tasks[1]]
    pairs = [(first.score[tasks[0][name]], second.score[tasks[1][name]]) for name in shared]
    scores = np.array(pairs, np.float32).reshape(len(pairs), 2)
    features = _features(first.level, second.level, families)
    return Difference(_parts(*levels), _parts(*tasks), features, scores, rank_correlation(scores))


def measured(family: Family, level: Level) -> Mapping[str, np.ndarray]:
    """The features of levels [rows, ...], f32[rows] by name; nothing where the family has none, or there are no rows."""
    if family.features is None or not len(jax.tree.leaves(level)[0]):
        return {}
    return jax.device_get(jax.jit(jax.vmap(family.features))(level))


def rank_correlation(pairs: np.ndarray, *, seed: int = 0, repetitions: int = 1000) -> Interval | None:
    """Spearman's rank correlation of pairs f32[n, 2], with its 95 % percentile bootstrap over pairs.

    None where there are fewer than 3 pairs, or one side is constant. Resamples with a constant side are left out.

    Args:
        pairs: Finite.
        seed: Of the resampling.
        repetitions: Resamples.

    Example:
        >>> import numpy as np
        >>> from groove.analysis.differences import rank_correlation
        >>> rank_correlation(np.array([[1, 3], [2, 2], [3, 1], [4, 0]])).point
        -1.0
    """
    if len(pairs) < 3 or np.any(np.ptp(pairs, axis=0) == 0):
        return None
    random = np.random.default_rng(seed)
    drawn = [_correlation(pairs[random.integers(len(pairs), size=len(pairs))]) for _ in range(repetitions)]
    found = [value for value in drawn if np.isfinite(value)]
    low, high = np.quantile(found, [0.025, 0.975]) if found else (np.nan, np.nan)
    return Interval(float(low), _correlation(pairs), float(high))


def _correlation(pairs: np.ndarray) -> float:
    """NaN where one side is constant."""
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(stats.rankdata(pairs, axis=0), rowvar=False)[0, 1])


def _places(tree: chex.ArrayTree) -> dict[bytes, int]:
    """The first row of each different content."""
    leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree)]

    def content(row: int) -> bytes:
        return b"".join(repr(leaf.shape[1:]).encode() + leaf[row].tobytes() for leaf in leaves)

    return {content(row): row for row in reversed(range(len(leaves[0])))}


def _parts(first: dict[bytes, int], second: dict[bytes, int]) -> tuple[int, int, int]:
    shared = len(first.keys() & second.keys())
    return len(first) - shared, shared, len(second) - shared


def _features(first: Level, second: Level, families: tuple[Family, Family]) -> tuple[Feature, ...]:
    ours, theirs = (measured(family, level) for family, level in zip(families, (first, second), strict=True))
    found = []
    for name in ours.keys() & theirs.keys():
        with np.errstate(divide="ignore"):  # in the p-value of single levels, which nobody asks for
            distance = stats.ks_2samp(ours[name], theirs[name], method="asymp").statistic
        found.append(Feature(name, ours[name], theirs[name], float(distance)))
    return tuple(sorted(found, key=lambda feature: (-feature.distance, feature.name)))
