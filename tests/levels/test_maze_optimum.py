"""What a maze of jaxued is worth where the way is as long as the episode, or longer."""

import jax
import numpy as np
from jaxued.environments.maze import Level

from levels.adapters.jaxued.maze import optimum, shortest


def test_a_way_as_long_as_the_episode_is_worth_what_is_left():
    """Three cells ahead: three steps, 0.9 of a share of the episode each; a step more than there are is worth nothing."""
    level = Level.from_str(">..G\n....")
    steps, *worth = jax.jit(lambda level: (shortest(level), *(optimum(level, limit) for limit in (2, 3, 4))))(level)
    assert steps == 3
    np.testing.assert_allclose(worth, [0.0, 0.1, 1 - 0.9 * 3 / 4], rtol=1e-6)
