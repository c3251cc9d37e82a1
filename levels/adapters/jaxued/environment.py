"""Families of levels as jaxued environments."""

import flax.struct
import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from jaxued.environments import UnderspecifiedEnv
from jaxued.environments.underspecified_env import EnvParams, EnvState

from levels.adapters.gymnax import Timed
from levels.base import Family, Level, State, TimeStep, words


@flax.struct.dataclass
class EpisodeParams(EnvParams):
    """EnvParams of a family."""

    max_steps_in_episode: int  # cuts episodes off earlier than the level does, never later


@flax.struct.dataclass
class EpisodeState(EnvState):
    """An episode in progress. jaxued's steps are not given the level, so it is kept here."""

    level: Level
    inner: State
    time: jax.Array  # i32[]; steps taken


def to_jaxued(family: Family) -> UnderspecifiedEnv:
    """A family as an environment of jaxued; levels come from `family.generator.sample`.

    `reset_to_level` and `step` work as those of jaxued's own environments. Observations are the family's; where its spec
    shows the time, they are `levels.adapters.gymnax.Timed` instead. `done` is the end for any reason; `info` says which, as
    `terminated` and `truncated`.

    Example:
        >>> import jax
        >>> from levels.adapters.jaxued import to_jaxued
        >>> from levels.gridworld import gridworld
        >>> family = gridworld(time=False)
        >>> grids, key = to_jaxued(family), jax.random.key(0)
        >>> observation, state = grids.reset_to_level(key, family.generator.sample(key))
        >>> observation, state, reward, done, info = grids.step(key, state, 0)
        >>> int(state.time), grids.action_space(grids.default_params)
        (1, Discrete(5, dtype=int32))
    """
    return _FamilyEnvironment(family)


class _FamilyEnvironment(UnderspecifiedEnv):
    """What `to_jaxued` returns."""

    def __init__(self, family: Family):
        self._family = family

    @property
    def default_params(self) -> EpisodeParams:
        return EpisodeParams(self._family.environment.spec.episode_limit)

    def reset_env_to_level(
        self, rng: jax.Array, level: Level, params: EpisodeParams
    ) -> tuple[jax.Array | Timed, EpisodeState]:
        spec, reset, _ = self._family.environment
        inner, timestep = reset(words(rng, spec.reset_noise), level)
        return self._shown(timestep), EpisodeState(level, inner, jnp.int32(0))

    def step_env(
        self, rng: jax.Array, state: EpisodeState, action: jax.Array, params: EpisodeParams
    ) -> tuple[jax.Array | Timed, EpisodeState, jax.Array, jax.Array, dict[str, jax.Array]]:
        spec, _, step = self._family.environment
        inner, timestep = step(words(rng, spec.noise), state.level, state.inner, jnp.asarray(action, jnp.int32))
        after = EpisodeState(state.level, inner, state.time + 1)
        truncated = (timestep.truncated | (after.time >= params.max_steps_in_episode)) & ~timestep.terminated
        info = {"terminated": timestep.terminated, "truncated": truncated}
        return self._shown(timestep), after, timestep.reward, timestep.terminated | truncated, info

    def action_space(self, params: EpisodeParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self._family.environment.spec.actions)

    def _shown(self, timestep: TimeStep) -> jax.Array | Timed:
        seen = Timed(timestep.observation, timestep.time)
        return seen if self._family.environment.spec.time else seen.observation
