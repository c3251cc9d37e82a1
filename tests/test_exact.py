"""Exact meta-gradients: returns that can be differentiated in the policy, and a meta-loss that is minus them."""

import dataclasses
import json

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learning import assert_learns

from groove import assembly, config, lifetime, meta, rules, runs
from groove.base import Origin, Task
from groove.lifetime import expected
from groove.meta.gradient import _member_loss
from groove.nets import agents
from groove.nets.critic import critic
from levels.bandit import bernoulli_bandit, gaussian_bandit
from levels.chain import chain
from levels.gridworld import gridworld

FAMILIES = {
    "gridworld": gridworld(height=3, width=4, objects=2, episode_limit=12, limit=(3, 12)),
    "bernoulli-bandit": bernoulli_bandit(arms=4, pulls=(2, 7)),
    "gaussian-bandit": gaussian_bandit(arms=3, pulls=(1, 5)),
    "chain": chain(length=(2, 5)),
}
SMALL = dataclasses.replace(
    config.smoke(config.QUICK),
    name="custom",
    families=("bernoulli-bandit", "gridworld"),
    members=(2, 2),
    meta_steps=2,
    chunk=1,
    meta=dataclasses.replace(config.smoke(config.QUICK).meta, objective="sampled"),
)
EXACT = dataclasses.replace(SMALL, meta=dataclasses.replace(SMALL.meta, objective="exact"))


def table(family, seed=0):
    """Probabilities f32[steps, observations, actions], no two rows alike."""
    spec = family.environment.spec
    logits = np.random.default_rng(seed).normal(size=(spec.episode_limit, spec.observation.n, spec.actions))
    return jax.nn.softmax(jnp.asarray(logits, jnp.float32))


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_the_value(name):
    family = FAMILIES[name]
    levels = jax.jit(jax.vmap(family.generator.sample))(jax.random.split(jax.random.key(0), 16))

    def both(level):
        policy = lambda step: table(family)[step]  # noqa: E731
        return family.value(level, policy), family.differentiable_value(level, policy)

    want, found = jax.jit(jax.vmap(both))(levels)
    np.testing.assert_allclose(found, want, rtol=2e-6, atol=1e-6)
    assert np.ptp(want) > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_its_slope_is_the_difference_of_values(name):
    """The value is linear in the policy of any one step and state, so that differences of any size are exact."""
    family = FAMILIES[name]
    level = jax.jit(family.generator.sample)(jax.random.key(1))
    random, start = np.random.default_rng(2), table(family)

    @jax.jit
    def of(policy):
        return jax.value_and_grad(lambda table: family.differentiable_value(level, lambda step: table[step]))(policy)

    base, slope = of(start)
    steps = int(getattr(level, "limit", getattr(level, "pulls", 1)))
    assert not np.any(slope[steps:])
    for _ in range(8):
        place = (int(random.integers(steps)), int(random.integers(start.shape[1])))
        change = random.normal(size=start.shape[2]).astype(np.float32)
        moved = of(start.at[place].add(change))[0]
        assert float(moved - base) == pytest.approx(float(slope[place] @ change), abs=2e-5)


def member(family, *, exact: bool, seed=0):
    """`(loss of theta, theta)` of one member of LPG that lives two updates."""
    spec = family.environment.spec
    rule = rules.lpg(spec, targets=rules.recurrent_targets(width=4, predictions=3), predictions=3)
    life = lifetime.lifetime(rule, family.environment, environments=2, steps=4)
    reach = expected(rule, family.environment, family.differentiable_value) if exact else None
    setup = meta.FamilySetup(rule, life, critic(spec, agents.for_spec(spec)), reach)
    origin = Origin(*[jnp.int32(-1)] * 4, jnp.zeros(0), jnp.array(True))
    task = Task(family.generator.sample(jax.random.key(seed)), jnp.int32(5), (), (), origin)
    weights = meta.Weights(0.0, 0.0, 0.0, 0.0)
    player = jax.tree.map(lambda leaf: leaf[0], _begun(setup, task))
    loss = _member_loss(setup, weights, normalised=True, rematerialise=False)
    return lambda theta, keys: loss(theta, keys, (player, jnp.float32(1))), rule.init(jax.random.key(3)), setup


def _begun(setup, task):
    many = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], task)
    return meta.gradient((setup,), optax.identity()).begin(jax.random.key(4), (many,))[0]


def test_the_loss_is_minus_the_return_of_the_agent_after_its_updates():
    """And no value function learns; the rollout that comes afterwards has no part in it."""
    family = FAMILIES["bernoulli-bandit"]
    loss, theta, setup = member(family, exact=True)
    keys = jax.random.split(jax.random.key(5), 3)
    (value, (player, seen)), (again, _) = jax.jit(loss)(theta, keys), jax.jit(loss)(theta, keys.at[2].set(keys[0]))
    reach = jax.jit(setup.expected)(player.member.agent, player.task.level)
    assert value == again == -reach == seen["meta_loss"] and reach > 0
    assert "value_loss" not in seen
    fresh = _begun(setup, player.task).critic
    chex.assert_trees_all_equal(player.critic, jax.tree.map(lambda leaf: leaf[0], fresh))


def test_its_gradient_is_that_of_finite_differences():
    """Of a bandit whose rollouts do not depend on theta: one update, so that rollouts are of the agent at its birth."""
    loss, theta, _ = member(FAMILIES["gaussian-bandit"], exact=True)
    keys = jax.random.split(jax.random.key(6), 2)
    flat, tree = jax.flatten_util.ravel_pytree(theta)
    value = jax.jit(lambda flat: loss(tree(flat), keys)[0])
    slope = jax.jit(jax.grad(lambda flat: loss(tree(flat), keys)[0]))(flat)
    random = np.random.default_rng(7)
    for _ in range(4):
        way = random.normal(size=flat.size).astype(np.float32)
        way /= np.linalg.norm(way)
        difference = (value(flat + 0.05 * way) - value(flat - 0.05 * way)) / 0.1
        assert float(difference) == pytest.approx(float(slope @ way), rel=0.05, abs=1e-3)


def test_a_run_says_where_its_loss_is_sampled(tmp_path):
    said: list[str] = []
    mixed = dataclasses.replace(EXACT, families=("bernoulli-bandit", "gridworld-planes"))
    runs.create(mixed, tmp_path / "mixed", announce=said.append)
    assert said == ["the meta-loss of gridworld-planes is sampled, for their exact returns cannot be differentiated"]
    parts = assembly.build(mixed).parts
    assert [part.setup.expected is None for part in parts] == [False, True]
    assert all(part.setup.expected is None for part in assembly.build(SMALL).parts)
    config.check(dataclasses.replace(EXACT, families=("gridworld-planes",), members=(2,)))  # then all of it is sampled


def test_families_count_in_units_of_their_scale():
    """Twenty pulls of a bandit as much as an episode of a grid."""
    part = assembly.build(EXACT).parts[0]
    level = part.family.generator.sample(jax.random.key(0))
    agent = part.rule.init_agent(jax.random.key(1))
    value = expected(part.rule, part.family.environment, part.family.differentiable_value)(agent, level)
    assert part.family.scale > 1 and part.setup.expected is not None
    assert float(part.setup.expected(agent, level)) == pytest.approx(float(value) / part.family.scale)


def test_files_of_earlier_versions_are_sampled():
    page = dataclasses.asdict(SMALL)
    assert page["meta"].pop("objective") == "sampled"
    assert config.from_json(json.dumps(page)).meta.objective == "sampled"


@pytest.mark.slow
def test_it_learns():
    """What LPG does after it beats what it did before, on levels that it never met."""
    settings = dataclasses.replace(
        EXACT,
        families=("bernoulli-bandit",),
        members=(32,),
        meta_steps=120,
        rule=dataclasses.replace(config.QUICK.rule, width=16),
        life=dataclasses.replace(config.QUICK.life, updates=(20, 20)),
        meta=dataclasses.replace(config.QUICK.meta, objective="exact", rate=3e-3),
        bandits=config.QUICK.bandits,
        curriculum=dataclasses.replace(config.QUICK.curriculum, kind="uniform", score="uniform"),
    )
    assert_learns(settings, levels=256, lifetime=20, agents=4)
