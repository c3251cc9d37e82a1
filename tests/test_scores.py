"""Regrets: by hand, and against themselves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import BANDIT, FAMILIES, antagonist, rule_of, sample

from groove.base import Outcome, Signals
from groove.lifetime import Lifetime, exact, lifetime
from groove.rules import random_policy
from groove.scores import (
    Antagonist,
    algorithmic_regret,
    exact_regret,
    l1_value_loss,
    learnability,
    learning_progress,
    maximum_monte_carlo,
    normalised_regret,
    positive_value_loss,
)


def outcome(value):
    return Outcome(jnp.float32(value), jnp.float32(0))


def reference(reached, baseline=0.0):
    return Antagonist(jnp.float32(reached), jnp.float32(0), jnp.float32(baseline))


def scripted(returns) -> Lifetime:
    """A life whose agent is drawn by its key from `returns`, and is measured as what it is."""
    values = jnp.asarray(returns, jnp.float32)

    def live(key, theta, level, lifetime):
        return values[jax.random.randint(key, (), 0, values.size)]

    def evaluate(key, agent, level, wanted):
        return Outcome(jnp.float32(-2) if isinstance(agent, tuple) else agent, jnp.float32(0))

    return Lifetime(None, None, None, live, evaluate)


def test_regret_is_raw():
    """Neither clipped nor normalised."""
    score = algorithmic_regret(antagonist()).score
    assert score(outcome(1.5), reference(4.0), ())[0] == 2.5
    assert score(outcome(6.0), reference(4.0), ())[0] == -2.0


def test_normalised_regret_by_hand():
    """(A - V) / max(A - random, 0.05 scale)."""
    score = normalised_regret(antagonist(), antagonist(), scale=10.0).score
    assert score(outcome(1.0), reference(4.0, baseline=2.0), ())[0] == 1.5  # 3 / 2
    assert score(outcome(1.0), reference(2.1, baseline=2.0), ())[0] == pytest.approx(2.2)  # 1.1 / 0.5, the floor
    assert score(outcome(1.0), reference(1.0, baseline=5.0), ())[0] == 0.0  # no sign is turned by a negative gap
    assert score(outcome(0.0), reference(1.0, baseline=5.0), ())[0] == 2.0  # 1 / 0.5


def test_learning_progress_by_hand():
    """A new task is compared with the random policy's return, -2 here, a known one with the last return."""
    score = learning_progress(scripted([0.0]))
    level = jax.tree.map(lambda leaf: leaf[0], sample(BANDIT, 1))
    before = score.reference(jax.random.key(0), level, jnp.int32(1))
    first, memory = score.score(outcome(1.5), before, score.memory)
    second, memory = score.score(outcome(0.5), before, memory)
    assert (first, second, memory.last) == (3.5, 1.0, 0.5) and memory.visited


def test_scores_of_signals_by_hand():
    seen = Outcome(jnp.float32(1), jnp.float32(0), Signals(*map(jnp.float32, (4.0, 0.25, 1.5, 3.0, 2.0))))
    assert l1_value_loss().score(seen, (), ())[0] == 3.0
    assert positive_value_loss().score(seen, (), ())[0] == 2.0
    assert learnability().score(seen, (), ())[0] == 0.1875
    score = maximum_monte_carlo()
    first, memory = score.score(seen, (), score.memory)
    worse = seen._replace(signals=seen.signals._replace(highest=jnp.float32(-1)))
    second, memory = score.score(worse, (), memory)
    assert (first, second, memory) == (2.5, 2.5, 4.0)  # the best return ever counts


def test_scores_say_what_they_need():
    with pytest.raises(ValueError, match=r"needs outcomes with signals.*groove\.lifetime\.signals"):
        learnability().score(outcome(1.0), (), ())


def test_a_learned_rule_can_be_the_antagonist():
    """What reaches the life is its theta."""
    life = scripted([0.0])._replace(live=lambda key, theta, level, lifetime: jnp.float32(theta))
    level = jax.tree.map(lambda leaf: leaf[0], sample(BANDIT, 1))
    score = algorithmic_regret(life, theta=jnp.float32(2.5))
    assert score.reference(jax.random.key(0), level, jnp.int32(1)).episode_return == 2.5


def test_references_average_over_agents():
    """Two of them reach 1 or 5 each, as their keys say: means 1, 3 and 5, standard errors 0 or 2, the baseline -2."""
    level = jax.tree.map(lambda leaf: leaf[0], sample(BANDIT, 1))
    score = normalised_regret(scripted([1.0, 5.0]), scripted([0.0]), agents=2)
    found = [score.reference(jax.random.key(seed), level, jnp.int32(1)) for seed in range(20)]
    pairs = {(float(r.episode_return), float(r.standard_error)) for r in found}
    assert pairs == {(1.0, 0.0), (5.0, 0.0), (3.0, 2.0)}  # deviation sqrt(8) with n - 1, over sqrt(2)
    assert {float(r.baseline) for r in found} == {-2.0}
    single = algorithmic_regret(scripted([1.0, 5.0]), agents=1).reference(jax.random.key(0), level, jnp.int32(1))
    assert single.standard_error == 0


def test_references_depend_on_the_lifetime():
    """An antagonist that lives longer reaches more: 40 updates against none, over 32 bandits."""
    score = algorithmic_regret(antagonist(exactly=True), agents=1)
    reach = jax.jit(jax.vmap(score.reference, (0, 0, None)))
    keys, levels = jax.random.split(jax.random.key(0), 32), sample(BANDIT, 32)
    long, none = (np.asarray(reach(keys, levels, jnp.int32(n)).episode_return) for n in (40, 0))
    gain = long - none
    assert gain.mean() > 5 * gain.std(ddof=1) / np.sqrt(32)


def test_regret_against_itself_is_zero():
    """A2C's, learning as the antagonist does: the mean over 400 bandits lies within 5 standard errors of 0."""
    count = 400
    life = antagonist(exactly=True)
    score = algorithmic_regret(life, agents=2)

    @jax.jit
    def regrets(keys, levels):
        def one(key, level):
            reference_key, life_key, measure_key = jax.random.split(key, 3)
            agent = life.live(life_key, (), level, jnp.int32(10))
            result = life.evaluate(measure_key, agent, level, jnp.bool_(True))
            return score.score(result, score.reference(reference_key, level, jnp.int32(10)), ())[0]

        return jax.vmap(one)(keys, levels)

    got = np.asarray(regrets(jax.random.split(jax.random.key(0), count), sample(BANDIT, count)))
    error = got.std(ddof=1) / np.sqrt(count)
    assert error > 0.01  # agents differ, or nothing is tested
    assert abs(got.mean()) < 5 * error


@functools.cache
def exact_regrets(name, trained):
    """Of four agents of each of A2C and the random policy on four levels of a family, by exact values."""
    family = FAMILIES[name]
    spec = family.environment.spec
    rule = rule_of({"gridworld": "a2c", "bernoulli-bandit": "a2c-bandit"}[name]) if trained else random_policy(spec)
    life = lifetime(
        rule, family.environment, steps=5, environments=3, evaluate=exact(rule, family.environment, family.value)
    )
    score = exact_regret(family.optimum)

    def one(key, level):
        agent = life.live(key, (), level, jnp.int32(20))
        result = life.evaluate(key, agent, level, jnp.bool_(True))
        return score.score(result, score.reference(key, level, jnp.int32(20)), ())[0]

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 16), sample(family, 16, seed=2)))


@pytest.mark.parametrize("name", ["gridworld", "bernoulli-bandit"])
def test_exact_regret_is_never_negative(name):
    """Of nobody: sums over at most 12 steps of rewards below 1 round by at most 12 * 2^-24 each way."""
    trained, random = exact_regrets(name, True), exact_regrets(name, False)
    assert (trained > -1e-5).all() and (random > -1e-5).all()
    assert random.mean() > max(0.05, trained.mean())


def test_bad_arguments():
    with pytest.raises(ValueError, match="agents must be at least 1, got 0"):
        algorithmic_regret(antagonist(), agents=0)
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="scale must be positive"):
            normalised_regret(antagonist(), antagonist(), scale=scale)
