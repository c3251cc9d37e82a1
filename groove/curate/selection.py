"""Which of the scored tasks to keep."""

import jax
import numpy as np

from groove.files.curriculumfile import Rows, take


def finite(rows: Rows) -> Rows:
    """The rows whose score is finite."""
    return take(rows, np.isfinite(rows.score))


def unique(rows: Rows) -> Rows:
    """The first of all rows with one level and lifetime, bit for bit."""
    leaves = [np.ascontiguousarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves((rows.level, rows.lifetime))]
    first = {b"".join(leaf[n].tobytes() for leaf in leaves): n for n in reversed(range(len(rows.lifetime)))}
    return take(rows, np.array(sorted(first.values()), np.int64))


def top(rows: Rows, size: int) -> Rows:
    """The `size` rows of highest score, highest first; of equal ones the earlier. All if there are fewer.

    Args:
        rows: Scored, finite.
        size: Rows to keep, at least 1.

    Raises:
        ValueError: `size` is less than 1.
    """
    _check_size(size)
    return take(rows, _order(rows)[:size])


def strata(rows: Rows, size: int, *, seed: int) -> Rows:
    """A sample of `size` rows, one from each of as many strata: equal shares of the rows in the order of their scores.

    Highest first. All rows if there are no more.

    Args:
        rows: Scored, finite.
        size: Rows to keep, at least 1.
        seed: Of the choice within each stratum.

    Raises:
        ValueError: `size` is less than 1.

    Example:
        >>> import numpy as np
        >>> from groove import curate
        >>> from groove.files import curriculumfile
        >>> rows = curriculumfile.fresh(np.zeros((100, 1)), lifetime=np.ones(100), score=np.arange(100))
        >>> curate.strata(rows, 4, seed=0).score // 25
        array([3., 2., 1., 0.], dtype=float32)
    """
    _check_size(size)
    order = _order(rows)
    if len(order) <= size:
        return take(rows, order)
    edges = np.arange(size + 1) * len(order) // size
    chosen = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
    return take(rows, order[chosen])


def _order(rows: Rows) -> np.ndarray:
    return np.argsort(-rows.score, kind="stable")


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"size must be at least 1 task, got {size}.")
