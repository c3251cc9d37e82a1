"""ALP-GMM: a Gaussian mixture that follows absolute learning progress (Portelas et al. 2020, arXiv 1910.07224)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from groove.base import Curriculum, Outcome, Score, Task
from groove.base.ranges import Number, check_shares
from groove.base.trees import arrivals, tree_scatter
from groove.curricula.source import Lifetimes, Pool, new_task, pool_info, ring
from groove.parallel import devices
from levels.base import Generator


class Gaussians(NamedTuple):
    """A mixture over vectors; components with odds 0 do not exist. Leading axis [K]."""

    odds: jax.Array  # f32[K]; unnormalised, the learning progress of each component; all 0 before the first fit
    mean: jax.Array  # f32[K, d]
    root: jax.Array  # f32[K, d, d]; lower triangular, root root^T is the covariance


class History(NamedTuple):
    """What was lived on, what came of it, and the mixture over it."""

    pool: Pool
    vector: jax.Array  # f32[history, d]; of the last tasks, task number n in place n mod history
    episode_return: jax.Array  # f32[history]
    progress: jax.Array  # f32[history]; |return - return of the nearest task before|
    reported: jax.Array  # i32[]; tasks reported
    fitted: jax.Array  # i32[]; of them known to the last fit
    mixture: Gaussians


def fit(vectors: np.ndarray, progress: np.ndarray, seed: int, *, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fits mixtures of 2 to `most` Gaussians to [vector, progress] and takes the one with the lowest AIC.

    Args:
        vectors: f[n, d], more rows than `most`.
        progress: f[n], at least 0.
        seed: Of the initialisations.
        most: Components tried, at least 2.

    Returns:
        The fields of `Gaussians`, f32, of `most` components. A component's odds are its mean progress.
    """
    from sklearn.mixture import GaussianMixture  # takes a second to import
    from threadpoolctl import threadpool_limits

    points = np.column_stack([vectors, progress]).astype(np.float64)
    kinds = [
        GaussianMixture(count, covariance_type="full", reg_covar=1e-4, random_state=seed) for count in range(2, most + 1)
    ]
    with threadpool_limits(1):  # so small, several threads take three times as long, and their sums differ by machine
        tried = [kind.fit(points) for kind in kinds]
    best = min(tried, key=lambda found: found.aic(points))
    dimensions, count = vectors.shape[1], best.n_components
    odds, mean = np.zeros(most, np.float32), np.zeros((most, dimensions), np.float32)
    root = np.zeros((most, dimensions, dimensions), np.float32)
    odds[:count] = np.maximum(best.means_[:, -1], 0.0)
    mean[:count] = best.means_[:, :-1]
    root[:count] = np.linalg.cholesky(best.covariances_[:, :-1, :-1])
    return odds, mean, root


def draw(key: jax.Array, mixture: Gaussians, *, explore: Number) -> jax.Array:
    """A vector f32[d] in [0, 1]: of the mixture, or uniform: with probability `explore`, or where nothing makes progress."""
    explore_key, uniform_key, choice_key, normal_key = jax.random.split(key, 4)
    dimensions = mixture.mean.shape[1]
    component = jax.random.categorical(choice_key, jnp.log(mixture.odds))
    point = mixture.mean[component] + mixture.root[component] @ jax.random.normal(normal_key, (dimensions,), jnp.float32)
    free = jax.random.bernoulli(explore_key, explore) | ~jnp.any(mixture.odds > 0)
    return jnp.where(free, jax.random.uniform(uniform_key, (dimensions,), jnp.float32), jnp.clip(point, 0.0, 1.0))


def alp_gmm(
    generator: Generator,
    score: Score,
    lifetimes: Lifetimes,
    *,
    size: int,
    block: int = 32,
    window: int = 250,
    history: int = 2500,
    components: int = 10,
    explore: Number = 0.2,
) -> Curriculum:
    """Decodes levels from a Gaussian mixture over the vectors on which returns have changed most.

    Of every task that is reported, the absolute learning progress is the distance of its return to that of the nearest
    earlier task. In the first refresh after `window` more reports, the mixture is fitted anew to the last `window` of them,
    on the host, by scikit-learn. Gaussians are drawn in proportion to their progress. Levels that wait then are drawn anew
    from the new mixture: their references are computed twice.

    Args:
        generator: With `decode`.
        score: Whose references are computed; what it says of a task does not steer the mixture.
        lifetimes: `(key) -> i32[]`.
        size: As of `pool`.
        block: As of `pool`.
        window: Reports between two fits and of each fit, more than `components`.
        history: Reports remembered, at least `window`.
        components: Most Gaussians, at least 2.
        explore: Share of levels decoded from uniform vectors, in [0, 1].
    """
    if generator.decode is None or generator.dimensions < 1:
        raise ValueError("mixture() needs a generator with decode and dimensions, got one without.")
    if not 2 <= components < window <= history:
        raise ValueError(f"2 <= components < window <= history must hold, got {components}, {window} and {history}.")
    check_shares({"explore": explore})
    decode, dimensions = generator.decode, generator.dimensions
    nobody = Gaussians(
        jnp.zeros(components, jnp.float32),
        jnp.zeros((components, dimensions), jnp.float32),
        jnp.zeros((components, dimensions, dimensions), jnp.float32),
    )

    def make(score, key, serial, guide):
        vector_key, lifetime_key, reference_key = jax.random.split(key, 3)
        vector = draw(vector_key, guide, explore=explore)
        return new_task(score, reference_key, decode(vector), lifetimes(lifetime_key), serial=serial, vector=vector)

    tasks = ring(score, make, size=size, block=block)

    def init(key):
        zero, nothing = jnp.zeros((), jnp.int32), jnp.zeros(history, jnp.float32)
        vectors = jnp.zeros((history, dimensions), jnp.float32)
        return History(tasks.init(key, nobody), vectors, nothing, nothing, zero, zero, nobody)

    def refresh(key, state):
        due = state.reported - state.fitted >= window
        state = jax.lax.cond(due, lambda: again(key, state, due), lambda: state)
        return state._replace(pool=tasks.refresh(state.pool, state.mixture))

    def again(key, state, due):
        return _refit(key, state, window, due)._replace(pool=tasks.drop(state.pool))

    def propose(key, state, needed):
        fed, new = tasks.take(state.pool, needed)
        return state._replace(pool=fed), new

    def info(state):
        seen = jnp.arange(history) < state.reported
        mean = jnp.sum(jnp.where(seen, state.progress, 0.0)) / jnp.maximum(jnp.sum(seen), 1)
        return {**pool_info(state.pool), "progress": mean, "components": jnp.sum(state.mixture.odds > 0)}

    def contents(state):
        waiting = state.pool.task.lifetime.size
        return state.pool.task, jnp.zeros(waiting, jnp.float32), jnp.zeros(waiting, bool)

    return Curriculum(
        init=init, propose=propose, report=_remember, refresh=refresh, info=info, contents=contents, score=score
    )


def _remember(state: History, tasks: Task, score: jax.Array, outcomes: Outcome, finished: jax.Array) -> History:
    """A curriculum's `report`: how far returns lie from those of the nearest earlier tasks."""
    value, history = outcomes.episode_return, state.progress.size
    known = finished & jnp.isfinite(value)
    progress = jnp.where(state.reported > 0, jnp.abs(value - _nearest(state, tasks.origin.vector)), 0.0)
    place = jnp.where(known, (state.reported + jnp.cumsum(known, dtype=jnp.int32) - known) % history, history)
    remembered = (state.vector, state.episode_return, state.progress)
    vector, value, progress = tree_scatter(remembered, (tasks.origin.vector, value, progress), arrivals(place, history))
    reported = state.reported + jnp.sum(known, dtype=jnp.int32)
    return state._replace(vector=vector, episode_return=value, progress=progress, reported=reported)


def _refit(key: jax.Array, state: History, window: int, due: jax.Array) -> History:
    """Fits the mixture to the last `window` reports, on the host; not if it is not due, as where runs are batched."""
    row = (state.reported - window + jnp.arange(window, dtype=jnp.int32)) % state.progress.size
    most = state.mixture.odds.size
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in state.mixture)

    def fit_if_due(due, vectors, progress, seed):
        if not due:
            return tuple(np.zeros(leaf.shape, leaf.dtype) for leaf in shapes)
        return fit(np.asarray(vectors), np.asarray(progress), int(seed), most=most)

    on_host = functools.partial(
        jax.pure_callback,
        fit_if_due,
        shapes,
        due,
        state.vector[row],
        state.progress[row],
        jax.random.randint(key, (), 0, 2**31 - 1),
        vmap_method="sequential",
    )
    return state._replace(mixture=Gaussians(*devices.by_one(on_host)), fitted=state.reported)


def _nearest(state: History, vector: jax.Array) -> jax.Array:
    """The return f32[B] of the known task whose vector is nearest to each of f32[B, d]."""
    history = state.episode_return.size
    cross = vector @ state.vector.T
    distance = jnp.sum(jnp.square(state.vector), axis=1)[None] - 2 * cross
    known = jnp.arange(history) < state.reported
    return state.episode_return[jnp.argmin(jnp.where(known[None], distance, jnp.inf), axis=1)]
