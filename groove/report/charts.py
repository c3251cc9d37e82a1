"""What a page shows of a record, and what it says of it in words."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from groove.config import DEEP_GA, PRESETS, Config, Curriculum, population, whole_lives
from groove.config.idle import uses_adam
from groove.config.presets import OURS, PROVENANCE
from groove.protocols import Row
from groove.report import gallery
from groove.report.figures import Picture, curve, drift, intervals, panels
from groove.report.record import Record
from groove.report.series import Series, is_flat, series, unchanged

SCORES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "regret": (
            "A level's score is its algorithmic regret: the return of the antagonist ({antagonist}) minus the learner's.",
            "difference of returns",
        ),
        "normalised-regret": (
            "A level's score is its regret against the antagonist ({antagonist}), as a share of what there is to gain.",
            "normalised regret",
        ),
        "exact-regret": (
            "A level's score is its exact regret: the optimum minus the learner's return.",
            "difference of returns",
        ),
        "l1-value-loss": ("A level's score is the mean size of the learner's advantages.", "mean of |A|"),
        "positive-value-loss": (
            "A level's score is the mean of what the learner's advantages have above 0.",
            "mean of max(A, 0)",
        ),
        "max-mc": (
            "A level's score is the highest return ever seen on it, minus the mean value of the states that are met.",
            "return minus value",
        ),
        "learnability": ("A level's score is p (1 - p), where p is how often the learner solves it.", "p (1 - p)"),
        "learning-progress": (
            "A level's score is how far the learner's return has moved since the last visit.",
            "difference of returns",
        ),
        "uniform": ("Levels are not scored: all count alike.", ""),
    }
)
"""By the name in the configuration: what ranks levels, and the unit of that, nothing where there is none."""

LEARNING = (
    "Dots: means over the lives that ended in a meta-step. Line: their smoothed course. Return is the sum of rewards of one "
    "episode at the end of an agent's life, on the levels it was trained on; regret is how much more the reference reaches."
)
EVOLVED = "Under evolution return and score are those of the better half of the candidates that shared a task."
DRIFT = (
    "Line: mean over the levels that agents lived on. Dashed: mean over random levels of the generator. Diamond: mean over "
    "the levels that the curriculum held in the end. Features that never vary are left out; those named terminate and "
    "respawn are decimal logarithms of probabilities."
)
WALK = (
    "An agent that the trained rule taught, at the end of its life, walks its level under its sampled policy. Green "
    "discs pay, red ones cost; a ring marks those that may end the episode."
)


def facts(config: Config) -> Iterator[tuple[str, str]]:
    """The configuration in a few lines: name and value."""
    rule, life = config.rule, config.life
    known = "" if rule.horizon == "none" else f"; knows of the lifetime: {rule.horizon}"
    lpg = f"LPG, {rule.cell.upper()} of width {rule.width}, predictions of width {rule.predictions}"
    lpo = f"LPO, drift network of width {rule.drift_width}, {rule.epochs} epochs of {rule.minibatches} minibatches"
    kinds = {"lpg": lpg + known, "lpo": lpo + known}
    yield "Rule", kinds.get(rule.kind, f"{rule.kind}, of another package")
    yield (
        "Families",
        "; ".join(f"{count} lives on {name}" for name, count in zip(config.families, config.members, strict=True)),
    )
    low, high = life.updates
    updates = f"{low}" if low == high else f"{low} to {high}"
    yield "Lives", f"{updates} updates of {life.environments} environments × {life.steps} steps, discount {life.gamma:g}"
    yield _method(config)
    yield "Curriculum", taught(config.curriculum)
    if said := provenance(config):
        yield "Where from", said


def provenance(config: Config) -> str:
    """Which settings are not from the paper that the run's preset is named for; empty where the preset is unknown."""
    if config.name not in PRESETS:
        return ""
    if not PROVENANCE[config.name].get(OURS, ()):
        return f"{OURS} altogether: sizes and rates of {config.name} are from no paper"
    parts = {**PROVENANCE[config.name], "changed for this run": _changed(config)}
    return "; ".join(f"{source}: {', '.join(fields)}" for source, fields in parts.items() if fields)


def _changed(config: Config) -> tuple[str, ...]:
    """The fields that are not as in the configuration's preset, but for its seed."""

    def flat(tree: Mapping[str, object]) -> dict[str, object]:
        inner = {
            f"{part}.{name}": value for part, own in tree.items() if isinstance(own, dict) for name, value in own.items()
        }
        return {name: value for name, value in tree.items() if not isinstance(value, dict)} | inner

    now, began = (flat(dataclasses.asdict(one)) for one in (config, PRESETS[config.name]))
    return tuple(name for name in now if now[name] != began[name] and name != "seed")


def taught(chosen: Curriculum) -> str:
    """How a curriculum chooses levels, in words."""
    replayed = (
        f"replayed with probability {chosen.replay:g}, {chosen.priority} priorities at temperature {chosen.temperature:g}"
    )
    robust = "; learned from when replayed only" if chosen.robust else ""
    kept = f"prioritised by {chosen.score}: {chosen.capacity} levels kept per family, {replayed}{robust}"
    kinds = {
        "uniform": "uniform: random levels (domain randomisation)",
        "prioritised": kept,
        "accel": f"{kept}; {chosen.edits} edits of kept levels with probability {chosen.edit:g} (ACCEL)",
        "sfl": f"the {chosen.capacity} best by {chosen.score} of a sweep; {chosen.select:g} of the lives only select (SFL)",
        "frozen": f"the tasks of {', '.join(chosen.files)} and no others",
        "alp-gmm": f"decoded where returns change most: a mixture fitted to {chosen.window} lives (ALP-GMM)",
        "clutr": f"decoded from a latent space, where a teacher looks for a high {chosen.score} (CLUTR)",
    }
    return kinds.get(chosen.kind, chosen.kind)


def _method(config: Config) -> tuple[str, str]:
    """How theta improves: name and value."""
    meta, settings = config.meta, config.evolution
    if meta.method == "gradient":
        decay, clip = ", cosine decay" if meta.decay else "", f", gradient clipped at {meta.clip:g}" if meta.clip else ""
        clip += f", each life's own before that at {meta.member_clip:g}" if meta.member_clip else ""
        of = "of exact returns, " if meta.objective == "exact" else ""
        fading = f"; a bonus of {meta.entropy:g} for entropy that fades with n/N" if meta.fading else ""
        return "Meta-gradient", f"{of}through {meta.updates} updates; Adam at {meta.rate:g}{decay}{clip}{fading}"
    adam = f", Adam at {settings.rate:g}" if uses_adam(config) else ""
    if not whole_lives(config):
        return "Evolution", f"in pieces of {meta.updates} updates, {settings.lives}; sigma {settings.sigma:g}{adam}"
    herd = f", {settings.parents} parents" if settings.strategy == DEEP_GA else ""
    novelty = f", novelty of weight {settings.novelty:g}" if settings.novelty else ""
    people = f"{settings.strategy} over whole lives, {population(config)} candidates{herd}{novelty}"
    return "Evolution", f"{people}; sigma {settings.sigma:g}{adam}"


def held_out(run: Record, family: str, rows: Sequence[Row]) -> Picture:
    """The intervals of one family, in its colour."""
    index = run.config.families.index(family) if family in run.config.families else 0
    return intervals(family, rows, index)


def curves(run: Record) -> list[Picture]:
    """Return and score of each family against meta-steps, as far as lives have ended."""
    units = {"return": "return of an episode", "score": SCORES.get(run.config.curriculum.score, ("", "score"))[1]}
    what = "regret" if run.config.curriculum.score.endswith("regret") else "score"
    found = []
    for index, family in enumerate(run.config.families):
        for name, unit in units.items():
            points = series(run.metrics, f"{family}/{name}", f"{family}/finished")
            if len(points.step) and unit:
                title = f"{family} {'return' if name == 'return' else what}"
                found.append(curve(f"{name}-{family}", title, unit, points, index, zero=name == "score"))
    return found


def ranking(config: Config) -> str:
    """What ranks levels, as a sentence."""
    name = config.curriculum.score
    known = SCORES.get(name, (f"A level's score is that of {name}, a part of another package.", ""))
    return known[0].format(antagonist=config.curriculum.antagonist)


def signals(run: Record) -> tuple[list[Picture], str]:
    """How theta's training fared, as one picture, and a sentence on what did not move; none without metrics."""
    names = {
        "meta_loss": "meta-loss",
        "gradient_norm": "norm of the meta-gradient",
        "fitness": "fitness, mean of all candidates",
        "fitness_spread": "difference of fitness on a task",
        "theta_step": "length of theta's step",
        "novelty": "novelty",
        "entropy": "policy entropy, in nats",
    }
    courses = {title: series(run.metrics, name) for name, title in names.items()}
    found = {title: points for title, points in courses.items() if len(points.step)}
    seconds = series(run.metrics, "chunk_seconds")
    if len(seconds.step):
        pace = seconds.value / run.config.chunk
        later = 1 if len(seconds.step) > 2 else 0  # the first chunk compiles
        found["seconds per meta-step"] = Series(*(values[later:] for values in seconds._replace(value=pace)))
    moved = {title: points for title, points in found.items() if not is_flat(points)}
    return [panels("signals", moved)] if moved else [], unchanged(found)


def drifts(run: Record) -> list[Picture]:
    """How the features of each family's levels moved; nothing of families where none did."""
    found = ((index, family, gallery.drifts(run, family)) for index, family in enumerate(run.families))
    return [drift(family.name, features, index) for index, family, features in found if features]
