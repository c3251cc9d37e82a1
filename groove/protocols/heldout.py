"""What a trained rule is compared with, and on which tasks."""

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np

from groove import rules
from groove.assembly import FamilyParts, Run, measure
from groove.base import Theta, UpdateRule
from groove.config import GYMNAX, Config
from groove.lifetime import learning_curve, lifetime
from groove.protocols.baselines import Setting, named_rule
from groove.protocols.rivals import RIVALS, rivals
from groove.statistics import Interval, stratified_bootstrap
from levels.base import Discrete, Family, Level

HELD_OUT_SEED = 20_402
"""Of the held-out levels; training draws its levels from other keys, whatever its seed."""
BEYOND = 3
"""Times the longest lifetime of training is a lifetime that no rule was trained for."""
UNTUNED = "A2C was not tuned for these families and lives."
Made: TypeAlias = Callable[[chex.ArrayTree], tuple[UpdateRule, Theta]]
"""`numbers -> (rule, theta)`: a learned rule's theta, or the settings of one that is hand-written; traced."""


class Row(NamedTuple):
    """One rule's result on the held-out tasks of one family, at one lifetime."""

    family: str
    lifetime: int  # agent updates
    rule: str
    interval: Interval  # of the interquartile mean of returns, 95 %


class HeldOut(NamedTuple):
    """Results of several rules on the held-out tasks of a family, at one lifetime."""

    family: str
    lifetime: int  # agent updates
    returns: dict[str, np.ndarray]  # by rule, f32[tasks, agents]


class Protocol(NamedTuple):
    """How large a comparison is."""

    tasks: int  # held-out levels per family
    agents: int  # agents per level and rule, which differ by seed
    lifetimes: tuple[int, ...]  # agent updates, increasing


def protocol(config: Config) -> Protocol:
    """What a run of this configuration ends with: 48 levels and 4 agents, fewer where the run is tiny.

    Lifetimes are the shortest and the longest of training and, where these differ, one of three times the longest.
    """
    tiny, (low, high) = sum(config.members) < 16, config.life.updates
    lifetimes = (low, high, BEYOND * high) if low < high else (high,)
    return Protocol(tasks=4 if tiny else 48, agents=2 if tiny else 4, lifetimes=lifetimes)


def is_tuned(config: Config) -> bool:
    """Whether A2C and PPO were tuned for all families and lifetimes that a run of this configuration ends with."""
    wanted = set(protocol(config).lifetimes)
    return all(wanted <= set(rivals(config, name)) for name in config.families)


def caption(config: Config) -> str:
    """One paragraph on what the held-out table shows."""
    sizes = protocol(config)
    tuning = (
        "Learning rates and entropy weights of A2C and PPO were tuned for each lifetime, on other levels (python -m "
        "benchmarks.tune_rivals)."
        if is_tuned(config)
        else UNTUNED
    )
    low, high = config.life.updates
    lifetimes = ", ".join(map(str, sizes.lifetimes))
    outside = f"; training had {low} to {high}" if low < high else ""
    alone = any(name.startswith(GYMNAX) for name in config.families) and not config.gymnax.ranges
    same = " A family from gymnax without ranges has one level, which is that of training." if alone else ""
    return (
        f"{sizes.tasks} held-out levels per family (seed {HELD_OUT_SEED}; training used seed {config.seed}), {sizes.agents} "
        f"agents each, lives of {lifetimes} updates of {config.life.environments} x {config.life.steps} steps{outside}. "
        "Return of one episode: interquartile mean over levels and agents, with its 95 % stratified-bootstrap interval. "
        f"{tuning}{same}"
    )


def held_out(run: Run, key: jax.Array, untrained: Theta, trained: Theta) -> list[HeldOut]:
    """Lives untrained agents on tasks that training never saw: random policy, untrained and trained rule, rivals, optimum.

    Rivals are A2C and PPO, tuned for each lifetime, where that was done for such tasks and lives; else A2C as the
    configuration has it. Returns are exact expectations where the family knows them, else means over episodes.

    Args:
        run: Which families, lives and antagonists.
        key: Of the agents.
        untrained: Theta before training.
        trained: Theta after it.
    """
    keys = jax.random.split(key, len(run.parts))
    with ThreadPoolExecutor(len(run.parts)) as pool:  # for compiling, which takes most of the time, each has one core
        rows = pool.map(lambda part, own: _family(run, part, own, untrained, trained), run.parts, keys)
        return [result for row in rows for result in row]


def held_out_levels(family: Family, tasks: int, seed: int = HELD_OUT_SEED) -> Level:
    """`tasks` levels of a family's generator, from a seed of their own: [tasks, ...]."""
    name = zlib.crc32(family.name.encode())  # so that families draw from different keys
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), name), tasks)
    return jax.jit(jax.vmap(family.generator.sample))(keys)


def _family(run: Run, part: FamilyParts, key: jax.Array, untrained: Theta, trained: Theta) -> list[HeldOut]:
    sizes, family = protocol(run.config), part.family
    levels = held_out_levels(family, sizes.tasks)
    tuned = rivals(run.config, family.name) if is_tuned(run.config) else {}

    def assess(make: Made):
        return assessment(run.config, family, make, levels, sizes)

    def hand_written(name: str) -> Made:
        spec, life = family.environment.spec, run.config.life
        return lambda chosen: (named_rule(name, spec, Setting(*chosen), gamma=life.gamma, lambda_=life.gae_lambda), ())

    learned = assess(lambda theta: (part.rule, theta))
    chance = assess(lambda _: (rules.random_policy(family.environment.spec), ()))(key, (), sizes.lifetimes[0])
    written = {name: assess(hand_written(name)) for name in RIVALS} if tuned else {}
    untuned = assess(lambda _: (part.antagonist, ()))
    best = None if family.optimum is None else jax.jit(lambda levels: learning_curve.optima(family, levels))(levels)
    found = []
    for updates in sizes.lifetimes:
        returns = {
            "random policy": chance,
            "untrained rule": learned(key, untrained, updates),
            "trained rule": learned(key, trained, updates),
        }
        if tuned:
            shown = {f"tuned {name.upper()}": run(key, tuned[updates][name], updates) for name, run in written.items()}
        else:
            shown = {"A2C": untuned(key, (), updates)}
        optimum = {} if best is None else {"optimum": jnp.broadcast_to(best[:, None], (sizes.tasks, sizes.agents))}
        rows = {name: np.asarray(value) for name, value in {**returns, **shown, **optimum}.items()}
        found.append(HeldOut(family.name, updates, rows))
    return found


def assessment(
    config: Config, family: Family, make: Made, levels: Level, sizes: Protocol
) -> Callable[[jax.Array, chex.ArrayTree, int], jax.Array]:
    """`(key, numbers, lifetime) -> returns f32[tasks, agents]`: untrained agents of a rule on all levels, compiled once."""

    @jax.jit
    def assess(key, numbers, updates):
        rule, theta = make(numbers)
        life = lifetime(
            rule,
            family.environment,
            steps=config.life.steps,
            environments=config.life.environments,
            evaluate=measure(config, family, rule, exactly=True),
        )
        lifetimes = jnp.full(sizes.tasks, updates, jnp.int32)
        block = 64 if isinstance(family.environment.spec.observation, Discrete) else 1  # agents that see images need memory
        return learning_curve.returns(life, key, theta, levels, lifetimes, agents=sizes.agents, block=block)

    return assess


def rows(results: list[HeldOut]) -> list[Row]:
    """Interquartile means over tasks and agents with 95 % stratified-bootstrap intervals (agents resampled within tasks)."""
    return [
        Row(result.family, result.lifetime, rule, stratified_bootstrap(values.T, seed=0))
        for result in results
        for rule, values in result.returns.items()
    ]
