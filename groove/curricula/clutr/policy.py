"""The teacher of CLUTR: a Gaussian over a latent space, trained by PPO as a problem of one step (arXiv 2210.10243)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from groove.base import Curriculum, Outcome, Score, Task
from groove.base.trees import arrivals, tree_scatter
from groove.curricula.clutr.autoencoder import Decoded
from groove.curricula.source import Lifetimes, Pool, new_task, pool_info, ring
from levels.base import Level


class Gaussian(NamedTuple):
    """Independent normal variables."""

    mean: jax.Array  # f32[d]
    log_deviation: jax.Array  # f32[d]


class Teacher(NamedTuple):
    """A policy over levels, and what came of the levels since it last learned. The leading axis of reports is [batch]."""

    pool: Pool
    policy: Gaussian
    optimizer: optax.OptState
    point: jax.Array  # f32[batch, d]
    log_odds: jax.Array  # f32[batch]; under the policy that drew the point
    reward: jax.Array  # f32[batch]; the score
    reported: jax.Array  # i32[]; tasks reported since it last learned
    learned: jax.Array  # i32[]; times that it learned


def log_density(policy: Gaussian, point: jax.Array) -> jax.Array:
    """The logarithm of the density at a point, but for a constant: f32[] of f32[d]."""
    scaled = (point - policy.mean) * jnp.exp(-policy.log_deviation)
    return -jnp.sum(0.5 * jnp.square(scaled) + policy.log_deviation)


def objective(
    policy: Gaussian, point: jax.Array, log_odds: jax.Array, advantage: jax.Array, *, clip: float, entropy: float
) -> jax.Array:
    """PPO's clipped objective (Schulman et al. 2017, eq. 7) of points f32[n, d], plus `entropy` times that of the policy."""
    ratio = jnp.exp(jnp.clip(jax.vmap(log_density, (None, 0))(policy, point) - log_odds, -10.0, 10.0))
    clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
    return jnp.mean(jnp.minimum(ratio * advantage, clipped * advantage)) + entropy * jnp.sum(policy.log_deviation)


def clutr(
    decode: Callable[[jax.Array], Level | Decoded],
    score: Score,
    lifetimes: Lifetimes,
    *,
    dimensions: int,
    size: int,
    block: int = 32,
    batch: int = 128,
    epochs: int = 10,
    rate: float = 0.03,
    clip: float = 0.2,
    entropy: float = 0.003,
) -> Curriculum:
    """Decodes levels from a Gaussian over a latent space that learns where the score is high.

    The Gaussian begins as the prior of an autoencoder, N(0, 1). In the first refresh after `batch` reports it takes `epochs`
    steps of PPO on the last `batch` of them, their scores normalised. Levels that wait then are decoded anew, by what it has
    learned: their references are computed twice. `fallback` in info is the share of the levels waiting whose point decodes
    to no valid level, so that one of the autoencoder's bank stands in: of the prior, as long as nothing was learned.

    Args:
        decode: `(point f32[dimensions]) -> level`, valid everywhere, or `Decoded`, such as `decoder(...)`.
        score: What the teacher maximises; regret in CLUTR.
        lifetimes: `(key) -> i32[]`.
        dimensions: Of the latent space, at least 1.
        size: As of `pool`.
        block: As of `pool`.
        batch: Reports learned from at once, at least 2.
        epochs: Steps of Adam on each batch, at least 1.
        rate: Adam's learning rate.
        clip: PPO's.
        entropy: Weight of the Gaussian's entropy.

    Returns:
        A curriculum whose tasks remember the point that they were decoded from and, behind it, its log-density and whether
        the level is its own, 1 or 0.
    """
    for name, value, least in (("dimensions", dimensions, 1), ("batch", batch, 2), ("epochs", epochs, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    optimizer = optax.adam(rate)

    def make(score, key, serial, policy: Gaussian) -> Task:
        point_key, lifetime_key, reference_key = jax.random.split(key, 3)
        noise = jax.random.normal(point_key, (dimensions,), jnp.float32)
        point = policy.mean + jnp.exp(policy.log_deviation) * noise
        found = decode(point)
        level, own = found if isinstance(found, Decoded) else (found, True)
        vector = jnp.append(point, jnp.stack([log_density(policy, point), jnp.asarray(own, jnp.float32)]))
        return new_task(score, reference_key, level, lifetimes(lifetime_key), serial=serial, vector=vector)

    tasks = ring(score, make, size=size, block=block)

    def init(key):
        policy = Gaussian(jnp.zeros(dimensions, jnp.float32), jnp.zeros(dimensions, jnp.float32))
        zero, nothing = jnp.zeros((), jnp.int32), jnp.zeros(batch, jnp.float32)
        points = jnp.zeros((batch, dimensions), jnp.float32)
        return Teacher(tasks.init(key, policy), policy, optimizer.init(policy), points, nothing, nothing, zero, zero)

    def learn(state: Teacher) -> Teacher:
        advantage = (state.reward - jnp.mean(state.reward)) / (jnp.std(state.reward) + 1e-8)

        def step(now, _):
            policy, moments = now
            slope = jax.grad(objective)(policy, state.point, state.log_odds, advantage, clip=clip, entropy=entropy)
            updates, moments = optimizer.update(jax.tree.map(jnp.negative, slope), moments, policy)
            return (optax.apply_updates(policy, updates), moments), None

        (policy, moments), _ = jax.lax.scan(step, (state.policy, state.optimizer), None, length=epochs)
        none, pool = jnp.zeros((), jnp.int32), tasks.drop(state.pool)
        return state._replace(pool=pool, policy=policy, optimizer=moments, reported=none, learned=state.learned + 1)

    def refresh(key, state):
        state = jax.lax.cond(state.reported >= batch, learn, lambda state: state, state)
        return state._replace(pool=tasks.refresh(state.pool, state.policy))

    def propose(key, state, needed):
        fed, new = tasks.take(state.pool, needed)
        return state._replace(pool=fed), new

    return Curriculum(
        init=init,
        propose=propose,
        report=_remember,
        refresh=refresh,
        info=_info,
        contents=_contents,
        score=score,
    )


def _remember(state: Teacher, tasks: Task, score: jax.Array, outcomes: Outcome, finished: jax.Array) -> Teacher:
    """A curriculum's `report`: what was decoded where, and how it scored; the oldest are overwritten."""
    known, batch = finished & jnp.isfinite(score), state.reward.size
    number = state.reported + jnp.cumsum(known, dtype=jnp.int32) - known
    last = state.reported + jnp.sum(known, dtype=jnp.int32) - batch  # of one place the last report stays
    place = jnp.where(known & (number >= last), number % batch, batch)
    vector = tasks.origin.vector
    remembered = (state.point, state.log_odds, state.reward)
    point, log_odds, reward = tree_scatter(remembered, (vector[:, :-2], vector[:, -2], score), arrivals(place, batch))
    reported = state.reported + jnp.sum(known, dtype=jnp.int32)
    return state._replace(point=point, log_odds=log_odds, reward=reward, reported=reported)


def _info(state: Teacher) -> dict[str, jax.Array]:
    spread = jnp.exp(jnp.mean(state.policy.log_deviation))
    away = jnp.sqrt(jnp.mean(jnp.square(state.policy.mean)))
    own = state.pool.task.origin.vector[:, -1]
    made = jnp.arange(own.size) < state.pool.filled
    fallback = jnp.sum(jnp.where(made, 1 - own, 0.0)) / jnp.maximum(jnp.sum(made), 1)
    taught = {"learned": state.learned, "deviation": spread, "distance": away, "fallback": fallback}
    return {**pool_info(state.pool), **taught}


def _contents(state: Teacher) -> tuple[Task, jax.Array, jax.Array]:
    waiting = state.pool.task.lifetime.size
    return state.pool.task, jnp.zeros(waiting, jnp.float32), jnp.zeros(waiting, bool)
