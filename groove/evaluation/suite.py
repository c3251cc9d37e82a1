"""Rules on a suite of held-out levels, in one call."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from groove import protocols, runs
from groove.config import check_name
from groove.evaluation.execution import Plan, check, evaluated, requested_rules
from groove.evaluation.methods import named_methods
from groove.evaluation.summaries import SuiteResult, suite_results
from groove.protocols import PROTOCOLS, SCALES


def evaluate(
    rules: Sequence[str | Path],
    suite: str = "grid-unseen",
    scale: str = "small",
    *,
    folder: str | Path | None = None,
    tuned: Path | None = None,
    trusted: tuple[str, ...] = (),
    seen: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[SuiteResult, ...]:
    """Measures rules on a suite of held-out levels: what `groove evaluate` does, without its page.

    Args:
        rules: Each a2c, ppo, dpo, random; a run folder or rule.safetensors; a plug-in; any of these after LABEL=.
        suite: Which levels, one of `groove.protocols.PROTOCOLS`.
        scale: How many of them, how many agents, how long their lives: smoke, small, medium or paper.
        folder: Where results.parquet is kept, block by block; what it holds already is not measured again. By default
            nowhere.
        tuned: Settings of baselines that `groove tune` wrote, in place of those that come with groove.
        trusted: As of `groove.load_rule`.
        seen: `(done, total) -> None`, tasks lived on by all rules, called after every block.
        stopped: Asked before every block whether to stop.

    Returns:
        One result for each suite and scale that the folder holds then.

    Raises:
        ValueError: A name is not known, a file is damaged, or two rules would have one name.
        groove.evaluation.Stopped: `stopped` said so; what was done is kept.
        OSError: A file cannot be written.

    Example:
        >>> import groove
        >>> (found,) = groove.evaluate(["random"], "bandits", "smoke")  # doctest: +SKIP
    """
    known, scale = check_name("suite", suite, PROTOCOLS), check_name("scale", scale, SCALES)
    settings = protocols.tuned(known, scale, tuned)
    methods = named_methods(requested_rules([str(rule) for rule in rules], known), known, settings, trusted)
    plan = check(Plan(known, scale, methods, settings))
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder)
        place.mkdir(parents=True, exist_ok=True)
        stack.enter_context(runs.owned(place))
        return suite_results(evaluated(plan, place, seen=seen, stopped=stopped))
