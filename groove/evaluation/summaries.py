"""What results say: returns between 0 and 1, summed up over tasks, seeds and meta-seeds, rules beside one another."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from groove import statistics
from groove.evaluation import results
from groove.statistics import Interval, Profile
from groove.statistics.bootstrap import Statistic

AGGREGATES: Mapping[str, Statistic] = {
    "IQM": statistics.interquartile_mean,
    "median": statistics.median,
    "mean": np.mean,
    "optimality gap": statistics.optimality_gap,
}
"""Statistics by what they are called."""
THRESHOLDS = 61
"""Of performance profiles: from 0, or a low score, to 1.2, or a high one."""
EXTREME = 0.02
"""Share of scores that profiles may leave out at either end."""
SMALLEST_GAIN = 0.02
"""A2C must gain this much over a random policy, as a share of either's return, to be divided by."""
WORST = 0.05
"""Share of tasks that counts as the worst."""


class Entry(NamedTuple):
    """One rule on one suite, at the end of its life unless it is said."""

    rule: str
    learned: bool
    tuned: bool
    metas: int  # meta-seeds
    scores: np.ndarray  # f64[metas, seeds, tasks]; normalised, NaN of agents that diverged
    courses: np.ndarray  # f64[points, metas, seeds, tasks]; likewise


class SuiteResult(NamedTuple):
    """What all rules did on one suite at one scale."""

    suite: str
    scale: str
    hashes: tuple[str, str]  # of levels and of the protocol
    splits: tuple[str, ...]  # of every task
    tasks: tuple[str, ...]  # that can be normalised
    unnormalised: tuple[str, ...]  # that cannot
    points: tuple[int, ...]  # updates
    ones: tuple[str, ...]  # what 1 is: optimum, a2c
    entries: tuple[Entry, ...]
    every: tuple[str, ...]  # all tasks
    raw: Mapping[str, np.ndarray]  # by rule, the mean return at the end: f64[every]; NaN where an agent diverged
    diverged: Mapping[str, tuple[int, int]]  # by rule, how many agents had diverged at the end, and of how many
    abouts: Mapping[str, tuple[str, ...]]  # by rule, what it takes to make it again, as JSON
    versions: tuple[str, ...]  # of packages, as JSON
    unfinished: tuple[str, ...]  # rules that have not met all tasks, left out


class Summary(NamedTuple):
    """One rule's statistics."""

    aggregates: Mapping[str, Interval]
    worst: Interval | None  # mean over the worst tasks; None with one run
    below: Interval | None  # share of tasks under 75 % of A2C; None without A2C
    profile: Profile


def suite_results(table: pa.Table) -> tuple[SuiteResult, ...]:
    """By suite, scale and hashes, of every rule that has met all the tasks that the others have.

    Raises:
        ValueError: There is nothing.
    """
    names = ("suite", "scale", "suite_hash", "protocol_hash")
    found = [
        _standing(table.filter(_where(table, row)), row)
        for row in table.select(names).group_by(list(names)).aggregate([]).to_pylist()
    ]
    if not found:
        raise ValueError("the results hold no rows.")
    return tuple(sorted(found, key=lambda one: (one.suite, one.scale)))


def _where(table: pa.Table, row: Mapping[str, str]) -> pa.Array:
    return pa.array(np.all([table[name].to_numpy(zero_copy_only=False) == value for name, value in row.items()], axis=0))


def _standing(table: pa.Table, group: Mapping[str, str]) -> SuiteResult:
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    splits = dict(zip(columns["task"], columns["split"], strict=True))
    tasks, points = tuple(splits), tuple(int(point) for point in np.unique(columns["update"]))
    rules = list(dict.fromkeys(columns["rule"]))
    cubes = {rule: cube for rule in rules if (cube := _cube(columns, rule, tasks, points)) is not None}
    zero, one, is_one = _bounds(columns, tasks, cubes)
    normal = np.isfinite(one)
    return SuiteResult(
        suite=group["suite"],
        scale=group["scale"],
        hashes=(group["suite_hash"], group["protocol_hash"]),
        splits=tuple(splits.values()),
        tasks=tuple(np.array(tasks)[normal].tolist()),
        unnormalised=tuple(np.array(tasks)[~normal].tolist()),
        points=points,
        ones=tuple(np.unique(is_one[normal]).tolist()),
        entries=tuple(
            _entry(columns, rule, (cube[..., normal] - zero[normal]) / (one - zero)[normal]) for rule, cube in cubes.items()
        ),
        every=tasks,
        raw={rule: cube[-1].mean((0, 1)) for rule, cube in cubes.items()},
        diverged={rule: (int(np.isnan(cube[-1]).sum()), cube[-1].size) for rule, cube in cubes.items()},
        abouts={rule: tuple(np.unique(columns["about"][columns["rule"] == rule]).tolist()) for rule in cubes},
        versions=tuple(np.unique(columns["versions"]).tolist()),
        unfinished=tuple(rule for rule in rules if rule not in cubes),
    )


def _entry(columns: Mapping[str, np.ndarray], rule: str, scores: np.ndarray) -> Entry:
    own = columns["rule"] == rule
    tuned, learned = bool(columns["tuned"][own].all()), bool(columns["learned"][own].any())
    return Entry(rule, learned, tuned, scores.shape[1], scores[-1], scores)


def _bounds(
    columns: Mapping[str, np.ndarray], tasks: tuple[str, ...], cubes: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What counts as 0 and 1 on each task, and what 1 is. Where nothing else is known, what random and A2C reached here."""
    last = {task: row for row, task in enumerate(columns["task"])}
    rows = np.array([last[task] for task in tasks])
    zero, one, is_one = (columns[name][rows] for name in ("zero", "one", "one_is"))
    if "random" in cubes and "a2c" in cubes:
        low, high = (cubes[rule][-1].mean((0, 1)) for rule in ("random", "a2c"))
        here = (is_one == results.UNKNOWN) & (high - low > SMALLEST_GAIN * np.maximum(np.abs(low), np.abs(high)))
        zero, one = np.where(here, low, zero), np.where(here, high, one)
        is_one = np.where(here, "a2c here", is_one)
    return zero, one, is_one


def _cube(
    columns: Mapping[str, np.ndarray], rule: str, tasks: tuple[str, ...], points: tuple[int, ...]
) -> np.ndarray | None:
    """Returns f64[points, metas, seeds, tasks] of a rule, NaN of agents that diverged; None where some are missing."""
    own = columns["rule"] == rule
    axes = [np.unique(columns[name][own]) for name in ("update", "meta_seed", "seed")]
    if own.sum() != math.prod([*map(len, axes), len(tasks)]) or len(axes[0]) < len(points):
        return None  # before it takes memory: rows differ, so that all are there if they are as many
    cube = np.empty((*map(len, axes), len(tasks)))
    order = {task: place for place, task in enumerate(tasks)}
    places = [
        np.searchsorted(axis, columns[name][own]) for axis, name in zip(axes, ("update", "meta_seed", "seed"), strict=True)
    ]
    cube[*places, [order[task] for task in columns["task"][own]]] = columns["episode_return"][own]
    return cube


def sums(suite_result: SuiteResult, entry: Entry, *, seed: int = 0) -> Summary:
    """One rule's statistics, with 95 % intervals over meta-seeds and seeds."""
    rival = next((one for one in suite_result.entries if one.rule == "a2c"), None)
    aggregates = {
        name: statistics.nested_bootstrap(entry.scores, statistic, seed=seed) for name, statistic in AGGREGATES.items()
    }
    below = None if rival is None or rival is entry else statistics.share_below(entry.scores, rival.scores, seed=seed)
    return Summary(
        aggregates,
        statistics.worst_mean(entry.scores, share=WORST, seed=seed),
        below,
        statistics.performance_profile(entry.scores, _thresholds(suite_result), seed=seed),
    )


def _thresholds(suite_result: SuiteResult) -> np.ndarray:
    """The same for all rules, so that nearly all scores lie between."""
    finite = [entry.scores[np.isfinite(entry.scores)] for entry in suite_result.entries]
    ends = np.array([np.quantile(scores, [EXTREME, 1 - EXTREME]) for scores in finite if scores.size] or [[0.0, 1.0]])
    return np.linspace(min(0.0, ends.min()), max(1.2, ends.max()), THRESHOLDS)


def improvements(suite_result: SuiteResult, *, seed: int = 0) -> dict[tuple[str, str], Interval]:
    """How likely each rule does better than each other one."""
    return {
        (one.rule, other.rule): statistics.probability_of_improvement(one.scores, other.scores, seed=seed)
        for one in suite_result.entries
        for other in suite_result.entries
        if one is not other
    }
