"""Score audit: which score says how much a level has to teach?

Every score of a set of tasks is compared, rank by rank, with two yardsticks: how far the rule stays behind the optimum, and
what training on the level brings. `audit` does it all, from names to a folder; its parts do it by hand:

```python
measure = audit.together(
    {
        "scores": audit.scored(life, {"regret": scores.algorithmic_regret(antagonist)}),
        "yardsticks": audit.shortfall(exact_life, family.optimum),
    }
)
found = audit.measured(key, rows, measure, theta, family=family.name)
audit.correlations(found)
```
"""

from groove.analysis.audit import SCORES, UNTRAINED, Plan, Report, audit, check, steps_of
from groove.analysis.findings import TITLES, Correlation, Findings, correlations, measured, page
from groove.analysis.measures import improvement, joined, scored, shortfall, together

__all__ = [
    "SCORES",
    "TITLES",
    "UNTRAINED",
    "Correlation",
    "Findings",
    "Plan",
    "Report",
    "audit",
    "check",
    "correlations",
    "improvement",
    "joined",
    "measured",
    "page",
    "scored",
    "shortfall",
    "steps_of",
    "together",
]
