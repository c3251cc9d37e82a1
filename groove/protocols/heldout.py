"""What a trained rule is compared with, and on which tasks."""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from groove import rules
from groove.assembly import FamilyParts, Run, measure
from groove.base import Theta, UpdateRule
from groove.config import GYMNAX, QUICK, Config
from groove.lifetime import learning_curve, lifetime
from groove.statistics import Interval, stratified_bootstrap
from levels.base import Discrete, Family, Level

HELD_OUT_SEED = 20_402
"""Of the held-out levels; training draws its levels from other keys, whatever its seed."""


class Row(NamedTuple):
    """One rule's result on the held-out tasks of one family."""

    family: str
    rule: str
    interval: Interval  # of the interquartile mean of returns, 95 %


class HeldOut(NamedTuple):
    """Results of several rules on the held-out tasks of a family."""

    family: str
    returns: dict[str, np.ndarray]  # by rule, f32[tasks, agents]


class Protocol(NamedTuple):
    """How large a comparison is."""

    tasks: int  # held-out levels per family
    agents: int  # agents per level and rule, which differ by seed
    lifetime: int  # agent updates


def protocol(config: Config) -> Protocol:
    """What a run of this configuration ends with: 48 levels and 4 agents, the longest lifetime of training.

    Fewer where the run is tiny.
    """
    tiny = sum(config.members) < 16
    return Protocol(tasks=4 if tiny else 48, agents=2 if tiny else 4, lifetime=config.life.updates[1])


def rival_name(config: Config) -> str:
    """What A2C is called: tuned, only where its settings were tuned for just these families and lives."""
    settings = (config.grids, config.bandits, config.life)
    families = set(config.families) <= set(QUICK.families) and not any(config.generators)
    return "tuned A2C" if families and settings == (QUICK.grids, QUICK.bandits, QUICK.life) else "A2C"


def caption(config: Config) -> str:
    """One paragraph on what the held-out table shows."""
    sizes = protocol(config)
    tuning = (
        "A2C's learning rate and entropy weight were tuned on other levels (python -m benchmarks.tune_a2c)."
        if rival_name(config) == "tuned A2C"
        else "A2C was not tuned for these families and lives."
    )
    alone = any(name.startswith(GYMNAX) for name in config.families) and not config.gymnax.ranges
    same = " A family from gymnax without ranges has one level, which is that of training." if alone else ""
    return (
        f"{sizes.tasks} held-out levels per family (seed {HELD_OUT_SEED}; training used seed {config.seed}), {sizes.agents} "
        f"agents each, {sizes.lifetime} updates of {config.life.environments} x {config.life.steps} steps. Return of one "
        f"episode: interquartile mean over levels and agents, with its 95 % stratified-bootstrap interval. {tuning}{same}"
    )


def held_out(run: Run, key: jax.Array, untrained: Theta, trained: Theta) -> list[HeldOut]:
    """Lives untrained agents on tasks that training never saw: random policy, untrained and trained rule, A2C, optimum.

    Returns are exact expectations where the family knows them, else means over episodes.

    Args:
        run: Which families, lives and antagonists.
        key: Of the agents.
        untrained: Theta before training.
        trained: Theta after it.
    """
    keys = jax.random.split(key, len(run.parts))
    return [_family(run, part, k, untrained, trained) for part, k in zip(run.parts, keys, strict=True)]


def held_out_levels(family: Family, tasks: int, seed: int = HELD_OUT_SEED) -> Level:
    """`tasks` levels of a family's generator, from a seed of their own: [tasks, ...]."""
    name = zlib.crc32(family.name.encode())  # so that families draw from different keys
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), name), tasks)
    return jax.jit(jax.vmap(family.generator.sample))(keys)


def _family(run: Run, part: FamilyParts, key: jax.Array, untrained: Theta, trained: Theta) -> HeldOut:
    sizes = protocol(run.config)
    levels = held_out_levels(part.family, sizes.tasks)
    learned = assessment(run.config, part.family, part.rule, levels, sizes)
    random_policy = rules.random_policy(part.family.environment.spec)
    found = {
        "random policy": assessment(run.config, part.family, random_policy, levels, sizes)(key, ()),
        "untrained rule": learned(key, untrained),
        "trained rule": learned(key, trained),
        rival_name(run.config): assessment(run.config, part.family, part.antagonist, levels, sizes)(key, ()),
    }
    if part.family.optimum is not None:
        best = jax.jit(lambda levels: learning_curve.optima(part.family, levels))(levels)
        found["optimum"] = jnp.broadcast_to(best[:, None], (sizes.tasks, sizes.agents))
    return HeldOut(part.family.name, {name: np.asarray(value) for name, value in found.items()})


def assessment(
    config: Config, family: Family, rule: UpdateRule, levels: Level, sizes: Protocol
) -> Callable[[jax.Array, Theta], jax.Array]:
    """`(key, theta) -> returns f32[tasks, agents]`, compiled: untrained agents of a rule on all levels."""
    life = lifetime(
        rule,
        family.environment,
        steps=config.life.steps,
        environments=config.life.environments,
        evaluate=measure(config, family, rule, exactly=True),
    )
    lifetimes = jnp.full(sizes.tasks, sizes.lifetime, jnp.int32)
    block = 64 if isinstance(family.environment.spec.observation, Discrete) else 1  # agents that see images need memory
    return jax.jit(
        lambda key, theta: learning_curve.returns(life, key, theta, levels, lifetimes, agents=sizes.agents, block=block)
    )


def rows(results: list[HeldOut]) -> list[Row]:
    """Interquartile means over tasks and agents with 95 % stratified-bootstrap intervals (agents resampled within tasks)."""
    return [
        Row(result.family, rule, stratified_bootstrap(values.T, seed=0))
        for result in results
        for rule, values in result.returns.items()
    ]
