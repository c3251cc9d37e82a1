"""Hand-written rules tuned for the tasks and the lifetimes of a configuration, as `benchmarks.tune_rivals` found them."""

import dataclasses
import functools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from groove.config import Agents, Config, generator_of, is_plugged, part_of
from groove.protocols.baselines import Setting, identity
from levels.files import read_json

RIVALS = ("a2c", "ppo")
"""The baselines that learned rules meet on held-out tasks."""


def faced(config: Config, name: str) -> dict[str, object]:
    """What a rival's agents face on the family `name` of a configuration, for JSON: levels and lives, not their lengths.

    Raises:
        ValueError: Levels come from a plug-in, and may be anything.
    """
    if is_plugged(name) or generator_of(config, name):
        raise ValueError(f"{name} comes from a plug-in.")
    agents = {field.name for field in dataclasses.fields(Agents)}
    own = dataclasses.asdict(getattr(config, part_of(name)))
    sizes = {field: [*value] if isinstance(value, tuple) else value for field, value in own.items() if field not in agents}
    life = {field: value for field, value in dataclasses.asdict(config.life).items() if field != "updates"}
    return {"family": name, "sizes": sizes, "life": life}


@functools.cache
def _stored() -> tuple[Mapping, ...]:
    return tuple(read_json(Path(str(resources.files("groove.protocols"))) / "rivals.json")["pages"])


def rivals(config: Config, name: str) -> dict[int, dict[str, Setting]]:
    """The rivals of the family `name` of a configuration, by lifetime and name; none where nothing like it was tuned.

    Example:
        >>> from groove.config import preset
        >>> from groove.protocols import rivals
        >>> sorted(rivals(preset("lpg"), "gridworld"))
        []
    """
    try:
        own = faced(config, name)
    except ValueError:
        return {}
    page = next((page for page in _stored() if page["faced"] == own), None)
    if page is None or page["baselines"] != {rival: identity(rival) for rival in RIVALS}:
        return {}
    return {
        int(lifetime): {rival: Setting(*chosen[rival]) for rival in RIVALS} for lifetime, chosen in page["chosen"].items()
    }
