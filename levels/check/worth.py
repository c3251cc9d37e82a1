"""Laws of what levels are worth, and how fast all of it is."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from levels.base import Discrete, Level, Policy
from levels.check.subject import Compiled, Fault, Skip, Subject, Tally, compiled, episode, row, rows

ERRORS = 5
"""Standard errors by which a mean may be off."""

SLACK = 1e-4
"""What rounding may add to a return, relatively to its size and to 1."""

MOST_ACTIONS = 8
"""Policies that always take one action are tried for the first of them."""

UNROLLED = 5000
"""A program with more operations than this has a loop of Python in it."""


def optima(subject: Subject) -> np.ndarray:
    """The optimum of every level that is played, f64[levels]."""
    optimum = subject.known.optimum
    if optimum is None:
        raise Skip("the family has no optimum.")
    found = compiled(lambda levels: jax.lax.map(optimum, levels), subject.played).call(subject.played)
    if found.dtype != jnp.float32 or found.ndim != 1:
        raise Fault(f"optimum is {found.dtype}{list(found.shape[1:])}, not f32[].")
    bad = ~np.isfinite(np.asarray(found))
    if bad.any():
        raise Fault("the optimum is not finite.", level=row(subject.levels, int(bad.argmax())))
    return np.asarray(found, np.float64)


def optimum(subject: Subject) -> str:
    """No policy returns more than the optimum: not one that takes every action alike, nor one that repeats an action."""
    best, actions = optima(subject), subject.known.environment.spec.actions
    tallies = {"every action alike": subject.tallies}
    for action in range(min(actions, MOST_ACTIONS)):
        odds = jax.nn.one_hot(action, actions, dtype=jnp.float32)
        tallies[f"always action {action}"] = subject.player.call(subject.played, odds)
    for policy, tally in tallies.items():
        mean, error = mean_and_error(tally)
        over = mean - best - ERRORS * error - SLACK * (1 + np.abs(best))
        if (over > 0).any():
            i = int(over.argmax())
            reason = (
                f"{policy} returns {mean[i]:.4g} on average (standard error {error[i]:.2g}), the optimum is {best[i]:.4g}."
            )
            raise Fault(reason, "It is the highest expected return of an episode.", row(subject.levels, i))
    one_side = "" if subject.known.policy else " There is no policy to show that it is reached: it may be too high."
    return f"{len(tallies)} policies stay below it on {len(best)} levels; {best.min():.3g} to {best.max():.3g}.{one_side}"


def mean_and_error(tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    """Mean return of each level and its standard error, f64[levels]: that of all levels where it is the larger one.

    A level whose few episodes happen to be equal has not shown that they always are.
    """
    returns = np.asarray(tally.total, np.float64)
    variance = returns.var(axis=1, ddof=1) / returns.shape[1]
    return returns.mean(axis=1), np.sqrt(np.maximum(variance, variance.mean()))


def optimal_policy(subject: Subject) -> str:
    """The optimal policy is one: its value is the optimum, and so is what it returns."""
    family = subject.known
    policy, value = family.policy, family.value
    if policy is None:
        raise Skip("the family has no policy.")
    check_policy(subject, policy)
    best = optima(subject)
    if value is not None:
        check_value(subject, best, lambda level: value(level, policy(level)))
    mean, error = mean_and_error(played(subject, policy))
    off, error_of_all = np.mean(mean - best), np.sqrt(np.sum(error**2)) / len(best)
    if abs(off) > ERRORS * error_of_all + SLACK * (1 + np.abs(best).max()):
        i = int(np.abs(mean - best).argmax())
        reason = f"the policy returns {mean[i]:.4g} where the optimum is {best[i]:.4g}; over all levels it is {off:.2g} off."
        raise Fault(reason, "Does it depend on the step, and row by row on the observation?", row(subject.levels, i))
    return f"returns what the optimum says, but for {abs(off):.1g} on average."


def check_policy(subject: Subject, policy: Callable[[Level], Policy]) -> None:
    """Raises a Fault unless it gives probabilities for every observation."""
    spec = subject.known.environment.spec
    if not isinstance(spec.observation, Discrete):
        raise Fault(f"a policy needs discrete observations, the Spec says {spec.observation}.", "Leave `policy` out.")
    table = jax.jit(lambda level: policy(level)(jnp.int32(0)))(row(subject.levels, 0))
    size = (spec.observation.n, spec.actions)
    if table.shape != size or table.dtype != jnp.float32 or not np.allclose(table.sum(axis=-1), 1.0, rtol=1e-4):
        raise Fault(f"the policy must give probabilities f32{list(size)}, got {table.dtype}{list(table.shape)}.")


def check_value(subject: Subject, best: np.ndarray, worth: Callable[[Level], jax.Array]) -> None:
    """Raises a Fault with the first level on which the value of the optimal policy is not the optimum."""
    values = compiled(lambda levels: jax.lax.map(worth, levels), subject.played).call(subject.played)
    wrong = np.abs(np.asarray(values, np.float64) - best) > SLACK * (1 + np.abs(best))
    if wrong.any():
        i = int(wrong.argmax())
        raise Fault(
            f"the value of the optimal policy is {values[i]:.6g}, the optimum {best[i]:.6g}.", "", row(subject.levels, i)
        )


def played(subject: Subject, policy: Callable[[Level], Policy]) -> Tally:
    """Episodes [levels, episodes] under a policy of discrete observations."""
    environment, count = subject.known.environment, rows(subject.played)

    def several(key: jax.Array, level: Level) -> Tally:
        best = policy(level)
        keys = jax.random.split(key, subject.sizes.episodes)
        return jax.vmap(lambda key: episode(environment, key, level, lambda step, seen: best(step)[seen]))(keys)

    def all_of_them(keys: jax.Array, levels: Level) -> Tally:
        return jax.lax.map(lambda pair: several(*pair), (keys, levels))

    keys = jax.random.split(jax.random.key(subject.sizes.seed + 6), count)
    return compiled(all_of_them, keys, subject.played).call(keys, subject.played)


def success(subject: Subject) -> str:
    """Who returns the optimum has solved a level whose optimum is positive; who returns the least that was seen has not."""
    judge = subject.known.success
    if judge is None:
        raise Skip("the family has no success.")
    total = np.asarray(subject.tallies.total, np.float64)
    best = None if subject.known.optimum is None else optima(subject)
    check_least(subject, judge, total.min(axis=1), total.max(axis=1) if best is None else best)
    if best is None:
        return "is a boolean that the least return does not earn; there is no optimum to compare with."
    solved = judged(subject, judge, best)
    unsolved = (best > 0) & ~solved
    if unsolved.any():
        raise Fault("returning the optimum is no success.", "", row(subject.levels, int(unsolved.argmax())))
    return f"{np.mean(solved):.0%} of levels are solved by who returns the optimum."


def judged(subject: Subject, judge: Callable[[Level, jax.Array], jax.Array], returns: np.ndarray) -> np.ndarray:
    """Whether those returns solve the levels that are played, bool[levels]."""
    solved = jax.jit(jax.vmap(judge))(subject.played, jnp.asarray(returns, jnp.float32))
    if solved.dtype != bool or solved.ndim != 1:
        raise Fault(f"success is {solved.dtype}{list(solved.shape[1:])}, not bool[].")
    return np.asarray(solved)


def check_least(
    subject: Subject, judge: Callable[[Level, jax.Array], jax.Array], least: np.ndarray, best: np.ndarray
) -> None:
    """Raises a Fault if success says nothing: returns far below 0 earn it, or on every level the least one that was seen."""
    hint = "Success is to tell those who solve a level from those who do not: at least 0.75 of the optimum, for example."
    low = judged(subject, judge, np.minimum(least, best - 1 - np.abs(best))) & (best > 0)
    if low.any():
        raise Fault("returning less than nothing is a success.", hint, row(subject.levels, int(low.argmax())))
    apart = (best > 0) & (best > least + SLACK * (1 + np.abs(best)))
    if apart.any() and judged(subject, judge, least)[apart].all():
        raise Fault(
            "the least return that was seen is a success on every level.", hint, row(subject.levels, int(apart.argmax()))
        )


def solvable(subject: Subject) -> str:
    """The share of levels on which anything can be earned; where it says what success is, some must be."""
    if subject.known.optimum is None:
        share = float(np.mean(subject.tallies.total.max(axis=1) > 0))
        return f"{share:.0%} of levels paid something to random actions; there is no optimum to say more."
    share = float(np.mean(optima(subject) > 0))
    if share == 0 and subject.known.success is not None:
        raise Fault("the optimum of no level is positive.", "Nothing that pays can be reached.", row(subject.levels, 0))
    return f"{share:.0%} of levels have a positive optimum."


def speed(subject: Subject) -> str:
    """Sampling and playing compile in time. How fast they are is only reported."""
    parts = {"sampling": subject.sampler} | ({} if subject.family is None else {"playing": subject.player})
    for name, part in parts.items():
        check_seconds(name, part, subject.sizes.seconds)
    start = time.perf_counter()
    samples = jax.block_until_ready(subject.sampler.call(subject.keys))
    measured = [f"{rows(samples) / (time.perf_counter() - start):,.0f} samples a second"]
    if subject.family is not None:
        start = time.perf_counter()
        tally = jax.block_until_ready(subject.player.call(subject.played, subject.odds))
        measured.append(f"{int(tally.steps.sum()) / (time.perf_counter() - start):,.0f} steps a second")
    seconds = ", ".join(f"{name} compiled in {part.seconds:.1f} s" for name, part in parts.items())
    return f"{', '.join(measured)}; {seconds}."


def check_seconds(name: str, part: Compiled, limit: float) -> None:
    """Raises a Fault if that took longer than the limit to compile."""
    if part.seconds <= limit:
        return
    loop = "A loop of Python is unrolled: use jax.lax.scan or fori_loop." if part.operations > UNROLLED else ""
    reason = f"{name} takes {part.seconds:.1f} s to compile, more than {limit:g} s; it has {part.operations:,} operations"
    raise Fault(f"{reason}.", loop or "Fewer or simpler operations compile faster.")
