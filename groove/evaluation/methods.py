"""Who takes part: words of the command line become rules that can be made for any environment."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from groove import assembly, config, protocols
from groove.base import UpdateRule
from groove.config import Config
from groove.evaluation.results import seedless
from groove.files import library
from groove.files.rulefile import load_rule_file
from groove.protocols import BASELINES, PROTOCOLS, Setting, Tuned
from groove.runs import RULE, TOGETHER, rule_file
from levels import plugins
from levels.base import Spec
from levels.suites import Split

RANDOM = "random"
"""The policy that all returns are compared with; it does not learn."""
LONGEST = 80
"""Characters of a label."""


class Method(NamedTuple):
    """A rule that is measured on a suite."""

    label: str  # what results call it; rules of one label differ by their meta-seed alone
    meta_seed: int  # of the run that learned it; 0 if nothing did
    learned: bool
    make: Callable[[Split], UpdateRule]  # its `init` gives its theta, whatever the key
    about: Callable[[Split], dict[str, object]]  # all that it takes to make it again, as JSON can hold it
    tuned: Callable[[Split], bool]  # whether its settings were searched for this split, or it has none


def named_methods(words: Sequence[str], suite: str, tuned: Tuned, trusted: tuple[str, ...] = ()) -> tuple[Method, ...]:
    """Rules by the words of a user.

    Args:
        words: Each a2c, ppo, dpo, random; a run folder or rule.safetensors; the name of a plug-in or package.module:object;
            any of these after LABEL=; without one, the name of a run's folder. Runs whose configurations differ by their
            seed alone share a label: they are one rule from several meta-seeds.
        suite: The suite they meet on.
        tuned: The settings that baselines take.
        trusted: As of `groove.load_rule`, of rules whose files name plug-ins as package.module:object.

    Raises:
        ValueError: A word is none of these, a file is damaged, or two rules would have one name.
        FileNotFoundError: A run has no rule yet.
    """
    pairs = [_split(word) for word in words]
    learned = [(label, text) for label, text in pairs if _is_path(text)]
    others = [_other(label, text, suite, tuned) for label, text in pairs if not _is_path(text)]
    found = (*others, *_learned(learned, trusted))
    names = [(one.label, one.meta_seed) for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"rules must differ in label or meta-seed, got {name[0]!r} with seed {name[1]} twice.")
    return found


def _split(word: str) -> tuple[str, str]:
    label, found, text = word.partition("=")
    if not found or "/" in label or Path(word).exists():  # folders of sweeps have a = in their names
        return "", word
    if not label.strip() or not label.isprintable() or len(label) > LONGEST:
        raise ValueError(f"a rule must have the form RULE or LABEL=RULE, LABEL of 1 to {LONGEST} characters, got {word!r}.")
    if label in (*BASELINES, RANDOM) and text != label:
        raise ValueError(f"the name {label!r} belongs to the rule {label}, got {word!r}.")
    return label, text


def _is_path(text: str) -> bool:
    return config.is_file(text) or Path(text).exists()


def _other(label: str, text: str, suite: str, tuned: Tuned) -> Method:
    """A rule written by hand: ours, or another package's."""
    protocol = PROTOCOLS[suite]
    known = (*BASELINES, RANDOM)
    discounts = {"gamma": protocol.gamma, "lambda_": protocol.lambda_}
    if config.check_part("rule", text, "groove.rules", known) in known:
        settings = tuned.settings.get(text, {})

        def setting(split: Split) -> Setting:
            return settings.get(split.name) or protocols.default_setting(text, split.family.environment.spec)

        return Method(
            label or text,
            0,
            False,
            lambda split: protocols.named_rule(text, split.family.environment.spec, setting(split), **discounts),
            lambda split: {
                "rule": text,
                **({} if text == RANDOM else {**setting(split)._asdict(), **protocols.identity(text)}),
            },
            lambda split: text == RANDOM or split.name in settings,
        )

    def plugged(split: Split) -> UpdateRule:
        spec = split.family.environment.spec
        return assembly.plugged_rule(text, spec, protocols.default_architecture(spec))

    origin = plugins.origin("groove.rules", text)
    about: dict[str, object] = {"rule": text, "origin": origin, "source": plugins.source("groove.rules", text)}
    return Method(label or text.rpartition(":")[2], 0, False, plugged, lambda split: about, lambda split: False)


def _learned(words: Iterable[tuple[str, str]], trusted: tuple[str, ...]) -> list[Method]:
    """Rules of runs. Those of equal configurations, seeds apart, share a label; others get a number behind it."""
    found: list[Method] = []
    labels: dict[str, str] = {}  # by configuration without seed
    for label, text in words:
        path = rule_file(text)
        settings = library.config_of(path, load_rule_file(path)[1])
        same = seedless(dataclasses.asdict(settings))
        if not label and same not in labels:
            taken, name = {*labels.values(), *BASELINES, RANDOM}, _name_of(path, settings)
            numbered = (f"{name}-{i}" for i in itertools.count(2))
            labels[same] = next(one for one in itertools.chain((name,), numbered) if one not in taken)
        found.append(_of_run(label or labels[same], path, settings, trusted))
    return found


def _name_of(path: Path, settings: Config) -> str:
    """What a rule is called by default: its run's folder, or that of runs side by side; a rule alone as its file."""
    folder = path.resolve().parent
    home = folder.parent if (folder.parent / TOGETHER).is_file() else folder
    name = home.name if path.name == RULE else path.stem
    return name if name.strip() and name.isprintable() and len(name) <= LONGEST else settings.name


def _of_run(label: str, path: Path, settings: Config, trusted: tuple[str, ...]) -> Method:
    about: dict[str, object] = {
        "rule": settings.rule.kind,
        "run": path.resolve().parent.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "config": dataclasses.asdict(settings),
    }

    def make(split: Split) -> UpdateRule:
        spec: Spec = split.family.environment.spec
        networks = assembly.architecture(settings, spec, split.family.name)
        return library.fixed_rule(path, spec, networks, trusted=trusted)

    return Method(label, settings.seed, True, make, lambda split: about, lambda split: True)
