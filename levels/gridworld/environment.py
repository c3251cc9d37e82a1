"""How a grid behaves when its objects reappear where they were: discrete observations, five actions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from levels.base import TIME_SCALE, Discrete, Environment, Spec, TimeStep, uniform
from levels.gridworld.level import GridLevel, used

ACTIONS = ("up", "right", "down", "left", "stay")
"""The meaning of the actions 0..4."""


class GridState(NamedTuple):
    """An episode in progress."""

    cell: jax.Array  # i32[]; where the agent is
    exists: jax.Array  # i32[]; bit i is set while object i exists
    step: jax.Array  # i32[]; steps taken


def environment(*, height: int, width: int, objects: int, episode_limit: int, time: bool) -> Environment:
    """The environment of padded grids. Its observation is `exists * height * width + cell`.

    One step (Jackson et al. 2023, public code): the agent moves, a blocked move stays; it collects the object on the cell
    reached if that existed when the step began (staying counts), receives its reward, and the episode terminates with the
    object's probability; every object that was absent when the step began reappears with its own probability, possibly
    under the agent; the limit ends the episode. All objects exist at reset.

    A chance event compares its probability with 32 bits: 16 of its own and 16 low ones that the events of a step share. Its
    probability is exact to 2^-24; two events of one step are independent but for a covariance below 2^-33.
    """
    spec = Spec(
        observation=Discrete(height * width * 2**objects),
        time=time,
        actions=len(ACTIONS),
        episode_limit=episode_limit,
        noise=noise_words(objects),
        reset_noise=0,
    )
    cells = height * width

    def reset(noise: jax.Array, level: GridLevel) -> tuple[GridState, TimeStep]:
        exists = pack(used(level))
        state = GridState(level.start, exists, jnp.int32(0))
        return state, first_timestep(exists * cells + level.start)

    def step(noise: jax.Array, level: GridLevel, state: GridState, action: jax.Array) -> tuple[GridState, TimeStep]:
        chance = chances(noise, objects)
        cell = move(level.walls, state.cell, action)
        existed = unpack(state.exists, objects)
        hit = existed & (level.cell == cell)
        back = ~existed & (chance[:-1] < level.respawn)
        reward = jnp.sum(jnp.where(hit, level.reward, 0.0))
        ends = chance[-1] < jnp.sum(jnp.where(hit, level.terminate, 0.0))
        after = GridState(cell, pack((existed & ~hit) | back), state.step + 1)
        return after, last_timestep(spec, level, after.exists * cells + cell, after.step, reward, ends)

    return Environment(spec, reset, step)


def pack(exists: jax.Array) -> jax.Array:
    """The set of objects `exists` bool[M] as bits of an i32[]."""
    index = jnp.arange(exists.size, dtype=jnp.int32)
    return jnp.sum(jnp.where(exists, jnp.int32(1) << index, 0), dtype=jnp.int32)


def unpack(bits: jax.Array, objects: int) -> jax.Array:
    """The set of objects in the bits of an i32[] as bool[M]."""
    return (bits >> jnp.arange(objects, dtype=jnp.int32)) & 1 == 1


def noise_words(objects: int) -> int:
    """Random words of one step: half a word for each object and for the termination, and half a word that they share."""
    return (objects + 3) // 2


def chances(noise: jax.Array, objects: int) -> jax.Array:
    """Uniform numbers f32[M + 1] in [0, 1) from the words of a step: one for each object's return, the last for the end."""
    low = noise[-1] >> 16

    def number(i: int) -> jax.Array:
        word = noise[i // 2]
        high = (word & jnp.uint32(0xFFFF0000)) if i % 2 else (word << 16)
        return uniform(high | low)

    return jnp.stack([number(i) for i in range(objects + 1)])


def move(walls: jax.Array, cell: jax.Array, action: jax.Array) -> jax.Array:
    """The cell i32[] that `action` i32[] leads to from `cell` i32[]; the same one where a wall or the edge is in the way."""
    height, width = walls.shape
    up, right, down, left = (action == i for i in range(4))
    column = cell % width
    edge = (up & (cell < width)) | (down & (cell >= (height - 1) * width))
    edge = edge | (left & (column == 0)) | (right & (column == width - 1))
    shift = jnp.where(up, -width, 0) + jnp.where(right, 1, 0) + jnp.where(down, width, 0) + jnp.where(left, -1, 0)
    target = jnp.where(edge, cell, cell + shift.astype(jnp.int32))
    wall = walls.reshape(-1).at[target].get(mode="promise_in_bounds")
    return jnp.where(wall, cell, target)


def first_timestep(observation: jax.Array) -> TimeStep:
    """What an agent receives from a reset."""
    return TimeStep(observation, jnp.float32(0), jnp.float32(0), jnp.bool_(False), jnp.bool_(False))


def last_timestep(
    spec: Spec, level: GridLevel, observation: jax.Array, step: jax.Array, reward: jax.Array, ends: jax.Array
) -> TimeStep:
    """What an agent receives from its step number `step`, whose collection ends the episode if `ends` bool[]."""
    limit = step >= level.limit
    terminated = ends | limit if spec.time else ends
    truncated = jnp.zeros_like(ends) if spec.time else limit & ~ends
    return TimeStep(observation, step.astype(jnp.float32) * jnp.float32(TIME_SCALE), reward, terminated, truncated)
