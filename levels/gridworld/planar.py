"""How a grid behaves when its objects reappear in random cells: observed as planes, five actions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from levels.base import Array, Environment, Spec, TimeStep
from levels.gridworld.environment import ACTIONS, chances, first_timestep, last_timestep, move, noise_words
from levels.gridworld.level import GridLevel, choose, used


class PlanesState(NamedTuple):
    """An episode in progress."""

    cell: jax.Array  # i32[]; where the agent is
    objects: jax.Array  # i32[M]; where each object is, or was last
    exists: jax.Array  # bool[M]
    step: jax.Array  # i32[]; steps taken


def environment(
    *, height: int, width: int, objects: int, episode_limit: int, time: bool, scatter: bool = False
) -> Environment:
    """The environment of padded grids whose objects reappear in random free cells.

    A step is that of `levels.gridworld.environment`, but an object that reappears does so in a cell, each as likely, that
    is no wall, not the agent's and no other object's; if there is none, it stays absent. The observation is bool[H, W,
    2 + M]: the agent, the walls, and each kind of object. With `scatter` a reset places all objects like that, too.
    """
    spec = Spec(
        observation=Array((height, width, 2 + objects)),
        time=time,
        actions=len(ACTIONS),
        episode_limit=episode_limit,
        noise=noise_words(objects) + objects,
        reset_noise=objects if scatter else 0,
    )

    def reset(noise: jax.Array, level: GridLevel) -> tuple[PlanesState, TimeStep]:
        state = PlanesState(level.start, level.cell, used(level), jnp.int32(0))
        if scatter:
            state = place(noise, level, state._replace(exists=jnp.zeros_like(state.exists)), state.exists)
        return state, first_timestep(observe(level, state))

    def step(noise: jax.Array, level: GridLevel, state: PlanesState, action: jax.Array) -> tuple[PlanesState, TimeStep]:
        chance = chances(noise[objects:], objects)
        cell = move(level.walls, state.cell, action)
        hit = state.exists & (state.objects == cell)
        ends = chance[-1] < jnp.sum(jnp.where(hit, level.terminate, 0.0))
        back = ~state.exists & (chance[:-1] < level.respawn)
        moved = state._replace(cell=cell, exists=state.exists & ~hit, step=state.step + 1)
        after = place(noise[:objects], level, moved, back)
        reward = jnp.sum(jnp.where(hit, level.reward, 0.0))
        return after, last_timestep(spec, level, observe(level, after), after.step, reward, ends)

    return Environment(spec, reset, step)


def place(noise: jax.Array, level: GridLevel, state: PlanesState, back: jax.Array) -> PlanesState:
    """Puts the objects that come back, `back` bool[M], one after the other into random free cells."""
    cells = jnp.arange(level.walls.size, dtype=jnp.int32)
    for i in range(back.size):
        taken = jnp.any((cells[:, None] == state.objects[None, :]) & state.exists[None, :], axis=1)
        free = ~(level.walls.reshape(-1) | taken | (cells == state.cell))
        returns = back[i] & jnp.any(free)
        state = state._replace(
            objects=state.objects.at[i].set(jnp.where(returns, choose(noise[i], free), state.objects[i])),
            exists=state.exists.at[i].set(state.exists[i] | returns),
        )
    return state


def observe(level: GridLevel, state: PlanesState) -> jax.Array:
    """The planes bool[H, W, 2 + M] of agent, walls and kinds."""
    cells = jnp.arange(level.walls.size, dtype=jnp.int32)
    there = (cells[:, None] == state.objects[None, :]) & state.exists[None, :]
    kinds = jnp.arange(level.kind.size, dtype=jnp.int32)
    of_kind = level.kind[:, None] == kinds[None, :]
    planes = jnp.any(there[:, :, None] & of_kind[None, :, :], axis=1)
    agent = (cells == state.cell)[:, None]
    return jnp.concatenate([agent, level.walls.reshape(-1, 1), planes], axis=1).reshape(*level.walls.shape, -1)
