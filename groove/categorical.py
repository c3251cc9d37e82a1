"""Categorical distributions given by logits, with derivatives that keep little: meta-gradients keep it of every update."""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def shares(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Probabilities and their logarithms, f32[..., n] both, of f32[..., n]; their derivatives need the probabilities alone.

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.categorical import shares
        >>> [float(pi[0]) for pi in shares(jnp.zeros(4))]
        [0.25, -1.3862943649291992]
    """
    log_pi = jax.nn.log_softmax(logits)
    return jnp.exp(log_pi), log_pi


@shares.defjvp
def _(primals, tangents):
    pi, log_pi = shares(*primals)
    (change,) = tangents
    log_change = change - jnp.sum(pi * change, axis=-1, keepdims=True)
    return (pi, log_pi), (pi * log_change, log_change)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy in nats of categorical distributions: f32[..., n] logits to f32[...]."""
    pi, log_pi = shares(logits)
    return -jnp.sum(pi * log_pi, axis=-1)


def log_probability(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Log-probability of the actions taken: f32[..., n], i32[...] to f32[...]. Its gradient scatters nothing."""
    chosen = jax.nn.one_hot(action, logits.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(chosen, shares(logits)[1], 0.0), axis=-1)
