"""Contracts of a level: what an environment, a generator and a family of levels are.

A *level* is a PyTree of fixed shapes that parametrises one environment. It is always an argument and never part of an
environment's state, so it can be stacked, stored, edited, replayed and drawn. Everything here is a NamedTuple of pure,
unbatched functions; `jax.vmap` is the caller's.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

Level: TypeAlias = chex.ArrayTree
State: TypeAlias = chex.ArrayTree
Number = TypeVar("Number", int, float)

LONGEST = 2**24
"""No episode of a level of this library has more steps."""
TIME_SCALE = 0.001
"""The time of an episode as an agent sees it: each step adds this much (GROOVE, Jackson et al. 2023)."""


class Discrete(NamedTuple):
    """Observations are integers i32[] in [0, n)."""

    n: int


class Array(NamedTuple):
    """Observations are arrays of this shape, numeric or boolean."""

    shape: tuple[int, ...]


class Spec(NamedTuple):
    """What a learner must know of an environment before it meets one. Static, hashable, equal for all levels of a family."""

    observation: Discrete | Array
    time: bool  # whether the agent sees the time in the episode; then the limit terminates, else it truncates
    actions: int  # actions are i32[] in [0, actions)
    episode_limit: int  # no episode of any level is longer, in steps
    noise: int  # 32-bit random words that one step consumes
    reset_noise: int  # 32-bit random words that one reset consumes


class TimeStep(NamedTuple):
    """What an agent receives from a reset or a step."""

    observation: jax.Array  # i32[] or [*shape], as the Spec says; of a final state it is the state before any reset
    time: jax.Array  # f32[]; steps taken in this episode times TIME_SCALE
    reward: jax.Array  # f32[]; 0 at reset
    terminated: jax.Array  # bool[]; the episode ended, nothing follows
    truncated: jax.Array  # bool[]; the episode was cut off, its value goes on; never together with `terminated`


class Environment(NamedTuple):
    """A level's dynamics: deterministic given noise, and never resetting by itself.

    Attributes:
        spec: The static description.
        reset: `(noise u32[spec.reset_noise], level) -> (state, TimeStep)`.
        step: `(noise u32[spec.noise], level, state, action i32[]) -> (state, TimeStep)`. Stepping an episode that has ended
            is undefined.
    """

    spec: Spec
    reset: Callable[[jax.Array, Level], tuple[State, TimeStep]]
    step: Callable[[jax.Array, Level, State, jax.Array], tuple[State, TimeStep]]


class Generator(NamedTuple):
    """A source of levels. Only `sample` is required: the smallest generator is `Generator(sample)`.

    Attributes:
        sample: `(key) -> level`, always valid.
        mutate: `(key, level) -> level`, one small edit of a valid level, valid again.
        decode: `(vector f32[dimensions] in [0, 1]) -> level`, deterministic and valid.
        dimensions: The length of `decode`'s vector.
        is_valid: `(level) -> bool[]`.
    """

    sample: Callable[[jax.Array], Level]
    mutate: Callable[[jax.Array, Level], Level] | None = None
    decode: Callable[[jax.Array], Level] | None = None
    dimensions: int = 0
    is_valid: Callable[[Level], jax.Array] | None = None


Policy: TypeAlias = Callable[[jax.Array], jax.Array]
"""A policy of a family with discrete observations: `(step i32[]) -> probabilities f32[observations, actions]`."""


class Family(NamedTuple):
    """Levels of one kind: how they behave, where they come from and, where it is known, what they are worth.

    Attributes:
        name: A short identifier, unique among families.
        environment: The dynamics.
        generator: The default source of levels.
        draw: `(level) -> str`, the level as text.
        image: `(level, state or None) -> u8[height, width, 3]`, a picture of the level, with the agent if a state is given.
        optimum: `(level) -> f32[]`, the highest expected undiscounted return of one episode over all policies that see the
            time. Exact.
        policy: `(level) -> Policy`, one that attains the optimum.
        value: `(level, Policy) -> f32[]`, the exact expected undiscounted return of one episode.
        success: `(level, return f32[]) -> bool[]`, whether the return of one episode counts as solving the level.
        features: `(level) -> {name: f32[]}`, what a person wants to see of a level's distribution.
        scale: What a good return of an episode is about, positive: what differences of returns are large or small beside.
        differentiable_value: As `value`, with a gradient in the policy's probabilities, at the price of the longest episode.
    """

    name: str
    environment: Environment
    generator: Generator
    draw: Callable[[Level], str]
    image: Callable[[Level, State | None], np.ndarray] | None = None
    optimum: Callable[[Level], jax.Array] | None = None
    policy: Callable[[Level], Policy] | None = None
    value: Callable[[Level, Policy], jax.Array] | None = None
    success: Callable[[Level, jax.Array], jax.Array] | None = None
    features: Callable[[Level], Mapping[str, jax.Array]] | None = None
    scale: float = 1.0
    differentiable_value: Callable[[Level, Policy], jax.Array] | None = None


def uniform(word: jax.Array) -> jax.Array:
    """Maps random words u32[...] to uniform numbers f32[...] in [0, 1), a multiple of 2^-24 each.

    Example:
        >>> import jax.numpy as jnp
        >>> from levels.base import uniform
        >>> uniform(jnp.array([0, 2**31], jnp.uint32))
        Array([0. , 0.5], dtype=float32)
    """
    return (word >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)


def words(key: jax.Array, *shape: int) -> jax.Array:
    """Draws random words u32[*shape] in one call: the numbers of `jax.random.bits(key, shape, jnp.uint32)`."""
    return in_one_batch(lambda key: jax.random.bits(key, (math.prod(shape),), jnp.uint32), key).reshape(shape)


def in_one_batch(draw: Callable[[jax.Array], jax.Array], key: jax.Array) -> jax.Array:
    """`draw(key)`; under any number of vmaps over the key, one vmap over all keys.

    The numbers are the same. The nest of loops that two vmaps make of a generator of random numbers takes XLA's compiler for
    CPUs up to ten times as long as two loops do.

    Args:
        draw: `(typed key[]) -> array`, of the key alone; best of one axis.
        key: key[] of either kind, see `typed`.
    """

    @jax.custom_batching.custom_vmap
    def batch(keys):
        return jax.vmap(draw)(keys)

    @batch.def_vmap
    def _(size, batched, keys):
        drawn = batch(keys.reshape(-1))
        return drawn.reshape(*keys.shape, *drawn.shape[1:]), True

    return batch(typed(key)[None])[0]


def typed(key: jax.Array) -> jax.Array:
    """A key[] as `jax.random.key` makes it, also of one that `jax.random.PRNGKey` made: the same numbers come from both.

    Keys of both kinds may be given to every function that takes one, alone and under vmap; what batches keys itself calls
    this first.

    Example:
        >>> import jax
        >>> from levels.base import typed
        >>> bool(typed(jax.random.PRNGKey(3)) == typed(jax.random.key(3)))
        True
    """
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def interval(value: tuple[Number, Number], name: str, low: float, high: float) -> tuple[Number, Number]:
    """Returns `value` if low <= value[0] <= value[1] <= high, else raises a ValueError that names it."""
    if not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{name} must be an increasing pair within [{low}, {high}], got {value}.")
    return value
