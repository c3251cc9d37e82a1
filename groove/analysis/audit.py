"""An audit from names and numbers to findings: what `groove curate --audit` does."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove import assembly, config, curate, curricula, runs
from groove.analysis import measures
from groove.analysis.findings import Findings, measured
from groove.assembly.learning import meta_optimizer
from groove.base import MetaOptimizer, Outcome, Score, UpdateRule
from groove.config import Config
from groove.config.limits import MOST, check_within
from groove.curate import Journal, Learner, Measure, Stopped
from groove.files.curriculumfile import Rows
from groove.lifetime import Lifetime
from groove.meta import FamilySetup
from groove.nets.critic import Critic, critic
from levels.base import Family

UNTRAINED = "untrained"
"""The name of a learned rule that was not trained."""
SCORES = tuple(name for name in config.CHOICES["curriculum", "score"] if name != "uniform")
"""Scores of this library that say something, by name."""
SHARED: Mapping[str, str] = MappingProxyType({"regret": "normalised-regret"})
OTHERS_SEED = 31_117
"""Of the other levels, and of the agents on them."""


@dataclass(frozen=True)
class Plan:
    """What is to be audited."""

    config: Config  # families, sizes of levels and lives, rule and optimizer, how scores are measured, the seed
    rule: str = UNTRAINED  # UNTRAINED, or as of `curate.learner_of`
    scores: tuple[str, ...] = SCORES  # by name
    count: int = 128  # tasks of each family
    agents: int = 4  # untrained agents that a yardstick averages over
    members: int = 4  # lives at a time that train on a level
    steps: int = 0  # meta-steps on a level; 0 for as many as the longest life lasts
    others: int = 8  # other levels
    block: int = 16  # tasks measured at once
    trusted: tuple[str, ...] = ()  # plug-ins, as package.module:object, that a rule's file may name


class Report(NamedTuple):
    """What came of it."""

    plan: Plan
    rule: Mapping[str, object]  # what is to be said of the rule
    findings: tuple[Findings, ...]  # a family each


class Audited(NamedTuple):
    """One family of an audit."""

    name: str  # in the configuration
    family: Family
    learner: Learner
    critic: Critic


def check(plan: Plan) -> Plan:
    """Returns the plan if it can be met.

    Raises:
        ValueError: Names the field, the rule and the value.
    """
    least = {"count": 3, "agents": 1, "members": 1, "steps": 0, "others": 1, "block": 1}
    for name, low in least.items():
        check_within(name, getattr(plan, name), low, MOST)
    if not plan.scores:
        raise ValueError("scores must name at least 1 score, got none.")
    for score in plan.scores:
        config.check_choice("curriculum", "score", score)
    return dataclasses.replace(plan, config=config.check(plan.config))


def steps_of(plan: Plan) -> int:
    """Meta-steps on a level: by default as many pieces of K updates as the longest life has."""
    return plan.steps or -(-plan.config.life.updates[1] // plan.config.meta.updates)


def audit(
    plan: Plan,
    *,
    journals: Path | None = None,
    seen: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """Measures scores and yardsticks of random tasks of every family.

    Args:
        plan: What is to be audited.
        journals: A folder for finished blocks, which are not done again when the same audit begins anew.
        seen: `(done, total) -> None`, called with numbers of tasks of all families after every block.
        stopped: Asked before every block whether to stop.

    Raises:
        ValueError: The plan is not valid, its rule is damaged or does not fit, or the folder holds another audit.
        FileNotFoundError: There is no such rule.
        groove.curate.Stopped: `stopped` said so.
    """
    plan = check(plan)
    total = plan.count * len(plan.config.families)
    found, about = [], {}
    for place, name in enumerate(plan.config.families):
        part = _part(plan, name)
        about = dict(part.learner.about)
        count = functools.partial(_count, seen, place * plan.count, total)
        journal = None if journals is None else Journal(journals / name.replace(":", "-"), _describe(plan, name, about))
        try:
            found.append(_findings(plan, part, place, journal, count, stopped))
        except Stopped as error:
            raise Stopped(f"{name}: {error}") from None
    return Report(plan, about, tuple(found))


def _count(seen: Callable[[int, int], None], before: int, total: int, done: int, own: int) -> None:
    """Tells `seen` of the tasks of one family, counted among those of all."""
    return seen(before + done, total)


def _describe(plan: Plan, name: str, rule: Mapping[str, object]) -> dict[str, object]:
    """All that the numbers of a family depend on."""
    own = {key: value for key, value in dataclasses.asdict(plan).items() if key not in ("config", "rule", "trusted")}
    settings = dataclasses.asdict(plan.config)
    parts = {key: value for key, value in settings.items() if key not in ("name", "start")}
    antagonist = curate.mark_of(plan.config.curriculum.antagonist)
    about = {"family": name, "about": rule, "antagonist": antagonist, "plugins": config.sources(plan.config)}
    return {**parts, **own, **about, "versions": runs.versions()}


def _part(plan: Plan, name: str) -> Audited:
    family = assembly.family(plan.config, name)
    spec = family.environment.spec
    networks = assembly.architecture(plan.config, spec, name)
    value = critic(spec, networks, gamma=plan.config.life.gamma, lambda_=plan.config.life.gae_lambda)
    if plan.rule != UNTRAINED:
        return Audited(name, family, curate.learner_of(plan.config, plan.rule, name, family, trusted=plan.trusted), value)
    rule = assembly.learned_rule(plan.config, spec, networks)
    theta = rule.init(jax.random.fold_in(jax.random.key(plan.config.seed), 3))
    return Audited(name, family, Learner(rule, theta, {"name": UNTRAINED, "kind": plan.config.rule.kind}), value)


def _findings(
    plan: Plan,
    part: Audited,
    place: int,
    journal: Journal | None,
    seen: Callable[[int, int], None],
    stopped: Callable[[], bool],
) -> Findings:
    sample_key, measure_key = jax.random.split(jax.random.fold_in(jax.random.key(plan.config.seed), 100 + place))
    lifetimes = curricula.log_uniform(*plan.config.life.updates)
    rows = curate.sampled(sample_key, part.family, lifetimes, count=plan.count)
    scores, skipped = _scores(plan, part)
    yardsticks, more = _yardsticks(plan, part)
    measure = measures.together({"scores": scores, "yardsticks": measures.joined(yardsticks)})
    return measured(
        measure_key,
        rows,
        measure,
        part.learner.theta,
        family=part.family.name,
        skipped={**skipped, **more},
        block=min(plan.block, plan.count),
        journal=journal,
        seen=seen,
        stopped=stopped,
    )


def _scores(plan: Plan, part: Audited) -> tuple[Measure, dict[str, str]]:
    """All scores that the family allows, and why not the others."""
    found: dict[str, Score] = {}
    skipped: dict[str, str] = {}
    antagonist = curate.antagonist_of(plan.config, part.name, part.family, trusted=plan.trusted)
    for name in plan.scores:
        try:
            found[name] = assembly.score_of(_scored_by(plan.config, name), part.family, antagonist)
        except ValueError as error:
            skipped[name] = str(error)
    _, life = assembly.watch(_scored_by(plan.config, "max-mc"), part.family, part.learner.rule, part.critic)
    shared = {name: other for name, other in SHARED.items() if name in found and other in found}
    return measures.scored(life, found, shared=shared), skipped


def _scored_by(config: Config, score: str) -> Config:
    return dataclasses.replace(config, curriculum=dataclasses.replace(config.curriculum, score=score))


def _yardsticks(plan: Plan, part: Audited) -> tuple[list[Measure], dict[str, str]]:
    """All yardsticks that the family and the rule allow, and why not the others."""
    family, rule, theta, about = part.family, *part.learner
    life = assembly.life_of(plan.config, family, rule, assembly.measure(plan.config, family, rule, exactly=True))
    found: list[Measure] = []
    skipped: dict[str, str] = {}
    if family.optimum is not None and family.value is not None:
        found.append(measures.shortfall(life, family.optimum, agents=plan.agents))
    else:
        lacks = "its optimum" if family.optimum is None else "exact returns"
        skipped["yardstick exact-regret"] = (
            f"needs a family that knows its optimum and exact returns; {family.name!r} lacks {lacks}."
        )
    if jax.tree.leaves(theta):
        key, others = jax.random.key(OTHERS_SEED), _others(plan, family)
        learner = _learner(plan.config, family, rule, part.critic)
        sizes = {"steps": steps_of(plan), "members": plan.members, "agents": plan.agents}
        found.append(measures.improvement(key, learner, life, others, **sizes))
    else:
        skipped["yardstick improvement"] = f"needs a rule that can be trained; {about['name']} is written by hand."
    return found, skipped


def _others(plan: Plan, family: Family) -> Rows:
    """The levels that an improvement may carry over to: the same whatever the audit's seed."""
    key = jax.random.fold_in(jax.random.key(OTHERS_SEED), 1)
    return curate.sampled(key, family, curricula.log_uniform(*plan.config.life.updates), count=plan.others)


class _Played(NamedTuple):
    family: Family
    rule: UpdateRule
    life: Lifetime
    setup: FamilySetup


def _learner(settings: Config, family: Family, rule: UpdateRule, value: Critic) -> MetaOptimizer:
    """The configuration's meta-gradient, whose members nobody measures."""
    zero = jnp.zeros((), jnp.float32)
    life = assembly.life_of(settings, family, rule, lambda key, agent, level, wanted: Outcome(zero, zero))
    meta = dataclasses.replace(settings.meta, method="gradient", block=0)
    return meta_optimizer(
        dataclasses.replace(settings, meta=meta), [_Played(family, rule, life, FamilySetup(rule, life, value))]
    )
