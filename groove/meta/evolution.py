"""Evolution over whole lifetimes: no gradient, no truncation, so schedules that pay off late can be found."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import optax

from groove.base import Clock, Info, MetaOptimizer, Outcome, Task, Theta
from groove.lifetime import Lifetime, Member
from groove.meta.strategies import Strategy
from groove.parallel import devices

Shaping: TypeAlias = Callable[[jax.Array], jax.Array]
"""`(fitness f32[tasks, lives]) -> f32[tasks, lives]`, among those that shared a task; finite, though fitness is not
where an agent diverged."""
Fitness: TypeAlias = Callable[[Outcome, Info], jax.Array]
"""`(outcome, means over the life of what its updates reported) -> f32[]`."""


class Visit(NamedTuple):
    """A task about to be lived on, or just lived on: whole lives leave nothing else behind. Leading axis [B]."""

    task: Task
    clock: Clock

    @property
    def finished(self) -> jax.Array:
        """bool[...]: the lifetime is over."""
        return self.clock.update >= self.clock.lifetime


class Plays(NamedTuple):
    """Who lives on what: U couples of candidates."""

    task: jax.Array  # i32[U]
    candidate: jax.Array  # i32[U, 2]


def ranks(fitness: jax.Array) -> jax.Array:
    """Centred ranks in [-1/2, 1/2], equal for equal fitness: f32[..., G] to f32[..., G].

    For a pair they are +1/2 for the better, -1/2 for the other, and both exactly 0 on a tie (TA-LPG, Jackson, Lu et al.
    2024). What is not finite ranks last.
    """
    fitness = jnp.where(jnp.isfinite(fitness), fitness, -jnp.inf)
    others, own = fitness[..., None, :], fitness[..., :, None]
    less = jnp.sum(others < own, axis=-1, dtype=jnp.float32)
    equal = jnp.sum(others == own, axis=-1, dtype=jnp.float32)
    return (less + (equal - 1) / 2) / (fitness.shape[-1] - 1) - 0.5


def raw(fitness: jax.Array) -> jax.Array:
    """The fitness itself, less the mean of those that shared the task, so that pairs add to 0 and ties are exactly 0.

    f32[..., G] to f32[..., G]. What is not finite counts as the worst of all, see `grounded`.
    """
    fitness = grounded(fitness)
    return fitness - jnp.mean(fitness, axis=-1, keepdims=True)


def grounded(fitness: jax.Array) -> jax.Array:
    """Fitness f32[...] with its lowest finite value in the place of what is not finite; 0 where nothing is."""
    finite = jnp.isfinite(fitness)
    worst = jnp.min(jnp.where(finite, fitness, jnp.inf))
    return jnp.where(finite, fitness, jnp.where(jnp.any(finite), worst, 0.0))


def final_return(outcome: Outcome, info: Info) -> jax.Array:
    """What the agent achieves at the end of its life."""
    return outcome.episode_return


def mean_reward(outcome: Outcome, info: Info) -> jax.Array:
    """The reward of a step, over the whole life; NaN of an agent that diverged in it."""
    return jnp.where(jnp.isnan(outcome.episode_return), jnp.nan, info["reward"])


def evolution(
    lives: tuple[Lifetime, ...],
    strategy: Strategy,
    *,
    fitness: Fitness = final_return,
    shaping: Shaping = ranks,
    block: int = 1,
    grouped: bool = True,
) -> MetaOptimizer:
    """Evolution strategies over whole lifetimes (Lu et al. 2022; TA-LPG, Jackson, Lu et al. 2024).

    In each generation every candidate is born, lives and is measured. The candidates that share a task share the initial
    agent and every random word as well. Of a mirrored strategy these are pairs, and there is one task per pair: for the same
    number of lives, more pairs tell more than more tasks per pair. Of another strategy all candidates share all tasks.
    Fitness is shaped among those who shared a task, then averaged over a candidate's tasks; a task that is not to be learned
    from counts as a tie.

    Args:
        lives: How the rule's agents live, one per family.
        strategy: Who is tried next.
        fitness: What is maximised.
        shaping: `ranks`, or `raw` where rewards of all tasks are of one scale.
        block: Couples of lives stepped together. A block ends with its longest life. Large on a GPU; on a CPU a couple fills
            the machine, and its weights stay in cache. Must divide the number of couples of every family.
        grouped: Whether couples are sorted by lifetime first, so that short lives do not wait for long ones.

    Returns:
        A MetaOptimizer; `live` is a tuple of Visits over families, of which all are finished after every step. What a task
        reports is the mean over the better half of its candidates: the better one of a pair.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}.")

    def begin(key, tasks):
        own = devices.local_shard(tasks)
        return tuple(Visit(task, Clock(jnp.zeros_like(task.lifetime), task.lifetime)) for task in own)

    def step(key, state, live):
        ask_key, live_key, tell_key = jax.random.split(key, 3)
        state, candidates = strategy.ask(ask_key, state)
        tasks = devices.gather([visits.task for visits in live])
        sizes = [task.lifetime.size for task in tasks]
        results = [
            _family(life, k, candidates, task, plays, block=block, grouped=grouped)
            for life, k, task, plays in zip(
                lives, jax.random.split(live_key, len(lives)), tasks, couples(strategy, sizes), strict=True
            )
        ]
        values = [fitness(outcome, info) for outcome, info in results]
        merit = _mean_fitness(strategy, [_learned(task, shaping(value)) for task, value in zip(tasks, values, strict=True)])
        moved = strategy.tell(tell_key, state, candidates, merit)
        live = tuple(visits._replace(clock=Clock(visits.task.lifetime, visits.task.lifetime)) for visits in live)
        seen = {**strategy.info(moved), **_info(values, [info for _, info in results])}
        seen["theta_step"] = optax.tree.norm(jax.tree.map(jnp.subtract, strategy.theta(moved), strategy.theta(state)))
        seen["nonfinite"] = nonfinite(strategy.theta(moved)) + seen["nonfinite"]  # its agents may well have a finite return
        return moved, live, devices.local_shard(tuple(better_half(outcome) for outcome, _ in results)), seen

    return MetaOptimizer(init=strategy.init, begin=begin, theta=strategy.theta, step=step)


def couples(strategy: Strategy, tasks: list[int]) -> list[Plays]:
    """Who lives on what, by family: pairs with a task each, or every candidate on every task.

    Args:
        strategy: Of `population` candidates.
        tasks: The number of tasks of each family.

    Raises:
        ValueError: A mirrored strategy has other than one pair for each task.
    """
    half = strategy.population // 2
    if not strategy.mirrored:
        pairs = jnp.arange(2 * half, dtype=jnp.int32).reshape(half, 2)
        return [Plays(jnp.repeat(jnp.arange(count, dtype=jnp.int32), half), jnp.tile(pairs, (count, 1))) for count in tasks]
    if half != sum(tasks):
        raise ValueError(
            f"a mirrored population must be twice the number of tasks, {sum(tasks)}, got {strategy.population}."
        )
    places, start = [], 0
    for count in tasks:
        pair = jnp.arange(start, start + count, dtype=jnp.int32)
        places.append(Plays(jnp.arange(count, dtype=jnp.int32), jnp.stack([pair, pair + half], axis=1)))
        start += count
    return places


def better_half(outcome: Outcome) -> Outcome:
    """Means over the better half of candidates: fields, and signals, f32[B, G] to f32[B]. Of a pair it is the better one.

    What is not finite ranks last.
    """
    half = outcome.episode_return.shape[1] // 2
    rank = jnp.where(jnp.isfinite(outcome.episode_return), outcome.episode_return, -jnp.inf)
    place = jax.lax.top_k(rank, half)[1]
    best, error, signals = jax.tree.map(lambda field: jnp.take_along_axis(field, place, axis=1), outcome)
    together = jnp.sqrt(jnp.sum(jnp.square(error), axis=1)) / half
    return Outcome(jnp.mean(best, axis=1), together, jax.tree.map(lambda field: jnp.mean(field, axis=1), signals))


def nonfinite(tree: chex.ArrayTree) -> jax.Array:
    """How many numbers of a tree are not finite: i32[]."""
    return sum((jnp.sum(~jnp.isfinite(leaf), dtype=jnp.int32) for leaf in jax.tree.leaves(tree)), jnp.zeros((), jnp.int32))


def whole_life(life: Lifetime, key: jax.Array, theta: Theta, task: Task) -> tuple[Member, Outcome, Info]:
    """Birth, life and measurement of one agent, and means over its life of what its updates reported and of `reward`."""
    begin_key, life_key, measure_key = jax.random.split(key, 3)

    def update(member):
        update_key = jax.random.fold_in(life_key, member.clock.update)
        member, rollout, info = life.update(update_key, theta, member, task.level)
        return member, {**info, "reward": jnp.mean(rollout.reward)}

    def body(now):
        member, seen = update(now[0])
        return member, jax.tree.map(jnp.add, now[1], seen)

    born = life.begin(begin_key, task.level, task.lifetime)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(update, born)[1])
    member, total = jax.lax.while_loop(lambda now: now[0].clock.update < now[0].clock.lifetime, body, (born, nothing))
    outcome = life.evaluate(measure_key, member.agent, task.level, jnp.array(True))
    return member, outcome, jax.tree.map(lambda sums: sums / task.lifetime, total)


def _family(
    life: Lifetime, key: jax.Array, candidates: Theta, task: Task, plays: Plays, *, block: int, grouped: bool
) -> tuple[Outcome, Info]:
    """All lives on a family's tasks: outcomes and infos f32[B, candidates that share a task]."""
    size = plays.task.size
    if size % block:
        raise ValueError(f"block must divide the {size} couples of candidates, got {block}.")
    keys = jax.random.split(key, task.lifetime.size)
    order = jnp.argsort(-task.lifetime[plays.task], stable=True) if grouped else jnp.arange(size, dtype=jnp.int32)

    def play(now: Plays):
        theta = jax.tree.map(lambda leaf: leaf[now.candidate], candidates)
        own = jax.tree.map(lambda leaf: leaf[now.task], task)
        return jax.vmap(lambda theta: whole_life(life, keys[now.task], theta, own)[1:])(theta)

    rows = jax.tree.map(lambda leaf: leaf[order], plays)
    results = devices.blockwise(play, rows, block=block)
    back = jnp.argsort(order)
    return jax.tree.map(lambda leaf: leaf[back].reshape(task.lifetime.size, -1), results)


def _learned(task: Task, shaped: jax.Array) -> jax.Array:
    """Shaped fitness f32[B, G], 0 where a task is not to be learned from."""
    return jnp.where(task.origin.learn[:, None], shaped, 0.0)


def _mean_fitness(strategy: Strategy, values: list[jax.Array]) -> jax.Array:
    """Shaped fitness f32[B, G] of each family to f32[population]: a pair's own, or means over all tasks."""
    if strategy.mirrored:
        return jnp.concatenate(values).T.ravel()
    return jnp.mean(jnp.concatenate(values), axis=0)


def _info(values: list[jax.Array], infos: list[Info]) -> Info:
    """Means over all lives that did not diverge, how many did, and how far those that shared a task lay apart.

    Where all diverged, there is nothing to go on with: each of them counts as a number that is not finite.
    """
    fitness = jnp.concatenate([grounded(value) for value in values])
    spread = jnp.max(fitness, axis=1) - jnp.min(fitness, axis=1)
    rows = [{**info, "fitness": value} for info, value in zip(infos, values, strict=True)]
    tied = jnp.all(ranks(jnp.concatenate(values)) == 0, axis=1)
    own = {"fitness_spread": jnp.mean(spread), "ties": jnp.mean(tied, dtype=jnp.float32)}
    return {**means_of_sound(values, rows), **own}


def means_of_sound(fitness: Sequence[jax.Array], infos: Sequence[Info]) -> Info:
    """Means of infos, by family as fitness is, over the agents whose fitness is finite: those that did not diverge.

    Beside them `diverged`, how many did, and `nonfinite`: as many again where all did, since there is nothing to go on with.
    """
    rows = [(info, jnp.isfinite(own)) for info, own in zip(infos, fitness, strict=True)]

    def mean(name):
        columns = [(info[name], sound) for info, sound in rows if name in info]
        values, sound = (jnp.concatenate(column) for column in zip(*columns, strict=True))
        return jnp.sum(jnp.where(sound, values, 0.0)) / jnp.sum(sound)

    lost = jnp.concatenate([~sound for _, sound in rows])
    diverged = jnp.sum(lost, dtype=jnp.int32)
    means = {name: mean(name) for name in sorted({name for info in infos for name in info})}
    return {**means, "diverged": diverged, "nonfinite": jnp.where(jnp.all(lost), diverged, 0)}
