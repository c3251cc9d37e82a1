"""From a configuration to the parts of a run: the one place where names become objects."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from groove import agents, curricula, recurrent, rules, scores
from groove.agents import Architecture
from groove.base import Curriculum, Score, UpdateRule
from groove.config import Config
from groove.critic import critic
from groove.lifetime import Evaluate, Lifetime, exact, lifetime, sampled
from groove.meta import Stage, Weights, adam, gradient
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
    if name.startswith("gridworld"):
        side, limit = config.grids.side, config.grids.limit
        sizes = {"height": side[1], "width": side[1], "objects": config.grids.objects, "episode_limit": limit[1]}
        return FAMILIES[name](**sizes, side=side, limit=limit)
    return FAMILIES[name](arms=config.bandits.arms, pulls=config.bandits.pulls)


def learned_rule(config: Config, spec: Spec, architecture: Architecture) -> UpdateRule:
    """The configuration's rule for agents of an architecture."""
    targets = rules.recurrent_targets(
        width=config.rule.width, predictions=config.rule.predictions, cell=CELLS[config.rule.cell]
    )
    return rules.lpg(
        spec,
        architecture,
        targets=targets,
        predictions=config.rule.predictions,
        gamma=config.life.gamma,
        prediction_weight=config.rule.prediction_weight,
        horizon=HORIZONS[config.rule.horizon],
        stop_inputs=config.rule.stop_inputs,
    )


def antagonist(config: Config, spec: Spec, name: str) -> UpdateRule:
    """A2C as the configuration sets it for the family `name`."""
    sizes = config.grids if name.startswith("gridworld") else config.bandits
    return rules.a2c(
        spec,
        architecture(config, spec, name, actor_rate=sizes.antagonist_rate),
        gamma=config.life.gamma,
        lambda_=config.life.gae_lambda,
        entropy_weight=sizes.antagonist_entropy,
    )


def architecture(config: Config, spec: Spec, name: str, *, actor_rate: float | None = None) -> Architecture:
    """Agents for an environment of the family `name`, tabular where observations are discrete."""
    if not isinstance(spec.observation, Discrete):
        return agents.mlp(clip=config.life.clip)
    sizes = config.grids if name.startswith("gridworld") else config.bandits
    return agents.tabular(actor_rate=actor_rate or sizes.actor_rate, critic_rate=sizes.critic_rate, clip=config.life.clip)


def build(config: Config) -> Run:
    """Puts a run together from a checked configuration."""
    parts = tuple(_part(config, name, members) for name, members in zip(config.families, config.members, strict=True))
    meta = gradient(
        tuple(part.stage for part in parts),
        adam(
            config.meta.rate,
            clip=config.meta.clip or None,
            decay_steps=config.meta_steps if config.meta.decay else None,
        ),
        updates=config.meta.updates,
        weights=Weights(
            config.meta.entropy, config.meta.prediction_entropy, config.meta.policy_target, config.meta.prediction_target
        ),
        rematerialise=config.meta.rematerialise,
        block=config.meta.block or None,
    )
    shares = tuple(part.share for part in parts)
    return Run(config, parts, trainer(shares, meta, parts[0].rule.init, steps=config.chunk))


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
        scale = 1.0 if kind.name.startswith("gridworld") else float(kind.environment.spec.episode_limit)
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
    steps_of_a_life = math.ceil(config.life.updates[0] / config.meta.updates)
    return members * math.ceil(config.chunk / steps_of_a_life)
