"""Novelty search: candidates are wanted for what their agents do that no rule did before."""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp

from groove.base import Task, Theta, UpdateRule
from groove.lifetime import Lifetime
from groove.meta.evolution import ranks, whole_life
from groove.meta.strategies import Strategy
from groove.parallel import devices

Behaviour: TypeAlias = Callable[[Theta], jax.Array]
"""`(theta) -> f32[d]`: what characterises a rule."""


class Archive(NamedTuple):
    """Behaviours seen so far, a ring."""

    behaviour: jax.Array  # f32[capacity, d]
    entered: jax.Array  # i32[]; behaviours ever entered; number n lies in place n mod capacity


class Searcher(NamedTuple):
    """A strategy and what it has seen."""

    inner: chex.ArrayTree
    archive: Archive
    novelty: jax.Array  # f32[]; mean over the last generation


def probes(
    lives: tuple[Lifetime, ...],
    tasks: tuple[Task, ...],
    key: jax.Array,
    *,
    rules: tuple[UpdateRule, ...] = (),
    scales: tuple[float, ...] | None = None,
) -> Behaviour:
    """What becomes of untrained agents on fixed tasks, with fixed random words: returns, and mean policy entropies.

    Args:
        lives: How the rule's agents live, one per family.
        tasks: [B, ...] for each family.
        key: Of all lives on them: behaviours differ only because rules do.
        rules: Whose agents they are, one per family, for the entropies in a rollout at the end of each life; without, a
            behaviour is returns alone.
        scales: What a family's returns are divided by, positive, so that families and entropies weigh alike; by default 1.

    Returns:
        `(theta) -> f32[2 tasks]`: a family's returns, then its entropies.
    """
    if rules and len(rules) != len(lives):
        raise ValueError(f"rules must be one per family, {len(lives)}, or none, got {len(rules)}.")
    keys = jax.random.split(key, len(lives))
    scales = scales or (1.0,) * len(lives)

    def one(place, key, theta, task):
        life_key, rollout_key = jax.random.split(key)
        member, outcome, _ = whole_life(lives[place], life_key, theta, task)
        if not rules:
            return (outcome.episode_return / scales[place],)
        member, rollout = lives[place].rollout(rollout_key, member, task.level)
        return outcome.episode_return / scales[place], rules[place].diagnose(member.agent, rollout)["entropy"]

    def behaviour(theta):
        rows = []
        for place, task in enumerate(tasks):
            own = jax.random.split(keys[place], task.lifetime.size)
            rows += jax.vmap(functools.partial(one, place), (0, None, 0))(own, theta, task)
        return jnp.concatenate(rows)

    return behaviour


def novelty(behaviour: jax.Array, archive: Archive, neighbours: int) -> jax.Array:
    """Mean distance of each behaviour f32[P, d] to its nearest among the archive and the others: f32[P].

    Lehman and Stanley 2011. Fewer neighbours count while there are fewer.
    """
    size, capacity = behaviour.shape[0], archive.behaviour.shape[0]
    everyone = jnp.concatenate([archive.behaviour, behaviour])
    square = jnp.sum(jnp.square(behaviour[:, None, :] - everyone[None]), axis=-1)
    held = jnp.arange(capacity, dtype=jnp.int32) < archive.entered
    there = jnp.concatenate([jnp.broadcast_to(held, (size, capacity)), ~jnp.eye(size, dtype=bool)], axis=1)
    nearest = -jax.lax.top_k(-jnp.where(there, square, jnp.inf), neighbours)[0]
    found = jnp.isfinite(nearest)
    return jnp.sum(jnp.where(found, jnp.sqrt(jnp.where(found, nearest, 0.0)), 0.0), axis=1) / jnp.maximum(
        jnp.sum(found, axis=1), 1
    )


def novelty_search(
    strategy: Strategy,
    behaviour: Behaviour,
    *,
    weight: float = 1.0,
    neighbours: int = 10,
    capacity: int = 1000,
    entrants: int = 1,
    block: int = 2,
) -> Strategy:
    """The strategy with novelty in the place of fitness, or beside it (NS-ES and NSR-ES, Conti et al. 2018).

    Told a generation's fitness, it measures every candidate's behaviour and passes on
    (1 - weight) fitness + weight rank(novelty), ranks centred in [-1/2, 1/2] as `evolution.ranks` are. Afterwards some of
    the candidates, drawn at random, enter the archive. What is not finite in a behaviour counts as 0.

    Args:
        strategy: Any.
        behaviour: What is compared, in units that make Euclidean distances sensible.
        weight: Of novelty, in [0, 1]; 1 is novelty search.
        neighbours: k, at least 1 and at most the population - 1.
        capacity: Behaviours remembered, at least 1; the oldest go first.
        entrants: Candidates that enter in a generation, between 1 and the population.
        block: Candidates measured at once.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie in [0, 1], got {weight}.")
    if not 1 <= neighbours < strategy.population:
        raise ValueError(f"neighbours must be between 1 and {strategy.population - 1}, got {neighbours}.")
    if not 1 <= entrants <= min(strategy.population, capacity):
        raise ValueError(f"entrants must be between 1 and the population and the capacity, got {entrants}.")

    def init(key, theta):
        shape = jax.eval_shape(behaviour, theta)
        archive = Archive(jnp.zeros((capacity, *shape.shape), shape.dtype), jnp.zeros((), jnp.int32))
        return Searcher(strategy.init(key, theta), archive, jnp.zeros((), jnp.float32))

    def ask(key, state):
        inner, candidates = strategy.ask(key, state.inner)
        return state._replace(inner=inner), candidates

    def tell(key, state, candidates, fitness):
        tell_key, entrant_key = jax.random.split(key)
        seen = jnp.nan_to_num(devices.blockwise(behaviour, candidates, block=block), posinf=0.0, neginf=0.0)
        new = novelty(seen, state.archive, neighbours)
        wanted = ranks(new) if weight == 1 else (1 - weight) * fitness + weight * ranks(new)  # 0 times inf is not 0
        inner = strategy.tell(tell_key, state.inner, candidates, wanted)
        chosen = jax.random.choice(entrant_key, strategy.population, (entrants,), replace=False)
        return Searcher(inner, _enter(state.archive, seen[chosen]), jnp.mean(new))

    def info(state):
        fill = jnp.minimum(state.archive.entered, capacity)
        return {**strategy.info(state.inner), "novelty": state.novelty, "archive": fill}

    return Strategy(strategy.population, strategy.mirrored, init, ask, tell, lambda state: strategy.theta(state.inner), info)


def _enter(archive: Archive, behaviour: jax.Array) -> Archive:
    place = (archive.entered + jnp.arange(behaviour.shape[0], dtype=jnp.int32)) % archive.behaviour.shape[0]
    return Archive(archive.behaviour.at[place].set(behaviour), archive.entered + behaviour.shape[0])
