"""State values: what advantages are measured against."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from groove.base import Rollout
from groove.base.ranges import Number
from groove.nets import agents, returns
from groove.nets.agents import Architecture, TrainState
from levels.base import Spec


class Critic(NamedTuple):
    """A value function that learns from rollouts.

    Attributes:
        init: `(key) -> Learner`.
        advantage: `(learner, rollout) -> (advantage f32[T, E], target f32[T, E])`, by GAE; target = advantage + value.
        update: `(learner, rollout, target) -> (learner, loss f32[])`, one step towards the targets.
        value: `(learner, observation, time f32[]) -> f32[]`, V of one state.
    """

    init: Callable[[jax.Array], TrainState]
    advantage: Callable[[TrainState, Rollout], tuple[jax.Array, jax.Array]]
    update: Callable[[TrainState, Rollout, jax.Array], tuple[TrainState, jax.Array]]
    value: Callable[[TrainState, jax.Array, jax.Array], jax.Array]


def critic(spec: Spec, architecture: Architecture, *, gamma: Number = 0.99, lambda_: Number = 0.95) -> Critic:
    """A critic of `architecture`, its loss half the mean squared error over steps and environments."""
    network = architecture.network(spec, 1)
    apply = over_steps(network.apply)

    def values(parameters, observation, time):
        return apply(parameters, observation, time)[..., 0]

    def advantage(learner, rollout):
        value = values(learner.parameters, rollout.observation, rollout.time)
        next_value = values(learner.parameters, rollout.next_observation, rollout.next_time)
        result = advantages(rollout, value, next_value, gamma=gamma, lambda_=lambda_)
        return result, result + value

    def update(learner, rollout, target):
        def loss(parameters):
            return 0.5 * jnp.mean(jnp.square(values(parameters, rollout.observation, rollout.time) - target))

        value, gradient = jax.value_and_grad(loss)(learner.parameters)
        return agents.descend(architecture.critic, learner, gradient), value

    def value(learner, observation, time):
        return network.apply(learner.parameters, observation, time)[0]

    return Critic(lambda key: agents.begin(architecture.critic, network.init(key)), advantage, update, value)


def over_steps(apply: Callable[[agents.Parameters, jax.Array, jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    """Maps an unbatched network over the [T, E] axes of a rollout."""
    return jax.vmap(jax.vmap(apply, (None, 0, 0)), (None, 0, 0))


class Transitions(Protocol):
    """What advantages need of steps [T, E]; a `Rollout` has it."""

    @property
    def reward(self) -> jax.Array:
        """f32[T, E]."""

    @property
    def terminated(self) -> jax.Array:
        """bool[T, E]."""

    @property
    def ended(self) -> jax.Array:
        """bool[T, E]: the episode ended with this step, one way or the other."""


def advantages(
    rollout: Transitions, value: jax.Array, next_value: jax.Array, *, gamma: Number, lambda_: Number
) -> jax.Array:
    """GAE over the environments of a rollout: f32[T, E] values to f32[T, E] advantages, bootstrapping at truncations."""
    discount = gamma * (1.0 - rollout.terminated.astype(jnp.float32))
    continues = 1.0 - rollout.ended.astype(jnp.float32)
    over_environments = jax.vmap(lambda *columns: returns.gae(*columns, lambda_=lambda_), in_axes=1, out_axes=1)
    return over_environments(rollout.reward, discount, value, next_value, continues)


def normalise(advantage: jax.Array) -> jax.Array:
    """Shifts and scales advantages to mean 0 and deviation 1 over all their axes; where they do not differ, to 0.

    Differences that rounding alone could make, of numbers of their size, are none.
    """
    centred = advantage - jnp.mean(advantage)
    rounding = 4 * jnp.finfo(advantage.dtype).eps * jnp.max(jnp.abs(advantage))
    differ = jnp.max(advantage) - jnp.min(advantage) > rounding
    deviation = jnp.sqrt(jnp.where(differ, jnp.mean(jnp.square(centred)), 1.0))
    return jnp.where(differ, centred / (deviation + 1e-8), 0.0)
