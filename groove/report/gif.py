"""An agent's walk as an animation."""

from pathlib import Path

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from groove.lifetime.learning_curve import Walk
from groove.lifetime.learning_curve import walk as walk_of
from groove.runs import Result
from levels.base import Family, Level
from levels.files import whole

FRAME_SECONDS, LAST_SECONDS = 0.15, 2.0
MOST_FRAMES = 200
LEAST_SIDE = 240
"""Smaller pictures are enlarged by a whole factor, at least to this side, in pixels."""
COLOURS = 64
WALK_SEED = 40_961
"""Of the agent that is drawn, beside the run's seed."""
WALK_STEPS = 60


def draw_walk(result: Result) -> Path | None:
    """Teaches an untrained agent on a level in play, lets it walk once: `walk.gif`; None where no family has pictures."""
    theta = result.run.trainer.theta(result.state)
    key = jax.random.fold_in(jax.random.key(WALK_SEED), result.run.config.seed)  # the run's own key is spent
    for part, players in zip(result.run.parts, result.state.live, strict=True):
        lifetimes = players.task.lifetime
        if part.family.image is None or not np.any(lifetimes):
            continue
        place = int(np.argmax(lifetimes))
        level, lifetime = jax.tree.map(lambda leaf, place=place: leaf[place], (players.task.level, lifetimes))

        def walk(key, theta, level, lifetime, part=part):
            life_key, walk_key = jax.random.split(key)
            agent = part.life.live(life_key, theta, level, lifetime)
            return walk_of(part.rule, part.family.environment, walk_key, agent, level, steps=WALK_STEPS)

        path = result.folder / "walk.gif"
        save_walk(path, part.family, level, jax.jit(walk)(key, theta, level, lifetime))
        return path
    return None


def save_walk(path: Path, family: Family, level: Level, walk: Walk) -> None:
    """Writes the walk as a GIF: a frame a step with the return so far, the last one held; at most 200 steps.

    Args:
        path: The file, replaced if it exists.
        family: Of the level; must have an `image`.
        level: Where the walk took place.
        walk: One episode.

    Raises:
        ValueError: The family cannot draw its levels.
    """
    frames = _frames(family, level, walk)
    durations = [round(1000 * FRAME_SECONDS)] * (len(frames) - 1) + [round(1000 * LAST_SECONDS)]
    with whole(path) as file:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def _frames(family: Family, level: Level, walk: Walk) -> list[Image.Image]:
    """The start, every step that was taken and the state that the last one led to, in one palette."""
    if family.image is None:
        raise ValueError(f"family must have an image to be drawn, got {family.name!r}, which has none.")
    level, walk = jax.tree.map(np.asarray, (level, walk))
    last = min(int(np.sum(walk.running)), len(walk.running) - 1, MOST_FRAMES)
    states = [jax.tree.map(lambda leaf, i=i: leaf[i], walk.state) for i in range(last + 1)]
    frames = [
        _labelled(family.image(level, state), f"step {i}   return {walk.total[i]:+.2f}") for i, state in enumerate(states)
    ]
    palette = _mosaic(frames).quantize(COLOURS)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _labelled(picture: np.ndarray, text: str) -> Image.Image:
    """A picture, enlarged if it is small, above a line of text."""
    factor = max(1, -(-LEAST_SIDE // max(picture.shape[:2])))
    level = Image.fromarray(picture).resize((picture.shape[1] * factor, picture.shape[0] * factor), Image.Resampling.NEAREST)
    frame = Image.new("RGB", (max(level.width, 150), level.height + 24), "white")
    frame.paste(level, ((frame.width - level.width) // 2, 0))
    ImageDraw.Draw(frame).text((4, level.height + 5), text, fill=(40, 40, 40), font=ImageFont.load_default(13))
    return frame


def _mosaic(frames: list[Image.Image]) -> Image.Image:
    """First, middle and last frame beside one another: between them they show every colour that matters."""
    chosen = [frames[0], frames[len(frames) // 2], frames[-1]]
    mosaic = Image.new("RGB", (sum(frame.width for frame in chosen), chosen[0].height))
    for i, frame in enumerate(chosen):
        mosaic.paste(frame, (i * frame.width, 0))
    return mosaic
