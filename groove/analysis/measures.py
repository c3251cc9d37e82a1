"""What an audit measures of one task: its scores, and the yardsticks that they are held against.

Every measure is a `groove.curate.Measure` that returns numbers f32[] by name. Scores and yardsticks draw from keys of their
own and live with agents of their own: that a score and a yardstick agree cannot come from a chance that they share.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import chex
import jax
import jax.numpy as jnp

from groove.base import MetaOptimizer, Score, Theta
from groove.curate import Measure
from groove.curricula import frozen
from groove.curricula.source import new_task
from groove.files.curriculumfile import Rows
from groove.lifetime import Lifetime, whole_life
from groove.scores import uniform
from groove.trainer import TaskGroup, trainer
from levels.base import Level

NONE: Mapping[str, str] = MappingProxyType({})


def together(measures: Mapping[str, Measure]) -> Measure:
    """Several measures of one task as one, by name; each draws from a key of its own.

    Args:
        measures: By the name that they have in the result.
    """

    def measure(key, number, theta, level, lifetime):
        keys = jax.random.split(key, len(measures))
        return {
            name: one(own, number, theta, level, lifetime) for own, (name, one) in zip(keys, measures.items(), strict=True)
        }

    return measure


def joined(measures: Sequence[Measure]) -> Measure:
    """Several measures of one task, the numbers of all in one mapping; each draws from a key of its own.

    Args:
        measures: No two of them with a name in common.
    """

    def measure(key, number, theta, level, lifetime):
        keys = jax.random.split(key, max(1, len(measures)))
        parts = [one(own, number, theta, level, lifetime) for own, one in zip(keys, measures, strict=False)]
        return {name: value for part in parts for name, value in part.items()}

    return measure


def scored(life: Lifetime, scores: Mapping[str, Score], *, shared: Mapping[str, str] = NONE) -> Measure:
    """Scores of one life each: an untrained agent lives on the task once, and every score sees that life and no other.

    It is their first visit: MaxMC knows no earlier return, and learning progress compares with the random policy.

    Args:
        life: How the rule's agents live and are measured, with signals where a score asks for them.
        scores: By name.
        shared: Scores whose reference is that of another one: regret compares with the antagonists of normalised regret.

    Returns:
        A measure of f32[] by the names of `scores`.

    Example:
        >>> import jax, levels
        >>> from groove import curate, curricula, lifetime, rules, scores
        >>> from groove import analysis
        >>> family = levels.bandit.bernoulli_bandit(arms=3)
        >>> life = lifetime.lifetime(rules.random_policy(family.environment.spec), family.environment, environments=2)
        >>> rows = curate.sampled(jax.random.key(0), family, curricula.constant(1), count=3)
        >>> measure = analysis.scored(life, {"exact-regret": scores.exact_regret(family.optimum)})
        >>> curate.in_blocks(jax.random.key(1), rows, measure, ())["exact-regret"].shape
        (3,)
    """

    def measure(key, number, theta, level, lifetime):
        *keys, reference_key = jax.random.split(jax.random.fold_in(key, number), 3)
        outcome = whole_life(life, keys, theta, level, lifetime)
        own = [name for name in scores if name not in shared]
        references = jax.random.split(reference_key, len(own))
        known = {name: scores[name].reference(k, level, lifetime) for k, name in zip(references, own, strict=True)}
        return {name: _first(score, outcome, known[shared.get(name, name)]) for name, score in scores.items()}

    return measure


def _first(score: Score, outcome: chex.ArrayTree, reference: chex.ArrayTree) -> jax.Array:
    """The score of a first visit: f32[]."""
    return score.score(outcome, reference, jax.tree.map(jnp.asarray, score.memory))[0]


def shortfall(life: Lifetime, optimum: Callable[[Level], jax.Array], *, agents: int = 4) -> Measure:
    """How far untrained agents stay behind the optimum at the end of their lives, on average: `exact-regret`, f32[].

    These are other agents than those that scores see. With exact returns what is left of noise is that of their lives.

    Args:
        life: How the rule's agents live and are measured, best by `lifetime.exact`.
        optimum: A family's `optimum`.
        agents: To average over, at least 1.
    """
    _check_counts(agents=agents)

    def measure(key, number, theta, level, lifetime):
        reached = _reached(life, agents, jax.random.fold_in(key, number), theta, level, lifetime)
        return {"exact-regret": optimum(level) - reached}

    return measure


def improvement(
    key: jax.Array,
    learner: MetaOptimizer,
    life: Lifetime,
    others: Rows,
    *,
    steps: int,
    members: int = 4,
    agents: int = 4,
) -> Measure:
    """What training on a task alone brings: `improvement` on it, and `improvement-elsewhere` on other tasks, f32[] each.

    From the rule's theta and a new optimizer, `steps` meta-steps are done with `members` lives at a time, all on this task;
    whose life ends is replaced. Then untrained agents of the changed rule live on the task, and on the others, as those
    of the unchanged one do with the same keys: before and after differ by the change of theta alone.

    Args:
        key: Of the agents on the other tasks, the same for every task that is measured.
        learner: Of one family, whose lives need no evaluation.
        life: How untrained agents live and are measured, best by `lifetime.exact`.
        others: Tasks, at least 1.
        steps: Meta-steps on a task, at least 1.
        members: Lives at a time, at least 1.
        agents: Untrained agents of each task to average over, at least 1.
    """
    _check_counts(steps=steps, members=members, agents=agents, others=len(others.lifetime))
    levels, lifetimes = jax.tree.map(jnp.asarray, (others.level, others.lifetime))

    def elsewhere(theta: Theta) -> jax.Array:
        keys = jax.random.split(key, lifetimes.size)
        each = jax.vmap(lambda k, level, lifetime: _reached(life, agents, k, theta, level, lifetime))
        return jnp.mean(each(keys, levels, lifetimes))

    def measure(key, number, theta, level, lifetime):
        train_key, meet_key = jax.random.split(jax.random.fold_in(key, number))
        changed = trained(train_key, learner, theta, level, lifetime, members=members, steps=steps)
        both = jax.tree.map(lambda *leaves: jnp.stack(leaves), theta, changed)  # so that lives are compiled once
        before, after = jax.vmap(lambda one: _reached(life, agents, meet_key, one, level, lifetime))(both)
        return {"improvement": after - before, "improvement-elsewhere": elsewhere(changed) - elsewhere(theta)}

    return measure


def trained(
    key: jax.Array, learner: MetaOptimizer, theta: Theta, level: Level, lifetime: jax.Array, *, members: int, steps: int
) -> Theta:
    """Theta after meta-steps on one task alone, from a new optimizer.

    Args:
        key: Not to be used again.
        learner: Of one family.
        theta: To start from.
        level: To live on, unbatched.
        lifetime: i32[].
        members: Lives at a time.
        steps: Meta-steps.
    """
    task = new_task(uniform(), key, level, lifetime, serial=jnp.zeros((), jnp.int32))
    alone = TaskGroup("alone", members, frozen(jax.tree.map(lambda leaf: leaf[None], task)), uniform())
    run = trainer((alone,), learner, lambda key: theta, steps=steps)
    return run.theta(run.chunk(run.init(key))[0])


def _reached(life: Lifetime, agents: int, key: jax.Array, theta: Theta, level: Level, lifetime: jax.Array) -> jax.Array:
    """The mean return f32[] of untrained agents at the end of their lives."""

    def one(key: jax.Array) -> jax.Array:
        return whole_life(life, jax.random.split(key), theta, level, lifetime).episode_return

    return jnp.mean(jax.vmap(one)(jax.random.split(key, agents)))


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
