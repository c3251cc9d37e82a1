"""Ranges that numbers must lie in, those of a part checked when it is made.

Runs that differ in numbers share one program, in which such a number is traced: it stands for several, each of which was
checked as a plain number when its run was made (`groove.config.check`). Traced numbers therefore pass every check here.
"""

import math
from collections.abc import Mapping
from typing import TypeAlias, TypeGuard

import chex
import jax
import jax.numpy as jnp

Number: TypeAlias = float | jax.Array
"""A number, or f32[] that is traced."""


def has_nan(tree: chex.ArrayTree) -> jax.Array:
    """Whether a tree of arrays holds NaN: bool[]."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.any(jnp.stack([jnp.any(jnp.isnan(leaf)) for leaf in floats])) if floats else jnp.array(False)


def is_concrete(value: Number) -> TypeGuard[float]:
    """Whether a number has its value now: not while it is traced."""
    return not isinstance(value, jax.core.Tracer)


def check_positive(values: Mapping[str, Number]) -> None:
    """Raises a ValueError that names the first argument which is not positive and finite."""
    for name, value in values.items():
        if is_concrete(value) and not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}.")


def check_not_negative(values: Mapping[str, Number]) -> None:
    """Raises a ValueError that names the first argument below 0 or nan."""
    for name, value in values.items():
        if is_concrete(value) and not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}.")


def check_shares(values: Mapping[str, Number]) -> None:
    """Raises a ValueError that names the first argument outside of [0, 1]."""
    for name, value in values.items():
        if is_concrete(value) and not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}.")
