"""Autoencoders of CLUTR: trained once for a family and its sizes, kept in the user's cache, copied into the run's folder."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from groove import assembly
from groove.assembly import Latents
from groove.config import Config, generator_of, is_plugged
from groove.curricula.clutr import Latent, settings_of, shape, train
from groove.files import rulefile, sizes
from groove.files.writing import user_cache
from levels import plugins
from levels.base import Family, Generator
from levels.dataset import columns

SEED = 77_003
"""Of every autoencoder: two runs of other seeds share one."""
FINGERPRINT = 64
"""Levels that a generator is recognised by."""


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
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} must hold an autoencoder of levels of {family.name!r}, but {error}") from error


def _cached(config: Config, name: str, announce: Callable[[str], None]) -> Path:
    family = assembly.family(config, name)
    about = {**_levels(config, name, family), "steps": config.curriculum.latent_steps, **settings_of()}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]
    path = _folder() / f"{digest}.safetensors"
    try:
        load(path, family)
    except (FileNotFoundError, ValueError):
        announce(f"training the autoencoder of {name}, once for these sizes")
        trained, _ = train(jax.random.key(SEED), family.generator, steps=config.curriculum.latent_steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        count = str(trained.token.shape[0])
        rulefile.save_rule(path, trained, {"samples": count, "about": json.dumps(about)})
    return path


def _levels(config: Config, name: str, family: Family) -> dict[str, object]:
    """All that decides which levels there are: sizes, who makes them, and a hash of some, for a plug-in may be edited."""
    plugged = {"groove.families": name if is_plugged(name) else "", "groove.generators": generator_of(config, name)}
    return {
        "levels": sizes.generator(config, name),
        "plugins": {group: plugins.origin(group, part) for group, part in plugged.items() if part},
        "fingerprint": fingerprint(family.generator),
        "jax": jax.__version__,
    }


def fingerprint(generator: Generator) -> str:
    """SHA-256 of a few levels that a generator samples, always with the same keys."""
    some = jax.jit(jax.vmap(generator.sample))(jax.random.split(jax.random.key(SEED), FINGERPRINT))
    total = hashlib.sha256()
    for name, leaf in columns.named(some).items():
        total.update(json.dumps([name, str(leaf.dtype), leaf.shape]).encode())
        total.update(np.asarray(leaf).tobytes())
    return total.hexdigest()


def _folder() -> Path:
    """The user's cache, or a temporary folder where that cannot be written."""
    return user_cache("latent") or Path(tempfile.gettempdir()) / "groove-latent"


def of_folder(config: Config, folder: Path) -> dict[str, Path]:
    """A run's own autoencoders, by family."""
    return {name: file_of(folder, name) for name in config.families} if config.curriculum.kind == "clutr" else {}
