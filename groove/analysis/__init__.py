"""Score audit: which score says how much a level has to teach?

Every score of a set of tasks is compared, rank by rank, with two yardsticks: how far the rule stays behind the optimum, and
what training on the level brings. `audit` does it all, from names to a folder; its parts do it by hand:

```python
measure = analysis.together(
    {
        "scores": analysis.scored(life, {"regret": scores.algorithmic_regret(antagonist)}),
        "yardsticks": analysis.shortfall(exact_life, family.optimum),
    }
)
found = analysis.measured(key, rows, measure, theta, family=family.name)
analysis.correlations(found)
```
"""

from groove.analysis.findings import TITLES, Correlation, Findings, correlations, measured, page
from groove.analysis.measures import improvement, joined, scored, shortfall, together
from groove.analysis.score_audit import SCORES, UNTRAINED, Plan, Report, audit, check, steps_of

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
