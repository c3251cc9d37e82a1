"""Learned rules from files, and what files may name."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import jax

from groove import assembly, config
from groove.base import Theta, UpdateRule
from groove.config import CHOICES, Config, is_plugged
from groove.files import rulefile
from groove.nets.agents import Architecture
from groove.parallel.devices import check_precision
from levels.base import Spec
from levels.files import parsed


def load_rule(
    path: str | Path,
    spec: Spec | None = None,
    architecture: Architecture | None = None,
    *,
    trusted: tuple[str, ...] = (),
) -> tuple[UpdateRule, Theta]:
    """A learned rule, and the theta that was learned.

    Args:
        path: A run folder, its `rule.safetensors`, or a rule that comes with groove: `shipped/quick`.
        spec: The environment that it is to be used in; by default that of the run's first family.
        architecture: The agents' networks and optimizers; by default those that the run gave to agents of this spec, or
            of its first family if it had none.
        trusted: Plug-ins of the form package.module:object that the file may name; those of entry points need no trust.

    Raises:
        FileNotFoundError: There is no such file; the run may not have finished.
        ValueError: The file is damaged, no rule of this version of groove, or a plug-in that it needs is not installed or
            not trusted.

    Example:
        >>> import groove, levels
        >>> family = levels.gridworld.gridworld(height=5, width=5)
        >>> rule, theta = groove.load_rule("shipped/quick", family.environment.spec)
    """
    check_precision()
    path = rulefile.locate(path)
    flat, metadata = rulefile.load_rule_file(path)
    settings, families = _origin(path, metadata)
    if spec is None or architecture is None:
        check_trusted(path, needed(settings), trusted)
        specs = {name: assembly.family(settings, name).environment.spec for name in families}
        spec = spec or specs[families[0]]
        name = next((name for name in families if specs[name] == spec), families[0])
        architecture = architecture or assembly.architecture(settings, spec, name)
    check_trusted(path, _kind(settings), trusted)
    rule = assembly.learned_rule(settings, spec, architecture)
    return rule, rulefile.unflatten(jax.eval_shape(rule.init, jax.random.key(0)), flat)


def fixed_rule(
    path: str | Path,
    spec: Spec | None = None,
    architecture: Architecture | None = None,
    *,
    trusted: tuple[str, ...] = (),
) -> UpdateRule:
    """A learned rule whose `init` gives the learned theta whatever the key: as rules that were written by hand.

    Args, errors: As of `load_rule`.
    """
    rule, theta = load_rule(path, spec, architecture, trusted=trusted)
    return rule._replace(init=lambda key: theta)


class Untrusted(ValueError):
    """A file names plug-ins that nobody else has named."""

    def __init__(self, where: object, names: tuple[str, ...]):
        """Args: where: The file; names: of the plug-ins."""
        self.names = names
        self.reason = f"{where} names {', '.join(map(repr, names))}, code that a file alone may not run; if you know it:"

    def __str__(self) -> str:
        return f"{self.reason} --trust {' '.join(self.names)}, or in Python trusted={self.names}."


def check_trusted(where: object, names: Iterable[str], trusted: Iterable[str]) -> None:
    """Raises an Untrusted unless what a file names may be imported: `package.module:object` runs whatever code is there.

    Args:
        where: The file.
        names: Plug-ins that it names. Those of entry points may be imported: who installed the package said so.
        trusted: Names of the other form that its reader gave as well.

    Example:
        >>> from groove.files.library import check_trusted
        >>> check_trusted("a.parquet", ["corridor", "mine:maze"], ["mine:maze"])
        >>> check_trusted("a.parquet", ["os:abort"], [])
        Traceback (most recent call last):
        groove.files.library.Untrusted: a.parquet names 'os:abort', code that a file alone may not run; if you know it: \
--trust os:abort, or in Python trusted=('os:abort',).
    """
    known = set(trusted)
    strange = tuple(dict.fromkeys(name for name in names if ":" in name and name not in known))
    if strange:
        raise Untrusted(where, strange)


def needed(settings: Config) -> tuple[str, ...]:
    """The plug-ins that a rule cannot be rebuilt without: those of its families, of their generators and of its own kind."""
    return (*filter(is_plugged, settings.families), *filter(None, settings.generators), *_kind(settings))


def _kind(settings: Config) -> tuple[str, ...]:
    return () if settings.rule.kind in CHOICES["rule", "kind"] else (settings.rule.kind,)


def config_of(path: str | Path, metadata: Mapping[str, str]) -> Config:
    """The configuration of the run that a rule comes from.

    Args:
        path: Of the rule's file.
        metadata: Of that file.

    Raises:
        ValueError: It says none, or one that no run of this version of groove and of what is installed can have.
    """
    if "config" not in metadata:
        raise ValueError(f"{path} does not say which run it comes from.")
    try:
        return config.from_json(metadata["config"])
    except ValueError as error:  # a plug-in, for one, that is not installed
        raise ValueError(f"{path} needs what is not here: {error}") from error


def _origin(path: Path, metadata: Mapping[str, str]) -> tuple[Config, list[str]]:
    """The configuration of the run that a rule comes from, and the names of its families."""
    settings, families = config_of(path, metadata), parsed(metadata.get("families", "[]"), path)
    if not isinstance(families, list) or not families or any(name not in settings.families for name in families):
        raise ValueError(f"{path} must name families of its run, {', '.join(settings.families)}, got {families!r}.")
    return settings, families
