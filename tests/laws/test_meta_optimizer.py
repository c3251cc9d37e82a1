"""What every meta-optimiser promises: the gradient through K updates, and evolution."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learning import assert_learns
from members import BANDIT, life_of, rule_of, signature, tasks

from groove.assembly import build
from groove.base import Clock, MetaOptimizer, Origin, Outcome, Rollout, Task, UpdateRule
from groove.config import Bandits, Config, Curriculum, Evolution, Life, Meta, Rule, check, preset, smoke
from groove.files import checkpoint
from groove.lifetime import Lifetime, Member, lifetime
from groove.meta import FamilySetup, Weights, adam, evolution, gradient, ranks, raw, strategies
from groove.meta.truncated import noise_reuse_es, persistent_es, truncated, truncated_es
from groove.nets import agents
from groove.nets.agents import TrainState
from groove.nets.critic import Critic, critic

SIZE = 3
ZERO = jnp.zeros(SIZE)


class Target(NamedTuple):
    """A level that is a point, or a slope."""

    point: jax.Array


def toy(value) -> FamilySetup:
    """Agents are points that move by theta in each update; where they end is worth `value(agent, level's point)`.

    For the meta-gradient the worth travels as the rule's entropy, which the meta-loss subtracts with weight 1; the policy is
    constant. For evolution it is the return.
    """
    rule = UpdateRule(
        init=lambda key: ZERO,
        init_agent=lambda key: ZERO,
        policy=lambda agent, observation, time: jnp.zeros(2),
        update=lambda key, theta, agent, rollout, clock: (agent + theta, {}),
        diagnose=lambda agent, rollout: {"entropy": value(agent, rollout.reward[0])},
    )

    def rollout(key, member, level):
        shape = (1, SIZE)
        no = jnp.zeros(shape, bool)
        nothing, nowhere = jnp.zeros(shape), jnp.zeros(shape, jnp.int32)
        return member, Rollout(nowhere, nothing, nowhere, level.point[None], no, no, nowhere, nothing)

    def update(key, theta, member, level):
        clock = member.clock._replace(update=member.clock.update + 1)
        agent, info = rule.update(key, theta, member.agent, None, clock)
        return member._replace(agent=agent, clock=clock), rollout(key, member, level)[1], info

    def begin(key, level, lifetime):
        return Member(ZERO, (), (), Clock(jnp.int32(0), lifetime))

    def evaluate(key, agent, level, wanted):
        return Outcome(value(agent, level.point), jnp.float32(0))

    indifferent = Critic(
        init=lambda key: TrainState((), ()),
        advantage=lambda learner, rollout: (jnp.zeros((1, SIZE)), jnp.zeros((1, SIZE))),
        update=lambda learner, rollout, target: (learner, jnp.float32(0)),
        value=lambda learner, observation, time: jnp.float32(0),
    )
    return FamilySetup(rule, Lifetime(begin, rollout, update, lambda *rest: ZERO, evaluate), indifferent)


def bowl(agent, point):
    """Highest, 0, at the point."""
    return -0.5 * jnp.sum(jnp.square(agent - point))


def plane(agent, slope):
    """Falls along a slope that is the meta-gradient, whatever theta."""
    return -jnp.sum(agent * slope)


def at(points, learn=True):
    """Tasks on toy levels, of lifetime 4."""
    points = np.asarray(points, np.float32)
    count = len(points)
    minus = np.full(count, -1, np.int32)
    origin = Origin(minus, minus, minus, minus, np.zeros((count, 0), np.float32), np.broadcast_to(learn, (count,)))
    return Task(Target(points), np.full(count, 4, np.int32), (), (), origin)


ALONE = Weights(1.0, 0.0, 0.0, 0.0)


@functools.cache
def jitted(optimizer: MetaOptimizer) -> MetaOptimizer:
    """The same, compiled once."""
    return optimizer._replace(**{field: jax.jit(getattr(optimizer, field)) for field in optimizer._fields})


def begun(optimizer, *batches, theta=ZERO):
    meta = jitted(optimizer)
    return meta.init(jax.random.key(0), theta), meta.begin(jax.random.key(1), batches)


def slope_of(stage, task, theta, updates=1, **options):
    """The meta-gradient of one step, and its info."""
    meta = gradient((stage,), optax.sgd(1.0), updates=updates, weights=ALONE, **options)
    state, live = begun(meta, task, theta=theta)
    after, _, _, info = jitted(meta).step(jax.random.key(2), state, live)
    return np.asarray(theta) - np.asarray(meta.theta(after)), info


@functools.cache
def evolved(name, value=bowl, optimizer=None, tasks=32) -> MetaOptimizer:
    """Evolution on the toy, one pair for each task; by default its gradients are only summed."""
    lives, optimizer = (toy(value).life,), optimizer or summed()
    if name in ("whole-raw", "whole-ranks"):
        strategy = strategies.named("Open_ES", ZERO, population=2 * tasks, sigma=0.1, optimizer=optimizer)
        return evolution(lives, strategy, shaping=raw if name == "whole-raw" else ranks, block=tasks)
    memory = {"persistent": persistent_es, "noise-reuse": noise_reuse_es, "truncated": truncated_es}[name]
    return truncated(lives, optimizer, ZERO, sigma=0.1, updates=2, credit=memory, final=True, block=tasks)


def summed() -> optax.GradientTransformation:
    """Theta stays where it is; the state is minus the sum of all gradients."""

    def update(slope, state, parameters=None):
        return jax.tree.map(jnp.zeros_like, slope), jax.tree.map(jnp.subtract, state, slope)

    return optax.GradientTransformation(lambda parameters: jax.tree.map(jnp.zeros_like, parameters), update)


EVOLUTION = ("whole-raw", "whole-ranks", "persistent", "noise-reuse", "truncated")


@pytest.mark.parametrize("name", ["gradient", *EVOLUTION])
def test_signatures(name):
    meta = gradient((toy(bowl),), adam()) if name == "gradient" else evolved(name)
    arguments = {
        "init": ["key", "theta"],
        "begin": ["key", "tasks"],
        "theta": ["state"],
        "step": ["key", "state", "live"],
    }
    assert {field: list(inspect.signature(getattr(meta, field)).parameters) for field in meta._fields} == arguments


@pytest.mark.parametrize("updates", [1, 3])
def test_agrees_with_the_gradient_of_a_quadratic(updates):
    """An agent ends at K theta, at a cost of |K theta - point|^2 / 2: slope K (K theta - mean point), through all K."""
    points = np.array([[1.0, 2.0, 3.0], [3.0, 0.0, 1.0]])
    theta = np.array([0.5, -1.0, 0.25], np.float32)
    got, info = slope_of(toy(bowl), at(points), theta, updates)
    want = updates * (updates * theta - points.mean(axis=0))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(info["gradient_norm"], np.linalg.norm(want), rtol=1e-5)
    assert info["nonfinite"] == 0


def test_climbs_a_quadratic():
    meta = gradient((toy(bowl),), adam(0.1), updates=1, weights=ALONE)
    state, live = begun(meta, at([[1.0, -2.0, 0.5]] * 2))

    def step(state, key):
        return meta.step(key, state, live)[0], None  # untrained agents in every step

    state, _ = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(jax.random.key(0), 300)))(state)
    np.testing.assert_allclose(meta.theta(state), [1.0, -2.0, 0.5], atol=1e-2)


def test_clipping_holds_with_adam():
    """Two steps with gradients (g, 1e6 g): what explicitly clipped ones give, and not what unclipped Adam gives.

    One step cannot tell: Adam bounds it by itself.
    """
    slope = np.array([3.0, -4.0, 0.0])

    def two_steps(optimizer, slopes):
        meta = gradient((toy(plane),), optimizer, updates=1, weights=ALONE)
        state, _ = begun(meta, at([slope]))
        for s in slopes:
            _, live = begun(meta, at([s]))
            state = jitted(meta).step(jax.random.key(0), state, live)[0]
        return np.asarray(meta.theta(state))

    got = two_steps(adam(0.1, clip=0.5), [0.05 * slope, 1e6 * slope])  # norms 0.25, which stays, and 5e6
    np.testing.assert_allclose(got, two_steps(adam(0.1), [0.05 * slope, 0.1 * slope]), rtol=1e-5)
    assert np.abs(got - two_steps(adam(0.1), [0.05 * slope, 1e6 * slope])).max() > 0.01


def test_families_and_members_count_alike():
    """The gradient is the mean over all members of all families."""
    meta = gradient((toy(plane), toy(plane)), optax.sgd(1.0), updates=1, weights=ALONE)
    state, live = begun(meta, at([[1.0, 0, 0], [2.0, 0, 0], [6.0, 0, 0]]), at([[0, 4.0, 0]]))
    after = jitted(meta).step(jax.random.key(0), state, live)[0]
    np.testing.assert_allclose(-meta.theta(after), [9 / 4, 4 / 4, 0.0], rtol=1e-6)


def test_members_that_are_not_to_be_learned_from():
    """They add nothing to the gradient, even where theirs is not finite."""
    only, _ = slope_of(toy(plane), at([[1.0, 2.0, 3.0], [9.0, 9.0, 9.0]], learn=[True, False]), ZERO)
    np.testing.assert_allclose(only, [0.5, 1.0, 1.5], rtol=1e-6)


def test_what_is_not_finite_is_counted():
    _, info = slope_of(toy(plane), at([[np.inf, 1.0, np.nan]]), ZERO)
    assert info["nonfinite"] == 2
    assert not np.isfinite(info["gradient_norm"])


# ----- evolution


def estimates(name, count=64):
    """Sums of the gradients over a life of 4 updates, from `count` keys: f32[count, SIZE], and their expectation."""
    meta, theta = evolved(name), np.array([0.5, -1.0, 0.25], np.float32)
    batch = at([[1.0, 2.0, 3.0], [3.0, 0.0, 1.0]] * 16)

    def life(key, batch):
        state, live = meta.init(key, theta), meta.begin(key, (batch,))
        for k in jax.random.split(key, 1 if name.startswith("whole") else 2):
            state, live, _, _ = meta.step(k, state, live)
        return state.opt_state if name.startswith("whole") else state.optimizer

    found = jax.jit(jax.vmap(life, (0, None)))(jax.random.split(jax.random.key(7), count), batch)
    return np.asarray(found), 4 * (np.array([2.0, 1.0, 2.0]) - 4 * theta)


@pytest.mark.parametrize("name", ["whole-raw", "persistent", "noise-reuse"])
def test_evolution_agrees_with_the_gradient_of_a_quadratic(name):
    """Agents end at 4 theta; the smoothed quadratic has the slope of the quadratic, so estimates have no bias at all."""
    found, want = estimates(name)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - want) < 5 * error).all(), (found.mean(axis=0), want, error)
    assert (error < 0.1 * np.abs(want).max()).all()


def test_plain_truncation_is_biased():
    """Of a life in two pieces with a reward at its end, it sees the second piece: half of the slope."""
    found, want = estimates("truncated")
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - want / 2) < 5 * error).all()
    assert np.abs(found.mean(axis=0) - want).max() > 20 * error.max()


def flat(agent, point):
    return 0.7 + 0.0 * jnp.sum(agent)


@pytest.mark.parametrize("name", EVOLUTION)
def test_equal_fitness_moves_nothing(name):
    """Exactly, though Adam would make a full step of a rounding error: from where perturbations are rounded."""
    theta = np.array([1.1, -2.3, 0.7], np.float32)
    meta = evolved(name, flat, adam(0.1), 2)
    state, live = begun(meta, at([[0.0] * 3] * 2), theta=theta)
    after = jitted(meta).step(jax.random.key(3), state, live)[0]
    assert np.array_equal(meta.theta(after), theta)


@pytest.mark.parametrize("name", ["whole-raw", "whole-ranks", "persistent", "noise-reuse"])
def test_evolution_climbs_a_quadratic(name):
    """To a quarter of the point, since agents end at 4 theta."""
    meta = evolved(name, bowl, adam(0.02), 8)
    state, _ = begun(meta, at([[1.0, -2.0, 0.5]] * 8))

    def step(carry, keys):
        state, live = carry
        live = jax.lax.cond(live[0].finished[0], lambda: meta.begin(keys[0], (live[0].task,)), lambda: live)
        state, live, _, _ = meta.step(keys[1], state, live)
        return (state, live), meta.theta(state)

    def run(state):
        live = meta.begin(jax.random.key(0), (at([[1.0, -2.0, 0.5]] * 8),))
        return jax.lax.scan(step, (state, live), jax.random.split(jax.random.key(0), (300, 2)))[1]

    theta = np.asarray(jax.jit(run)(state))
    np.testing.assert_allclose(theta[-50:].mean(axis=0), [0.25, -0.5, 0.125], atol=0.03)


# ----- a real rule on real tasks


def stage(rule=None):
    """LPG on bandits, or another rule."""
    name = "lpg-fraction-and-log"
    value = critic(BANDIT.environment.spec, agents.tabular(actor_rate=1.0, critic_rate=0.5))
    life = life_of(name) if rule is None else lifetime(rule, BANDIT.environment, steps=5, environments=3)
    return FamilySetup(rule or rule_of(name), life, value)


@pytest.fixture(scope="module")
def lived():
    """(meta-gradient, live, outcomes, info) of a step from one start, by options."""
    theta = jax.jit(rule_of("lpg-fraction-and-log").init)(jax.random.key(0))

    @functools.cache
    def run(lifetimes=(4, 4), **options):
        meta = gradient((stage(),), optax.sgd(1.0), updates=2, **options)
        state, live = begun(meta, tasks(4, lifetimes=lifetimes), theta=theta)
        state, live, outcomes, info = jitted(meta).step(jax.random.key(5), state, live)
        slope = jax.tree.map(lambda old, new: np.asarray(old) - np.asarray(new), theta, meta.theta(state))
        return slope, live, outcomes, info

    return run


def test_every_leaf_of_theta_receives_a_gradient(lived):
    slope, live, _, _ = lived()
    for path, leaf in jax.tree_util.tree_leaves_with_path(slope):
        assert np.any(leaf != 0) and np.isfinite(leaf).all(), path
    assert live[0].member.clock.update.tolist() == [2] * 4 and not live[0].finished.any()


def test_the_value_function_learns(lived):
    """Every leaf of it moves in each member; the rule never sees it."""
    _, live, _, _ = lived()
    fresh = jax.jit(gradient((stage(),), optax.sgd(1.0)).begin)(jax.random.key(1), (tasks(4, lifetimes=(4, 4)),))
    for old, new in zip(jax.tree.leaves(fresh[0].critic), jax.tree.leaves(live[0].critic), strict=True):
        assert (np.asarray(old) != np.asarray(new)).reshape(4, -1).any(axis=1).all()


@pytest.mark.parametrize("options", [{"block": 2}, {"rematerialise": True}], ids=str)
def test_blocks_and_rematerialisation_change_rounding_only(lived, options):
    chex.assert_trees_all_close(lived()[:3], lived(**options)[:3], rtol=1e-3, atol=1e-6)


def test_a_step_beyond_the_lifetime():
    """A lifetime of 3 under K = 2 ends in the second step, at exactly 3 updates."""
    rule = rule_of("lpg-fraction-and-log")
    meta = gradient((stage(),), optax.sgd(0.0), updates=2)
    state, live = begun(meta, tasks(4, lifetimes=(3, 3)), theta=jax.jit(rule.init)(jax.random.key(0)))
    step = jax.jit(meta.step)
    state, live, _, _ = step(jax.random.key(0), state, live)
    assert live[0].member.clock.update.tolist() == [2] * 4 and not live[0].finished.any()
    state, live, _, _ = step(jax.random.key(1), state, live)
    assert live[0].member.clock.update.tolist() == [3] * 4 and live[0].finished.all()


def test_updates_after_the_end_do_not_count():
    """With 1 update left of K = 2, the regulariser is that of the update that took place, not of one that did not."""
    rule = rule_of("lpg-fraction-and-log")

    def update(key, theta, agent, rollout, clock):
        agent, info = rule.update(key, theta, agent, rollout, clock)
        return agent, {**info, "pi_hat_square": jnp.where(clock.update < clock.lifetime, 1.0, 1e6)}

    counted = rule._replace(update=update)
    meta = gradient((stage(counted),), optax.sgd(0.0), updates=2)
    state, live = begun(meta, tasks(2, lifetimes=(1, 1)), theta=jax.jit(rule.init)(jax.random.key(0)))
    info = jitted(meta).step(jax.random.key(0), state, live)[3]
    np.testing.assert_allclose(info["pi_hat_square"], 1.0)


# ----- runs

BANDITS = dataclasses.replace(smoke(preset("ta-lpg-small")), families=("bernoulli-bandit",), members=(2,))
RUNS = {
    "whole": (Evolution(), "regret"),
    "persistent": (Evolution(lives="persistent", fitness="reward"), "exact-regret"),
    "novel-herd": (Evolution(strategy="deep-ga", parents=2, novelty=0.5, probes=1), "exact-regret"),
}


class Compiled(NamedTuple):
    init: Callable
    refresh: Callable
    chunk: Callable
    info: Callable


@functools.cache
def compiled(name) -> Compiled:
    """A small run by evolution: lives of 4 updates, K = 2, chunks of 2 steps."""
    settings, score = RUNS[name]
    curriculum = dataclasses.replace(BANDITS.curriculum, score=score)
    run = build(check(dataclasses.replace(BANDITS, evolution=settings, curriculum=curriculum))).trainer
    return Compiled(jax.jit(run.init), jax.jit(run.refresh), jax.jit(run.chunk), jax.jit(run.info))


@functools.cache
def chunks(name):
    """The states before and after each of three chunks, refreshed, and their infos."""
    run = compiled(name)
    states, infos = [run.refresh(run.init(jax.random.key(0)))], []
    for _ in range(3):
        state, info = run.chunk(states[-1])
        states.append(run.refresh(state))
        infos.append(info)
    return states, infos


def same(one, two):
    """Whether two trees are equal, bit for bit."""

    def bits(leaf):
        return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf).tobytes()

    return [bits(leaf) for leaf in jax.tree.leaves(one)] == [bits(leaf) for leaf in jax.tree.leaves(two)]


@pytest.mark.parametrize("name", ["whole", "persistent", pytest.param("novel-herd", marks=pytest.mark.slow)])
def test_a_resumed_run_equals_one_that_was_never_stopped(name, tmp_path):
    """From a checkpoint, with the strategy's state or the couples' memories: bit for bit, and compiled only once."""
    run, (states, infos) = compiled(name), chunks(name)
    path = checkpoint.save(tmp_path, 2, states[1])
    assert path.exists()
    step, state = checkpoint.restore(tmp_path, jax.eval_shape(run.init, jax.random.key(0)))
    assert step == 2 and signature(state) == signature(states[0]) == signature(states[-1])
    for number in (1, 2):
        state, info = run.chunk(state)
        state = run.refresh(state)
        assert same(info, infos[number])
    assert same(state, states[-1]) and not same(state.meta, states[1].meta)
    assert run.chunk._cache_size() == run.refresh._cache_size() == 1


@pytest.mark.parametrize("name", ["whole", "persistent", pytest.param("novel-herd", marks=pytest.mark.slow)])
def test_runs_report_to_the_curriculum(name):
    """Whole lives end with every step, those of 4 updates under K = 2 with every second; each has a score, a regret."""
    states, infos = chunks(name)
    info = jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos)
    finished = [0, 2] * 3 if name == "persistent" else [2] * 6
    assert info["bernoulli-bandit/finished"].tolist() == finished
    assert np.isfinite(info["bernoulli-bandit/score"]).tolist() == [count > 0 for count in finished]
    told = compiled(name).info(states[-1])
    assert told["bernoulli-bandit/curriculum_fill"] > 0 and told["bernoulli-bandit/curriculum_reused"] == 0
    assert (info["nonfinite"] == 0).all() and np.isfinite(info["fitness"]).all() and info["theta_step"].max() > 0
    assert not any(weak for *_, weak in signature(states[0]))


@pytest.mark.parametrize("name", ["whole", "persistent"])
def test_a_theta_that_is_not_finite_is_counted(name):
    """Its agents act all the same, so their fitness does not tell."""
    state = chunks(name)[0][0]
    size = sum(leaf.size for leaf in jax.tree.leaves(state.meta.mean if name == "whole" else state.meta.parameters))
    meta = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan) if leaf.dtype == jnp.float32 else leaf, state.meta)
    _, info = compiled(name).chunk(state._replace(meta=meta))
    assert (info["nonfinite"] >= size).all()


LEARNING = Config(
    families=("bernoulli-bandit",),
    members=(16,),
    meta_steps=120,
    chunk=40,
    bandits=Bandits(arms=5, pulls=(10, 10), actor_rate=4.0),
    rule=Rule(width=8, predictions=3, horizon="fraction-and-log"),
    life=Life(updates=(8, 16), environments=4, steps=10),
    meta=Meta(method="evolution"),
    evolution=Evolution(rate=0.03),
    curriculum=Curriculum(kind="uniform", score="uniform", exact=True),
)


@pytest.mark.slow
@pytest.mark.parametrize("lives", ["whole", "persistent"])
def test_evolution_learns(lives):
    """In exact values."""
    settings = dataclasses.replace(LEARNING.evolution, lives=lives, fitness="return" if lives == "whole" else "reward")
    assert_learns(dataclasses.replace(LEARNING, evolution=settings), levels=64, lifetime=16, agents=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradient((toy(bowl),), adam(), updates=0), "updates must be at least 1, got 0"),
        (lambda: adam(0.0), "rate must be positive and finite, got 0.0"),
        (lambda: adam(float("nan")), "rate must be positive and finite, got nan"),
        (lambda: adam(clip=-1.0), "clip must be positive, got -1.0"),
        (lambda: adam(clip=float("nan")), "clip must be positive, got nan"),
        (lambda: slope_of(toy(bowl), at([[0.0] * 3] * 4), ZERO, block=3), "block must divide the batch of 4 members, got 3"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_life_may_count_alike():
    """Slopes of tasks with lifetimes 2 and 8 count 4 to 1, instead of 1 to 1."""
    slopes = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    uneven = at(slopes)._replace(lifetime=np.array([2, 8], np.int32))
    alike, _ = slope_of(toy(plane), uneven, ZERO)
    np.testing.assert_allclose(alike, slopes.mean(axis=0), rtol=1e-6)
    weighted, _ = slope_of(toy(plane), uneven, ZERO, per_life=True)
    np.testing.assert_allclose(weighted, np.array([1.6, 0.4]) @ slopes / 2, rtol=1e-6)
    faded, _ = slope_of(toy(plane), uneven, ZERO, fading=True)  # the toy's value is its entropy: 1/2 and 7/8 are left
    np.testing.assert_allclose(faded, np.array([0.5, 0.875]) @ slopes / 2, rtol=1e-6)
