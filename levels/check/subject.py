"""What is checked, what laws share of it, and how a law says no."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from levels.base import TIME_SCALE, Discrete, Environment, Family, Generator, Level, Spec, TimeStep, uniform, words

PLAYED = 16
"""Levels that are played, at most: those that only have to be looked at are more."""

OUTSIDE = 2.0**-16
"""How far the time of a step may be from its number times TIME_SCALE, relatively."""


class Fault(Exception):
    """A law is broken."""

    def __init__(self, reason: str, hint: str = "", level: Level | None = None):
        self.reason, self.hint, self.level = reason, hint, level


class Skip(Exception):
    """A law does not apply."""


class Sizes(NamedTuple):
    """How much is tried."""

    levels: int
    episodes: int  # of each of the first PLAYED levels
    seed: int
    seconds: float  # in which everything must compile


class Compiled(NamedTuple):
    """A function compiled for arguments of one form."""

    call: Callable
    seconds: float  # to trace and to compile
    operations: int


class Tally(NamedTuple):
    """What is to be known of one episode."""

    total: jax.Array  # f32[]; the return
    steps: jax.Array  # i32[]
    terminated: jax.Array  # bool[]; at its last step
    truncated: jax.Array  # bool[]
    finite: jax.Array  # bool[]; all rewards and observations
    inside: jax.Array  # bool[]; all observations within the Spec's
    timed: jax.Array  # bool[]; all times as they should be


@dataclasses.dataclass(frozen=True)
class Subject:
    """A generator and the family it is for, if that is known. What several laws need is computed once."""

    name: str
    generator: Generator
    family: Family | None
    sizes: Sizes

    @property
    def known(self) -> Family:
        """The family of a law that is only asked where there is one."""
        if self.family is None:
            raise Skip("a generator without a family.")
        return self.family

    @functools.cached_property
    def keys(self) -> jax.Array:
        """A key a level, key[levels]."""
        return jax.random.split(jax.random.key(self.sizes.seed), self.sizes.levels)

    @functools.cached_property
    def sampler(self) -> Compiled:
        """`(keys) -> levels`."""
        return compiled(jax.vmap(self.generator.sample), self.keys)

    @functools.cached_property
    def levels(self) -> Level:
        """Samples, a PyTree of [levels, ...]."""
        return self.sampler.call(self.keys)

    @functools.cached_property
    def played(self) -> Level:
        """The first samples: those that are played."""
        return jax.tree.map(lambda leaf: leaf[:PLAYED], self.levels)

    @functools.cached_property
    def odds(self) -> jax.Array:
        """The probabilities f32[actions] of a policy that takes every action alike."""
        actions = self.known.environment.spec.actions
        return jnp.full(actions, 1 / actions, jnp.float32)

    @functools.cached_property
    def player(self) -> Compiled:
        """`(levels, probabilities f32[actions]) -> Tally [levels, episodes]`, the same chances at every call."""
        return compiled(self.play, self.played, self.odds)

    @functools.cached_property
    def tallies(self) -> Tally:
        """Episodes of the policy that takes every action alike, [levels, episodes]."""
        return jax.tree.map(np.asarray, self.player.call(self.played, self.odds))

    def play(self, levels: Level, odds: jax.Array) -> Tally:
        """Episodes [levels, episodes] of one policy that sees nothing."""
        keys = jax.random.split(jax.random.key(self.sizes.seed + 1), (rows(levels), self.sizes.episodes))

        def several(level: Level, keys: jax.Array) -> Tally:
            made = self.known.environment
            return jax.vmap(lambda key: episode(made, key, level, lambda step, observation: odds))(keys)

        return jax.vmap(several)(levels, keys)


def compiled(function: Callable, *arguments: chex.ArrayTree) -> Compiled:
    """Traces and compiles, and says how long that took."""
    start = time.perf_counter()
    traced = jax.jit(lambda *given: function(*given)).trace(*arguments)  # a new function: nothing of it is cached
    call = traced.lower().compile()
    return Compiled(call, time.perf_counter() - start, operations(traced.jaxpr))


def operations(jaxpr: object) -> int:
    """The operations of a traced function, those of its loops and branches included, counted once."""
    equations = getattr(getattr(jaxpr, "jaxpr", jaxpr), "eqns", ())
    inner = [value for equation in equations for value in equation.params.values()]
    parts = [part for value in inner for part in (value if isinstance(value, tuple | list) else (value,))]
    return len(equations) + sum(operations(part) for part in parts)


def episode(
    environment: Environment, key: jax.Array, level: Level, policy: Callable[[jax.Array, jax.Array], jax.Array]
) -> Tally:
    """Plays `(step i32[], observation) -> probabilities f32[actions]` until the episode ends, or its limit is passed."""
    spec, reset, step = environment
    reset_key, step_key = jax.random.split(key)
    state, timestep = reset(words(reset_key, spec.reset_noise), level)
    yes, no = jnp.bool_(True), jnp.bool_(False)
    tally = counted(spec, Tally(jnp.float32(0), jnp.int32(-1), no, no, yes, yes, yes), timestep)

    def running(carry: tuple) -> jax.Array:
        tally = carry[2]
        return ~(tally.terminated | tally.truncated) & (tally.steps < spec.episode_limit)

    def advance(carry: tuple) -> tuple:
        state, timestep, tally = carry
        noise = words(jax.random.fold_in(step_key, tally.steps), spec.noise + 1)
        probabilities = policy(tally.steps, timestep.observation)
        action = jnp.sum(jnp.cumsum(probabilities)[:-1] <= uniform(noise[-1]), dtype=jnp.int32)
        state, timestep = step(noise[:-1], level, state, action)
        return state, timestep, counted(spec, tally, timestep)

    return jax.lax.while_loop(running, advance, (state, timestep, tally))[2]


def counted(spec: Spec, tally: Tally, timestep: TimeStep) -> Tally:
    """A tally with one more time step; that of the reset is number 0."""
    steps, observation = tally.steps + 1, timestep.observation
    finite = jnp.isfinite(timestep.reward) & jnp.all(jnp.isfinite(observation))
    inside = tally.inside
    if isinstance(spec.observation, Discrete):
        inside = inside & (observation >= 0) & (observation < spec.observation.n)
    want = steps.astype(jnp.float32) * jnp.float32(TIME_SCALE)
    return Tally(
        total=tally.total + timestep.reward,
        steps=steps,
        terminated=timestep.terminated,
        truncated=timestep.truncated,
        finite=tally.finite & finite,
        inside=inside,
        timed=tally.timed & (jnp.abs(timestep.time - want) <= OUTSIDE * want),
    )


def rows(tree: chex.ArrayTree) -> int:
    """The length of the leading axis."""
    return jax.tree.leaves(tree)[0].shape[0]


def row(tree: chex.ArrayTree, i: int) -> chex.ArrayTree:
    """One member of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def shown(form: chex.ArrayTree) -> str:
    """Shapes and dtypes, such as "walls bool[10,10], start i32[]"."""
    leaves = [
        f"{jax.tree_util.keystr(path, simple=True, separator='.')} {kind_of(leaf)}".strip()
        for path, leaf in jax.tree.leaves_with_path(form)
    ]
    return ", ".join(leaves) or "nothing"


def kind_of(leaf: jax.ShapeDtypeStruct | jax.Array) -> str:
    """Dtype and shape of an array, such as "f32[2,3]"."""
    dtype = np.dtype(leaf.dtype) if not jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else None
    name = "key" if dtype is None else "bool" if dtype.kind == "b" else f"{dtype.kind}{8 * dtype.itemsize}"
    return f"{name}[{','.join(map(str, leaf.shape))}]"


def check_storable(name: str, tree: chex.ArrayTree) -> None:
    """Raises a Fault that names the first leaf, of arrays or their shapes, which no file of levels can hold."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        dtype = np.dtype(leaf.dtype)
        if dtype.kind not in "biuf":
            place = jax.tree_util.keystr(path, simple=True, separator=".")
            raise Fault(
                f"{f'{place} of ' if place else ''}{name} is {dtype}, which no file of levels can hold.",
                "Files hold booleans, integers of 8 to 64 bits and floats of 16 to 64.",
            )


def check_form(what: str, found: chex.ArrayTree, wanted: chex.ArrayTree, of: str) -> None:
    """Raises a Fault where two forms differ in tree, shape or dtype, or the first has a weak dtype."""
    if str(jax.tree.structure(found)) != str(jax.tree.structure(wanted)):
        raise Fault(f"{what} is {shown(found)}, {of} {shown(wanted)}.", "Return one PyTree of one type always.")
    for (path, mine), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(wanted), strict=True):
        place = jax.tree_util.keystr(path, simple=True, separator=".")
        if kind_of(mine) != kind_of(other):
            raise Fault(
                f"{place or 'the array'} of {what} is {kind_of(mine)}, of {of} {kind_of(other)}.",
                "Shapes and dtypes are fixed: pad to the largest size, and give every array its dtype.",
            )
        if getattr(mine, "weak_type", False):
            raise Fault(
                f"{place or 'the array'} of {what} has a weak dtype: it is made of Python numbers alone.",
                "Give it a dtype, such as jnp.int32(0): else functions compile again when they meet a strong one.",
            )
