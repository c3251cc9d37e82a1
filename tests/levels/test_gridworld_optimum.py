"""Exact values against enumeration of every outcome."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from levels.gridworld import from_text, gridworld

FAMILY = gridworld(
    height=2, width=3, objects=2, episode_limit=5, side=(2, 3), square=False, limit=(2, 5), respawn=(0.2, 0.9)
)
LEVELS = jax.jit(jax.vmap(FAMILY.generator.sample))(jax.random.split(jax.random.key(0), 12))


def enumerate_return(level, choose):
    """Expected return by recursion; `choose(step, state, worth of actions)` gives the worth of a state."""
    level = jax.tree.map(np.asarray, level)
    objects = np.flatnonzero(level.kind >= 0)
    walls, cells = level.walls, level.walls.size

    def move(cell, action):
        row, column = divmod(cell, walls.shape[1])
        row, column = row + (0, 0, 1, 0, 0)[action] - (action == 0), column + (action == 1) - (action == 3)
        outside = not (0 <= row < walls.shape[0] and 0 <= column < walls.shape[1])
        return cell if outside or walls[row, column] else row * walls.shape[1] + column

    def outcomes(exists, hit):
        """Every set of objects after a step that began with `exists`, with its probability."""
        absent = [i for i in objects if i not in exists]
        for back in itertools.product((False, True), repeat=len(absent)):
            odds = [float(level.respawn[i]) if b else 1 - float(level.respawn[i]) for i, b in zip(absent, back, strict=True)]
            yield (exists - {hit}) | {i for i, b in zip(absent, back, strict=True) if b}, float(np.prod(odds))

    @functools.cache
    def worth(step, cell, exists):
        if step == level.limit:
            return 0.0
        actions = []
        for action in range(5):
            there = move(cell, action)
            hit = next((i for i in exists if level.cell[i] == there), None)
            pays, ends = (0.0, 0.0) if hit is None else (float(level.reward[hit]), float(level.terminate[hit]))
            later = sum(p * worth(step + 1, there, frozenset(after)) for after, p in outcomes(exists, hit))
            actions.append(pays + (1 - ends) * later)
        return choose(step, sum(1 << i for i in exists) * cells + cell, np.array(actions))

    return worth(0, int(level.start), frozenset(objects.tolist()))


def test_optimum_equals_enumeration():
    optimum = jax.jit(jax.vmap(FAMILY.optimum))(LEVELS)
    for i in range(12):
        level = jax.tree.map(lambda leaf, i=i: leaf[i], LEVELS)
        np.testing.assert_allclose(
            optimum[i], enumerate_return(level, lambda t, s, worth: worth.max()), rtol=1e-5, atol=1e-6
        )


def test_value_equals_enumeration():
    """Of a policy that differs in every step and state."""
    logits = jax.random.normal(jax.random.key(1), (5, FAMILY.environment.spec.observation.n, 5))
    table = jax.nn.softmax(logits)
    odds = np.asarray(table, np.float64)
    value = jax.jit(jax.vmap(lambda level: FAMILY.value(level, lambda step: table[step])))(LEVELS)
    for i in range(12):
        level = jax.tree.map(lambda leaf, i=i: leaf[i], LEVELS)
        np.testing.assert_allclose(value[i], enumerate_return(level, lambda t, s, w: odds[t, s] @ w), rtol=1e-5, atol=1e-6)


def test_an_optimum_by_hand():
    """Two steps to A, which pays 1 and comes back at once, then two more collections by staying every other step."""
    level = from_text("@.A\n\nA reward 1 terminate 0 respawn 1\nlimit 6")
    assert float(gridworld(height=2, width=3, objects=1, episode_limit=6).optimum(level)) == 3.0


def test_a_time_blind_table_is_worth_no_more_than_the_optimum_and_no_less_than_staying():
    stay = jnp.zeros((FAMILY.environment.spec.observation.n, 5), jnp.float32).at[:, 4].set(1.0)
    assert (jax.vmap(lambda level: FAMILY.value(level, lambda step: stay))(LEVELS) == 0).all()


def test_vmap_and_map_agree():
    together, apart = jax.vmap(FAMILY.optimum)(LEVELS), jax.lax.map(FAMILY.optimum, LEVELS)
    np.testing.assert_allclose(together, apart, rtol=1e-6)
