"""Meta-gradients: theta follows the gradient of what its agents achieve, back through their K last updates."""

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from groove.base import Agent, Info, MetaOptimizer, Outcome, Rollout, Task, Theta, UpdateRule
from groove.base.ranges import Number, check_positive, is_concrete
from groove.base.trees import tree_where
from groove.lifetime import Lifetime, Member
from groove.nets import agents
from groove.nets.agents import TrainState
from groove.nets.categorical import log_probability
from groove.nets.critic import Critic, normalise, over_steps
from groove.parallel import devices
from levels.base import Level


class AgentState(NamedTuple):
    """A member of the batch: its task, its life and the value function that only the meta-loss sees."""

    task: Task
    member: Member
    critic: TrainState

    @property
    def finished(self) -> jax.Array:
        """bool[...]: the lifetime is over."""
        return self.member.clock.update >= self.member.clock.lifetime


class FamilySetup(NamedTuple):
    """What a family of tasks is played with: one entry per family of a run."""

    rule: UpdateRule
    life: Lifetime
    critic: Critic
    expected: Callable[[Agent, Level], jax.Array] | None = None  # exact and differentiable: then the meta-loss is minus that


class Weights(NamedTuple):
    """Weights of the meta-loss's regularisers; defaults are GROOVE's (Jackson et al. 2023)."""

    entropy: Number = 0.05  # beta_0, of the policy's entropy
    prediction_entropy: Number = 0.001  # beta_1, of y's entropy
    policy_target: Number = 0.005  # beta_2, of |pi_hat|^2
    prediction_target: Number = 0.001  # beta_3, of |y_hat|^2


def regulariser(weights: Weights, diagnosis: Info, updates: Info) -> jax.Array:
    """beta_2 |pi_hat|^2 + beta_3 |y_hat|^2 - beta_0 H(pi) - beta_1 H(y): f32[]; a rule without one of these adds nothing.

    Args:
        weights: The betas.
        diagnosis: The rule's `diagnose` of the agent after its updates: `entropy`, `y_entropy`.
        updates: Means over the updates of the rule's info: `pi_hat_square`, `y_hat_square`.
    """
    bonus = weights.entropy * diagnosis["entropy"] + weights.prediction_entropy * diagnosis.get("y_entropy", 0.0)
    squares = (updates.get("pi_hat_square", 0.0), updates.get("y_hat_square", 0.0))
    return weights.policy_target * squares[0] + weights.prediction_target * squares[1] - bonus


REGULARISED = ("pi_hat_square", "y_hat_square")
"""What the regulariser uses of the updates' info: the rest is looked at, and its gradient costs nothing."""


def policy_loss(rule: UpdateRule, agent: chex.ArrayTree, rollout: Rollout, advantage: jax.Array) -> jax.Array:
    """-mean(log pi(a|s) A) of a fresh rollout: f32[], whose gradient in the agent is the policy gradient."""
    logits = over_steps(rule.policy)(agent, rollout.observation, rollout.time)
    return -jnp.mean(log_probability(logits, rollout.action) * jax.lax.stop_gradient(advantage))


def gradient(
    families: tuple[FamilySetup, ...],
    optimizer: optax.GradientTransformation,
    *,
    updates: int = 5,
    weights: Weights | None = None,
    normalise_advantage: bool = True,
    per_life: bool = False,
    fading: bool = False,
    member_clip: Number | None = None,
    rematerialise: bool = False,
    block: int | None = None,
    reproducible: bool = False,
) -> MetaOptimizer:
    """The meta-gradient of LPG (Oh et al. 2020) and GROOVE (Jackson et al. 2023).

    Every member lives K updates, then plays a fresh rollout. The loss is the policy loss of that rollout plus the
    regulariser; its gradient goes back through all K updates. Rollouts count as constants. Advantages come from a value
    function that learns from every rollout of its member and is born with it.

    Of families whose expected return is known and differentiable, the loss may be minus that of the agent after its updates
    in place of the policy loss: without the noise of a rollout, and no value function learns.

    Args:
        families: What each family of tasks is played with.
        optimizer: Of theta, from optax, with any clipping chained before it.
        updates: K, at least 1.
        weights: Of the regularisers.
        normalise_advantage: Whether each member's advantages are shifted and scaled to mean 0 and deviation 1.
        per_life: Whether members are weighted by 1 / N, so that every life counts alike, as under evolution, up to the
            rounding of N to whole pieces of K. Otherwise every update does, and long lives, which take part in more
            meta-steps, outweigh short ones.
        fading: Whether the bonus for the policy's entropy is weighted by 1 - n / N, the part of the life that is left:
            exploring pays only while there is time to use what is found, so that a clock has something to say.
        member_clip: Largest global norm of each member's own meta-gradient, before their mean; None for no clipping. Back
            through updates that saturate policies the gradients of a few members are hundreds of times as large as those of
            the others, and a clip of their mean alone would leave each such step to them.
        rematerialise: Whether a backward pass recomputes each update instead of keeping it: less memory, a forward pass
            more, and other rounding.
        block: Members computed at once, to bound memory; must divide each device's share of each family's batch. By default
            one device computes all at once, several cut a batch into `devices.num_blocks`, whatever their number.
        reproducible: Whether one device cuts its batch like several, so that its numbers are theirs; slower.

    Returns:
        A MetaOptimizer; `live` is a tuple over families of AgentStates.
    """
    if updates < 1:
        raise ValueError(f"updates must be at least 1, got {updates}.")
    weights = weights or Weights()
    losses = tuple(
        _member_loss(family, weights, normalised=normalise_advantage, fading=fading, rematerialise=rematerialise)
        for family in families
    )

    def begin(key, tasks):
        mine = devices.local_shard(tasks)
        keys = _keys(key, [task.lifetime.size for task in mine], each=2)
        return tuple(_begin(*row) for row in zip(families, keys, mine, strict=True))

    def step(key, state: TrainState, live):
        sizes = [players.task.lifetime.size for players in live]
        keys = _keys(key, sizes, each=updates + 2)
        blocks = [block or _usual_block(size, reproducible=reproducible) for size in sizes]
        rows = zip(losses, keys, live, _shares(live, per_life=per_life), blocks, strict=True)
        results = [
            _blocked(loss, k[:, 1:], state.parameters, (players, share), size, member_clip)
            for loss, k, players, share, size in rows
        ]
        members = sum(sizes) * devices.count()
        slope = jax.tree.map(lambda *sums: sum(sums[1:], sums[0]) / members, *(result[0] for result in results))
        live = tuple(result[1] for result in results)
        outcomes = _measure(families, [k[:, 0] for k in keys], live)
        infos = devices.gather([result[2] for result in results])
        return agents.descend(optimizer, state, slope), live, outcomes, _info(slope, infos)

    def init(key, theta):
        if not jax.tree.leaves(theta):
            raise ValueError("a meta-gradient needs a rule with parameters to learn; this one's theta has none.")
        return agents.begin(optimizer, theta)

    return MetaOptimizer(
        init=init,
        begin=begin,
        theta=lambda state: state.parameters,
        step=step,
    )


def _shares(live: tuple[AgentState, ...], *, per_life: bool) -> list[jax.Array]:
    """What each member's loss is weighted with, f32[B] of each family; 1 on average."""
    if not per_life:
        return [jnp.ones(players.task.lifetime.shape, jnp.float32) for players in live]
    inverse = [1.0 / players.task.lifetime.astype(jnp.float32) for players in live]
    scale = jnp.mean(jnp.concatenate(devices.gather(inverse)))
    return [values / scale for values in inverse]


def _begin(family: FamilySetup, keys: jax.Array, task: Task) -> AgentState:
    def one(keys, task):
        return AgentState(task, family.life.begin(keys[0], task.level, task.lifetime), family.critic.init(keys[1]))

    return jax.vmap(one)(keys, task)


def _keys(key: jax.Array, sizes: list[int], *, each: int) -> list[jax.Array]:
    """The keys of this device's members, [B, each] of each family: by one split, as each compiles for long on CPUs."""
    counts = [size * devices.count() for size in sizes]
    keys = jax.random.split(key, (sum(counts), each))
    return [
        devices.local_shard(keys[end - count : end]) for end, count in zip(itertools.accumulate(counts), counts, strict=True)
    ]


def _measure(families: tuple[FamilySetup, ...], keys: list[jax.Array], live: tuple[AgentState, ...]) -> tuple[Outcome, ...]:
    return tuple(
        jax.vmap(family.life.evaluate)(k, players.member.agent, players.task.level, players.finished)
        for family, k, players in zip(families, keys, live, strict=True)
    )


def _member_loss(
    family: FamilySetup, weights: Weights, *, normalised: bool, fading: bool = False, rematerialise: bool
) -> Callable[[Theta, jax.Array, tuple[AgentState, jax.Array]], tuple[jax.Array, tuple[AgentState, Info]]]:
    """`(theta, keys [K + 1], (player, share)) -> (loss, (player, info))`: one member's K updates and what became of them."""

    def update(theta, player, key):
        alive = ~player.finished
        member, rollout, info = family.life.update(key, theta, player.member, player.task.level)
        if family.expected is not None:
            return player._replace(member=member), (_seen(info), alive)
        _, target = family.critic.advantage(player.critic, rollout)
        critic, error = family.critic.update(player.critic, jax.lax.stop_gradient(rollout), target)
        player = player._replace(member=member, critic=tree_where(alive, critic, player.critic))
        return player, ({**_seen(info), "value_loss": jax.lax.stop_gradient(error)}, alive)

    update = jax.checkpoint(update) if rematerialise else update

    def loss(theta, keys, member_and_share):
        player, share = member_and_share
        player, (infos, alive) = jax.lax.scan(lambda player, key: update(theta, player, key), player, keys[:-1])
        member, rollout = family.life.rollout(keys[-1], player.member, player.task.level)
        info, diagnosis = _mean_where(alive, infos), family.rule.diagnose(member.agent, rollout)
        if family.expected is None:
            advantage, target = family.critic.advantage(player.critic, rollout)
            critic, _ = family.critic.update(player.critic, rollout, target)
            aim = policy_loss(family.rule, member.agent, rollout, normalise(advantage) if normalised else advantage)
        else:
            critic, aim = player.critic, -family.expected(member.agent, player.task.level)
        clock = member.clock
        left = 1.0 - clock.update / clock.lifetime if fading else 1.0
        value = aim + regulariser(weights._replace(entropy=weights.entropy * left), diagnosis, info)
        seen = {"meta_loss": value, "reward": jnp.mean(rollout.reward), **info, **diagnosis}
        return jnp.where(player.task.origin.learn, share * value, 0.0), (player._replace(member=member, critic=critic), seen)

    return loss


def _seen(info: Info) -> Info:
    """What updates say of themselves, with a gradient where the regulariser uses it."""
    return {name: value if name in REGULARISED else jax.lax.stop_gradient(value) for name, value in info.items()}


def _mean_where(alive: jax.Array, infos: Info) -> Info:
    """Means of infos [K] over the updates of a life, bool[K]: those after its end had no effect."""
    count = jnp.maximum(jnp.sum(alive, dtype=jnp.float32), 1.0)
    return {name: jnp.sum(jnp.where(alive, values, 0.0)) / count for name, values in infos.items()}


def _usual_block(members: int, *, reproducible: bool) -> int:
    """How many of this device's members are computed at once where nobody said."""
    shared = devices.count()
    if shared == 1 and not reproducible:
        return members
    return members * shared // devices.num_blocks(members * shared, shared)


def _blocked(
    loss, keys: jax.Array, theta: Theta, members: tuple[AgentState, jax.Array], block: int, limit: Number | None
) -> tuple[Theta, AgentState, Info]:
    """Sums the gradients of all members, `block` at a time: (gradient, this device's players, their infos [B])."""
    size = members[1].size
    if size % block:
        raise ValueError(f"block must divide the batch of {size} members, got {block}.")

    def total(theta, keys, members):
        values, aux = jax.vmap(loss, (None, 0, 0))(theta, keys, members)
        return jnp.sum(values), aux

    def one(batch):
        if limit is None:
            return jax.grad(total, has_aux=True)(theta, *batch)
        slopes, (players, infos) = jax.vmap(jax.grad(loss, has_aux=True), (None, 0, 0))(theta, *batch)
        slopes, clipped = _clipped(slopes, limit)
        return slopes, (players, {**infos, "clipped": clipped})

    if block == size:
        slope, aux = one((keys, members))
        slopes = jax.tree.map(lambda leaf: leaf[None], slope)
    else:
        blocks = jax.tree.map(lambda leaf: leaf.reshape(size // block, block, *leaf.shape[1:]), (keys, members))
        slopes, aux = jax.lax.map(one, blocks)
        aux = jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[2:]), aux)
    players, infos = aux
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), devices.gather(slopes)), players, infos


def _clipped(slopes: Theta, limit: Number) -> tuple[Theta, jax.Array]:
    """The sum of slopes [B, ...], each scaled down to a global norm of `limit`, and which of them were: f32[B]."""
    squares = sum(jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(slopes))
    norm = jnp.sqrt(squares)
    scale = limit / jnp.maximum(norm, limit)
    return jax.tree.map(lambda leaf: jnp.tensordot(scale, leaf, axes=1), slopes), (norm > limit).astype(jnp.float32)


def _info(slope: Theta, infos: list[Mapping[str, jax.Array]]) -> Info:
    """Means over the members of all families whose rules measure it, and whether the meta-gradient is finite.

    Sums are taken together: each alone is three programs for XLA to compile.
    """
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(slope)])
    nonfinite = jnp.sum(~jnp.isfinite(flat), dtype=jnp.int32)
    sums = [dict(zip(info, jnp.sum(jnp.stack(list(info.values())), axis=1), strict=True)) for info in infos]
    sizes = [next(iter(info.values())).size for info in infos]
    means = {}
    for name in sorted({name for info in infos for name in info}):
        own = [(part[name], size) for part, size in zip(sums, sizes, strict=True) if name in part]
        means[name] = sum(value for value, _ in own) / sum(size for _, size in own)
    return {**means, "gradient_norm": jnp.sqrt(jnp.sum(jnp.square(flat))), "nonfinite": nonfinite}


def adam(rate: Number = 1e-4, *, clip: Number | None = None, decay_steps: int | None = None) -> optax.GradientTransformation:
    """Adam for theta; GROOVE's rate by default.

    Args:
        rate: Learning rate, positive.
        clip: Largest global norm of the meta-gradient, applied before Adam; None for no clipping.
        decay_steps: Steps over which the rate falls to 0 along a cosine; None for a constant rate.
    """
    check_positive({"rate": rate})
    if clip is not None and is_concrete(clip) and not clip > 0:
        raise ValueError(f"clip must be positive, got {clip}.")
    schedule = optax.cosine_decay_schedule(rate, decay_steps) if decay_steps else rate
    clipped = optax.identity() if clip is None else optax.clip_by_global_norm(clip)
    return optax.flatten(optax.chain(clipped, optax.adam(schedule)))  # as one vector: less to compile, and to run
