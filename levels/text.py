"""Levels of any kind as text, for those whose family draws nothing better."""

import jax
import numpy as np

from levels.base import Level


def fields(level: Level) -> str:
    """A level as text: its arrays, a line or more each.

    Example:
        >>> import jax.numpy as jnp
        >>> from levels.text import fields
        >>> print(fields({"slip": jnp.float32(0.5), "walls": jnp.array([True, False])}))
        slip   0.5
        walls  [ True False]
    """
    leaves = [
        (jax.tree_util.keystr(path, simple=True, separator="."), np.asarray(leaf))
        for path, leaf in jax.tree.leaves_with_path(level)
    ]
    width = max((len(name) for name, _ in leaves), default=0)
    return "\n".join(f"{name:{width}}  {np.array2string(leaf, prefix=' ' * (width + 2))}" for name, leaf in leaves)
