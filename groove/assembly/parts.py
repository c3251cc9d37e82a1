"""Families, agents and rules as a configuration names them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from groove import rules
from groove.assembly import plugged
from groove.base import UpdateRule
from groove.base.ranges import Number
from groove.config import (
    CHOICES,
    Bandits,
    Chains,
    Config,
    Grids,
    Gymnax,
    Plugged,
    entry,
    generator_of,
    is_file,
    part_of,
)
from groove.nets import agents, recurrent
from groove.nets.agents import Architecture
from groove.rules import horizon
from groove.rules.lpg import Answers, TargetNetwork
from levels.base import Discrete, Family, Spec

Saved: TypeAlias = Callable[[Spec], UpdateRule]
"""How to make a learned rule for the environments of a family."""
HORIZONS: Mapping[str, horizon.Horizon] = MappingProxyType(
    {
        "none": horizon.none,
        "fraction": horizon.fraction,
        "fraction-and-log": horizon.fraction_and_log,
        "scaled": horizon.scaled,
        "remaining": horizon.remaining,
    }
)
CELLS: Mapping[str, recurrent.Cell] = MappingProxyType({"gru": recurrent.gru, "lstm": recurrent.lstm})


def family(config: Config, name: str) -> Family:
    """The family of that name, sized as the configuration says, with the generator that it names.

    Raises:
        ValueError: A plug-in fails, or is no family or no generator of its levels; the message names it.
    """
    known = entry(name)
    found = known.make(name, config) if known else plugged.family(name)
    if config.curriculum.exact and found.value is None:
        raise ValueError(f"curriculum.exact needs exact returns, which {name!r} lacks.")
    generator = generator_of(config, name)
    return found._replace(generator=plugged.generator(generator, found)) if generator else found


def learned_rule(config: Config, spec: Spec, architecture: Architecture) -> UpdateRule:
    """The configuration's rule for agents of an architecture."""
    settings = config.rule
    if settings.kind not in CHOICES["rule", "kind"]:
        return plugged.rule(settings.kind, spec, architecture)
    if settings.kind == "lpo":
        return rules.lpo(
            spec,
            architecture,
            width=settings.drift_width,
            horizon=horizon_of(config),
            ppo_start=settings.ppo_start,
            epochs=settings.epochs,
            minibatches=settings.minibatches,
            gamma=config.life.gamma,
            lambda_=config.life.gae_lambda,
            entropy_weight=settings.policy_entropy,
            anneal=settings.anneal,
        )
    return rules.lpg(
        spec,
        architecture,
        targets=_targets(config),
        predictions=settings.predictions,
        gamma=config.life.gamma,
        prediction_weight=settings.prediction_weight,
        horizon=horizon_of(config),
        stop_inputs=settings.stop_inputs,
    )


def learned_answers(config: Config, spec: Spec, architecture: Architecture) -> Answers:
    """What the configuration's rule, an LPG, asks of agents of an architecture."""
    told = horizon_of(config)
    return rules.lpg_answers(spec, architecture, targets=_targets(config), gamma=config.life.gamma, horizon=told)


def horizon_of(config: Config) -> horizon.Horizon:
    """What the rule knows of the lifetime; the papers' inputs as they are, our own within the lives of training."""
    found = HORIZONS[config.rule.horizon]
    return horizon.within(found, *config.life.updates) if config.rule.horizon == "scaled" else found


def _targets(config: Config) -> TargetNetwork:
    own = config.rule
    return rules.recurrent_targets(width=own.width, predictions=own.predictions, cell=CELLS[own.cell])


def sizes(config: Config, name: str) -> Grids | Bandits | Chains | Gymnax | Plugged:
    """The part of a configuration that is about the family `name` and its agents."""
    return getattr(config, part_of(name))


def tuned_a2c(config: Config, spec: Spec, name: str) -> UpdateRule:
    """A2C as the configuration sets it for the family `name`: what every evaluation compares with."""
    own = sizes(config, name)
    return rules.a2c(
        spec,
        architecture(config, spec, name, actor_rate=own.antagonist_rate),
        gamma=config.life.gamma,
        lambda_=config.life.gae_lambda,
        entropy_weight=own.antagonist_entropy,
    )


def antagonist(config: Config, spec: Spec, name: str, saved: Saved | None) -> UpdateRule:
    """What regret compares with, as `curriculum.antagonist` says; its `init` gives its theta whatever the key.

    Args:
        config: Of the run.
        spec: Of the environment.
        name: Of the family.
        saved: How to make the rule that the configuration names by its file.

    Raises:
        ValueError: The configuration names a file and `saved` is None.
    """
    own = sizes(config, name)
    if config.curriculum.antagonist == "a2c":
        return tuned_a2c(config, spec, name)
    if config.curriculum.antagonist == "random":
        return rules.random_policy(spec)
    if config.curriculum.antagonist in ("ppo", "dpo"):
        return (rules.ppo if config.curriculum.antagonist == "ppo" else rules.dpo)(
            spec,
            architecture(config, spec, name, actor_rate=own.antagonist_rate),
            epochs=config.rule.epochs,
            minibatches=config.rule.minibatches,
            gamma=config.life.gamma,
            lambda_=config.life.gae_lambda,
            entropy_weight=own.antagonist_entropy,
            anneal=config.rule.anneal,
        )
    if not is_file(config.curriculum.antagonist):
        return plugged.rule(
            config.curriculum.antagonist, spec, architecture(config, spec, name, actor_rate=own.antagonist_rate)
        )
    if saved is None:
        raise ValueError(f"curriculum.antagonist {config.curriculum.antagonist!r} is a file, and nobody has read it.")
    return saved(spec)


def architecture(config: Config, spec: Spec, name: str, *, actor_rate: Number | None = None) -> Architecture:
    """Agents for an environment of the family `name`: tabular where observations are discrete; of gymnax with Adam, too."""
    own, clip = sizes(config, name), config.life.clip
    if isinstance(own, Gymnax):
        trained = agents.mlp(rate=own.rate if actor_rate is None else actor_rate, clip=clip)
        return trained._replace(network=agents.for_spec(spec).network)
    if isinstance(spec.observation, Discrete):
        rate = own.actor_rate if actor_rate is None else actor_rate
        return agents.tabular(actor_rate=rate, critic_rate=own.critic_rate, clip=clip)
    return agents.for_spec(spec, clip=clip, rate=own.rate) if isinstance(own, Plugged) else agents.for_spec(spec, clip=clip)
