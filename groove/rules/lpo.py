"""Learned policy optimisation: a small network is the drift in PPO's outer loop."""

import chex
import jax
import jax.numpy as jnp

from groove.base import Clock, Theta, UpdateRule
from groove.base.ranges import Number, check_positive
from groove.nets.agents import Architecture
from groove.rules.horizon import Horizon, none
from groove.rules.ppo import bounded, ppo_drift, proximal
from levels.base import Spec

MARGIN = 1e-4
"""What the network must exceed before it counts: so that the drift's gradient at r = 1 is 0, not only its value."""


def features(ratio: jax.Array, advantage: jax.Array, age: jax.Array) -> jax.Array:
    """What the network sees; all of it vanishes at r = 1.

    With l = log r and u = 1 - r: b = [l, l^2, u, u^2, A l, A l^2, A u, A u^2], then age_1 b, ..., age_k b. Lu et al. 2022;
    with age = [n / N] it is TA-LPO's (Jackson, Lu et al. 2024). A ratio beyond exp(-10) or exp(10) counts as that.

    Args:
        ratio: f32[...], r, at least 0.
        advantage: f32[...], A, of the same shape.
        age: f32[k], a horizon's values.

    Returns:
        f32[..., 8 (1 + k)].

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.rules import lpo_features
        >>> lpo_features(jnp.full((4, 2), 1.5), jnp.ones((4, 2)), jnp.array([0.5])).shape
        (4, 2, 16)
    """
    chex.assert_equal_shape([ratio, advantage])
    chex.assert_rank(age, 1)
    ratio = bounded(ratio)
    log, gap = jnp.log(ratio), 1 - ratio
    plain = (log, jnp.square(log), gap, jnp.square(gap))
    base = jnp.stack([*plain, *(advantage * x for x in plain)], axis=-1)
    return jnp.concatenate([base, *(age[i] * base for i in range(age.size))], axis=-1)


def drift(
    theta: Theta,
    ratio: jax.Array,
    advantage: jax.Array,
    age: jax.Array,
    *,
    ppo_start: bool = False,
    clip: float = 0.2,
) -> jax.Array:
    """relu(f - 1e-4), f = tanh(features hidden) output: at least 0, and 0 with zero gradient at r = 1, whatever theta.

    Args:
        theta: {"hidden": f32[8 (1 + k), width], "output": f32[width, 1]}; no biases.
        ratio: f32[...], r, at least 0.
        advantage: f32[...], A, of the same shape.
        age: f32[k], a horizon's values.
        ppo_start: Whether f is added to PPO's drift: relu(ppo_drift + f - 1e-4).
        clip: That drift's, positive.

    Returns:
        f32[...]. Lu et al. 2022, arXiv 2210.05639.

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.rules import lpo_drift
        >>> theta = {"hidden": jnp.ones((8, 4)), "output": jnp.ones((4, 1))}
        >>> bool(lpo_drift(theta, jnp.array(1.0), jnp.array(1.0), jnp.zeros(0)) == 0)
        True
    """
    network = (jnp.tanh(features(ratio, advantage, age) @ theta["hidden"]) @ theta["output"])[..., 0]
    start = ppo_drift(bounded(ratio), advantage, clip=clip) if ppo_start else 0.0
    return jax.nn.relu(start + network - MARGIN)


def lpo(
    spec: Spec,
    architecture: Architecture | None = None,
    *,
    width: int = 128,
    horizon: Horizon = none,
    ppo_start: bool = False,
    clip: float = 0.2,
    epochs: int = 4,
    minibatches: int = 8,
    gamma: Number = 0.99,
    lambda_: Number = 0.95,
    entropy_weight: Number = 0.01,
    anneal: bool = True,
) -> UpdateRule:
    """Learned policy optimisation (Lu et al. 2022, arXiv 2210.05639): PPO's loop with a learned drift.

    Args:
        spec: The environment's description.
        architecture: The agent's networks and optimizers; by default `agents.for_spec(spec)`.
        width: Of the drift's hidden layer, at least 1.
        horizon: What the drift knows of the lifetime; `horizon.fraction` makes this TA-LPO (Jackson, Lu et al. 2024).
        ppo_start: Whether the network is added to PPO's drift.
        clip: Of PPO's drift, where that is the start; positive.
        epochs: As the following, of `proximal`.
        minibatches: Must divide the steps of a rollout.
        gamma: Discount, in [0, 1].
        lambda_: GAE's decay, in [0, 1].
        entropy_weight: At least 0.
        anneal: Whether learning rates fall linearly over the agent's life.

    Returns:
        A rule whose theta is that of `drift`, lecun-normal at birth.

    Example:
        >>> import jax, levels
        >>> from groove.rules import horizon, lpo
        >>> rule = lpo(levels.bandit.bernoulli_bandit().environment.spec, horizon=horizon.fraction)
        >>> rule.init(jax.random.key(0))["hidden"].shape
        (16, 128)
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}.")
    check_positive({"clip": clip})
    now = Clock(jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32))
    inputs = 8 * (1 + jax.eval_shape(horizon, now).size)

    def init(key):
        hidden_key, output_key = jax.random.split(key)
        weights = jax.nn.initializers.lecun_normal()
        return {
            "hidden": weights(hidden_key, (inputs, width), jnp.float32),
            "output": weights(output_key, (width, 1), jnp.float32),
        }

    return proximal(
        spec,
        architecture,
        lambda theta, ratio, advantage, clock: drift(
            theta, ratio, advantage, horizon(clock), ppo_start=ppo_start, clip=clip
        ),
        init,
        epochs=epochs,
        minibatches=minibatches,
        gamma=gamma,
        lambda_=lambda_,
        entropy_weight=entropy_weight,
        anneal=anneal,
    )
