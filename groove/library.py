"""Learned rules from files."""

import json
from pathlib import Path

import jax

from groove import build, config, rulefile
from groove.agents import Architecture
from groove.base import UpdateRule
from levels.base import Spec


def load_rule(path: str | Path, spec: Spec | None = None, architecture: Architecture | None = None) -> UpdateRule:
    """A learned rule as an `UpdateRule`, whose `init` gives the learned theta whatever the key.

    Args:
        path: A run folder, or its `rule.safetensors`.
        spec: The environment that it is to be used in; by default that of the run's first family.
        architecture: The agents' networks and optimizers; by default those that the run gave to agents of this spec, or
            of its first family if it had none.

    Raises:
        FileNotFoundError: There is no such file; the run may not have finished.
        ValueError: The file is damaged, no rule of this version of groove, or a plug-in that it needs is not installed.

    Example:
        >>> import groove, levels
        >>> family = levels.gridworld.gridworld(height=5, width=5)
        >>> rule = groove.load_rule("runs/quick-0", family.environment.spec)  # doctest: +SKIP
    """
    path = Path(path)
    path = path / "rule.safetensors" if path.is_dir() else path
    flat, metadata = rulefile.load_rule_file(path)
    try:
        settings, families = config.from_json(metadata["config"]), json.loads(metadata["families"])
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} does not say which rule it is: {error}.") from error
    except ValueError as error:  # a plug-in, for one, that is not installed
        raise ValueError(f"{path} needs what is not here: {error}") from error
    specs = {name: build.family(settings, name).environment.spec for name in families}
    spec = spec or specs[families[0]]
    name = next((name for name in families if specs[name] == spec), families[0])
    rule = build.learned_rule(settings, spec, architecture or build.architecture(settings, spec, name))
    theta = rulefile.unflatten(jax.eval_shape(rule.init, jax.random.key(0)), flat)
    return rule._replace(init=lambda key: theta)
