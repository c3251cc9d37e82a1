"""Steps per second with random actions: `python -m benchmarks.environments`, one JSON object on the last line.

Every method runs the same rollouts in as many environments, compiled as one; finished episodes are reset within them. A
rollout carries the last observation, the state and the sum of rewards, so that none of them is dead code, and draws the
actions of all its steps in one call. gymnax steps with a key an environment and resets by itself; jaxued's Maze is
replayed on its level as its AutoReplay wrapper does (which needs an older JAX), and run without any reset beside.
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
STEPS = 20  # of one rollout
ROLLOUTS = 8  # of one round
ROUNDS = 21

Run = Callable[[jax.Array, chex.ArrayTree], chex.ArrayTree]


class Method(NamedTuple):
    init: Callable[[jax.Array], chex.ArrayTree]  # (key) -> carry
    run: Run  # (key, carry) -> carry; one rollout of STEPS steps in ENVIRONMENTS environments


def select(condition: jax.Array, yes: chex.ArrayTree, no: chex.ArrayTree) -> chex.ArrayTree:
    """Chooses whole environments, by the leading axis."""
    return jax.tree.map(lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no)


def ours(family: Family) -> Method:
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

    return Method(init, run)


def of_gymnax(name: str) -> Method:
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

    return Method(init, run)


def maze(*, replay: bool) -> Method:
    """jaxued's Maze on random levels with its default view; its step draws no random numbers.

    Replaying selects between whole states, as jaxued does, and these hold the map. Without it episodes run on past their
    end: a bound on what any way of resetting could reach.
    """
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
            if replay:
                observation, state = select(done, (first_observation, first), (observation, state))
            return (observation, state, total + reward), None

        actions = jax.random.randint(key, (STEPS, ENVIRONMENTS), 0, environment.action_space(parameters).n)
        return level, *jax.lax.scan(body, tuple(rest), actions)[0]

    return Method(init, run)


def rollouts(run: Run) -> Run:
    """The rollouts of a round, one after the other."""

    def many(key: jax.Array, carry: chex.ArrayTree) -> chex.ArrayTree:
        return jax.lax.scan(lambda carry, key: (run(key, carry), None), carry, jax.random.split(key, ROLLOUTS))[0]

    return many


def looped(method: Method) -> Callable[[], chex.ArrayTree]:
    """A function that goes on where its last call stopped, with a new key each time."""
    run = jax.jit(rollouts(method.run))
    carry = jax.jit(method.init)(jax.random.key(0))
    calls = 0

    def go_on() -> chex.ArrayTree:
        nonlocal carry, calls
        calls += 1
        carry = run(jax.random.fold_in(jax.random.key(1), calls), carry)
        return carry

    return go_on


def optimum_seconds() -> float:
    """Of the exact optimum of the largest level: 10 x 10 cells, five objects, 750 steps."""
    family = gridworld()
    level = family.generator.decode(jnp.ones(family.generator.dimensions))
    if (int(level.limit), int(level.height), int((level.kind >= 0).sum())) != (750, 10, 5):
        raise RuntimeError("the largest level is another one now.")
    optimum = jax.jit(family.optimum)
    return interleaved({"optimum": lambda: optimum(level)}, rounds=ROUNDS)["optimum"]


def main() -> None:
    methods = {
        "gridworld": ours(gridworld()),
        "bandit": ours(bernoulli_bandit(arms=2, pulls=(100, 100))),
        "gymnax_FourRooms": of_gymnax("FourRooms-misc"),
        "gymnax_BernoulliBandit": of_gymnax("BernoulliBandit-misc"),
        "jaxued_Maze": maze(replay=True),
        "jaxued_Maze_without_resets": maze(replay=False),
    }
    seconds = interleaved({name: looped(method) for name, method in methods.items()}, rounds=ROUNDS)
    speed = {name: ENVIRONMENTS * STEPS * ROLLOUTS / time for name, time in seconds.items()}
    speed["gridworld_per_FourRooms"] = speed["gridworld"] / speed["gymnax_FourRooms"]
    speed["gridworld_per_Maze"] = speed["gridworld"] / speed["jaxued_Maze"]
    speed["gridworld_per_Maze_without_resets"] = speed["gridworld"] / speed["jaxued_Maze_without_resets"]
    speed["bandit_per_BernoulliBandit"] = speed["bandit"] / speed["gymnax_BernoulliBandit"]
    print(json.dumps(speed | {"optimum_seconds": optimum_seconds()}))


if __name__ == "__main__":
    main()
