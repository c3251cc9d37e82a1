"""Rollouts that no agent played."""

import jax
import jax.numpy as jnp

from groove.base import Rollout
from levels.base import Discrete, Spec

SPEC = Spec(Discrete(4), time=True, actions=3, episode_limit=9, noise=0, reset_noise=0)


def recorded(seed, shape=(5, 3), dtype=jnp.float32):
    """A made-up rollout in SPEC, in which some steps terminate and others truncate."""
    keys = jax.random.split(jax.random.key(seed), 7)
    ends = jax.random.uniform(keys[4], shape)
    return Rollout(
        jax.random.randint(keys[0], shape, 0, SPEC.observation.n),
        jax.random.uniform(keys[1], shape, dtype),
        jax.random.randint(keys[2], shape, 0, SPEC.actions),
        jax.random.normal(keys[3], shape, dtype),
        ends < 0.15,
        ends > 0.85,
        jax.random.randint(keys[5], shape, 0, SPEC.observation.n),
        jax.random.uniform(keys[6], shape, dtype),
    )
