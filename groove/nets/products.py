"""A matrix product whose gradient stays one product, whatever the caller maps over.

`x @ weight` under `jax.vmap` has several axes to sum over in the weight's gradient, and XLA then copies its operands into
another order first, which costs more than the product itself. This one merges mapped axes into one of its own.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_product = Primitive("groove_product")


def product(x: jax.Array, weight: jax.Array) -> jax.Array:
    """The product x @ weight, for f32[T, E, inputs] and f32[inputs, outputs]: f32[T, E, outputs].

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.nets.products import product
        >>> product(jnp.ones((1, 1, 3)), jnp.ones((3, 2)))
        Array([[[3., 3.]]], dtype=float32)
    """
    return _product.bind(x, weight)


def _value(x: jax.Array, weight: jax.Array) -> jax.Array:
    flat = x.reshape(-1, x.shape[-1]) @ weight
    return flat.reshape(*x.shape[:-1], weight.shape[-1])


def _weight_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1]).T @ gradient.reshape(-1, gradient.shape[-1])


def _batched(arguments, axes):
    """Mapped over x alone: the axis joins E. Mapped over the weight too: products one by one."""
    (x, weight), (x_axis, weight_axis) = arguments, axes
    if weight_axis is not None:
        return jax.vmap(_value, (x_axis, weight_axis))(x, weight), 0
    x = jnp.moveaxis(x, x_axis, 1)
    steps, size, environments = x.shape[:3]
    merged = product(x.reshape(steps, size * environments, x.shape[-1]), weight)
    return merged.reshape(steps, size, environments, weight.shape[-1]), 1


def _shape(x, weight):
    return jax.core.ShapedArray((*x.shape[:-1], weight.shape[-1]), x.dtype)


_product.def_impl(jax.jit(_value))
_product.def_abstract_eval(_shape)
mlir.register_lowering(_product, mlir.lower_fun(_value, multiple_results=False))
ad.defbilinear(
    _product,
    lambda gradient, x, weight: product(gradient, weight.T),
    lambda gradient, x, weight: _weight_gradient(x, gradient),
)
batching.primitive_batchers[_product] = _batched
