"""What `groove tune` found, as it is stored with the suites."""

import functools
import math
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from groove.protocols.baselines import Setting, identity
from groove.protocols.suites import PROTOCOLS, fingerprint
from levels.files import DAMAGED, read_json
from levels.suites import SUITES, content


class Tuned(NamedTuple):
    """Of one suite at one scale."""

    settings: Mapping[str, Mapping[str, Setting]]  # by rule and split
    references: Mapping[
        str, tuple[float, float]
    ]  # by task: what a random policy and tuned A2C reach, where nothing is exact


def read_tuned(path: Path) -> dict[str, dict]:
    """What a file of tuned settings says: by suite and scale, see `groove.evaluation.tune`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; groove tune writes one.")
    try:
        found = read_json(path)
        for page in (page for pages in found.values() for page in pages.values()):
            _check_page(page)
    except DAMAGED as error:
        raise ValueError(f"{path} is no file of tuned settings: {type(error).__name__}: {error}.") from error
    return found


@functools.cache
def _shipped() -> dict[str, dict]:
    return read_tuned(Path(str(resources.files("groove.protocols"))) / "tuned.json")


def stored() -> list[str]:
    """The suites, with their scales, that baselines were tuned for with this version of groove."""
    return [f"{suite} {scale}" for suite, pages in _shipped().items() for scale in pages if tuned(suite, scale).settings]


def tuned(suite: str, scale: str, path: Path | None = None) -> Tuned:
    """What is stored for a suite at a scale; nothing, if levels, protocol or baselines have changed since it was found.

    Args:
        suite: By name.
        scale: By name.
        path: A file that `groove tune` wrote, in place of what comes with groove.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, or says nothing of this suite at this scale.
    """
    page = (_shipped() if path is None else read_tuned(path)).get(suite, {}).get(scale)
    if page is not None and page["hashes"] == hashes(suite, scale):
        return _tuned(page, current_rules(page))
    if path is not None:
        what = "is of other levels, or another protocol, than" if page else "says nothing of"
        raise ValueError(f"{path} {what} the suite {suite} at the scale {scale}; groove tune finds settings for it.")
    return Tuned({}, {})


def current_rules(page: Mapping[str, dict]) -> list[str]:
    """The baselines of a page that still are what they were when they were tuned."""
    return [rule for rule in page["settings"] if page["baselines"].get(rule) == identity(rule)]


def _tuned(page: Mapping[str, dict], rules: Collection[str]) -> Tuned:
    settings = {
        rule: {split: Setting(float(found["rate"]), float(found["entropy"])) for split, found in splits.items()}
        for rule, splits in page["settings"].items()
        if rule in rules
    }
    references = {task: (float(random), float(antagonist)) for task, (random, antagonist) in page["references"].items()}
    return Tuned(settings, references if "a2c" in rules else {})


def _check_page(page: Mapping[str, dict]) -> None:
    found = _tuned(page, [*page["baselines"]])
    settings = [setting for splits in found.settings.values() for setting in splits.values()]
    if not all(0 < one.rate < math.inf and 0 <= one.entropy < math.inf for one in settings):
        raise ValueError(f"rates must be positive, entropies at least 0, all finite, got {settings}")
    if len(page["hashes"]) != 2 or page["search"] is None:
        raise ValueError("a page has two hashes and says how it was searched")


def hashes(suite: str, scale: str) -> list[str]:
    """Those of a suite's levels and of its protocol."""
    return [content(SUITES[suite]), fingerprint(PROTOCOLS[suite], scale)]
