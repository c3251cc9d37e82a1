"""Tunes baselines: every setting on levels for practice, with agents of other seeds; the best is stored with its search."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from groove import protocols
from groove.evaluation.execution import Stopped, agents_at_once, key_of, life_of
from groove.evaluation.methods import RANDOM
from groove.files.writing import write_text
from groove.lifetime import learning_curve
from groove.protocols import PROTOCOLS, Setting, SuiteProtocol
from levels.base import Discrete, Level
from levels.files import check_writable
from levels.suites import SUITES, Split, splits

SEED = 81_517
"""Of the agents that settings are tried with; those that are reported of have other seeds."""
TASKS, SEEDS = 16, 4
"""Most levels for practice, and agents on each, that a setting is tried with."""
PICTURES = 3
"""Most levels where agents see pictures, whose nets take far longer than tables."""


PARTS = ("settings", "search", "baselines", "references")
"""Of a page: three by rule, the last one by task."""


class Search(NamedTuple):
    """What trying all settings of a rule on a split found."""

    settings: tuple[Setting, ...]
    scores: np.ndarray  # f64[settings]; mean over levels and agents, 0 to 1 where the optimum is known; NaN if one diverged

    @property
    def best(self) -> Setting:
        """The setting of highest score, of those with which no agent diverged.

        Raises:
            ValueError: Some agent diverged with each of them.
        """
        if not np.isfinite(self.scores).any():
            raise ValueError(f"with all {len(self.settings)} settings that were tried some agent diverged.")
        return self.settings[int(np.nanargmax(self.scores))]

    @property
    def tried(self) -> dict[str, float | None]:
        """All settings, in words, with their scores; None where an agent diverged."""
        words = [f"rate {setting.rate:g}, entropy {setting.entropy:g}" for setting in self.settings]
        scores = [round(score, 5) if np.isfinite(score) else None for score in self.scores.tolist()]
        return dict(zip(words, scores, strict=True))


def tune(
    suite: str,
    scale: str,
    rules: Sequence[str],
    path: Path,
    *,
    seen: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, dict]:
    """Tries all settings of some baselines on all splits of a suite, and keeps what is found, search by search.

    Args:
        suite: By name.
        scale: Whose lifetimes and environments agents have.
        rules: Names of baselines.
        path: A file in the form of `groove/protocols/tuned.json`, made if it does not exist; what it says of other suites,
            scales and rules stays. What was tuned for these levels and this protocol already is not tuned again.
        seen: `(done, total) -> None`, searches done, called after each.
        stopped: Asked before each search whether to stop.

    Returns:
        What the file says of the suite at the scale.

    Raises:
        ValueError: The file is damaged; or some agent diverged with each setting of a search, which is said once all others
            are done and kept.
        OSError: The file cannot be written.
        groove.evaluation.Stopped: `stopped` said so; what was done is kept.
    """
    check_writable(path)
    pages = read(path)
    page = pages.get(suite, {}).get(scale, {})
    if page.get("hashes") != protocols.hashes(suite, scale):
        page = {"hashes": protocols.hashes(suite, scale), **{part: {} for part in PARTS}}
    page = _current(page)
    lost = []
    searches = [(rule, split) for rule in rules for split in splits(SUITES[suite])]
    for done, (rule, split) in enumerate(searches):
        if stopped():
            raise Stopped(f"stopped after {done} of {len(searches)} searches")
        if split.name not in page["settings"].get(rule, {}):
            found = search(PROTOCOLS[suite], scale, rule, split)
            if not np.isfinite(found.scores).any():
                lost.append(f"{rule} on {split.name}")
                continue
            page["settings"].setdefault(rule, {})[split.name] = found.best._asdict()
            page["search"].setdefault(rule, {})[split.name] = found.tried
            page["baselines"][rule] = protocols.identity(rule)
            if rule == "a2c":
                page["references"] |= references(PROTOCOLS[suite], scale, found.best, split)
            pages = read(path)  # another search may have added to it
            page = _joined(pages.get(suite, {}).get(scale, {}), page)
            pages = {**pages, suite: {**pages.get(suite, {}), scale: page}}
            write_text(path, json.dumps(pages, indent=1, sort_keys=True) + "\n")
        seen(done + 1, len(searches))
    if lost:
        raise ValueError(f"with all settings that were tried some agent diverged: {', '.join(lost)}. The others are kept.")
    return page


def _current(page: Mapping[str, dict]) -> dict[str, dict]:
    """A page without what was found for baselines that have changed since."""
    rules = protocols.current_rules(page)
    kept = {part: {rule: found for rule, found in page[part].items() if rule in rules} for part in PARTS[:3]}
    return {**page, **kept, "references": page["references"] if "a2c" in rules else {}}


def _joined(old: Mapping[str, dict], new: dict[str, dict]) -> dict[str, dict]:
    """What two searches found for the same levels and protocol; the new one is right where both did the same."""
    if old.get("hashes") != new["hashes"]:
        return new
    old = _current(old)

    def rules(part: str) -> dict[str, dict]:
        names = {*old[part], *new[part]}
        return {name: {**old[part].get(name, {}), **new[part].get(name, {})} for name in names}

    references = {**old["references"], **new["references"]}
    return {"hashes": new["hashes"], **{part: rules(part) for part in PARTS[:3]}, "references": references}


def read(path: Path) -> dict[str, dict]:
    """What a file of tuned settings says; nothing if it does not exist.

    Raises:
        ValueError: It is no such file.
    """
    return protocols.read_tuned(path) if path.is_file() else {}


def search(protocol: SuiteProtocol, scale: str, rule: str, split: Split) -> Search:
    """Tries all settings of a baseline on levels for practice, all in one compiled function."""
    spec = split.family.environment.spec
    pictures = not isinstance(spec.observation, Discrete) and len(spec.observation.shape) > 2
    count = min(PICTURES if pictures else TASKS, len(split.practice_random))
    levels = jax.tree.map(lambda leaf: jnp.asarray(leaf[:count]), split.practice)
    settings = protocols.search_space(rule, spec)
    table = Setting(*(jnp.asarray(column, jnp.float32) for column in zip(*settings, strict=True)))
    live = lived(protocol, scale, rule, split)
    returns = jax.jit(lambda key, table: jax.lax.map(lambda one: live(key, levels, one), table))
    found = np.asarray(returns(key_of(split, 0, SEED), table), np.float64).mean(2)  # [settings, tasks]
    found = np.where(np.isfinite(found), found, np.nan)
    zero, one = split.practice_random[:count], split.practice_optimum[:count]
    if not np.isfinite(one).all():
        sound = found[np.isfinite(found).all(1)]
        zero, one = (sound.min(0), sound.max(0)) if len(sound) else (zero, one)
    wide = one - zero >= split.smallest
    scores = ((found - zero) / np.where(wide, one - zero, 1.0))[:, wide].mean(1) if wide.any() else found.mean(1)
    return Search(settings, np.where(np.isfinite(found).all(1), scores, np.nan))


def lived(protocol: SuiteProtocol, scale: str, rule: str, split: Split) -> Callable[..., jax.Array]:
    """`(key, levels, setting) -> f32[tasks, agents]`, returns at the end of the lives of a baseline's agents."""
    spec, budget = split.family.environment.spec, protocol.budgets[scale]
    end = jnp.asarray([budget.lifetime], jnp.int32)
    block = agents_at_once(split)

    def live(key: jax.Array, levels: Level, setting: Setting) -> jax.Array:
        made = protocols.named_rule(rule, spec, setting, gamma=protocol.gamma, lambda_=protocol.lambda_)
        life = life_of(protocol, budget, made, split)
        return learning_curve.learning_curves(life, key, (), levels, end, agents=SEEDS, block=block).episode_return[..., 0]

    return live


def references(protocol: SuiteProtocol, scale: str, setting: Setting, split: Split) -> dict[str, list[float]]:
    """What a random policy and tuned A2C reach on the tasks whose optimum is not known, with seeds of their own."""
    unknown = ~np.isfinite(split.optimum)
    if not unknown.any():
        return {}
    levels = jax.tree.map(lambda leaf: jnp.asarray(leaf[unknown]), split.levels)
    key = key_of(split, 1, SEED)
    both = [
        np.asarray(jax.jit(lived(protocol, scale, rule, split))(key, levels, setting)).mean(1) for rule in (RANDOM, "a2c")
    ]
    names = np.array(split.tasks)[unknown].tolist()
    found = {name: [float(low), float(high)] for name, low, high in zip(names, *both, strict=True)}
    return {name: pair for name, pair in found.items() if np.isfinite(pair).all()}
