"""What a rule may know of the agent's lifetime: functions from the clock to f32[h], fed at every step of an update."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from groove.base import Clock

Horizon: TypeAlias = Callable[[Clock], jax.Array]


def none(clock: Clock) -> jax.Array:
    """Nothing: f32[0]. Such a rule is the same at every age."""
    return jnp.zeros(0, jnp.float32)


def fraction(clock: Clock) -> jax.Array:
    """The part of the lifetime that has passed, [n / N]: f32[1] in [0, 1)."""
    return (clock.update / clock.lifetime).astype(jnp.float32)[None]


def fraction_and_log(clock: Clock) -> jax.Array:
    """[n / N, log N]: f32[2], exactly TA-LPG's inputs (Jackson, Lu et al. 2024)."""
    return jnp.append(fraction(clock), jnp.log(clock.lifetime.astype(jnp.float32)))


def scaled(clock: Clock) -> jax.Array:
    """[2 n / N - 1, log(N / 30) / 3]: f32[2], what `fraction_and_log` knows, within -1 and 1 for N from 2 to 600.

    log N itself is 2 to 6, the largest of all of a rule's inputs by far.
    """
    log = jnp.log(clock.lifetime.astype(jnp.float32) / 30.0) / 3.0
    return jnp.append(2.0 * fraction(clock) - 1.0, log)


def remaining(clock: Clock) -> jax.Array:
    """The updates that are left, [log(N - n)]: f32[1]; the logarithm keeps long lives within the range of short ones."""
    return jnp.log(jnp.maximum(clock.lifetime - clock.update, 1).astype(jnp.float32))[None]


def within(horizon: Horizon, low: int, high: int) -> Horizon:
    """The same, but a life of fewer than `low` or more than `high` updates looks like one of so many, at the same n / N.

    A net that was trained on such lives alone never sees another N: beyond them it would have to guess.

    Example:
        >>> import jax.numpy as jnp
        >>> from groove.base import Clock
        >>> from groove.rules import horizon
        >>> known = horizon.within(horizon.fraction_and_log, 5, 100)
        >>> bool(jnp.array_equal(known(Clock(jnp.int32(150), jnp.int32(300))), known(Clock(jnp.int32(50), jnp.int32(100)))))
        True
    """

    def known(clock: Clock) -> jax.Array:
        lifetime = jnp.clip(clock.lifetime, low, high)
        return horizon(Clock(clock.update * (lifetime / clock.lifetime), lifetime))

    return known
