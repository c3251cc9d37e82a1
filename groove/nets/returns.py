"""Returns and advantages of one trajectory: unbatched equations, indexed as in the papers.

Discounts carry termination (0 where the episode terminated), `continues` carries every episode's end (0 where the episode
terminated or was truncated): a truncated step bootstraps from its own next value, yet nothing flows back over it.
"""

import jax
import jax.numpy as jnp

from groove.base.ranges import Number


def lambda_returns(
    reward: jax.Array, discount: jax.Array, next_value: jax.Array, continues: jax.Array, *, lambda_: float
) -> jax.Array:
    """G_t = r_t + gamma_t ((1 - lambda c_t) v_{t+1} + lambda c_t G_{t+1}), with G_T = v_T.

    Args:
        reward: f32[T], r_t.
        discount: f32[T], gamma_t; 0 where step t terminated.
        next_value: f32[T], v_{t+1} of what step t led to, before any reset; used at truncations and after the last step.
        continues: f32[T], c_t; 0 where the episode ended with step t.
        lambda_: 1 for discounted returns.

    Returns:
        f32[T]. Sutton and Barto 2018, eq. 12.2 in recursive form.

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.nets.returns import lambda_returns
        >>> r = jnp.array([1.0, 2.0])
        >>> lambda_returns(r, jnp.array([0.5, 0.5]), jnp.array([9.0, 4.0]), jnp.ones(2), lambda_=1.0)
        Array([3., 4.], dtype=float32)
    """

    def step(following, now):
        r, gamma, v, c = now
        value = r + gamma * ((1 - lambda_ * c) * v + lambda_ * c * following)
        return value, value

    return jax.lax.scan(step, next_value[-1], (reward, discount, next_value, continues), reverse=True)[1]


def gae(
    reward: jax.Array,
    discount: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    continues: jax.Array,
    *,
    lambda_: Number,
) -> jax.Array:
    """A_t = delta_t + gamma_t lambda c_t A_{t+1}, delta_t = r_t + gamma_t v_{t+1} - v_t.

    Args:
        reward: f32[T], r_t.
        discount: f32[T], gamma_t; 0 where step t terminated.
        value: f32[T], v_t.
        next_value: f32[T], v_{t+1} of what step t led to, before any reset.
        continues: f32[T], c_t; 0 where the episode ended with step t, by termination or truncation.
        lambda_: In [0, 1].

    Returns:
        f32[T]. Schulman et al. 2016, eq. 16.
    """
    delta = reward + discount * next_value - value

    def step(following, now):
        error, decay = now
        advantage = error + decay * following
        return advantage, advantage

    return jax.lax.scan(step, jnp.zeros_like(delta[0]), (delta, discount * lambda_ * continues), reverse=True)[1]
