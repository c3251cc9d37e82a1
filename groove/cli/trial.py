"""A small run that uses one part of somebody else's."""

import dataclasses

import jax

from groove import assembly, config, runs
from groove.assembly import Run
from groove.config import ANTAGONISTS, CHOICES, Config, Curriculum
from groove.runs.loop import culprits, ill_measured


def settings_with(kind: str, name: str, family: str) -> tuple[str, Config]:
    """The configuration of a small run with a part, and what the part is in it: a rule that learns nothing is an antagonist.

    Args:
        kind: score, curriculum or rule.
        name: Of the part.
        family: Of the levels.

    Raises:
        ValueError: The family cannot be made, or the rule.
    """
    small = dataclasses.replace(config.smoke(config.QUICK), families=(config.check_family(family),), members=(2,))

    def with_curriculum(chosen: Curriculum) -> Config:
        return dataclasses.replace(small, curriculum=chosen)

    if kind == "rule" and not _learns(small, name):
        kind = "antagonist"
    replaced = {
        "rule": lambda: dataclasses.replace(small, rule=dataclasses.replace(small.rule, kind=name)),
        "score": lambda: with_curriculum(dataclasses.replace(small.curriculum, score=name)),
        "curriculum": lambda: with_curriculum(dataclasses.replace(small.curriculum, kind=name)),
        "antagonist": lambda: with_curriculum(dataclasses.replace(small.curriculum, antagonist=name)),
    }
    return kind, replaced[kind]()


def _learns(settings: Config, name: str) -> bool:
    if name in CHOICES["rule", "kind"] or name in ANTAGONISTS:
        return name not in ANTAGONISTS
    spec = assembly.family(settings, settings.families[0]).environment.spec
    made = assembly.plugged_rule(name, spec, assembly.architecture(settings, spec, settings.families[0]))
    return bool(jax.tree.leaves(jax.eval_shape(made.init, jax.random.key(0))))


def lived(run: Run) -> str:
    """Makes the meta-steps of a chunk, and says how many.

    Raises:
        ValueError: Something is not finite: a meta-gradient, theta, a return or a score.
    """
    trainer = run.trainer
    state = jax.jit(lambda key: trainer.refresh(trainer.init(key)))(jax.random.key(0))
    info = jax.device_get(jax.jit(lambda state: trainer.chunk(state)[1])(state))
    for row in runs.table(0, info, run.config.chunk):
        if row["nonfinite"] or ill_measured(row):
            raise ValueError(f"{culprits(row)} of meta-step {row['step']} has values that are not finite.")
    return f"{run.config.chunk} of a small run, all numbers finite."
