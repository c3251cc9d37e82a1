"""Scores: how much a task has to teach. Larger means: train on it more."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove.base import Score
from groove.lifetime import Lifetime
from levels.base import Level


class Antagonist(NamedTuple):
    """What a hand-written algorithm reaches on a task."""

    episode_return: jax.Array  # f32[]; mean over agents of their mean return
    standard_error: jax.Array  # f32[]; of that mean, over agents; 0 with a single one
    baseline: jax.Array  # f32[]; mean return of the random policy; 0 where it is not needed


def uniform() -> Score:
    """Every task scores 0: a curriculum without preference."""
    zero = jnp.zeros((), jnp.float32)
    return Score(reference=lambda key, level, lifetime: (), score=lambda outcome, reference, memory: (zero, memory))


def algorithmic_regret(antagonist: Lifetime, *, agents: int = 2) -> Score:
    """A - V: what the antagonist's agents reach on the task, minus what the learner's did.

    Returns are undiscounted, of single episodes at the end of the lifetime, neither clipped nor normalised (GROOVE, Jackson
    et al. 2023). The antagonist's part is the reference, averaged over several agents: one lucky draw, kept for ever, would
    attract replay for ever.

    Args:
        antagonist: How the agents of a hand-written rule live, `rules.a2c` in GROOVE; with the learner's steps and
            environments.
        agents: Antagonist agents per task, at least 1.
    """
    reach = _reach(antagonist, agents)

    def reference(key, level, lifetime):
        return Antagonist(*reach(key, level, lifetime), jnp.zeros((), jnp.float32))

    return Score(reference, lambda outcome, reference, memory: (reference.episode_return - outcome.episode_return, memory))


def normalised_regret(antagonist: Lifetime, random: Lifetime, *, agents: int = 2, scale: float = 1.0) -> Score:
    """(A - V) / max(A - random, 0.05 scale), so that levels rich in reward do not dominate.

    Args:
        antagonist: As in `algorithmic_regret`.
        random: Lives of `rules.random_policy` in the same environment; its evaluation is the zero of the scale.
        agents: Antagonist agents per task, at least 1.
        scale: What counts as a substantial return of one episode, positive; a twentieth of it is the least denominator.
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}.")
    reach = _reach(antagonist, agents)

    def reference(key, level, lifetime):
        reach_key, random_key = jax.random.split(key)
        baseline = random.evaluate(random_key, (), level, jnp.array(True)).episode_return
        return Antagonist(*reach(reach_key, level, lifetime), baseline)

    def score(outcome, reference, memory):
        gap = jnp.maximum(reference.episode_return - reference.baseline, 0.05 * scale)
        return (reference.episode_return - outcome.episode_return) / gap, memory

    return Score(reference, score)


def exact_regret(optimum: Callable[[Level], jax.Array]) -> Score:
    """Optimum - V: what the best policy of all earns in expectation, minus what the learner did.

    Args:
        optimum: A family's `optimum`.
    """
    return Score(
        reference=lambda key, level, lifetime: optimum(level),
        score=lambda outcome, reference, memory: (reference - outcome.episode_return, memory),
    )


def _reach(life: Lifetime, agents: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """`(key, level, lifetime) -> (mean, standard error)` of what `agents` agents of a hand-written rule reach."""
    if agents < 1:
        raise ValueError(f"agents must be at least 1, got {agents}.")

    def one(key, level, lifetime):
        life_key, measure_key = jax.random.split(key)
        agent = life.live(life_key, (), level, lifetime)
        return life.evaluate(measure_key, agent, level, jnp.array(True)).episode_return

    def reach(key, level, lifetime):
        returns = jax.vmap(one, (0, None, None))(jax.random.split(key, agents), level, lifetime)
        spread = jnp.std(returns, ddof=1) if agents > 1 else jnp.zeros((), jnp.float32)
        return jnp.mean(returns), spread / jnp.sqrt(jnp.float32(agents))

    return reach
