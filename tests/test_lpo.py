"""LPO: its features and drift by hand, what no theta can break, and gradients in theta."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import SPEC, recorded

from groove.base import Clock
from groove.nets import agents
from groove.rules import horizon, lpo, lpo_drift, lpo_features, ppo, ppo_drift
from groove.rules.lpo import MARGIN

TABLES = agents.tabular(actor_rate=5.0, critic_rate=1.0)
LOOP = {"epochs": 2, "minibatches": 3}
WIDTH = 7


def clock(update):
    return Clock(jnp.int32(update), jnp.int32(10))


def drawn(seed, inputs=8, scale=1.0):
    """A theta, normal with that deviation."""
    keys = jax.random.split(jax.random.key(seed))
    shapes = {"hidden": (inputs, WIDTH), "output": (WIDTH, 1)}
    return {name: scale * jax.random.normal(key, shapes[name]) for name, key in zip(shapes, keys, strict=True)}


# ----- features and drift


def test_features_by_hand():
    """l = -1, u = 1 - 1/e, A = 2: [l, l^2, u, u^2, A l, A l^2, A u, A u^2], then each value of the horizon times these."""
    u = 1 - 1 / math.e
    base = np.array([-1, 1, u, u * u, -2, 2, 2 * u, 2 * u * u])
    ratio, advantage = jnp.array(1 / math.e), jnp.array(2.0)
    np.testing.assert_allclose(lpo_features(ratio, advantage, jnp.zeros(0)), base, rtol=1e-6)
    got = lpo_features(ratio, advantage, jnp.array([0.25, 3.0]))
    np.testing.assert_allclose(got, np.concatenate([base, 0.25 * base, 3 * base]), rtol=1e-6)


def test_features_of_any_rank_vanish_at_one():
    ratio, advantage = jnp.full((2, 3, 4), 1.5).at[1].set(1.0), jnp.ones((2, 3, 4))
    got = lpo_features(ratio, advantage, jnp.array([0.7]))
    assert got.shape == (2, 3, 4, 16)
    assert jnp.all(got[0] != 0) and not jnp.any(got[1])
    theta = drawn(0, 16)
    drift = lpo_drift(theta, ratio, advantage, jnp.array([0.7]))
    alone = lpo_drift(theta, ratio[0, 0, 0], advantage[0, 0, 0], jnp.array([0.7]))
    assert drift.shape == (2, 3, 4)
    np.testing.assert_allclose(drift[0], jnp.full((3, 4), alone), rtol=1e-5, atol=1e-6)


def test_drift_by_hand():
    """One hidden unit that sees u A alone: relu(3 tanh(2 u A) - 1e-4)."""
    theta = {"hidden": jnp.zeros((8, 1)).at[6].set(2.0), "output": jnp.full((1, 1), 3.0)}
    got = lpo_drift(theta, jnp.array([0.5, 1.5]), jnp.array([1.0, 1.0]), jnp.zeros(0))
    np.testing.assert_allclose(got, [3 * math.tanh(1.0) - 1e-4, 0.0], rtol=1e-5)


def test_what_does_not_exceed_the_margin_does_not_count():
    """tanh(u A) alone, at u = 4e-4 and 0.9e-4: the drift is 3e-4, and 0 with zero gradient."""
    theta = {"hidden": jnp.zeros((8, 1)).at[6].set(1.0), "output": jnp.ones((1, 1))}

    def at(ratio):
        return lpo_drift(theta, ratio, jnp.array(1.0), jnp.zeros(0))

    far, near = jnp.array(1 - 4e-4), jnp.array(1 - 0.9e-4)
    np.testing.assert_allclose(at(far), 3e-4, atol=2e-7)  # 1 - u rounds by 6e-8
    np.testing.assert_allclose(jax.grad(at)(far), -1.0, rtol=1e-5)
    assert at(near) == 0 and jax.grad(at)(near) == 0


def test_the_start_at_ppo_by_hand():
    """A theta of zeros leaves PPO's drift but for the margin; a network adds to it and can take away from it."""
    ratio, advantage = jnp.array([1.5, 1.1, 0.5]), jnp.array([1.0, 1.0, -1.0])
    zeros = {"hidden": jnp.zeros((8, 1)), "output": jnp.zeros((1, 1))}
    got = lpo_drift(zeros, ratio, advantage, jnp.zeros(0), ppo_start=True, clip=0.3)
    np.testing.assert_allclose(got, [0.2 - MARGIN, 0.0, 0.2 - MARGIN], rtol=1e-4)
    assert not jnp.any(lpo_drift(zeros, ratio, advantage, jnp.zeros(0)))
    theta = {"hidden": jnp.zeros((8, 1)).at[2].set(1.0), "output": jnp.full((1, 1), 0.1)}  # 0.1 tanh(u)
    both = lpo_drift(theta, ratio, advantage, jnp.zeros(0), ppo_start=True, clip=0.3)
    gaps = [0.1 * math.tanh(u) for u in (-0.5, -0.1, 0.5)]
    np.testing.assert_allclose(both, [0.2 + gaps[0] - MARGIN, 0.0, 0.2 + gaps[2] - MARGIN], rtol=1e-4)


@pytest.mark.parametrize("ppo_start", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e9])
def test_no_theta_breaks_the_drift(scale, ppo_start):
    """Nowhere negative, 0 at r = 1 with zero gradient there; finite with its gradients everywhere, at 0 and infinity too."""
    thetas = jax.vmap(lambda seed: drawn(seed, 16, scale))(jnp.arange(20))
    ratio = jnp.concatenate([jnp.array([0.0, jnp.inf, 1.0]), jnp.geomspace(1e-6, 1e6, 27)])
    ratio, advantage = (grid.ravel() for grid in jnp.meshgrid(ratio, jnp.array([-3.0, -0.5, 0.0, 0.5, 3.0])))

    def total(theta, ratio, advantage):
        drift = lpo_drift(theta, ratio, advantage, jnp.array([0.5]), ppo_start=ppo_start)
        return jnp.sum(drift), drift

    slopes, drift = jax.jit(jax.vmap(jax.grad(total, (0, 1), has_aux=True), (0, None, None)))(thetas, ratio, advantage)
    assert bool(jnp.all(drift >= 0)) and bool(jnp.any(drift > 0) | (scale < 1))
    assert not jnp.any(drift[:, ratio == 1])
    assert not jnp.any(slopes[1][:, ratio == 1])
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((drift, slopes)))


# ----- updates


def taught(rule, theta, agent, at=0, rollout=None):
    return jax.jit(rule.update)(jax.random.key(0), theta, agent, rollout or recorded(0), clock(at))


def test_thetas_by_horizon():
    for age, inputs in ((horizon.none, 8), (horizon.fraction, 16), (horizon.fraction_and_log, 24)):
        theta = lpo(SPEC, width=WIDTH, horizon=age).init(jax.random.key(0))
        assert jax.tree.map(jnp.shape, theta) == {"hidden": (inputs, WIDTH), "output": (WIDTH, 1)}


def test_thetas_start_lecun_normal():
    """Deviations 1 / sqrt(8) and 1 / sqrt(width); that of a sample of n errs by less than 5 / sqrt(2 n) of itself."""
    theta = lpo(SPEC, width=2000).init(jax.random.key(0))
    for name, inputs in (("hidden", 8), ("output", 2000)):
        assert abs(float(jnp.std(theta[name])) * math.sqrt(inputs) - 1) < 5 * math.sqrt(0.5 / theta[name].size)


def test_at_birth_the_fraction_changes_nothing():
    """At n = 0 TA-LPO is LPO with the first eight rows; later it is not."""
    blind, aware = lpo(SPEC, TABLES, width=WIDTH, **LOOP), lpo(SPEC, TABLES, width=WIDTH, horizon=horizon.fraction, **LOOP)
    theta = drawn(0, 16)
    rows = {**theta, "hidden": theta["hidden"][:8]}
    agent = blind.init_agent(jax.random.key(1))
    (young, _), (old, _) = (taught(aware, theta, agent, at) for at in (0, 5))
    chex.assert_trees_all_close(young, taught(blind, rows, agent)[0], rtol=1e-5, atol=1e-5)
    other = taught(blind, rows, agent, 5)[0]
    assert float(jnp.max(jnp.abs(old.actor.parameters["table"] - other.actor.parameters["table"]))) > 1e-2


def test_a_theta_of_zeros_from_ppo_is_ppo():
    """But for the margin, which only counts where the ratio is within 1e-4 / |A| of a bound."""
    rule, antagonist = lpo(SPEC, TABLES, width=WIDTH, ppo_start=True, clip=0.3, **LOOP), ppo(SPEC, TABLES, clip=0.3, **LOOP)
    agent = rule.init_agent(jax.random.key(1))
    got, info = taught(rule, drawn(0, scale=0.0), agent)
    want, other = taught(antagonist, (), agent)
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(info["drift"], other["drift"], atol=MARGIN)
    assert float(other["drift"]) > 100 * MARGIN


def test_the_info_is_of_the_drift():
    """One hidden unit that sees u^2: the drift at r is relu(tanh(u^2) - 1e-4); two steps of which the second sees it."""
    theta = {"hidden": jnp.zeros((8, 1)).at[3].set(1.0), "output": jnp.ones((1, 1))}
    flat = lpo(SPEC, TABLES, width=1, epochs=1, minibatches=1)
    agent = flat.init_agent(jax.random.key(1))
    _, info = taught(flat, theta, agent)
    assert float(info["drift"]) == 0.0 and float(info["ratio_deviation"]) < 1e-6
    _, info = taught(lpo(SPEC, TABLES, width=1, epochs=2, minibatches=1), theta, agent)
    assert float(info["drift"]) > 1e-3 and float(info["ratio_deviation"]) > 1e-2


def double(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


@pytest.mark.parametrize("ppo_start", [False, True])
def test_gradients_equal_finite_differences(ppo_start):
    """Of a loss after two updates, in float64, along random directions of every leaf, none of which gets nothing.

    A central difference of width h errs by O(h^2) = 1e-10 and by rounding O(1e-16 / h) = 1e-10.
    """
    with jax.enable_x64(True):
        options = {**LOOP, "width": WIDTH, "horizon": horizon.remaining, "ppo_start": ppo_start}
        rule = lpo(SPEC, agents.tabular(actor_rate=1.0, critic_rate=1.0), **options)
        agent, theta = double(rule.init_agent(jax.random.key(1))), double(drawn(4, 16))
        rollouts = [recorded(seed, dtype=jnp.float64) for seed in (0, 1)]

        @jax.jit
        def loss(theta):
            now = agent
            for i, rollout in enumerate(rollouts):
                now, _ = rule.update(jax.random.key(i), theta, now, rollout, clock(3 + i))
            odds = jax.nn.softmax(now.actor.parameters["table"])
            return jnp.sum(odds * jnp.arange(odds.size).reshape(odds.shape))

        slope = jax.jit(jax.grad(loss))(theta)
        assert all(bool(jnp.all(jnp.isfinite(leaf))) and bool(jnp.any(leaf != 0)) for leaf in slope.values())
        for name in theta:
            direction = jax.random.normal(jax.random.key(9), theta[name].shape, jnp.float64)
            ahead, behind = (loss({**theta, name: theta[name] + s * 1e-6 * direction}) for s in (1, -1))
            want = float((ahead - behind) / 2e-6)
            assert abs(want) > 1e-6
            np.testing.assert_allclose(float(jnp.sum(slope[name] * direction)), want, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("ppo_start", [False, True])
def test_gradients_stay_finite_where_steps_are_huge(ppo_start):
    """Logits a thousand apart, three updates, reverse mode in theta."""
    wild = agents.tabular(actor_rate=1e4, critic_rate=1.0, clip=1e3)
    rule = lpo(SPEC, wild, width=WIDTH, ppo_start=ppo_start, **LOOP)
    agent = rule.init_agent(jax.random.key(1))

    def total(theta):
        now = agent
        for seed in range(3):
            now, info = rule.update(jax.random.key(seed), theta, now, recorded(seed), clock(seed))
        table = now.actor.parameters["table"]
        return jnp.sum(jax.nn.softmax(table)[:, 0]) + sum(info.values()), table

    slope, table = jax.jit(jax.grad(total, has_aux=True))(drawn(0))
    assert float(jnp.max(table) - jnp.min(table)) > 1e3
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((slope, table)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"clip": -0.2}, "clip must be positive and finite, got -0.2"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"gamma": math.nan}, "gamma"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        lpo(SPEC, **options)


def test_shapes_are_checked():
    with pytest.raises(AssertionError):
        lpo_features(jnp.ones(3), jnp.ones((3, 1)), jnp.zeros(0))
    with pytest.raises(AssertionError):
        lpo_features(jnp.ones(3), jnp.ones(3), jnp.float32(0.5))


def test_ppos_drift_counts_ratios_beyond_the_limit_as_the_limit():
    far = lpo_drift(drawn(0, scale=0.0), jnp.array([jnp.inf]), jnp.array([1.0]), jnp.zeros(0), ppo_start=True)
    np.testing.assert_allclose(far, ppo_drift(jnp.array([math.exp(10.0)]), jnp.array([1.0])), rtol=1e-6)
