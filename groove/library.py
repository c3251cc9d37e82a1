"""Learned rules from files."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax

from groove import build, config, rulefile
from groove.agents import Architecture
from groove.base import UpdateRule
from groove.config import CHOICES, Config, is_plugged
from levels import plugins
from levels.base import Spec


def load_rule(
    path: str | Path,
    spec: Spec | None = None,
    architecture: Architecture | None = None,
    *,
    trusted: tuple[str, ...] = (),
) -> UpdateRule:
    """A learned rule as an `UpdateRule`, whose `init` gives the learned theta whatever the key.

    Args:
        path: A run folder, or its `rule.safetensors`.
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
        >>> rule = groove.load_rule("runs/quick-0", family.environment.spec)  # doctest: +SKIP
    """
    path = Path(path)
    path = path / "rule.safetensors" if path.is_dir() else path
    flat, metadata = rulefile.load_rule_file(path)
    settings, families = _origin(path, metadata)
    if spec is None or architecture is None:
        plugins.check_trusted(path, needed(settings), trusted)
        specs = {name: build.family(settings, name).environment.spec for name in families}
        spec = spec or specs[families[0]]
        name = next((name for name in families if specs[name] == spec), families[0])
        architecture = architecture or build.architecture(settings, spec, name)
    plugins.check_trusted(path, _kind(settings), trusted)
    rule = build.learned_rule(settings, spec, architecture)
    theta = rulefile.unflatten(jax.eval_shape(rule.init, jax.random.key(0)), flat)
    return rule._replace(init=lambda key: theta)


def needed(settings: Config) -> tuple[str, ...]:
    """The plug-ins that a rule cannot be rebuilt without: those of its families, of their generators and of its own kind."""
    return (*filter(is_plugged, settings.families), *filter(None, settings.generators), *_kind(settings))


def _kind(settings: Config) -> tuple[str, ...]:
    return () if settings.rule.kind in CHOICES["rule", "kind"] else (settings.rule.kind,)


def _origin(path: Path, metadata: Mapping[str, str]) -> tuple[Config, list[str]]:
    """The configuration of the run that a rule comes from, and the names of its families."""
    try:
        settings, families = config.from_json(metadata["config"]), json.loads(metadata["families"])
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} does not say which rule it is: {error}.") from error
    except ValueError as error:  # a plug-in, for one, that is not installed
        raise ValueError(f"{path} needs what is not here: {error}") from error
    if not isinstance(families, list) or not families or any(name not in settings.families for name in families):
        raise ValueError(f"{path} must name families of its run, {', '.join(settings.families)}, got {families!r}.")
    return settings, families
