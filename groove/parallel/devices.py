"""Devices that share a run: each computes its own members, all of them know the results.

A program that is to run on several devices is made by `everywhere`. Inside of it, arrays of members are cut into equal rows,
one piece a device; everything else every device holds, and computes, whole. `own` and `gather` lead from the one to the
other. Outside of such a program they do nothing, so that the same functions serve one device and many.

Members are computed in blocks whose size is the same for 1, 2, 4 and 8 devices (`pieces`), and sums over blocks are taken in
order, by every device for itself. So are the numbers, then: otherwise rounding flips an action sooner or later, and
everything differs.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

Tree = TypeVar("Tree", bound=chex.ArrayTree)
Result = TypeVar("Result", bound=chex.ArrayTree)
Function = TypeVar("Function", bound=Callable[..., Any])
Specs: TypeAlias = chex.ArrayTree
"""A prefix of a tree: `P(AXIS)` where leaves are cut into rows, `P()` where every device holds them whole."""

AXIS = "members"
"""The axis of the mesh."""
PIECES = 8
"""Into so many blocks a family's members are cut where several devices share them and nothing else was asked for."""


def options_for_one_call() -> dict[str, bool | int] | None:
    """For a program that runs once: on a CPU it compiles in less than half the time."""
    quick: dict[str, bool | int] = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return quick if jax.default_backend() == "cpu" else None


def check_precision() -> None:
    """Raises a ValueError where JAX is to compute with 64-bit numbers, which nothing here is written for."""
    if jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
        raise ValueError(
            "groove computes with 32-bit numbers, to the bit; unset JAX_ENABLE_X64, or say "
            "jax.config.update('jax_enable_x64', False)."
        )


def mesh(devices: int, axis: str = AXIS) -> Mesh:
    """A mesh of the first `devices` of all devices, along one axis.

    Raises:
        ValueError: There are not as many.
    """
    there = jax.devices()
    if not 1 <= devices <= len(there):
        raise ValueError(f"devices must be between 1 and {len(there)}, as many as JAX sees, got {devices}.")
    return Mesh(np.array(there[:devices]), (axis,))


def usable(members: tuple[int, ...], available: int, *, block: int = 1) -> int:
    """The most devices that every family's members can be shared out to evenly, in whole blocks.

    Example:
        >>> from groove.parallel import devices
        >>> devices.usable((24, 8), 6), devices.usable((24, 8), 6, block=4)
        (4, 2)
    """
    return max(count for count in range(1, available + 1) if count == 1 or fit(members, count, block=block))


def fit(members: tuple[int, ...], count: int, *, block: int = 1) -> bool:
    """Whether every family's members can be shared out evenly to so many devices, in whole blocks."""
    return all(size % (count * block) == 0 for size in members)


def num_blocks(members: int, devices: int) -> int:
    """How many blocks a family's members are cut into: the same for every number of devices that divides `PIECES`.

    Args:
        members: B.
        devices: That share them; must divide B.

    Example:
        >>> from groove.parallel import devices
        >>> [devices.num_blocks(24, count) for count in (1, 2, 4, 8, 3)]
        [8, 8, 8, 8, 24]
    """
    usual = math.gcd(members, PIECES)
    together = math.lcm(usual, devices)
    return together if members % together == 0 else devices


def everywhere(place: Mesh, function: Function, specs: Specs, results: Specs) -> Function:
    """A function that all devices of a mesh compute together.

    Args:
        place: Made by `mesh`.
        function: Calls `own`, `gather` and `blockwise` where devices' work differs.
        specs: Of its arguments.
        results: Of what it returns.
    """
    return jax.shard_map(function, mesh=place, in_specs=specs, out_specs=results, check_vma=False)


def shardings(place: Mesh, specs: Specs, tree: Tree) -> Tree:
    """For each leaf of a tree, how a mesh holds it."""
    spread = jax.tree.broadcast(specs, tree, is_leaf=lambda spec: isinstance(spec, P))
    return jax.tree.map(lambda spec: NamedSharding(place, spec), spread, is_leaf=lambda spec: isinstance(spec, P))


def count() -> int:
    """How many devices share the program that is being traced; 1 outside of `everywhere`."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:
        return 1


def local_shard(tree: Tree) -> Tree:
    """This device's rows of arrays [B, ...] that every device holds whole: [B / devices, ...]."""
    shared = count()
    if shared == 1:
        return tree

    def leaf(rows):
        if rows.shape[0] % shared:
            raise ValueError(f"the number of devices must divide the number of members, got {shared} and {rows.shape[0]}.")
        size = rows.shape[0] // shared
        return jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index(AXIS) * size, size)

    return jax.tree.map(leaf, tree)


def gather(tree: Tree) -> Tree:
    """The rows of all devices, in order: [B / devices, ...] to [B, ...]."""
    if count() == 1:
        return tree
    return jax.tree.map(lambda rows: rows.reshape(rows.shape[0] * rows.shape[1], *rows.shape[2:]), _of_all(tree))


def _of_all(tree: Tree) -> Tree:
    """The leaves of all devices, [...] to [devices, ...]: a collective for each dtype, not for each leaf, since all wait."""
    leaves, structure = jax.tree.flatten(tree)
    found = list(leaves)
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
        places = [place for place, leaf in enumerate(leaves) if leaf.dtype == dtype]
        every = jax.lax.all_gather(jnp.concatenate([leaves[place].ravel() for place in places]), AXIS)
        ends = np.cumsum([leaves[place].size for place in places])[:-1]
        for place, part in zip(places, jnp.split(every, ends, axis=1), strict=True):
            found[place] = part.reshape(every.shape[0], *leaves[place].shape)
    return jax.tree.unflatten(structure, found)


def by_one(function: Callable[[], Result]) -> Result:
    """What one of the devices computes, for all: of calls to the host, which need not come out the same everywhere."""
    if count() == 1:
        return function()
    shapes = jax.eval_shape(function)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.psum(jax.lax.cond(jax.lax.axis_index(AXIS) == 0, function, lambda: nothing), AXIS)


def blockwise(function: Callable[[Tree], Result], rows: Tree, *, block: int) -> Result:
    """`jax.vmap(function)` of rows [B, ...], whole on every device, in blocks that the devices take in turn.

    As `jax.lax.map(function, rows, batch_size=block)`, whatever the number of devices; blocks need not come out even.

    Args:
        function: Of one row.
        rows: PyTree of [B, ...].
        block: Rows computed at once.
    """
    size, shared = jax.tree.leaves(rows)[0].shape[0], count()
    turns = math.ceil(math.ceil(size / block) / shared)
    number = jnp.arange(turns, dtype=jnp.int32) * shared + (jax.lax.axis_index(AXIS) if shared > 1 else 0)
    beyond = number[:, None] * block + jnp.arange(block, dtype=jnp.int32)[None]
    place = beyond % size  # what lies beyond the end is done twice, by devices that would wait

    def one(places):
        return jax.vmap(function)(jax.tree.map(lambda leaf: leaf[places], rows))

    results = jax.lax.map(one, place)
    everyone = _of_all(results) if shared > 1 else jax.tree.map(lambda leaf: leaf[None], results)

    def in_order(leaf):  # [devices, turns, block, ...]
        return jnp.swapaxes(leaf, 0, 1).reshape(turns * shared * block, *leaf.shape[3:])[:size]

    return jax.tree.map(in_order, everyone)
