"""Teachers and strategies by hand: every weight at an interior value, ties among the numbers, windows that move."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.base import Origin, Outcome, Task
from groove.curricula import alp_gmm, buffer, constant, diverse
from groove.curricula.alp_gmm import Gaussians, draw
from groove.curricula.clutr import autoencoder, clutr
from groove.curricula.clutr.vocabulary import Vocabulary, assemble
from groove.meta import novelty_search
from groove.meta.strategies import Strategy, named
from groove.scores import uniform
from levels.bandit import bernoulli_bandit
from levels.base import Generator

# ALP-GMM

MEANS = np.float32([[0.375, 0.5], [0.625, 0.4375]])
ROOTS = np.float32([[[0.0625, 0.0], [-0.05, 0.025]], [[0.03, 0.0], [0.045, 0.06]]])
ODDS = np.float32([0.6, 1.8])
DRAWS = 4000


def test_vectors_are_drawn_from_tilted_gaussians():
    """Of the components that explain a draw best: shares as the odds, means, covariances root root^T; the rest is uniform.

    Clipping to [0, 1] is five deviations away. Of 4,000 draws a tenth are uniform, and 15 % of these lie where one Gaussian
    does; a standard error of a covariance of 900 draws is sqrt(2 / 900) of it, 5 %.
    """
    guide = Gaussians(ODDS, MEANS, ROOTS)
    keys = functools.partial(jax.random.split, jax.random.key(3), DRAWS)

    @functools.partial(jax.jit, static_argnums=0)
    def drawn(explore):
        return jax.vmap(lambda key: draw(key, jax.tree.map(jnp.asarray, guide), explore=explore))(keys())

    points = np.float64(drawn(0.0))
    covariances = [root @ root.T for root in np.float64(ROOTS)]

    def density(component):
        off = points - MEANS[component]
        inverse = np.linalg.inv(covariances[component])
        return -0.5 * np.einsum("ni,ij,nj->n", off, inverse, off) - 0.5 * np.log(np.linalg.det(covariances[component]))

    own = np.argmax([density(0), density(1)], axis=0)
    assert abs(np.mean(own == 0) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / DRAWS)
    for component in (0, 1):
        mine = points[own == component]
        np.testing.assert_allclose(mine.mean(0), MEANS[component], atol=0.01)
        np.testing.assert_allclose(np.cov(mine.T), covariances[component], rtol=0.3, atol=2e-4)
    explored = np.float64(drawn(0.3))
    far = np.abs(explored - 0.5).max(1) > 0.375  # 1 - 0.75^2 of the square; of the Gaussians next to nothing
    share = 0.3 * (1 - 0.75**2)
    assert abs(far.mean() - share) < 5 * np.sqrt(share * (1 - share) / DRAWS) + 0.01


class Toy(NamedTuple):
    """A level that is its vector."""

    vector: jax.Array


WINDOW, HISTORY, BATCH = 12, 20, 4
TOYS = Generator(sample=lambda key: Toy(jax.random.uniform(key, (2,))), decode=lambda vector: Toy(vector), dimensions=2)


def reported(vector, value) -> Task:
    count = len(vector)
    minus = jnp.full(count, -1, jnp.int32)
    origin = Origin(minus, minus, minus, minus, jnp.asarray(vector, jnp.float32), jnp.ones(count, bool))
    return Task(Toy(jnp.asarray(vector, jnp.float32)), minus, (), (), origin)


def test_the_mixture_follows_the_last_window_and_what_waits_is_drawn_anew():
    """Returns change in one corner during the first two windows, in another during the third: the mixture moves there.

    The history holds less than two windows, so that its ring has turned by then.
    """
    teacher = alp_gmm(TOYS, uniform(), constant(3), size=8, window=WINDOW, history=HISTORY, components=2, explore=0.0)
    report, refresh = jax.jit(teacher.report), jax.jit(teacher.refresh)
    state = refresh(jax.random.key(1), jax.jit(teacher.init)(jax.random.key(0)))
    random, everyone, made = np.random.default_rng(0), np.ones(BATCH, bool), [np.asarray(state.pool.task.level.vector)]
    centres = []
    for window, corner in enumerate(([0.1, 0.2], [0.1, 0.2], [0.9, 0.7])):
        for turn in range(WINDOW // BATCH):
            vector = np.float32(corner) + random.uniform(-0.05, 0.05, (BATCH, 2)).astype(np.float32)
            value = np.float32(window + 1) * np.float32([1.25, -2.5, 3.75, -0.75]) * np.float32(1 + turn)
            outcome = Outcome(jnp.asarray(value), jnp.zeros(BATCH))
            state = report(state, reported(vector, value), jnp.zeros(BATCH), outcome, everyone)
            assert int(state.fitted) == window * WINDOW
        state = refresh(jax.random.key(5), state)
        assert int(state.fitted) == int(state.reported) == (window + 1) * WINDOW
        centres.append(np.average(state.mixture.mean, axis=0, weights=state.mixture.odds))
        made.append(np.asarray(state.pool.task.level.vector))
    assert np.abs(centres[1] - [0.1, 0.2]).max() < 0.06 and np.abs(centres[2] - [0.9, 0.7]).max() < 0.06
    for before, after in itertools.pairwise(made):
        assert not (before == after).any()  # nobody took any of the tasks
    assert np.abs(made[-1] - [0.9, 0.7]).max() < 0.3


# Diversity


def shares(values: np.ndarray) -> np.ndarray:
    """The share of the others that have less."""
    return np.sum(values[None] < values[:, None], axis=1) / (values.size - 1)


def test_likeness_and_score_are_mixed_as_ranks():
    """Of four kept and three new tasks, with ties in both, and a slot and a row that do not count."""
    feature = np.float32(
        [[1.5, 40.0], [1.5, 40.0], [3.25, 10.0], [9.0, 70.0], [77.0, 77.0], [3.5, 20.0], [6.0, 55.0], [8.5, 5.0]]
    )
    score = np.float32([0.5, 2.0, 2.0, 1.25, -np.inf, 0.75, 1.25, 9.0])
    counts = np.array([True, True, True, True, False, True, True, False])
    points = np.float64(feature[counts])
    scaled = points / points.std(0)
    distance = np.linalg.norm(scaled[:, None] - scaled[None], axis=-1) + np.diag(np.full(6, np.inf))
    want = 0.65 * shares(score[counts]) + 0.35 * shares(distance.min(1))

    def task(rows):
        return reported(np.zeros((len(rows), 2)), rows)._replace(level=Toy(jnp.asarray(rows)))

    worth = diverse(lambda level: {"a": level.vector[0], "b": level.vector[1]}, weight=0.35)

    @jax.jit
    def asked():
        store = buffer.init(jax.tree.map(lambda leaf: leaf[0], task(feature[:5])), 5)
        store = store._replace(task=task(feature[:5]), score=jnp.asarray(score[:5]))
        return worth(store, task(feature[5:]), jnp.asarray(score[5:]), jnp.asarray(counts[5:]))

    got = np.concatenate(asked())
    np.testing.assert_allclose(got[counts], want, rtol=1e-5)
    assert (got[~counts] == -np.inf).all()


# Novelty, and ties of strategies


def test_novelty_is_mixed_with_fitness():
    """0.7 fitness + 0.3 rank(novelty), the ranks from -1/2 to 1/2, told to the strategy within."""
    told = Strategy(
        population=4,
        mirrored=False,
        init=lambda key, theta: theta,
        ask=lambda key, state: (state, state),
        tell=lambda key, state, candidates, fitness: fitness,
        theta=lambda state: state,
    )
    outer = novelty_search(told, lambda theta: theta[None], weight=0.3, neighbours=2, capacity=3)
    candidates, fitness = jnp.float32([0.5, 1.75, 4.25, 11.5]), jnp.float32([2.5, -1.25, 0.75, 3.5])

    @jax.jit
    def tell():
        state = outer.init(jax.random.key(0), candidates[0])
        return outer.tell(jax.random.key(1), state._replace(inner=candidates), candidates, fitness)

    after = tell()
    distances = np.float64([(1.25 + 3.75) / 2, (1.25 + 2.5) / 2, (2.5 + 3.75) / 2, (7.25 + 9.75) / 2])
    rank = (np.argsort(np.argsort(distances))) / 3 - 0.5
    np.testing.assert_allclose(after.inner, 0.7 * np.float64(fitness) + 0.3 * rank, rtol=1e-5)
    np.testing.assert_allclose(after.novelty, distances.mean(), rtol=1e-5)


@pytest.mark.parametrize("fitness", [(np.nan,) * 4, (-np.inf, np.nan, np.inf, np.nan)], ids=str)
def test_where_nobody_is_finite_nothing_is_learned(fitness):
    strategy = named("SNES", np.zeros(2, np.float32), population=4)

    @jax.jit
    def once(theta):
        state, candidates = strategy.ask(jax.random.key(1), strategy.init(jax.random.key(0), theta))
        return strategy.theta(strategy.tell(jax.random.key(2), state, candidates, jnp.float32(fitness)))

    theta = np.float32([0.375, -1.25])
    np.testing.assert_array_equal(once(theta), theta)


# CLUTR


def test_of_more_reports_than_a_batch_the_last_stay():
    """Seven reports at once, one of them without a score, where the teacher remembers three: number n in place n mod 3."""
    teacher = clutr(lambda point: Toy(point), uniform(), constant(3), dimensions=2, size=4, batch=3, block=4)
    vector = np.arange(28, dtype=np.float32).reshape(7, 4) + 0.5
    score = np.float32([0.5, 1.5, np.nan, 2.5, 3.5, 4.5, 5.5])

    @jax.jit
    def after(key):
        state = teacher.init(key)
        value = jnp.asarray(score)
        return teacher.report(state, reported(vector, score), value, Outcome(value, value), jnp.ones(7, bool))

    state = after(jax.random.key(0))
    assert int(state.reported) == 6
    np.testing.assert_array_equal(state.reward, [3.5, 4.5, 5.5])
    np.testing.assert_array_equal(state.point, vector[4:, :2])
    np.testing.assert_array_equal(state.log_odds, vector[4:, 2])


class Stub:
    """In place of an autoencoder: two numbers, and logits that they give."""

    def encode(self, token):
        return jnp.float32([0.75, -1.25]), jnp.float32([0.3, -0.6])

    def decode(self, point):
        return jnp.outer(jnp.float32([0.5, -1.5, 2.25]), jnp.append(point, point[0] * point[1]))

    def apply(self, parameters, argument, method):
        return method(argument)


def test_the_loss_of_the_autoencoder():
    """-log p(tokens | z) + weight KL(q || N(0, 1)), z = mean + deviation e."""
    token = np.array([2, 0, 1], np.int32)
    plain, weighed = jax.jit(
        lambda key: [autoencoder.loss(Stub(), {}, key, token, weight=weight) for weight in (0.0, 0.35)]
    )(jax.random.key(1))
    mean, log_deviation = np.float64([0.75, -1.25]), np.float64([0.3, -0.6])
    z = mean + np.exp(log_deviation) * np.float64(jax.jit(lambda key: jax.random.normal(key, (2,)))(jax.random.key(1)))
    logits = np.outer([0.5, -1.5, 2.25], [*z, z[0] * z[1]])
    said = np.sum(np.log(np.exp(logits).sum(1)) - logits[np.arange(3), token])
    divergence = 0.5 * np.sum(mean**2 + np.exp(2 * log_deviation) - 1 - 2 * log_deviation)
    np.testing.assert_allclose([plain, weighed], [said, said + 0.35 * divergence], rtol=1e-4)


def parametrised(monkeypatch, loss):
    """Autoencoders are two numbers, 1 at first, and this is their loss."""
    made = type("Toy", (), {"init": lambda *_: {"a": jnp.ones(2)}})
    monkeypatch.setattr(autoencoder, "loss", loss)
    monkeypatch.setattr(autoencoder, "Autoencoder", lambda length: made())


def test_training_comes_to_rest(monkeypatch):
    """Where the slope never changes Adam's steps are the rates, 0.2 times (1 + cos(pi t / 4)) / 2: 0.5 in all."""
    parametrised(monkeypatch, lambda model, parameters, key, token, *, weight: jnp.sum(parameters["a"]))
    sample = bernoulli_bandit(arms=2).generator
    trained, losses = autoencoder.train(jax.random.key(0), sample, samples=4, steps=4, batch=2, rate=0.2)
    np.testing.assert_allclose(trained.parameters["a"], [0.5, 0.5], rtol=1e-4)
    np.testing.assert_allclose(losses, 2 - 0.4 * np.cumsum([0, 1, (1 + 0.5**0.5) / 2, 0.5]), rtol=1e-4)


def test_levels_are_assembled_of_the_nearest_integers():
    """And of booleans beyond a half, in the order of the leaves."""
    like = {"a": np.zeros(3, np.int32), "b": np.zeros((2, 1), bool), "c": np.zeros((), np.float32)}
    made = jax.jit(lambda row: assemble(row, like))(np.float32([1.75, -0.75, 2.25, 0.25, 0.75, 0.625]))
    assert {name: leaf.tolist() for name, leaf in made.items()} == {"a": [2, -1, 2], "b": [[False], [True]], "c": 0.625}


def test_training_weighs_the_divergence(monkeypatch):
    """The weight that is asked for is that of every step's loss, of which the mean over the batch is returned."""
    weights = []

    def spy(model, parameters, key, token, *, weight):
        weights.append(weight)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(parameters)) * 0 + weight

    parametrised(monkeypatch, spy)
    family = bernoulli_bandit(arms=2)
    for weight in (0.1, 0.45):
        options = {} if weight == 0.1 else {"weight": weight}
        losses = autoencoder.train(jax.random.key(0), family.generator, samples=4, steps=1, batch=2, **options)[1]
        np.testing.assert_allclose(losses, [weight], rtol=1e-6)
    assert set(weights) == {0.1, 0.45}


@pytest.mark.parametrize("valid", [False, True, None])
def test_what_is_not_valid_is_replaced_by_the_likest_of_the_bank(monkeypatch, valid):
    """The point says the tokens 1, 1, 0; of three levels known the second has two of these, the others one and none."""
    monkeypatch.setattr(autoencoder, "Autoencoder", lambda length: Stub())
    words = Vocabulary(jnp.float32([[0.25, 1.5, 2.5], [3.5, 4.75, 5.5], [6.25, 7.5, 8.5]]))
    token = jnp.int32([[2, 0, 2], [1, 2, 0], [0, 1, 1]])
    bank = Toy(jnp.float32([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]))
    generator = Generator(sample=lambda key: bank, is_valid=None if valid is None else lambda level: jnp.array(valid))
    monkeypatch.setattr(Stub, "decode", lambda self, point: jax.nn.one_hot(jnp.array([1, 1, 0]), 3) * 2.5)
    found = jax.jit(autoencoder.decoder(autoencoder.Latent(words, {}, bank, token), generator))(np.zeros(2, np.float32))
    assert found.level.vector.tolist() == ([1.5, 4.75, 6.25] if valid else [3.0, 4.0, 5.0])
    assert bool(found.own) == bool(valid)
