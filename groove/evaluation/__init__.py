"""Held-out evaluation: how well rules learn on tasks nobody trained them on, and how sure that is."""

from groove.evaluation import results, tuning
from groove.evaluation.execution import Plan, Stopped, check, evaluated, requested_rules
from groove.evaluation.methods import RANDOM, Method, named_methods
from groove.evaluation.suite import evaluate
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
    "evaluate",
    "evaluated",
    "improvements",
    "named_methods",
    "requested_rules",
    "results",
    "suite_results",
    "sums",
    "tune",
    "tuning",
]
