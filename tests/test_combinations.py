"""Any rule goes with any way to find it, under any curriculum and score; and LPO's drift learns, too."""

import dataclasses

import jax
import pytest
from learning import assert_learns

from groove import config
from groove.assembly import build
from groove.config import Config, Curriculum, Evolution, Life, Meta, Rule, preset, smoke

SMALL = dataclasses.replace(smoke(preset("quick")), name="custom", families=("gridworld",), members=(4,))
RULES = {
    "lpg": Rule(kind="lpg", width=4, predictions=3),
    "ta-lpg": Rule(kind="lpg", width=4, predictions=3, cell="lstm", horizon="fraction-and-log"),
    "lpo": Rule(kind="lpo", drift_width=4, epochs=2, minibatches=2),
    "ta-lpo": Rule(kind="lpo", drift_width=4, epochs=2, minibatches=2, horizon="fraction", ppo_start=True),
}
WAYS = {
    "gradient": (Meta(updates=2), Evolution()),
    "whole": (Meta(method="evolution"), Evolution()),
    "snes": (Meta(method="evolution"), Evolution(strategy="SNES", population=4)),
    "herd": (Meta(method="evolution"), Evolution(strategy="deep-ga", population=4, parents=2, novelty=0.5, probes=1)),
    "persistent": (Meta(method="evolution", updates=2), Evolution(lives="persistent", shaping="raw")),
    "noise-reuse": (Meta(method="evolution", updates=2), Evolution(lives="noise-reuse", shaping="raw", fitness="reward")),
}
TEACHERS = {
    "uniform": {"score": "uniform"},
    "plr": {"kind": "prioritised", "score": "l1-value-loss"},
    "robust": {"kind": "prioritised", "score": "positive-value-loss", "robust": True},
    "diverse": {"kind": "prioritised", "score": "normalised-regret", "diversity": 0.5},
    "accel": {"kind": "accel", "score": "learnability"},
    "sfl": {"kind": "sfl", "score": "max-mc"},
    "alp-gmm": {"kind": "alp-gmm", "score": "learning-progress"},
    "exact": {"kind": "prioritised", "score": "exact-regret"},
}
PAIRS = [
    (rule, way, teacher)
    for i, (rule, way) in enumerate((rule, way) for rule in RULES for way in WAYS)
    for j, teacher in enumerate(TEACHERS)
    if (i + j) % len(TEACHERS) == 0
]
"""Every rule with every way, each under one teacher; every teacher with three of these."""


def of(rule: str, way: str, teacher: str) -> Config:
    meta, evolution = WAYS[way]
    curriculum = dataclasses.replace(SMALL.curriculum, **{"kind": "uniform", "exact": False, **TEACHERS[teacher]})
    return config.check(
        dataclasses.replace(SMALL, rule=RULES[rule], meta=meta, evolution=evolution, curriculum=curriculum, chunk=1)
    )


@pytest.mark.parametrize(("rule", "way", "teacher"), PAIRS)
def test_a_step_keeps_the_shape_of_its_state(rule, way, teacher):
    run = build(of(rule, way, teacher)).trainer
    state = jax.eval_shape(run.init, jax.random.key(0))
    after, info = jax.eval_shape(run.chunk, state)
    assert after == state == jax.eval_shape(run.refresh, state)
    assert {"nonfinite", "gridworld/return", "gridworld/score"} <= info.keys()
    assert all(told.shape == () for told in jax.eval_shape(run.info, state).values())


def test_all_are_among_them():
    for place, names in enumerate((RULES, WAYS, TEACHERS)):
        assert {pair[place] for pair in PAIRS} == set(names)


LEARNING = Config(
    families=("bernoulli-bandit",),
    members=(16,),
    meta_steps=120,
    chunk=20,
    bandits=dataclasses.replace(config.Bandits(), arms=10, pulls=(20, 20), actor_rate=4.0, critic_rate=0.5),
    rule=Rule(kind="lpo", drift_width=8, epochs=2, minibatches=4, policy_entropy=0.003, horizon="fraction"),
    life=Life(updates=(20, 40), environments=8, steps=20),
    meta=Meta(method="evolution"),
    evolution=Evolution(sigma=0.15, rate=0.02, block=8),
    curriculum=Curriculum(kind="uniform", score="uniform", exact=True),
)


@pytest.mark.slow
def test_lpo_learns_by_evolution():
    """In exact values."""
    assert_learns(LEARNING, levels=256, lifetime=40, agents=4)
