"""Held-out evaluation: how well rules learn on tasks nobody trained them on, and how sure that is."""

from groove.evaluation import results, tuning
from groove.evaluation.contestants import RANDOM, Contestant, contestants
from groove.evaluation.standings import AGGREGATES, WORST, Entry, Standing, Sums, improvements, standings, sums
from groove.evaluation.tuning import tune
from groove.evaluation.work import Plan, Stopped, check, evaluated, wanted

__all__ = [
    "AGGREGATES",
    "RANDOM",
    "WORST",
    "Contestant",
    "Entry",
    "Plan",
    "Standing",
    "Stopped",
    "Sums",
    "check",
    "contestants",
    "evaluated",
    "improvements",
    "results",
    "standings",
    "sums",
    "tune",
    "tuning",
    "wanted",
]
