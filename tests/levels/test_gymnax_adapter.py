"""gymnax's environments as families, families as its environments, and both in a row."""

import subprocess
import sys
import urllib.error
from pathlib import Path

import chex
import flax.struct
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment, spaces
from gymnax.environments.bsuite import mnist
from gymnax.experimental import RolloutWrapper

from groove.lifetime import lifetime
from groove.nets import agents
from groove.rules import a2c
from levels import dataset
from levels.adapters.gymnax import Timed, from_gymnax, to_gymnax
from levels.bandit import bernoulli_bandit
from levels.base import TIME_SCALE, Array, Discrete, Environment, words
from levels.gridworld import gridworld, planes

CONTINUOUS = {
    "Pendulum-v1", "MountainCarContinuous-v0", "PointRobot-misc", "Reacher-misc", "Swimmer-misc",
}  # fmt: skip
STEPS = 60
KEY = jax.random.key(3)


def level_of(family, seed=0):
    return jax.jit(family.generator.sample)(jax.random.key(seed))


def compiled(family):
    """The family, its reset and step compiled."""
    spec, reset, step = family.environment
    return family._replace(environment=Environment(spec, jax.jit(reset), jax.jit(step)))


def shapes(tree):
    return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(tree)]


def data(key):
    """The two words of a key, as a family's noise."""
    return jax.random.key_data(key)


def key_of(key, count):
    """The key that `from_gymnax` makes of the words that `to_gymnax` draws with `key`."""
    return jax.random.wrap_key_data(words(key, count), impl="threefry2x32")


@pytest.fixture
def small_mnist(monkeypatch):
    images, labels = np.zeros((7, 28, 28), np.int8), np.arange(7, dtype=np.uint8)
    monkeypatch.setattr(mnist.load_mnist, "load_mnist", lambda: ((images, labels), (images, labels)))


@pytest.mark.parametrize("name", sorted(set(gymnax.registered_envs) - CONTINUOUS))
def test_every_environment_with_discrete_actions_traces(name, small_mnist):
    family = from_gymnax(name)
    spec, reset, step = family.environment
    level, noise = jax.eval_shape(family.generator.sample, KEY), jax.ShapeDtypeStruct((2,), jnp.uint32)
    begun = jax.eval_shape(reset, noise, level)
    stepped = jax.eval_shape(step, noise, level, begun[0], jax.ShapeDtypeStruct((), jnp.int32))
    assert shapes(begun) == shapes(stepped) and not any(weak for *_, weak in shapes(begun))
    inner, parameters = gymnax.make(name)
    assert spec.actions == inner.num_actions and spec.episode_limit == parameters.max_steps_in_episode
    assert family.name == f"gymnax:{name}"
    wanted = () if isinstance(spec.observation, Discrete) else spec.observation.shape
    assert begun[1].observation.shape == wanted == inner.observation_space(parameters).shape


@pytest.mark.parametrize("name", sorted(CONTINUOUS))
def test_continuous_actions_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} has the actions Box.*only discrete actions"):
        from_gymnax(name)


def test_an_environment_that_cannot_be_made_is_refused(monkeypatch):
    def fail():
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(mnist.load_mnist, "load_mnist", fail)
    with pytest.raises(ValueError, match="gymnax's MNISTBandit-bsuite cannot be used: URLError.*no network"):
        from_gymnax("MNISTBandit-bsuite")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CartPole", {}, "unknown gymnax environment 'CartPole'; did you mean 'CartPole-v1'"),
        ("CartPole-v1", {"ranges": {"gravty": (8.0, 9.0)}}, "unknown field of CartPole-v1's EnvParams 'gravty'.*'gravity'"),
        ("CartPole-v1", {"ranges": {"gravity": (9.0, 8.0)}}, r"gravity must be an increasing pair.*\(9.0, 8.0\)"),
        ("CartPole-v1", {"ranges": {"gravity": (8.0, float("nan"))}}, "gravity must be an increasing pair"),
        ("CartPole-v1", {"ranges": {"max_steps_in_episode": (0, 5)}}, "limited to 1 to 16777216 steps"),
        ("CartPole-v1", {"episode_limit": 0}, "limited to 1 to 16777216 steps"),
        ("CartPole-v1", {"ranges": {"max_steps_in_episode": (2, 5)}, "episode_limit": 9}, "episode_limit must not be given"),
        ("Freeway-MinAtar", {"ranges": {"player_speed": (1.5, 3)}}, "player_speed must be drawn between integers"),
        ("DeepSea-bsuite", {"ranges": {"deterministic": (-1, 1)}}, "deterministic must be drawn between False or True"),
        ("Acrobot-v1", {"ranges": {"available_torque": (0.0, 1.0)}}, "available_torque must be a number by default"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        from_gymnax(name, **options)


@flax.struct.dataclass
class Pace:
    speed: float = 1.0


class Walk(environment.Environment):
    """Somebody's own environment, without a limit; its state begins as a Python number."""

    default_params = Pace()
    shape = (2,)

    def reset_env(self, key, params):
        return jnp.zeros(self.shape), environment.EnvState(0)

    def step_env(self, key, state, action, params):
        return jnp.zeros(2), environment.EnvState(state.time + params.speed), np.float32(1), jnp.bool_(False), {}

    def is_truncated(self, state, params):
        return jnp.bool_(False)

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params=None):
        return spaces.Box(0, 1, (2,))


class Stumble(Walk):
    shape = (3,)


@pytest.fixture
def registered(monkeypatch):
    """Registers an environment for one test."""

    def register(name, factory):
        monkeypatch.setitem(gymnax.registration._registry, name, factory)
        monkeypatch.setattr(gymnax, "registered_envs", [*gymnax.registered_envs, name])

    return register


def test_environments_without_a_limit_are_given_one(registered):
    registered("Walk-test", Walk)
    with pytest.raises(ValueError, match="episode_limit must be given, since Walk-test's EnvParams have no max_steps"):
        from_gymnax("Walk-test")
    family = compiled(from_gymnax("Walk-test", episode_limit=2, ranges={"speed": (0.5, 2.0)}))
    level = level_of(family)
    state, _ = family.environment.reset(data(KEY), level)
    assert state.inner.time.dtype == jnp.float32
    for cut in (False, True):
        state, timestep = family.environment.step(data(KEY), level, state, np.int32(0))
        assert bool(timestep.truncated) == cut and not bool(timestep.terminated)
    np.testing.assert_allclose(state.inner.time, 2 * level["speed"], rtol=1e-6)


def test_environments_whose_shapes_change_are_refused(registered):
    registered("Stumble-test", Stumble)
    with pytest.raises(ValueError, match=r"gymnax's Stumble-test cannot be used.*shape \(3,\) where a step gives \(2,\)"):
        from_gymnax("Stumble-test", episode_limit=2)


def test_fields_are_uniform_within_their_ranges():
    family = from_gymnax("DeepSea-bsuite", ranges={"unscaled_move_cost": (0.5, 1.5), "deterministic": (False, True)})
    count = 4000
    levels = jax.tree.map(np.asarray, jax.jit(jax.vmap(family.generator.sample))(jax.random.split(KEY, count)))
    cost, fixed, limit = levels["unscaled_move_cost"], levels["deterministic"], levels["max_steps_in_episode"]
    assert (cost.dtype, fixed.dtype, limit.dtype) == (jnp.float32, bool, jnp.int32)
    assert (limit == 8).all() and (cost >= 0.5).all() and (cost <= 1.5).all()
    assert abs(cost.mean() - 1.0) < 5 / np.sqrt(12 * count)
    assert abs(fixed.mean() - 0.5) < 5 * 0.5 / np.sqrt(count)


def test_integers_reach_both_ends_alike():
    family = from_gymnax("Freeway-MinAtar", ranges={"player_speed": (2, 4), "max_steps_in_episode": (10, 30)})
    assert family.environment.spec.episode_limit == 30 and family.generator.dimensions == 2
    count = 3000
    speed = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(KEY, count))["player_speed"]
    frequency = np.bincount(speed, minlength=5) / count
    assert (np.abs(frequency - [0, 0, 1 / 3, 1 / 3, 1 / 3]) < 5 * np.sqrt(2 / 9 / count)).all()


def test_edits_are_small_and_of_one_field():
    family = from_gymnax(
        "CartPole-v1", ranges={"gravity": (8.0, 12.0), "max_steps_in_episode": (10, 50), "tau": (0.02, 0.02)}
    )
    before = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(KEY, 500))
    after = jax.jit(jax.vmap(family.generator.mutate))(jax.random.split(jax.random.key(4), 500), before)
    valid = jax.jit(jax.vmap(family.generator.is_valid))(after)
    before, after = jax.tree.map(np.asarray, (before, after))
    changed = np.stack([np.asarray(before[name] != after[name]) for name in ("gravity", "max_steps_in_episode")])
    assert (changed.sum(axis=0) == 1).mean() > 0.98 and changed.mean(axis=1).min() > 0.4
    assert (abs(before["gravity"] - after["gravity"]) <= 0.4 + 1e-5).all()
    assert (abs(before["max_steps_in_episode"] - after["max_steps_in_episode"]) <= 4).all()
    assert (before["tau"] == after["tau"]).all() and valid.all()


def test_a_level_is_drawn_measured_and_stored(tmp_path):
    family = from_gymnax("CartPole-v1", ranges={"gravity": (8.0, 12.0)})
    level = {"gravity": np.float32(9.5), "max_steps_in_episode": np.int32(500)}
    assert family.draw(level) == "CartPole-v1\ngravity               9.5\nmax_steps_in_episode  500"
    assert family.features(level) == {"gravity": np.float32(9.5), "max_steps_in_episode": np.float32(500)}
    for stored in (family, from_gymnax("CartPole-v1")):
        levels = jax.jit(jax.vmap(stored.generator.sample))(jax.random.split(KEY, 5))
        dataset.save(tmp_path / "levels.parquet", levels, family=stored.name)
        found = dataset.load(tmp_path / "levels.parquet", like=level_of(stored), family=stored.name)
        chex.assert_trees_all_equal(found.levels, jax.tree.map(np.asarray, levels))


def test_a_level_changes_the_dynamics_as_the_parameter_does(loose_ranks):
    family = compiled(from_gymnax("CartPole-v1", ranges={"gravity": (1.0, 20.0), "max_steps_in_episode": (1, 9)}))
    inner, parameters = gymnax.make("CartPole-v1")
    chosen = parameters.replace(gravity=3.0, max_steps_in_episode=2)
    level = {"gravity": np.float32(3.0), "max_steps_in_episode": np.int32(2)}
    state, _ = family.environment.reset(data(KEY), level)
    _, theirs = inner.reset(KEY, chosen)
    cut, their_step = [], jax.jit(inner.step_env)
    for _ in range(2):
        state, timestep = family.environment.step(data(KEY), level, state, np.int32(1))
        observation, theirs, *_ = their_step(KEY, theirs, 1, chosen)
        np.testing.assert_allclose(timestep.observation, observation, rtol=1e-6)
        cut.append(bool(timestep.truncated))
    assert cut == [False, True]


def follow(name, **options):
    """Both, step by step with the same keys and actions; ours is reset by hand: (theirs, ours) of [STEPS, ...]."""
    family = from_gymnax(name, **options)
    _, reset, step = family.environment
    inner, parameters = gymnax.make(name)
    parameters = parameters.replace(max_steps_in_episode=options.get("episode_limit", parameters.max_steps_in_episode))
    level = level_of(family)
    _, theirs = inner.reset(KEY, parameters)
    ours, _ = jax.jit(reset)(data(KEY), level)

    def body(carry, key):
        theirs, ours = carry
        action_key, key = jax.random.split(key)
        action = jax.random.randint(action_key, (), 0, inner.num_actions)
        observation, theirs, reward, terminated, truncated, info = inner.step(key, theirs, action, parameters)
        step_key, reset_key = jax.random.split(key)
        ours, timestep = step(data(step_key), level, ours, action)
        ended = timestep.terminated | timestep.truncated
        again, first = reset(data(reset_key), level)
        ours = jax.tree.map(lambda a, b: jnp.where(ended, a, b), again, ours)
        shown = jnp.where(ended, first.observation, timestep.observation)
        their_row = (observation, info["final_observation"], reward, terminated, terminated | truncated)
        our_row = (shown, timestep.observation, timestep.reward, timestep.terminated, ended)
        return (theirs, ours), (their_row, our_row, timestep)

    return jax.jit(lambda carry: jax.lax.scan(body, carry, jax.random.split(jax.random.key(8), STEPS)))((theirs, ours))[1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CartPole-v1", {}),
        ("CartPole-v1", {"episode_limit": 7}),
        ("FrozenLake-misc", {}),
        ("Catch-bsuite", {}),
        ("DeepSea-bsuite", {}),
        ("BernoulliBandit-misc", {}),
        pytest.param("SpaceInvaders-MinAtar", {"episode_limit": 25}, marks=pytest.mark.slow),
    ],
)
def test_the_family_steps_as_gymnax_does(name, options, loose_ranks):
    theirs, ours, timestep = follow(name, **options)
    for their, our in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(np.asarray(our, np.float32), np.asarray(their, np.float32))
    assert not (np.asarray(timestep.terminated) & np.asarray(timestep.truncated)).any()
    if name != "BernoulliBandit-misc":
        assert ours[-1].any()


def test_an_episode_that_terminates_at_its_limit_is_not_truncated(loose_ranks):
    """DeepSea ends after 8 steps, and so does its limit: gymnax claims both."""
    family = compiled(from_gymnax("DeepSea-bsuite"))
    inner, parameters = gymnax.make("DeepSea-bsuite")
    level = level_of(family)
    state, _ = family.environment.reset(data(KEY), level)
    for _ in range(8):
        state, timestep = family.environment.step(data(KEY), level, state, np.int32(0))
    assert bool(timestep.terminated) and not bool(timestep.truncated)
    assert bool(jax.jit(inner.is_truncated)(state.inner, parameters))


def test_the_limit_terminates_for_who_sees_the_time():
    family = compiled(from_gymnax("CartPole-v1", episode_limit=3, time=True))
    assert family.environment.spec.time
    level = level_of(family)
    state, _ = family.environment.reset(data(KEY), level)
    for count in (1, 2, 3):
        state, timestep = family.environment.step(data(KEY), level, state, np.int32(0))
        assert timestep.time == np.float32(count) * np.float32(TIME_SCALE)
        assert bool(timestep.terminated) == (count == 3) and not bool(timestep.truncated)


@pytest.mark.parametrize("action", [0, 1])
def test_there_and_back_again_is_the_original(action, loose_ranks):
    """CartPole steps without chance, so only resets need their keys translated."""
    inner, parameters = gymnax.make("CartPole-v1")
    parameters = parameters.replace(max_steps_in_episode=6)
    back = to_gymnax(from_gymnax("CartPole-v1", episode_limit=6))
    assert back.name == "gymnax:CartPole-v1" and back.num_actions == 2
    observation, state = back.reset(KEY, back.default_params)
    first, theirs = inner.reset(key_of(KEY, 2), parameters)
    np.testing.assert_array_equal(observation, first)
    for key in jax.random.split(jax.random.key(1), 20):
        observation, state, reward, terminated, truncated, info = back.step(key, state, action, back.default_params)
        their_observation, theirs, their_reward, ends, cut, their_info = inner.step(key, theirs, action, parameters)
        ended = bool(ends | cut)
        if ended:
            their_observation, theirs = inner.reset(key_of(jax.random.split(key)[1], 2), parameters)
        np.testing.assert_allclose(info["final_observation"], their_info["final_observation"], rtol=1e-5)
        np.testing.assert_allclose(observation, their_observation, rtol=1e-5)
        assert (reward, terminated, truncated) == (their_reward, ends, cut & ~ends)


MADE = {
    "gridworld": gridworld(height=4, width=4, objects=2, episode_limit=9, limit=(3, 9)),
    "gridworld-blind": gridworld(height=4, width=4, objects=2, episode_limit=9, limit=(3, 9), time=False),
    "planes-blind": planes(height=4, width=4, objects=2, episode_limit=9, time=False),
    "bernoulli-bandit": bernoulli_bandit(arms=3, pulls=(2, 6)),
}


@pytest.mark.parametrize("family", MADE.values(), ids=MADE.keys())
def test_gymnax_steps_and_resets_a_family(family):
    """Against the family's own steps, with the words that the keys give."""
    made, (spec, reset, step) = to_gymnax(family), family.environment
    parameters = made.default_params
    level = parameters.level
    assert made.action_space(parameters).n == made.num_actions == spec.actions and made.name == family.name

    def seen(timestep):
        return Timed(timestep.observation, timestep.time) if spec.time else timestep.observation

    begin = jax.jit(lambda key: reset(words(key, spec.reset_noise), level))
    move = jax.jit(lambda key, ours, action: step(words(key, spec.noise), level, ours, action))
    sample, contains = jax.jit(made.action_space(parameters).sample), jax.jit(made.observation_space(parameters).contains)
    shown, state = made.reset(KEY, parameters)
    ours, timestep = begin(KEY)
    chex.assert_trees_all_equal(shown, seen(timestep))
    ends = 0
    for key in jax.random.split(jax.random.key(1), 25):
        action = sample(key)
        shown, state, reward, terminated, truncated, info = made.step(key, state, action, parameters)
        step_key, reset_key = jax.random.split(key)
        ours, timestep = move(step_key, ours, action)
        assert (reward, terminated, truncated) == (timestep.reward, timestep.terminated, timestep.truncated)
        chex.assert_trees_all_close(info["final_observation"], seen(timestep), rtol=1e-6)
        if terminated | truncated:
            ends += 1
            ours, timestep = begin(reset_key)
        chex.assert_trees_all_close(shown, seen(timestep), rtol=1e-6)
        chex.assert_trees_all_close(state.inner, ours, rtol=1e-6)
        assert contains(shown)
        assert info["discount"] == 1.0 - float(terminated)
    assert ends > 1


def test_spaces_are_as_the_spec_says():
    blind, grid = to_gymnax(MADE["gridworld-blind"]), to_gymnax(MADE["gridworld"])
    assert blind.observation_space(blind.default_params).n == 4 * 4 * 2**2
    both = grid.observation_space(grid.default_params)
    assert isinstance(both, spaces.Dict) and set(both.spaces) == {"observation", "time"}
    shown = to_gymnax(MADE["planes-blind"]).observation_space()
    assert (shown.low, shown.high, shown.shape, shown.dtype) == (0, 1, (4, 4, 4), bool)
    pole = to_gymnax(from_gymnax("CartPole-v1")).observation_space()
    assert (pole.shape, pole.dtype) == ((4,), jnp.float32) and pole.high == np.finfo(np.float32).max
    assert isinstance(to_gymnax(from_gymnax("FourRooms-misc")).observation_space(), spaces.Box)


def test_levels_are_parameters():
    """One environment, a batch of levels; and a lower limit truncates."""
    family = MADE["bernoulli-bandit"]
    made = to_gymnax(family, level=level_of(family, 5))
    chex.assert_trees_all_equal(made.default_params.level, level_of(family, 5))
    levels = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(KEY, 16))
    parameters = jax.jit(jax.vmap(lambda level: made.default_params.replace(level=level)))(levels)
    levels = jax.tree.map(np.asarray, levels)

    def episode(parameters):
        _, state = made.reset(KEY, parameters)

        def body(state, key):
            _, state, _, terminated, truncated, _ = made.step(key, state, 0, parameters)
            return state, (terminated, truncated)

        return jax.lax.scan(body, state, jax.random.split(KEY, 6))[1]

    episodes = jax.jit(lambda parameters: jax.vmap(episode)(parameters))
    terminated, truncated = map(np.asarray, episodes(parameters))
    assert (np.argmax(terminated, axis=1) + 1 == levels.pulls).all() and not truncated.any()
    terminated, truncated = map(np.asarray, episodes(parameters.replace(max_steps_in_episode=np.full(16, 2, np.int32))))
    assert (truncated[:, 1] == (levels.pulls > 2)).all() and not (terminated & truncated).any()


def test_rollouts_of_gymnax_run_a_family(loose_ranks):
    made = to_gymnax(MADE["gridworld-blind"])
    wrapper = RolloutWrapper(env=made)
    assert wrapper.num_env_steps == 9 and wrapper.input_shape == ()
    observation, action, reward, following, done, total = wrapper.batch_rollout(jax.random.split(KEY, 5), None)
    assert observation.shape == action.shape == following.shape == (5, 9) and done.any(axis=1).all()
    before_end = np.cumsum(done, axis=1) - done == 0
    np.testing.assert_allclose(total[:, 0], (reward * before_end).sum(axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MADE)
def test_rollouts_of_gymnax_take_every_family(name, loose_ranks):
    """Also those that show the time: shapes alone, the numbers are those of the blind one above."""
    family = MADE[name]
    wrapper = RolloutWrapper(env=to_gymnax(family))
    shown = family.environment.spec.observation
    assert wrapper.input_shape == (shown.shape if isinstance(shown, Array) else ())
    rows = jax.eval_shape(wrapper.batch_rollout, jax.random.split(KEY, 5), None)
    assert all(leaf.shape[:2] == (5, wrapper.num_env_steps) for leaf in jax.tree.leaves(rows[:5]))


def test_a_registered_family_comes_back(registered, loose_ranks):
    family = MADE["gridworld-blind"]
    registered("Ours-test", lambda: to_gymnax(family))
    assert gymnax.make("Ours-test")[0].name == "gridworld"
    again = compiled(from_gymnax("Ours-test"))
    assert again.environment.spec == family.environment.spec._replace(noise=2, reset_noise=2)
    level = level_of(again)
    state, timestep = again.environment.reset(data(KEY), level)
    state, timestep = again.environment.step(data(KEY), level, state, np.int32(0))
    assert timestep.observation.dtype == jnp.int32 and state.step == 1


@pytest.mark.slow
def test_an_agent_lives_in_space_invaders():
    family = from_gymnax("SpaceInvaders-MinAtar")
    spec = family.environment.spec
    assert spec.observation == Array((10, 10, 6))
    life = lifetime(a2c(spec, agents.mlp(widths=(8,))), family.environment, steps=4, environments=2)
    level = level_of(family)
    first = life.begin(KEY, level, np.int32(2)).agent
    agent = jax.jit(life.live)(KEY, (), level, np.int32(2))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(agent) if leaf.dtype == jnp.float32)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(agent), strict=True))


def test_levels_alone_do_not_import_gymnax():
    code = "import sys, levels; assert 'gymnax' not in sys.modules and 'levels.adapters' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
