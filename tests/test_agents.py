"""Agents' networks and optimizers."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from groove.nets import agents
from levels.base import Array, Discrete, Spec

TABLE = Spec(Discrete(6), time=True, actions=3, episode_limit=9, noise=0, reset_noise=0)
PLANES = Spec(Array((2, 2, 3)), time=True, actions=3, episode_limit=9, noise=0, reset_noise=0)
IMAGE = PLANES._replace(observation=Array((5, 4, 2)))


norm = jax.jit(optax.tree.norm)


def born(network, seed=0):
    """Parameters of an untrained agent."""
    return jax.jit(network.init)(jax.random.key(seed))


def shapes(network):
    """Of the parameters."""
    return jax.eval_shape(network.init, jax.random.key(0))


def descend(optimizer, parameters, gradient):
    """An untrained learner after one step down this gradient."""
    return jax.jit(lambda p, g: agents.descend(optimizer, agents.begin(optimizer, p), g))(parameters, gradient)


@jax.jit
def clips(gradient):
    """Ours and optax's, to a norm of 1/2."""
    both = (agents.clip_by_global_norm(0.5), optax.clip_by_global_norm(0.5))
    return tuple(clip.update(gradient, optax.EmptyState())[0] for clip in both)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 0.4, 1.0, 1e6, 1e12])
def test_clipping_equals_optax(scale):
    rows = np.random.default_rng(0).standard_normal((3, 2), np.float32)
    ours, theirs = clips({"a": np.float32(scale) * rows, "b": np.full(4, -0.1 * scale, np.float32)})
    chex.assert_trees_all_close(ours, theirs, rtol=1e-6)  # a reciprocal root and a product: a few units in the last place
    assert norm(ours) <= 0.5 * (1 + 1e-6)


def test_clipping_can_be_differentiated_at_zero():
    """There the identity: the clip does not bind. optax's gives NaN."""

    def clipped(gradient, clip):
        return clip.update({"w": gradient}, optax.EmptyState())[0]["w"]

    nothing = np.zeros(3, np.float32)
    jacobian = jax.jit(jax.jacobian(lambda g: clipped(g, agents.clip_by_global_norm(0.5))))(nothing)
    chex.assert_trees_all_equal(np.asarray(jacobian), np.eye(3, dtype=np.float32))
    theirs = jax.jit(jax.jacobian(lambda g: clipped(g, optax.clip_by_global_norm(0.5))))(nothing)
    assert np.isnan(theirs).any()  # when this fails, optax has repaired it, and ours may go


def test_clipping_has_the_slope_of_a_projection():
    """Beyond the limit x -> x c / |x|, whose derivative is c (I - u u^T) / |x|: at (3, 4) with c = 1, by hand."""
    clip = agents.clip_by_global_norm(1.0)
    jacobian = jax.jit(jax.jacobian(lambda g: clip.update(g, optax.EmptyState())[0]))(np.float32([3, 4]))
    np.testing.assert_allclose(jacobian, np.array([[16, -12], [-12, 9]]) / 125, atol=1e-6)


def test_tables_start_lecun_normal():
    """Deviation 1 / sqrt(observations + 1), of a normal cut off at two deviations and scaled back to unit variance."""
    spec = TABLE._replace(observation=Discrete(999))
    parameters = born(agents.tabular().network(spec, 50), 1)
    weights = np.concatenate([np.asarray(parameters["table"]), np.asarray(parameters["time"])[None]])
    count, want = weights.size, 1 / math.sqrt(1000)
    # the sample variance has a relative error of at most sqrt(2 / n), the deviation of half that
    assert abs(weights.std() / want - 1) < 5 * math.sqrt(0.5 / count)
    assert abs(weights.mean()) < 5 * want / math.sqrt(count)
    assert np.abs(weights).max() < 2.3 * want


def test_tables_are_row_look_ups():
    network = agents.tabular().network(TABLE, 4)
    parameters = born(network)
    assert jax.tree.map(jnp.shape, parameters) == {"table": (6, 4), "time": (4,)}
    row = np.asarray(parameters["table"])[2]
    got = network.apply(parameters, np.int32(2), np.float32(0.25))
    chex.assert_trees_all_equal(np.asarray(got), row + np.float32(0.25) * np.asarray(parameters["time"]))
    blind = agents.tabular().network(TABLE._replace(time=False), 4)
    seen = blind.apply(parameters, np.int32(2), np.float32(0.25))
    chex.assert_trees_all_equal(np.asarray(seen), row)  # the time changes nothing
    zeros = born(agents.tabular(zeros=True).network(TABLE, 4))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(zeros))


def test_a_table_of_one_row_is_that_row():
    """And its gradient the sum over all steps, as that of a table of two whose second row nobody sees."""
    action = np.random.default_rng(0).standard_normal((5, 3), np.float32)

    def loss(parameters, network):
        rows = jax.vmap(network.apply, (None, 0, 0))(parameters, jnp.zeros(5, jnp.int32), jnp.arange(5.0))
        return jnp.sum(jnp.sin(rows * action))

    one, two = (agents.tabular().network(TABLE._replace(observation=Discrete(n)), 3) for n in (1, 2))
    parameters = born(one, 1)
    wider = {**parameters, "table": np.concatenate([parameters["table"], np.ones((1, 3), np.float32)])}
    slope = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    found, want = slope(parameters, one), slope(wider, two)
    np.testing.assert_allclose(found[0], want[0], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(found[1]["table"])[0], np.asarray(want[1]["table"])[0], rtol=1e-5)
    np.testing.assert_allclose(found[1]["time"], want[1]["time"], rtol=1e-5)


def test_tables_descend_as_groove_says():
    """SGD with learning rate 40 on a gradient clipped to 0.5."""
    architecture = agents.tabular()
    small = descend(architecture.actor, {"w": np.zeros(2, np.float32)}, {"w": np.float32([0.3, 0.0])})
    large = descend(architecture.actor, {"w": np.zeros(2, np.float32)}, {"w": np.float32([3.0, 4.0])})
    np.testing.assert_allclose(small.parameters["w"], [-12.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(large.parameters["w"], [-12.0, -16.0], rtol=1e-6)
    critic = descend(architecture.critic, {"w": np.zeros(1, np.float32)}, {"w": np.float32([0.1])})
    np.testing.assert_allclose(critic.parameters["w"], [-0.4], rtol=1e-6)


@pytest.mark.parametrize("spec", [TABLE, PLANES, IMAGE], ids=["table", "mlp", "convolutional"])
def test_every_leaf_gets_a_gradient(spec):
    network = agents.for_spec(spec).network(spec, 4)
    parameters = born(network)
    size = () if isinstance(spec.observation, Discrete) else spec.observation.shape
    dtype = jnp.int32 if isinstance(spec.observation, Discrete) else jnp.float32
    slope = jax.jit(jax.grad(lambda p: jnp.sum(network.apply(p, jnp.ones(size, dtype), jnp.float32(0.5)))))(parameters)
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(slope))


def test_perceptrons_see_the_time_where_the_spec_shows_it():
    seeing = agents.mlp(widths=(5,)).network(PLANES, 4)
    blind = agents.mlp(widths=(5,)).network(PLANES._replace(time=False), 4)
    observation = np.ones((2, 2, 3), bool)
    for network, sees in ((seeing, True), (blind, False)):
        parameters = born(network)
        assert parameters["Dense_0"]["kernel"].shape == (12 + sees, 5)
        apply = jax.jit(network.apply)
        early, late = (apply(parameters, observation, np.float32(t)) for t in (0.0, 9.0))
        assert early.shape == (4,) and early.dtype == jnp.float32
        assert np.any(np.asarray(early) != np.asarray(late)) == sees


def test_convolutions_equal_flaxs():
    """A convolution of stride 1 without padding, ReLU, then the perceptron over all of it and the time."""
    network = agents.convolutional(channels=3, kernel=2, widths=(6,)).network(IMAGE, 4)
    parameters = born(network)
    observation = np.random.default_rng(1).standard_normal((5, 4, 2), np.float32)
    layer = parameters["Convolution_0"]
    bias = np.arange(3, dtype=np.float32)
    convolution = nn.Conv(3, (2, 2), padding="VALID")
    kernel = np.asarray(layer["kernel"]).reshape(2, 2, 2, 3)
    seen = np.asarray(jax.jit(convolution.apply)({"params": {"kernel": kernel, "bias": bias}}, observation))
    hidden = np.append(seen.clip(0), np.float32(0.5)) @ np.asarray(parameters["Dense_0"]["kernel"])
    want = hidden.clip(0) @ np.asarray(parameters["Dense_1"]["kernel"])  # other biases are born 0
    got = jax.jit(network.apply)({**parameters, "Convolution_0": {**layer, "bias": bias}}, observation, np.float32(0.5))
    assert seen.shape == (4, 3, 3) and got.shape == (4,)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_convolutions_start_as_flaxs_do():
    """Lecun-normal: deviation 1 / sqrt(3 * 3 * channels). Booleans are 0 and 1; a blind agent does not see the time."""
    spec = IMAGE._replace(time=False)
    network = agents.convolutional(channels=500).network(spec, 4)
    parameters = born(network)
    kernel = parameters["Convolution_0"]["kernel"]
    assert kernel.shape == (18, 500) and parameters["Dense_0"]["kernel"].shape == (3 * 2 * 500, 128)
    assert abs(float(np.std(kernel)) * math.sqrt(18) - 1) < 5 * math.sqrt(0.5 / kernel.size)
    planes, apply = np.random.default_rng(1).random((5, 4, 2)) < 0.5, jax.jit(network.apply)
    answers = [apply(parameters, planes, np.float32(t)) for t in (0.0, 9.0)]
    chex.assert_trees_all_equal(*answers, apply(parameters, planes.astype(np.float32), np.float32(0.0)))


def test_scaled_optimizers_take_part_of_the_step():
    """A quarter of it, from the same state: Adam's memory is that of whole steps."""
    whole = agents.mlp(widths=(3,))
    part = agents.scaled(whole, np.float32(0.25))
    gradient = {"w": np.float32([1.0, -2.0])}
    for optimizer, slower in ((whole.actor, part.actor), (whole.critic, part.critic)):
        start = jax.jit(lambda optimizer=optimizer: agents.begin(optimizer, {"w": jnp.zeros(2)}))()
        step = jax.jit(agents.descend, static_argnums=0)
        full, quarter = (step(each, start, gradient) for each in (optimizer, slower))
        np.testing.assert_allclose(quarter.parameters["w"], np.asarray(full.parameters["w"]) / 4, rtol=1e-6)
        chex.assert_trees_all_equal(quarter.optimizer, full.optimizer)


def test_default_architectures():
    """Images are what a 3 x 3 kernel fits into."""
    assert "table" in shapes(agents.for_spec(TABLE).network(TABLE, 2))
    for shape in ((2, 2, 3), (2, 9, 3), (9, 2, 3), (9,), (5, 5), (5, 5, 5, 5)):
        spec = PLANES._replace(observation=Array(shape))
        parameters = shapes(agents.for_spec(spec).network(spec, 2))
        assert set(parameters) == {"Dense_0", "Dense_1", "Dense_2"}  # 64, 64, outputs
    for shape in ((3, 3, 1), (5, 4, 2)):
        spec = PLANES._replace(observation=Array(shape))
        parameters = shapes(agents.for_spec(spec).network(spec, 2))
        assert parameters["Convolution_0"]["kernel"].shape == (9 * shape[-1], 16)


@pytest.mark.parametrize("spec", [PLANES, IMAGE], ids=["mlp", "convolutional"])
def test_default_architectures_take_a_rate(spec):
    """Adam's first step is the rate, whatever the gradient."""
    architecture = agents.for_spec(spec, rate=0.125)
    moved = descend(architecture.actor, {"w": np.zeros(2, np.float32)}, {"w": np.float32([1.0, -3.0])})
    np.testing.assert_allclose(moved.parameters["w"], [-0.125, 0.125], rtol=1e-5)


def test_default_architectures_take_a_clip():
    """Tables: rates 40 and 4 on a gradient of norm 5, clipped to 1/4."""
    architecture = agents.for_spec(TABLE, clip=0.25)
    for optimizer, rate in ((architecture.actor, 40), (architecture.critic, 4)):
        moved = descend(optimizer, {"w": np.zeros(2, np.float32)}, {"w": np.float32([3.0, 4.0])})
        np.testing.assert_allclose(moved.parameters["w"], np.array([-0.15, -0.2]) * rate, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: agents.tabular(actor_rate=0.0), "actor_rate must be positive and finite, got 0.0"),
        (lambda: agents.tabular(critic_rate=math.nan), "critic_rate must be positive and finite, got nan"),
        (lambda: agents.tabular(clip=math.inf), "clip must be positive and finite, got inf"),
        (lambda: agents.mlp(rate=-1.0), "rate must be positive and finite, got -1.0"),
        (lambda: agents.mlp(widths=(4, 0)), r"widths must be at least 1 each, got \(4, 0\)"),
        (lambda: agents.tabular().network(PLANES, 2), r"use mlp\(\)"),
        (lambda: agents.convolutional(channels=0), "channels and kernel must be at least 1, got 0 and 3"),
        (lambda: agents.convolutional(kernel=0), "channels and kernel must be at least 1, got 16 and 0"),
        (lambda: agents.convolutional(widths=(0,)), r"widths must be at least 1 each, got \(0,\)"),
        (lambda: agents.convolutional(rate=0.0), "rate must be positive and finite, got 0.0"),
        (lambda: agents.convolutional().network(PLANES, 2), r"\[at least 3, at least 3, channels\].*use mlp\(\)"),
        (lambda: agents.convolutional().network(TABLE, 2), "convolutional agents need observations"),
        (lambda: agents.mlp().network(TABLE, 2), r"use tabular\(\)"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_adam_can_be_differentiated_where_a_weight_is_idle():
    """A weight whose gradient is zero, as behind a dead ReLU, must not turn a meta-gradient into NaN."""
    architecture = agents.mlp(widths=(3,))

    def after(scale):
        learner = agents.begin(architecture.actor, {"w": jnp.zeros(2)})
        for _ in range(2):
            learner = agents.descend(architecture.actor, learner, {"w": jnp.array([0.0, 1.0]) * scale})
        return learner.parameters["w"]

    assert np.isfinite(jax.jit(jax.jacobian(after))(np.float32(0.3))).all()
    np.testing.assert_allclose(jax.jit(after)(np.float32(0.3)), [0.0, -1e-3], rtol=1e-5)  # two of 5e-4, as plain Adam
