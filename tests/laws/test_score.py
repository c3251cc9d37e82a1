"""What every score promises."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from members import BANDIT, SCORES, sample

from groove.base import Outcome, Signals

BATCH = 6

every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())


def references(score, seed=0):
    keys = jax.random.split(jax.random.key(seed), BATCH)
    return jax.jit(jax.vmap(score.reference, (0, 0, None)))(keys, sample(BANDIT, BATCH), jnp.int32(4))


def batch(score, seed=0):
    returns = 5 * jax.random.normal(jax.random.key(seed + 1), (BATCH,))
    memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (BATCH, *jnp.shape(leaf))), score.memory)
    shares = jax.random.uniform(jax.random.key(seed + 3), (BATCH,))
    signals = Signals(returns + 1.0, shares, shares - 0.5, 2 * shares, shares)
    return Outcome(returns, jnp.zeros(BATCH), signals), references(score), memory


@every_score
def test_signatures(score):
    assert list(inspect.signature(score.reference).parameters) == ["key", "level", "lifetime"]
    assert list(inspect.signature(score.score).parameters) == ["outcome", "reference", "memory"]


@every_score
def test_scores_are_finite_numbers(score):
    outcome, reference, memory = batch(score)
    got, after = jax.vmap(score.score)(outcome, reference, memory)
    assert got.shape == (BATCH,) and got.dtype == jnp.float32 and np.isfinite(got).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(reference))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), memory
    )


@every_score
def test_permuting_the_batch_permutes_the_scores(score):
    data = batch(score)
    order = jax.random.permutation(jax.random.key(2), BATCH)
    plain = jax.vmap(score.score)(*data)
    permuted = jax.vmap(score.score)(*jax.tree.map(lambda leaf: leaf[order], data))
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[order], plain), permuted)


@every_score
def test_a_reference_is_the_same_for_the_same_key(score):
    chex.assert_trees_all_equal(references(score), references(score))


@pytest.mark.parametrize("score", [score for score in SCORES.values() if score.like is not None])
def test_what_is_like_a_reference_has_its_shapes(score):
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (BATCH, *jnp.shape(leaf))), score.like)
    chex.assert_trees_all_equal_shapes_and_dtypes(rows, references(score))


@pytest.mark.parametrize("score", [score for name, score in SCORES.items() if "regret" in name])
def test_a_higher_return_never_has_a_higher_regret(score):
    outcome, reference, memory = batch(score)
    better = outcome._replace(episode_return=outcome.episode_return + 1.0)
    low, high = (jax.vmap(score.score)(o, reference, memory)[0] for o in (better, outcome))
    assert (low <= high).all()
