"""Scores: how much a task has to teach. Larger means: train on it more."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove.base import Outcome, Score, Signals, Theta
from groove.lifetime import Lifetime, whole_life
from levels.base import Level


class Antagonist(NamedTuple):
    """What a hand-written algorithm reaches on a task."""

    episode_return: jax.Array  # f32[]; mean over agents of their mean return
    standard_error: jax.Array  # f32[]; of that mean, over agents; 0 with a single one
    baseline: jax.Array  # f32[]; mean return of the random policy; 0 where it is not needed


def _nothing() -> Antagonist:
    zero = jnp.zeros((), jnp.float32)
    return Antagonist(zero, zero, zero)


def uniform() -> Score:
    """Every task scores 0: a curriculum without preference."""
    zero = jnp.zeros((), jnp.float32)
    return Score(reference=lambda key, level, lifetime: (), score=lambda outcome, reference, memory: (zero, memory))


def algorithmic_regret(antagonist: Lifetime, *, agents: int = 2, theta: Theta = ()) -> Score:
    """A - V: what the antagonist's agents reach on the task, minus what the learner's did.

    Returns are undiscounted, of single episodes at the end of the lifetime, neither clipped nor normalised (GROOVE, Jackson
    et al. 2023). The antagonist's part is the reference, averaged over several agents: one lucky draw, kept for ever, would
    attract replay for ever.

    Args:
        antagonist: How the agents of a hand-written rule live, `rules.a2c` in GROOVE; with the learner's steps and
            environments.
        agents: Antagonist agents per task, at least 1.
        theta: Of the antagonist's rule, where that is a learned one.
    """
    reach = _reach(antagonist, theta, agents)

    def reference(key, level, lifetime):
        return Antagonist(*reach(key, level, lifetime), jnp.zeros((), jnp.float32))

    def score(outcome, reference, memory):
        return reference.episode_return - outcome.episode_return, memory

    return Score(reference, score, like=_nothing())


def normalised_regret(
    antagonist: Lifetime, random: Lifetime, *, agents: int = 2, scale: float = 1.0, theta: Theta = ()
) -> Score:
    """(A - V) / max(A - random, 0.05 scale), so that levels rich in reward do not dominate.

    Args:
        antagonist: As in `algorithmic_regret`.
        random: Lives of `rules.random_policy` in the same environment; its evaluation is the zero of the scale.
        agents: Antagonist agents per task, at least 1.
        scale: What counts as a substantial return of one episode, positive; a twentieth of it is the least denominator.
        theta: As in `algorithmic_regret`.
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}.")
    reach = _reach(antagonist, theta, agents)

    def reference(key, level, lifetime):
        reach_key, random_key = jax.random.split(key)
        baseline = _at_random(random, random_key, level)
        return Antagonist(*reach(reach_key, level, lifetime), baseline)

    def score(outcome, reference, memory):
        gap = jnp.maximum(reference.episode_return - reference.baseline, 0.05 * scale)
        return (reference.episode_return - outcome.episode_return) / gap, memory

    return Score(reference, score, like=_nothing())


def exact_regret(optimum: Callable[[Level], jax.Array]) -> Score:
    """Optimum - V: what the best policy of all earns in expectation, minus what the learner did.

    Args:
        optimum: A family's `optimum`.
    """
    return Score(
        reference=lambda key, level, lifetime: jnp.asarray(optimum(level), jnp.float32),
        score=lambda outcome, reference, memory: (reference - outcome.episode_return, memory),
        like=jnp.zeros((), jnp.float32),
    )


class LastVisit(NamedTuple):
    """What learning progress remembers of a task."""

    last: jax.Array  # f32[]; the learner's return at the last visit
    visited: jax.Array  # bool[]; there was one


def learning_progress(random: Lifetime) -> Score:
    """|V - V'|: how far the return has moved since the rule was last tried on the task.

    Of a new task V' is the random policy's return: what the rule reached before it knew anything. ALP-GMM (Portelas et al.
    2020, arXiv 1910.07224) compares with the nearest earlier task instead, see `curricula.alp_gmm`.

    Args:
        random: Lives of `rules.random_policy` in the same environment.
    """

    def score(outcome, reference, memory):
        before = jnp.where(memory.visited, memory.last, reference)
        return jnp.abs(outcome.episode_return - before), LastVisit(outcome.episode_return, jnp.ones_like(memory.visited))

    return Score(
        reference=lambda key, level, lifetime: _at_random(random, key, level),
        score=score,
        memory=LastVisit(jnp.zeros((), jnp.float32), jnp.zeros((), bool)),
        like=jnp.zeros((), jnp.float32),
    )


def l1_value_loss() -> Score:
    """Mean |A_t| over the steps of episodes, A by GAE: how wrong the value function is (PLR, Jiang et al. 2021).

    Needs outcomes with signals, see `groove.lifetime.signals`.
    """
    return _of_signals(lambda signals: signals.advantage_size)


def positive_value_loss() -> Score:
    """Mean max(A_t, 0) over the steps of episodes, A by GAE (robust PLR, Jiang et al. 2021b, arXiv 2110.02439).

    Needs outcomes with signals, see `groove.lifetime.signals`.
    """
    return _of_signals(lambda signals: signals.advantage_gain)


def maximum_monte_carlo() -> Score:
    """MaxMC: the mean over steps of (best return ever on the task - V(s_t)) (Jiang et al. 2021b, arXiv 2110.02439).

    V is discounted and the return is not, as in the authors' work. Needs outcomes with signals (`groove.lifetime.signals`).
    """

    def score(outcome, reference, memory):
        signals = _signals_of(outcome)
        best = jnp.maximum(memory, signals.highest)
        return best - signals.value, best

    return Score(lambda key, level, lifetime: (), score, memory=jnp.full((), -jnp.inf, jnp.float32))


def learnability() -> Score:
    """The variance p (1 - p) of success, p the share of episodes that do (SFL, Rutherford et al. 2024, arXiv 2408.15099).

    Needs outcomes with signals, see `groove.lifetime.signals`, and a family that says what success is.
    """
    return _of_signals(lambda signals: signals.success * (1.0 - signals.success))


def _of_signals(measure: Callable[[Signals], jax.Array]) -> Score:
    return Score(
        reference=lambda key, level, lifetime: (),
        score=lambda outcome, reference, memory: (measure(_signals_of(outcome)), memory),
    )


def _signals_of(outcome: Outcome) -> Signals:
    if not isinstance(outcome.signals, Signals):
        raise ValueError("this score needs outcomes with signals: lives must evaluate by groove.lifetime.signals.observed.")
    return outcome.signals


def _at_random(random: Lifetime, key: jax.Array, level: Level) -> jax.Array:
    """What the random policy's agent, which has no state, reaches: f32[]."""
    return random.evaluate(key, (), level, jnp.array(True)).episode_return


def _reach(life: Lifetime, theta: Theta, agents: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """`(key, level, lifetime) -> (mean, standard error)` of what `agents` agents of a rule reach."""
    if agents < 1:
        raise ValueError(f"agents must be at least 1, got {agents}.")

    def one(key, level, lifetime):
        return whole_life(life, jax.random.split(key), theta, level, lifetime).episode_return

    def reach(key, level, lifetime):
        returns = jax.vmap(one, (0, None, None))(jax.random.split(key, agents), level, lifetime)
        spread = jnp.std(returns, ddof=1) if agents > 1 else jnp.zeros((), jnp.float32)
        return jnp.mean(returns), spread / jnp.sqrt(jnp.float32(agents))

    return reach
