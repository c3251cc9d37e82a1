"""What a conformance check found, and how a person reads it."""

from typing import Literal, NamedTuple, TypeAlias

Outcome: TypeAlias = Literal["passed", "failed", "skipped"]


class Finding(NamedTuple):
    """What was found of one law."""

    law: str
    outcome: Outcome
    reason: str  # why it failed or was skipped; of a law that is kept, what was measured
    hint: str = ""  # what to do about it
    level: str = ""  # the level on which it failed, as text


class Verdict(NamedTuple):
    """What was found of all laws. `str` renders it."""

    name: str  # of the family or generator
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no law is broken."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings of broken laws."""
        return tuple(finding for finding in self.findings if finding.outcome == "failed")

    def __str__(self) -> str:
        return render(self)


def render(verdict: Verdict) -> str:
    """A verdict as plain text: a summary, and a line or more a law.

    Example:
        >>> from levels.check import Finding, Verdict, render
        >>> broken = Finding("validity", "failed", "1 of 64 samples is not valid.", "See is_valid.", "#A")
        >>> print(render(Verdict("mine", (Finding("sampling", "passed", "64 levels."), broken))))
        mine: 1 of 2 laws is broken.
        passed   sampling    64 levels.
        FAILED   validity    1 of 64 samples is not valid.
                             See is_valid.
                             | #A
    """
    kept = [finding for finding in verdict.findings if finding.outcome != "skipped"]
    count = len(verdict.failures)
    if count:
        summary = f"{verdict.name}: {count} of {len(kept)} laws {'is' if count == 1 else 'are'} broken."
    else:
        summary = f"{verdict.name}: all of {len(kept)} laws are kept."
    width = max((len(finding.law) for finding in verdict.findings), default=0)
    return "\n".join([summary, *(line for finding in verdict.findings for line in _lines(finding, width + 4))])


def _lines(finding: Finding, width: int) -> list[str]:
    outcome = finding.outcome.upper() if finding.outcome == "failed" else finding.outcome
    more = [finding.hint] if finding.hint else []
    drawn = [f"| {row}" for row in finding.level.splitlines()]
    first = f"{outcome:9}{finding.law:{width}}{finding.reason}"
    return [first.rstrip(), *(" " * (9 + width) + line for line in (*more, *drawn))]
