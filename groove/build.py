"""From a configuration to the parts of a run: the one place where names become objects."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from groove import agents, curricula, recurrent, rules, scores
from groove.agents import Architecture
from groove.base import Curriculum, MetaOptimizer, Score, Task, Theta, UpdateRule
from groove.config import DEEP_GA, GYMNAX, Bandits, Config, Grids, Gymnax, population, whole_lives
from groove.critic import critic
from groove.lifetime import Evaluate, Lifetime, exact, lifetime, sampled
from groove.meta import (
    Stage,
    Weights,
    adam,
    deep_ga,
    evolution,
    final_return,
    forgetful,
    gradient,
    mean_reward,
    noise_reuse,
    persistent,
    probes,
    ranks,
    raw,
    seeking,
    strategies,
    truncated,
)
from groove.rules import horizon
from groove.trainer import Class, Trainer, trainer
from levels import FAMILIES
from levels.base import Discrete, Family, Spec

HORIZONS: Mapping[str, horizon.Horizon] = MappingProxyType(
    {
        "none": horizon.none,
        "fraction": horizon.fraction,
        "fraction-and-log": horizon.fraction_and_log,
        "remaining": horizon.remaining,
    }
)
PROBE_SEED = 60_521
"""Of the tasks that novelty search compares rules on."""
CELLS: Mapping[str, recurrent.Cell] = MappingProxyType({"gru": recurrent.gru, "lstm": recurrent.lstm})


class Part(NamedTuple):
    """One family of a run, with all that lives on it."""

    family: Family
    rule: UpdateRule
    life: Lifetime
    antagonist: UpdateRule
    antagonist_life: Lifetime
    stage: Stage
    share: Class


class Run(NamedTuple):
    """A run, ready to compile."""

    config: Config
    parts: tuple[Part, ...]
    trainer: Trainer


def family(config: Config, name: str) -> Family:
    """The family of that name, sized as the configuration says."""
    if name.startswith(GYMNAX):
        from levels.adapters.gymnax import from_gymnax  # gymnax takes a second to import

        return from_gymnax(name.removeprefix(GYMNAX), ranges=_ranges(config.gymnax.ranges))
    if name.startswith("gridworld"):
        side, limit = config.grids.side, config.grids.limit
        sizes = {"height": side[1], "width": side[1], "objects": config.grids.objects, "episode_limit": limit[1]}
        return FAMILIES[name](**sizes, side=side, limit=limit)
    return FAMILIES[name](arms=config.bandits.arms, pulls=config.bandits.pulls)


def _ranges(texts: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Pairs by field."""
    found: dict[str, tuple[float, float]] = {}
    for field, pair in map(_range, texts):
        if field in found:
            raise ValueError(f"gymnax.ranges must name every field once, got {field} twice.")
        found[field] = pair
    return found


def _range(text: str) -> tuple[str, tuple[float, float]]:
    """FIELD=LOW:HIGH as a name and a pair."""
    try:
        field, values = text.split("=")
        low, high = map(float, values.split(":"))
    except ValueError:
        raise ValueError(f"gymnax.ranges must have the form FIELD=LOW:HIGH, got {text!r}.") from None
    return field, (low, high)


def learned_rule(config: Config, spec: Spec, architecture: Architecture) -> UpdateRule:
    """The configuration's rule for agents of an architecture."""
    settings = config.rule
    if settings.kind == "lpo":
        return rules.lpo(
            spec,
            architecture,
            width=settings.drift_width,
            horizon=HORIZONS[settings.horizon],
            ppo_start=settings.ppo_start,
            epochs=settings.epochs,
            minibatches=settings.minibatches,
            gamma=config.life.gamma,
            lambda_=config.life.gae_lambda,
            entropy_weight=settings.policy_entropy,
            anneal=settings.anneal,
        )
    targets = rules.recurrent_targets(width=settings.width, predictions=settings.predictions, cell=CELLS[settings.cell])
    return rules.lpg(
        spec,
        architecture,
        targets=targets,
        predictions=settings.predictions,
        gamma=config.life.gamma,
        prediction_weight=settings.prediction_weight,
        horizon=HORIZONS[settings.horizon],
        stop_inputs=settings.stop_inputs,
    )


def sizes(config: Config, name: str) -> Grids | Bandits | Gymnax:
    """The part of a configuration that is about the family `name` and its agents."""
    if name.startswith(GYMNAX):
        return config.gymnax
    return config.grids if name.startswith("gridworld") else config.bandits


def antagonist(config: Config, spec: Spec, name: str) -> UpdateRule:
    """A2C as the configuration sets it for the family `name`."""
    own = sizes(config, name)
    return rules.a2c(
        spec,
        architecture(config, spec, name, actor_rate=own.antagonist_rate),
        gamma=config.life.gamma,
        lambda_=config.life.gae_lambda,
        entropy_weight=own.antagonist_entropy,
    )


def architecture(config: Config, spec: Spec, name: str, *, actor_rate: float | None = None) -> Architecture:
    """Agents for an environment of the family `name`: tabular where observations are discrete; of gymnax with Adam, too."""
    own, clip = sizes(config, name), config.life.clip
    if isinstance(own, Gymnax):
        trained = agents.mlp(rate=actor_rate or own.rate, clip=clip)
        return trained._replace(network=agents.for_spec(spec).network)
    if not isinstance(spec.observation, Discrete):
        return agents.for_spec(spec, clip=clip)
    return agents.tabular(actor_rate=actor_rate or own.actor_rate, critic_rate=own.critic_rate, clip=clip)


def build(config: Config, start: Theta | None = None) -> Run:
    """Puts a run together from a checked configuration.

    Args:
        config: Of the run.
        start: Theta to start from; by default the rule's own `init`.
    """
    parts = tuple(_part(config, name, members) for name, members in zip(config.families, config.members, strict=True))
    shares = tuple(part.share for part in parts)
    init = parts[0].rule.init if start is None else lambda key: start
    return Run(config, parts, trainer(shares, _meta(config, parts), init, steps=config.chunk))


def _meta(config: Config, parts: tuple[Part, ...]) -> MetaOptimizer:
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
        credit={"persistent": persistent, "noise-reuse": noise_reuse, "truncated": forgetful}[settings.lives],
        final=settings.fitness == "return",
        block=settings.block,
    )


def _gradient(config: Config, parts: tuple[Part, ...]) -> MetaOptimizer:
    settings = config.meta
    return gradient(
        tuple(part.stage for part in parts),
        adam(settings.rate, clip=settings.clip or None, decay_steps=config.meta_steps if settings.decay else None),
        updates=settings.updates,
        weights=Weights(settings.entropy, settings.prediction_entropy, settings.policy_target, settings.prediction_target),
        per_life=settings.per_life,
        rematerialise=settings.rematerialise,
        block=settings.block or None,
    )


def _strategy(
    config: Config, parts: tuple[Part, ...], theta: Theta, optimizer: optax.GradientTransformation
) -> strategies.Strategy:
    settings, size = config.evolution, population(config)
    if settings.strategy == DEEP_GA:
        strategy = deep_ga(population=size, parents=settings.parents, sigma=settings.sigma)
    else:
        strategy = strategies.named(settings.strategy, theta, population=size, sigma=settings.sigma, optimizer=optimizer)
    if not settings.novelty:
        return strategy
    tasks = tuple(probe_tasks(config, part.family) for part in parts)
    lives, kinds = tuple(part.life for part in parts), tuple(part.rule for part in parts)
    scales = tuple(_scale(part.family, own) for part, own in zip(parts, tasks, strict=True))
    behaviour = probes(lives, tasks, jax.random.key(PROBE_SEED), rules=kinds, scales=scales)
    return seeking(
        strategy, behaviour, weight=settings.novelty, neighbours=min(10, size - 1), block=min(2 * settings.block, size)
    )


def _scale(kind: Family, tasks: Task) -> float:
    """What counts as much in a family's returns: the mean optimum of the tasks where it is known, else 1."""
    if kind.optimum is None:
        return 1.0
    return max(float(jnp.mean(jax.lax.map(kind.optimum, tasks.level))), 1e-3)


def probe_tasks(config: Config, kind: Family) -> Task:
    """The fixed tasks that novelty search compares rules on: the longest lives on levels of a seed of their own."""
    count = config.evolution.probes
    source = curricula.pool(
        kind.generator, scores.uniform(), curricula.constant(config.life.updates[1]), size=count, block=count
    )
    state = source.refresh(jax.random.key(0), source.init(jax.random.key(PROBE_SEED)))
    return source.take(state, jnp.ones(count, bool))[1]


def _part(config: Config, name: str, members: int) -> Part:
    kind = family(config, name)
    spec = kind.environment.spec
    rule = learned_rule(config, spec, architecture(config, spec, name))
    rival = antagonist(config, spec, name)
    life = _life(config, kind, rule, exactly=config.curriculum.exact)
    rival_life = _life(config, kind, rival, exactly=config.curriculum.exact)
    score = _score(config, kind, rival_life)
    value = critic(spec, architecture(config, spec, name), gamma=config.life.gamma, lambda_=config.life.gae_lambda)
    share = Class(name, members, _curriculum(config, kind, score, members), score)
    return Part(kind, rule, life, rival, rival_life, Stage(rule, life, value), share)


def _life(config: Config, kind: Family, rule: UpdateRule, *, exactly: bool) -> Lifetime:
    return lifetime(
        rule,
        kind.environment,
        steps=config.life.steps,
        environments=config.life.environments,
        evaluate=measure(config, kind, rule, exactly=exactly),
    )


def measure(config: Config, kind: Family, rule: UpdateRule, *, exactly: bool) -> Evaluate:
    """How a rule's agents are measured: exactly where that is asked for and the family knows how, else by episodes."""
    if exactly and kind.value is not None:
        return exact(rule, kind.environment, kind.value)
    return sampled(rule, kind.environment, episodes=config.curriculum.episodes)


def _score(config: Config, kind: Family, rival_life: Lifetime) -> Score:
    name = config.curriculum.score
    if name == "regret":
        return scores.algorithmic_regret(rival_life, agents=config.curriculum.antagonists)
    if name == "normalised-regret":
        walker = _life(config, kind, rules.random_policy(kind.environment.spec), exactly=config.curriculum.exact)
        scale = float(kind.environment.spec.episode_limit) if kind.name.endswith("bandit") else 1.0
        return scores.normalised_regret(rival_life, walker, agents=config.curriculum.antagonists, scale=scale)
    if name == "exact-regret" and kind.optimum is not None:
        return scores.exact_regret(kind.optimum)
    if name == "exact-regret":
        raise ValueError(f"curriculum.score 'exact-regret' needs a known optimum, which {kind.name!r} lacks.")
    return scores.uniform()


def _curriculum(config: Config, kind: Family, score: Score, members: int) -> Curriculum:
    source = curricula.pool(
        kind.generator,
        score,
        curricula.log_uniform(*config.life.updates),
        size=pool_size(config, members),
        block=max(8, members // 4),
    )
    settings = config.curriculum
    if settings.kind == "uniform":
        return curricula.uniform(source)
    priority: Callable[[float], curricula.Priority] = {"rank": curricula.rank, "proportional": curricula.proportional}[
        settings.priority
    ]
    return curricula.prioritised(
        source,
        capacity=settings.capacity,
        replay=settings.replay,
        minimal_fill=settings.minimal_fill,
        staleness=settings.staleness,
        priority=priority(settings.temperature),
        replace=settings.replace,
    )


def pool_size(config: Config, members: int) -> int:
    """The most tasks that a chunk may take: every member starts as many lives as the shortest lifetime lets it."""
    if whole_lives(config):
        return members * config.chunk
    steps_of_a_life = math.ceil(config.life.updates[0] / config.meta.updates)
    return members * math.ceil(config.chunk / steps_of_a_life)
