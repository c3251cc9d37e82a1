"""Which level of a family pays, shows or holds what is not finite: found by playing it at random."""

import jax
import jax.numpy as jnp
import numpy as np

from levels.base import Family, Level, TimeStep, uniform, words
from levels.dataset.faults import shortly

STEPS, EPISODES = 200, 8
"""Played of each level, at most."""
SEED = 90_017
SHOWN = ("observation", "reward")
"""Leaves of a time step that are looked at."""


def unsound(family: Family, levels: Level) -> str:
    """The first leaf that is not finite, of a level itself or of what it shows and pays; "" if there is none.

    Args:
        family: Of the levels; whatever it raises is not for this to say.
        levels: [n, ...].

    Example:
        >>> import jax, levels
        >>> from groove.runs.playing import unsound
        >>> family = levels.chain.chain(length=(2, 3))
        >>> some = jax.vmap(family.generator.sample)(jax.random.split(jax.random.key(0), 2))
        >>> unsound(family, some), unsound(family, some._replace(noise=some.noise.at[1].set(float("nan"))))[:52]
        ('', "the level's noise is not finite in the family 'chain")
    """
    held = jax.device_get(levels)
    for path, leaf in jax.tree.leaves_with_path(held):
        good = np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1)
        if not good.all():
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            return _said(f"the level's {name}", family, held, good)
    finite = jax.device_get(jax.jit(lambda levels: _played(family, levels))(levels))
    return next((_said(f"the {leaf}", family, held, good) for leaf, good in finite.items() if not good.all()), "")


def _said(what: str, family: Family, levels: Level, good: np.ndarray) -> str:
    row = int(good.argmin())
    return f"{what} is not finite in the family {family.name!r} on the level: {shortly(levels, row)}"


def _played(family: Family, levels: Level) -> dict[str, jax.Array]:
    """Whether all numbers that episodes show are finite, by leaf: bool[n]."""
    spec, reset, step = family.environment
    count = len(jax.tree.leaves(levels)[0])

    def finite(timestep: TimeStep) -> dict[str, jax.Array]:
        return {name: jnp.all(jnp.isfinite(getattr(timestep, name))) for name in SHOWN}

    def one(key: jax.Array, level: Level) -> dict[str, jax.Array]:
        begin_key, step_key = jax.random.split(key)

        def advance(carry: tuple, noise: jax.Array) -> tuple[tuple, None]:
            state, running, good = carry
            action = jnp.minimum(jnp.floor(uniform(noise[-1]) * spec.actions).astype(jnp.int32), spec.actions - 1)
            state, timestep = step(noise[:-1], level, state, action)
            good = {name: good[name] & (~running | now) for name, now in finite(timestep).items()}
            return (state, running & ~(timestep.terminated | timestep.truncated), good), None

        state, timestep = reset(words(begin_key, spec.reset_noise), level)
        noise = words(step_key, min(STEPS, spec.episode_limit), spec.noise + 1)
        return jax.lax.scan(advance, (state, jnp.bool_(True), finite(timestep)), noise)[0][2]

    keys = jax.random.split(jax.random.key(SEED), (count, EPISODES))
    found = jax.vmap(jax.vmap(one, (0, None)))(keys, levels)
    return jax.tree.map(lambda leaf: jnp.all(leaf, axis=1), found)
