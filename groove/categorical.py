"""Categorical distributions given by logits, with derivatives that keep little: meta-gradients keep it of every update."""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def softmaxes(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Softmax and log-softmax, f32[..., n] both, of logits f32[..., n]. Their derivatives need the softmax alone.

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.categorical import softmaxes
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
    """Entropy in nats of categorical distributions: f32[..., n] logits to f32[...]."""
    pi, log_pi = softmaxes(logits)
    return -jnp.sum(pi * log_pi, axis=-1)


def log_probability(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Log-probability of the actions taken: f32[..., n], i32[...] to f32[...]. Its gradient scatters nothing."""
    chosen = jax.nn.one_hot(action, logits.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(chosen, softmaxes(logits)[1], 0.0), axis=-1)
