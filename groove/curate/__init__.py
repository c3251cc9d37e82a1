"""Curricula without training: make tasks, let a rule live on them, keep those that score as wanted.

`curate` does it all, from names to a file; its parts do it by hand:

```python
rows = curate.sampled(key, family, curricula.log_uniform(20, 100), count=1000)
rows = curate.rated(key, rows, life, theta, scores.algorithmic_regret(antagonist))
curriculumfile.save(path, curate.top(rows, 100), {}, family=family)
```
"""

from groove.curate.candidates import edited, sampled
from groove.curate.curation import KEEP, Curation, Made, check, curate, journal_of
from groove.curate.learners import Learner, antagonist_of, content_of, is_plugged, learner_of, mark_of
from groove.curate.rating import Measure, Stopped, in_blocks, rated
from groove.curate.selection import finite, strata, top, unique
from groove.files.journal import Journal

__all__ = [
    "KEEP",
    "Curation",
    "Journal",
    "Learner",
    "Made",
    "Measure",
    "Stopped",
    "antagonist_of",
    "check",
    "content_of",
    "curate",
    "edited",
    "finite",
    "in_blocks",
    "is_plugged",
    "journal_of",
    "learner_of",
    "mark_of",
    "rated",
    "sampled",
    "strata",
    "top",
    "unique",
]
