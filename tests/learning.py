"""Whether a run of evolution learned."""

import jax
import jax.numpy as jnp
import numpy as np

from groove.assembly import build
from groove.config import Config, check
from groove.lifetime import learning_curve
from groove.protocols import held_out_levels


def assert_learns(settings: Config, *, levels: int, lifetime: int, agents: int) -> None:
    """The evolved rule's agents beat those of its own step 0, on so many levels that it never saw.

    The difference per level, averaged over agents, must lie 5 standard errors above 0.
    """
    run = build(check(settings))
    chunk, refresh = jax.jit(run.trainer.chunk), jax.jit(run.trainer.refresh)
    state = start = jax.jit(run.trainer.init)(jax.random.key(0))
    for _ in range(settings.meta_steps // settings.chunk):
        state, _ = chunk(refresh(state))
    part = run.parts[0]
    unseen, lifetimes = held_out_levels(part.family, levels), jnp.full(levels, lifetime, jnp.int32)
    reach = jax.jit(
        lambda theta: learning_curve.returns(part.life, jax.random.key(1), theta, unseen, lifetimes, agents=agents)
    )
    after, before = (np.asarray(reach(run.trainer.theta(s))).mean(axis=1) for s in (state, start))
    gain = after - before
    assert gain.mean() > 5 * gain.std(ddof=1) / np.sqrt(levels), (before.mean(), after.mean())
