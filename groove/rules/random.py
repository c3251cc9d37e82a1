"""The uniformly random policy: the zero of every scale."""

import jax.numpy as jnp

from groove.base import UpdateRule
from levels.base import Spec


def random_policy(spec: Spec) -> UpdateRule:
    """A rule whose agents act uniformly at random and never learn. Theta and agent are ()."""
    return UpdateRule(
        init=lambda key: (),
        init_agent=lambda key: (),
        policy=lambda agent, observation, time: jnp.zeros(spec.actions, jnp.float32),
        update=lambda key, theta, agent, rollout, clock: (agent, {}),
        diagnose=lambda agent, rollout: {"entropy": jnp.log(jnp.float32(spec.actions))},
    )
