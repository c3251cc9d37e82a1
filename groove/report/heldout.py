"""The held-out table in words: its cells, and a sentence a family on what training brought."""

from collections.abc import Mapping, Sequence

import numpy as np

from groove.protocols import Row
from groove.statistics import Interval


def cells(rows: Sequence[Row]) -> tuple[list[int], dict[str, list[str]]]:
    """The table of a family's rows: its lifetimes, and by rule what it reached after each, in words."""
    lifetimes = list(dict.fromkeys(row.lifetime for row in rows))
    digits = 1 if any(10 <= abs(row.interval.point) < np.inf for row in rows) else 2
    words = {(row.rule, row.lifetime): row.interval.words(digits) for row in rows}
    rules = dict.fromkeys(row.rule for row in rows)
    return lifetimes, {rule: [words.get((rule, lifetime), "") for lifetime in lifetimes] for rule in rules}


def verdicts(rows: Sequence[Row]) -> list[str]:
    """A sentence a family on what training brought."""
    found = []
    for family in dict.fromkeys(row.family for row in rows):
        reached: dict[int, dict[str, Interval]] = {}
        for row in rows:
            if row.family == family:
                reached.setdefault(row.lifetime, {})[row.rule] = row.interval
        reached = {lifetime: own for lifetime, own in reached.items() if {"trained rule", "untrained rule"} <= set(own)}
        if reached:
            found.append(_verdict(family, reached))
    return found


def _verdict(family: str, reached: Mapping[int, Mapping[str, Interval]]) -> str:
    """Of the longest lifetime of training in words; of all, how the trained rule stands beside the best of its rivals."""
    lifetime = sorted(reached)[-2:][0]
    own = reached[lifetime]
    trained, before, random = own["trained rule"], own["untrained rule"], own.get("random policy")
    name = _best_rival(own)
    rival = own.get(name)
    apart = {1: "more than", -1: "less than", 0: "not clearly apart from"}[_beside(trained, before)]
    above = random is None or (rival is not None and rival.low > random.high)  # else A2C learned nothing to share
    share = f", {_share(trained, rival)} of {name}'s {rival.point:.2f}" if rival and above and rival.low > 0 else ""
    return (
        f"On held-out {family} tasks the trained rule reaches {trained.point:.2f} after {lifetime} updates, {apart} the "
        f"untrained rule's {before.point:.2f}{share}{_standing(reached)}; one meta-seed."
    )


def _standing(reached: Mapping[int, Mapping[str, Interval]]) -> str:
    """Where the trained rule lies above the best of its tuned rivals, below, or neither."""
    places: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for lifetime, own in sorted(reached.items()):
        rival = own.get(_best_rival(own))
        if rival is not None and "tuned PPO" in own:
            places[_beside(own["trained rule"], rival)].append(str(lifetime))
    words = {1: "above", 0: "not clearly apart from", -1: "below"}
    said = [f"{words[place]} it after {' and '.join(lifetimes)}" for place, lifetimes in places.items() if lifetimes]
    return f"; beside the better of tuned A2C and PPO: {', '.join(said)} updates" if said else ""


def _best_rival(own: Mapping[str, Interval]) -> str:
    return max(
        (name for name in ("tuned A2C", "tuned PPO", "A2C") if name in own), key=lambda name: own[name].point, default=""
    )


def _beside(one: Interval, other: Interval) -> int:
    """1 where an interval lies above another, -1 where below, 0 where they overlap."""
    return int(one.low > other.high) - int(one.high < other.low)


def _share(reached: Interval, of: Interval) -> str:
    """One mean in hundredths of another, with what both intervals leave open."""
    low, point, high = (100 * a / b for a, b in zip(reached, reversed(of), strict=True))
    return f"{point:.0f} % ({low:.0f} to {high:.0f} %)"
