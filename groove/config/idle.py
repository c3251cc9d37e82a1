"""Which fields of a configuration have no effect on the run that it asks for."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from groove.config.families import FAMILIES, entry, part_of
from groove.config.settings import CHOICES, Config, Curriculum, Evolution, Meta, Rule
from groove.meta import strategies

DEEP_GA = "deep-ga"
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "grids": "a family of grids",
        "bandits": "a family of bandits",
        "chains": "a family of chains",
        "gymnax": "a family of gymnax",
        "plugged": "a family of another package",
    }
)
"""Those that are about families, and what gives them an effect."""
REPLAYING = ("capacity", "replay", "minimal_fill", "staleness", "priority", "temperature", "replace", "diversity", "robust")
CURRICULA: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "prioritised": (*REPLAYING, "files"),
        "accel": (*REPLAYING, "files", "edit", "edits"),
        "sfl": ("capacity", "replay", "select", "sweep"),
        "alp-gmm": ("window", "explore"),
        "clutr": ("latent_steps", "latent_batch"),
        "uniform": (),
        "frozen": ("files",),
    }
)
"""What each kind of curriculum computes with, beside the score."""
SCORED = ("kind", "score", "antagonist", "antagonists", "episodes", "exact")
COMPARING = ("regret", "normalised-regret")
"""Scores that compare with an antagonist."""
PROXIMAL = ("epochs", "minibatches", "anneal")
RULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lpg": ("cell", "width", "predictions", "prediction_weight", "horizon", "stop_inputs"),
        "lpo": ("drift_width", "horizon", "ppo_start", "policy_entropy", *PROXIMAL),
    }
)
"""What each rule is made of."""


def idle(config: Config) -> Iterator[tuple[str, str, str]]:
    """What has no effect: part, field, and what would give it one."""
    yield from _idle_families(config)
    yield from _idle_curriculum(config)
    yield from _idle_rule(config)
    yield from _idle_meta(config)


def _fields(part: type) -> list[str]:
    return [field.name for field in dataclasses.fields(part)]


def _has_tables(part: str, names: Iterable[str]) -> str:
    """The first of some families of a part whose agents are tables; the part itself where all or none of its kind are."""
    kinds = {known.tables for known in FAMILIES.values() if known.part == part}
    if kinds != {True, False}:
        return part
    return next((name for name in names if (known := entry(name)) and known.part == part and known.tables), "")


def _idle_families(config: Config) -> Iterator[tuple[str, str, str]]:
    present = {part_of(family) for family in config.families}
    for part, remedy in PARTS.items():
        for field in _fields(type(getattr(config, part))):
            if part not in present:
                yield part, field, remedy
            elif field.endswith("_rate") and not _has_tables(part, config.families):
                yield part, field, f"the family {_has_tables(part, FAMILIES)}, whose agents are tables"


def _idle_curriculum(config: Config) -> Iterator[tuple[str, str, str]]:
    settings = config.curriculum
    used = CURRICULA.get(settings.kind, ("capacity",))  # of another package's, that is all which is told
    for field in _fields(Curriculum):
        if field not in (*SCORED, *used):
            kind = next(kind for kind, fields in CURRICULA.items() if field in fields)
            yield "curriculum", field, f"--curriculum.kind {kind}"
    if settings.score not in COMPARING:
        yield "curriculum", "antagonists", "--curriculum.score regret"
        if settings.score in CHOICES["curriculum", "score"]:  # one of another package may compare as well
            yield "curriculum", "antagonist", "--curriculum.score regret"


def _idle_rule(config: Config) -> Iterator[tuple[str, str, str]]:
    used = RULES.get(config.rule.kind, ())
    rival = PROXIMAL if config.curriculum.antagonist in ("ppo", "dpo") else ()
    for field in _fields(Rule):
        if field not in ("kind", *used, *rival):
            yield "rule", field, f"--rule.kind {next(kind for kind, fields in RULES.items() if field in fields)}"


def _idle_meta(config: Config) -> Iterator[tuple[str, str, str]]:
    settings, whole = config.evolution, config.evolution.lives == "whole"
    if config.meta.method == "gradient":
        yield from (("evolution", field, "--meta.method evolution") for field in _fields(Evolution))
        if config.rule.kind == "lpo":
            aims = ("prediction_entropy", "policy_target", "prediction_target")
            yield from (("meta", field, "--rule.kind lpg") for field in aims)
        return
    for field in _fields(Meta):
        if field not in ("method", *(() if whole else ("updates",))):
            yield "meta", field, "--meta.method gradient"
    if settings.strategy != DEEP_GA:
        yield "evolution", "parents", f"--evolution.strategy {DEEP_GA}"
    if not settings.novelty:
        yield "evolution", "probes", "--evolution.novelty 0.5"
    if not uses_adam(config):
        yield from (("evolution", name, "--evolution.strategy Open_ES") for name in ("rate", "decay", "floor"))


def whole_lives(config: Config) -> bool:
    """Whether every meta-step is a whole life of every member."""
    return config.meta.method == "evolution" and config.evolution.lives == "whole"


def uses_adam(config: Config) -> bool:
    """Whether theta moves by Adam: under a meta-gradient, in pieces of lives, and for some strategies of whole lives."""
    name = config.evolution.strategy
    return not whole_lives(config) or (name in strategies.KINDS and strategies.KINDS[name].optimizer)
