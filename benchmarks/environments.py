"""Steps per second with random actions: `python -m benchmarks.environments`, one JSON object on the last line.

Every contestant runs the same number of steps in as many environments, one compiled scan a round; finished episodes are
reset within it. A scan carries the last observation, the state and the sum of rewards, so that none of them is dead code.
Actions are drawn for all steps in one call. gymnax steps with a key an environment and resets by itself; jaxued's Maze is
replayed on its level as its AutoReplay wrapper does (which needs an older JAX).
"""

import json
from collections.abc import Callable
from typing import NamedTuple

import chex
import gymnax
import jax
import jax.numpy as jnp
from jaxued.environments import Maze
from jaxued.environments.maze import make_level_generator

from benchmarks.timing import interleaved
from levels.bandit import bernoulli_bandit
from levels.base import Family, uniform, words
from levels.gridworld import gridworld

ENVIRONMENTS = 4096
STEPS = 128
ROUNDS = 15

Run = Callable[[jax.Array, chex.ArrayTree], chex.ArrayTree]


class Contestant(NamedTuple):
    init: Callable[[jax.Array], chex.ArrayTree]  # (key) -> carry
    run: Run  # (key, carry) -> carry; STEPS steps of ENVIRONMENTS environments


def select(condition: jax.Array, yes: chex.ArrayTree, no: chex.ArrayTree) -> chex.ArrayTree:
    """Chooses whole environments, by the leading axis."""
    return jax.tree.map(lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no)


def ours(family: Family) -> Contestant:
    """A family of levels, one level an environment, the words of all steps drawn in one call."""
    spec, reset, step = family.environment
    no_words = jnp.zeros((0, ENVIRONMENTS), jnp.uint32)

    def init(key: jax.Array) -> chex.ArrayTree:
        level = jax.vmap(family.generator.sample)(jax.random.split(key, ENVIRONMENTS))
        state, timestep = jax.vmap(reset, in_axes=(1, 0))(no_words, level)
        return level, timestep.observation, state, jnp.zeros(ENVIRONMENTS, jnp.float32)

    def run(key: jax.Array, carry: chex.ArrayTree) -> chex.ArrayTree:
        level, *rest = carry
        first, first_timestep = jax.vmap(reset, in_axes=(1, 0))(no_words, level)

        def body(carry: chex.ArrayTree, noise: jax.Array) -> tuple[chex.ArrayTree, None]:
            _, state, total = carry
            action = jnp.floor(uniform(noise[-1]) * spec.actions).astype(jnp.int32)
            state, timestep = jax.vmap(step, in_axes=(1, 0, 0, 0))(noise[:-1], level, state, action)
            ended = timestep.terminated | timestep.truncated
            observation = select(ended, first_timestep.observation, timestep.observation)
            return (observation, select(ended, first, state), total + timestep.reward), None

        noise = words(key, STEPS, spec.noise + 1, ENVIRONMENTS)
        return level, *jax.lax.scan(body, tuple(rest), noise)[0]

    return Contestant(init, run)


def of_gymnax(name: str) -> Contestant:
    """A gymnax environment with its default parameters, stepped with a key an environment and step."""
    environment, parameters = gymnax.make(name)
    step = jax.vmap(environment.step, in_axes=(0, 0, 0, None))

    def init(key: jax.Array) -> chex.ArrayTree:
        keys = jax.random.split(key, ENVIRONMENTS)
        observation, state = jax.vmap(environment.reset, in_axes=(0, None))(keys, parameters)
        return observation, state, jnp.zeros(ENVIRONMENTS, jnp.float32)

    def run(key: jax.Array, carry: chex.ArrayTree) -> chex.ArrayTree:
        action_key, step_key = jax.random.split(key)

        def body(carry: chex.ArrayTree, data: tuple[jax.Array, jax.Array]) -> tuple[chex.ArrayTree, None]:
            _, state, total = carry
            noise_key, action = data
            observation, state, reward, *_ = step(jax.random.split(noise_key, ENVIRONMENTS), state, action, parameters)
            return (observation, state, total + reward), None

        actions = jax.random.randint(action_key, (STEPS, ENVIRONMENTS), 0, environment.num_actions)
        return jax.lax.scan(body, carry, (jax.random.split(step_key, STEPS), actions))[0]

    return Contestant(init, run)


def maze() -> Contestant:
    """jaxued's Maze on random levels with its default view; its step draws no random numbers."""
    environment = Maze()
    parameters = environment.default_params
    sample = make_level_generator(environment.max_height, environment.max_width, 25)
    reset = jax.vmap(environment.reset_to_level, in_axes=(None, 0, None))
    step = jax.vmap(environment.step, in_axes=(None, 0, 0, None))

    def init(key: jax.Array) -> chex.ArrayTree:
        level = jax.vmap(sample)(jax.random.split(key, ENVIRONMENTS))
        observation, state = reset(key, level, parameters)
        return level, observation, state, jnp.zeros(ENVIRONMENTS, jnp.float32)

    def run(key: jax.Array, carry: chex.ArrayTree) -> chex.ArrayTree:
        level, *rest = carry
        first_observation, first = reset(key, level, parameters)

        def body(carry: chex.ArrayTree, action: jax.Array) -> tuple[chex.ArrayTree, None]:
            _, state, total = carry
            observation, state, reward, done, _ = step(key, state, action, parameters)
            observation = select(done, first_observation, observation)
            return (observation, select(done, first, state), total + reward), None

        actions = jax.random.randint(key, (STEPS, ENVIRONMENTS), 0, environment.action_space(parameters).n)
        return level, *jax.lax.scan(body, tuple(rest), actions)[0]

    return Contestant(init, run)


def looped(contestant: Contestant) -> Callable[[], chex.ArrayTree]:
    """A function that goes on where its last call stopped, with a new key each time."""
    run = jax.jit(contestant.run)
    carry = jax.jit(contestant.init)(jax.random.key(0))
    calls = 0

    def go_on() -> chex.ArrayTree:
        nonlocal carry, calls
        calls += 1
        carry = run(jax.random.fold_in(jax.random.key(1), calls), carry)
        return carry

    return go_on


def main() -> None:
    contestants = {
        "gridworld": ours(gridworld()),
        "bandit": ours(bernoulli_bandit(arms=2, pulls=(100, 100))),
        "gymnax_FourRooms": of_gymnax("FourRooms-misc"),
        "gymnax_BernoulliBandit": of_gymnax("BernoulliBandit-misc"),
        "jaxued_Maze": maze(),
    }
    seconds = interleaved({name: looped(contestant) for name, contestant in contestants.items()}, rounds=ROUNDS)
    speed = {name: ENVIRONMENTS * STEPS / time for name, time in seconds.items()}
    speed["gridworld_per_FourRooms"] = speed["gridworld"] / speed["gymnax_FourRooms"]
    speed["gridworld_per_Maze"] = speed["gridworld"] / speed["jaxued_Maze"]
    speed["bandit_per_BernoulliBandit"] = speed["bandit"] / speed["gymnax_BernoulliBandit"]
    print(json.dumps(speed))


if __name__ == "__main__":
    main()
