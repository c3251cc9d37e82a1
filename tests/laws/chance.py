"""A generator of random numbers that writes down which keys were used, and how: for laws about chance.

Its keys are typed keys like any other, so that whatever takes one can be watched, compiled and under any vmap, scan or cond.
Child i of a split is what folding i in gives, as it may be of JAX's own generators.
"""

import functools
from collections import Counter
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.extend.random import define_prng_impl

from groove.parallel import devices

_seen: list[tuple[str, tuple[int, ...]]] = []


def used(program: Callable, *arguments, seed: int = 0, jit: bool = True) -> list[tuple[str, tuple[int, ...]]]:
    """Runs `program(key, *arguments)`: how each key was used ("bits", "split" or "fold"), and the key, in no order.

    Of one use under vmap there are as many rows as keys.
    """
    _seen.clear()
    jax.block_until_ready((compiled(program) if jit else program)(jax.random.key(seed, impl=_NOTING), *arguments))
    jax.effects_barrier()
    return list(_seen)


@functools.cache
def compiled(program: Callable) -> Callable:
    """The compiled program, in less time than usual: such programs run once, and the cache on disk does not keep them."""
    return jax.jit(program, compiler_options=devices.options_for_one_call())


def assert_used_once(rows: list[tuple[str, tuple[int, ...]]], *, most: int = 1) -> None:
    """No key gives numbers twice, none that does has children, and none is both split and folded.

    Args:
        rows: What `used` returns.
        most: How often a key may give numbers, where that is meant: those who are to meet the same chance share keys.
    """
    assert rows
    drawn = Counter(key for kind, key in rows if kind == "bits")
    split, folded = ({key for kind, key in rows if kind == one} for one in ("split", "fold"))
    again = {key: times for key, times in drawn.items() if times > most}
    assert not again, f"keys give numbers more than {most} times: {again}"
    assert not drawn.keys() & (split | folded), "keys give numbers, and have children"
    assert not split & folded, "keys are both split and folded: fold_in(k, 1) may be split(k)[1]"


def _note(kind: str, rows: np.ndarray) -> None:
    _seen.extend((kind, tuple(row)) for row in np.asarray(rows).reshape(-1, 2).tolist())


def _tell(kind: str, key: jax.Array) -> None:
    @jax.custom_batching.custom_vmap
    def tell(keys):
        io_callback(functools.partial(_note, kind), None, keys)
        return ()

    @tell.def_vmap
    def _(size, batched, keys):
        return tell(keys), ()

    tell(key)


def _child(key: jax.Array, number: jax.Array) -> jax.Array:
    first = key[0] * jnp.uint32(0x9E3779B1) ^ (number * jnp.uint32(0x85EBCA6B) + jnp.uint32(0x27D4EB2F))
    second = key[1] * jnp.uint32(0xC2B2AE35) + number * jnp.uint32(0x165667B1) + (first >> 15)
    return jnp.stack([first ^ (second >> 13), second * jnp.uint32(0x9E3779B1) + first])


def _seed(seed: jax.Array) -> jax.Array:
    word = jnp.asarray(seed).astype(jnp.uint32)
    return _child(jnp.stack([word, word]), jnp.uint32(7))


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    _tell("split", key)
    numbers = jnp.arange(np.prod(shape), dtype=jnp.uint32)
    return jax.vmap(lambda number: _child(key, number))(numbers).reshape(*shape, 2)


def _fold_in(key: jax.Array, data: jax.Array) -> jax.Array:
    _tell("fold", key)
    return _child(key, data.astype(jnp.uint32))


def _bits(key: jax.Array, width: int, shape: tuple[int, ...]) -> jax.Array:
    _tell("bits", key)
    word = jnp.arange(np.prod(shape), dtype=jnp.uint32) * jnp.uint32(0x9E3779B1) + key[0]
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B) ^ key[1]
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return (word ^ (word >> 16)).reshape(shape).astype(jnp.dtype(f"uint{width}"))


_NOTING = define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_bits, fold_in=_fold_in, name="noting", tag="noting"
)
