"""How fast rules are evaluated: `python -m benchmarks.evaluate`, one JSON object on its last line.

Agents of A2C and of LPG live on the first levels of `grid-unseen` as `groove evaluate --scale small` lets them (32 tasks, 4
agents each, 20 steps x 16 environments, tables; on a CPU one call a core), and a bare environment of the same levels takes
random actions.
`fraction_of_peak_steps`: environment steps a second of A2C's lives, updates included, over those of the bare environment,
which is run in the fastest of several sizes, in one call and in one call a core. `fraction_of_peak`: useful flops of the
products of LPG (GRU of width 256) over those of a large matrix product. `lifetimes_per_second`, by rule: lives of 100
updates (LPG 20), measured three times with exact returns.
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from benchmarks.products import forward_flops, large_product
from benchmarks.timing import interleaved
from groove import assembly, protocols
from groove.base import Outcome, UpdateRule
from groove.config import LPG
from groove.evaluation.execution import agents_at_once, together, workers
from groove.lifetime import exact, learning_curve, lifetime
from groove.protocols import PROTOCOLS
from levels.base import Level, words
from levels.suites import SUITES, Split, splits

TASKS, SEEDS = 32, 4
UPDATES = {"a2c": 100, "lpg": 20}
STEPS, ENVIRONMENTS = 20, 16
BARE, ROLLOUTS = (256, 1024, 4096), 20
ROUNDS = 7


def lives(rule: UpdateRule, split: Split, updates: int, *, measured: bool) -> Callable[[], list[Outcome]]:
    """Agents on all tasks; unless they are measured, one number of each keeps their lives from being optimised away."""
    environment, value = split.family.environment, split.family.value
    assert value is not None
    zero, place = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
    glance = lambda key, agent, level, wanted: Outcome(rule.policy(agent, place, zero)[0], zero)  # noqa: E731
    life = lifetime(
        rule,
        environment,
        steps=STEPS,
        environments=ENVIRONMENTS,
        evaluate=exact(rule, environment, value) if measured else glance,
    )
    points = jnp.array([updates // 10, updates // 3, updates] if measured else [updates], jnp.int32)
    block, part = agents_at_once(split), TASKS // workers()

    @jax.jit
    def run(key: jax.Array, levels: Level, place: jax.Array) -> Outcome:
        theta = rule.init(jax.random.key(0))
        return learning_curve.learning_curves(life, key, theta, levels, points, agents=SEEDS, first=place, block=block)

    def lived(place: int, levels: Level) -> Outcome:
        return jax.block_until_ready(run(jax.random.key(1), levels, jnp.int32(place)))

    places = range(0, TASKS, part)
    parts = [jax.tree.map(lambda leaf, at=at: jnp.asarray(leaf[at : at + part]), split.levels) for at in places]
    return lambda: together([functools.partial(lived, *one) for one in zip(places, parts, strict=True)])


def first(split: Split) -> Level:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[:TASKS]), split.levels)


def bare(split: Split, size: int, calls: int) -> Callable[[], list[chex.ArrayTree]]:
    """Random actions in `size` environments of the same levels in each of several calls; finished episodes are reset."""
    environment = split.family.environment
    spec = environment.spec
    levels = jax.tree.map(lambda leaf: jnp.repeat(leaf, size // TASKS, axis=0), first(split))
    step, reset = jax.vmap(environment.step, (1, 0, 0, 0)), jax.vmap(environment.reset, (1, 0))

    def body(now: chex.ArrayTree, noise: jax.Array) -> tuple[chex.ArrayTree, None]:
        state, total = now
        action = (noise[0] % spec.actions).astype(jnp.int32)
        after, timestep = step(noise[1 : 1 + spec.noise], levels, state, action)
        ended = timestep.terminated | timestep.truncated
        fresh = reset(noise[1 + spec.noise :], levels)[0]
        return (jax.tree.map(lambda a, b: jnp.where(ended, a, b), fresh, after), total + timestep.reward), None

    def rollout(now: chex.ArrayTree, key: jax.Array) -> tuple[chex.ArrayTree, None]:
        return jax.lax.scan(body, now, words(key, STEPS, 1 + spec.noise + spec.reset_noise, size))[0], None

    @jax.jit
    def run(key: jax.Array) -> chex.ArrayTree:
        state, timestep = reset(words(key, spec.reset_noise, size), levels)
        return jax.lax.scan(rollout, (state, timestep.reward), jax.random.split(key, ROLLOUTS))[0]

    def ran(place: int) -> chex.ArrayTree:
        return jax.block_until_ready(run(jax.random.key(place)))

    return lambda: together([functools.partial(ran, place) for place in range(calls)])


def main() -> None:
    split = splits(SUITES["grid-unseen"])[0]
    spec = split.family.environment.spec
    protocol = PROTOCOLS["grid-unseen"]
    discounts = {"gamma": protocol.gamma, "lambda_": protocol.lambda_}
    a2c = protocols.named_rule("a2c", spec, protocols.default_setting("a2c", spec), **discounts)
    agents = TASKS * SEEDS
    settings = dataclasses.replace(
        LPG, members=(agents,), life=dataclasses.replace(LPG.life, environments=ENVIRONMENTS, steps=STEPS)
    )
    rules = {"a2c": a2c, "lpg": assembly.learned_rule(settings, spec, assembly.architecture(settings, spec, "gridworld"))}
    multiply, product_flops = large_product()
    bares = list(itertools.product(BARE, {1, workers()}))
    methods = {
        **{name: lives(rule, split, UPDATES[name], measured=False) for name, rule in rules.items()},
        **{f"{name}_measured": lives(rule, split, UPDATES[name], measured=True) for name, rule in rules.items()},
        **{f"bare_{size}_{calls}": bare(split, size, calls) for size, calls in bares},
        "product": multiply,
    }
    seconds = interleaved(methods, rounds=ROUNDS)
    steps = {name: agents * UPDATES[name] * STEPS * ENVIRONMENTS / seconds[name] for name in rules}
    fastest = max(size * calls * STEPS * ROLLOUTS / seconds[f"bare_{size}_{calls}"] for size, calls in bares)
    speed = forward_flops(settings) * UPDATES["lpg"] / seconds["lpg"]
    print(
        json.dumps(
            {
                "fraction_of_peak_steps": steps["a2c"] / fastest,
                "fraction_of_peak": speed / (product_flops / seconds["product"]),
                "steps_per_second": {**steps, "bare": fastest},
                "lifetimes_per_second": {name: agents / seconds[f"{name}_measured"] for name in rules},
            }
        )
    )


if __name__ == "__main__":
    main()
