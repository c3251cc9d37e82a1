"""What levels from a file look like and whether they are valid: the families of this library, and any other."""

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from levels.bandit import bernoulli_bandit, gaussian_bandit
from levels.base import LONGEST, Family, Level
from levels.chain import LONGEST as LONGEST_CHAIN
from levels.chain import chain, chain_distractors
from levels.dataset.columns import Form, is_level
from levels.dataset.faults import first_fault, shortly
from levels.gridworld import gridworld, planes
from levels.gridworld.generator import is_valid as is_valid_grid

MOST_SIDE = 256
"""No grid in a file is padded to longer sides, unless its reader says for which family: paths through them take hours."""
BLOCK, BLOCK_BYTES = 256, 2**22
"""Levels checked at once, and the bytes that they may have: checking takes some twenty times as many."""

Shapes = Mapping[str, tuple[int, ...]]


def _grids(make: Callable[..., Family]) -> Callable[[Shapes], Family]:
    def build(shapes: Shapes) -> Family:
        (height, width), (objects,) = shapes["level.walls"], shapes["level.cell"]
        if max(height, width) > MOST_SIDE:
            raise ValueError(f"its grids must be padded to at most {MOST_SIDE} x {MOST_SIDE} cells, got {height} x {width}.")
        return make(height=height, width=width, objects=objects, episode_limit=LONGEST)

    return build


def _bandits(make: Callable[..., Family]) -> Callable[[Shapes], Family]:
    return lambda shapes: make(arms=shapes["level.mean"][0], pulls=(1, LONGEST))


def _chains(make: Callable[..., Family]) -> Callable[[Shapes], Family]:
    return lambda shapes: make(length=(1, LONGEST_CHAIN))


_NATIVE: Mapping[str, Callable[[Shapes], Family]] = MappingProxyType(
    {
        "gridworld": _grids(gridworld),
        "gridworld-planes": _grids(planes),
        "bernoulli-bandit": _bandits(bernoulli_bandit),
        "gaussian-bandit": _bandits(gaussian_bandit),
        "chain": _chains(chain),
        "chain-distractors": _chains(chain_distractors),
    }
)


def native(path: Path, name: str, forms: Mapping[str, Form]) -> Family | None:
    """This library's family of that name, of the sizes that the columns have; None if it has none.

    Raises:
        ValueError: The columns have sizes that no level of the family has.
    """
    if name not in _NATIVE:
        return None
    try:
        return _sized(name, tuple((column, form.shape) for column, form in forms.items() if is_level(column)))
    except KeyError as error:
        raise ValueError(f"{path} lacks the column {error.args[0]}.") from error
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} must have the columns of a level of {name!r}, but {error}") from error


def nested(path: Path, forms: Mapping[str, Form]) -> Level:
    """The columns of a level as a tree of dictionaries by the parts of their names; an array if there is but one.

    Raises:
        ValueError: There are none, text is among them, or a column has the name of a branch.
    """
    tree: dict = {}
    for name in filter(is_level, forms):
        *branches, leaf = name.split(".")
        place = tree
        for branch in branches:
            place = place.setdefault(branch, {})
            if not isinstance(place, dict):
                raise ValueError(f"{path}: the column {name} lies within a column.")
        if leaf in place or forms[name].dtype.kind == "U":
            raise ValueError(f"{path}: the column {name} must hold numbers, and no column within it.")
        place[leaf] = jax.ShapeDtypeStruct(forms[name].shape, forms[name].dtype)
    if not tree:
        raise ValueError(f"{path} has no column of a level.")
    return tree["level"]


@functools.lru_cache(maxsize=16)
def _sized(name: str, shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Family:
    """Kept, so that files of one size do not compile one check again and again."""
    return _NATIVE[name](dict(shapes))


@functools.lru_cache(maxsize=16)
def _compiled(is_valid: Callable[[Level], jax.Array]) -> Callable[[Level], jax.Array]:
    return jax.jit(jax.vmap(is_valid))


def check_levels(path: Path, family: Family, levels: Level) -> None:
    """Raises a ValueError that names the first row with a level that is not valid, and the column if that is known."""
    block = block_of(levels)
    fault = first_fault(levels, family.environment.spec.episode_limit, family.name, block=block)
    if fault is not None:
        raise ValueError(f"{path}: in row {fault.row} the column level.{fault.column} {fault.what}.")
    is_valid = family.generator.is_valid
    if is_valid is None or getattr(is_valid, "func", None) is is_valid_grid:  # which was asked above, in less time
        return
    rows = len(jax.tree.leaves(levels)[0])
    good = _compiled(is_valid)
    for begin in range(0, rows, block):
        place = np.minimum(np.arange(begin, begin + block), rows - 1)
        valid = np.asarray(good(jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), levels)))  # noqa: B023
        if not np.all(valid):
            row = int(place[np.argmin(valid)])
            raise ValueError(
                f"{path}: in row {row} the level is not a valid one of {family.name!r}, by its generator's is_valid: "
                f"{shortly(levels, row)}."
            )


def block_of(levels: Level) -> int:
    """How many of the levels [rows, ...] are checked at once."""
    leaves = jax.tree.leaves(levels)
    size = sum(leaf.dtype.itemsize * math.prod(leaf.shape[1:]) for leaf in leaves)
    return max(1, min(BLOCK, BLOCK_BYTES // max(size, 1)))
