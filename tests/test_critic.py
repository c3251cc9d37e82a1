"""State values: bootstrapping by hand, and that the critic really learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from groove.base import Rollout
from groove.nets import agents
from groove.nets.critic import advantages, critic, normalise
from levels.base import Discrete, Spec

SPEC = Spec(Discrete(5), time=False, actions=2, episode_limit=9, noise=0, reset_noise=0)


def rollout(reward, terminated, truncated, observation, next_observation):
    shape = jnp.asarray(reward).shape
    nothing = jnp.zeros(shape, jnp.float32)
    return Rollout(
        jnp.asarray(observation, jnp.int32),
        nothing,
        jnp.zeros(shape, jnp.int32),
        jnp.asarray(reward, jnp.float32),
        jnp.asarray(terminated, bool),
        jnp.asarray(truncated, bool),
        jnp.asarray(next_observation, jnp.int32),
        nothing,
    )


# Three steps in two environments, gamma = lambda = 1/2. In the first column the second step terminates, in the second it
# truncates; all else is equal. Value of state s is 2^s; after the second step comes state 4, the reset leads to state 2.
HAND = rollout(
    reward=[[1, 1], [2, 2], [4, 4]],
    terminated=[[0, 0], [1, 0], [0, 0]],
    truncated=[[0, 0], [0, 1], [0, 0]],
    observation=[[0, 0], [1, 1], [2, 2]],
    next_observation=[[1, 1], [4, 4], [3, 3]],
)
# deltas: 1 + 2/2 - 1 = 1; 2 + {0 | 16/2} - 2 = 0 | 8; 4 + 8/2 - 4 = 4. A_2 = 4, A_1 = 0 | 8, A_0 = 1 + A_1/4 = 1 | 3.
ADVANTAGES = [[1, 3], [0, 8], [4, 4]]
TARGETS = [[2, 4], [2, 10], [8, 8]]  # advantage + value


def powers_of_two():
    parameters = {"table": 2.0 ** jnp.arange(5, dtype=jnp.float32)[:, None]}
    return agents.begin(agents.tabular().critic, parameters)


def test_termination_and_truncation_by_hand():
    """With two environments: a product of (T,) and (T, 1) would be seen."""
    value, next_value = (2.0 ** x.astype(jnp.float32) for x in (HAND.observation, HAND.next_observation))
    assert advantages(HAND, value, next_value, gamma=0.5, lambda_=0.5).tolist() == ADVANTAGES


def test_the_critic_bootstraps_from_what_was_before_the_reset():
    value = critic(SPEC, agents.tabular(), gamma=0.5, lambda_=0.5)
    advantage, target = value.advantage(powers_of_two(), HAND)
    assert advantage.tolist() == ADVANTAGES
    assert target.tolist() == TARGETS


def test_one_step_of_the_critic_by_hand():
    """Loss = mean of half the squares of -A: (1 + 9 + 0 + 64 + 16 + 16) / 12. Gradient per row: -(sum of A) / 6.

    Rows 0, 1, 2: -4/6, -8/6, -8/6, of norm 2: clipped to 1/2, that is divided by 4; learning rate 4.
    """
    value = critic(SPEC, agents.tabular(), gamma=0.5, lambda_=0.5)
    learner, loss = value.update(powers_of_two(), HAND, jnp.asarray(TARGETS, jnp.float32))
    np.testing.assert_allclose(loss, 106 / 12, rtol=1e-6)
    np.testing.assert_allclose(learner.parameters["table"][:, 0], [1 + 4 / 6, 2 + 8 / 6, 4 + 8 / 6, 8, 16], rtol=1e-6)


def test_the_critic_learns():
    """A cycle of five states that pays s in state s, without end: V(s) = sum of gamma^k ((s + k) mod 5).

    The mean over five states shrinks the step: rate 4 moves each row by 4/5 of its error.
    """
    value = critic(SPEC, agents.tabular(clip=1e3), gamma=0.5, lambda_=0.95)
    states = np.arange(5)
    cycle = rollout(
        reward=np.tile(states[:, None], (1, 2)),
        terminated=np.zeros((5, 2)),
        truncated=np.zeros((5, 2)),
        observation=np.tile(states[:, None], (1, 2)),
        next_observation=np.tile((states[:, None] + 1) % 5, (1, 2)),
    )

    def update(learner, _):
        _, target = value.advantage(learner, cycle)
        return value.update(learner, cycle, target)

    start = value.init(jax.random.key(0))
    learner, losses = jax.jit(functools.partial(jax.lax.scan, update, length=200))(start, None)
    want = [sum(0.5**k * ((s + k) % 5) for k in range(60)) for s in states]
    np.testing.assert_allclose(learner.parameters["table"][:, 0], want, atol=1e-4)
    assert losses[-1] < 1e-6 < losses[0]


def test_the_critics_gradient_reaches_every_leaf():
    spec = SPEC._replace(time=True)
    value = critic(spec, agents.tabular(), gamma=0.5, lambda_=0.5)
    start = value.init(jax.random.key(0))
    timed = HAND._replace(time=jnp.full((3, 2), 0.5), observation=jnp.array([[0, 1], [2, 3], [4, 0]], jnp.int32))
    learner, _ = value.update(start, timed, jnp.ones((3, 2)))
    assert bool(jnp.all(learner.parameters["table"] != start.parameters["table"]))
    assert bool(jnp.all(learner.parameters["time"] != start.parameters["time"]))


def test_equal_advantages_are_normal_at_0():
    """Whatever their value and number, with a gradient that is finite; differences of a rounding are none."""
    made = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(normalise(x)) + normalise(x))))
    for count in (3, 20, 1280):
        for value in (9.7, 0.1, 1e-6, -3.3e6, 0.0):
            total, slope = made(np.full(count, value, np.float32))
            assert total == 0 and np.isfinite(slope).all()
    nearly = np.float32(9.7) + np.array([0, 1, 0, 2], np.float32) * np.spacing(np.float32(9.7))
    assert made(nearly)[0] == 0 and made(np.array([9.7, 9.8, 9.7], np.float32))[0] != 0


def test_normalise():
    # mean 2.5, variance (2.25 + .25 + .25 + 2.25) / 4 = 1.25
    got = normalise(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_allclose(got, np.array([[-1.5, -0.5], [0.5, 1.5]]) / np.sqrt(1.25), rtol=1e-6)
    assert bool(jnp.all(normalise(jnp.zeros((3, 2))) == 0))
