"""jaxued's environments as families of levels."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from jaxued.environments import UnderspecifiedEnv

from levels.adapters.forms import KEY_WORDS, cast, key_of, settled, strong
from levels.base import TIME_SCALE, Array, Discrete, Environment, Family, Generator, Level, Spec, State, TimeStep
from levels.text import fields

LIMIT = "max_steps_in_episode"
"""The field of jaxued's EnvParams that limits episodes."""

MOST_STEPS = 2**24
"""No limit is higher: f32 counts up to here."""


class JaxuedState(NamedTuple):
    """An episode in progress."""

    inner: State  # jaxued's own
    step: jax.Array  # i32[]; steps taken


class Dynamics(NamedTuple):
    """jaxued's environment as functions of noise, its outputs of one form.

    Attributes:
        reset: `(noise u32[2], level) -> (observation, state)`.
        step: `(noise u32[2], state, action) -> ((observation, state), reward f32[], terminated bool[], done bool[])`.
    """

    reset: Callable[[jax.Array, Level], chex.ArrayTree]
    step: Callable[[jax.Array, State, jax.Array], tuple[chex.ArrayTree, ...]]


def from_jaxued(
    environment: UnderspecifiedEnv,
    sample: Callable[[jax.Array], Level],
    *,
    name: str | None = None,
    parameters: chex.ArrayTree | None = None,
    episode_limit: int | None = None,
    time: bool = False,
    observations: int | None = None,
    observe: Callable[[chex.ArrayTree], jax.Array] | None = None,
    mutate: Callable[[jax.Array, Level], Level] | None = None,
    is_valid: Callable[[Level], jax.Array] | None = None,
    draw: Callable[[Level], str] | None = None,
) -> Family:
    """An environment of jaxued and a sampler of its levels as a family.

    Levels are jaxued's own, their Python numbers turned into arrays, and so is the step. Its `done` does not say why an
    episode ended: one counts as terminated if it would have ended without the limit too. What else is known of a family can
    be added with `_replace`.

    Args:
        environment: The environment, with discrete actions.
        sample: `(key) -> level`.
        name: The family's; by default "jaxued:" and the name of the environment's class.
        parameters: The EnvParams of every episode; by default the environment's.
        episode_limit: The steps of the longest episode, instead of `max_steps_in_episode` of the parameters; must be given
            where they have none.
        time: Whether the agent sees the time; then the limit terminates, else it truncates.
        observations: Their number, where they are integers.
        observe: What an agent is shown of an observation, one array. By default the observation, where it is one array,
            else all of its arrays as one f32[n].
        mutate: `(key, level) -> level`, one small edit.
        is_valid: `(level) -> bool[]`.
        draw: `(level) -> str`; by default all fields as text.

    Raises:
        ValueError: If this is no environment of jaxued, cannot be traced, has actions that are not discrete, or no limit.

    Example:
        >>> import jax
        >>> from jaxued.environments.maze import Maze, make_level_generator
        >>> from levels.adapters.jaxued import from_jaxued
        >>> family = from_jaxued(Maze(max_height=5, max_width=5), make_level_generator(5, 5, 4), episode_limit=20)
        >>> family.name, family.environment.spec.observation, family.environment.spec.actions
        ('jaxued:Maze', Array(shape=(76,)), 7)
    """
    if not isinstance(environment, UnderspecifiedEnv):
        raise ValueError(f"environment must be an UnderspecifiedEnv of jaxued, got {environment!r}.")
    title = type(environment).__name__
    chosen = _limited(title, environment.default_params if parameters is None else parameters, episode_limit)
    with _blaming(title):
        form = strong(jax.eval_shape(_loosely(sample), jax.random.key(0)))
        actions = environment.action_space(chosen[0])
        dynamics, shown = _dynamics(environment, *chosen, form)
    if not isinstance(actions, spaces.Discrete):
        raise ValueError(f"jaxued's {title} has the actions {actions}; only discrete actions can be chosen here.")
    with _blaming(title):
        view = observe or _flat
        seen = jax.eval_shape(_loosely(view), shown)
    if observations is not None and seen.shape:
        raise ValueError(f"observations must not be given where they are arrays, got {observations} and {seen.shape}.")
    observation = Array(seen.shape) if observations is None else Discrete(observations)
    spec = Spec(observation, time, int(actions.n), chosen[1], noise=KEY_WORDS, reset_noise=KEY_WORDS)
    generator = Generator(
        sample=lambda key: cast(_loosely(sample)(key), form),
        mutate=None if mutate is None else lambda key, level: cast(_loosely(mutate)(key, level), form),
        is_valid=None if is_valid is None else lambda level: jnp.asarray(_loosely(is_valid)(level), bool),
    )
    return Family(name or f"jaxued:{title}", _environment(spec, dynamics, view), generator, draw or fields)


def _environment(spec: Spec, dynamics: Dynamics, view: Callable[[chex.ArrayTree], jax.Array]) -> Environment:
    discrete = isinstance(spec.observation, Discrete)

    def show(observation: chex.ArrayTree) -> jax.Array:
        shown = jnp.asarray(_loosely(view)(observation))
        return shown.astype(jnp.int32 if discrete else shown.dtype)

    def reset(noise: jax.Array, level: Level) -> tuple[JaxuedState, TimeStep]:
        observation, state = dynamics.reset(noise, level)
        nothing, never = jnp.float32(0), jnp.bool_(False)
        return JaxuedState(state, jnp.int32(0)), TimeStep(show(observation), nothing, nothing, never, never)

    def step(noise: jax.Array, level: Level, state: JaxuedState, action: jax.Array) -> tuple[JaxuedState, TimeStep]:
        (observation, after), reward, terminated, done = dynamics.step(noise, state.inner, action)
        count = state.step + 1
        truncated = (done | (count >= spec.episode_limit)) & ~terminated
        if spec.time:
            terminated, truncated = terminated | truncated, jnp.zeros_like(truncated)
        passed = count.astype(jnp.float32) * jnp.float32(TIME_SCALE)
        return JaxuedState(after, count), TimeStep(show(observation), passed, reward, terminated, truncated)

    return Environment(spec, reset, step)


def _dynamics(
    environment: UnderspecifiedEnv, parameters: chex.ArrayTree, limit: int, level: Level
) -> tuple[Dynamics, chex.ArrayTree]:
    """The dynamics, and the form of an observation."""
    endless = parameters.replace(**{LIMIT: MOST_STEPS + 1}) if _has_limit(parameters) else parameters

    def begin(noise: jax.Array, level: Level) -> chex.ArrayTree:
        with jax.numpy_rank_promotion("allow"):
            return environment.reset_env_to_level(key_of(noise), level, parameters)

    def go_on(noise: jax.Array, state: State, action: jax.Array) -> tuple[chex.ArrayTree, ...]:
        with jax.numpy_rank_promotion("allow"):
            observation, after, reward, done, _ = environment.step_env(key_of(noise), state, action, parameters)
            ends = environment.step_env(key_of(noise), state, action, endless)[3]  # compiled, little of it is left
        return (observation, after), jnp.asarray(reward), jnp.asarray(ends, bool), jnp.asarray(done, bool)

    noise, action = jax.ShapeDtypeStruct((KEY_WORDS,), jnp.uint32), jax.ShapeDtypeStruct((), jnp.int32)
    first = strong(jax.eval_shape(begin, noise, level))
    form = settled(first, lambda form: jax.eval_shape(go_on, noise, form[1], action)[0])
    reward, *ended = jax.eval_shape(go_on, noise, form[1], action)[1:]
    if reward.shape or any(one.shape for one in ended):
        raise ValueError(f"reward and done must be numbers, got the shapes {reward.shape} and {ended[1].shape}")

    def reset(noise: jax.Array, level: Level) -> chex.ArrayTree:
        return cast(begin(noise, level), form)

    def step(noise: jax.Array, state: State, action: jax.Array) -> tuple[chex.ArrayTree, ...]:
        made, reward, terminated, done = go_on(noise, state, action)
        return cast(made, form), reward.astype(jnp.float32), terminated, done

    return Dynamics(reset, step), form[0]


def _limited(title: str, parameters: chex.ArrayTree, limit: int | None) -> tuple[chex.ArrayTree, int]:
    """The parameters with the limit in them, if they have one, and the limit."""
    if _has_limit(parameters):
        steps = int(getattr(parameters, LIMIT)) if limit is None else limit
        parameters = parameters.replace(**{LIMIT: steps})
    elif limit is None:
        raise ValueError(f"episode_limit must be given, since {title}'s EnvParams have no {LIMIT}.")
    else:
        steps = limit
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"episode_limit must be between 1 and {MOST_STEPS} steps, got {steps}.")
    return parameters, steps


def _has_limit(parameters: chex.ArrayTree) -> bool:
    return dataclasses.is_dataclass(parameters) and hasattr(parameters, LIMIT)


def _loosely(function: Callable) -> Callable:
    """The same function, in which ranks promote: jaxued relies on it."""

    def loose(*arguments):
        with jax.numpy_rank_promotion("allow"):
            return function(*arguments)

    return loose


def _flat(observation: chex.ArrayTree) -> jax.Array:
    """One array of all that is shown."""
    leaves = jax.tree.leaves(observation)
    if len(leaves) == 1:
        return leaves[0]
    return jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in leaves])


@contextlib.contextmanager
def _blaming(title: str) -> Iterator[None]:
    """Whatever goes wrong within is said to be the environment's."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"jaxued's {title} cannot be used: {type(error).__name__}: {error}") from error
