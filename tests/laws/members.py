"""Small members of every contract, which the law tests iterate over, and what they are run with."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from groove.base import Curriculum, Origin, Score, Source, Task, UpdateRule
from groove.curricula import (
    accel,
    alp_gmm,
    diverse,
    frozen,
    log_uniform,
    pool,
    prioritised,
    proportional,
    sfl,
    uniform,
)
from groove.curricula.clutr import clutr
from groove.lifetime import Lifetime, exact, lifetime
from groove.nets import agents, recurrent
from groove.rules import a2c, dpo, horizon, lpg, lpo, ppo, recurrent_targets
from groove.rules import random_policy as drifting
from groove.scores import (
    algorithmic_regret,
    exact_regret,
    l1_value_loss,
    learnability,
    learning_progress,
    maximum_monte_carlo,
    normalised_regret,
    positive_value_loss,
)
from groove.scores import uniform as indifferent
from levels.adapters.gymnax import from_gymnax
from levels.bandit import bernoulli_bandit, gaussian_bandit
from levels.base import Family, Level, Policy, Spec, words
from levels.base import uniform as unit
from levels.chain import chain, chain_distractors
from levels.gridworld import gridworld, planes

FAMILIES: dict[str, Family] = {
    "gridworld": gridworld(height=4, width=4, objects=2, episode_limit=12, limit=(3, 12), walls=3),
    "gridworld-blind-oblong": gridworld(
        height=3,
        width=5,
        objects=3,
        episode_limit=9,
        limit=(1, 9),
        time=False,
        side=(2, 5),
        square=False,
        respawn=(0.1, 0.9),
    ),
    "gridworld-planes": planes(height=4, width=4, objects=2, episode_limit=12, limit=(3, 12), respawn=(0.1, 0.9)),
    "gridworld-planes-scattered": planes(height=3, width=4, objects=2, episode_limit=6, limit=(3, 6), scatter=True),
    "bernoulli-bandit": bernoulli_bandit(arms=3, pulls=(2, 6)),
    "gaussian-bandit": gaussian_bandit(arms=4, pulls=(5, 5), time=False),
    "chain": chain(length=(2, 7)),
    "chain-distractors": chain_distractors(distractors=3, length=(1, 5)),
    "gymnax-cartpole": from_gymnax("CartPole-v1", ranges={"gravity": (8.0, 12.0), "max_steps_in_episode": (5, 15)}),
    "gymnax-frozenlake": from_gymnax("FrozenLake-misc", episode_limit=12),
    "gymnax-deepsea": from_gymnax("DeepSea-bsuite", time=True),
    "gymnax-spaceinvaders": from_gymnax("SpaceInvaders-MinAtar", episode_limit=8),
}


def sample(family: Family, count: int, seed: int = 0) -> Level:
    """That many levels of the family's generator, stacked."""
    return sampler(family.generator.sample)(jax.random.split(jax.random.key(seed), count))


@functools.cache
def sampler(function: Callable[[jax.Array], Level]) -> Callable[[jax.Array], Level]:
    """The compiled sampler of a batch."""
    return jax.jit(jax.vmap(function))


def rows(tree: Level, count: int) -> list[Level]:
    """The first members of a stacked tree."""
    tree = jax.tree.map(np.asarray, tree)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(count)]


def signature(tree: Level) -> list[tuple[str, tuple[int, ...], str, bool]]:
    """Path, shape, dtype and weakness of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [
        (jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)) for path, leaf in leaves
    ]


def returns(family: Family, level: Level, policy: Policy, key: jax.Array, episodes: int) -> jax.Array:
    """Undiscounted returns f32[episodes] of a level under a policy of discrete observations."""
    spec, reset, step = family.environment

    def episode(noise: jax.Array) -> jax.Array:
        def one(carry, word):
            state, timestep, total, running = carry
            odds = policy(state.step)[timestep.observation]
            action = jnp.sum(jnp.cumsum(odds)[:-1] <= unit(word[-1]), dtype=jnp.int32)
            state, timestep = step(word[:-1], level, state, action)
            total = total + jnp.where(running, timestep.reward, 0.0)
            return (state, timestep, total, running & ~(timestep.terminated | timestep.truncated)), None

        first = reset(jnp.zeros(spec.reset_noise, jnp.uint32), level)
        return jax.lax.scan(one, (*first, jnp.float32(0), jnp.bool_(True)), noise)[0][2]

    return jax.vmap(episode)(words(key, episodes, spec.episode_limit, spec.noise + 1))


def uniform_table(family: Family) -> np.ndarray:
    """The odds of a policy that takes every action alike, f32[steps, observations, actions]."""
    spec = family.environment.spec
    return np.full((spec.episode_limit, spec.observation.n, spec.actions), 1 / spec.actions, np.float32)


def random_table(family: Family, seed: int) -> np.ndarray:
    """Random odds in every step and state."""
    weight = np.exp(2 * np.random.default_rng(seed).standard_normal(uniform_table(family).shape, np.float32))
    return weight / weight.sum(axis=-1, keepdims=True)


class RuleMember(NamedTuple):
    """A rule and the family that its law tests run in."""

    make: Callable[[Spec], UpdateRule]
    family: str


def _lpg(cell: recurrent.Cell = recurrent.gru, **options) -> Callable[[Spec], UpdateRule]:
    small = agents.mlp(widths=(8,))
    targets = recurrent_targets(width=5, predictions=3, cell=cell)
    return lambda spec: lpg(
        spec, small if hasattr(spec.observation, "shape") else None, targets=targets, predictions=3, **options
    )


def _proximal(rule: Callable[..., UpdateRule], **options) -> Callable[[Spec], UpdateRule]:
    """Fifteen steps in three minibatches, twice: the first sees r = 1, where a drift is 0, the others do not."""
    tables = agents.tabular(actor_rate=5.0, critic_rate=0.5)
    images = agents.convolutional(channels=2, kernel=2, widths=(6,), rate=0.01)
    return lambda spec: rule(
        spec, images if hasattr(spec.observation, "shape") else tables, epochs=2, minibatches=3, **options
    )


RULES: dict[str, RuleMember] = {
    "a2c": RuleMember(a2c, "gridworld"),
    "a2c-bandit": RuleMember(lambda spec: a2c(spec, agents.tabular(actor_rate=1.0, critic_rate=0.5)), "bernoulli-bandit"),
    "a2c-mlp": RuleMember(lambda spec: a2c(spec, agents.mlp(widths=(8,))), "gridworld-planes"),
    "lpg-gru": RuleMember(_lpg(), "gridworld-blind-oblong"),
    "lpg-lstm": RuleMember(_lpg(recurrent.lstm), "gridworld"),
    "lpg-fraction-and-log": RuleMember(_lpg(horizon=horizon.fraction_and_log), "bernoulli-bandit"),
    "lpg-remaining-stopped": RuleMember(_lpg(horizon=horizon.remaining, stop_inputs=True), "gaussian-bandit"),
    "lpg-mlp": RuleMember(_lpg(horizon=horizon.fraction), "gridworld-planes"),
    "ppo": RuleMember(_proximal(ppo), "gridworld"),
    "dpo": RuleMember(_proximal(dpo), "gaussian-bandit"),
    "lpo": RuleMember(_proximal(lpo, width=6), "gridworld-blind-oblong"),
    "lpo-fraction": RuleMember(_proximal(lpo, width=6, horizon=horizon.fraction), "bernoulli-bandit"),
    "lpo-convolutional-from-ppo": RuleMember(
        _proximal(lpo, width=6, horizon=horizon.remaining, ppo_start=True), "gridworld-planes"
    ),
    "random": RuleMember(drifting, "gridworld"),
}


@functools.cache
def rule_of(name: str) -> UpdateRule:
    """A member of RULES, made for its family."""
    return RULES[name].make(FAMILIES[RULES[name].family].environment.spec)


@functools.cache
def life_of(name: str) -> Lifetime:
    """How its agents live: updates from 5 steps in 3 environments."""
    return lifetime(rule_of(name), FAMILIES[RULES[name].family].environment, steps=5, environments=3)


BANDIT = FAMILIES["bernoulli-bandit"]


@functools.cache
def antagonist(*, exactly: bool = False) -> Lifetime:
    """A2C on bandits, which the scores below compare with."""
    rule, environment = rule_of("a2c-bandit"), BANDIT.environment
    measure = exact(rule, environment, BANDIT.value) if exactly else None
    return lifetime(rule, environment, steps=5, environments=3, evaluate=measure)


SCORES: dict[str, Score] = {
    "uniform": indifferent(),
    "algorithmic-regret": algorithmic_regret(antagonist(), agents=2),
    "normalised-regret": normalised_regret(
        antagonist(), lifetime(drifting(BANDIT.environment.spec), BANDIT.environment), agents=1, scale=5.0
    ),
    "exact-regret": exact_regret(BANDIT.optimum),
    "learning-progress": learning_progress(lifetime(drifting(BANDIT.environment.spec), BANDIT.environment)),
    "l1-value-loss": l1_value_loss(),
    "positive-value-loss": positive_value_loss(),
    "maximum-monte-carlo": maximum_monte_carlo(),
    "learnability": learnability(),
}


def tasks(count: int, seed: int = 0, lifetimes: tuple[int, int] = (2, 9)) -> Task:
    """That many new tasks of the bandit family, stacked: references are (), memory counts from 0."""
    levels = sample(BANDIT, count, seed)
    minus = np.full(count, -1, np.int32)
    life = sampler(log_uniform(*lifetimes))(jax.random.split(jax.random.key(seed + 1), count))
    origin = Origin(
        minus, minus, np.arange(count, dtype=np.int32), minus, np.zeros((count, 0), np.float32), np.ones(count, bool)
    )
    return Task(levels, life, (), np.zeros(count, np.float32), origin)


REMEMBERING = indifferent()._replace(memory=jnp.zeros((), jnp.float32))
"""A score without references, with a memory."""


def source(size: int = 64, block: int = 32) -> Source:
    """A pool of bandit tasks without references, with a memory."""
    return pool(BANDIT.generator, REMEMBERING, log_uniform(2, 9), size=size, block=block)


CURRICULA: dict[str, Callable[[], Curriculum]] = {
    "uniform": lambda: uniform(source()),
    "frozen": lambda: frozen(tasks(11)),
    "frozen-smaller-than-the-batch": lambda: frozen(tasks(3)),
    "prioritised": lambda: prioritised(source(), capacity=24, minimal_fill=0.25),
    "prioritised-smaller-than-the-batch": lambda: prioritised(source(), capacity=3, minimal_fill=0.0, replay=0.9),
    "prioritised-robust": lambda: prioritised(source(), capacity=24, minimal_fill=0.25, robust=True),
    "prioritised-diverse": lambda: prioritised(
        source(), capacity=8, minimal_fill=0.25, worth=diverse(BANDIT.features, weight=0.5)
    ),
    "edited": lambda: accel(
        prioritised(source(), capacity=24, minimal_fill=0.25), BANDIT.generator, REMEMBERING, size=16, block=8
    ),
    "edited-robust": lambda: accel(
        prioritised(source(), capacity=8, minimal_fill=0.0, robust=True), BANDIT.generator, REMEMBERING, size=3, learn=False
    ),
    "selected": lambda: sfl(source(), capacity=6, sweep=12),
    "mixture": lambda: alp_gmm(
        BANDIT.generator, REMEMBERING, log_uniform(2, 9), size=64, window=12, history=16, components=3
    ),
    "latent": lambda: clutr(
        lambda point: BANDIT.generator.decode(jax.nn.sigmoid(point)),
        REMEMBERING,
        log_uniform(2, 9),
        dimensions=BANDIT.generator.dimensions,
        size=64,
        batch=12,
    ),
    "prioritised-without-duplicates": lambda: prioritised(
        source(), capacity=24, minimal_fill=0.25, priority=proportional(1.0), replace=False
    ),
}
