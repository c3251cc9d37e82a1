"""Curricula without training: make tasks, let a rule live on them, keep those that score as wanted.

`curate` does it all, from names to a file; its parts do it by hand:

```python
rows = curate.sampled(key, family, curricula.log_uniform(20, 100), count=1000)
rows = curate.rated(key, rows, life, theta, scores.algorithmic_regret(antagonist))
curriculumfile.save(path, curate.top(rows, 100), {}, family=family)
```
"""

from groove.curate.candidates import edited, sampled
from groove.curate.journal import Journal
from groove.curate.rating import Stopped, rated
from groove.curate.selection import finite, strata, top, unique
from groove.curate.work import KEEP, Curation, Made, check, curate, journal_of

__all__ = [
    "KEEP",
    "Curation",
    "Journal",
    "Made",
    "Stopped",
    "check",
    "curate",
    "edited",
    "finite",
    "journal_of",
    "rated",
    "sampled",
    "strata",
    "top",
    "unique",
]
