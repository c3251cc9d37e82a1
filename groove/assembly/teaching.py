"""Scores and curricula as a configuration names them, and how their agents are measured."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import jax

from groove import curricula, rules, scores
from groove.assembly import plugged
from groove.base import Curriculum, Score, Source, Task, UpdateRule
from groove.config import ANTAGONISTS, CHOICES, MIXTURE, Config, is_file, whole_lives
from groove.curricula.buffer import RetentionScore, by_score
from groove.curricula.clutr import DIMENSIONS, Latent, clutr, decoder
from groove.lifetime import Evaluate, Lifetime, exact, lifetime, sampled
from groove.lifetime.signals import observed, watched
from groove.nets.critic import Critic
from levels.base import Family

Stored: TypeAlias = tuple[Task, jax.Array]
"""Tasks [size, ...] with references filled, and their scores f32[size]."""
SIGNALLED: Mapping[str, Callable[[], Score]] = MappingProxyType(
    {
        "l1-value-loss": scores.l1_value_loss,
        "positive-value-loss": scores.positive_value_loss,
        "max-mc": scores.maximum_monte_carlo,
        "learnability": scores.learnability,
    }
)
"""Scores that ask for signals, by name."""
DECODED = ("alp-gmm", "clutr")
"""Curricula that decode levels from vectors."""


def life_of(config: Config, kind: Family, rule: UpdateRule, evaluate: Evaluate | None = None) -> Lifetime:
    """How the agents of a rule live, and are measured: by `evaluate`, or as the configuration says."""
    return lifetime(
        rule,
        kind.environment,
        steps=config.life.steps,
        environments=config.life.environments,
        evaluate=evaluate or measure(config, kind, rule, exactly=config.curriculum.exact),
    )


def watch(config: Config, kind: Family, rule: UpdateRule, value: Critic) -> tuple[UpdateRule, Lifetime]:
    """The rule and its lives as the score needs them: where it asks for signals, agents are watched."""
    if not _signalled(config, kind):
        return rule, life_of(config, kind, rule)
    seen = watched(rule, value)
    evaluate = observed(
        seen,
        kind.environment,
        value,
        success=kind.success,
        episodes=config.curriculum.episodes,
        measure=measure(config, kind, seen, exactly=True) if config.curriculum.exact else None,
        gamma=config.life.gamma,
        lambda_=config.life.gae_lambda,
    )
    return seen, life_of(config, kind, seen, evaluate)


def _signalled(config: Config, kind: Family) -> bool:
    """Whether the score asks for signals; a plug-in does by reading them."""
    name = config.curriculum.score
    if name in CHOICES["curriculum", "score"]:
        return name in SIGNALLED
    return plugged.sees_signals(score_of(config, kind, rules.random_policy(kind.environment.spec)), kind)


def check_rules(config: Config, kind: Family, rule: UpdateRule, antagonist: UpdateRule) -> None:
    """Raises a ValueError that names the plug-in unless those rules that are plug-ins keep the contract of `groove.base`.

    Args:
        config: Of the run.
        kind: The family.
        rule: What is learned.
        antagonist: The antagonist's rule.
    """
    name, other = config.rule.kind, config.curriculum.antagonist
    if name not in CHOICES["rule", "kind"]:
        plugged.check_rule(name, rule, life_of(config, kind, rule), kind)
        if not jax.tree.leaves(jax.eval_shape(rule.init, jax.random.key(0))):
            raise ValueError(f"rule.kind must name a rule with parameters to learn, {name!r} has none.")
    if other not in ANTAGONISTS and not is_file(other):
        plugged.check_rule(other, antagonist, life_of(config, kind, antagonist), kind)


def measure(config: Config, kind: Family, rule: UpdateRule, *, exactly: bool) -> Evaluate:
    """How a rule's agents are measured: exactly where that is asked for and the family knows how, else by episodes."""
    if exactly and kind.value is not None:
        return exact(rule, kind.environment, kind.value)
    return sampled(rule, kind.environment, episodes=config.curriculum.episodes)


def score_of(config: Config, kind: Family, antagonist: UpdateRule) -> Score:
    """The score that a configuration names, for one family.

    Args:
        config: Of the run.
        kind: The family.
        antagonist: The antagonist's rule, whose `init` gives its theta whatever the key.

    Raises:
        ValueError: The family does not know what the score needs, or a plug-in is no score.
    """
    name, agents = config.curriculum.score, config.curriculum.antagonists
    if name not in CHOICES["curriculum", "score"]:
        return plugged.score(
            name, kind, plugged.bound(life_of(config, kind, antagonist), antagonist.init(jax.random.key(0)))
        )
    if name in SIGNALLED:
        if name == "learnability" and kind.success is None:
            raise ValueError(f"curriculum.score 'learnability' needs a family that says what success is, not {kind.name!r}.")
        return SIGNALLED[name]()
    if name == "exact-regret":
        if kind.optimum is None:
            raise ValueError(f"curriculum.score 'exact-regret' needs a known optimum, which {kind.name!r} lacks.")
        return scores.exact_regret(kind.optimum)
    if name == "uniform":
        return scores.uniform()
    random_policy = life_of(config, kind, rules.random_policy(kind.environment.spec))
    if name == "learning-progress":
        return scores.learning_progress(random_policy)
    life, theta = life_of(config, kind, antagonist), antagonist.init(jax.random.key(0))
    if name == "regret":
        return scores.algorithmic_regret(life, agents=agents, theta=theta)
    return scores.normalised_regret(life, random_policy, agents=agents, scale=kind.scale, theta=theta)


def curriculum_of(
    config: Config,
    kind: Family,
    score: Score,
    members: int,
    stored: Stored | None = None,
    found: Latent | None = None,
) -> Curriculum:
    """The curriculum that a configuration names, for one family of `members` lives at a time.

    Args:
        config: Of the run.
        kind: The family.
        score: Whose references new tasks have.
        members: Lives at a time.
        stored: The tasks of the file that it begins with. A frozen set without them is uniform.
        found: The autoencoder of CLUTR.

    Raises:
        ValueError: The configuration asks for CLUTR and there is no autoencoder.
    """
    settings = config.curriculum
    size, block = pool_size(config, members), max(8, members // 4)
    lifetimes = curricula.log_uniform(*config.life.updates)
    if settings.kind in DECODED:
        return _decoded(config, kind, score, size, block, found)
    source = curricula.pool(kind.generator, score, lifetimes, size=size, block=block)
    if settings.kind not in CHOICES["curriculum", "kind"]:
        return plugged.curriculum(settings.kind, source, kind, score, settings.capacity)
    if settings.kind == "frozen" and stored is not None:
        return curricula.frozen(stored[0])
    if settings.kind in ("uniform", "frozen"):
        return curricula.uniform(source)
    if settings.kind == "sfl":
        sweep = settings.sweep or 4 * settings.capacity
        return curricula.sfl(source, capacity=settings.capacity, sweep=sweep, select=settings.select, share=settings.replay)
    kept = _prioritised(config, kind, source)
    if stored is not None:
        kept = curricula.warm_start(kept, *stored)
    if settings.kind == "prioritised":
        return kept
    return curricula.accel(
        kept,
        kind.generator,
        score,
        rate=settings.edit,
        edits=settings.edits,
        size=size,
        block=block,
        priority=_priority(config),
        learn=not settings.robust,
    )


def _decoded(config: Config, kind: Family, score: Score, size: int, block: int, found: Latent | None) -> Curriculum:
    """Curricula that decode levels from vectors."""
    settings, lifetimes = config.curriculum, curricula.log_uniform(*config.life.updates)
    if settings.kind == "alp-gmm":
        return curricula.alp_gmm(
            kind.generator,
            score,
            lifetimes,
            size=size,
            block=block,
            window=settings.window,
            history=10 * settings.window,
            components=MIXTURE,
            explore=settings.explore,
        )
    if found is None:
        raise ValueError(f"curriculum.kind 'clutr' needs an autoencoder of levels of {kind.name!r}, got none.")
    decode = decoder(found, kind.generator)
    return clutr(decode, score, lifetimes, dimensions=DIMENSIONS, size=size, block=block, batch=settings.latent_batch)


def _prioritised(config: Config, kind: Family, source: Source) -> Curriculum:
    settings = config.curriculum
    worth: RetentionScore = by_score
    if settings.diversity:
        if kind.features is None:
            raise ValueError(f"curriculum.diversity needs a family with features, which {kind.name!r} lacks.")
        worth = curricula.diverse(kind.features, weight=settings.diversity)
    return curricula.prioritised(
        source,
        capacity=settings.capacity,
        replay=settings.replay,
        minimal_fill=settings.minimal_fill,
        staleness=settings.staleness,
        priority=_priority(config),
        replace=settings.replace,
        robust=settings.robust,
        worth=worth,
    )


def _priority(config: Config) -> curricula.Priority:
    kinds = {"rank": curricula.rank, "proportional": curricula.proportional}
    return kinds[config.curriculum.priority](config.curriculum.temperature)


def pool_size(config: Config, members: int) -> int:
    """The most tasks that a chunk may take: every member starts as many lives as the shortest lifetime lets it."""
    if whole_lives(config):
        return members * config.chunk
    steps_of_a_life = math.ceil(config.life.updates[0] / config.meta.updates)
    return members * math.ceil(config.chunk / steps_of_a_life)
