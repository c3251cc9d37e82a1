"""jaxued's environments as families, families as its environments, and both in a row."""

import functools
import subprocess
import sys
from collections import deque
from pathlib import Path

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from jaxued.environments import UnderspecifiedEnv
from jaxued.environments.gymnax.cartpole import CartPole
from jaxued.environments.gymnax.cartpole import make_level_generator as make_poles
from jaxued.environments.gymnax.pendulum import Pendulum
from jaxued.environments.maze import Maze, make_level_generator
from jaxued.environments.maze.level import Level, prefabs
from jaxued.wrappers import AutoReplayWrapper

from levels.adapters.gymnax import Timed
from levels.adapters.jaxued import from_jaxued, maze, named_mazes, to_jaxued
from levels.adapters.jaxued.maze import shortest
from levels.bandit import bernoulli_bandit
from levels.base import Array, Discrete, Environment, words
from levels.chain import chain
from levels.gridworld import gridworld, planes

KEY = jax.random.key(3)
FORWARD = 2


@pytest.fixture
def old_tree_map(monkeypatch):
    """What jaxued 0.0.1 takes for granted and JAX no longer has."""
    monkeypatch.setattr(jax, "tree_map", jax.tree.map, raising=False)


def data(key):
    """The two words of a key, as a family's noise."""
    return jax.random.key_data(key)


def compiled(family):
    """The family, its reset, step and sampler compiled."""
    spec, reset, step = family.environment
    generator = family.generator._replace(sample=jax.jit(family.generator.sample))
    return family._replace(environment=Environment(spec, jax.jit(reset), jax.jit(step)), generator=generator)


@functools.cache
def walked():
    """Mazes, and jaxued's own."""
    return compiled(maze(height=5, width=6, walls=4, episode_limit=100)), Maze(max_height=5, max_width=6)


def over(function, *batches):
    """The compiled function of every row, in NumPy."""
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(*batches))


def follow(inner, family, level, parameters, steps=120):
    """jaxued's own rows and the family's [T, ...] under the same random actions, until the first end."""
    _, reset, step = family.environment
    seen, theirs = inner.reset_to_level(KEY, level, parameters)
    ours, first = reset(data(KEY), level)
    rows = [(seen, first.observation)]
    actions = np.random.default_rng(5).integers(family.environment.spec.actions, size=steps, dtype=np.int32)
    for action, key in zip(actions, jax.random.split(jax.random.key(5), steps), strict=True):
        seen, theirs, reward, done, _ = inner.step(key, theirs, action, parameters)
        ours, timestep = step(data(key), level, ours, action)
        assert float(reward) == float(timestep.reward)
        assert bool(done) == bool(timestep.terminated | timestep.truncated)
        chex.assert_trees_all_equal(
            jax.tree.map(np.asarray, jax.tree.leaves(theirs)), jax.tree.map(np.asarray, jax.tree.leaves(ours.inner))
        )
        rows.append((seen, timestep.observation))
        if done:
            return rows, timestep, action
    return rows, timestep, action


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_maze_steps_as_jaxued_does(seed, loose_ranks):
    family, inner = walked()
    level = family.generator.sample(jax.random.key(seed))
    rows, last, _ = follow(inner, family, level, inner.default_params.replace(max_steps_in_episode=100))
    for theirs, ours in rows:
        want = np.concatenate([np.asarray(theirs.image, np.float32).ravel(), [theirs.agent_dir]])
        np.testing.assert_array_equal(ours, want)
    assert bool(last.terminated) == (float(last.reward) > 0) and bool(last.terminated) != bool(last.truncated)


def test_a_pole_steps_as_jaxued_does(loose_ranks):
    inner = CartPole()
    family = compiled(from_jaxued(inner, make_poles()))
    spec = family.environment.spec
    assert (family.name, spec.observation, spec.actions, spec.episode_limit) == ("jaxued:CartPole", Array((4,)), 2, 500)
    level = jax.jit(family.generator.sample)(KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(level)} == {jnp.dtype("float32")}
    rows, last, _ = follow(inner, family, level, inner.default_params)
    for theirs, ours in rows:
        np.testing.assert_array_equal(ours, theirs)
    assert last.terminated and not last.truncated
    assert "masspole" in family.draw(level) and len(family.draw(level).splitlines()) == 8


CORRIDOR = Level.from_str(">.G")


@functools.cache
def corridors(time):
    return compiled(from_jaxued(Maze(max_height=1, max_width=3), lambda key: CORRIDOR, episode_limit=2, time=time))


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("actions, reached", [((FORWARD, FORWARD), True), ((FORWARD, 0), False)])
def test_the_goal_terminates_even_at_the_limit(time, actions, reached):
    """jaxued's own `done` is the same for both."""
    family = corridors(time)
    level = family.generator.sample(KEY)
    state, _ = family.environment.reset(data(KEY), level)
    for action in actions:
        state, timestep = family.environment.step(data(KEY), level, state, np.int32(action))
    assert bool(timestep.terminated) == (reached or time) and bool(timestep.truncated) != bool(timestep.terminated)
    np.testing.assert_allclose(timestep.reward, 0.1 if reached else 0.0, atol=1e-6)


def test_one_structure_for_reset_and_step():
    family = maze(height=5, width=5, walls=3)
    _, reset, step = family.environment
    noise, level = jax.ShapeDtypeStruct((2,), jnp.uint32), jax.eval_shape(family.generator.sample, KEY)
    begun = jax.eval_shape(reset, noise, level)
    stepped = jax.eval_shape(step, noise, level, begun[0], jax.ShapeDtypeStruct((), jnp.int32))
    for tree in (begun, stepped, level, jax.eval_shape(family.generator.mutate, KEY, level)):
        assert not any(leaf.weak_type for leaf in jax.tree.leaves(tree))
    chex.assert_trees_all_equal_shapes_and_dtypes(begun, stepped)


def breadth_first(level):
    """Turns and steps to the goal, by a search of its own."""
    walls, goal = np.asarray(level.wall_map), tuple(np.asarray(level.goal_pos).tolist())
    start = (*np.asarray(level.agent_pos).tolist(), int(level.agent_dir))
    queue, seen = deque([(start, 0)]), {start}
    while queue:
        (x, y, facing), steps = queue.popleft()
        ahead = (x + (1, 0, -1, 0)[facing], y + (0, 1, 0, -1)[facing])
        if ahead == goal:
            return steps + 1
        free = 0 <= ahead[1] < walls.shape[0] and 0 <= ahead[0] < walls.shape[1] and not walls[ahead[1], ahead[0]]
        moved = (*ahead, facing) if free else (x, y, facing)
        for state in (moved, (x, y, (facing + 1) % 4), (x, y, (facing - 1) % 4)):
            if state not in seen:
                seen.add(state)
                queue.append((state, steps + 1))
    return np.inf


def test_the_optimum_is_the_shortest_way():
    family = maze(height=6, width=5, walls=14, episode_limit=40)
    levels = over(family.generator.sample, jax.random.split(KEY, 40))
    ways, optima = over(shortest, levels), over(family.optimum, levels)
    want = [breadth_first(jax.tree.map(lambda leaf, i=i: leaf[i], levels)) for i in range(40)]
    np.testing.assert_array_equal(ways, want)
    assert np.isinf(want).any() and np.isfinite(want).any()
    np.testing.assert_allclose(optima, [1 - 0.9 * n / 40 if n <= 40 else 0 for n in want], rtol=1e-6)
    assert (over(family.success, levels, optima) == (optima > 0)).all()
    assert np.isfinite(over(family.features, levels)["shortest"]).all()


def test_samples_and_edits_are_valid():
    family = maze(height=5, width=6, walls=8)
    keys = jax.random.split(KEY, 100)
    levels = over(family.generator.sample, keys)
    edited = over(family.generator.mutate, keys, levels)
    assert over(family.generator.is_valid, levels).all() and over(family.generator.is_valid, edited).all()
    level, is_valid = jax.tree.map(lambda leaf: leaf[0], levels), jax.jit(family.generator.is_valid)
    assert not is_valid(level.replace(agent_dir=np.uint8(4))) and not is_valid(level.replace(width=np.int32(9)))


def test_named_mazes_are_jaxueds():
    family, mazes = maze(), named_mazes()
    assert set(mazes) == set(prefabs)
    form, is_valid, optimum = (
        jax.eval_shape(family.generator.sample, KEY),
        *map(jax.jit, (family.generator.is_valid, family.optimum)),
    )
    for name, level in mazes.items():
        chex.assert_trees_all_equal_shapes_and_dtypes(level, form)
        assert is_valid(level) and optimum(level) > 0
        rows = [row.ljust(13, "#") for row in prefabs[name].splitlines()]
        assert family.draw(level).splitlines() == rows + ["#" * 13] * (13 - len(rows))


MADE = {
    "gridworld": gridworld(height=4, width=4, objects=2, episode_limit=9, limit=(3, 9)),
    "planes-blind": planes(height=4, width=4, objects=2, episode_limit=9, time=False),
    "bernoulli-bandit": bernoulli_bandit(arms=3, pulls=(2, 6)),
}


@pytest.mark.parametrize("family", MADE.values(), ids=MADE.keys())
def test_jaxued_steps_a_family(family):
    """Against the family's own steps, with the words that the keys give."""
    made, (spec, reset, step) = to_jaxued(family), family.environment
    level = jax.jit(family.generator.sample)(KEY)
    assert made.action_space(made.default_params).n == spec.actions

    def seen(timestep):
        return Timed(timestep.observation, timestep.time) if spec.time else timestep.observation

    shown, state = made.reset_to_level(KEY, level)
    ours, timestep = jax.jit(lambda key: reset(words(key, spec.reset_noise), level))(KEY)
    move = jax.jit(lambda key, ours, action: step(words(key, spec.noise), level, ours, action))
    sample, done = jax.jit(made.action_space(made.default_params).sample), False
    for key in jax.random.split(jax.random.key(1), spec.episode_limit):
        chex.assert_trees_all_close(shown, seen(timestep), rtol=1e-6)
        action = sample(key)
        shown, state, reward, done, info = made.step(key, state, action)
        ours, timestep = move(key, ours, action)
        assert (reward, info["terminated"], info["truncated"]) == (
            timestep.reward, timestep.terminated, timestep.truncated,
        )  # fmt: skip
        chex.assert_trees_all_close(state.inner, ours, rtol=1e-6)
        if done:
            break
    assert done


def test_a_lower_limit_truncates():
    made = to_jaxued(chain(length=(5, 5)))
    _, state = made.reset_to_level(KEY, jax.jit(chain(length=(5, 5)).generator.sample)(KEY))
    _, state, _, done, info = made.step(KEY, state, 0, made.default_params.replace(max_steps_in_episode=1))
    assert done and info["truncated"] and not info["terminated"]


def test_there_and_back_again_is_the_original():
    """Chains without noise step without chance, so no key needs translating."""
    family = compiled(chain(length=(2, 6), noise=(0.0, 0.0), time=False))
    again = from_jaxued(
        to_jaxued(family), family.generator.sample, name="chain", observations=13, is_valid=family.generator.is_valid
    )
    again = compiled(again)
    assert again.environment.spec == family.environment.spec._replace(noise=2, reset_noise=2)
    level = again.generator.sample(KEY)
    chex.assert_trees_all_equal(level, family.generator.sample(KEY))
    state, first = family.environment.reset(np.zeros(0, np.uint32), level)
    again_state, again_first = again.environment.reset(data(KEY), level)
    chex.assert_trees_all_equal(first, again_first)
    for _ in range(int(level.length)):
        state, timestep = family.environment.step(np.zeros(1, np.uint32), level, state, np.int32(1))
        again_state, again_step = again.environment.step(data(KEY), level, again_state, np.int32(1))
        chex.assert_trees_all_equal(timestep, again_step)
    assert timestep.terminated


def test_jaxueds_own_wrapper_replays_a_family(old_tree_map):
    family = bernoulli_bandit(arms=3, pulls=(2, 2))
    made = AutoReplayWrapper(to_jaxued(family))
    level = jax.jit(family.generator.sample)(KEY)
    shown, state = made.reset_to_level(KEY, level, made.default_params)
    ends = []
    for key in jax.random.split(KEY, 6):
        shown, state, _, done, _ = made.step(key, state, 0, made.default_params)
        ends.append((bool(done), round(float(shown.time * 1000))))
    assert ends == [(False, 1), (True, 0)] * 3


@flax.struct.dataclass
class _NoLimit:
    pass


class _Unlimited(UnderspecifiedEnv):
    """Counts up to the level; without a limit, and with integers for observations."""

    @property
    def default_params(self):
        return _NoLimit()

    def action_space(self, params):
        return spaces.Discrete(2)

    def reset_env_to_level(self, rng, level, params):
        return 0, (0, level)

    def step_env(self, rng, state, action, params):
        return state[0] + action, (state[0] + action, state[1]), 1, state[0] + action >= state[1], {}


def test_what_has_no_limit_is_given_one():
    family = compiled(from_jaxued(_Unlimited(), lambda key: 2, episode_limit=3, observations=6))
    level = family.generator.sample(KEY)
    assert family.environment.spec.observation == Discrete(6) and level.dtype == jnp.int32
    state, _ = family.environment.reset(data(KEY), level)
    for action in (0, 1, 0):
        state, timestep = family.environment.step(data(KEY), level, state, np.int32(action))
    assert timestep.truncated and not timestep.terminated and timestep.observation == 1 and timestep.reward == 1.0
    with pytest.raises(ValueError, match="episode_limit must be given, since _Unlimited's EnvParams have no"):
        from_jaxued(_Unlimited(), lambda key: 2)


class _Broken(_Unlimited):
    def step_env(self, rng, state, action, params):
        raise RuntimeError("no more")


class _Growing(_Unlimited):
    def step_env(self, rng, state, action, params):
        return jnp.zeros(2), state, 0.0, False, {}


class _Vector(_Unlimited):
    def step_env(self, rng, state, action, params):
        return 0, state, jnp.zeros(2), False, {}


@pytest.mark.parametrize(
    "environment, message",
    [
        (_Broken(), "jaxued's _Broken cannot be used: RuntimeError: no more"),
        (_Growing(), r"jaxued's _Growing cannot be used: .* the shape \(\) where a step gives \(2,\)"),
        (_Vector(), "jaxued's _Vector cannot be used: .* reward and done must be numbers"),
        (Pendulum(), "Pendulum.* has the actions Box|jaxued's Pendulum cannot be used"),
        (object(), "environment must be an UnderspecifiedEnv"),
    ],
)
def test_what_cannot_be_used_is_refused(environment, message):
    with pytest.raises(ValueError, match=message):
        from_jaxued(environment, lambda key: jnp.int32(2), episode_limit=5)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"episode_limit must be between 1 and .*, got 0"):
        from_jaxued(CartPole(), make_poles(), episode_limit=0)
    with pytest.raises(ValueError, match=r"observations must not be given where they are arrays, got 4 and \(4,\)"):
        from_jaxued(CartPole(), make_poles(), observations=4)
    for arguments, message in (
        ({"height": 1}, "height and width must be at least 2 cells"),
        ({"walls": 168}, "walls must be between 0 and 167"),
        ({"view": 4}, "view must be an odd number of cells, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            maze(**arguments)
    with pytest.raises(ValueError, match="unknown maze 'Labyrint'"):
        named_mazes(["Labyrint"])
    with pytest.raises(ValueError, match="height and width must hold the maze 'Labyrinth'"):
        named_mazes(["Labyrinth"], height=7)


def test_another_view():
    family = from_jaxued(
        Maze(max_height=5, max_width=5), make_level_generator(5, 5, 2), episode_limit=9, observe=lambda seen: seen.image
    )
    family = compiled(family)
    level = family.generator.sample(KEY)
    assert family.environment.spec.observation == Array((5, 5, 3))
    assert family.environment.reset(data(KEY), level)[1].observation.dtype == jnp.uint8


def test_levels_alone_do_not_import_jaxued():
    code = "import sys, levels; assert 'jaxued' not in sys.modules and 'levels.adapters' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
