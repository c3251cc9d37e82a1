"""Delayed chains: what is paid when, what is seen, how levels are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.lifetime import lifetime
from groove.nets import agents
from groove.rules import a2c
from levels.base import words
from levels.chain import ChainLevel, chain, chain_distractors, draw


def level_of(length, good, noise=0.0):
    return ChainLevel(np.int32(length), np.int32(good), np.float32(noise))


def walk(family, level, actions, seed=0):
    """Time steps [T + 1] of one episode, the reset's first."""
    spec, reset, step = family.environment

    @jax.jit
    def walked(key, level, actions):
        reset_key, step_key = jax.random.split(key)
        state, first = reset(words(reset_key, spec.reset_noise), level)
        data = words(step_key, actions.size, spec.noise), actions
        return first, jax.lax.scan(lambda state, data: step(data[0], level, state, data[1]), state, data)[1]

    first, rest = walked(jax.random.key(seed), level, np.asarray(actions, np.int32))
    return jax.tree.map(lambda one, more: np.concatenate([np.asarray(one)[None], more]), first, rest)


@pytest.mark.parametrize("good", [0, 1])
@pytest.mark.parametrize("first", [0, 1])
def test_only_the_first_action_matters_and_only_at_the_end(good, first):
    steps = walk(chain(), level_of(5, good), [first, 1 - first, 0, 1, 1 - first])
    assert steps.reward.tolist() == [0, 0, 0, 0, 0, 1 if first == good else -1]
    assert steps.terminated.tolist() == [False] * 5 + [True] and not steps.truncated.any()
    assert steps.observation.tolist() == [0, 1 + first, 3 + first, 5 + first, 7 + first, 9 + first]


def test_a_chain_of_one_step_pays_at_once():
    steps = walk(chain(length=(1, 1), noise=(1.0, 1.0)), level_of(1, 0, 1.0), [0])
    assert steps.reward.tolist() == [0, 1] and steps.terminated[1]


@pytest.mark.parametrize("time", [True, False])
def test_the_end_is_a_place_not_a_limit(time):
    steps = walk(chain(time=time), level_of(3, 0), [0, 0, 0])
    assert steps.terminated[-1] and not steps.truncated.any()


def test_rewards_on_the_way_have_random_signs_and_no_mean():
    length = 5000
    rewards = walk(chain(length=(5, length)), level_of(length, 1, 0.5), [1] * length).reward[1:-1]
    assert set(rewards) == {-0.5, 0.5} and abs(rewards.mean()) < 5 * 0.5 / np.sqrt(length)


def test_distractors_are_fair_bits_beside_two_that_mean_something():
    family, length = chain_distractors(distractors=40, length=(5, 2000)), 2000
    shown = walk(family, level_of(length, 0), [1] * length).observation
    assert shown.shape == (length + 1, 42) and shown.dtype == bool
    assert shown[:, 0].tolist() == [True] + [False] * length and shown[:, 1].tolist() == [False] + [True] * length
    assert (np.abs(shown[:, 2:].mean(axis=0) - 0.5) < 5 * 0.5 / np.sqrt(length)).all()
    assert len(np.unique(shown[:, 2:], axis=1).T) == 40


def test_worth_by_hand():
    family, level = chain(), level_of(6, 1, 1.0)
    table = np.full((61, 2), 0.5, np.float32)
    table[0] = [0.2, 0.8]
    np.testing.assert_allclose(
        jax.jit(lambda level: family.value(level, lambda step: jnp.asarray(table)))(level), 0.6, rtol=1e-6
    )
    both = jax.jit(lambda level: (family.optimum(level), family.value(level, family.policy(level))))
    assert [float(worth) for worth in both(level)] == [1.0, 1.0]


def test_levels_are_spread_over_their_ranges():
    sample = jax.jit(jax.vmap(chain(length=(5, 8)).generator.sample))
    levels = jax.tree.map(np.asarray, sample(jax.random.split(jax.random.key(0), 3000)))
    for length in (5, 6, 7, 8):
        assert abs((levels.length == length).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 3000)
    assert abs(levels.good.mean() - 0.5) < 5 * 0.5 / np.sqrt(3000)
    assert abs(levels.noise.mean() - 0.5) < 5 / np.sqrt(12 * 3000) and levels.noise.min() >= 0 and levels.noise.max() <= 1


def test_a_plain_chain_only_changes_what_varies():
    generator = chain(length=(4, 4), noise=(0.0, 0.0)).generator
    level = jax.jit(generator.sample)(jax.random.key(1))
    edited = jax.jit(generator.mutate)(jax.random.key(2), level)
    assert (int(edited.length), float(edited.noise), int(edited.good)) == (4, 0.0, 1 - int(level.good))


def test_pictures_show_the_end_and_the_agent():
    family, level = chain(), level_of(4, 0)
    without, begun = (
        family.image(level, None),
        family.image(level, family.environment.reset(words(jax.random.key(0), 0), level)[0]),
    )
    assert without.shape == begun.shape == (36, 60, 3)
    assert without[0, -1].tolist() == [24, 110, 60] and begun[18, 0].tolist() == [40, 90, 200]
    assert draw(level_of(99, 0)).splitlines()[0].endswith(" . .. +1")


def test_an_agent_learns_a_chain():
    family, level = chain(length=(6, 6)), level_of(6, 1)
    rule = a2c(family.environment.spec, agents.tabular(actor_rate=5.0, critic_rate=0.5))
    life = lifetime(rule, family.environment, steps=12, environments=8)
    agent = jax.jit(life.live)(jax.random.key(0), (), level, np.int32(60))
    logits = np.asarray(jax.jit(rule.policy)(agent, np.int32(0), np.float32(0)))
    assert logits[1] - logits[0] > np.log(9)


@pytest.mark.parametrize("factory", [chain, chain_distractors])
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"length": (0, 5)}, "length must be an increasing pair"),
        ({"length": (6, 5)}, "length must be an increasing pair"),
        ({"noise": (-0.5, 1.0)}, "noise must be an increasing pair"),
    ],
)
def test_bad_arguments_are_named(factory, arguments, message):
    with pytest.raises(ValueError, match=message):
        factory(**arguments)


def test_no_distractors_are_refused():
    with pytest.raises(ValueError, match="distractors must be at least 1 bit, got 0"):
        chain_distractors(distractors=0)
