"""What every update rule promises."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from members import FAMILIES, RULES, life_of, rule_of, sample, signature

from groove.base import Clock
from groove.nets.critic import over_steps

BATCH = 3

every_rule = pytest.mark.parametrize("name", RULES)


@functools.cache
def untrained(name):
    """Theta, members and levels [BATCH, ...], for lives of 10 updates."""
    levels = sample(FAMILIES[RULES[name].family], BATCH, seed=5)
    keys = jax.random.split(jax.random.key(6), BATCH)
    theta = jax.jit(rule_of(name).init)(jax.random.key(7))
    return theta, jax.jit(jax.vmap(life_of(name).begin, (0, 0, None)))(keys, levels, np.int32(10)), levels


@functools.cache
def update_of(name):
    """One update of a batch of members, compiled."""
    return jax.jit(jax.vmap(life_of(name).update, (0, None, 0, 0)))


@every_rule
def test_signatures(name):
    rule = rule_of(name)
    arguments = {
        "init": ["key"],
        "init_agent": ["key"],
        "policy": ["agent", "observation", "time"],
        "update": ["key", "theta", "agent", "rollout", "clock"],
        "diagnose": ["agent", "rollout"],
    }
    assert {field: list(inspect.signature(getattr(rule, field)).parameters) for field in rule._fields} == arguments
    assert next(iter(inspect.signature(RULES[name].make).parameters)) == "spec"


@every_rule
def test_state_is_arrays_only_and_of_one_type(name):
    theta, members, levels = untrained(name)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((theta, members.agent)))
    assert not any(weak for *_, weak in signature((theta, members.agent)))
    after, _, info = update_of(name)(jax.random.split(jax.random.key(0), BATCH), theta, members, levels)
    assert signature(after) == signature(members)
    assert all(leaf.shape == (BATCH,) and leaf.dtype == jnp.float32 for leaf in info.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after.agent, info)))


@every_rule
def test_every_leaf_of_theta_receives_a_gradient(name):
    """Of what an update makes of the policy and of the agent's prediction."""
    rule, life = rule_of(name), life_of(name)
    theta, members, levels = untrained(name)

    def loss(theta, key, member, level):
        member, rollout, _ = life.update(key, theta, member, level)
        logits = over_steps(rule.policy)(member.agent, rollout.observation, rollout.time)
        odds = jax.nn.softmax(logits) * jnp.arange(1.0, 1.0 + logits.shape[-1])[None, None]
        return jnp.mean(odds) + sum(rule.diagnose(member.agent, rollout).values())

    keys = jax.random.split(jax.random.key(8), BATCH)
    slopes = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0, 0)))(theta, keys, members, levels)
    for path, leaf in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path
        assert np.any(np.asarray(leaf) != 0), path


@every_rule
def test_every_leaf_of_the_agent_learns(name):
    """But for the random policy's, which has none. Table rows move where the agent was; the time's row from step one on."""
    theta, members, levels = untrained(name)
    now = members
    for seed in range(3):
        now, _, _ = update_of(name)(jax.random.split(jax.random.key(seed), BATCH), theta, now, levels)
    before = jax.tree_util.tree_leaves_with_path(members.agent)
    for (path, old), new in zip(before, jax.tree.leaves(now.agent), strict=True):
        assert np.any(np.asarray(old) != np.asarray(new)), path


@every_rule
def test_vmap_equals_the_loop(name):
    """Whole rollouts and updates: a member alone does what it does in a batch."""
    theta, members, levels = untrained(name)
    keys = jax.random.split(jax.random.key(1), BATCH)
    together = update_of(name)(keys, theta, members, levels)
    alone = jax.jit(life_of(name).update)
    together, members, levels = jax.tree.map(np.asarray, (together, members, levels))
    for i in range(BATCH):
        row = alone(keys[i], theta, *jax.tree.map(lambda leaf, i=i: leaf[i], (members, levels)))
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), row, rtol=1e-4, atol=1e-5)


@every_rule
def test_nothing_changes_after_the_lifetimes_end(name):
    """Bit for bit, though its neighbours live on."""
    theta, members, levels = untrained(name)
    update = np.array([10, 3, 11], np.int32)  # the lifetime is 10
    members = members._replace(clock=Clock(update, members.clock.lifetime))
    after, _, _ = update_of(name)(jax.random.split(jax.random.key(2), BATCH), theta, members, levels)
    assert after.clock.update.tolist() == [10, 4, 11]
    old, new = jax.tree.map(np.asarray, (members.agent, after.agent))
    chex.assert_trees_all_equal(*(jax.tree.map(lambda leaf: leaf[::2], tree) for tree in (old, new)))
    if jax.tree.leaves(old):
        assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(a[1] != b[1])), old, new)))


@every_rule
def test_thetas_shape_does_not_depend_on_the_family(name):
    """Nor do its values: it is drawn alike for the same key."""
    specs = [FAMILIES[family].environment.spec for family in ("gridworld", "bernoulli-bandit", "gaussian-bandit")]
    if not name.endswith("mlp"):
        drawn = [jax.jit(RULES[name].make(spec).init)(jax.random.key(0)) for spec in specs]
        for other in drawn[1:]:
            chex.assert_trees_all_equal(drawn[0], other)
    if name.startswith(("lpg", "lpo")):
        planes = RULES[name].make(FAMILIES["gridworld-planes"].environment.spec)
        grids = RULES[name].make(specs[0])
        chex.assert_trees_all_equal(*(jax.jit(rule.init)(jax.random.key(0)) for rule in (planes, grids)))


@every_rule
def test_the_policy_gives_one_logit_an_action(name):
    _, members, _ = untrained(name)
    spec = FAMILIES[RULES[name].family].environment.spec
    view = jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0], members.view)
    logits = jax.jit(jax.vmap(rule_of(name).policy))(members.agent, view.observation, view.time)
    assert logits.shape == (BATCH, spec.actions) and logits.dtype == jnp.float32
