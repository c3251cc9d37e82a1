"""What every generator of levels promises."""

import functools

import chex
import jax
import numpy as np
import pytest
from members import FAMILIES, rows, sample, signature

COUNT = 100

every_generator = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


@functools.cache
def batched(function):
    return jax.jit(jax.vmap(function))


def varies(family):
    """Whether there is more than one level."""
    return family.generator.dimensions > 0


def valid(family, levels):
    return np.asarray(batched(family.generator.is_valid)(levels))


def decoded(family, seed=1):
    return batched(family.generator.decode)(
        np.random.default_rng(seed).random((COUNT, family.generator.dimensions), np.float32)
    )


def mutated(family, levels, seed=2):
    return batched(family.generator.mutate)(jax.random.split(jax.random.key(seed), COUNT), levels)


@every_generator
def test_samples_edits_and_decodings_are_valid(family):
    levels = sample(family, COUNT)
    for made in (levels, decoded(family), mutated(family, levels)):
        assert valid(family, made).all()


@every_generator
def test_chains_of_edits_stay_valid(family):
    levels = sample(family, COUNT)
    for seed in range(20):
        levels = mutated(family, levels, seed)
        assert valid(family, levels).all()


@every_generator
def test_samples_edits_and_decodings_are_of_one_shape(family):
    key, generator = jax.random.key(0), family.generator
    level = jax.eval_shape(generator.sample, key)
    assert signature(jax.eval_shape(generator.mutate, key, level)) == signature(level)
    assert signature(jax.eval_shape(generator.decode, np.full(generator.dimensions, 0.5, np.float32))) == signature(level)
    assert not any(weak for *_, weak in signature(level))
    verdict = jax.eval_shape(generator.is_valid, level)
    assert verdict.shape == () and verdict.dtype == bool


@every_generator
def test_the_same_key_gives_the_same_level_and_others_others(family):
    chex.assert_trees_all_equal(sample(family, COUNT), sample(family, COUNT))
    packed = np.concatenate(
        [np.asarray(leaf, np.float64).reshape(COUNT, -1) for leaf in jax.tree.leaves(sample(family, COUNT))], 1
    )
    assert len(np.unique(packed, axis=0)) == (COUNT if varies(family) else 1)


@every_generator
def test_vmap_equals_the_loop(family):
    together = rows(sample(family, 4), 4)
    one = jax.jit(family.generator.sample)
    alone = [one(key) for key in jax.random.split(jax.random.key(0), 4)]
    chex.assert_trees_all_close(together, alone, rtol=1e-6)


@every_generator
def test_edits_nearly_always_change_the_level(family):
    levels = sample(family, COUNT)
    pairs = zip(jax.tree.leaves(levels), jax.tree.leaves(mutated(family, levels)), strict=True)
    changed = np.any([np.any((np.asarray(a) != np.asarray(b)).reshape(COUNT, -1), axis=1) for a, b in pairs], axis=0)
    assert changed.mean() >= 0.98 if varies(family) else not changed.any()


@every_generator
def test_any_vector_decodes(family):
    fill = np.resize(np.float32([-1, 0, 0.5, 1, 2]), COUNT)
    vectors = np.broadcast_to(fill[:, None], (COUNT, family.generator.dimensions))
    assert valid(family, batched(family.generator.decode)(vectors)).all()


@every_generator
def test_damage_is_not_valid(family):
    """Each array overwritten by a value that no level may hold there."""
    levels = sample(family, COUNT)
    leaves, tree = jax.tree.flatten_with_path(levels)
    for i, (path, leaf) in enumerate(leaves):
        bad = np.full_like(leaf, {"f": np.nan, "i": -7, "b": True}[leaf.dtype.kind])
        damaged = jax.tree.unflatten(tree, [bad if i == j else other for j, (_, other) in enumerate(leaves)])
        assert not valid(family, damaged).any(), jax.tree_util.keystr(path)
