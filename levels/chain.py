"""Delayed chains (Oh et al. 2020): the first of two actions decides what is paid at the end, the others do nothing."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from levels.base import (
    TIME_SCALE,
    Array,
    Discrete,
    Environment,
    Family,
    Generator,
    Policy,
    Spec,
    TimeStep,
    interval,
    uniform,
)

LONGEST = 2**20
"""No chain has more steps."""


class ChainLevel(NamedTuple):
    """One chain."""

    length: jax.Array  # i32[]; steps of an episode, at least 1
    good: jax.Array  # i32[]; the first action that pays 1 at the end, 0 or 1; the other one pays -1
    noise: jax.Array  # f32[]; every step before the last pays this much, with a random sign


class ChainState(NamedTuple):
    """An episode in progress."""

    step: jax.Array  # i32[]; steps taken
    first: jax.Array  # i32[]; the first action, 0 before it


class Ranges(NamedTuple):
    """What random chains are drawn from, uniformly. Pairs are (lowest, highest)."""

    length: tuple[int, int]
    noise: tuple[float, float]


Show = Callable[[jax.Array, ChainState], jax.Array]
"""`(words, state) -> observation`."""


def chain(*, length: tuple[int, int] = (5, 30), noise: tuple[float, float] = (0.0, 1.0), time: bool = True) -> Family:
    """Delayed chains whose agents see where they are: an integer, 0 at first, 2 step - 1 + first action later.

    The chains of Oh et al. (2020, arXiv 2007.08794) have a length of (5, 30) or (5, 50), and a noise of (0, 0) or (1, 1).

    Args:
        length: Range of the uniform number of steps; its upper end is the episode limit.
        noise: Range of the uniform size of the rewards on the way, whose signs are random.
        time: Whether the agent sees the time. The end of a chain terminates the episode either way: it is a place.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> import jax
        >>> from levels.chain import chain
        >>> family = chain(length=(5, 50), noise=(1.0, 1.0))
        >>> level = family.generator.sample(jax.random.key(0))
        >>> float(family.optimum(level)), family.environment.spec.observation
        (1.0, Discrete(n=101))
    """
    ranges = _ranges(length, noise)
    places = 2 * length[1] + 1
    spec = Spec(Discrete(places), time, actions=2, episode_limit=length[1], noise=1, reset_noise=0)
    best = functools.partial(policy, observations=places)
    return _family("chain", environment(spec, _place), ranges)._replace(policy=best, value=value, differentiable_value=value)


def chain_distractors(
    *,
    distractors: int = 20,
    length: tuple[int, int] = (5, 30),
    noise: tuple[float, float] = (0.0, 1.0),
    time: bool = True,
) -> Family:
    """Delayed chains whose agents see bits: is this the first step, what was the first action, and many that mean nothing.

    Oh et al. (2020, arXiv 2007.08794) have 20 bits that mean nothing. They are drawn anew at every step.

    Args:
        distractors: Bits that mean nothing, at least 1.
        length: As of `chain`.
        noise: As of `chain`.
        time: As of `chain`.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> from levels.chain import chain_distractors
        >>> chain_distractors().environment.spec.observation
        Array(shape=(22,))
    """
    if distractors < 1:
        raise ValueError(f"distractors must be at least 1 bit, got {distractors}.")
    ranges, bits = _ranges(length, noise), math.ceil(distractors / 32)
    shown = Array((2 + distractors,))
    spec = Spec(shown, time, actions=2, episode_limit=length[1], noise=1 + bits, reset_noise=bits)
    return _family("chain-distractors", environment(spec, functools.partial(_bits, distractors=distractors)), ranges)


def environment(spec: Spec, show: Show) -> Environment:
    """The environment of chains that show `show(words, state)`: all words of a reset, those after the first of a step."""

    def reset(noise: jax.Array, level: ChainLevel) -> tuple[ChainState, TimeStep]:
        state, nothing, never = ChainState(jnp.int32(0), jnp.int32(0)), jnp.float32(0), jnp.bool_(False)
        return state, TimeStep(show(noise, state), nothing, nothing, never, never)

    def step(noise: jax.Array, level: ChainLevel, state: ChainState, action: jax.Array) -> tuple[ChainState, TimeStep]:
        after = ChainState(state.step + 1, jnp.where(state.step == 0, action, state.first).astype(jnp.int32))
        ended = after.step >= level.length
        paid = jnp.where(after.first == level.good, 1.0, -1.0)
        on_the_way = jnp.where(uniform(noise[0]) < 0.5, level.noise, -level.noise)
        reward = jnp.where(ended, paid, on_the_way).astype(jnp.float32)
        time = after.step.astype(jnp.float32) * jnp.float32(TIME_SCALE)
        return after, TimeStep(show(noise[1:], after), time, reward, ended, jnp.zeros_like(ended))

    return Environment(spec, reset, step)


def sample(key: jax.Array, ranges: Ranges) -> ChainLevel:
    """A random level."""
    return decode(jax.random.uniform(key, (len(ChainLevel._fields),), jnp.float32), ranges)


def decode(vector: jax.Array, ranges: Ranges) -> ChainLevel:
    """The level of a vector f32[3] in [0, 1]: length, good action, noise; a uniform one gives what `sample` gives."""
    vector = jnp.clip(vector.astype(jnp.float32), 0.0, 1.0)
    low, high = ranges.length
    length = jnp.minimum(low + jnp.floor(vector[0] * (high - low + 1)).astype(jnp.int32), high)
    return ChainLevel(length, (vector[1] >= 0.5).astype(jnp.int32), draw_noise(vector[2], ranges))


def draw_noise(u: jax.Array, ranges: Ranges) -> jax.Array:
    """A uniform size of the rewards on the way, f32[]."""
    low, high = ranges.noise
    return jnp.clip(low + u * (high - low), low, high)


def is_valid(level: ChainLevel, ranges: Ranges) -> jax.Array:
    """Whether a level has a length in 1..highest, one of two actions, and a finite noise, not negative: bool[]."""
    long = (level.length >= 1) & (level.length <= ranges.length[1])
    return long & (level.good >= 0) & (level.good <= 1) & (level.noise >= 0) & jnp.isfinite(level.noise)


def mutate(key: jax.Array, level: ChainLevel, ranges: Ranges) -> ChainLevel:
    """One edit of a valid level, valid again: another good action, length or noise, as far as the ranges leave a choice."""
    which_key, length_key, noise_key = jax.random.split(key, 3)
    low, high = ranges.length
    other = jax.random.randint(length_key, (), low, max(high, low + 1))
    edits = [level._replace(good=1 - level.good)]
    if low < high:
        edits.append(level._replace(length=jnp.where(other >= level.length, other + 1, other)))
    if ranges.noise[0] < ranges.noise[1]:
        edits.append(level._replace(noise=draw_noise(jax.random.uniform(noise_key, dtype=jnp.float32), ranges)))
    which = jax.random.randint(which_key, (), 0, len(edits))
    return jax.tree.map(lambda *options: jnp.stack(options)[which], *edits)


def optimum(level: ChainLevel) -> jax.Array:
    """The highest expected return of an episode, f32[]: always 1, since random signs cancel."""
    return jnp.float32(1)


def policy(level: ChainLevel, observations: int) -> Policy:
    """The policy that always takes the good action."""
    row = jax.nn.one_hot(level.good, 2, dtype=jnp.float32)
    table = jnp.broadcast_to(row, (observations, 2))
    return lambda step: table


def value(level: ChainLevel, policy: Policy) -> jax.Array:
    """The expected return f32[] of an episode: that of the first action."""
    return 2 * policy(jnp.int32(0))[0, level.good] - 1


def success(level: ChainLevel, episode_return: jax.Array) -> jax.Array:
    """Whether the return of an episode is at least 0.75 of the optimum: bool[]."""
    return episode_return >= 0.75 * optimum(level)


def features(level: ChainLevel) -> dict[str, jax.Array]:
    """The fields, f32[] each."""
    return {name: field.astype(jnp.float32) for name, field in level._asdict().items()}


def draw(level: ChainLevel) -> str:
    """A level as text: what each first action leads to.

    Example:
        >>> import jax.numpy as jnp
        >>> from levels.chain import ChainLevel, draw
        >>> print(draw(ChainLevel(jnp.int32(6), jnp.int32(1), jnp.float32(0.5))))
        0 > . . . . . -1
        1 > . . . . . +1
        6 steps, each before the last pays 0.5 or -0.5
    """
    length, good, noise = (np.asarray(field).item() for field in level)
    way = " ".join([">", *"." * min(length - 1, 40)]) + (" .. " if length > 41 else " ")
    rows = [f"{action} {way}{'+1' if action == good else '-1'}" for action in (0, 1)]
    return "\n".join(
        [*rows, f"{length} steps" + (f", each before the last pays {noise:.3g} or {-noise:.3g}" if noise else "")]
    )


def image(level: ChainLevel, state: ChainState | None = None) -> np.ndarray:
    """A picture u8[36, 12 (length + 1), 3]: a row of places an action, ends in green and red, the agent in blue if given."""
    length, good, noise = (np.asarray(field).item() for field in level)
    shade = 236 - round(60 * min(noise, 1.0))
    grid = np.full((3, length + 1, 3), (74, 78, 88), np.uint8)
    grid[::2, 1:] = (shade, shade, 236)
    grid[:, 0] = (250, 248, 243)
    grid[2 * good, -1], grid[2 - 2 * good, -1] = (24, 110, 60), (160, 40, 36)
    if state is not None:
        step, first = (np.asarray(field).item() for field in state)
        grid[1 if step == 0 else 2 * first, min(step, length)] = (40, 90, 200)
    return np.kron(grid, np.ones((12, 12, 1), np.uint8))


def _place(words: jax.Array, state: ChainState) -> jax.Array:
    return jnp.where(state.step == 0, 0, 2 * state.step - 1 + state.first).astype(jnp.int32)


def _bits(words: jax.Array, state: ChainState, distractors: int) -> jax.Array:
    nothing = (words[:, None] >> jnp.arange(32, dtype=jnp.uint32)[None, :]) & 1 == 1
    known = jnp.stack([state.step == 0, state.first == 1])
    return jnp.concatenate([known, nothing.reshape(-1)[:distractors]])


def _ranges(length: tuple[int, int], noise: tuple[float, float]) -> Ranges:
    largest = float(jnp.finfo(jnp.float32).max)
    return Ranges(interval(length, "length", 1, LONGEST), interval(noise, "noise", 0.0, largest))


def _family(name: str, made: Environment, ranges: Ranges) -> Family:
    generator = Generator(
        sample=functools.partial(sample, ranges=ranges),
        mutate=functools.partial(mutate, ranges=ranges),
        decode=functools.partial(decode, ranges=ranges),
        dimensions=len(ChainLevel._fields),
        is_valid=functools.partial(is_valid, ranges=ranges),
    )
    return Family(name, made, generator, draw, image, optimum=optimum, success=success, features=features)
