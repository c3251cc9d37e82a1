"""Strategies of evolution: who is tried next, and what is made of their fitness. evosax's by name, turned to maximise."""

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from groove.base import Info, Theta
from groove.base.ranges import Number, check_positive, is_concrete


class Strategy(NamedTuple):
    """A population of rules and how it moves. Fitness is maximised.

    Attributes:
        population: Candidates per generation, even.
        mirrored: Whether candidates i and i + population / 2 are a pair, theta + noise and theta - noise. A pair has a task
            of its own; the candidates of other strategies are compared on tasks that all of them share.
        init: `(key, theta) -> state`.
        ask: `(key, state) -> (state, candidates)`, PyTree of theta with a leading axis [population].
        tell: `(key, state, candidates, fitness f32[population]) -> state`. Where all fitness is equal there is nothing to
            learn: theta stays exactly where it is.
        theta: `(state) -> theta`, the rule that the strategy stands for.
        info: `(state) -> info`.
    """

    population: int
    mirrored: bool
    init: Callable[[jax.Array, Theta], chex.ArrayTree]
    ask: Callable[[jax.Array, chex.ArrayTree], tuple[chex.ArrayTree, Theta]]
    tell: Callable[[jax.Array, chex.ArrayTree, Theta, jax.Array], chex.ArrayTree]
    theta: Callable[[chex.ArrayTree], Theta]
    info: Callable[[chex.ArrayTree], Info] = lambda state: {}


class Kind(NamedTuple):
    """How one of evosax's algorithms is made."""

    mirrored: bool = False
    optimizer: bool = False  # moves its mean by an optax optimizer that may be chosen
    schedule: bool = False  # takes sigma as a schedule, the others as a parameter `std_init`
    weights: bool = False  # weighs candidates by their places, with parameters `weights`


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Open_ES": Kind(mirrored=True, optimizer=True, schedule=True),
        # The next three mirror their noise as well, but compare the sums of pairs or whole populations: ranks within pairs
        # would make them Open_ES.
        "ARS": Kind(optimizer=True, schedule=True),
        "PGPE": Kind(optimizer=True),
        **dict.fromkeys(("CR_FM_NES", "SNES", "Sep_CMA_ES", "SimpleES", "DES"), Kind(weights=True)),
        "ESMC": Kind(optimizer=True, schedule=True),
    }
)
"""Strategies that work at 200,000 parameters: their states hold a few vectors, CR_FM_NES's two populations. Read-only."""

_COVARIANCE = "it keeps a full covariance, 160 GB at 200,000 parameters"
_ELDERS = "it compares fitness with that of earlier generations, which was measured on other tasks"
_MEMBERS = f"{_ELDERS}; deep-ga selects within one generation"
_HEIRLESS = "every member changes in every generation, so that the best rule is lost; deep-ga keeps it"
_PROJECTED = "it keeps a full matrix, 160 GB at 200,000 parameters, and ends after a fixed number of generations"
_PICKLED = "its own parameters come as a pickle"
_SEVERAL = "it keeps several distributions, so there is no one rule that it stands for"
_COUNTER = "it keeps one clock for the whole population, while lifetimes differ; evolution.lives has its like"
_GUIDED = "it wants a gradient to be guided by; without one, half of its variance goes to the first parameter"
_UNSORTED = "evosax's learns its directions from noise that is not sorted by fitness"

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("CMA_ES", "MA_ES", "xNES", "iAMaLGaM_Full", "ASEBO"), _COVARIANCE),
        **dict.fromkeys(
            ("HillClimbing", "SimulatedAnnealing", "GradientlessDescent", "Rm_ES", "iAMaLGaM_Univariate"), _ELDERS
        ),
        **dict.fromkeys(("DifferentialEvolution", "GESMR_GA", "LGA", "MR15_GA", "PSO"), _MEMBERS),
        **dict.fromkeys(("SAMR_GA", "SimpleGA"), _HEIRLESS),
        "DiffusionEvolution": _PROJECTED,
        **dict.fromkeys(("LES", "CMAAnchoredLES", "EvoTF_ES"), _PICKLED),
        **dict.fromkeys(("SV_CMA_ES", "SV_Open_ES"), _SEVERAL),
        **dict.fromkeys(("PersistentES", "NoiseReuseES"), _COUNTER),
        "GuidedES": _GUIDED,
        "LM_MA_ES": _UNSORTED,
        "RandomSearch": "it does not learn from fitness where to look",
    }
)  # fmt: skip
"""evosax's other strategies, and why they are refused. Read-only."""


def named(
    name: str,
    theta: Theta,
    *,
    population: int,
    sigma: Number = 0.1,
    optimizer: optax.GradientTransformation | None = None,
) -> Strategy:
    """One of evosax's strategies. Fitness is shaped before it is told: evosax's own shaping is off where it can be.

    Of weights by place, candidates of equal fitness share theirs alike (evosax gives all of them that of their middle place,
    so that sums come out wrong). Where all are equal, nothing changes but the count of generations: neither theta nor the
    distribution nor the optimizer.

    Args:
        name: A key of `KINDS`, as evosax spells it.
        theta: An example of the rule's parameters, or `jax.eval_shape` of it.
        population: Candidates per generation; even, at least 4.
        sigma: Deviation of the candidates, positive.
        optimizer: Moves the mean, for the strategies that leave this open; by default `decaying_adam()`.

    Raises:
        ValueError: The name is unknown or refused, with the reason.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from groove.meta import strategies
        >>> strategy = strategies.named("Open_ES", jnp.zeros(3), population=8)
        >>> state = strategy.init(jax.random.key(0), jnp.zeros(3))
        >>> state, candidates = strategy.ask(jax.random.key(1), state)
        >>> candidates.shape
        (8, 3)
    """
    if name in REFUSED:
        raise ValueError(f"the strategy {name!r} cannot be used: {REFUSED[name]}. Known: {', '.join(KINDS)}.")
    if name not in KINDS:
        raise ValueError(f"unknown strategy {name!r}. Known: {', '.join(KINDS)}.")
    if population < 4 or population % 2:
        raise ValueError(f"population must be even and at least 4, got {population}.")
    check_positive({"sigma": sigma})
    algorithm, parameters = _algorithm(name, theta, population, sigma, optimizer or decaying_adam())

    @_loose
    def init(key, theta):
        return _strong(algorithm.init(key, theta, parameters))

    @_loose
    def ask(key, state):
        candidates, state = algorithm.ask(key, state, parameters)
        return _strong(state), candidates

    @_loose
    def tell(key, state, candidates, fitness):
        moved = _strong(algorithm.tell(key, candidates, -fitness, state, parameters)[0])
        held, tied = state.replace(generation_counter=moved.generation_counter), _tied(fitness)
        return jax.tree.map(lambda old, new: jnp.where(tied, old, new), held, moved)

    return Strategy(population, KINDS[name].mirrored, init, ask, tell, algorithm.get_mean)


def decaying_adam(rate: Number = 1e-2, *, decay: float = 0.999, floor: Number = 1e-5) -> optax.GradientTransformation:
    """Adam whose rate falls by a factor each generation, down to a floor; TA-LPG's (Jackson, Lu et al. 2024)."""
    plain = is_concrete(rate) and is_concrete(floor)
    if not 0 < decay <= 1 or (plain and not (0 < rate < math.inf and 0 <= floor <= rate)):
        raise ValueError(
            f"0 < rate < inf, 0 < decay <= 1 and 0 <= floor <= rate must hold, got {rate}, {decay} and {floor}."
        )
    if decay == 1:
        return optax.adam(rate)  # optax would take the floor for a ceiling
    return optax.adam(optax.exponential_decay(rate, 1, decay, end_value=floor))


def shared(weights: jax.Array, cost: jax.Array) -> jax.Array:
    """Weights by place f32[P], the lowest cost f32[P] first, to those who have them; equal costs get the mean of theirs.

    What is not a number comes last.

    Example:
        >>> import jax.numpy as jnp
        >>> shared(jnp.array([0.5, 0.25, 0.25, 0.0]), jnp.array([7.0, 3.0, 7.0, 9.0]))
        Array([0.25, 0.5 , 0.25, 0.  ], dtype=float32)
    """
    cost = jnp.where(jnp.isnan(cost), jnp.inf, cost)
    less = jnp.sum(cost[None, :] < cost[:, None], axis=1, dtype=jnp.int32)[:, None]
    equal = jnp.sum(cost[None, :] == cost[:, None], axis=1, dtype=jnp.int32)[:, None]
    place = jnp.arange(cost.size, dtype=jnp.int32)[None, :]
    own = (less <= place) & (place < less + equal)
    return jnp.sum(jnp.where(own, weights[None, :], 0.0), axis=1) / equal[:, 0]


def _tied(fitness: jax.Array) -> jax.Array:
    """Whether all fitness is the same, bool[]; what is not finite counts as the least."""
    fitness = jnp.where(jnp.isfinite(fitness), fitness, -jnp.inf)
    return jnp.all(fitness == fitness[0])


def _algorithm(name: str, theta: Theta, population: int, sigma: Number, optimizer: optax.GradientTransformation):
    """The algorithm of evosax, and its parameters."""
    from evosax import algorithms  # a second of import time that other runs need not pay

    kind = KINDS[name]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), theta)
    options = {"optimizer": optimizer} if kind.optimizer else {}
    if kind.schedule:
        options["std_schedule"] = optax.constant_schedule(sigma)
    if kind.mirrored:
        options["fitness_shaping_fn"] = lambda candidates, fitness, state, parameters: fitness
    if kind.weights:
        options["fitness_shaping_fn"] = lambda candidates, fitness, state, parameters: shared(parameters.weights, fitness)
    with jax.numpy_rank_promotion("allow"), jax.ensure_compile_time_eval():  # also where sigma or a rate is traced
        algorithm = algorithms.algorithms[name](population, zeros, metrics_fn=lambda *state: {}, **options)
        parameters = algorithm.default_params
    return algorithm, parameters if kind.schedule else parameters.replace(std_init=jnp.float32(sigma))


def _loose(function):
    """Lets ranks promote inside evosax, which relies on it."""

    @functools.wraps(function)
    def call(*arguments):
        with jax.numpy_rank_promotion("allow"):
            return function(*arguments)

    return call


def _strong(state: chex.ArrayTree) -> chex.ArrayTree:
    """Arrays of settled dtypes: evosax starts with Python numbers, and a second compilation would follow."""

    def leaf(x):
        x = jnp.asarray(x)
        return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(leaf, state)
