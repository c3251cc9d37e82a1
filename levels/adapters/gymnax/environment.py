"""Families of levels as gymnax environments."""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from gymnax.environments import environment, spaces

from levels.adapters.gymnax.fields import MOST_STEPS
from levels.base import TIME_SCALE, Discrete, Family, Level, Spec, State, TimeStep, words


class Timed(NamedTuple):
    """What `to_gymnax` shows of a family whose agents see the time."""

    observation: jax.Array
    time: jax.Array  # f32[]; steps taken in this episode times TIME_SCALE

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the observation, as gymnax's rollout wrapper asks."""
        return self.observation.shape


@flax.struct.dataclass
class LevelParams(environment.EnvParams):
    """EnvParams of a family: the level is one of them, to be replaced, stacked and mapped over like any other."""

    max_steps_in_episode: int = MOST_STEPS  # cuts episodes off earlier than the level does, never later
    level: Level = ()


@flax.struct.dataclass
class LevelState(environment.EnvState):
    """An episode in progress: `time` i32[] counts its steps."""

    inner: State = ()
    terminated: jax.Array | bool = False  # bool[]
    truncated: jax.Array | bool = False  # bool[]


def to_gymnax(family: Family, *, level: Level | None = None) -> environment.Environment:
    """A family as a gymnax environment whose parameters hold the level.

    Its `default_params` have one level; another is set by `params.replace(level=...)`, and many by `jax.vmap` over
    parameters whose level is stacked. `max_steps_in_episode` is the family's episode limit; lowered, it truncates. `reset`,
    `step` (which resets finished episodes and keeps `info["final_observation"]`), `step_env` and gymnax's wrappers work as
    with its own environments; `RolloutWrapper` takes the environment as `env`, and
    `gymnax.register(name, lambda: to_gymnax(family))` gives it a name.

    Observations are the family's, in a Discrete space or in a Box as wide as their dtype. Where the family's spec shows the
    time, they are `Timed` instead, in a Dict space of both.

    Args:
        family: The family.
        level: The level of `default_params`; by default the sample of key 0.

    Example:
        >>> import jax
        >>> from levels.adapters.gymnax import to_gymnax
        >>> from levels.gridworld import gridworld
        >>> maze = to_gymnax(gridworld(time=False))
        >>> key = jax.random.key(0)
        >>> observation, state = maze.reset(key, maze.default_params)
        >>> observation, state, reward, terminated, truncated, info = maze.step(key, state, 0, maze.default_params)
        >>> maze.num_actions, maze.observation_space(maze.default_params)
        (5, Discrete(3200, dtype=int32))
    """
    return _FamilyEnvironment(family, jax.jit(family.generator.sample)(jax.random.key(0)) if level is None else level)


class _FamilyEnvironment(environment.Environment[LevelState, LevelParams]):
    """What `to_gymnax` returns."""

    def __init__(self, family: Family, level: Level):
        self._family = family
        self._level = level

    @property
    def default_params(self) -> LevelParams:
        return LevelParams(max_steps_in_episode=self._family.environment.spec.episode_limit, level=self._level)

    @property
    def name(self) -> str:
        return self._family.name

    @property
    def num_actions(self) -> int:
        return self._family.environment.spec.actions

    def reset_env(self, key: jax.Array, params: LevelParams) -> tuple[jax.Array | Timed, LevelState]:
        state, timestep = self._family.environment.reset(words(key, self._family.environment.spec.reset_noise), params.level)
        return self._shown(timestep), LevelState(jnp.int32(0), state, timestep.terminated, timestep.truncated)

    def step_env(
        self, key: jax.Array, state: LevelState, action: jax.Array, params: LevelParams
    ) -> tuple[jax.Array | Timed, LevelState, jax.Array, jax.Array, dict[str, jax.Array]]:
        spec, _, step = self._family.environment
        inner, timestep = step(words(key, spec.noise), params.level, state.inner, jnp.asarray(action, jnp.int32))
        late = (state.time + 1 >= params.max_steps_in_episode) & ~timestep.terminated
        after = LevelState(state.time + 1, inner, timestep.terminated, timestep.truncated | late)
        info = {"discount": self.discount(after, params)}
        return self._shown(timestep), after, timestep.reward, timestep.terminated, info

    def is_terminated(self, state: LevelState, params: LevelParams) -> jax.Array | bool:
        return state.terminated

    def is_truncated(self, state: LevelState, params: LevelParams) -> jax.Array | bool:
        return state.truncated

    def action_space(self, params: LevelParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: LevelParams | None = None) -> spaces.Space:
        spec = self._family.environment.spec
        space = self._space(spec)
        if not spec.time:
            return space
        clock = spaces.Box(0.0, spec.episode_limit * TIME_SCALE, (), jnp.float32)
        return spaces.Dict({"observation": space, "time": clock})

    def _shown(self, timestep: TimeStep) -> jax.Array | Timed:
        seen = Timed(timestep.observation, timestep.time)
        return seen if self._family.environment.spec.time else seen.observation

    def _space(self, spec: Spec) -> spaces.Space:
        if isinstance(spec.observation, Discrete):
            return spaces.Discrete(spec.observation.n)
        noise = jax.ShapeDtypeStruct((spec.reset_noise,), jnp.uint32)
        dtype = jax.eval_shape(self._family.environment.reset, noise, self._level)[1].observation.dtype
        if jnp.issubdtype(dtype, jnp.bool_):
            return spaces.Box(0, 1, spec.observation.shape, dtype)
        limits = jnp.iinfo(dtype) if jnp.issubdtype(dtype, jnp.integer) else jnp.finfo(dtype)
        return spaces.Box(limits.min, limits.max, spec.observation.shape, dtype)
