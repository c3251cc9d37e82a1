"""What a page shows of a record, and what it says of it in words."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from groove.config import Config
from groove.protocols import Row
from groove.report import gallery
from groove.report.figures import Picture, curve, drift as draw_drift, intervals, panels
from groove.report.record import Record
from groove.report.series import Series, series
from levels.base import Family

SCORES: Mapping[str, str] = MappingProxyType(
    {
        "regret": "A level's score is its algorithmic regret: the return of the antagonist, an A2C agent, minus the learner's.",
        "normalised-regret": "A level's score is its regret against the antagonist, as a share of what there is to gain.",
        "exact-regret": "A level's score is its exact regret: the optimum minus the learner's return.",
        "uniform": "Levels are not scored: all count alike.",
    }
)
"""What ranks levels, by the name in the configuration."""

LEARNING = (
    "Means over the lives that ended in a meta-step (dots) and their smoothed course (line). Return: the sum of rewards of one "
    "episode, at the end of an agent's life, on the levels it was trained on. Regret: how much more the reference reaches there."
)
DRIFT = (
    "Line: mean over the levels that agents lived on. Dashed: mean over random levels of the generator. Diamond: mean over "
    "the levels that the curriculum held in the end. Features that never vary are left out; terminate and respawn are decimal "
    "logarithms of probabilities."
)
WALK = (
    "An agent that the trained rule taught, late in its life, walks the level it lives on under its sampled policy. Green "
    "discs pay, red ones cost; a ring marks those that may end the episode."
)


def facts(config: Config) -> Iterator[tuple[str, str]]:
    """The configuration in a few lines: name and value."""
    rule, life, meta, chosen = config.rule, config.life, config.meta, config.curriculum
    known = "" if rule.horizon == "none" else f"; knows of the lifetime: {rule.horizon}"
    clip = f", gradient clipped at {meta.clip:g}" if meta.clip else ""
    low, high = life.updates
    yield "Rule", f"LPG, {rule.cell.upper()} of width {rule.width}, predictions of width {rule.predictions}{known}"
    yield "Families", "; ".join(f"{count} lives on {name}" for name, count in zip(config.families, config.members, strict=True))
    yield "Lives", (
        f"{low if low == high else f'{low} to {high}'} updates of {life.environments} environments × {life.steps} steps, "
        f"discount {life.gamma:g}"
    )
    yield "Meta-gradient", f"through {meta.updates} updates; Adam at {meta.rate:g}{', cosine decay' if meta.decay else ''}{clip}"
    if chosen.kind == "uniform":
        yield "Curriculum", "uniform: random levels (domain randomisation)"
    else:
        yield "Curriculum", (
            f"prioritised by {chosen.score}: {chosen.capacity} levels kept per family, replayed with probability "
            f"{chosen.replay:g}, {chosen.priority} priorities at temperature {chosen.temperature:g}"
        )


def verdicts(rows: Sequence[Row]) -> list[str]:
    """A sentence a family on what training brought."""
    found = []
    for family in dict.fromkeys(row.family for row in rows):
        reached = {row.rule: row.interval for row in rows if row.family == family}
        if "trained rule" not in reached or "untrained rule" not in reached:
            continue
        trained, before = reached["trained rule"], reached["untrained rule"]
        apart = "more than" if trained.low > before.high else "less than" if trained.high < before.low else "not clearly apart from"
        text = f"On held-out {family} tasks the trained rule reaches {trained.point:.2f}, {apart} the untrained rule's {before.point:.2f}"
        rival = reached.get("tuned A2C")
        share = f", {trained.point / rival.point:.0%} of tuned A2C's {rival.point:.2f}" if rival and rival.point > 0 else ""
        found.append(f"{text}{share}.")
    return found


def held_out(run: Record, family: str, rows: Sequence[Row]) -> Picture:
    """The intervals of one family, in its colour."""
    index = run.config.families.index(family) if family in run.config.families else 0
    return intervals(family, rows, index)


def curves(run: Record) -> list[Picture]:
    """Return and score of each family against meta-steps, as far as lives have ended."""
    units = {"return": "return of an episode", "score": _unit(run.config.curriculum.score)}
    found = []
    for index, family in enumerate(run.config.families):
        for name, unit in units.items():
            points = series(run.metrics, f"{family}/{name}", f"{family}/finished")
            if len(points.step) and unit:
                title = f"{family} {'return' if name == 'return' else 'regret'}"
                found.append(curve(f"{name}-{family}", title, unit, points, index, zero=name == "score"))
    return found


def _unit(score: str) -> str:
    """Of the axis of scores; nothing where they do not say anything."""
    return {"normalised-regret": "normalised regret", "uniform": ""}.get(score, "regret, in return")


def signals(run: Record) -> list[Picture]:
    """How the meta-gradient fared, as one picture; none without metrics."""
    names = {"meta_loss": "meta-loss", "gradient_norm": "norm of the meta-gradient", "entropy": "policy entropy, in nats"}
    courses = {title: series(run.metrics, name) for name, title in names.items()}
    found = {title: points for title, points in courses.items() if len(points.step)}
    seconds = series(run.metrics, "chunk_seconds")
    if len(seconds.step):
        found["seconds per meta-step"] = Series(seconds.step, seconds.value / run.config.chunk, seconds.weight)
    return [panels("signals", found)] if found else []


def drift(run: Record, family: Family, index: int) -> list[Picture]:
    """How a family's features moved, as one picture; none where nothing did."""
    found = gallery.drifts(run, family)
    return [draw_drift(family.name, found, index)] if found else []
