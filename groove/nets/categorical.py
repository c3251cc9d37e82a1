"""Categorical distributions given by logits, with derivatives that keep little: meta-gradients keep it of every update.

A logit of -inf masks its action: it has probability 0, adds nothing to any sum, and has no slope.
"""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def softmaxes(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Softmax and log-softmax, f32[..., n] both, of logits f32[..., n]. Their derivatives need the softmax alone.

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.nets.categorical import softmaxes
        >>> [float(pi[0]) for pi in softmaxes(jnp.zeros(4))]
        [0.25, -1.3862943649291992]
    """
    log_pi = jax.nn.log_softmax(logits)
    return jnp.exp(log_pi), log_pi


@softmaxes.defjvp
def _(primals, tangents):
    pi, log_pi = softmaxes(*primals)
    (change,) = tangents
    log_change = change - jnp.sum(pi * change, axis=-1, keepdims=True)
    return (pi, log_pi), (pi * log_change, log_change)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy in nats of categorical distributions: f32[..., n] logits to f32[...].

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(entropy(jnp.array([-jnp.inf, 0.0, 0.0]))), 4)
        0.6931
    """
    return spread(*softmaxes(logits))


def spread(pi: jax.Array, log_pi: jax.Array, axis: int = -1) -> jax.Array:
    """The entropy where softmax and log-softmax are at hand, f32[..., n] both: f32[...]."""
    return -jnp.sum(pi * played(pi, log_pi), axis=axis)


def played(pi: jax.Array, values: jax.Array) -> jax.Array:
    """The values f32[..., n] of actions that can be played, 0 for those of probability 0: what -inf must not multiply."""
    return jnp.where(pi > 0, values, 0.0)


def divergence(logits: jax.Array, others: jax.Array) -> jax.Array:
    """KL(p || q) in nats, f32[...], of the distributions that two sets of logits f32[..., n] give.

    Infinite where p plays what q masks.
    """
    (pi, log_pi), (_, log_other) = softmaxes(logits), softmaxes(others)
    return jnp.sum(pi * played(pi, log_pi - log_other), axis=-1)


def log_probability(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Log-probability of the actions taken: f32[..., n], i32[...] to f32[...]. Its gradient scatters nothing."""
    chosen = jax.nn.one_hot(action, logits.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(chosen, softmaxes(logits)[1], 0.0), axis=-1)
