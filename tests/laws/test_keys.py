"""Keys of both kinds, `jax.random.key` and `jax.random.PRNGKey`, alone and under vmap, give the same numbers.

All members are traced; numbers are compared where that is cheap: they can only differ by where a key is made typed.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import pytest
from members import CURRICULA, FAMILIES, RULES, SCORES, life_of, rule_of, sample, signature

from levels.adapters.gymnax import to_gymnax
from levels.adapters.jaxued import to_jaxued

TYPED, LEGACY = (jax.random.split(kind(3), 4) for kind in (jax.random.key, jax.random.PRNGKey))
EDITS = {name: family.generator.mutate for name, family in FAMILIES.items() if family.generator.mutate is not None}


def check_traced(function: Callable[[jax.Array], chex.ArrayTree]) -> None:
    """Raises unless both kinds make arrays of one form, legacy keys under two vmaps."""
    made = jax.eval_shape(function, TYPED[0]), jax.eval_shape(jax.vmap(jax.vmap(function)), LEGACY.reshape(2, 2, 2))
    forms = [
        [(row[0], row[1][cut:]) for row in signature(tree) if "key" not in row[0]]
        for tree, cut in zip(made, (0, 2), strict=True)
    ]
    assert forms[0] == forms[1]


def check_same(function: Callable[[jax.Array], chex.ArrayTree]) -> None:
    """Raises unless both kinds give the same numbers."""
    chex.assert_trees_all_equal(*(jax.jit(jax.vmap(function))(keys) for keys in (TYPED, LEGACY)))
    chex.assert_trees_all_equal(*(jax.jit(function)(keys[1]) for keys in (TYPED, LEGACY)))


@pytest.mark.parametrize("name", FAMILIES)
def test_levels(name: str):
    family = FAMILIES[name]
    check_traced(family.generator.sample)
    if name in EDITS:
        level = jax.eval_shape(family.generator.sample, TYPED[0])
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), level)
        check_traced(lambda key: EDITS[name](key, blank))


def test_numbers_of_levels():
    family = FAMILIES["chain"]
    check_same(lambda key: EDITS["chain"](key, family.generator.sample(key)))


@pytest.mark.parametrize("name", ["a2c-bandit", "a2c-mlp", "lpg-lstm", "ppo", "lpo"])
def test_lives(name: str):
    """Birth, a rollout, an update and a measurement."""
    life, family = life_of(name), FAMILIES[RULES[name].family]
    theta = jax.eval_shape(rule_of(name).init, TYPED[0])
    theta = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), theta)

    def lived(key):
        level = family.generator.sample(key)
        member = life.update(key, theta, life.begin(key, level, jnp.int32(3)), level)[0]
        return member, life.evaluate(key, member.agent, level, jnp.array(True)), rule_of(name).init(key)

    check_traced(lived)


def test_numbers_of_a_life():
    life, level = life_of("a2c-bandit"), jax.tree.map(lambda leaf: leaf[0], sample(FAMILIES["bernoulli-bandit"], 1))
    check_same(lambda key: life.rollout(key, life.begin(key, level, jnp.int32(3)), level)[1])


@pytest.mark.parametrize("name", SCORES)
def test_references(name: str):
    level = jax.tree.map(lambda leaf: leaf[0], sample(FAMILIES["bernoulli-bandit"], 1))
    check_traced(lambda key: SCORES[name].reference(key, level, jnp.int32(2)))


@pytest.mark.parametrize("name", CURRICULA)
def test_curricula(name: str):
    curriculum = CURRICULA[name]()

    def lived(key):
        state, tasks = curriculum.propose(key, curriculum.init(key), jnp.ones(3, bool))
        return state, tasks

    assert jax.eval_shape(jax.vmap(lived), LEGACY)[1].lifetime.shape == (4, 3)


def test_adapters():
    family = FAMILIES["chain"]
    for library in (to_gymnax, to_jaxued):
        there = library(family)

        def episode(key, there=there):
            if hasattr(there, "reset_to_level"):
                state = there.reset_to_level(key, family.generator.sample(key))[1]
                return there.step(key, state, 0)
            state = there.reset(key, there.default_params)[1]
            return there.step(key, state, 0, there.default_params)

        with jax.numpy_rank_promotion("allow"):
            check_traced(episode)
