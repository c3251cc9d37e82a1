"""Returns and advantages against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.nets.returns import gae, lambda_returns

# Three steps, gamma 1/2. Powers of two throughout, so that every number below is exact in float32.
REWARD = jnp.array([1.0, 2.0, 4.0])
VALUE = jnp.array([2.0, 4.0, 8.0])
NEXT_VALUE = jnp.array([4.0, 16.0, 32.0])  # 16, not 8: the second step ended an episode in another state
HALF = jnp.full(3, 0.5)
GOES_ON = jnp.ones(3)
CUT = jnp.array([1.0, 0.0, 1.0])  # an episode ends with the second step
DEAD = jnp.array([0.5, 0.0, 0.5])  # by termination


def test_returns_without_an_end():
    # G_2 = 4 + 32/2 = 20, G_1 = 2 + 20/2 = 12, G_0 = 1 + 12/2 = 7
    assert lambda_returns(REWARD, HALF, NEXT_VALUE, GOES_ON, lambda_=1.0).tolist() == [7.0, 12.0, 20.0]


def test_returns_bootstrap_where_an_episode_was_truncated():
    # G_2 = 20, G_1 = 2 + 16/2 = 10, G_0 = 1 + 10/2 = 6
    assert lambda_returns(REWARD, HALF, NEXT_VALUE, CUT, lambda_=1.0).tolist() == [6.0, 10.0, 20.0]


def test_returns_end_where_an_episode_terminated():
    # G_2 = 20, G_1 = 2, G_0 = 1 + 2/2 = 2
    assert lambda_returns(REWARD, DEAD, NEXT_VALUE, CUT, lambda_=1.0).tolist() == [2.0, 2.0, 20.0]


def test_lambda_returns():
    # lambda 1/2: G_2 = 20; G_1 = 2 + (16/2 + 20/2)/2 = 11; G_0 = 1 + (4/2 + 11/2)/2 = 4.75
    assert lambda_returns(REWARD, HALF, NEXT_VALUE, GOES_ON, lambda_=0.5).tolist() == [4.75, 11.0, 20.0]
    # truncated: G_1 = 2 + 16/2 = 10; G_0 = 1 + (4/2 + 10/2)/2 = 4.5
    assert lambda_returns(REWARD, HALF, NEXT_VALUE, CUT, lambda_=0.5).tolist() == [4.5, 10.0, 20.0]


def test_advantages():
    # delta = [1 + 2 - 2, 2 + 8 - 4, 4 + 16 - 8] = [1, 6, 12]; gamma lambda = 1/4: A = [1 + 9/4, 6 + 12/4, 12]
    assert gae(REWARD, HALF, VALUE, NEXT_VALUE, GOES_ON, lambda_=0.5).tolist() == [3.25, 9.0, 12.0]
    # truncated: A_1 = 6, A_0 = 1 + 6/4
    assert gae(REWARD, HALF, VALUE, NEXT_VALUE, CUT, lambda_=0.5).tolist() == [2.5, 6.0, 12.0]
    # terminated: delta_1 = 2 - 4 = -2, A_0 = 1 - 2/4
    assert gae(REWARD, DEAD, VALUE, NEXT_VALUE, CUT, lambda_=0.5).tolist() == [0.5, -2.0, 12.0]


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 1.0])
def test_advantage_plus_value_is_the_lambda_return(lambda_):
    """An identity wherever the value of a step's successor is the value at the next step, and where an episode ends."""
    keys = jax.random.split(jax.random.key(0), 5)
    reward, value, ends = (jax.random.normal(k, (40,)) for k in keys[:3])
    continues = (ends < 0.8).astype(jnp.float32)
    other = jax.random.normal(keys[3], (40,))
    next_value = jnp.where(continues > 0, jnp.append(value[1:], other[-1]), other)
    discount = jnp.where(ends > 1.2, 0.0, 0.9)
    advantage = gae(reward, discount, value, next_value, continues, lambda_=lambda_)
    want = lambda_returns(reward, discount, next_value, continues, lambda_=lambda_)
    # forty additions of numbers below ten: rounding stays below 40 * 10 * 2^-24 = 2.4e-5
    np.testing.assert_allclose(advantage + value, want, atol=2.4e-5)
