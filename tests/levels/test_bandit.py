"""Bandits: what arms pay, how levels are drawn and drawn again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from levels.bandit import BanditLevel, bernoulli_bandit, draw, gaussian_bandit
from levels.base import words

PULLS = 20_000


def level_of(mean, arms, deviation=0.0, pulls=3):
    return BanditLevel(jnp.array(mean, jnp.float32), jnp.float32(deviation), jnp.int32(arms), jnp.int32(pulls))


def pull(family, level, action, count=PULLS):
    """Rewards of the first pull, f32[count]."""
    state, _ = family.environment.reset(jnp.zeros(0, jnp.uint32), level)
    step = jax.jit(jax.vmap(lambda noise: family.environment.step(noise, level, state, jnp.int32(action))[1].reward))
    return np.asarray(step(words(jax.random.key(action), count, 1)), np.float64)


@pytest.mark.parametrize("action, mean", [(0, 0.3), (1, 0.9), (2, 0.3), (3, 0.9)])
def test_bernoulli_arms_pay_their_mean_and_actions_wrap(action, mean):
    rewards = pull(bernoulli_bandit(arms=4), level_of([0.3, 0.9, 0, 0], 2), action)
    assert set(rewards) == {0.0, 1.0}
    assert abs(rewards.mean() - mean) < 5 * np.sqrt(mean * (1 - mean) / PULLS)


def test_certain_arms_are_certain():
    family = bernoulli_bandit(arms=2)
    assert pull(family, level_of([1.0, 0.0], 2), 0).min() == 1 and pull(family, level_of([1.0, 0.0], 2), 1).max() == 0


def test_gaussian_arms_are_normal():
    rewards = (pull(gaussian_bandit(arms=2), level_of([-1.0, 2.0], 2, deviation=0.5), 1) - 2.0) / 0.5
    assert abs(rewards.mean()) < 5 / np.sqrt(PULLS)
    assert abs((rewards**2).mean() - 1) < 5 * np.sqrt(2 / PULLS)
    assert abs((rewards**4).mean() - 3) < 5 * np.sqrt(96 / PULLS)  # Var(x^4) = 105 - 9


def test_gaussian_noise_is_finite_and_symmetric_at_its_ends():
    family, level = gaussian_bandit(arms=2), level_of([0.0, 0.0], 2, deviation=1.0)
    state, _ = family.environment.reset(jnp.zeros(0, jnp.uint32), level)
    ends = [
        family.environment.step(jnp.full(1, w, jnp.uint32), level, state, jnp.int32(0))[1].reward for w in (0, 2**32 - 1)
    ]
    assert np.isfinite(ends).all() and ends[0] == -ends[1] and 5 < ends[1] < 6


@pytest.mark.parametrize("time", [True, False])
def test_the_last_pull_ends_the_episode(time):
    family, level = bernoulli_bandit(arms=2, pulls=(1, 3), time=time), level_of([0.5, 0.5], 2, pulls=3)
    state, _ = family.environment.reset(jnp.zeros(0, jnp.uint32), level)
    ends = []
    for _ in range(3):
        state, timestep = family.environment.step(jnp.zeros(1, jnp.uint32), level, state, jnp.int32(0))
        ends.append((bool(timestep.terminated), bool(timestep.truncated)))
    assert ends == [(False, False), (False, False), (time, not time)]


def test_worth_by_hand():
    family, level = gaussian_bandit(arms=3, pulls=(4, 4)), level_of([-0.5, 0.25, 0.0], 2, deviation=1.0, pulls=4)
    assert float(family.optimum(level)) == 1.0
    assert family.policy(level)(jnp.int32(0)).tolist() == [[0.0, 1.0, 0.0]]
    even = jnp.full((1, 3), 1 / 3, jnp.float32)  # arms 0, 1, 0 again
    np.testing.assert_allclose(family.value(level, lambda step: even), 4 * (-0.5 + 0.25 - 0.5) / 3, rtol=1e-6)
    turned = jnp.eye(3, dtype=jnp.float32)
    np.testing.assert_allclose(family.value(level, lambda step: turned[step % 2][None]), 2 * (-0.5 + 0.25), rtol=1e-6)
    assert not family.success(level_of([-0.5, -0.1, 0.0], 2), jnp.float32(10.0))  # unused arms are no way out


def test_levels_are_spread_over_their_ranges():
    family = gaussian_bandit(arms=5, fewest_arms=3, pulls=(10, 99), mean=(-2.0, 1.0), deviation=(0.01, 1.0))
    levels = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(jax.random.key(0), 3000))
    arms, pulls = np.asarray(levels.arms), np.asarray(levels.pulls)
    for number in (3, 4, 5):
        assert abs((arms == number).mean() - 1 / 3) < 5 * np.sqrt(2 / 9 / 3000)
    assert pulls.min() >= 10 and pulls.max() <= 99
    assert abs((pulls < np.sqrt(1000)).mean() - np.log10(3.2)) < 5 * np.sqrt(0.25 / 3000)
    logs = np.log10(np.asarray(levels.deviation))
    assert logs.min() >= -2.00001 and logs.max() <= 0 and abs(logs.mean() + 1) < 5 * logs.std() / np.sqrt(3000)
    first = np.asarray(levels.mean[:, 0])
    assert first.min() >= -2 and first.max() <= 1 and abs(first.mean() + 0.5) < 5 * first.std() / np.sqrt(3000)


def test_a_level_can_be_fixed_but_for_its_means():
    family = bernoulli_bandit(arms=4, fewest_arms=4)
    key = jax.random.key(0)
    edited = family.generator.mutate(key, family.generator.sample(key))
    assert int(edited.arms) == 4 and int(edited.pulls) == 20


def test_negative_bars():
    assert draw(level_of([-0.5, 0.5], 2, deviation=0.25)).splitlines()[0] == "arm 0  -0.500  ####################"
    assert gaussian_bandit(arms=2).image(level_of([-0.5, 0.5], 2), None).shape == (120, 48, 3)


@pytest.mark.parametrize("factory", [bernoulli_bandit, gaussian_bandit])
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"arms": 1}, "arms must be at least 2, got 1"),
        ({"fewest_arms": 1}, "fewest_arms must be between 2 and arms = 10, got 1"),
        ({"fewest_arms": 11}, "fewest_arms must be between 2 and arms = 10, got 11"),
        ({"pulls": (0, 20)}, "pulls must be"),
        ({"pulls": (20, 10)}, "pulls must be"),
        ({"mean": (0.5, 0.25)}, "mean must be"),
    ],
)
def test_bad_arguments_are_named(factory, arguments, message):
    with pytest.raises(ValueError, match=message):
        factory(**arguments)


def test_bad_arguments_of_one_kind():
    with pytest.raises(ValueError, match=r"mean must be .* within \[0.0, 1.0\]"):
        bernoulli_bandit(mean=(-0.5, 1.0))
    with pytest.raises(ValueError, match="deviation must be"):
        gaussian_bandit(deviation=(0.0, 1.0))
