"""gymnax environments as families of levels."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import chex
import gymnax
import jax
import jax.numpy as jnp
from gymnax.environments import environment, spaces

from levels.adapters.forms import KEY_WORDS, cast, key_of, settled
from levels.adapters.gymnax import fields
from levels.base import TIME_SCALE, Array, Discrete, Environment, Family, Generator, Spec, State, TimeStep


class GymnaxState(NamedTuple):
    """An episode in progress."""

    inner: State  # gymnax's own
    step: jax.Array  # i32[]; steps taken


def from_gymnax(
    name: str,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    episode_limit: int | None = None,
    time: bool = False,
) -> Family:
    """A gymnax environment as a family of levels that differ in some of its parameters.

    A level is a dict of the fields in `ranges` and of `max_steps_in_episode`, scalars each; other parameters have gymnax's
    defaults. Without ranges there is one level. Mind that gymnax does not derive parameters from each other: CartPole's
    `total_mass` and `polemass_length` stay as they are where `masscart`, `masspole` or `length` vary.

    The step is gymnax's own without its reset: the observation of a finished episode is its last one. An episode that
    terminates at its limit is not truncated. Observations keep the dtype that gymnax gives them, which need not be that of
    its observation space; those of a `Discrete` space become i32[].

    Args:
        name: As in `gymnax.registered_envs`, `gymnax.register` included.
        ranges: Lowest and highest value of parameters, both included; drawn uniformly, where the default is an integer from
            the integers, where it is a boolean (give False and True) from both.
        episode_limit: Steps after which episodes are cut off instead of gymnax's default; not where `ranges` has
            `max_steps_in_episode`, whose highest value is the limit then.
        time: Whether the agent sees the time; then the limit terminates, else it truncates.

    Raises:
        ValueError: If gymnax does not know the name or cannot make it; if actions are not discrete, observations neither
            discrete nor an array, or a reward no number; if a field is unknown, no number, or has a range that is none.

    Example:
        >>> import jax
        >>> from levels.adapters.gymnax import from_gymnax
        >>> family = from_gymnax("CartPole-v1", ranges={"gravity": (8.0, 12.0)}, episode_limit=200)
        >>> sorted(family.generator.sample(jax.random.key(0)))
        ['gravity', 'max_steps_in_episode']
        >>> family.name, family.environment.spec.observation, family.environment.spec.actions
        ('gymnax:CartPole-v1', Array(shape=(4,)), 2)
    """
    inner = _make(name)
    drawn = fields.ranges_of(name, inner.default_params, ranges or {}, episode_limit)
    generator = Generator(
        sample=functools.partial(fields.sample, ranges=drawn),
        mutate=functools.partial(fields.mutate, ranges=drawn),
        decode=functools.partial(fields.decode, ranges=drawn),
        dimensions=len(fields.varying(drawn)),
        is_valid=functools.partial(fields.is_valid, ranges=drawn),
    )
    with _blaming(name):
        made = _environment(name, inner, drawn, time)
    return Family(f"gymnax:{name}", made, generator, functools.partial(fields.draw, name=name), features=fields.features)


def _make(name: str) -> environment.Environment:
    """The environment of a name, with actions and observations of kinds that agents here can have."""
    fields.check_known("gymnax environment", name, gymnax.registered_envs)
    with _blaming(name):
        inner, parameters = gymnax.make(name)
        actions, shown = inner.action_space(parameters), inner.observation_space(parameters)
    if not isinstance(actions, spaces.Discrete):
        raise ValueError(f"gymnax's {name} has the actions {actions}; only discrete actions can be chosen here.")
    if not isinstance(shown, spaces.Discrete | spaces.Box):
        raise ValueError(f"gymnax's {name} has the observations {shown}; they must be Discrete or one Box.")
    return inner


@contextlib.contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Whatever goes wrong within is said to be the environment's."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"gymnax's {name} cannot be used: {type(error).__name__}: {error}") from error


def _environment(name: str, inner: environment.Environment, ranges: Mapping[str, fields.Range], time: bool) -> Environment:
    """The dynamics of gymnax's environment, with its parameters replaced by those of the level."""
    # arrays, as they are when gymnax compiles its own step: some environments select by them
    defaults = jax.tree.map(jnp.asarray, inner.default_params)
    known = {field.name for field in dataclasses.fields(defaults)}

    def parameters(level: fields.Fields) -> chex.ArrayTree:
        return defaults.replace(**{field: value for field, value in level.items() if field in known})

    def begin(noise: jax.Array, level: fields.Fields) -> tuple[chex.ArrayTree, State]:
        with jax.numpy_rank_promotion("allow"):
            return inner.reset_env(key_of(noise), parameters(level))

    def go_on(noise: jax.Array, level: fields.Fields, state: State, action: jax.Array) -> tuple[chex.ArrayTree, ...]:
        with jax.numpy_rank_promotion("allow"):
            chosen = parameters(level)
            observation, after, reward, terminated, _ = inner.step_env(key_of(noise), state, action, chosen)
            return (observation, after), reward, terminated, inner.is_truncated(after, chosen)

    form, shape = _forms(begin, go_on, jax.eval_shape(functools.partial(fields.sample, ranges=ranges), jax.random.key(0)))
    space = inner.observation_space(inner.default_params)
    discrete = isinstance(space, spaces.Discrete)
    spec = Spec(
        observation=Discrete(int(space.n)) if discrete else Array(shape),
        time=time,
        actions=int(inner.action_space(inner.default_params).n),
        episode_limit=int(ranges[fields.LIMIT].high),
        noise=KEY_WORDS,
        reset_noise=KEY_WORDS,
    )

    def show(observation: jax.Array) -> jax.Array:
        return observation.astype(jnp.int32) if discrete else observation

    def reset(noise: jax.Array, level: fields.Fields) -> tuple[GymnaxState, TimeStep]:
        observation, state = cast(begin(noise, level), form)
        nothing, never = jnp.zeros((), jnp.float32), jnp.zeros((), bool)
        return GymnaxState(state, jnp.zeros((), jnp.int32)), TimeStep(show(observation), nothing, nothing, never, never)

    def step(noise: jax.Array, level: fields.Fields, state: GymnaxState, action: jax.Array) -> tuple[GymnaxState, TimeStep]:
        made, reward, ends, cut = go_on(noise, level, state.inner, action)
        observation, after = cast(made, form)
        count = state.step + 1
        terminated = jnp.asarray(ends, bool)
        truncated = (jnp.asarray(cut, bool) | (count >= level[fields.LIMIT])) & ~terminated
        if time:
            terminated, truncated = terminated | truncated, jnp.zeros_like(truncated)
        passed = count.astype(jnp.float32) * jnp.float32(TIME_SCALE)
        paid = jnp.asarray(reward).astype(jnp.float32)
        return GymnaxState(after, count), TimeStep(show(observation), passed, paid, terminated, truncated)

    return Environment(spec, reset, step)


def _forms(begin: Callable, go_on: Callable, level: fields.Fields) -> tuple[chex.ArrayTree, tuple[int, ...]]:
    """Shapes and dtypes of (observation, state) that both a reset and a step can have, and the observation's shape.

    gymnax's resets are loose: they give Python numbers where steps give arrays, and integers where steps give floats.
    """
    noise, action = jax.ShapeDtypeStruct((KEY_WORDS,), jnp.uint32), jax.ShapeDtypeStruct((), jnp.int32)
    form = settled(jax.eval_shape(begin, noise, level), lambda form: jax.eval_shape(go_on, noise, level, form[1], action)[0])
    _, *numbers = jax.eval_shape(go_on, noise, level, form[1], action)
    if any(number.shape for number in numbers):
        shapes = ", ".join(str(number.shape) for number in numbers)
        raise ValueError(f"reward, termination and truncation must be numbers, got the shapes {shapes}")
    return form, form[0].shape
