"""Autoencoders of CLUTR: trained once for a family and its sizes, kept in the user's cache, copied into the run's folder."""

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax

from groove import build, rulefile
from groove.build import Latents
from groove.config import Config
from groove.curricula.latent import Latent, settings_of, shape, train
from levels.base import Family

SEED = 77_003
"""Of every autoencoder: two runs of other seeds share one."""


def file_of(folder: Path, family: str) -> Path:
    """Where a run's copy of an autoencoder lies."""
    return folder / f"latent-{family.replace(':', '-')}.safetensors"


def prepare(config: Config, announce: Callable[[str], None]) -> dict[str, Path]:
    """Files of the autoencoders that a run needs, by family; those that nobody has trained yet are trained now."""
    if config.curriculum.kind != "clutr":
        return {}
    return {name: _cached(config, name, announce) for name in config.families}


def found(files: dict[str, Path]) -> Latents | None:
    """How a run finds its autoencoders, given their files by family; None if it has none."""
    return (lambda family: load(files[family.name], family)) if files else None


def load(path: Path, family: Family) -> Latent:
    """An autoencoder of a family's levels.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or of levels of other sizes.
    """
    flat, metadata = rulefile.load_rule_file(path)
    try:
        return rulefile.unflatten(shape(family.generator, samples=int(metadata["samples"])), flat)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} must hold an autoencoder of levels of {family.name!r}, but {error}") from error


def _cached(config: Config, name: str, announce: Callable[[str], None]) -> Path:
    family = build.family(config, name)
    about: dict[str, object] = {
        "family": name,
        "sizes": dataclasses.asdict(build.sizes(config, name)),
        "jax": jax.__version__,
    }
    about |= {"steps": config.curriculum.latent_steps, **settings_of()}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]
    path = _folder() / f"{digest}.safetensors"
    try:
        assert load(path, family)
    except (FileNotFoundError, ValueError):
        announce(f"training the autoencoder of {name}, once for these sizes")
        trained, _ = train(jax.random.key(SEED), family.generator, steps=config.curriculum.latent_steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        count = str(trained.token.shape[0])
        rulefile.save_rule(path, trained, {"samples": count, "about": json.dumps(about)})
    return path


def _folder() -> Path:
    """The user's cache, or a temporary folder where that cannot be written."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groove" / "latent"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / "groove-latent"
    return base if os.access(base, os.W_OK) else Path(tempfile.gettempdir()) / "groove-latent"


def of_folder(config: Config, folder: Path) -> dict[str, Path]:
    """A run's own autoencoders, by family."""
    return {name: file_of(folder, name) for name in config.families} if config.curriculum.kind == "clutr" else {}
