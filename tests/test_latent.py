"""CLUTR: levels as tokens, the autoencoder over them, the teacher in its latent space, and its cache."""

import dataclasses
import functools
import importlib
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import BANDIT, FAMILIES, REMEMBERING, sample

from groove import assembly, config
from groove.base import Outcome
from groove.curricula import log_uniform
from groove.curricula.clutr import DIMENSIONS, clutr, decoder, shape, train
from groove.curricula.clutr.autoencoder import Autoencoder, Decoded, loss
from groove.curricula.clutr.policy import Gaussian, log_density, objective
from groove.curricula.clutr.vocabulary import assemble, numbers, spoken, tokens, vocabulary
from groove.runs import latents
from levels.base import Generator

GRID = FAMILIES["gridworld"]
every_family = pytest.mark.parametrize("family", [BANDIT, GRID], ids=["bandit", "grid"])


def first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


@functools.cache
def bandit():
    """One level, in NumPy."""
    return first(jax.tree.map(np.asarray, sample(BANDIT, 1)))


def compiled(curriculum):
    return curriculum._replace(**{name: jax.jit(part) for name, part in curriculum._asdict().items() if callable(part)})


def over(function, *batches):
    """The compiled function of every row."""
    return jax.jit(jax.vmap(function))(*batches)


def same(a, b):
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@every_family
def test_numbers_and_back(family):
    level = first(jax.tree.map(np.asarray, sample(family, 1)))
    assert same(jax.jit(lambda level: assemble(numbers(level), level))(level), level)


def test_tokens_by_hand():
    """A column of three values keeps them; one of nine is cut into quantiles."""
    rows = np.stack([np.tile([1.0, 5.0, 2.0], 3), np.arange(9.0)], axis=1)
    found = vocabulary(rows, size=4)
    assert found.value[0].tolist() == [1.0, 2.0, 5.0, 5.0]
    assert found.value[1].tolist() == [1.0, 3.0, 5.0, 7.0]
    token = jax.jit(tokens)(found, np.float32([4.9, 3.2]))
    assert token.tolist() == [2, 1] and jax.jit(spoken)(found, token).tolist() == [5.0, 3.0]
    with pytest.raises(ValueError, match="size must be at least 2 values, got 1"):
        vocabulary(rows, size=1)


@functools.cache
def trained(steps=60):
    return train(jax.random.key(0), BANDIT.generator, samples=256, steps=steps, batch=32)


def test_training_finds_what_levels_have_in_common():
    """The loss falls, and levels are told apart better than by their most frequent numbers."""
    found, losses = trained()
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    model = Autoencoder(found.token.shape[1])

    def again(token):
        return jnp.argmax(
            model.apply(found.parameters, model.apply(found.parameters, token, method=model.encode)[0], method=model.decode),
            1,
        )

    hits = np.mean(np.asarray(over(again, found.token)) == np.asarray(found.token))
    often = np.array([np.bincount(column).argmax() for column in np.asarray(found.token).T])
    assert hits > np.mean(np.asarray(found.token) == often[None]) + 0.02


def test_every_parameter_has_a_gradient():
    found, _ = trained(1)
    model = Autoencoder(found.token.shape[1])
    token = np.asarray(found.token)[3]
    slope = jax.jit(jax.grad(lambda p: loss(model, p, jax.random.key(1), token, weight=1.0)))(found.parameters)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slope))


@every_family
def test_every_point_has_a_valid_level(family):
    """Trained for one step, what it says is nonsense: then levels of the bank take its place."""
    found, _ = train(jax.random.key(0), family.generator, samples=32, steps=1, batch=4)
    points = 3 * np.random.default_rng(1).standard_normal((64, DIMENSIONS), np.float32)
    made, own = over(decoder(found, family.generator), points)
    assert over(family.generator.is_valid, made).all() and (family is BANDIT or not own.all())
    plain, none = over(decoder(found, Generator(family.generator.sample)), points)
    assert not none.any()
    rows, bank = over(numbers, plain), over(numbers, found.bank)
    assert {row.tobytes() for row in np.asarray(rows)} <= {row.tobytes() for row in np.asarray(bank)}
    known = shape(family.generator, samples=32)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found) == jax.tree.map(lambda s: (s.shape, s.dtype), known)


def test_the_objective_of_the_teacher_by_hand():
    """At the policy that drew the points the ratio is 1; half the size of a step away it is clipped."""
    policy = Gaussian(np.zeros(1, np.float32), np.zeros(1, np.float32))
    points = np.float32([[1.0], [-2.0]])
    odds = jax.jit(jax.vmap(log_density, (None, 0)))(policy, points)
    assert odds.tolist() == [-0.5, -2.0]
    gain = functools.partial(jax.jit(objective), point=points, log_odds=odds, clip=0.2)
    assert gain(policy, advantage=np.float32([1.0, -3.0]), entropy=0.0) == -1.0
    moved = Gaussian(np.float32([1.0]), np.zeros(1, np.float32))  # ratios exp(0.5) = 1.65 and exp(-2.5) = 0.08
    assert gain(moved, advantage=np.float32([1.0, -3.0]), entropy=0.0) == pytest.approx((1.2 - 3 * 0.8) / 2)
    wide = Gaussian(np.zeros(1, np.float32), np.float32([0.5]))
    none = np.zeros(2, np.float32)
    difference = gain(wide, advantage=none, entropy=2.0) - gain(wide, advantage=none, entropy=0.0)
    assert difference == pytest.approx(1.0)


def test_the_teacher_goes_where_the_score_is():
    """Score = the first coordinate: its mean climbs, the others stay near 0; the pool follows the policy."""

    level = bandit()
    made = compiled(clutr(lambda point: level, REMEMBERING, log_uniform(2, 9), dimensions=3, size=32, batch=32))
    state = made.refresh(jax.random.key(1), made.init(jax.random.key(0)))
    everyone = np.ones(32, bool)
    for seed in range(25):
        state, tasks = made.propose(jax.random.key(seed), state, everyone)
        score = np.asarray(tasks.origin.vector)[:, 0]
        state = made.refresh(jax.random.key(seed), made.report(state, tasks, score, Outcome(score, score), everyone))
    mean = np.asarray(state.policy.mean)
    assert state.learned == 25
    assert mean[0] > 2 and np.abs(mean[1:]).max() < 1
    assert np.mean(np.asarray(state.pool.task.origin.vector)[:, 0]) > 1.5


def test_levels_that_wait_are_decoded_anew_once_the_teacher_has_learned():
    """And their share without a level of their own is told: here of points whose first coordinate is negative."""

    level = bandit()

    def decode(point):
        return Decoded(level, point[0] >= 0)

    made = compiled(clutr(decode, REMEMBERING, log_uniform(2, 9), dimensions=3, size=400, batch=8))
    state = made.init(jax.random.key(0))
    share = made.info(state)["fallback"]
    assert np.abs(share - 0.5) < 5 * np.sqrt(0.25 / 400)
    state, tasks = made.propose(jax.random.key(2), state, np.ones(8, bool))
    before = state.pool
    score = np.asarray(tasks.origin.vector)[:, 0]
    after = made.refresh(jax.random.key(3), made.report(state, tasks, score, Outcome(score, score), np.ones(8, bool)))
    assert after.learned == 1 and after.pool.filled == before.filled + 8 and after.pool.taken == 8
    np.testing.assert_array_equal(np.sort(after.pool.task.origin.serial), np.arange(8, 408))
    new, old = np.asarray(after.pool.task.origin.vector), np.asarray(before.task.origin.vector)
    assert (new[8:, :3] != old[8:, :3]).all() and np.mean(new[:, 0]) > np.mean(old[:, 0])


def test_reports_beyond_a_batch_overwrite_the_oldest():
    level = bandit()
    made = compiled(clutr(lambda point: level, REMEMBERING, log_uniform(2, 9), dimensions=2, size=8, batch=3))
    state = made.init(jax.random.key(0))
    state, tasks = made.propose(jax.random.key(2), state, np.ones(8, bool))
    score = np.float32([0, 1, 2, 3, 4, 5, 6, np.nan])
    state = made.report(state, tasks, score, Outcome(score, score), np.arange(8) != 5)
    assert sorted(state.reward.tolist()) == [3.0, 4.0, 6.0] and state.reported == 6


def test_an_autoencoder_is_trained_once(tmp_path, monkeypatch):
    """The second run takes it from the cache; a damaged file is trained again; other sizes are refused."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = config.smoke(config.QUICK)
    small = dataclasses.replace(small, curriculum=dataclasses.replace(small.curriculum, kind="clutr"))
    said: list[str] = []
    monkeypatch.setattr(latents, "train", functools.partial(train, samples=8, batch=2))
    files = latents.prepare(small, said.append)
    assert len(said) == 2 and latents.prepare(small, said.append) == files and len(said) == 2
    path = files["bernoulli-bandit"]
    content, before = path.read_bytes(), latents.load(path, assembly.family(small, "bernoulli-bandit"))
    assert path.write_bytes(content[:-7]) and latents.prepare(small, said.append) == files and len(said) == 3
    assert same(latents.load(path, assembly.family(small, "bernoulli-bandit")), before)
    with pytest.raises(ValueError, match="must hold an autoencoder of levels of 'bernoulli-bandit', but theta"):
        latents.load(files["gridworld"], BANDIT)
    assert latents.prepare(config.QUICK, said.append) == {}


def clutr_config(generator: str = "", **rates: float) -> config.Config:
    small = config.smoke(config.QUICK)
    small = dataclasses.replace(small, families=("gridworld",), members=(2,), generators=(generator,) if generator else ())
    small = dataclasses.replace(small, grids=dataclasses.replace(small.grids, **rates))
    return dataclasses.replace(small, curriculum=dataclasses.replace(small.curriculum, kind="clutr"))


OPEN = """
import jax.numpy as jnp


def {name}(key, family):
    level = family.generator.sample(key)
    rows, columns = jnp.indices(level.walls.shape)
    return level._replace(walls=(rows >= level.height) | (columns >= level.width), limit=level.limit + {more})
"""


def test_an_autoencoder_is_of_one_generator(tmp_path, monkeypatch):
    """A plug-in's levels are not the family's own, nor what they were before it was edited; learning rates do not matter."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(latents, "train", functools.partial(train, samples=8, batch=2))

    def file_of(settings: config.Config) -> Path:
        sys.modules.pop("open_grids", None)
        importlib.invalidate_caches()
        return latents.prepare(settings, lambda text: None)["gridworld"]

    own = file_of(clutr_config())
    assert file_of(clutr_config(actor_rate=1.0, antagonist_entropy=0.5)) == own
    found = []
    for more in (0, 1):
        assert (tmp_path / "open_grids.py").write_text(OPEN.format(name="fields", more=more) + "#" * more)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        found.append(file_of(clutr_config("open_grids:fields")))
    assert len({own, *found}) == 3 and file_of(clutr_config()) == own
    bank = latents.load(found[0], assembly.family(clutr_config(), "gridworld")).bank
    assert not np.asarray(bank.walls)[:, 0, 0].any()
    sys.modules.pop("open_grids", None)
