"""Configurations: frozen dataclasses that become flags, and the presets."""

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args, get_origin, get_type_hints

from levels import FAMILIES


@dataclass(frozen=True)
class Grids:
    """Gridworld levels, and the tabular agents that live on them."""

    side: tuple[int, int] = (4, 10)
    """Lowest and highest side of random square grids; the highest is what all are padded to."""
    objects: int = 5
    """Most objects of a level."""
    limit: tuple[int, int] = (20, 750)
    """Range of the log-uniform episode limit, in steps."""
    actor_rate: float = 40.0
    """Learning rate of the agents' policies."""
    critic_rate: float = 4.0
    """Learning rate of the value functions."""
    antagonist_rate: float = 40.0
    """Learning rate of the antagonist's policy."""
    antagonist_entropy: float = 0.01
    """Entropy weight of the antagonist."""


@dataclass(frozen=True)
class Bandits:
    """Bandit levels, and the agents that live on them: a single row of logits."""

    arms: int = 10
    """Most arms of a level."""
    pulls: tuple[int, int] = (20, 20)
    """Range of the log-uniform number of pulls of an episode."""
    actor_rate: float = 1.0
    """Learning rate of the agents' policies."""
    critic_rate: float = 0.5
    """Learning rate of the value functions."""
    antagonist_rate: float = 1.0
    """Learning rate of the antagonist's policy."""
    antagonist_entropy: float = 0.01
    """Entropy weight of the antagonist."""


@dataclass(frozen=True)
class Rule:
    """The learned rule: LPG (Oh et al. 2020)."""

    cell: Literal["gru", "lstm"] = "gru"
    """Recurrent cell."""
    width: int = 256
    """Width of the recurrent layer."""
    predictions: int = 8
    """Width of y, the agent's prediction vector."""
    prediction_weight: float = 0.5
    """alpha_y, weight of the prediction's loss in the agent's update."""
    horizon: Literal["none", "fraction", "fraction-and-log", "remaining"] = "none"
    """What the rule knows of the lifetime; fraction-and-log makes it TA-LPG."""
    stop_inputs: bool = False
    """Stop the meta-gradient at the inputs pi and y."""


@dataclass(frozen=True)
class Life:
    """How agents live."""

    updates: tuple[int, int] = (250, 250)
    """Range of the log-uniform lifetime, in agent updates."""
    environments: int = 64
    """Parallel environments per agent."""
    steps: int = 20
    """Steps of each environment per update."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """Decay of generalised advantage estimation."""
    clip: float = 0.5
    """Largest global norm of an agent's gradients."""


@dataclass(frozen=True)
class Meta:
    """The meta-gradient."""

    updates: int = 5
    """K, agent updates that a meta-gradient goes back through."""
    rate: float = 1e-4
    """Adam's learning rate for theta."""
    clip: float = 0.0
    """Largest global norm of the meta-gradient, before Adam; 0 for no clipping."""
    decay: bool = False
    """Let the learning rate fall to 0 along a cosine over the run."""
    entropy: float = 0.05
    """beta_0, weight of the policy's entropy."""
    prediction_entropy: float = 0.001
    """beta_1, weight of y's entropy."""
    policy_target: float = 0.005
    """beta_2, weight of |pi_hat|^2."""
    prediction_target: float = 0.001
    """beta_3, weight of |y_hat|^2."""
    rematerialise: bool = False
    """Recompute each update in the backward pass: less memory, more time, other rounding."""
    block: int = 0
    """Members computed at once, to bound memory; 0 for all. Must divide every batch."""


@dataclass(frozen=True)
class Curriculum:
    """How tasks are chosen."""

    kind: Literal["prioritised", "uniform"] = "prioritised"
    """prioritised: replay tasks with high scores (PLR); uniform: domain randomisation."""
    score: Literal["regret", "normalised-regret", "exact-regret", "uniform"] = "regret"
    """What ranks tasks; regret is the algorithmic regret of GROOVE, antagonist minus learner."""
    capacity: int = 4000
    """Tasks stored, per family."""
    replay: float = 0.5
    """Probability that a member replays a stored task."""
    minimal_fill: float = 0.5
    """Share of the capacity that must be held before the first replay."""
    staleness: float = 0.3
    """Weight of staleness beside the score."""
    priority: Literal["rank", "proportional"] = "rank"
    """How scores become probabilities."""
    temperature: float = 0.3
    """Temperature of that; lower prefers the best more."""
    replace: bool = True
    """Whether one proposal may draw a task for several members."""
    antagonists: int = 2
    """Antagonist agents per task."""
    episodes: int = 4
    """Episodes that measure an agent's return."""
    exact: bool = False
    """Measure learner and antagonist by their exact expected returns: no sampling noise, more time."""


@dataclass(frozen=True)
class Config:
    """A training run."""

    name: str = "custom"
    """The preset that this configuration began as."""
    seed: int = 0
    """Of everything random."""
    families: tuple[str, ...] = ("gridworld",)
    """Families of levels, by name."""
    members: tuple[int, ...] = (512,)
    """Parallel lifetimes, per family."""
    meta_steps: int = 10_000
    """Length of the run."""
    chunk: int = 10
    """Meta-steps per compiled chunk; between chunks the run logs, refreshes its curricula and saves."""
    checkpoint_every: int = 10
    """Chunks between checkpoints."""
    grids: Grids = field(default_factory=Grids)
    bandits: Bandits = field(default_factory=Bandits)
    rule: Rule = field(default_factory=Rule)
    life: Life = field(default_factory=Life)
    meta: Meta = field(default_factory=Meta)
    curriculum: Curriculum = field(default_factory=Curriculum)


CHOICES: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        (part, name): get_args(hint)
        for part, kind in (("rule", Rule), ("curriculum", Curriculum))
        for name, hint in get_type_hints(kind).items()
        if get_origin(hint) is Literal
    }
)
"""What the fields that hold names may hold, by part and field. Read-only."""

LPG = Config(name="lpg", curriculum=Curriculum(kind="uniform", score="uniform"), meta=Meta(rematerialise=True))
"""LPG as GROOVE's baseline (Jackson et al. 2023): uniform levels, GROOVE's hyperparameters."""

GROOVE = Config(name="groove", meta=Meta(rematerialise=True))
"""GROOVE (Jackson et al. 2023): algorithmic regret against A2C, prioritised."""

QUICK = Config(
    name="quick",
    families=("gridworld", "bernoulli-bandit"),
    members=(56, 8),
    meta_steps=800,
    chunk=20,
    checkpoint_every=4,
    grids=Grids(side=(4, 6), objects=3, limit=(20, 50), antagonist_rate=20.0, antagonist_entropy=0.003),
    bandits=Bandits(actor_rate=8.0, antagonist_rate=16.0, antagonist_entropy=0.01),
    rule=Rule(width=32),
    life=Life(updates=(50, 100), environments=8),
    meta=Meta(rate=1e-3, clip=0.5, decay=True, entropy=0.03),
    curriculum=Curriculum(capacity=200),
)
"""A small real run for two cores. Widths, learning rates and sizes are its own."""

PRESETS: Mapping[str, Config] = MappingProxyType({"quick": QUICK, "lpg": LPG, "groove": GROOVE})
"""Named configurations. Read-only."""


def preset(name: str) -> Config:
    """The preset of that name.

    Raises:
        ValueError: There is none; the nearest name is suggested.
    """
    return PRESETS[check_name("preset", name, PRESETS)]


def smoke(config: Config) -> Config:
    """The same run, shrunk until it takes seconds: for tests of what users run."""
    return dataclasses.replace(
        config,
        members=(2,) * len(config.families),
        meta_steps=4,
        chunk=2,
        checkpoint_every=1,
        grids=dataclasses.replace(config.grids, side=(3, 4), objects=2, limit=(5, 10)),
        bandits=dataclasses.replace(config.bandits, arms=3, pulls=(5, 5)),
        rule=dataclasses.replace(config.rule, width=4, predictions=3),
        life=dataclasses.replace(config.life, updates=(4, 4), environments=2, steps=5),
        meta=dataclasses.replace(config.meta, updates=2),
        curriculum=dataclasses.replace(config.curriculum, capacity=4, antagonists=2, episodes=2),
    )


def check_name(kind: str, name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """Returns `name` if it is known, else raises a ValueError that suggests the nearest known one."""
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    raise ValueError(f"unknown {kind} {name!r}; did you mean {near[0]!r}? Known: {', '.join(known)}.")


def check(config: Config) -> Config:
    """Returns the configuration if a run can be built from it.

    Raises:
        ValueError: Names the field, the rule and the value.
    """
    _check_families(config)
    _check_counts(config)
    _check_rates(config)
    _check_ranges(config)
    low = config.life.updates[0]
    if config.meta.updates > low:
        raise ValueError(
            f"meta.updates (K) must not exceed the shortest lifetime of {low} updates, got {config.meta.updates}."
        )
    block = config.meta.block
    if block < 0 or (block and any(members % block for members in config.members)):
        raise ValueError(f"meta.block must be 0 or divide every batch of members {config.members}, got {block}.")
    return config


def _check_families(config: Config) -> None:
    if not config.families or len(config.families) != len(config.members):
        raise ValueError(f"families and members must pair up, got {config.families} and {config.members}.")
    if len(set(config.families)) != len(config.families):
        raise ValueError(f"families must differ, got {config.families}.")
    for name in config.families:
        check_name("family", name, FAMILIES)
        if name != "gridworld-planes":
            continue
        if config.curriculum.score == "exact-regret":
            raise ValueError("curriculum.score 'exact-regret' needs a known optimum, which 'gridworld-planes' lacks.")
        if config.curriculum.exact:
            raise ValueError("curriculum.exact needs exact returns, which 'gridworld-planes' lacks.")
    for (part, name), known in CHOICES.items():
        check_name(name, getattr(getattr(config, part), name), known)


def _check_ranges(config: Config) -> None:
    ranges = {
        "grids.side": (2, config.grids.side),
        "grids.limit": (1, config.grids.limit),
        "bandits.pulls": (1, config.bandits.pulls),
        "life.updates": (1, config.life.updates),
    }
    for name, (least, (low, high)) in ranges.items():
        if not least <= low <= high:
            raise ValueError(f"{name} must satisfy {least} <= low <= high, got {(low, high)}.")
    most = min(16, config.grids.side[1] ** 2 - 1)
    if not 1 <= config.grids.objects <= most:
        raise ValueError(f"grids.objects must be between 1 and {most}, got {config.grids.objects}.")
    if config.bandits.arms < 2:
        raise ValueError(f"bandits.arms must be at least 2, got {config.bandits.arms}.")


def _check_counts(config: Config) -> None:
    counts = {
        "meta_steps": config.meta_steps,
        "chunk": config.chunk,
        "checkpoint_every": config.checkpoint_every,
        "life.environments": config.life.environments,
        "life.steps": config.life.steps,
        "meta.updates": config.meta.updates,
        "rule.width": config.rule.width,
        "rule.predictions": config.rule.predictions,
        "curriculum.capacity": config.curriculum.capacity,
        "curriculum.antagonists": config.curriculum.antagonists,
        "curriculum.episodes": config.curriculum.episodes,
        **{f"members[{i}]": count for i, count in enumerate(config.members)},
    }
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
    if not 0 <= config.seed < 2**32 - 1:
        raise ValueError(f"seed must be between 0 and {2**32 - 2}, got {config.seed}.")
    if config.meta_steps % config.chunk:
        raise ValueError(f"chunk must divide meta_steps ({config.meta_steps}), got {config.chunk}.")
    if config.curriculum.kind == "prioritised" and config.curriculum.capacity < max(config.members):
        least = max(config.members)
        raise ValueError(
            f"curriculum.capacity must hold at least a batch of {least} tasks, got {config.curriculum.capacity}."
        )


def _check_rates(config: Config) -> None:
    rates = {
        "meta.rate": config.meta.rate,
        "life.clip": config.life.clip,
        "curriculum.temperature": config.curriculum.temperature,
        **{f"grids.{name}": getattr(config.grids, name) for name in ("actor_rate", "critic_rate", "antagonist_rate")},
        **{f"bandits.{name}": getattr(config.bandits, name) for name in ("actor_rate", "critic_rate", "antagonist_rate")},
    }
    weights = {
        "meta.clip": config.meta.clip,
        "meta.entropy": config.meta.entropy,
        "meta.prediction_entropy": config.meta.prediction_entropy,
        "meta.policy_target": config.meta.policy_target,
        "meta.prediction_target": config.meta.prediction_target,
        "rule.prediction_weight": config.rule.prediction_weight,
        "grids.antagonist_entropy": config.grids.antagonist_entropy,
        "bandits.antagonist_entropy": config.bandits.antagonist_entropy,
    }
    shares = {f"curriculum.{name}": getattr(config.curriculum, name) for name in ("replay", "minimal_fill", "staleness")}
    shares |= {"life.gamma": config.life.gamma, "life.gae_lambda": config.life.gae_lambda}
    for values, good, rule in (
        (rates, lambda x: 0 < x < math.inf, "positive and finite"),
        (weights, lambda x: 0 <= x < math.inf, "at least 0 and finite"),
        (shares, lambda x: 0 <= x <= 1, "between 0 and 1"),
    ):
        for name, value in values.items():
            if not good(value):
                raise ValueError(f"{name} must be {rule}, got {value}.")


def save(config: Config, path: Path, versions: Mapping[str, str]) -> None:
    """Writes a configuration and the versions it ran with as JSON."""
    text = json.dumps({"config": dataclasses.asdict(config), "versions": dict(versions)}, indent=2) + "\n"
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def load(path: Path) -> Config:
    """Reads a configuration that `save` wrote.

    Raises:
        ValueError: The file is no configuration of this version of groove.
    """
    try:
        return from_json(json.dumps(json.loads(path.read_text(encoding="utf-8"))["config"]))
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a configuration of this version of groove: {error}.") from error


def from_json(text: str) -> Config:
    """A checked configuration from the JSON of its fields.

    Raises:
        ValueError: It has other fields, or values that no run can have.
    """
    try:
        return check(_rebuild(Config, json.loads(text)))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a configuration of this version of groove: {error}.") from error


def _rebuild(kind, values):
    """A dataclass from nested dictionaries; lists become tuples."""
    parts = {f.name: f.type for f in dataclasses.fields(kind)}
    if set(values) != set(parts):
        raise TypeError(f"fields of {kind.__name__} differ: {sorted(set(values) ^ set(parts))}")

    def one(name, value):
        if dataclasses.is_dataclass(parts[name]):
            return _rebuild(parts[name], value)
        return _checked(name, parts[name], value)

    return kind(**{name: one(name, value) for name, value in values.items()})


def _checked(name, hint, value):
    """The value of a field, if it is of the field's type: a number, a name, or a tuple of them."""
    if get_origin(hint) is not tuple:
        expected = str if get_origin(hint) is Literal else hint
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise TypeError(f"{name} must be of type {expected.__name__}, got {value!r}")
        return value
    kinds = get_args(hint)
    if not isinstance(value, list) or (Ellipsis not in kinds and len(value) != len(kinds)):
        raise TypeError(f"{name} must be a list like {hint}, got {value!r}")
    return tuple(_checked(name, kinds[0], entry) for entry in value)
