"""Evolution in pieces of a lifetime: agents live on between generations, and theta moves long before they are old."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from groove.base import Info, MetaOptimizer, Outcome, Task, Theta
from groove.base.ranges import Number, check_positive, has_nan
from groove.lifetime import Lifetime, Member
from groove.meta.evolution import better_half, grounded, means_of_sound, nonfinite
from groove.nets import agents
from groove.nets.agents import TrainState
from groove.parallel import devices

Credit: TypeAlias = Callable[[Theta, Theta, jax.Array], tuple[Theta, Theta]]
"""`(fresh, kept, born bool[]) -> (noise, weight)`: what theta is perturbed with now, and what the outcome is credited to."""


class AntitheticPair(NamedTuple):
    """Two agents alive on one task, perturbed in opposite directions. Leading axis [B]."""

    task: Task
    member: Member  # leading axes [B, 2]
    kept: Theta  # [B, ...]; what `Credit` remembers of the couple's perturbations since its birth

    @property
    def finished(self) -> jax.Array:
        """bool[B]: the lifetime is over."""
        return self.member.clock.update[..., 0] >= self.member.clock.lifetime[..., 0]


def persistent_es(fresh: Theta, kept: Theta, born: jax.Array) -> tuple[Theta, Theta]:
    """New noise in every piece, credited with all noise since birth: unbiased (Vicol et al. 2021, arXiv 2112.13835)."""
    return fresh, jax.tree.map(lambda new, old: jnp.where(born, new, old + new), fresh, kept)


def noise_reuse_es(fresh: Theta, kept: Theta, born: jax.Array) -> tuple[Theta, Theta]:
    """One noise for a whole life: unbiased, and of less variance (Li et al. 2023, arXiv 2304.12180)."""
    noise = jax.tree.map(lambda new, old: jnp.where(born, new, old), fresh, kept)
    return noise, noise


def truncated_es(fresh: Theta, kept: Theta, born: jax.Array) -> tuple[Theta, Theta]:
    """New noise in every piece, credited with that alone: plain truncation, blind to whatever pays off later."""
    return fresh, fresh


def truncated(
    lives: tuple[Lifetime, ...],
    optimizer: optax.GradientTransformation,
    theta: Theta,
    *,
    sigma: Number = 0.1,
    updates: int = 5,
    credit: Credit = persistent_es,
    final: bool = False,
    block: int = 1,
) -> MetaOptimizer:
    """Evolution strategies over pieces of K updates, with antithetic couples that live on from piece to piece.

    The gradient's estimate is the mean over couples of (f+ - f-) / (2 sigma^2) times what `credit` says: the sum of a
    couple's perturbations since birth, its only one, or the last. Every couple remembers for itself, since lifetimes end at
    different times. Fitness is raw: ranks would bias the estimate. An agent that diverged counts as the worst of all (see
    `evolution.grounded`). A task that is not to be learned from adds nothing.

    Args:
        lives: How the rule's agents live, one per family.
        optimizer: Of theta, from optax.
        theta: An example of the rule's parameters, or `jax.eval_shape` of it.
        sigma: Deviation of the perturbations, positive.
        updates: K, updates of a piece, at least 1.
        credit: `persistent_es`, `noise_reuse_es` or `truncated_es`.
        final: Whether fitness is the return at the end of the life, nothing before it, rather than each piece's share of
            the life's mean reward per step.
        block: Couples stepped together; must divide each device's share of every family's tasks.

    Returns:
        A MetaOptimizer; `live` is a tuple of Couples over families. The better agent of a couple reports.
    """
    if updates < 1 or block < 1:
        raise ValueError(f"updates and block must be at least 1, got {updates} and {block}.")
    check_positive({"sigma": sigma})
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), theta)
    plays = tuple(_player(life, updates=updates, final=final) for life in lives)

    def begin(key, tasks):
        keys = jax.random.split(key, len(lives))
        return tuple(_begin(life, k, task, nothing) for life, k, task in zip(lives, keys, tasks, strict=True))

    def family(play, key, center, couples):
        noise_key, play_key = jax.random.split(key)
        keys = devices.local_shard(jax.random.split(noise_key, couples.finished.size * devices.count()))
        fresh = jax.vmap(lambda key: _noise(key, nothing, sigma))(keys)
        born = couples.member.clock.update[:, 0] == 0
        noise, kept = jax.vmap(credit)(fresh, couples.kept, born)
        couples, outcome, info = _blocked(play, play_key, center, couples._replace(kept=kept), noise, block)
        return _slope(couples, info["fitness"], sigma=sigma, block=block), couples, outcome, info

    def step(key, state: TrainState, live):
        keys = jax.random.split(key, len(lives))
        results = [family(play, k, state.parameters, c) for play, k, c in zip(plays, keys, live, strict=True)]
        count = sum(couples.finished.size for couples in live) * devices.count()
        slope = jax.tree.map(lambda *sums: -sum(sums[1:], sums[0]) / count, *(result[0] for result in results))
        moved = agents.descend(optimizer, state, slope)
        size = optax.tree.norm(jax.tree.map(jnp.subtract, moved.parameters, state.parameters))
        infos = devices.gather([result[3] for result in results])
        seen = {**_info(slope, moved.parameters, infos), "theta_step": size}
        return moved, tuple(result[1] for result in results), tuple(result[2] for result in results), seen

    return MetaOptimizer(
        init=lambda key, theta: agents.begin(optimizer, theta),
        begin=begin,
        theta=lambda state: state.parameters,
        step=step,
    )


def _begin(life: Lifetime, key: jax.Array, task: Task, nothing: Theta) -> AntitheticPair:
    def one(key, task):
        twin = life.begin(key, task.level, task.lifetime)
        return AntitheticPair(task, jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), twin), nothing)

    return jax.vmap(one)(*devices.local_shard((jax.random.split(key, task.lifetime.size), task)))


def _noise(key: jax.Array, like: Theta, sigma: Number) -> Theta:
    """A normal perturbation, drawn in one call."""
    flat, unravel = ravel_pytree(like)
    return unravel(sigma * jax.random.normal(key, flat.shape, flat.dtype))


def _player(life: Lifetime, *, updates: int, final: bool):
    """`(key, center, couple, noise) -> (couple, outcome, info)`: K updates of both agents, with the same words."""

    def piece(keys, theta, member, task):
        def update(member, key):
            alive = member.clock.update < member.clock.lifetime
            member, rollout, info = life.update(key, theta, member, task.level)
            return member, ({**info, "reward": jnp.mean(rollout.reward)}, alive)

        member, (infos, alive) = jax.lax.scan(update, member, keys[1:])
        finished = member.clock.update >= member.clock.lifetime
        outcome = life.evaluate(keys[0], member.agent, task.level, finished)
        if final:
            fitness = jnp.where(finished, outcome.episode_return, 0.0)
        else:
            fitness = jnp.sum(jnp.where(alive, infos["reward"], 0.0)) / task.lifetime
        fitness = jnp.where(has_nan(member.agent), jnp.nan, fitness)
        count = jnp.maximum(jnp.sum(alive, dtype=jnp.float32), 1.0)
        means = {name: jnp.sum(jnp.where(alive, values, 0.0)) / count for name, values in infos.items()}
        return member, outcome, {**means, "fitness": fitness}

    def play(key, center, couple, noise):
        keys = jax.random.split(key, 1 + updates)
        both = jax.tree.map(lambda mean, by: jnp.stack([mean + by, mean - by]), center, noise)
        member, outcome, info = jax.vmap(piece, (None, 0, 0, None))(keys, both, couple.member, couple.task)
        return couple._replace(member=member), outcome, info

    return play


def _blocked(
    play, key: jax.Array, center: Theta, couples: AntitheticPair, noise: Theta, block: int
) -> tuple[AntitheticPair, Outcome, Info]:
    """Plays this device's couples, `block` at a time: (couples, outcomes [B], infos [B, 2])."""
    size = couples.finished.size
    if size % block:
        raise ValueError(f"block must divide the {size} tasks, got {block}.")

    def one(rows):
        return jax.vmap(play, (0, None, 0, 0))(rows[0], center, *rows[1:])

    rows = (devices.local_shard(jax.random.split(key, size * devices.count())), couples, noise)
    found = jax.lax.map(one, jax.tree.map(lambda leaf: leaf.reshape(size // block, block, *leaf.shape[1:]), rows))
    couples, outcome, info = jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[2:]), found)
    return couples, better_half(outcome), info


def _slope(couples: AntitheticPair, fitness: jax.Array, *, sigma: Number, block: int) -> Theta:
    """The sum over everyone's couples of what they kept, by the difference in fitness f32[B, 2]; block by block."""
    grounds = grounded(devices.gather(fitness))
    difference = devices.local_shard(grounds[:, 0] - grounds[:, 1])
    credit = jnp.where(couples.task.origin.learn, difference / (2 * sigma**2), 0.0)

    def total(kept):
        weighted = kept * credit.reshape(-1, *(1,) * (kept.ndim - 1))
        return jnp.sum(weighted.reshape(-1, block, *kept.shape[1:]), axis=1)

    sums = devices.gather(jax.tree.map(total, couples.kept))
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)


def _info(slope: Theta, theta: Theta, infos: list[Info]) -> Info:
    """Means over the agents that did not diverge, and how many did."""
    seen = means_of_sound([info["fitness"] for info in infos], infos)
    return {**seen, "gradient_norm": optax.tree.norm(slope), "nonfinite": nonfinite((slope, theta)) + seen["nonfinite"]}
