"""Small members of every contract of `levels`, which the law tests iterate over, and what they are run with."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from levels.bandit import bernoulli_bandit, gaussian_bandit
from levels.base import Family, Level, Policy, uniform, words
from levels.gridworld import gridworld, planes

FAMILIES: dict[str, Family] = {
    "gridworld": gridworld(height=4, width=4, objects=2, episode_limit=12, limit=(3, 12), walls=3),
    "gridworld-blind-oblong": gridworld(
        height=3,
        width=5,
        objects=3,
        episode_limit=9,
        limit=(1, 9),
        time=False,
        side=(2, 5),
        square=False,
        respawn=(0.1, 0.9),
    ),
    "gridworld-planes": planes(height=4, width=4, objects=2, episode_limit=12, limit=(3, 12), respawn=(0.1, 0.9)),
    "bernoulli-bandit": bernoulli_bandit(arms=3, pulls=(2, 6)),
    "gaussian-bandit": gaussian_bandit(arms=4, pulls=(5, 5), time=False),
}


def sample(family: Family, count: int, seed: int = 0) -> Level:
    """That many levels of the family's generator, stacked."""
    return sampler(family.generator.sample)(jax.random.split(jax.random.key(seed), count))


@functools.cache
def sampler(function: Callable[[jax.Array], Level]) -> Callable[[jax.Array], Level]:
    """The compiled sampler of a batch."""
    return jax.jit(jax.vmap(function))


def rows(tree: Level, count: int) -> list[Level]:
    """The first members of a stacked tree."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(count)]


def signature(tree: Level) -> list[tuple[str, tuple[int, ...], str, bool]]:
    """Path, shape, dtype and weakness of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype), leaf.weak_type) for path, leaf in leaves]


def returns(family: Family, level: Level, policy: Policy, key: jax.Array, episodes: int) -> jax.Array:
    """Undiscounted returns f32[episodes] of a level under a policy of discrete observations."""
    spec, reset, step = family.environment

    def episode(noise: jax.Array) -> jax.Array:
        def one(carry, word):
            state, timestep, total, running = carry
            odds = policy(state.step)[timestep.observation]
            action = jnp.sum(jnp.cumsum(odds)[:-1] <= uniform(word[-1]), dtype=jnp.int32)
            state, timestep = step(word[:-1], level, state, action)
            total = total + jnp.where(running, timestep.reward, 0.0)
            return (state, timestep, total, running & ~(timestep.terminated | timestep.truncated)), None

        first = reset(jnp.zeros(spec.reset_noise, jnp.uint32), level)
        return jax.lax.scan(one, (*first, jnp.float32(0), jnp.bool_(True)), noise)[0][2]

    return jax.vmap(episode)(words(key, episodes, spec.episode_limit, spec.noise + 1))


def uniform_policy(family: Family) -> Policy:
    """The policy that takes every action alike."""
    spec = family.environment.spec
    table = jnp.full((spec.observation.n, spec.actions), 1 / spec.actions, jnp.float32)
    return lambda step: table


def random_policy(family: Family, key: jax.Array) -> Policy:
    """A policy with random odds in every step and state."""
    spec = family.environment.spec
    logits = 2 * jax.random.normal(key, (spec.episode_limit, spec.observation.n, spec.actions))
    table = jax.nn.softmax(logits)
    return lambda step: table[step]
