"""Who lives on tasks, and whom regret compares them with: rules by their names, from files and from other packages."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax

from groove import assembly, runs
from groove.assembly import plugged
from groove.base import Theta, UpdateRule
from groove.config import ANTAGONISTS, Config, check_part, is_file
from groove.files import library
from levels import plugins
from levels.base import Family, Spec


class Learner(NamedTuple):
    """Who lives on the tasks."""

    rule: UpdateRule
    theta: Theta
    about: Mapping[str, object]


def antagonist_of(config: Config, name: str, family: Family, *, trusted: tuple[str, ...] = ()) -> UpdateRule:
    """The antagonist of a configuration, for a family; its `init` gives its theta whatever the key.

    Args:
        config: Whose `curriculum.antagonist` is a name, a file or a plug-in.
        name: Of the family in the configuration.
        family: Whose levels are lived on.
        trusted: As of `groove.load_rule`.

    Raises:
        ValueError: There is no such rule, its file is damaged, or the plug-in does not keep the contract.
    """
    antagonist = config.curriculum.antagonist
    found = assembly.antagonist(config, family.environment.spec, name, lambda spec: _saved(antagonist, spec, trusted))
    if is_plugged(antagonist):
        plugged.check_rule(antagonist, found, assembly.life_of(config, family, found), family)
    return found


def learner_of(config: Config, rule: str, name: str, family: Family, *, trusted: tuple[str, ...] = ()) -> Learner:
    """Who lives on the tasks of a family.

    Args:
        config: Sizes and rates of the rules that have names.
        rule: One of ANTAGONISTS, a run folder, its rule.safetensors, or a plug-in of `groove.rules`.
        name: Of the family in the configuration.
        family: Whose levels are lived on.
        trusted: As of `groove.load_rule`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: There is no such rule, its file is damaged, or the plug-in does not keep the contract.
    """
    if rule not in ANTAGONISTS and _is_path(rule):
        found, file = _saved(rule, family.environment.spec, trusted), runs.rule_file(rule)
        about: dict[str, object] = {"name": file.name, "run": file.resolve().parent.name, "sha256": content_of(rule)}
        return Learner(found, found.init(jax.random.key(0)), about)
    check_part("rule", rule, "groove.rules", ANTAGONISTS)
    own = assembly.sizes(config, name)
    rates: dict[str, object] = {} if rule == "random" else {"rate": own.antagonist_rate, "entropy": own.antagonist_entropy}
    chosen = dataclasses.replace(config.curriculum, antagonist=rule)
    found = antagonist_of(dataclasses.replace(config, curriculum=chosen), name, family)
    if is_plugged(rule):
        rates = {"rate": own.antagonist_rate, "origin": plugins.origin("groove.rules", rule)}
    return Learner(found, found.init(jax.random.key(0)), {"name": rule, **rates})


def is_plugged(rule: str) -> bool:
    """Whether a rule is a plug-in: it has no name here and is no file."""
    return rule not in ANTAGONISTS and not is_file(rule)


def content_of(rule: str) -> str:
    """The hash of a learned rule's file, given as such or by its run folder."""
    return hashlib.sha256(runs.rule_file(rule).read_bytes()).hexdigest()


def mark_of(antagonist: str) -> str:
    """What else than its name says which antagonist it is: its file's hash, a plug-in's package; nothing of our own."""
    if is_file(antagonist):
        return content_of(antagonist)
    return plugins.origin("groove.rules", antagonist) if is_plugged(antagonist) else ""


def _is_path(rule: str) -> bool:
    return is_file(rule) or Path(rule).exists()


def _saved(rule: str, spec: Spec, trusted: tuple[str, ...]) -> UpdateRule:
    return library.fixed_rule(rule, spec, trusted=trusted)
