"""Categorical distributions: values by hand, derivatives against those of JAX's own functions."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from groove.nets.categorical import divergence, entropy, log_probability, softmaxes

LOGITS = 3 * jax.random.normal(jax.random.key(0), (4, 5))


def test_entropy_and_log_probability_by_hand():
    logits = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]]))
    np.testing.assert_allclose(entropy(logits)[1], math.log(2), rtol=1e-6)
    np.testing.assert_allclose(entropy(logits)[0], 0.25 * math.log(4) + 0.75 * math.log(4 / 3), rtol=1e-6)
    np.testing.assert_allclose(log_probability(logits, jnp.array([1, 0])), np.log([0.75, 0.5]), rtol=1e-6)


def test_probabilities_of_logits_too_large_for_exp():
    pi, log_pi = softmaxes(jnp.array([1000.0, 0.0]))
    np.testing.assert_allclose(pi, [1.0, 0.0])
    np.testing.assert_allclose(log_pi, [0.0, -1000.0])
    slope = jax.jacobian(lambda logits: softmaxes(logits))(jnp.array([1000.0, 0.0]))
    assert all(np.isfinite(leaf).all() for leaf in slope)


def test_derivatives_are_those_of_softmax_and_log_softmax():
    """Of first and second order; a Hessian goes forwards over backwards."""
    weights = jax.random.normal(jax.random.key(1), (2, 4, 5))

    def ours(logits):
        return sum(jnp.sum(jnp.sin(weight * part)) for weight, part in zip(weights, softmaxes(logits), strict=True))

    def theirs(logits):
        parts = jax.nn.softmax(logits), jax.nn.log_softmax(logits)
        return sum(jnp.sum(jnp.sin(weight * part)) for weight, part in zip(weights, parts, strict=True))

    np.testing.assert_allclose(jax.jit(jax.grad(ours))(LOGITS), jax.jit(jax.grad(theirs))(LOGITS), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        jax.jit(jax.hessian(ours))(LOGITS), jax.jit(jax.hessian(theirs))(LOGITS), rtol=1e-4, atol=1e-5
    )


def test_a_gradient_keeps_the_probabilities_alone():
    """A backward pass through many updates keeps what each of them needs."""

    def kept(function) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(jax.vjp(function, LOGITS)[1]))

    assert kept(softmaxes) == LOGITS.size
    assert kept(lambda logits: (jax.nn.softmax(logits), jax.nn.log_softmax(logits))) > 2 * LOGITS.size


MASKED = jnp.array([-jnp.inf, 0.4, -0.7, -jnp.inf, 1.1])


def test_masks_have_no_part_in_anything():
    """Values and slopes, of first and second order, are those of the distribution without the masked actions."""
    inner = np.isfinite(MASKED)
    others, action = jnp.array([-jnp.inf, -0.2, 0.9, -jnp.inf, 0.5]), jnp.int32(4)

    def of(size_of_mask):
        def functions(x):
            logits = x if size_of_mask == 0 else MASKED.at[jnp.flatnonzero(inner, size=3)].set(x)
            other = others[inner] if size_of_mask == 0 else others
            taken = action if size_of_mask else jnp.int32(2)
            return jnp.stack([entropy(logits), log_probability(logits, taken), divergence(logits, other)])

        return jax.jit(lambda x: (functions(x), jax.jacrev(functions)(x), jax.hessian(functions)(x)))

    for masked, plain in zip(of(2)(MASKED[inner]), of(0)(MASKED[inner]), strict=True):
        np.testing.assert_allclose(masked, plain, rtol=1e-5, atol=1e-6)
    assert entropy(jnp.array([-jnp.inf, 0.0, 0.0])) == np.float32(math.log(2))
    slope = jax.jit(jax.grad(lambda logits: entropy(logits) + divergence(logits, others)))(MASKED)
    assert np.isfinite(slope).all() and (np.asarray(slope)[~inner] == 0).all()
    assert divergence(jnp.zeros(5), MASKED) == jnp.inf  # it plays what the other masks
