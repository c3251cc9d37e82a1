"""From a configuration to the parts of a run: the one place where names become objects."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from groove.base import Score, Theta, UpdateRule
from groove.build.learning import meta_optimizer, probe_tasks
from groove.build.parts import CELLS, HORIZONS, Saved, antagonist, architecture, family, learned_rule, rival, sizes
from groove.build.teaching import Stored, curriculum_of, life_of, measure, pool_size, score_of, watch
from groove.config import Config
from groove.critic import critic
from groove.lifetime import Lifetime
from groove.meta import Stage
from groove.trainer import Class, Trainer, trainer
from levels.base import Family

__all__ = [
    "CELLS",
    "HORIZONS",
    "Given",
    "Part",
    "Run",
    "Saved",
    "Stored",
    "antagonist",
    "architecture",
    "build",
    "curriculum_of",
    "family",
    "learned_rule",
    "life_of",
    "measure",
    "pool_size",
    "probe_tasks",
    "rival",
    "score_of",
    "sizes",
    "watch",
]


Given: TypeAlias = Callable[[Family, Score], Stored | None]
"""How to find the tasks that a family's curriculum begins with, with the references of a score; None if there are none."""


class Part(NamedTuple):
    """One family of a run, with all that lives on it."""

    family: Family
    rule: UpdateRule  # as its agents live: watched, where the score asks for signals
    life: Lifetime
    antagonist: UpdateRule  # A2C, which evaluations compare with
    stage: Stage
    share: Class


class Run(NamedTuple):
    """A run, ready to compile."""

    config: Config
    parts: tuple[Part, ...]
    trainer: Trainer


def build(config: Config, start: Theta | None = None, saved: Saved | None = None, given: Given | None = None) -> Run:
    """Puts a run together from a checked configuration.

    Args:
        config: Of the run.
        start: Theta to start from; by default the rule's own `init`.
        saved: How to make the antagonist, where the configuration names it by its file.
        given: How to find the tasks that curricula begin with, where the configuration names files.
    """
    pairs = zip(config.families, config.members, strict=True)
    parts = tuple(_part(config, name, members, saved, given) for name, members in pairs)
    shares = tuple(part.share for part in parts)
    init = parts[0].rule.init if start is None else lambda key: start
    return Run(config, parts, trainer(shares, meta_optimizer(config, parts), init, steps=config.chunk))


def _part(config: Config, name: str, members: int, saved: Saved | None, given: Given | None) -> Part:
    kind = family(config, name)
    spec = kind.environment.spec
    networks = architecture(config, spec, name)
    value = critic(spec, networks, gamma=config.life.gamma, lambda_=config.life.gae_lambda)
    rule, life = watch(config, kind, learned_rule(config, spec, networks), value)
    score = score_of(config, kind, rival(config, spec, name, saved))
    stored = given(kind, score) if given else None
    share = Class(name, members, curriculum_of(config, kind, score, members, stored), score)
    return Part(kind, rule, life, antagonist(config, spec, name), Stage(rule, life, value), share)
