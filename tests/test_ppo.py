"""PPO's loop and its hand-written drifts: one update by hand, what a minibatch is, and that it learns."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import SPEC, recorded

from groove.base import Clock, Rollout
from groove.lifetime import exact, lifetime, sampled
from groove.nets import agents
from groove.rules import a2c, dpo, dpo_drift, lpo, ppo, ppo_drift
from groove.rules.ppo import proximal, shuffles
from levels.bandit import BanditLevel, bernoulli_bandit
from levels.base import Discrete, Spec
from levels.gridworld import Thing, grid_level, gridworld, planes

PAIR = Spec(Discrete(2), time=False, actions=2, episode_limit=9, noise=0, reset_noise=0)
BIRTH, MIDDLE, END = (Clock(jnp.int32(n), jnp.int32(10)) for n in (0, 5, 10))
PLAIN = agents.tabular(actor_rate=1.0, critic_rate=1.0, clip=100.0, zeros=True)
ONCE = {"epochs": 1, "minibatches": 1}


def episodes(state, action, reward, *, truncated=False, following=0):
    """One step in each of several environments, all of which end: a rollout [1, E]."""
    row = jnp.array([reward], jnp.float32)
    cut = jnp.full(row.shape, truncated)
    after = jnp.full(row.shape, following, jnp.int32)
    zeros = jnp.zeros_like(row)
    return Rollout(jnp.array([state]), zeros, jnp.array([action]), row, ~cut, cut, after, zeros)


def taught(rule, rollout, *, clock=BIRTH, agent=None, seed=0):
    """The agent after one update, the info and the agent before."""
    agent = agent or rule.init_agent(jax.random.key(1))
    theta = rule.init(jax.random.key(2))
    return *jax.jit(rule.update)(jax.random.key(seed), theta, agent, rollout, clock), agent


# ----- drifts

RATIOS, ADVANTAGES = (
    grid.ravel() for grid in jnp.meshgrid(jnp.geomspace(1e-3, 1e3, 121), jnp.linspace(-3.0, 3.0, 25), indexing="ij")
)


@pytest.mark.parametrize("drift", [ppo_drift, dpo_drift])
def test_drifts_are_nowhere_negative_and_flat_at_one(drift):
    assert float(jnp.min(drift(RATIOS, ADVANTAGES))) == 0.0
    assert float(jnp.max(drift(RATIOS, ADVANTAGES))) > 1.0
    ones = jnp.ones_like(ADVANTAGES)
    assert not jnp.any(drift(ones, ADVANTAGES))
    assert not jnp.any(jax.vmap(jax.grad(drift))(ones, ADVANTAGES))


@pytest.mark.parametrize("clip", [0.1, 0.2, 0.5])
def test_ppos_drift_gives_its_clipped_objective(clip):
    """r A - drift = min(r A, clip(r) A): up to the rounding of r A."""
    want = jnp.minimum(RATIOS * ADVANTAGES, jnp.clip(RATIOS, 1 - clip, 1 + clip) * ADVANTAGES)
    got = RATIOS * ADVANTAGES - ppo_drift(RATIOS, ADVANTAGES, clip=clip)
    assert bool(jnp.all(jnp.abs(got - want) <= 4 * np.finfo(np.float32).eps * (1 + jnp.abs(RATIOS * ADVANTAGES))))


@pytest.mark.parametrize(
    ("ratio", "advantage", "want"),
    [
        (3.0, 1.0, 2 - 2 * math.tanh(1.0)),
        (1.5, 4.0, 2 - 2 * math.tanh(1.0)),
        (0.5, 4.0, 0.0),  # of a good action that became rarer: 2 tanh(1) - 2 < 0
        (1 / math.e, -1.2, 1.2 - 0.6 * math.tanh(2.0)),
        (math.e, -1.2, 0.0),
        (7.0, 0.0, 0.0),
    ],
)
def test_dpos_drift_by_hand(ratio, advantage, want):
    np.testing.assert_allclose(dpo_drift(jnp.array(ratio), jnp.array(advantage)), want, rtol=1e-5, atol=1e-6)


def test_dpos_constants_by_hand():
    got = dpo_drift(jnp.array([3.0, 1 / math.e]), jnp.array([1.0, -1.0]), alpha=1.0, beta=0.5)
    np.testing.assert_allclose(got, [2 - math.tanh(2.0), 1 - 0.5 * math.tanh(2.0)], rtol=1e-6)


def test_dpos_drift_is_finite_at_the_ends():
    ratio, advantage = jnp.array([0.0, jnp.inf, 0.0, jnp.inf]), jnp.array([1.0, 1.0, -1.0, 0.0])
    assert bool(jnp.all(jnp.isfinite(dpo_drift(ratio, advantage))))
    assert bool(jnp.all(jnp.isfinite(jax.vmap(jax.grad(dpo_drift))(ratio, advantage))))


# ----- the loop


@pytest.mark.parametrize("rule", [ppo, dpo])
def test_one_minibatch_by_hand(rule):
    """r = 1: A2C's policy gradient. Values are 0, A = (1, 0), normalised (1, -1); d r / d logits = onehot(a) - 1/2."""
    agent, info, _ = taught(rule(PAIR, PLAIN, **ONCE), episodes([0, 1], [0, 1], [1.0, 0.0]))
    np.testing.assert_allclose(agent.actor.parameters["table"], [[0.25, -0.25], [0.25, -0.25]], atol=1e-6)
    np.testing.assert_allclose(agent.critic.parameters["table"], [[0.5], [0.0]], atol=1e-6)
    wanted = {"entropy": math.log(2), "value_loss": 0.25, "drift": 0.0, "ratio_deviation": 0.0}
    assert info.keys() == wanted.keys()
    for name, want in wanted.items():
        np.testing.assert_allclose(info[name], want, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("architecture", [PLAIN, agents.tabular()], ids=["plain", "groove"])
@pytest.mark.parametrize("rule", [ppo, dpo, lpo])
def test_one_minibatch_is_a2c(rule, architecture):
    """With the same discounts and entropy: where r = 1 no drift counts."""
    options = {"gamma": 0.8, "lambda_": 0.6, "entropy_weight": 0.3}
    rollout = recorded(0)
    want, _, agent = taught(a2c(SPEC, architecture, **options), rollout)
    got, _, before = taught(rule(SPEC, architecture, **options, **ONCE), rollout, agent=agent)
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-5)
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), got, before)
    assert all(jax.tree.leaves(moved))


def test_two_epochs_by_hand():
    """Two steps in one minibatch, rate 4: after the first epoch the logits are (1, -1) and (1, -1).

    Then pi(0) = p = 1 / (1 + exp(-2)), so r = (2 p, 2 (1 - p)) = (1.76, 0.24) for A = (1, -1): both beyond the clip, whose
    gradient is 0. The drift is then the mean of 1.76 - 1.2 and 0.8 - 0.24, over both epochs half of that.
    """
    fast = agents.tabular(actor_rate=4.0, critic_rate=1.0, clip=100.0, zeros=True)
    rule = ppo(PAIR, fast, epochs=2, minibatches=1, entropy_weight=0.0)
    agent, info, _ = taught(rule, episodes([0, 1], [0, 1], [1.0, 0.0]))
    np.testing.assert_allclose(agent.actor.parameters["table"], [[1.0, -1.0], [1.0, -1.0]], atol=1e-6)
    odds = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(info["drift"], (2 * odds - 1.2) / 2, rtol=1e-5)
    np.testing.assert_allclose(info["ratio_deviation"], (2 * odds - 1) / 2, rtol=1e-5)


def test_dpos_constants_reach_the_update():
    """As above, the second epoch's ratios are (2 p, 2 (1 - p)) for A = (1, -1)."""
    fast = agents.tabular(actor_rate=4.0, critic_rate=1.0, clip=100.0, zeros=True)
    rule = dpo(PAIR, fast, alpha=0.5, beta=0.3, epochs=2, minibatches=1, entropy_weight=0.0)
    _, info, _ = taught(rule, episodes([0, 1], [0, 1], [1.0, 0.0]))
    odds = 1 / (1 + math.exp(-2))
    gain, loss = 2 * odds - 1, -math.log(2 - 2 * odds)
    want = (gain - 0.5 * math.tanh(gain / 0.5) + loss - 0.3 * math.tanh(loss / 0.3)) / 2
    np.testing.assert_allclose(info["drift"], want / 2, rtol=1e-5)


def test_shuffles_are_permutations():
    order = shuffles(jax.random.key(0), (5, 6), epochs=4, minibatches=3)
    assert order.shape == (12, 10)
    passes = np.asarray(order).reshape(4, 30)
    assert (np.sort(passes, axis=1) == np.arange(30)).all()
    assert len({tuple(row) for row in passes}) == 4
    assert not jnp.array_equal(order, shuffles(jax.random.key(1), (5, 6), epochs=4, minibatches=3))


@pytest.mark.parametrize("epochs", [1, 2])
def test_every_step_counts_once_an_epoch(epochs):
    """Each step in a state of its own, minibatches of two: an epoch takes a value half the way to its target, the reward."""
    spec = Spec(Discrete(12), time=False, actions=2, episode_limit=9, noise=0, reset_noise=0)
    states = jnp.arange(12, dtype=jnp.int32).reshape(3, 4)
    rollout = recorded(0, (3, 4))._replace(observation=states, action=states % 2, terminated=jnp.ones((3, 4), bool))
    rollout = rollout._replace(truncated=jnp.zeros((3, 4), bool), reward=1.0 + states)
    agent, _, _ = taught(ppo(spec, PLAIN, epochs=epochs, minibatches=6), rollout)
    want = (1 - 0.5**epochs) * np.arange(1.0, 13.0)[:, None]
    np.testing.assert_allclose(agent.critic.parameters["table"], want, rtol=1e-6)


def test_the_order_is_the_keys():
    rule = ppo(SPEC, PLAIN, epochs=2, minibatches=5)
    one, same, other = (taught(rule, recorded(0), seed=seed)[0] for seed in (0, 0, 1))
    chex.assert_trees_all_equal(one, same)
    assert bool(jnp.any(one.actor.parameters["table"] != other.actor.parameters["table"]))


@pytest.mark.parametrize(("truncated", "want"), [(True, 2.0), (False, 1.0)])
def test_bootstraps_at_truncations_only(truncated, want):
    """Reward 1, gamma 1/2, the next state is worth 2: the one step moves its value to the target, 1 + 2/2 or 1."""
    rule = ppo(PAIR, PLAIN, gamma=0.5, **ONCE)
    agent = rule.init_agent(jax.random.key(0))
    agent = agent._replace(critic=agent.critic._replace(parameters={"table": jnp.array([[0.0], [2.0]])}))
    after, _, _ = taught(rule, episodes([0], [0], [1.0], truncated=truncated, following=1), agent=agent)
    np.testing.assert_allclose(after.critic.parameters["table"], [[want], [2.0]], rtol=1e-6)


def test_targets_are_the_critics_as_it_stood():
    """Two steps of one minibatch each that lead to each other's state: targets do not see the other's step."""
    rule = ppo(PAIR, PLAIN, gamma=0.5, lambda_=0.0, epochs=1, minibatches=2)
    agent = rule.init_agent(jax.random.key(0))
    agent = agent._replace(critic=agent.critic._replace(parameters={"table": jnp.array([[2.0], [4.0]])}))
    rollout = episodes([0, 1], [0, 0], [1.0, 1.0], truncated=True)._replace(next_observation=jnp.array([[1, 0]]))
    after, _, _ = taught(rule, rollout, agent=agent)
    np.testing.assert_allclose(after.critic.parameters["table"], [[3.0], [2.0]], rtol=1e-6)


def test_annealing_scales_every_step():
    """By 1 - n / N, exactly so where there is one; nothing moves at the end. Without it the clock does not matter."""
    rule, rollout = ppo(SPEC, PLAIN, **ONCE), recorded(0)
    whole, half, none = (taught(rule, rollout, clock=clock)[0] for clock in (BIRTH, MIDDLE, END))
    before = rule.init_agent(jax.random.key(1))
    chex.assert_trees_all_close(jax.tree.map(lambda a, b: (a + b) / 2, whole, before), half, rtol=1e-6, atol=1e-7)
    chex.assert_trees_all_equal(none, before)
    constant = ppo(SPEC, PLAIN, anneal=False, **ONCE)
    chex.assert_trees_all_equal(taught(constant, rollout)[0], taught(constant, rollout, clock=END)[0])
    chex.assert_trees_all_close(taught(constant, rollout)[0], whole, rtol=1e-6)


def test_annealing_reaches_through_many_minibatches():
    """PLAIN's step is linear in the gradient only, so this compares rates: half the life, half the rate."""
    options = {"epochs": 2, "minibatches": 5}
    slow = agents.tabular(actor_rate=0.5, critic_rate=0.5, clip=100.0, zeros=True)
    annealed = taught(ppo(SPEC, PLAIN, **options), recorded(0), clock=MIDDLE)[0]
    constant = taught(ppo(SPEC, slow, anneal=False, **options), recorded(0), clock=MIDDLE)[0]
    chex.assert_trees_all_close(annealed, constant, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [ppo, dpo])
def test_huge_steps_stay_finite(rule):
    """Logits a thousand apart: log r is far beyond what its exponential can hold."""
    wild = agents.tabular(actor_rate=1e4, critic_rate=1.0, clip=1e3)
    made = rule(SPEC, wild, epochs=3, minibatches=5)
    rollout, agent = recorded(0), made.init_agent(jax.random.key(0))

    def after(scale):
        table = {**agent.actor.parameters, "table": scale * agent.actor.parameters["table"]}
        start = agent._replace(actor=agent.actor._replace(parameters=table))
        return made.update(jax.random.key(0), (), start, rollout, BIRTH)[0].actor.parameters["table"]

    moved, slope = jax.jit(jax.jvp, static_argnums=0)(after, (1.0,), (1.0,))
    assert float(jnp.max(moved) - jnp.min(moved)) > 1e3
    assert bool(jnp.all(jnp.isfinite(moved))) and bool(jnp.all(jnp.isfinite(slope)))


# ----- it learns


def learned(family, level, rule, *, updates):
    """Exact returns f32[4] after a life on a level, and before it."""
    life = lifetime(
        rule, family.environment, steps=10, environments=8, evaluate=exact(rule, family.environment, family.value)
    )

    @functools.partial(jax.jit, static_argnums=1)
    def play(keys, count):
        grown = jax.vmap(lambda key: life.live(key, (), level, jnp.int32(count)))(keys)
        return jax.vmap(lambda a: life.evaluate(keys[0], a, level, jnp.bool_(True)).episode_return)(grown)

    keys = jax.random.split(jax.random.key(3), 4)
    return np.asarray(play(keys, updates)), np.asarray(play(keys, 0))


@pytest.mark.slow
@pytest.mark.parametrize("rule", [ppo, dpo])
def test_learns_a_bandit(rule):
    """Optimum 9, the uniform policy 4."""
    family = bernoulli_bandit(arms=3, pulls=(10, 10))
    level = BanditLevel(jnp.array([0.1, 0.9, 0.2]), jnp.float32(0), jnp.int32(3), jnp.int32(10))
    made = rule(family.environment.spec, agents.tabular(actor_rate=1.0, critic_rate=0.5))
    after, before = learned(family, level, made, updates=60)
    assert before.mean() < 5 and after.min() > 8.3, (before, after)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [ppo, dpo])
def test_learns_a_grid(rule):
    """A reward of 1 three steps away, behind one of -1: optimum 1, and the random policy loses."""
    things = [Thing((2, 1), 0, 1.0, 1.0, 1.0), Thing((0, 1), 1, -1.0, 1.0, 1.0)]
    level = grid_level([[False] * 3] * 3, things, start=(0, 0), limit=8)
    family = gridworld(height=3, width=3, objects=2, episode_limit=8)
    made = rule(family.environment.spec, agents.tabular(actor_rate=5.0))
    after, before = learned(family, level, made, updates=60)
    best = float(family.optimum(level))
    assert before.mean() < 0.35 * best and after.min() > 0.9 * best, (before, after, best)


@pytest.mark.slow
def test_convolutional_agents_learn_under_lpo():
    """One object that pays 1 and ends the episode, as planes: agents of an untrained net find it, random ones rarely."""
    sizes = {"height": 4, "width": 4, "side": (4, 4), "objects": 1, "episode_limit": 12, "limit": (12, 12), "walls": 2}
    family = planes(**sizes, reward=(1.0, 1.0), terminate=(1.0, 1.0))
    small = agents.convolutional(channels=8, kernel=3, widths=(32,), rate=5e-3)
    rule = lpo(family.environment.spec, small, width=16, epochs=4, minibatches=2)
    evaluate = sampled(rule, family.environment, episodes=32)
    life = lifetime(rule, family.environment, steps=24, environments=8, evaluate=evaluate)

    @jax.jit
    @jax.vmap
    def play(key):
        level, theta, wanted = family.generator.sample(key), rule.init(jax.random.key(7)), jnp.bool_(True)
        untrained = life.begin(key, level, 30).agent
        grown = life.live(key, theta, level, jnp.int32(30))
        return tuple(life.evaluate(key, agent, level, wanted).episode_return for agent in (untrained, grown))

    before, after = play(jax.random.split(jax.random.key(0), 3))
    assert before.mean() < 0.7 and after.min() > 0.95, (before, after)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ppo(SPEC, clip=0.0), "clip must be positive and finite, got 0.0"),
        (lambda: dpo(SPEC, alpha=-1.0), "alpha must be positive and finite, got -1.0"),
        (lambda: dpo(SPEC, beta=math.nan), "beta must be positive and finite, got nan"),
        (lambda: ppo(SPEC, epochs=0), "epochs must be at least 1, got 0"),
        (lambda: dpo(SPEC, minibatches=0), "minibatches must be at least 1, got 0"),
        (lambda: ppo(SPEC, gamma=1.1), r"gamma must lie in \[0, 1\], got 1.1"),
        (lambda: dpo(SPEC, lambda_=-0.1), "lambda_"),
        (lambda: ppo(SPEC, entropy_weight=math.nan), "entropy_weight must be at least 0, got nan"),
        (
            lambda: taught(ppo(SPEC, PLAIN, minibatches=4), recorded(0)),
            r"divide the 15 steps of a rollout \(5 steps in 3 environments\), got 4",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_a_drift_r_goes_where_it_likes():
    """What the drift is there for: the same steps without one go further."""
    options = {"epochs": 8, "minibatches": 1}
    free = proximal(SPEC, PLAIN, lambda theta, r, a, clock: jnp.zeros_like(r), lambda key: (), **options)
    (_, held, _), (_, loose, _) = taught(ppo(SPEC, PLAIN, **options), recorded(0)), taught(free, recorded(0))
    assert float(loose["ratio_deviation"]) > 1.2 * float(held["ratio_deviation"])
