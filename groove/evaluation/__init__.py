"""Held-out evaluation: how well rules learn on tasks nobody trained them on, and how sure that is."""

from groove.evaluation import results, tuning
from groove.evaluation.execution import Plan, Stopped, check, evaluated, selected_splits
from groove.evaluation.methods import RANDOM, Method, contestants
from groove.evaluation.summaries import AGGREGATES, WORST, Entry, SuiteResult, Summary, improvements, suite_results, sums
from groove.evaluation.tuning import tune

__all__ = [
    "AGGREGATES",
    "RANDOM",
    "WORST",
    "Entry",
    "Method",
    "Plan",
    "Stopped",
    "SuiteResult",
    "Summary",
    "check",
    "contestants",
    "evaluated",
    "improvements",
    "results",
    "selected_splits",
    "suite_results",
    "sums",
    "tune",
    "tuning",
]
