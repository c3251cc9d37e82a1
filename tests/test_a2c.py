"""A2C: one update by hand, and that it learns."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.base import Clock, Rollout
from groove.lifetime import exact, lifetime
from groove.nets import agents
from groove.nets.categorical import entropy, log_probability
from groove.rules import a2c
from groove.rules.a2c import policy_slope
from levels.bandit import BanditLevel, bernoulli_bandit
from levels.base import Discrete, Spec
from levels.gridworld import Thing, grid_level, gridworld

SPEC = Spec(Discrete(2), time=False, actions=2, episode_limit=9, noise=0, reset_noise=0)
CLOCK = Clock(jnp.int32(0), jnp.int32(10))
GRID = grid_level(
    [[False] * 3] * 3, [Thing((2, 1), 0, 1.0, 1.0, 1.0), Thing((0, 1), 1, -1.0, 1.0, 1.0)], start=(0, 0), limit=8
)


def two_states(reward):
    """One step in each of two environments: state 0 with action 0, state 1 with action 1; both terminate."""
    state = jnp.array([[0, 1]], jnp.int32)
    time, ended = jnp.zeros((1, 2)), jnp.ones((1, 2), bool)
    return Rollout(state, time, state, jnp.array([reward], jnp.float32), ended, ~ended, state, time)


def plain(**options):
    """Gradient descent with rate 1 from zeros, unclipped in effect."""
    return a2c(SPEC, agents.tabular(actor_rate=1.0, critic_rate=1.0, clip=100.0, zeros=True), **options)


def test_one_update_by_hand():
    """Values are 0, so A = r = (1, 0), normalised (1, -1). d log pi(a)/d logits = onehot(a) - 1/2; the mean is over two.

    State 0: 1/2 * 1 * (1/2, -1/2). State 1: 1/2 * -1 * (-1/2, 1/2). Value: 1/2 * (r - 0). The entropy is at its maximum.
    """
    rule = plain()
    agent, info = jax.jit(rule.update)(
        jax.random.key(0), (), rule.init_agent(jax.random.key(0)), two_states([1.0, 0.0]), CLOCK
    )
    np.testing.assert_allclose(agent.actor.parameters["table"], [[0.25, -0.25], [0.25, -0.25]], atol=1e-6)
    np.testing.assert_allclose(agent.critic.parameters["table"], [[0.5], [0.0]], atol=1e-6)
    np.testing.assert_allclose(info["entropy"], math.log(2), rtol=1e-6)
    np.testing.assert_allclose(info["value_loss"], 0.25, rtol=1e-6)


def test_one_update_without_normalisation_by_hand():
    """A = (1, 0): only state 0 moves, by 1/2 * 1 * (1/2, -1/2)."""
    rule = plain(normalise_advantage=False)
    agent, _ = jax.jit(rule.update)(jax.random.key(0), (), rule.init_agent(jax.random.key(0)), two_states([1.0, 0.0]), CLOCK)
    np.testing.assert_allclose(agent.actor.parameters["table"], [[0.25, -0.25], [0.0, 0.0]], atol=1e-6)


def test_the_entropy_bonus_by_hand():
    """Logits (log 3, 0): p = (3/4, 1/4), dH/d logits = p0 p1 log(p1 / p0) (1, -1) = -3/16 log 3 (1, -1)."""
    rule = plain(entropy_weight=2.0)
    agent = rule.init_agent(jax.random.key(0))
    table = jnp.array([[math.log(3), 0.0], [0.0, 0.0]])
    agent = agent._replace(actor=agent.actor._replace(parameters={"table": table}))
    after, _ = jax.jit(rule.update)(jax.random.key(0), (), agent, two_states([0.0, 0.0]), CLOCK)
    moved = after.actor.parameters["table"] - table
    slope = 3 / 16 * math.log(3)  # times weight 2, times 1/2 of the mean
    np.testing.assert_allclose(moved, [[-slope, slope], [0.0, 0.0]], atol=1e-6)


def test_the_slope_of_the_policy_loss_is_its_derivative():
    keys = jax.random.split(jax.random.key(0), 3)
    logits, advantage = 3 * jax.random.normal(keys[0], (4, 3, 5)), jax.random.normal(keys[1], (4, 3))
    action = jax.random.randint(keys[2], (4, 3), 0, 5)

    def loss(logits):
        spread = jnp.mean(entropy(logits))
        return -jnp.mean(log_probability(logits, action) * advantage) - 0.7 * spread, spread

    (_, spread), want = jax.value_and_grad(loss, has_aux=True)(logits)
    slope, found = policy_slope(logits, action, advantage, 0.7)
    np.testing.assert_allclose(slope, want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found, spread, rtol=1e-6)


def learned(family, level, rule, *, updates, agents):
    """Exact returns f32[agents] after a life on a level, and before it."""
    life = lifetime(
        rule, family.environment, steps=10, environments=8, evaluate=exact(rule, family.environment, family.value)
    )

    @functools.partial(jax.jit, static_argnums=1)
    def play(keys, count):
        grown = jax.vmap(lambda key: life.live(key, (), level, jnp.int32(count)))(keys)
        return jax.vmap(lambda a: life.evaluate(keys[0], a, level, jnp.bool_(True)).episode_return)(grown)

    keys = jax.random.split(jax.random.key(3), agents)
    return np.asarray(play(keys, updates)), np.asarray(play(keys, 0))


def test_learns_a_bandit():
    """Optimum 9, the uniform policy 4."""
    family = bernoulli_bandit(arms=3, pulls=(10, 10))
    level = BanditLevel(jnp.array([0.1, 0.9, 0.2]), jnp.float32(0), jnp.int32(3), jnp.int32(10))
    rule = a2c(family.environment.spec, agents.tabular(actor_rate=1.0, critic_rate=0.5))
    after, before = learned(family, level, rule, updates=150, agents=4)
    assert before.mean() < 5 and after.min() > 8.0, (before, after)


def test_learns_a_grid():
    """A reward of 1 three steps away, behind one of -1: optimum 1, and the random policy loses."""
    family = gridworld(height=3, width=3, objects=2, episode_limit=8)
    rule = a2c(family.environment.spec)
    after, before = learned(family, GRID, rule, updates=150, agents=4)
    best = float(family.optimum(GRID))
    assert before.mean() < 0.35 * best and after.min() > 0.8 * best, (before, after, best)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.1}, r"gamma must lie in \[0, 1\], got 1.1"),
        ({"gamma": math.nan}, "gamma"),
        ({"lambda_": -0.1}, "lambda_"),
        ({"entropy_weight": -1.0}, "entropy_weight must be at least 0, got -1.0"),
        ({"entropy_weight": math.nan}, "entropy_weight"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        a2c(SPEC, **options)
