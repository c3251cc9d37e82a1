"""Levels, drawn and measured."""

import io
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from groove.parallel import devices
from groove.report.figures import FeatureDrift, Picture
from groove.report.record import Kept, Record
from groove.report.series import series
from levels.base import Family

SHOWN = 6
"""Levels drawn from either end of a curriculum."""
SAMPLES = 256
"""Random levels behind a mean."""


class Ends(NamedTuple):
    """The two ends of a curriculum, drawn."""

    highest: list[Picture]
    lowest: list[Picture]


def ends(family: Family, kept: Kept | None) -> Ends | None:
    """The levels of highest and of lowest score, none twice; None where there are none, or no pictures of them."""
    if family.image is None or kept is None:
        return None
    order = np.flatnonzero(np.isfinite(kept.score)).tolist()
    most = min(SHOWN, (len(order) + 1) // 2)
    highest, lowest = order[:most], order[most:][-most:][::-1]
    return Ends(
        [_level(family, kept, row, f"highest-{i}") for i, row in enumerate(highest, 1)],
        [_level(family, kept, row, f"lowest-{i}") for i, row in enumerate(lowest, 1)],
    )


def _level(family: Family, kept: Kept, row: int, place: str) -> Picture:
    assert family.image is not None
    level = jax.tree.map(lambda leaf: leaf[row], kept.levels)
    score, lifetime = kept.score[row], kept.lifetime[row]
    alt = f"A level of {family.name}, score {score:.3f}:\n{family.draw(level)}"
    file = io.BytesIO()
    Image.fromarray(family.image(level, None)).quantize(64).save(file, "PNG", optimize=True)
    return Picture(f"{family.name}-{place}", file.getvalue(), alt, f"score {score:+.3f}\nlifetime {lifetime}", chart=False)


def drifts(record: Record, family: Family) -> dict[str, FeatureDrift]:
    """Each feature of a family that is not the same throughout."""
    prefix = f"{family.name}/feature_"
    names = [name.removeprefix(prefix) for name in (record.metrics[-1] if record.metrics else {}) if name.startswith(prefix)]
    random, kept = _means(family, record.kept.get(family.name)) if names else ({}, {})
    found = {}
    for name in names:
        lived = series(record.metrics, prefix + name)
        values = [*lived.value, *(means[name] for means in (random, kept) if name in means)]
        if len(lived.step) and np.ptp(values) > 1e-6 * np.max(np.abs(values)):
            found[name] = FeatureDrift(lived, random.get(name), kept.get(name))
    return found


def _means(family: Family, kept: Kept | None) -> tuple[dict[str, float], dict[str, float]]:
    """Mean features of random and of kept levels; nothing where they are not known. Compiles once for both."""
    features = family.features
    if features is None:
        return {}, {}
    held = 0 if kept is None else min(len(kept.score), SAMPLES)
    chosen = np.linspace(0, max(len(kept.score) - 1, 0), held).round().astype(int) if kept is not None else np.empty(0, int)

    def measure(keys, levels):
        random = jax.vmap(family.generator.sample)(keys)
        both = random if levels is None else jax.tree.map(lambda a, b: jnp.concatenate([a, b]), random, levels)
        return jax.vmap(features)(both)

    compiled = jax.jit(measure, compiler_options=devices.options_for_one_call())
    levels = None if kept is None else jax.tree.map(lambda leaf: leaf[chosen], kept.levels)
    measured = jax.device_get(compiled(jax.random.split(jax.random.key(0), SAMPLES), levels))
    random = {name: float(np.mean(values[:SAMPLES])) for name, values in measured.items()}
    return random, {name: float(np.mean(values[SAMPLES:])) for name, values in measured.items()} if held else {}
