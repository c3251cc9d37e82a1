"""A recurrent variational autoencoder over levels: a latent space that has a level everywhere (CLUTR, arXiv 2210.10243)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from groove.curricula.clutr.vocabulary import Vocabulary, assemble, numbers, spoken, tokens, vocabulary
from levels.base import Generator, Level

WIDTH, DIMENSIONS, VALUES = 64, 16, 16
"""Of the recurrent layers; of the latent space; of the values of a number."""


class Latent(NamedTuple):
    """A trained autoencoder, and levels to fall back on."""

    vocabulary: Vocabulary
    parameters: chex.ArrayTree
    bank: Level  # PyTree of [n, ...]; levels that the generator sampled
    token: jax.Array  # i32[n, L]; of these


class Decoded(NamedTuple):
    """What a point stands for."""

    level: Level
    own: jax.Array  # bool[]; False where it was not valid, and another level stands in for it


class Autoencoder(nn.Module):
    """Tokens to a Gaussian over the latent space, and points of that to tokens."""

    length: int
    values: int = VALUES
    width: int = WIDTH
    dimensions: int = DIMENSIONS

    def setup(self) -> None:
        """Makes the layers."""
        self.place = self.param("place", nn.initializers.normal(1.0), (self.length, self.width))
        self.embed = nn.Embed(self.values, self.width)
        self.reader, self.writer = (nn.RNN(nn.GRUCell(self.width)) for _ in range(2))
        self.gaussian = nn.Dense(2 * self.dimensions)
        self.unfold, self.say = nn.Dense(self.width), nn.Dense(self.values)

    def encode(self, token: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and logarithm of the deviation, f32[dimensions] each, of tokens i32[L]."""
        read = self.reader(self.embed(token) + self.place)
        mean, log_deviation = jnp.split(self.gaussian(read[-1]), 2)
        return mean, log_deviation

    def decode(self, point: jax.Array) -> jax.Array:
        """Logits f32[L, values] at a point f32[dimensions]."""
        return self.say(self.writer(nn.tanh(self.unfold(point))[None] + self.place))

    def __call__(self, token: jax.Array) -> jax.Array:
        """Runs both ways: for `init`."""
        return self.decode(self.encode(token)[0])


def loss(model: Autoencoder, parameters: chex.ArrayTree, key: jax.Array, token: jax.Array, *, weight: float) -> jax.Array:
    """-log p(tokens | z) + weight KL(q(z | tokens) || N(0, 1)), z drawn from q: f32[] of tokens i32[L].

    Kingma and Welling 2014, arXiv 1312.6114, eq. 10; with `weight` 1 it bounds -log p(tokens).
    """
    mean, log_deviation = model.apply(parameters, token, method=model.encode)
    point = mean + jnp.exp(log_deviation) * jax.random.normal(key, mean.shape, mean.dtype)
    logits = model.apply(parameters, point, method=model.decode)
    said = jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, token))
    divergence = jnp.sum(0.5 * (jnp.square(mean) + jnp.exp(2 * log_deviation) - 1) - log_deviation)
    return said + weight * divergence


def train(
    key: jax.Array,
    generator: Generator,
    *,
    samples: int = 4096,
    steps: int = 1500,
    batch: int = 128,
    rate: float = 3e-3,
    weight: float = 0.1,
) -> tuple[Latent, jax.Array]:
    """Trains an autoencoder on levels that a generator samples.

    Args:
        key: Of levels, initialisation and training.
        generator: Any.
        samples: Levels trained on; they are the bank that invalid ones are replaced from.
        steps: Of Adam, at least 1.
        batch: Levels of a step.
        rate: Adam's learning rate, falling to 0 along a cosine.
        weight: Of the divergence from the prior.

    Returns:
        The autoencoder and the loss of every step, f32[steps].
    """
    if steps < 1 or batch < 1 or samples < 1:
        raise ValueError(f"samples, steps and batch must be at least 1, got {samples}, {steps} and {batch}.")
    level_key, init_key, train_key = jax.random.split(key, 3)
    bank = jax.jit(jax.vmap(generator.sample))(jax.random.split(level_key, samples))
    rows = jax.vmap(numbers)(bank)
    known = vocabulary(np.asarray(rows), size=VALUES)
    token = jax.vmap(functools.partial(tokens, known))(rows)
    model = Autoencoder(token.shape[1])
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(rate, steps)))
    parameters = model.init(init_key, token[0])

    def one(state, number):
        pick_key, noise_key = jax.random.split(jax.random.fold_in(train_key, number))
        rows, keys = token[jax.random.randint(pick_key, (batch,), 0, samples)], jax.random.split(noise_key, batch)

        def total(parameters):
            return jnp.mean(jax.vmap(lambda key, row: loss(model, parameters, key, row, weight=weight))(keys, rows))

        value, slope = jax.value_and_grad(total)(state[0])
        updates, moved = optimizer.update(slope, state[1], state[0])
        return (optax.apply_updates(state[0], updates), moved), value

    start = (parameters, optimizer.init(parameters))
    state, losses = jax.jit(lambda start: jax.lax.scan(one, start, jnp.arange(steps)))(start)
    return Latent(known, state[0], bank, token), losses


def shape(generator: Generator, *, samples: int) -> Latent:
    """What `train` gives for this many samples, of `jax.ShapeDtypeStruct`."""

    def empty(key: jax.Array) -> Latent:
        bank = jax.vmap(generator.sample)(jax.random.split(key, samples))
        token = jnp.zeros((samples, numbers(jax.tree.map(lambda leaf: leaf[0], bank)).size), jnp.int32)
        known = Vocabulary(jnp.zeros((token.shape[1], VALUES), jnp.float32))
        return Latent(known, Autoencoder(token.shape[1]).init(key, token[0]), bank, token)

    return jax.eval_shape(empty, jax.random.key(0))


def settings_of() -> dict[str, int]:
    """The sizes that every autoencoder has."""
    return {"width": WIDTH, "dimensions": DIMENSIONS, "values": VALUES}


def decoder(latent: Latent, generator: Generator) -> Callable[[jax.Array], Decoded]:
    """`(point f32[DIMENSIONS]) -> Decoded`, its level always valid: the most likely one there.

    Where that is not valid, or the generator cannot say, it is the level of the bank that shares the most tokens with it,
    and is not the point's own. Of a latent space where that is common a teacher sees little but the bank.
    """
    model = Autoencoder(latent.token.shape[1])
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), latent.bank)

    def decode(point: jax.Array) -> Decoded:
        token = jnp.argmax(model.apply(latent.parameters, point, method=model.decode), axis=1)
        nearest = jnp.argmax(jnp.sum(latent.token == token[None], axis=1))
        fallback = jax.tree.map(lambda leaf: leaf[nearest], latent.bank)
        if generator.is_valid is None:
            return Decoded(fallback, jnp.array(False))
        level = assemble(spoken(latent.vocabulary, token), like)
        valid = generator.is_valid(level)
        return Decoded(jax.tree.map(lambda made, known: jnp.where(valid, made, known), level, fallback), valid)

    return decode
