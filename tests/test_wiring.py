"""Every field of a configuration reaches the programs of a run where it should matter: none is read and forgotten.

Programs are traced, not compiled. Numbers that may be swept are traced as arguments, and a program must use those that it is
said to and no others. Of every other field two values must give different programs. What has no effect has a reason.
"""

import dataclasses
import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval

from groove.assembly import Inputs, build
from groove.assembly.learning import meta_optimizer
from groove.base import Clock
from groove.config import QUICK, SWEPT, Config, check, smoke
from groove.config.sweep import with_numbers
from groove.curricula.clutr import shape
from levels.chain import chain
from levels.gridworld import planes

PARTS = types.ModuleType("wired")
PARTS.corridor = chain(length=(2, 4))
PARTS.pictures = planes(height=3, width=3, objects=1, episode_limit=5, limit=(3, 5))
PARTS.levels = lambda key: PARTS.corridor.generator.sample(key)._replace(good=jnp.int32(1))


def changed(config: Config, fields: dict[str, object]) -> Config:
    """The configuration with other values, by dotted name."""
    for field, value in fields.items():
        part, _, name = field.rpartition(".")
        own = {name: value} if not part else {part: dataclasses.replace(getattr(config, part), **{name: value})}
        config = dataclasses.replace(config, **own)
    return config


SMALL = changed(
    dataclasses.replace(smoke(QUICK), name="wired", families=("bernoulli-bandit",), members=(2,), chunk=1, seed=0),
    {"rule.horizon": "none", "meta.objective": "sampled", "meta.fading": False, "meta.per_life": False},
)
UNIFORM = {"curriculum.kind": "uniform", "curriculum.score": "uniform"}
EVOLVED = {**UNIFORM, "meta.method": "evolution"}
BASES: dict[str, Config] = {
    name: changed(SMALL, fields)
    for name, fields in {
        "regret": {"curriculum.score": "regret"},
        "plain": UNIFORM,
        "decayed": {**UNIFORM, "meta.decay": True},
        "constant": {**UNIFORM, "meta.decay": False},
        "lpo": {**UNIFORM, "rule.kind": "lpo"},
        "antagonist": {"curriculum.antagonist": "ppo"},
        "evolution": EVOLVED,
        "pieces": {**EVOLVED, "evolution.lives": "persistent"},
        "deep-ga": {**EVOLVED, "evolution.strategy": "deep-ga", "evolution.population": 6},
        "novelty": {**EVOLVED, "evolution.novelty": 0.5},
        "signals": {"curriculum.score": "l1-value-loss"},
        "replay": {"curriculum.score": "uniform"},
        "accel": {"curriculum.score": "uniform", "curriculum.kind": "accel"},
        "sfl": {"curriculum.score": "uniform", "curriculum.kind": "sfl", "curriculum.sweep": 6},
        "alp-gmm": {"curriculum.score": "uniform", "curriculum.kind": "alp-gmm"},
        "clutr": {"curriculum.score": "uniform", "curriculum.kind": "clutr"},
        "grids": {"families": ("gridworld",)},
        "plain-grids": {**UNIFORM, "families": ("gridworld",)},
        "chains": {"families": ("chain",)},
        "plain-chains": {**UNIFORM, "families": ("chain",)},
        "gymnax": {"families": ("gymnax:Catch-bsuite",), "gymnax.ranges": ("max_steps_in_episode=5:10",)},
        "plain-gymnax": {
            **UNIFORM,
            "families": ("gymnax:Catch-bsuite",),
            "gymnax.ranges": ("max_steps_in_episode=5:10",),
        },
        "plain-plugged": {**UNIFORM, "families": ("wired:corridor",)},
        "plugged": {"families": ("wired:corridor",)},
        "pictures": {"families": ("wired:pictures",)},
    }.items()
}


def latents(kind):
    """An untrained autoencoder."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape(kind.generator, samples=2))


def program(config: Config, name: str):
    """A function of a run, and its arguments or their shapes; made within, so that the configuration may be traced.

    Args:
        config: Of the run.
        name: "update" of the learned rule, "critic" of the meta-loss's value function, "measure" of agents, "reference" and
            "score" of tasks, "propose" of the curriculum, "step" of the meta-optimiser; "refresh" and "chunk" of a run.
    """
    inputs = Inputs(latents=latents if config.curriculum.kind == "clutr" else None)
    run, key = build(config, inputs), jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
    if name in ("chunk", "refresh"):
        return getattr(run.trainer, name), (jax.eval_shape(run.trainer.init, key),)
    part = run.parts[0]
    if name == "propose":
        teacher = part.group.curriculum
        return teacher.propose, (key, jax.eval_shape(teacher.init, key), np.ones(2, bool))
    level, length = jax.eval_shape(part.family.generator.sample, key), jax.ShapeDtypeStruct((), jnp.int32)
    if name == "reference":
        return part.group.score.reference, (key, level, length)
    member = jax.eval_shape(part.life.begin, key, level, length)
    if name in ("measure", "score"):
        measure = (key, member.agent, level, np.array(True))
        return (
            (part.life.evaluate, measure)
            if name == "measure"
            else scoring(part, jax.eval_shape(part.life.evaluate, *measure))
        )
    if name == "step":
        return stepping(run, key)
    _, rollout = jax.eval_shape(part.life.rollout, key, member, level)
    if name == "update":
        return part.rule.update, (key, jax.eval_shape(part.rule.init, key), member.agent, rollout, Clock(length, length))
    value = part.setup.critic
    learn = lambda learner, rollout: value.update(learner, rollout, value.advantage(learner, rollout)[1])  # noqa: E731
    return learn, (jax.eval_shape(value.init, key), rollout)


def scoring(part, outcome):
    score = part.group.score
    number = jax.ShapeDtypeStruct((), jnp.float32)
    reference = score.like if score.like is not None else ()
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), (reference, score.memory)
    )
    return score.score, (jax.tree.map(lambda leaf: number, outcome), *shapes)


def stepping(run, key):
    meta = meta_optimizer(run.config, run.parts)
    teacher = run.parts[0].group.curriculum
    tasks = jax.eval_shape(teacher.propose, key, jax.eval_shape(teacher.init, key), np.ones(2, bool))[1]
    theta = jax.eval_shape(run.parts[0].rule.init, key)
    return meta.step, (key, jax.eval_shape(meta.init, key, theta), jax.eval_shape(meta.begin, key, (tasks,)))


@functools.cache
def text(config: Config, name: str) -> str:
    """A program as text, with the arrays that it holds."""
    function, arguments = program(config, name)
    jaxpr = jax.make_jaxpr(function)(*arguments)
    arrays = [jax.random.key_data(c) if jnp.issubdtype(c.dtype, jax.dtypes.prng_key) else c for c in jaxpr.consts]
    return f"{jaxpr} {[np.asarray(array).tobytes() for array in arrays]}"


def numbers_used(base: str, name: str) -> set[str]:
    """The numbers that may be swept on which a program's results depend."""
    config, numbers = BASES[base], {field: jax.ShapeDtypeStruct((), jnp.float32) for field in SWEPT}

    def whole(numbers, arguments):
        return program(with_numbers(config, numbers), name)[0](*arguments)

    jaxpr = jax.make_jaxpr(whole)(numbers, program(config, name)[1]).jaxpr
    used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1]
    return {field for field, own in zip(sorted(numbers), used, strict=False) if own}


@pytest.fixture(autouse=True)
def wired(monkeypatch):
    """The plug-ins."""
    monkeypatch.setitem(sys.modules, "wired", PARTS)


META = {f"meta.{name}" for name in ("rate", "clip", "member_clip", "entropy")}
META |= {f"meta.{name}" for name in ("prediction_entropy", "policy_target", "prediction_target")}
LIFE = {"life.gamma", "life.gae_lambda", "life.clip"}
REPLAY = {f"curriculum.{name}" for name in ("replay", "staleness", "temperature")}
STEPS = {"evolution.rate", "evolution.floor", "evolution.sigma"}


def agents(part: str, *, antagonist: bool) -> set[str]:
    return {f"{part}.{name}" for name in (("antagonist_rate", "antagonist_entropy") if antagonist else ("actor_rate",))}


NUMBERS: dict[tuple[str, str], set[str]] = {
    ("plain", "update"): {"life.gamma", "life.clip", "rule.prediction_weight", "bandits.actor_rate"},
    ("plain", "critic"): LIFE | {"bandits.critic_rate"},
    ("plain", "step"): META | LIFE | {"rule.prediction_weight", "bandits.actor_rate", "bandits.critic_rate"},
    ("regret", "propose"): REPLAY,
    ("regret", "reference"): LIFE | {"bandits.critic_rate"} | agents("bandits", antagonist=True),
    ("antagonist", "reference"): LIFE | {"bandits.critic_rate"} | agents("bandits", antagonist=True),
    ("signals", "measure"): {"life.gamma", "life.gae_lambda"},
    ("lpo", "update"): LIFE | {"rule.policy_entropy", "bandits.actor_rate", "bandits.critic_rate"},
    ("accel", "propose"): REPLAY | {"curriculum.edit"},
    ("accel", "refresh"): {"curriculum.temperature"},
    ("sfl", "propose"): {"curriculum.select", "curriculum.replay"},
    ("alp-gmm", "refresh"): {"curriculum.explore"},
    ("evolution", "step"): STEPS | {"life.gamma", "life.clip", "rule.prediction_weight", "bandits.actor_rate"},
    ("pieces", "step"): STEPS | {"life.gamma", "life.clip", "rule.prediction_weight", "bandits.actor_rate"},
    ("deep-ga", "step"): {"evolution.sigma", "life.gamma", "life.clip", "rule.prediction_weight", "bandits.actor_rate"},
    ("grids", "update"): {"life.gamma", "life.clip", "rule.prediction_weight", "grids.actor_rate"},
    ("grids", "reference"): LIFE | {"grids.critic_rate"} | agents("grids", antagonist=True),
    ("chains", "update"): {"life.gamma", "life.clip", "rule.prediction_weight", "chains.actor_rate"},
    ("chains", "reference"): LIFE | {"chains.critic_rate"} | agents("chains", antagonist=True),
    ("gymnax", "update"): {"life.gamma", "life.clip", "rule.prediction_weight", "gymnax.rate"},
    ("gymnax", "reference"): LIFE | agents("gymnax", antagonist=True),
    ("plugged", "update"): {"life.gamma", "life.clip", "rule.prediction_weight", "plugged.actor_rate"},
    ("plugged", "reference"): LIFE | {"plugged.critic_rate"} | agents("plugged", antagonist=True),
    ("pictures", "update"): {"life.gamma", "life.clip", "rule.prediction_weight", "plugged.rate"},
}
"""The numbers that a program depends on, and no others; of a run and a program."""


@pytest.mark.parametrize(("base", "name"), NUMBERS)
def test_programs_depend_on_their_numbers_and_on_no_others(base, name):
    assert numbers_used(base, name) == NUMBERS[base, name]


def test_every_number_is_used_somewhere():
    assert set().union(*NUMBERS.values()) == set(SWEPT)


HOST = "the host reads it, not a program: "
FIELDS: dict[str, list[tuple[str, object, str]] | str] = {
    "name": "says what a configuration began as",
    "seed": "the key is an argument of `init`",
    "start": HOST + "theta comes in by Inputs, see test_start.py",
    "families": [("plain", ("gaussian-bandit",), "refresh"), ("plain", ("chain",), "refresh")],
    "generators": [("plain-plugged", ("wired:levels",), "refresh")],
    "members": [("plain", (4,), "chunk")],
    "meta_steps": [("decayed", 5, "step")],
    "chunk": [("plain", 2, "chunk")],
    "checkpoint_every": HOST + "see test_trainer.py",
    "reproducible": [("plain", True, "step")],
    "grids.side": [("plain-grids", (2, 4), "refresh"), ("plain-grids", (3, 5), "refresh")],
    "grids.objects": [("plain-grids", 3, "refresh")],
    "grids.limit": [("plain-grids", (4, 10), "refresh"), ("plain-grids", (5, 12), "refresh")],
    "bandits.arms": [("plain", 4, "refresh")],
    "bandits.pulls": [("plain", (4, 5), "refresh"), ("plain", (5, 6), "refresh")],
    "chains.length": [("plain-chains", (3, 4), "refresh"), ("plain-chains", (2, 5), "update")],
    "chains.noise": [("plain-chains", (0.1, 1.0), "refresh"), ("plain-chains", (0.0, 0.9), "refresh")],
    "gymnax.ranges": [("plain-gymnax", ("max_steps_in_episode=5:11",), "refresh")],
    "rule.kind": [("plain", "lpo", "update")],
    "rule.cell": [("plain", "lstm", "update")],
    "rule.width": [("plain", 5, "update")],
    "rule.predictions": [("plain", 4, "update")],
    "rule.horizon": [("plain", kind, "update") for kind in ("fraction", "fraction-and-log", "scaled", "remaining")]
    + [("lpo", "fraction", "update")],
    "rule.stop_inputs": [("plain", True, "step")],
    "rule.drift_width": [("lpo", 5, "update")],
    "rule.ppo_start": [("lpo", True, "update")],
    "rule.epochs": [("lpo", 3, "update"), ("antagonist", 3, "reference")],
    "rule.minibatches": [("lpo", 5, "update"), ("antagonist", 5, "reference")],
    "rule.anneal": [("lpo", False, "update"), ("antagonist", False, "reference")],
    "life.updates": [("plain", (3, 4), "refresh"), ("plain", (4, 5), "refresh")],
    "life.environments": [("plain", 3, "update"), ("regret", 3, "reference")],
    "life.steps": [("plain", 6, "update"), ("regret", 6, "reference")],
    "meta.objective": [("plain", "exact", "step")],
    "meta.method": [("plain", "evolution", "step")],
    "meta.updates": [("plain", 3, "step"), ("pieces", 3, "step")],
    "meta.decay": [("decayed", False, "step")],
    "meta.fading": [("plain", True, "step")],
    "meta.per_life": [("plain", True, "step")],
    "meta.rematerialise": [("plain", True, "step")],
    "meta.block": [("plain", 1, "step")],
    "evolution.lives": [("evolution", "persistent", "step")]
    + [("pieces", lives, "step") for lives in ("noise-reuse", "truncated")],
    "evolution.strategy": [("evolution", "ARS", "step"), ("evolution", "SNES", "step")],
    "evolution.population": [("deep-ga", 8, "step")],
    "evolution.decay": [("evolution", 0.9, "step"), ("pieces", 0.9, "step")],
    "evolution.fitness": [("evolution", "reward", "step"), ("pieces", "reward", "step")],
    "evolution.shaping": [("evolution", "raw", "step")],
    "evolution.parents": [("deep-ga", 3, "step")],
    "evolution.novelty": [("evolution", 0.5, "step")],
    "evolution.probes": [("novelty", 2, "step")],
    "evolution.block": [("evolution", 2, "step"), ("pieces", 2, "step")],
    "curriculum.kind": [("replay", kind, "propose") for kind in ("uniform", "accel", "sfl", "alp-gmm", "clutr")],
    "curriculum.files": HOST + "their tasks come in by Inputs, see test_teachers.py",
    "curriculum.score": [
        ("regret", score, "score") for score in ("normalised-regret", "exact-regret", "learning-progress", "uniform")
    ]
    + [("signals", score, "score") for score in ("positive-value-loss", "max-mc", "learnability")],
    "curriculum.antagonist": [("regret", name, "reference") for name in ("ppo", "random")]
    + [("antagonist", "dpo", "reference")],
    "curriculum.robust": [("replay", True, "propose"), ("accel", True, "refresh")],
    "curriculum.capacity": [("replay", 5, "propose"), ("sfl", 5, "propose")],
    "curriculum.minimal_fill": [("replay", 0.75, "propose")],
    "curriculum.priority": [("replay", "proportional", "propose"), ("accel", "proportional", "refresh")],
    "curriculum.replace": [("replay", False, "propose")],
    "curriculum.diversity": [("replay", 0.5, "chunk")],
    "curriculum.edits": [("accel", 2, "refresh")],
    "curriculum.sweep": [("sfl", 7, "refresh")],
    "curriculum.window": [("alp-gmm", 12, "refresh")],
    "curriculum.latent_steps": HOST + "the autoencoder comes in by Inputs, see test_latent.py",
    "curriculum.latent_batch": [("clutr", 5, "refresh")],
    "curriculum.antagonists": [("regret", 3, "reference")],
    "curriculum.episodes": [("plain", 3, "measure"), ("regret", 3, "reference"), ("signals", 3, "measure")],
    "curriculum.exact": [("plain", True, "measure"), ("regret", True, "reference"), ("signals", True, "measure")],
}
"""By field: runs, another value, and the program that must differ; or why there is none."""


def test_every_field_is_accounted_for():
    parts = {field.name: getattr(SMALL, field.name) for field in dataclasses.fields(Config)}
    fields = {
        name if not dataclasses.is_dataclass(part) else f"{name}.{field.name}"
        for name, part in parts.items()
        for field in (dataclasses.fields(part) if dataclasses.is_dataclass(part) else [None])
    }
    assert fields == FIELDS.keys() | set(SWEPT)
    assert not FIELDS.keys() & set(SWEPT)


CASES = [(field, *case) for field, cases in FIELDS.items() if not isinstance(cases, str) for case in cases]


@pytest.mark.parametrize(("field", "base", "value", "name"), CASES, ids=str)
def test_another_value_gives_another_program(field, base, value, name):
    other = check(changed(BASES[base], {field: value}))
    assert text(BASES[base], name) != text(other, name)
