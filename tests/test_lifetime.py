"""Lives: what a rollout records, who is reset, how agents act and how they are measured."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import FAMILIES, life_of, rule_of, sample

from groove.base import UpdateRule
from groove.lifetime import act, exact, lifetime, sampled
from groove.nets.critic import advantages
from levels.base import words
from levels.gridworld import Thing, grid_level, gridworld

BLIND = gridworld(height=3, width=3, objects=1, episode_limit=4, time=False)
# Four steps at most; the only object, two steps away, ends the episode for sure when it is reached in time.
LEVEL = grid_level([[False] * 3] * 3, [Thing((1, 1), 0, 1.0, 1.0, 0.5)], start=(0, 0), limit=4)


def fixed(spec) -> UpdateRule:
    """A rule whose agents are tables of logits that never change."""
    return UpdateRule(
        init=lambda key: (),
        init_agent=lambda key: jax.random.normal(key, (spec.observation.n, spec.actions)),
        policy=lambda agent, observation, time: agent[observation],
        update=lambda key, theta, agent, rollout, clock: (agent, {}),
        diagnose=lambda agent, rollout: {"entropy": jnp.float32(0)},
    )


def recorded(environments=40, steps=12):
    rule = fixed(BLIND.environment.spec)
    life = lifetime(rule, BLIND.environment, steps=steps, environments=environments)

    @jax.jit
    def play(key):
        begin_key, *keys = jax.random.split(key, 3)
        start = life.begin(begin_key, LEVEL, jnp.int32(3))
        middle, first = life.rollout(keys[0], start, LEVEL)
        return first, life.rollout(keys[1], middle, LEVEL)[1]

    return jax.tree.map(np.asarray, play(jax.random.key(0)))


def test_a_rollout_keeps_what_was_before_the_reset():
    """Each next observation is the following row, but where an episode ended: there it is the episode's last state."""
    first, second = recorded()
    both = type(first)(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))  # lives go on across rollouts
    ended = both.ended[:-1]
    assert both.terminated.any() and both.truncated.any() and not (both.terminated & both.truncated).any()
    np.testing.assert_array_equal(both.next_observation[:-1][~ended], both.observation[1:][~ended])
    np.testing.assert_array_equal(both.next_time[:-1][~ended], both.time[1:][~ended])
    start = int(LEVEL.start) + 9  # the object exists
    assert (both.observation[1:][ended] == start).all() and (both.time[1:][ended] == 0).all()
    truncated = both.truncated[:-1]
    assert (both.next_observation[:-1][truncated] != both.observation[1:][truncated]).any()
    np.testing.assert_allclose(both.next_time[:-1][truncated], 0.004)
    assert (both.reward[both.terminated] == 1).all() and (both.reward[~both.terminated] == 0).all()


def test_only_ended_environments_are_reset():
    """Episodes of four steps, or fewer where the object was reached: each environment has its own clock."""
    first, _ = recorded()
    step = np.zeros(40, int)
    for t in range(12):
        np.testing.assert_allclose(first.time[t], step * 0.001, atol=1e-9)
        step = np.where(first.ended[t], 0, step + 1)
    assert len({tuple(column) for column in first.ended.T}) > 3


def test_truncation_bootstraps_from_what_was_before_the_reset():
    """Value 1 at the start and 10 elsewhere, gamma 1, lambda 0: A = r + v(s') - v(s), with s' the last state."""
    first, _ = recorded()
    start = int(LEVEL.start) + 9
    rollout = jax.tree.map(jnp.asarray, first)
    value, next_value = (jnp.where(x == start, 1.0, 10.0) for x in (rollout.observation, rollout.next_observation))
    got = np.asarray(advantages(rollout, value, next_value, gamma=1.0, lambda_=0.0))
    away = first.truncated & (first.next_observation != start)
    assert away.any()
    np.testing.assert_allclose(got[away], 10.0 - np.asarray(value)[away], atol=1e-6)
    np.testing.assert_allclose(got[first.terminated], 1.0 - np.asarray(value)[first.terminated], atol=1e-6)


def test_lives_of_different_length_in_one_batch():
    """Each is as long as it should be, and what it would have been alone."""
    life = life_of("a2c-bandit")
    levels = sample(FAMILIES["bernoulli-bandit"], 3)
    keys, lifetimes = jax.random.split(jax.random.key(0), 3), jnp.array([1, 4, 7], jnp.int32)
    together = jax.jit(jax.vmap(life.live, (0, None, 0, 0)))(keys, (), levels, lifetimes)
    live, begin, update = jax.jit(life.live), jax.jit(life.begin), jax.jit(life.update)
    for i, updates in enumerate(lifetimes.tolist()):
        level = jax.tree.map(lambda leaf, i=i: leaf[i], levels)
        alone = live(keys[i], (), level, lifetimes[i])
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone, rtol=1e-4, atol=1e-5)
        begin_key, life_key = jax.random.split(keys[i])
        member = begin(begin_key, level, lifetimes[i])
        for n in range(updates):
            member, _, _ = update(jax.random.fold_in(life_key, n), (), member, level)
        assert member.clock.update == updates
        chex.assert_trees_all_close(member.agent, alone, rtol=1e-4, atol=1e-5)


def test_actions_follow_the_policy():
    logits = jnp.log(jnp.array([0.5, 0.01, 0.0, 0.29, 0.2]))
    count = 100_000
    actions = jax.vmap(act, (0, None))(words(jax.random.key(0), count), logits)
    frequency = jnp.bincount(actions, length=5) / count
    want = jax.nn.softmax(logits)
    assert bool(jnp.all(jnp.abs(frequency - want) <= 5 * jnp.sqrt(want * (1 - want) / count)))
    assert actions.dtype == jnp.int32


def test_actions_at_the_ends_of_the_words():
    """The lowest word takes the first action that can be, the highest the last, and none beyond."""
    ends = jnp.array([0, 2**32 - 1], jnp.uint32)
    assert jax.vmap(act, (0, None))(ends, jnp.zeros(7)).tolist() == [0, 6]
    assert jax.vmap(act, (0, None))(ends, jnp.array([-jnp.inf, 0.0, 0.0])).tolist() == [1, 2]
    assert jax.vmap(act, (0, None))(ends, jnp.array([0.0])).tolist() == [0, 0]
    many = jax.random.normal(jax.random.key(0), (1000, 50))  # some sum to less than the highest number
    assert set(jax.vmap(act, (None, 0))(ends[1], many).tolist()) == {49}


@pytest.mark.parametrize("name", ["gridworld", "gridworld-blind-oblong", "bernoulli-bandit", "gaussian-bandit"])
def test_exact_and_sampled_measures_agree(name):
    """Of random agents on random levels, within 5 of the sampled one's own standard errors."""
    family = FAMILIES[name]
    rule = fixed(family.environment.spec)
    levels, keys = sample(family, 6, seed=3), jax.random.split(jax.random.key(1), 6)
    agents = jax.vmap(rule.init_agent)(keys)
    everyone = jnp.ones(6, bool)
    by_episodes = jax.jit(jax.vmap(sampled(rule, family.environment, episodes=2000)))(keys, agents, levels, everyone)
    exactly = jax.jit(jax.vmap(exact(rule, family.environment, family.value)))(keys, agents, levels, everyone)
    error = np.asarray(by_episodes.standard_error)
    assert (error > 0).sum() >= 4 and not exactly.standard_error.any()  # on some levels nothing can be reached
    assert (np.abs(by_episodes.episode_return - exactly.episode_return) < 5 * error + 1e-6).all()


def test_episodes_are_measured_whole():
    """A reward of 1 for each pull: whatever the block of words, the return is the number of pulls."""
    family = FAMILIES["bernoulli-bandit"]
    rule = fixed(family.environment.spec)
    levels = sample(family, 8)
    levels = levels._replace(mean=jnp.ones_like(levels.mean))
    agents = jnp.zeros((8, 1, 3))
    for block in (1, 4, 25):
        measure = jax.jit(jax.vmap(sampled(rule, family.environment, episodes=3, block=block)))
        outcome = measure(jax.random.split(jax.random.key(0), 8), agents, levels, jnp.ones(8, bool))
        np.testing.assert_array_equal(outcome.episode_return, levels.pulls)
        assert not outcome.standard_error.any()


def test_the_standard_error_is_that_of_the_mean():
    """Bernoulli(1/2), one pull: deviation 1/2, so over 400 episodes 1/40, within a few percent."""
    family = FAMILIES["bernoulli-bandit"]
    level = jax.tree.map(lambda leaf: leaf[0], sample(family, 1))
    level = level._replace(mean=jnp.full(3, 0.5), pulls=jnp.int32(1))
    measure = jax.jit(sampled(fixed(family.environment.spec), family.environment, episodes=400))
    outcome = measure(jax.random.key(0), jnp.zeros((1, 3)), level, jnp.bool_(True))
    np.testing.assert_allclose(outcome.standard_error, 1 / 40, rtol=0.05)
    assert abs(outcome.episode_return - 0.5) < 5 / 40
    single = sampled(fixed(family.environment.spec), family.environment, episodes=1)
    assert single(jax.random.key(0), jnp.zeros((1, 3)), level, jnp.bool_(True)).standard_error == 0


@pytest.mark.parametrize("exactly", [False, True], ids=["sampled", "exact"])
def test_members_that_are_not_wanted_do_no_harm(exactly):
    """Their outcomes are finite; those of the others are what they are without them, whoever is wanted."""
    family = FAMILIES["gridworld"]
    rule = rule_of("a2c")
    measure = exact(rule, family.environment, family.value) if exactly else sampled(rule, family.environment)
    levels, keys = sample(family, 4), jax.random.split(jax.random.key(1), 4)
    agents = jax.vmap(rule.init_agent)(keys)
    batched = jax.jit(jax.vmap(measure))
    everyone = batched(keys, agents, levels, jnp.ones(4, bool))
    some = batched(keys, agents, levels, jnp.array([True, False, True, False]))
    nobody = batched(keys, agents, levels, jnp.zeros(4, bool))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((some, nobody)))
    chex.assert_trees_all_equal(*(jax.tree.map(lambda leaf: leaf[::2], outcome) for outcome in (everyone, some)))


@pytest.mark.parametrize("sizes", [{"steps": 0}, {"environments": 0}])
def test_bad_arguments(sizes):
    with pytest.raises(ValueError, match="steps and environments must be at least 1"):
        lifetime(rule_of("a2c"), FAMILIES["gridworld"].environment, **sizes)
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        sampled(rule_of("a2c"), FAMILIES["gridworld"].environment, episodes=0)
