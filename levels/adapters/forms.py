"""What adapters share: keys made of random words, and fixed shapes and dtypes for libraries that are loose about them."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

KEY_WORDS = 2
"""32-bit words of a key of JAX's threefry generator, another library's noise whatever the default generator is."""


def key_of(noise: jax.Array) -> jax.Array:
    """The key of words u32[2].

    Example:
        >>> import jax
        >>> from levels.adapters.forms import key_of
        >>> key = jax.random.key(3, impl="threefry2x32")
        >>> bool(key_of(jax.random.key_data(key)) == key)
        True
    """
    return jax.random.wrap_key_data(noise, impl="threefry2x32")


def settled(form: chex.ArrayTree, again: Callable[[chex.ArrayTree], chex.ArrayTree]) -> chex.ArrayTree:
    """The first form, widened until `again` gives it back: what both a reset and a step can have.

    Args:
        form: A PyTree of `jax.ShapeDtypeStruct`, that of a reset.
        again: The form that a step makes of one.

    Raises:
        ValueError: If their trees or shapes differ, or their dtypes do not settle within three steps.
    """
    for _ in range(3):
        made = again(form)
        begun, stepped = str(jax.tree.structure(form)), str(jax.tree.structure(made))
        if begun != stepped:
            raise ValueError(f"a reset gives {begun} where a step gives {stepped}")
        wider = jax.tree.map(_wider, form, made)
        if wider == form:
            return form
        form = wider
    raise ValueError(f"the dtypes of its state do not settle: {form}")


def strong(form: chex.ArrayTree) -> chex.ArrayTree:
    """The same shapes and dtypes, none of them weak."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), form)


def cast(tree: chex.ArrayTree, form: chex.ArrayTree) -> chex.ArrayTree:
    """The leaves as arrays of the form's dtypes, none of them weak.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from levels.adapters.forms import cast
        >>> cast({"time": 3}, {"time": jax.ShapeDtypeStruct((), jnp.int32)})
        {'time': Array(3, dtype=int32)}
    """
    return jax.tree.map(lambda wanted, leaf: jnp.asarray(leaf).astype(wanted.dtype), form, tree)


def _wider(first: jax.ShapeDtypeStruct, second: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    if first.shape != second.shape:
        raise ValueError(f"a reset gives the shape {first.shape} where a step gives {second.shape}")
    same = first.dtype == second.dtype
    return jax.ShapeDtypeStruct(first.shape, first.dtype if same else jnp.promote_types(first.dtype, second.dtype))
