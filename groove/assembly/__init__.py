"""From a configuration to the parts of a run: the one place where names become objects."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh

from groove.assembly.learning import meta_optimizer, probe_tasks
from groove.assembly.parts import (
    CELLS,
    HORIZONS,
    Saved,
    antagonist,
    architecture,
    family,
    horizon_of,
    learned_answers,
    learned_rule,
    sizes,
    tuned_a2c,
)
from groove.assembly.plugged import check_rule
from groove.assembly.plugged import rule as plugged_rule
from groove.assembly.teaching import Stored, check_rules, curriculum_of, life_of, measure, pool_size, score_of, watch
from groove.base import Agent, Score, Theta, UpdateRule
from groove.config import Config, differing, with_numbers
from groove.curricula.clutr import Latent
from groove.lifetime import Lifetime, expected
from groove.meta import FamilySetup
from groove.nets.critic import critic
from groove.trainer import TaskGroup, Trainer, side_by_side, trainer
from levels.base import Family, Level

__all__ = [
    "CELLS",
    "HORIZONS",
    "FamilyParts",
    "Given",
    "Inputs",
    "Latents",
    "Run",
    "Saved",
    "Stored",
    "antagonist",
    "architecture",
    "build",
    "check_rule",
    "check_rules",
    "curriculum_of",
    "family",
    "horizon_of",
    "learned_answers",
    "learned_rule",
    "life_of",
    "measure",
    "plugged_rule",
    "pool_size",
    "probe_tasks",
    "remade",
    "score_of",
    "sizes",
    "tuned_a2c",
    "vmap_runs",
    "watch",
]


Given: TypeAlias = Callable[[Family, Score], Stored | None]
"""How to find the tasks that a family's curriculum begins with, with the references of a score; None if there are none."""


Latents: TypeAlias = Callable[[Family], Latent]
"""How to find the autoencoder of a family's levels."""


class FamilyParts(NamedTuple):
    """One family of a run, with all that lives on it."""

    family: Family
    rule: UpdateRule  # as its agents live: watched, where the score asks for signals
    life: Lifetime
    antagonist: UpdateRule  # A2C, which evaluations compare with
    setup: FamilySetup
    group: TaskGroup


class Inputs(NamedTuple):
    """What a configuration names by its file, as the host found it."""

    start: Theta | None = None  # theta to start from; by default the rule's own `init`
    saved: Saved | None = None  # the antagonist, where that is a learned rule
    given: Given | None = None  # the tasks that curricula begin with
    latents: Latents | None = None  # the autoencoders of CLUTR


class Run(NamedTuple):
    """A run, ready to compile."""

    config: Config
    parts: tuple[FamilyParts, ...]
    trainer: Trainer
    inputs: Inputs


def build(config: Config, inputs: Inputs | None = None) -> Run:
    """Puts a run together from a checked configuration.

    Args:
        config: Of the run.
        inputs: What the configuration names by its file.
    """
    inputs = inputs or Inputs()
    pairs = zip(config.families, config.members, strict=True)
    parts = tuple(_part(config, name, members, inputs) for name, members in pairs)
    groups = tuple(part.group for part in parts)
    init = parts[0].rule.init if inputs.start is None else lambda key: inputs.start
    return Run(config, parts, trainer(groups, meta_optimizer(config, parts), init, steps=config.chunk), inputs)


def remade(run: Run, config: Config) -> Run:
    """The run of a configuration that differs from that of `run` in its seed, and in numbers that may be swept."""
    if dataclasses.replace(config, seed=run.config.seed) == run.config:
        return run._replace(config=config)
    return build(config, run.inputs)


def vmap_runs(run: Run, configs: Sequence[Config], place: Mesh) -> Trainer:
    """Runs side by side, as `groove.trainer.side_by_side` says.

    Args:
        run: One of them.
        configs: Of all of them, checked; they may differ in their seeds, and in numbers that may be swept.
        place: The devices that share them out.

    Raises:
        ValueError: They differ in more.
    """
    numbers = {field: np.array(values, np.float32) for field, values in differing(configs).items()}

    def make(own):
        return build(with_numbers(run.config, own), run.inputs).trainer if own else run.trainer

    return side_by_side(make, numbers, place)


def _part(config: Config, name: str, members: int, inputs: Inputs) -> FamilyParts:
    kind = family(config, name)
    spec = kind.environment.spec
    networks = architecture(config, spec, name)
    value = critic(spec, networks, gamma=config.life.gamma, lambda_=config.life.gae_lambda)
    learned, other = learned_rule(config, spec, networks), antagonist(config, spec, name, inputs.saved)
    check_rules(config, kind, learned, other)
    rule, life = watch(config, kind, learned, value)
    score = score_of(config, kind, other)
    stored = inputs.given(kind, score) if inputs.given else None
    found = inputs.latents(kind) if inputs.latents else None
    group = TaskGroup(name, members, curriculum_of(config, kind, score, members, stored, found), score)
    setup = FamilySetup(rule, life, value, _expected(config, kind, rule))
    return FamilyParts(kind, rule, life, tuned_a2c(config, spec, name), setup, group)


def _expected(config: Config, kind: Family, rule: UpdateRule) -> Callable[[Agent, Level], jax.Array] | None:
    """What a meta-loss is minus of, where the configuration asks for it and the family has it.

    Returns count in units of the family's scale: those of bandits, in the tens, would drown those of grids, about 1.
    """
    if config.meta.objective != "exact" or kind.differentiable_value is None:
        return None
    reach = expected(rule, kind.environment, kind.differentiable_value)
    return lambda agent, level: reach(agent, level) / kind.scale
