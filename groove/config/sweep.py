"""Configurations that differ in numbers alone, whose runs one program makes side by side."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from groove.base.ranges import Number
from groove.config.checks import check
from groove.config.idle import idle
from groove.config.limits import MOST_RUNS, check_within
from groove.config.settings import TABLES, Config

SWEPT: tuple[str, ...] = (
    *(f"meta.{name}" for name in ("rate", "clip", "member_clip", "entropy")),
    *(f"meta.{name}" for name in ("prediction_entropy", "policy_target", "prediction_target")),
    *(f"evolution.{name}" for name in ("sigma", "rate", "floor")),
    *(f"rule.{name}" for name in ("prediction_weight", "policy_entropy")),
    *(f"life.{name}" for name in ("gamma", "gae_lambda", "clip")),
    *(f"curriculum.{name}" for name in ("replay", "staleness", "temperature", "edit", "select", "explore")),
    *(
        f"{part}.{name}"
        for part in TABLES
        for name in ("actor_rate", "critic_rate", "antagonist_rate", "antagonist_entropy")
    ),
    *(f"gymnax.{name}" for name in ("rate", "antagonist_rate", "antagonist_entropy")),
    "plugged.rate",
)
"""The fields, by dotted name, in which runs of one program may differ beside their seeds: those that a run only computes
with. Other fields decide which arrays there are, or what is done at all."""

LONGEST = 200
"""Letters of a folder's name; file systems take 255, and files beside it need some."""


def sweep_of(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Numbers by field, of texts like "meta.rate=1e-4,3e-4".

    Raises:
        ValueError: They have another form, name a field twice, or are refused by `check_sweep`.

    Example:
        >>> from groove.config import sweep_of
        >>> sweep_of(["meta.rate=1e-4,3e-4", "meta.entropy=0,0.05"])
        {'meta.rate': (0.0001, 0.0003), 'meta.entropy': (0.0, 0.05)}
    """
    found: dict[str, tuple[float, ...]] = {}
    for text in texts:
        field, _, values = text.partition("=")
        field = field.replace("-", "_")
        if field in found:
            raise ValueError(f"sweep must name every field once, got {field} twice.")
        try:
            found[field] = tuple(map(float, values.split(",")))
        except ValueError:
            raise ValueError(f"sweep must have the form FIELD=NUMBER,NUMBER,..., got {text!r}.") from None
    check_sweep(found)
    return found


def check_sweep(sweep: Mapping[str, Sequence[float]]) -> None:
    """Raises a ValueError unless every field may be swept, and has several different numbers."""
    for field, values in sweep.items():
        if field not in SWEPT:
            raise ValueError(
                f"sweep cannot vary {field!r}: seeds are varied by --seeds, and in one program only {', '.join(SWEPT)}. Fan "
                "out what differs in more with a job array of Slurm, a run for each."
            )
        with np.errstate(over="ignore"):
            traced = np.array(values, np.float32)
        if len(values) < 2 or not np.isfinite(traced).all():
            raise ValueError(f"sweep needs at least 2 numbers of {field}, all finite, got {tuple(values)}.")
        if np.unique(traced).size < len(values) or np.any((traced == 0) != (np.array(values) == 0)):
            raise ValueError(f"sweep needs numbers of {field} that differ as float32, from 0 too, got {tuple(values)}.")


def combinations(config: Config, seeds: int, sweep: Mapping[str, Sequence[float]]) -> dict[str, Config]:
    """Checked configurations of runs side by side, by names that say in what they differ.

    Every number of every field with every seed, of which there are `seeds`, from that of `config` on.

    Raises:
        ValueError: The sweep is refused, or a configuration is.

    Example:
        >>> from groove.config import QUICK, combinations
        >>> list(combinations(QUICK, 2, {"meta.rate": (1e-4, 3e-4)}))
        ['meta.rate=0.0001,seed-0', 'meta.rate=0.0001,seed-1', 'meta.rate=0.0003,seed-0', 'meta.rate=0.0003,seed-1']
    """
    check_sweep(sweep)
    if vain := sorted({*sweep} & {f"{part}.{field}" for part, field, _ in idle(config)}):
        raise ValueError(f"sweep cannot vary what has no effect in this run: {', '.join(vain)}.")
    check_within("runs side by side", max(seeds * math.prod(map(len, sweep.values())), 1), 1, MOST_RUNS)
    found = {}
    for values in itertools.product(*(map(float, numbers) for numbers in sweep.values())):
        numbers = dict(zip(sweep, values, strict=True))
        for seed in range(config.seed, config.seed + seeds):
            name = ",".join([*(f"{field}={value!r}" for field, value in numbers.items()), f"seed-{seed}"])
            if len(name) > LONGEST:
                raise ValueError(
                    f"sweep varies too much for the name of a folder, which may have {LONGEST} letters: {name}."
                )
            found[name] = check(dataclasses.replace(with_numbers(config, numbers), seed=seed))
    return found


def with_numbers(config: Config, numbers: Mapping[str, Number]) -> Config:
    """The configuration with other numbers, by dotted name; they may be traced, and are not checked."""
    for field, value in numbers.items():
        part, _, name = field.partition(".")
        config = dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **{name: value})})
    return config


def differing(configs: Sequence[Config]) -> dict[str, tuple[float, ...]]:
    """The fields in which configurations differ beside their seeds, with the number of each.

    Raises:
        ValueError: They differ in more than may be swept.
    """
    rows = [{field: _number(config, field) for field in SWEPT} for config in configs]
    if len({with_numbers(dataclasses.replace(config, seed=0), rows[0]) for config in configs}) > 1:
        raise ValueError("runs side by side may differ in their seeds and in numbers that may be swept, these do in more.")
    return {field: tuple(row[field] for row in rows) for field in SWEPT if len({row[field] for row in rows}) > 1}


def _number(config: Config, field: str) -> float:
    part, _, name = field.partition(".")
    return getattr(getattr(config, part), name)
