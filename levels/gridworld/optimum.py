"""What a grid is worth: exact expected returns by dynamic programming over the steps of an episode.

With V_limit = 0, and e the set of objects that exist, a step that arrives at cell c' from objects e is worth

    W_t(c', e) = R(c', e) + (1 - p(c', e)) sum_e' P(e' | c', e) V_{t+1}(c', e')

where R and p are reward and termination probability of the object collected, if any, and P is a product over objects: an
absent one reappears with its probability, a present one stays unless it is at c'. Values are arrays [2^M, H, W], indexed as
the environment's observations.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from levels.base import Policy
from levels.gridworld.environment import ACTIONS
from levels.gridworld.level import GridLevel, used

Visit = Callable[[jax.Array, tuple[jax.Array, ...], chex.ArrayTree], tuple[jax.Array, chex.ArrayTree]]
"""`(step, worth of each action f32[2^M, H, W], carry) -> (worth of the state f32[2^M, H, W], carry)`."""

ASKED = 5
"""Steps of an episode whose policies are asked for at once."""


def optimum(level: GridLevel) -> jax.Array:
    """The highest expected undiscounted return of an episode, f32[], over policies that see objects and time."""

    def best(step: jax.Array, worth: tuple[jax.Array, ...], carry: tuple[()]) -> tuple[jax.Array, tuple[()]]:
        return functools.reduce(jnp.maximum, worth), carry

    return sweep(level, best, ())[0]


def policy(level: GridLevel, episode_limit: int) -> Policy:
    """A policy that attains the optimum; actions of equal worth share the probability of none: the first one is taken."""
    shape = (episode_limit, 2**level.kind.size, *level.walls.shape)

    def best(step: jax.Array, worth: tuple[jax.Array, ...], table: jax.Array) -> tuple[jax.Array, jax.Array]:
        choice = jnp.argmax(jnp.stack(worth), axis=0).astype(jnp.uint8)
        return functools.reduce(jnp.maximum, worth), table.at[step].set(choice)

    _, table = sweep(level, best, jnp.zeros(shape, jnp.uint8))
    return lambda step: jax.nn.one_hot(table[step].reshape(-1), len(ACTIONS), dtype=jnp.float32)


def value(level: GridLevel, policy: Policy) -> jax.Array:
    """The expected undiscounted return f32[] of an episode under a policy per step and state."""
    shape = (len(ACTIONS), 2**level.kind.size, *level.walls.shape)

    def mean(step: jax.Array, worth: tuple[jax.Array, ...], carry: tuple[()]) -> tuple[jax.Array, tuple[()]]:
        probabilities = policy(step).T.reshape(shape)
        return sum((p * w for p, w in zip(probabilities, worth, strict=True)), jnp.float32(0)), carry

    return sweep(level, mean, ())[0]


def differentiable_value(level: GridLevel, policy: Policy, *, episode_limit: int) -> jax.Array:
    """What `value` is, f32[], with a gradient in the policy's probabilities.

    It goes back over as many steps as the longest episode of the family has; those past the level's own change nothing.
    Policies are asked for a few steps at once, so that the gradient of what they share is gathered once for all of them, and
    asked again on the way back: what is kept is one state's worth for every few steps.

    Args:
        level: The grid.
        policy: Of each step, f32[observations, actions].
        episode_limit: The longest limit of a level.
    """
    step_worth, blocked = arrival(level), walls_around(level.walls)
    shape = (len(ACTIONS), 2**level.kind.size, *level.walls.shape)

    def back(worth: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        step, probabilities = now
        chosen = zip(probabilities.reshape(shape), choices(step_worth(worth), blocked), strict=True)
        mean = sum((p * w for p, w in chosen), jnp.float32(0))
        return jnp.where(step < level.limit, mean, worth), None

    @jax.checkpoint
    def few(worth: jax.Array, steps: jax.Array) -> tuple[jax.Array, None]:
        return jax.lax.scan(back, worth, (steps, jnp.swapaxes(jax.vmap(policy)(steps), 1, 2)))

    count = -(-episode_limit // ASKED)
    steps = jnp.arange(count * ASKED - 1, -1, -1, dtype=jnp.int32).reshape(count, ASKED)
    return _of_start(level, jax.lax.scan(few, jnp.zeros(shape[1:], jnp.float32), steps)[0])


def sweep(level: GridLevel, visit: Visit, carry: chex.ArrayTree) -> tuple[jax.Array, chex.ArrayTree]:
    """Goes through an episode backwards: the worth f32[] of its first state, and what `visit` carried along."""
    step_worth = arrival(level)
    blocked = walls_around(level.walls)

    def back(i: jax.Array, state: tuple[jax.Array, chex.ArrayTree]) -> tuple[jax.Array, chex.ArrayTree]:
        worth, carried = state
        return visit(level.limit - 1 - i, choices(step_worth(worth), blocked), carried)

    last = jnp.zeros((2**level.kind.size, *level.walls.shape), jnp.float32)
    first, carry = jax.lax.fori_loop(0, level.limit, back, (last, carry))
    return _of_start(level, first), carry


def _of_start(level: GridLevel, worth: jax.Array) -> jax.Array:
    """The worth f32[] of the first state of an episode: at the start, with all objects there."""
    bits = jnp.left_shift(jnp.int32(1), jnp.arange(level.kind.size, dtype=jnp.int32))
    exists = jnp.sum(jnp.where(used(level), bits, 0), dtype=jnp.int32)
    return worth.reshape(-1)[exists * level.walls.size + level.start]


def arrival(level: GridLevel) -> Callable[[jax.Array], jax.Array]:
    """The map from V_{t+1} to W_t, f32[2^M, H, W] each."""
    objects, cells = level.kind.size, level.walls.size
    here = jnp.arange(cells, dtype=jnp.int32)[None, :] == level.cell[:, None]
    exists = (jnp.arange(2**objects, dtype=jnp.int32)[None, :] >> jnp.arange(objects, dtype=jnp.int32)[:, None]) & 1 == 1
    hit = exists[:, :, None] & here[:, None, :] & used(level)[:, None, None]
    reward = jnp.sum(jnp.where(hit, level.reward[:, None, None], 0.0), axis=0)
    goes_on = 1.0 - jnp.sum(jnp.where(hit, level.terminate[:, None, None], 0.0), axis=0)

    def worth(following: jax.Array) -> jax.Array:
        mixed = following.reshape(2**objects, cells)
        for i in range(objects):
            mixed = expect(mixed, i, level.respawn[i], here[i])
        return (reward + goes_on * mixed).reshape(following.shape)

    return worth


def expect(values: jax.Array, i: int, respawn: jax.Array, here: jax.Array) -> jax.Array:
    """Expectation of f32[2^M, cells] over what one step does to object `i`, whose cell is True in `here` bool[cells]."""
    split = values.reshape(-1, 2, 2**i, values.shape[1])
    absent, present = split[:, 0], split[:, 1]
    after = jnp.stack([absent + respawn * (present - absent), jnp.where(here[None, None, :], absent, present)], axis=1)
    return after.reshape(values.shape)


def walls_around(walls: jax.Array) -> tuple[jax.Array, ...]:
    """For each action the cells bool[H, W] where a wall or the edge is in its way."""
    padded = jnp.pad(walls, 1, constant_values=True)
    up, right, down, left = padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2]
    return up, right, down, left, jnp.zeros_like(walls)


def choices(worth: jax.Array, blocked: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """The worth f32[2^M, H, W] of each action from the worth of arriving; blocked moves stay."""
    padded = jnp.pad(worth, ((0, 0), (1, 1), (1, 1)))
    up, right, down, left = padded[:, :-2, 1:-1], padded[:, 1:-1, 2:], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2]
    moved = (up, right, down, left, worth)
    return tuple(jnp.where(wall[None], worth, target) for wall, target in zip(blocked, moved, strict=True))
