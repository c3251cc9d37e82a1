"""Levels of gymnax environments: chosen fields of their EnvParams, drawn from ranges."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np

LIMIT = "max_steps_in_episode"
"""The field that every level has: the steps after which its episodes are cut off."""

MOST_STEPS = 2**24
"""No limit is higher: f32 counts up to here."""

Fields: TypeAlias = dict[str, jax.Array]
"""A level: chosen fields of an environment's EnvParams, f32[], i32[] or bool[] each; `max_steps_in_episode` i32[] always."""


class Range(NamedTuple):
    """What a field is drawn from, uniformly, both ends included."""

    low: float
    high: float
    dtype: type  # np.float32, np.int32 or np.bool_


def sample(key: jax.Array, ranges: Mapping[str, Range]) -> Fields:
    """A random level."""
    return decode(jax.random.uniform(key, (len(varying(ranges)),), jnp.float32), ranges)


def decode(vector: jax.Array, ranges: Mapping[str, Range]) -> Fields:
    """The level of a vector f32[d] in [0, 1]: one entry for each field that varies, in their order."""
    vector = jnp.clip(vector.astype(jnp.float32), 0.0, 1.0)
    place = {name: vector[i] for i, name in enumerate(varying(ranges))}

    def field(name: str, low: float, high: float, dtype: type) -> jax.Array:
        if name not in place:
            return jnp.asarray(low, dtype)
        if dtype == np.float32:
            return jnp.clip(low + place[name] * (high - low), low, high)
        return jnp.minimum(low + jnp.floor(place[name] * (high - low + 1)).astype(jnp.int32), int(high)).astype(dtype)

    return {name: field(name, *drawn) for name, drawn in ranges.items()}


def mutate(key: jax.Array, level: Fields, ranges: Mapping[str, Range]) -> Fields:
    """A level with one field moved by at most a tenth of its range, or by 1, and turned back at the ends of the range.

    Where no field varies, the level itself.
    """
    names = varying(ranges)
    if not names:
        return level
    which_key, move_key = jax.random.split(key)
    which = jax.random.randint(which_key, (), 0, len(names))
    u = jax.random.uniform(move_key, dtype=jnp.float32, minval=-1.0, maxval=1.0)
    moved = {name: jnp.where(which == i, _moved(u, level[name], ranges[name]), level[name]) for i, name in enumerate(names)}
    return level | moved


def is_valid(level: Fields, ranges: Mapping[str, Range]) -> jax.Array:
    """Whether every field is within its range: bool[]."""
    inside = [(level[name] >= low) & (level[name] <= high) for name, (low, high, _) in ranges.items()]
    return jnp.all(jnp.stack(inside))


def features(level: Fields) -> dict[str, jax.Array]:
    """The fields, f32[] each."""
    return {name: value.astype(jnp.float32) for name, value in level.items()}


def draw(level: Fields, name: str) -> str:
    """A level as text.

    Example:
        >>> import jax.numpy as jnp
        >>> from levels.adapters.gymnax.fields import draw
        >>> print(draw({"gravity": jnp.float32(9.8), "max_steps_in_episode": jnp.int32(500)}, "CartPole-v1"))
        CartPole-v1
        gravity               9.8
        max_steps_in_episode  500
    """
    values = {field: np.asarray(value).item() for field, value in level.items()}
    width = max(map(len, values))
    rows = [f"{field:{width}}  {f'{value:.6g}' if isinstance(value, float) else value}" for field, value in values.items()]
    return "\n".join([name, *rows])


def ranges_of(
    name: str, parameters: chex.ArrayTree, asked: Mapping[str, tuple[float, float]], limit: int | None
) -> dict[str, Range]:
    """What each field of a level is drawn from, the limit last.

    Args:
        name: The environment's.
        parameters: Its default EnvParams, a dataclass.
        asked: Pairs of lowest and highest value by field.
        limit: The steps of every episode, if not the default.

    Raises:
        ValueError: A field is unknown or no number, a range is none, or the limit is missing or given twice.
    """
    defaults = {
        field.name: getattr(parameters, field.name)
        for field in dataclasses.fields(parameters)
        if field.metadata.get("pytree_node", True)
    }
    for field in asked:
        check_known(f"field of {name}'s EnvParams", field, defaults)
    if limit is not None and LIMIT in asked:
        raise ValueError(f"episode_limit must not be given where ranges has {LIMIT}, got {limit}.")
    if limit is None and LIMIT not in defaults:
        raise ValueError(f"episode_limit must be given, since {name}'s EnvParams have no {LIMIT}.")
    drawn = {field: _range(field, pair, defaults[field]) for field, pair in asked.items() if field != LIMIT}
    standard = int(defaults[LIMIT]) if limit is None else limit
    last = _range(LIMIT, asked.get(LIMIT, (standard, standard)), np.int32(standard))
    if not 1 <= last.low <= last.high <= MOST_STEPS:
        raise ValueError(f"an episode must be limited to 1 to {MOST_STEPS} steps, got {(last.low, last.high)}.")
    return {**drawn, LIMIT: last}


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises a ValueError that suggests the nearest known name if `name` is not known."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown {kind} {name!r}{meant} Known: {', '.join(names)}.")


def _range(field: str, pair: tuple[float, float], default: chex.ArrayTree) -> Range:
    kind = np.asarray(default).dtype.kind if jax.tree_util.all_leaves([default]) and not np.ndim(default) else "O"
    if kind not in "fiub":
        raise ValueError(f"ranges: {field} must be a number by default to vary, got {default}.")
    dtype: type = {"f": np.float32, "b": np.bool_}.get(kind, np.int32)
    most = float(np.finfo(np.float32).max) / 2 if dtype == np.float32 else 1 if dtype == np.bool_ else 2**24
    low, high = pair
    if not -most <= low <= high <= most:
        raise ValueError(f"ranges: {field} must be an increasing pair within [{-most:.6g}, {most:.6g}], got {pair}.")
    if dtype == np.float32:
        return Range(float(low), float(high), dtype)
    if low != int(low) or high != int(high) or (dtype == np.bool_ and low < 0):
        values = "integers" if dtype == np.int32 else "False or True"
        raise ValueError(f"ranges: {field} must be drawn between {values}, got {pair}.")
    return Range(int(low), int(high), dtype)


def varying(ranges: Mapping[str, Range]) -> list[str]:
    """The fields whose range holds more than one value, in order: those that `decode` reads."""
    return [name for name, drawn in ranges.items() if drawn.low < drawn.high]


def _moved(u: jax.Array, value: jax.Array, drawn: Range) -> jax.Array:
    """A value of the range near `value`, by u f32[] in [-1, 1); turned back where it would leave the range."""
    low, high, dtype = drawn
    span = high - low
    if dtype == np.bool_:
        return ~value
    if dtype == np.float32:
        by = u * (0.1 * span)
    else:
        most = max(1, int(span) // 10)
        by = (jnp.where(u < 0, -1, 1) * jnp.minimum(1 + jnp.floor(jnp.abs(u) * most), most)).astype(jnp.int32)
    outside = (value + by < low) | (value + by > high)
    return jnp.clip(jnp.where(outside, value - by, value + by), low, high).astype(dtype)
