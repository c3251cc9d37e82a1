"""How large the numbers of a configuration may be: what no array has room for, or no clock can count, is refused at once."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from groove.config.settings import Config
from levels.base import LONGEST
from levels.chain import LONGEST as LONGEST_CHAIN
from levels.dataset import forms
from levels.gridworld import MAX_OBJECTS

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that programs compute with."""
MOST_STEPS = 2**31 - 1
"""Of anything that clocks count."""
MOST = 2**20
"""Of anything that arrays have an entry for."""
MOST_TASKS = 2**24
"""In a buffer or a file."""
MOST_RUNS = 1024
"""Side by side."""
MOST_UPDATES = 1_000_000
"""No life is longer: whoever lives on such tasks would not come to an end."""
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "side": (2, forms.MOST_SIDE),
        "objects": (1, MAX_OBJECTS),
        "limit": (1, LONGEST),
        "arms": (2, 2**20),
        "pulls": (1, LONGEST),
        "length": (1, LONGEST_CHAIN),
        "noise": (0, 1e30),
    }
)
"""Lowest and highest sizes of generators, in configurations and in files. Read-only."""


def check_within(name: str, value: float, least: float, most: float, of: str = "") -> None:
    """Raises a ValueError that names a number unless it lies in a range, such as that of `count` with `of` tasks."""
    bound = f"at least {least}" if not value >= least else f"at most {most}"
    if not least <= value <= most:
        raise ValueError(f"{name} must be {bound}{of and f' {of}'}, got {value}.")


def check_counts(config: Config) -> None:
    """Raises a ValueError that names the first count of a configuration out of its range."""
    steps = {
        "meta_steps": config.meta_steps,
        "chunk": config.chunk,
        "checkpoint_every": config.checkpoint_every,
        "curriculum.latent_steps": config.curriculum.latent_steps,
    }
    tasks = {"curriculum.capacity": config.curriculum.capacity}
    counts = {
        "life.environments": config.life.environments,
        "life.steps": config.life.steps,
        "meta.updates": config.meta.updates,
        "rule.width": config.rule.width,
        "rule.predictions": config.rule.predictions,
        "rule.drift_width": config.rule.drift_width,
        "rule.epochs": config.rule.epochs,
        "rule.minibatches": config.rule.minibatches,
        "evolution.probes": config.evolution.probes,
        "curriculum.antagonists": config.curriculum.antagonists,
        "curriculum.episodes": config.curriculum.episodes,
        "curriculum.edits": config.curriculum.edits,
        "curriculum.latent_batch": config.curriculum.latent_batch,
        **{f"members[{i}]": count for i, count in enumerate(config.members)},
    }
    optional = {
        "curriculum.sweep": (config.curriculum.sweep, MOST_TASKS),
        "curriculum.window": (config.curriculum.window, MOST_TASKS),
        "evolution.population": (config.evolution.population, MOST),
        "evolution.block": (config.evolution.block, MOST),
        "evolution.parents": (config.evolution.parents, MOST),
        "meta.block": (config.meta.block, MOST),
    }
    for values, most in ((steps, MOST_STEPS), (tasks, MOST_TASKS), (counts, MOST)):
        for name, value in values.items():
            check_within(name, value, 1, most)
    for name, (value, most) in optional.items():
        check_within(name, max(value, 0), 0, most)  # what 0 means, and whether it may be less, is said elsewhere
    if not 0 <= config.seed < 2**32 - 1:
        raise ValueError(f"seed must be between 0 and {2**32 - 2}, got {config.seed}.")
    if config.meta_steps % config.chunk:
        raise ValueError(f"chunk must divide meta_steps ({config.meta_steps}), got {config.chunk}.")


def check_ranges(config: Config) -> None:
    """Raises a ValueError that names the first range of a configuration out of its own."""
    ranges = {
        "grids.side": config.grids.side,
        "grids.limit": config.grids.limit,
        "bandits.pulls": config.bandits.pulls,
        "chains.length": config.chains.length,
        "chains.noise": config.chains.noise,
        "life.updates": config.life.updates,
    }
    limits = {**RANGES, "updates": (1, MOST_UPDATES)}
    for name, (low, high) in ranges.items():
        least, most = limits[name.partition(".")[2]]
        if not least <= low <= high <= most:
            raise ValueError(f"{name} must satisfy {least} <= low <= high <= {most}, got {(low, high)}.")
    cells = config.grids.side[1] ** 2
    most = min(MAX_OBJECTS, cells - 1)
    if not 1 <= config.grids.objects <= most:
        raise ValueError(f"grids.objects must be between 1 and {most}, got {config.grids.objects}.")
    if "gridworld" in config.families and cells * 2**config.grids.objects >= 2**31:
        raise ValueError(
            f"grids.side and grids.objects must leave no more than {2**31 - 1} observations of gridworld, got "
            f"{config.grids.side} and {config.grids.objects}."
        )
    check_within("bandits.arms", config.bandits.arms, *RANGES["arms"])
