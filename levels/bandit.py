"""Bandits with Bernoulli or Gaussian arms: one state, a fixed number of pulls, and an optimum in closed form."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from levels.base import TIME_SCALE, Discrete, Environment, Family, Generator, Policy, Spec, TimeStep, interval, uniform


class BanditLevel(NamedTuple):
    """One bandit, padded to K arms; unused entries are zero, so that equal levels have equal bytes."""

    mean: jax.Array  # f32[K]; expected reward of each arm; of a Bernoulli arm the probability that it pays 1
    deviation: jax.Array  # f32[]; standard deviation of every Gaussian arm, 0 for Bernoulli arms
    arms: jax.Array  # i32[]; arms in use, 2..K
    pulls: jax.Array  # i32[]; the length of an episode


class BanditState(NamedTuple):
    """An episode in progress."""

    step: jax.Array  # i32[]; pulls so far


class Ranges(NamedTuple):
    """What random bandits are drawn from. Pairs are (lowest, highest)."""

    arms: tuple[int, int]  # uniform; the highest is K
    pulls: tuple[int, int]  # log-uniform
    mean: tuple[float, float]  # uniform
    deviation: tuple[float, float]  # log-uniform; (0, 0) for Bernoulli arms


def bernoulli_bandit(
    *,
    arms: int = 10,
    fewest_arms: int = 2,
    pulls: tuple[int, int] = (20, 20),
    mean: tuple[float, float] = (0.0, 1.0),
    time: bool = True,
) -> Family:
    """Bandits whose arms pay 1 with a probability of their own, else 0.

    Args:
        arms: Arms that every level is padded to, K. Action a pulls arm a mod n of a level of n arms: every action is valid,
            and the level is a bandit of n arms, some of which have several handles.
        fewest_arms: Fewest arms of a random level.
        pulls: Range of the log-uniform number of pulls of an episode; its upper end is the episode limit.
        mean: Range of the uniform probabilities, within [0, 1].
        time: Whether the agent sees the time; then the last pull terminates, else it truncates.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> import jax
        >>> from levels.bandit import bernoulli_bandit
        >>> family = bernoulli_bandit(arms=5)
        >>> level = family.generator.sample(jax.random.key(0))
        >>> bool(family.optimum(level) == 20 * level.mean.max())
        True
    """
    checked_mean = interval(mean, "mean", 0.0, 1.0)
    return _family("bernoulli-bandit", _ranges(arms, fewest_arms, pulls, checked_mean, (0.0, 0.0)), bernoulli, time)


def gaussian_bandit(
    *,
    arms: int = 10,
    fewest_arms: int = 2,
    pulls: tuple[int, int] = (20, 20),
    mean: tuple[float, float] = (-1.0, 1.0),
    deviation: tuple[float, float] = (0.1, 1.0),
    time: bool = True,
) -> Family:
    """Bandits whose arms pay normal rewards, with means of their own and one standard deviation.

    Args:
        arms: Arms that every level is padded to, K; action a pulls arm a mod n, as in `bernoulli_bandit`.
        fewest_arms: Fewest arms of a random level.
        pulls: Range of the log-uniform number of pulls of an episode; its upper end is the episode limit.
        mean: Range of the uniform means.
        deviation: Range of the log-uniform standard deviation.
        time: Whether the agent sees the time; then the last pull terminates, else it truncates.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> from levels.bandit import gaussian_bandit
        >>> gaussian_bandit(arms=3).environment.spec.actions
        3
    """
    largest = float(jnp.finfo(jnp.float32).max)
    checked_mean = interval(mean, "mean", -largest, largest)
    checked_deviation = interval(deviation, "deviation", float(jnp.finfo(jnp.float32).tiny), largest)
    return _family("gaussian-bandit", _ranges(arms, fewest_arms, pulls, checked_mean, checked_deviation), gaussian, time)


def bernoulli(word: jax.Array, mean: jax.Array, deviation: jax.Array) -> jax.Array:
    """A reward f32[] of 1 with probability `mean`, else 0."""
    return (uniform(word) < mean).astype(jnp.float32)


def gaussian(word: jax.Array, mean: jax.Array, deviation: jax.Array) -> jax.Array:
    """A normal reward f32[], by the inverse of the distribution function at the middle of one of 2^23 equal parts."""
    odd = (word >> 8) | jnp.uint32(1)
    centred = (odd.astype(jnp.int32) - 2**23).astype(jnp.float32) * jnp.float32(2.0**-23)  # exact, within (-1, 1)
    return mean + deviation * math.sqrt(2) * jax.lax.erf_inv(centred)


def environment(spec: Spec, reward: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]) -> Environment:
    """The environment of bandits whose arms pay `reward(word, mean, deviation)`."""

    def reset(noise: jax.Array, level: BanditLevel) -> tuple[BanditState, TimeStep]:
        nothing = jnp.float32(0)
        return BanditState(jnp.int32(0)), TimeStep(jnp.int32(0), nothing, nothing, jnp.bool_(False), jnp.bool_(False))

    def step(noise: jax.Array, level: BanditLevel, state: BanditState, action: jax.Array) -> tuple[BanditState, TimeStep]:
        paid = reward(noise[0], level.mean[action % level.arms], level.deviation)
        after = BanditState(state.step + 1)
        last = after.step >= level.pulls
        time = after.step.astype(jnp.float32) * jnp.float32(TIME_SCALE)
        never = jnp.zeros_like(last)
        terminated, truncated = (last, never) if spec.time else (never, last)
        return after, TimeStep(jnp.int32(0), time, paid, terminated, truncated)

    return Environment(spec, reset, step)


def dimensions(ranges: Ranges) -> int:
    """The length of the vector that a level is decoded from: arms, pulls, deviation, and one an arm."""
    return 3 + ranges.arms[1]


def sample(key: jax.Array, ranges: Ranges) -> BanditLevel:
    """A random level."""
    return decode(jax.random.uniform(key, (dimensions(ranges),), jnp.float32), ranges)


def decode(vector: jax.Array, ranges: Ranges) -> BanditLevel:
    """The level of a vector f32[d] in [0, 1], by inverse distribution functions; a uniform one gives that of `sample`."""
    vector = jnp.clip(vector.astype(jnp.float32), 0.0, 1.0)
    low, high = ranges.arms
    arms = jnp.minimum(low + jnp.floor(vector[0] * (high - low + 1)).astype(jnp.int32), high)
    means = draw_mean(vector[3:], ranges)
    return BanditLevel(
        mean=jnp.where(jnp.arange(high, dtype=jnp.int32) < arms, means, 0.0),
        deviation=draw_deviation(vector[2], ranges),
        arms=arms,
        pulls=draw_pulls(vector[1], ranges),
    )


def draw_mean(u: jax.Array, ranges: Ranges) -> jax.Array:
    """Uniform means f32[...]."""
    return ranges.mean[0] + u * (ranges.mean[1] - ranges.mean[0])


def draw_deviation(u: jax.Array, ranges: Ranges) -> jax.Array:
    """A log-uniform deviation f32[]; 0 for Bernoulli arms."""
    low, high = ranges.deviation
    if high == 0:
        return jnp.zeros_like(u)
    return jnp.clip(low * jnp.exp(u * (math.log(high) - math.log(low))), low, high)


def draw_pulls(u: jax.Array, ranges: Ranges) -> jax.Array:
    """The integer part of a log-uniform number in [lowest, highest + 1), i32[]."""
    low, high = ranges.pulls
    return jnp.clip(jnp.floor(low * jnp.exp(u * math.log((high + 1) / low))).astype(jnp.int32), low, high)


def is_valid(level: BanditLevel, ranges: Ranges) -> jax.Array:
    """Whether a level has 2..K arms with finite means (Bernoulli: in [0, 1]), zeros beyond, and a proper length: bool[]."""
    spare = jnp.arange(ranges.arms[1], dtype=jnp.int32) >= level.arms
    discrete = ranges.deviation[1] == 0
    means = (level.mean >= 0) & (level.mean <= 1) if discrete else jnp.isfinite(level.mean)
    deviated = level.deviation == 0 if discrete else (level.deviation > 0) & jnp.isfinite(level.deviation)
    counted = (level.arms >= 2) & (level.arms <= ranges.arms[1]) & (level.pulls >= 1) & (level.pulls <= ranges.pulls[1])
    return jnp.all(means) & jnp.all(~spare | (level.mean == 0)) & deviated & counted


def mutate(key: jax.Array, level: BanditLevel, ranges: Ranges) -> BanditLevel:
    """One edit of a valid level, valid again, drawn among those that apply.

    They are: an arm's mean redrawn, an arm added, the last arm removed, the pulls redrawn, the deviation redrawn.
    """
    which_key, arm_key, mean_key, number_key = jax.random.split(key, 4)
    slots = jnp.arange(ranges.arms[1], dtype=jnp.int32)
    mean = draw_mean(jax.random.uniform(mean_key, dtype=jnp.float32), ranges)
    u = jax.random.uniform(number_key, dtype=jnp.float32)
    pulls, (fewest, most) = draw_pulls(u, ranges), ranges.pulls
    following = jnp.where(level.pulls < most, level.pulls + 1, fewest)
    edits = (
        level._replace(mean=jnp.where(slots == jax.random.randint(arm_key, (), 0, level.arms), mean, level.mean)),
        level._replace(mean=jnp.where(slots == level.arms, mean, level.mean), arms=level.arms + 1),
        level._replace(mean=jnp.where(slots == level.arms - 1, 0.0, level.mean), arms=level.arms - 1),
        level._replace(pulls=jnp.where(pulls == level.pulls, following, pulls)),
        level._replace(deviation=draw_deviation(u, ranges)),
    )
    fixed = [jnp.bool_(low < high) for low, high in (ranges.pulls, ranges.deviation)]
    applies = jnp.stack([jnp.bool_(True), level.arms < ranges.arms[1], level.arms > ranges.arms[0], *fixed])
    which = jax.random.categorical(which_key, jnp.where(applies, 0.0, -jnp.inf))
    return jax.tree.map(lambda *options: jnp.stack(options)[which], *edits)


def optimum(level: BanditLevel) -> jax.Array:
    """The highest expected return of an episode, f32[]: the best arm at every pull."""
    return level.pulls.astype(jnp.float32) * jnp.max(arm_means(level))


def arm_means(level: BanditLevel) -> jax.Array:
    """The expected reward of each action, f32[K]."""
    return level.mean[jnp.arange(level.mean.size, dtype=jnp.int32) % level.arms]


def policy(level: BanditLevel) -> Policy:
    """The policy that pulls the best arm."""
    best = jax.nn.one_hot(jnp.argmax(arm_means(level))[None], level.mean.size, dtype=jnp.float32)
    return lambda step: best


def value(level: BanditLevel, policy: Policy) -> jax.Array:
    """The expected return f32[] of an episode under a policy per step."""
    means = arm_means(level)

    def pull(step: jax.Array, total: jax.Array) -> jax.Array:
        return total + jnp.sum(policy(step)[0] * means)

    return jax.lax.fori_loop(0, level.pulls, pull, jnp.float32(0))


def differentiable_value(level: BanditLevel, policy: Policy, *, episode_limit: int) -> jax.Array:
    """What `value` is, f32[], with a gradient in the policy's probabilities; `episode_limit`: the most pulls of a level."""
    steps = jnp.arange(episode_limit, dtype=jnp.int32)
    reward = jax.vmap(lambda step: policy(step)[0] @ arm_means(level))(steps)
    return jnp.sum(jnp.where(steps < level.pulls, reward, 0.0))


def success(level: BanditLevel, episode_return: jax.Array) -> jax.Array:
    """Whether the return of an episode is at least 0.75 of the optimum, and that is positive: bool[]."""
    best = optimum(level)
    return (best > 0) & (episode_return >= 0.75 * best)


def features(level: BanditLevel) -> dict[str, jax.Array]:
    """Measurements of a level, each f32[]: arms, pulls, deviation; mean of the best arm, its lead, mean of all."""
    in_use = jnp.arange(level.mean.size, dtype=jnp.int32) < level.arms
    ordered = jnp.sort(jnp.where(in_use, level.mean, -jnp.inf))
    return {
        "arms": level.arms.astype(jnp.float32),
        "pulls": level.pulls.astype(jnp.float32),
        "deviation": level.deviation,
        "best": ordered[-1],
        "lead": ordered[-1] - ordered[-2],
        "mean": jnp.sum(level.mean) / level.arms.astype(jnp.float32),
    }


def draw(level: BanditLevel) -> str:
    """A level as a bar chart of its arms.

    Example:
        >>> import jax.numpy as jnp
        >>> from levels.bandit import BanditLevel, draw
        >>> print(draw(BanditLevel(jnp.array([0.25, 0.5, 0.0]), jnp.float32(0), jnp.int32(2), jnp.int32(20))))
        arm 0   0.250  ##########
        arm 1   0.500  ####################
        20 pulls, deviation 0
    """
    level = jax.tree.map(np.asarray, level)
    means = level.mean[: level.arms]
    scale = max(1.0, float(np.max(np.abs(means))))
    rows = [f"arm {arm}  {mean:6.3f}  {'#' * round(40 * abs(mean) / scale)}" for arm, mean in enumerate(means)]
    return "\n".join([*rows, f"{level.pulls} pulls, deviation {level.deviation:.3g}"])


def image(level: BanditLevel, state: BanditState | None = None) -> np.ndarray:
    """A picture u8[120, 24 n, 3] of the n arms of a level: bars up from zero in green, down in red, the best one darker.

    In the middle of each lies zero, or at the foot if no mean is negative. An episode's state has nothing to show.
    """
    level = jax.tree.map(np.asarray, level)
    means = level.mean[: level.arms]
    scale = max(1.0, float(np.max(np.abs(means))))
    picture = np.full((120, 24 * len(means), 3), (250, 248, 243), np.uint8)
    zero, reach = (60, 52) if np.min(means) < 0 else (112, 104)
    for arm, mean in enumerate(means):
        top, bottom = sorted((zero, zero - round(reach * float(mean) / scale)))
        strong = (24, 110, 60) if mean >= 0 else (160, 40, 36)
        weak = (120, 190, 146) if mean >= 0 else (222, 140, 134)
        picture[top:bottom, 24 * arm + 4 : 24 * arm + 20] = strong if arm == np.argmax(means) else weak
    picture[zero] = (74, 78, 88)
    return picture


def _ranges(
    arms: int, fewest: int, pulls: tuple[int, int], mean: tuple[float, float], deviation: tuple[float, float]
) -> Ranges:
    if arms < 2:
        raise ValueError(f"arms must be at least 2, got {arms}.")
    if not 2 <= fewest <= arms:
        raise ValueError(f"fewest_arms must be between 2 and arms = {arms}, got {fewest}.")
    return Ranges((fewest, arms), interval(pulls, "pulls", 1, 2**24), mean, deviation)


def _family(name: str, ranges: Ranges, reward: Callable[[jax.Array, jax.Array, jax.Array], jax.Array], time: bool) -> Family:
    spec = Spec(Discrete(1), time, actions=ranges.arms[1], episode_limit=ranges.pulls[1], noise=1, reset_noise=0)
    generator = Generator(
        sample=functools.partial(sample, ranges=ranges),
        mutate=functools.partial(mutate, ranges=ranges),
        decode=functools.partial(decode, ranges=ranges),
        dimensions=dimensions(ranges),
        is_valid=functools.partial(is_valid, ranges=ranges),
    )
    return Family(
        name,
        environment(spec, reward),
        generator,
        draw,
        image,
        optimum,
        policy,
        value,
        success,
        features,
        scale=float(spec.episode_limit),
        differentiable_value=functools.partial(differentiable_value, episode_limit=spec.episode_limit),
    )
