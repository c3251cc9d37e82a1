"""What scores ask of agents: values, advantages and successes, by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import FAMILIES, rule_of, sample

from groove.base import UpdateRule
from groove.lifetime import exact, lifetime
from groove.lifetime.signals import Watched, observed, watched
from groove.nets import agents
from groove.nets.critic import Critic, critic
from levels.bandit import gaussian_bandit
from levels.base import Discrete, Environment, Spec, TimeStep

BANDIT = FAMILIES["bernoulli-bandit"]


def corridor(*, truncates: bool, limit: int = 7) -> Environment:
    """Three steps with rewards 1, 2 and 4 times the level; the last one ends the episode."""

    def show(place, reward):
        done = place >= 3
        yes, no = done & ~jnp.bool_(truncates), done & jnp.bool_(truncates)
        return place, TimeStep(place, 0.001 * place.astype(jnp.float32), jnp.asarray(reward, jnp.float32), yes, no)

    spec = Spec(Discrete(4), time=False, actions=2, episode_limit=limit, noise=0, reset_noise=0)
    return Environment(
        spec,
        reset=lambda noise, level: show(jnp.int32(0), 0.0),
        step=lambda noise, level, state, action: show(state + 1, level * 2.0 ** state.astype(jnp.float32)),
    )


VALUES = jnp.array([5.0, 1.0, 8.0, 6.0])
WATCHER = Critic(
    init=lambda key: VALUES,
    advantage=lambda learner, rollout: (rollout.reward, rollout.reward),
    update=lambda learner, rollout, target: (learner + 1, jnp.float32(0)),
    value=lambda learner, observation, time: learner[observation],
)
STILL = UpdateRule(
    init=lambda key: (),
    init_agent=lambda key: jnp.zeros(()),
    policy=lambda agent, observation, time: jnp.zeros(2),
    update=lambda key, theta, agent, rollout, clock: (agent + 1, {}),
    diagnose=lambda agent, rollout: {"entropy": jnp.zeros(())},
)


def measured(*, truncates=False, level=1.0, limit=7, **options):
    rule = watched(STILL, WATCHER)
    options = {"episodes": 2, "block": 2, "gamma": 0.5, "lambda_": 1.0} | options
    evaluate = observed(rule, corridor(truncates=truncates, limit=limit), WATCHER, **options)
    return evaluate(jax.random.key(0), rule.init_agent(jax.random.key(1)), jnp.float32(level), jnp.bool_(True))


def test_advantages_by_hand():
    """G = 1 + (2 + 4/2)/2 = 3, 4, 4 against V = 5, 1, 8: A = -2, 3, -4; what follows the end counts nothing."""
    got = measured()
    assert got.episode_return == 7 and got.standard_error == 0 and got.signals.highest == 7
    assert got.signals.value == pytest.approx(14 / 3)
    assert got.signals.advantage_size == pytest.approx(3.0) and got.signals.advantage_gain == pytest.approx(1.0)


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_the_last_block_counts_however_much_of_it_is_played(block):
    """Of episodes as long as their limit, three steps."""
    got = measured(limit=3, block=block)
    assert got.episode_return == 7 and got.signals.value == pytest.approx(14 / 3)
    assert got.signals.advantage_size == pytest.approx(3.0) and got.signals.advantage_gain == pytest.approx(1.0)


def test_a_truncated_episode_bootstraps():
    """The last step leads on to V = 6: G = 1 + (2 + 7/2)/2 = 3.75, 5.5, 7 and A = -1.25, 4.5, -1."""
    got = measured(truncates=True).signals
    assert got.advantage_size == pytest.approx(6.75 / 3) and got.advantage_gain == pytest.approx(1.5)


def test_success_is_a_share_of_episodes():
    assert measured().signals.success == 0  # nobody says what success is
    assert measured(success=lambda level, total: total >= 7 * level).signals.success == 1
    assert measured(success=lambda level, total: total > 7 * level).signals.success == 0


def test_the_error_is_that_of_a_mean_over_episodes():
    """Of two returns it is half their distance, which is what the higher one exceeds the mean by."""
    rule, world = watched(STILL, WATCHER), gaussian_bandit(arms=2, pulls=(3, 3))
    evaluate = observed(rule, world.environment, WATCHER, episodes=2, block=2)
    level = world.generator.sample(jax.random.key(1))
    got = jax.jit(evaluate)(jax.random.key(0), rule.init_agent(jax.random.key(1)), level, jnp.bool_(True))
    beyond = float(got.signals.highest - got.episode_return)
    assert beyond > 0.1 and got.standard_error == pytest.approx(beyond, rel=1e-4)


def test_another_measure_says_the_return():
    def measure(key, agent, level, wanted):
        return measured()._replace(episode_return=jnp.float32(-3), signals=())

    got = measured(measure=measure)
    assert got.episode_return == -3 and got.signals.highest == 7


def test_an_agent_that_is_not_wanted_is_not_played():
    rule = watched(STILL, WATCHER)
    evaluate = observed(rule, corridor(truncates=False), WATCHER)
    got = evaluate(jax.random.key(0), rule.init_agent(jax.random.key(1)), jnp.float32(1), jnp.bool_(False))
    assert got.signals.highest == 0 and got.signals.advantage_size == 0


def test_watching_changes_nothing():
    """Of an agent's half of the key the same agent comes, bit for bit; and the watcher, born of the other, has learned."""
    spec, level = BANDIT.environment.spec, jax.tree.map(lambda leaf: leaf[0], sample(BANDIT, 1))
    rule, value = rule_of("a2c-bandit"), critic(spec, agents.tabular(critic_rate=0.5))
    halved = rule._replace(init_agent=lambda key: rule.init_agent(jax.random.split(key)[0]))
    lives = [lifetime(r, BANDIT.environment, steps=5, environments=3) for r in (halved, watched(rule, value))]
    plain, seen = (jax.jit(life.live)(jax.random.key(3), (), level, jnp.int32(6)) for life in lives)
    assert isinstance(seen, Watched)
    chex.assert_trees_all_equal(plain, seen.agent)
    untrained = jax.jit(watched(rule, value).init_agent)(jax.random.key(3))
    assert not np.array_equal(*(learner.parameters["table"] for learner in (untrained.agent.critic, untrained.critic)))
    before, after = (jax.tree.leaves(learner.parameters) for learner in (untrained.critic, seen.critic))
    assert all(np.any(a != b) for a, b in zip(before, after, strict=True))


def test_observed_agrees_with_other_measures():
    """Sampled returns of many episodes against the exact one."""
    spec, level = BANDIT.environment.spec, jax.tree.map(lambda leaf: leaf[0], sample(BANDIT, 1))
    value = critic(spec, agents.tabular())
    rule = watched(rule_of("a2c-bandit"), value)
    evaluate = jax.jit(observed(rule, BANDIT.environment, value, episodes=2000, success=BANDIT.success))
    agent, yes = rule.init_agent(jax.random.key(0)), jnp.bool_(True)
    got = evaluate(jax.random.key(1), agent, level, yes)
    want = exact(rule, BANDIT.environment, BANDIT.value)(jax.random.key(1), agent, level, yes)
    assert abs(got.episode_return - want.episode_return) < 5 * got.standard_error
    assert got.signals.highest >= got.episode_return and 0 <= got.signals.success <= 1


def test_episodes_must_be_positive():
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        observed(STILL, corridor(truncates=False), WATCHER, episodes=0)
