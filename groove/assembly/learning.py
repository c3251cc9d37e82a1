"""Meta-optimisers as a configuration names them."""

from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import optax

from groove import curricula, scores
from groove.base import MetaOptimizer, Task, Theta, UpdateRule
from groove.base.ranges import Number, is_concrete
from groove.config import DEEP_GA, Config, population, whole_lives
from groove.lifetime import Lifetime
from groove.meta import (
    FamilySetup,
    Weights,
    adam,
    deep_ga,
    evolution,
    final_return,
    gradient,
    mean_reward,
    noise_reuse_es,
    novelty_search,
    persistent_es,
    probes,
    ranks,
    raw,
    strategies,
    truncated,
    truncated_es,
)
from levels.base import Family

PROBE_SEED = 60_521
"""Of the tasks that novelty search compares rules on."""


class Played(Protocol):
    """A family of a run, as far as meta-optimisers know it."""

    @property
    def family(self) -> Family:
        """What is played."""

    @property
    def rule(self) -> UpdateRule:
        """Who learns."""

    @property
    def life(self) -> Lifetime:
        """How."""

    @property
    def setup(self) -> FamilySetup:
        """What a meta-gradient needs of it."""


def meta_optimizer(config: Config, parts: Sequence[Played]) -> MetaOptimizer:
    """The meta-optimiser that a configuration names, over the families of its run."""
    if config.meta.method == "gradient":
        return _gradient(config, parts)
    settings = config.evolution
    lives = tuple(part.life for part in parts)
    theta = jax.eval_shape(parts[0].rule.init, jax.random.key(0))
    adam = strategies.decaying_adam(settings.rate, decay=settings.decay, floor=settings.floor)
    if whole_lives(config):
        return evolution(
            lives,
            _strategy(config, parts, theta, adam),
            fitness=final_return if settings.fitness == "return" else mean_reward,
            shaping=ranks if settings.shaping == "ranks" else raw,
            block=settings.block,
        )
    return truncated(
        lives,
        adam,
        theta,
        sigma=settings.sigma,
        updates=config.meta.updates,
        credit={"persistent": persistent_es, "noise-reuse": noise_reuse_es, "truncated": truncated_es}[settings.lives],
        final=settings.fitness == "return",
        block=settings.block,
    )


def _gradient(config: Config, parts: Sequence[Played]) -> MetaOptimizer:
    settings = config.meta
    return gradient(
        tuple(part.setup for part in parts),
        adam(settings.rate, clip=_limit(settings.clip), decay_steps=config.meta_steps if settings.decay else None),
        updates=settings.updates,
        weights=Weights(settings.entropy, settings.prediction_entropy, settings.policy_target, settings.prediction_target),
        per_life=settings.per_life,
        fading=settings.fading,
        member_clip=_limit(settings.member_clip),
        rematerialise=settings.rematerialise,
        block=settings.block or None,
        reproducible=config.reproducible,
    )


def _limit(clip: Number) -> Number | None:
    """The largest norm of a meta-gradient that a configuration allows: any, where it says 0."""
    return clip or None if is_concrete(clip) else jnp.where(clip > 0, clip, jnp.inf)


def _strategy(
    config: Config, parts: Sequence[Played], theta: Theta, optimizer: optax.GradientTransformation
) -> strategies.Strategy:
    settings, size = config.evolution, population(config)
    if settings.strategy == DEEP_GA:
        strategy = deep_ga(population=size, parents=settings.parents, sigma=settings.sigma)
    else:
        strategy = strategies.named(settings.strategy, theta, population=size, sigma=settings.sigma, optimizer=optimizer)
    if not settings.novelty:
        return strategy
    with jax.ensure_compile_time_eval():  # no traced number has a part in these
        life_key, *keys = jax.random.split(jax.random.key(PROBE_SEED), 1 + len(parts))
        tasks = tuple(probe_tasks(config, part.family, key) for part, key in zip(parts, keys, strict=True))
        scales = tuple(_scale(part.family, own) for part, own in zip(parts, tasks, strict=True))
    lives, kinds = tuple(part.life for part in parts), tuple(part.rule for part in parts)
    behaviour = probes(lives, tasks, life_key, rules=kinds, scales=scales)
    return novelty_search(
        strategy, behaviour, weight=settings.novelty, neighbours=min(10, size - 1), block=min(2 * settings.block, size)
    )


def _scale(kind: Family, tasks: Task) -> float:
    """What counts as much in a family's returns: the mean optimum of the tasks where it is known, else 1."""
    if kind.optimum is None:
        return 1.0
    return max(float(jnp.mean(jax.lax.map(kind.optimum, tasks.level))), 1e-3)


def probe_tasks(config: Config, kind: Family, key: jax.Array) -> Task:
    """The fixed tasks of a family that novelty search compares rules on: the longest lives on levels of a key."""
    count = config.evolution.probes
    source = curricula.pool(
        kind.generator, scores.uniform(), curricula.constant(config.life.updates[1]), size=count, block=count
    )
    return source.take(source.init(key), jnp.ones(count, bool))[1]
