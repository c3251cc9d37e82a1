"""What a run leaves behind: the rule, the held-out table, its schedules, the curriculum."""

import hashlib
import json
import math
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from groove import protocols
from groove.assembly import FamilyParts, Run, architecture, horizon_of, learned_answers
from groove.base import Theta
from groove.config import Config
from groove.files import curriculumfile, rulefile
from groove.files.writing import write_text
from groove.lifetime import credit, schedules
from groove.runs.folder import RULE, SCHEDULES, assembled, versions
from groove.runs.loop import Result
from levels.base import Level

AGENTS_SEED = 64_153
"""Of the agents that meet held-out levels, beside the run's seed."""


class Artefacts(NamedTuple):
    """What a finished run leaves in its folder."""

    rule: Path
    curricula: list[Path]
    held_out: list[protocols.Row]  # as in evaluation.json
    schedules: Path


def save(result: Result) -> Artefacts:
    """Writes all of it."""
    rule, curricula = save_rule(result), save_curriculum(result)  # which names the rule by its hash
    schedules = save_schedules(result.run, result.folder, result.run.trainer.theta(result.state))
    return Artefacts(rule, curricula, evaluate_held_out(result), schedules)


def save_rule(result: Result) -> Path:
    """Writes `rule.safetensors`: theta, with all that `groove.load_rule` needs to use it."""
    path = result.folder / RULE
    specs = {part.family.name: part.family.environment.spec for part in result.run.parts}
    settings = json.loads((result.folder / "config.json").read_text(encoding="utf-8"))
    rulefile.save_rule(
        path,
        result.run.trainer.theta(result.state),
        {
            "config": json.dumps(settings["config"]),
            "families": json.dumps(list(specs)),
            "step": str(int(result.state.step)),
        },
    )
    return path


def evaluate_held_out(result: Result) -> list[protocols.Row]:
    """Meets the trained rule with the held-out tasks: `evaluation.json`, and the table that is in it."""
    settings = result.run.config
    new = assembled(result.folder, untrained=True, trusted=result.trusted).trainer
    untrained = jax.jit(lambda key: new.theta(new.init(key)))(jax.random.key(settings.seed))
    key = jax.random.fold_in(jax.random.key(AGENTS_SEED), settings.seed)
    rows = protocols.rows(protocols.held_out(result.run, key, untrained, result.run.trainer.theta(result.state)))
    about = {**protocols.protocol(settings)._asdict(), "held_out_seed": protocols.HELD_OUT_SEED}
    names = ("family", "lifetime", "rule")
    lines = [{**{name: getattr(row, name) for name in names}, **plain(row.interval)} for row in rows]
    page = {"protocol": {**about, "caption": protocols.caption(settings)}, "rows": lines}
    write_text(result.folder / "evaluation.json", json.dumps(page, indent=2) + "\n")
    return rows


def save_schedules(run: Run, folder: Path, theta: Theta) -> Path:
    """Writes `schedules.json`: what a rule does at each age, the tables behind the report's pictures."""
    settings, lifetimes = run.config, schedules.lifetimes(*run.config.life.updates)
    courses, responses, credits, drifts = {}, {}, {}, []
    for part, own in zip(run.parts, jax.random.split(jax.random.key(schedules.SEED), len(run.parts)), strict=True):
        course_key, response_key, credit_key = jax.random.split(own, 3)
        name, levels = part.family.name, protocols.held_out_levels(part.family, schedules.LEVELS, seed=schedules.SEED)
        lived = schedules.life_curves(part.rule, part.life, course_key, theta, levels, lifetimes)
        courses[name] = [plain(row) for row in lived]
        if settings.rule.kind == "lpg":
            answers = schedules.responses(part.rule, part.life, response_key, theta, levels, lifetimes)
            responses[name] = [plain(row) for row in answers]
            credits[name] = plain(credit_of(settings, part, credit_key, theta, levels))
    if settings.rule.kind == "lpo":
        horizon, longest = horizon_of(settings), max(2, lifetimes[-1])
        curves = schedules.drifts(theta, horizon, lifetime=longest, ppo_start=settings.rule.ppo_start)
        drifts = [plain(row) for row in curves]
    path = folder / SCHEDULES
    page = {"courses": courses, "responses": responses, "credits": credits, "drifts": drifts}
    write_text(path, json.dumps({**page, "ratios": schedules.RATIOS.tolist()}) + "\n")
    return path


def credit_of(settings: Config, part: FamilyParts, key: jax.Array, theta: Theta, levels: Level) -> credit.Credit:
    """What the push of a run's LPG is made of, over lives as long as the geometric mean of its range."""
    spec, name = part.family.environment.spec, part.family.name
    answers = learned_answers(settings, spec, architecture(settings, spec, name))
    low, high = settings.life.updates
    decay = settings.life.gamma * settings.life.gae_lambda
    middle = max(1, round(math.sqrt(low * high)))
    return credit.credit(answers, part.life, part.setup.critic, key, theta, levels, lifetime=middle, decay=decay)


def plain(row: NamedTuple) -> dict[str, object]:
    """A row of numbers and arrays as JSON has them; None where a number is not finite."""

    def value(x):
        if isinstance(x, np.ndarray):
            return value(x.tolist())
        if isinstance(x, list):
            return [value(entry) for entry in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return {name: value(entry) for name, entry in row._asdict().items()}


def save_curriculum(result: Result) -> list[Path]:
    """Writes what each curriculum holds: `curriculum.parquet`, or one file per family if there are several."""
    paths, rule = [], result.folder / RULE
    learned = {"name": RULE, "run": result.folder.resolve().name}
    if rule.is_file():
        learned["sha256"] = hashlib.sha256(rule.read_bytes()).hexdigest()
    for part, state in zip(result.run.parts, result.state.curricula, strict=True):
        tasks, score, held = jax.device_get(part.group.curriculum.contents(state))
        if not held.any():
            continue
        rows = curriculumfile.take(curriculumfile.of_tasks(tasks, score), held)
        about = curriculumfile.about(result.run.config, part.family.name, rule=learned, versions=versions())
        suffix = "" if len(result.run.parts) == 1 else f"-{part.family.name}"
        paths.append(result.folder / f"curriculum{suffix}.parquet")
        step = str(int(result.state.step))
        curriculumfile.save(paths[-1], rows, {**about, "step": step}, family=part.family)
    return paths
