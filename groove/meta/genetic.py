"""Deep GA: a genetic algorithm with truncation selection, Gaussian mutation and one elite."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove.base import Theta
from groove.base.ranges import Number, check_positive
from groove.meta.strategies import Strategy


class Population(NamedTuple):
    """A generation: the elite first, then its elders' offspring."""

    members: Theta  # PyTree of [population, ...]


def deep_ga(*, population: int, parents: int, sigma: Number = 0.002) -> Strategy:
    """The genetic algorithm of Such et al. 2017 (arXiv 1712.06567): no crossover, every candidate but one is new.

    The fittest `parents` of a generation have children, theta + sigma noise; the fittest of all goes on unchanged, as the
    first candidate, and is what the strategy stands for. Fitness is compared within a generation only. Ties go to the first:
    where all are equal, theta stays exactly what it is, while children of the first `parents`, theta among them, go on
    looking around.

    Args:
        population: Candidates per generation; even, at least 4.
        parents: T, at least 1 and below the population.
        sigma: Deviation of a mutation, positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from groove.meta import deep_ga
        >>> strategy = deep_ga(population=8, parents=2)
        >>> state, candidates = strategy.ask(jax.random.key(1), strategy.init(jax.random.key(0), jnp.zeros(3)))
        >>> candidates[0]
        Array([0., 0., 0.], dtype=float32)
    """
    if population < 4 or population % 2:
        raise ValueError(f"population must be even and at least 4, got {population}.")
    if not 1 <= parents < population:
        raise ValueError(f"parents must be between 1 and {population - 1}, got {parents}.")
    check_positive({"sigma": sigma})

    def mutate(key, chosen: Theta) -> Theta:
        leaves, structure = jax.tree.flatten(chosen)
        keys = jax.tree.unflatten(structure, list(jax.random.split(key, len(leaves))))
        return jax.tree.map(lambda leaf, k: leaf + sigma * jax.random.normal(k, leaf.shape, leaf.dtype), chosen, keys)

    def breed(key, elite: Theta, chosen: Theta) -> Population:
        """The elite, and mutations of `chosen` [population - 1, ...]."""
        children = mutate(key, chosen)
        return Population(jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), elite, children))

    def init(key, theta):
        same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (population - 1, *leaf.shape)), theta)
        return breed(key, theta, same)

    def tell(key, state, candidates, fitness):
        select_key, mutate_key = jax.random.split(key)
        fitness = jnp.where(jnp.isfinite(fitness), fitness, -jnp.inf)
        best = jax.lax.top_k(fitness, parents)[1]  # ties go to the first, so an elite that is equalled stays
        chosen = best[jax.random.randint(select_key, (population - 1,), 0, parents, jnp.int32)]
        elite = jax.tree.map(lambda leaf: leaf[best[0]], candidates)
        return breed(mutate_key, elite, jax.tree.map(lambda leaf: leaf[chosen], candidates))

    return Strategy(
        population=population,
        mirrored=False,
        init=init,
        ask=lambda key, state: (state, state.members),
        tell=tell,
        theta=lambda state: jax.tree.map(lambda leaf: leaf[0], state.members),
    )
