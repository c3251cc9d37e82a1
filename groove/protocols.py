"""What a trained rule is compared with, and on which tasks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from groove import evaluate, rules
from groove.base import Theta, UpdateRule
from groove.build import Run, measure
from groove.lifetime import lifetime
from groove.statistics import Interval, stratified_bootstrap

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


def held_out(run: Run, key: jax.Array, untrained: Theta, trained: Theta, *, tasks: int, agents: int) -> list[HeldOut]:
    """Lives newborn agents on tasks that training never saw: random policy, untrained and trained rule, A2C, optimum.

    Returns are exact expectations where the family knows them, else means over episodes. The tasks are `tasks` levels per
    family from `HELD_OUT_SEED`, with the longest lifetime of training; a rule's `agents` agents per task differ by seed.

    Args:
        run: Which families, lives and antagonists.
        key: Of the agents.
        untrained: Theta before training.
        trained: Theta after it.
        tasks: Levels per family.
        agents: Agents per level.
    """
    return [_family(run, index, key, untrained, trained, tasks, agents) for index in range(len(run.parts))]


def _family(
    run: Run, index: int, key: jax.Array, untrained: Theta, trained: Theta, tasks: int, agents: int
) -> HeldOut:
    part = run.parts[index]
    level_key = jax.random.fold_in(jax.random.key(HELD_OUT_SEED), index)
    levels = jax.jit(jax.vmap(part.family.generator.sample))(jax.random.split(level_key, tasks))
    lifetimes = jnp.full(tasks, run.config.life.updates[1], jnp.int32)

    def assess(rule: UpdateRule):
        life = lifetime(
            rule,
            part.family.environment,
            steps=run.config.life.steps,
            environments=run.config.life.environments,
            evaluate=measure(run.config, part.family, rule, exactly=True),
        )

        def apply(theta):
            return evaluate.returns(life, jax.random.fold_in(key, index), theta, levels, lifetimes, agents=agents)

        return jax.jit(apply)

    learned = assess(part.rule)
    spec = part.family.environment.spec
    results = {
        "random policy": assess(rules.random_policy(spec))(()),
        "untrained rule": learned(untrained),
        "trained rule": learned(trained),
        "tuned A2C": assess(part.antagonist)(()),
    }
    if part.family.optimum is not None:
        results["optimum"] = jnp.broadcast_to(jax.jit(evaluate.optima, static_argnums=0)(part.family, levels)[:, None], (tasks, agents))
    return HeldOut(part.family.name, {name: np.asarray(value) for name, value in results.items()})


def rows(results: list[HeldOut]) -> list[Row]:
    """Interquartile means over tasks and agents with 95 % stratified-bootstrap intervals (agents resampled within tasks)."""
    return [
        Row(result.family, rule, stratified_bootstrap(values.T, seed=0))
        for result in results
        for rule, values in result.returns.items()
    ]
