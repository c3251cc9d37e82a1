"""What `groove tune` found, as it is stored with the suites."""

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple

from groove.protocols.baselines import Setting
from groove.protocols.suites import PROTOCOLS, fingerprint
from levels.suites import SUITES, content

FILE = "tuned.json"


class Tuned(NamedTuple):
    """Of one suite at one scale."""

    settings: Mapping[str, Mapping[str, Setting]]  # by rule and chapter
    references: Mapping[
        str, tuple[float, float]
    ]  # by task: what a random policy and tuned A2C reach, where nothing is exact


@functools.cache
def _stored() -> Mapping[str, Mapping[str, dict]]:
    return json.loads(resources.files("groove.protocols").joinpath(FILE).read_text(encoding="utf-8"))


def tuned(suite: str, scale: str) -> Tuned:
    """What is stored for a suite at a scale; nothing, if levels or protocol have changed since it was found."""
    page = _stored().get(suite, {}).get(scale)
    if page is None or page["hashes"] != hashes(suite, scale):
        return Tuned({}, {})
    settings = {
        rule: {chapter: Setting(**found) for chapter, found in chapters.items()}
        for rule, chapters in page["settings"].items()
    }
    return Tuned(settings, {task: (random, rival) for task, (random, rival) in page["references"].items()})


def hashes(suite: str, scale: str) -> list[str]:
    """Those of a suite's levels and of its protocol."""
    return [content(SUITES[suite]), fingerprint(PROTOCOLS[suite], scale)]
