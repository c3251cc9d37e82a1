"""The conformance check: whether a family or a generator keeps the laws that the rest of the code relies on."""

from levels.check.laws import LAWS, check
from levels.check.verdict import Finding, Verdict, render

__all__ = ["LAWS", "Finding", "Verdict", "check", "render"]
