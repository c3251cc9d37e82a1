"""Grids as pictures."""

import jax
import numpy as np

from levels.gridworld.environment import GridState
from levels.gridworld.level import GridLevel
from levels.gridworld.planar import PlanesState

SIZE = 24
"""The side of a cell in pixels."""

FLOOR, LINE, WALL = (250, 248, 243), (228, 224, 214), (74, 78, 88)
GAIN, LOSS, NEUTRAL = (38, 150, 84), (206, 60, 54), (150, 150, 150)
AGENT, EYE, TRAIL = (45, 105, 210), (255, 255, 255), (205, 219, 243)


def image(level: GridLevel, state: GridState | PlanesState | None = None) -> np.ndarray:
    """A picture u8[24 h, 24 w, 3] of a level of h × w cells.

    Walls are dark, the start is tinted, the agent (of `state`, else at the start) is blue. Objects are green where they pay
    and red where they cost, the stronger the more; a ring marks those that may end the episode. Objects that are absent in
    `state` are left out.
    """
    level = jax.tree.map(np.asarray, level)
    columns = level.walls.shape[1]
    height, width = int(level.height), int(level.width)
    picture = np.zeros((height * SIZE, width * SIZE, 3), np.uint8)
    for row, column in np.ndindex(height, width):
        fill(tile(picture, row, column), WALL if level.walls[row, column] else FLOOR)
    fill(tile(picture, *divmod(int(level.start), columns)), TRAIL)
    for i, cell in present(level, state):
        draw_object(tile(picture, *divmod(cell, columns)), *(float(values[i]) for values in (level.reward, level.terminate)))
    draw_agent(tile(picture, *divmod(int(level.start if state is None else state.cell), columns)))
    return picture


def present(level: GridLevel, state: GridState | PlanesState | None) -> list[tuple[int, int]]:
    """Index and cell of each object that exists."""
    used = np.flatnonzero(level.kind >= 0).tolist()
    if state is None:
        return [(i, int(level.cell[i])) for i in used]
    if isinstance(state, PlanesState):
        return [(i, int(state.objects[i])) for i in used if state.exists[i]]
    return [(i, int(level.cell[i])) for i in used if int(state.exists) >> i & 1]


def tile(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """The part of a picture that shows a cell, a view u8[24, 24, 3]."""
    return picture[row * SIZE : (row + 1) * SIZE, column * SIZE : (column + 1) * SIZE]


def fill(pixels: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Fills a cell, with a line at its lower and right edge."""
    pixels[:] = colour
    if colour != WALL:
        pixels[-1], pixels[:, -1] = LINE, LINE


def radius() -> np.ndarray:
    """Distance of each pixel from the middle of a cell, f64[24, 24], 1 at the middle of an edge."""
    axis = (np.arange(SIZE) - (SIZE - 2) / 2) / (SIZE / 2)
    return np.hypot(axis[:, None], axis[None, :])


def paint(pixels: np.ndarray, mask: np.ndarray, colour: tuple[float, ...]) -> None:
    """Blends a colour into a cell; `mask` f64[24, 24] is its opacity."""
    opacity = np.clip(mask, 0.0, 1.0)[:, :, None]
    pixels[:] = np.round(pixels * (1 - opacity) + np.array(colour) * opacity).astype(np.uint8)


def disc(size: float) -> np.ndarray:
    """Opacity f64[24, 24] of a disc with a smooth edge."""
    return (size - radius()) * (SIZE / 2) + 0.5


def draw_object(pixels: np.ndarray, reward: float, terminate: float) -> None:
    """A disc in the colour of the reward; a ring around it, the more opaque the likelier it ends the episode."""
    strength = 0.35 + 0.65 * min(abs(reward), 1.0)
    colour = NEUTRAL if reward == 0 else GAIN if reward > 0 else LOSS
    ring = np.minimum(disc(0.9), 1 - disc(0.76))
    paint(pixels, np.clip(ring, 0, 1) * min(terminate, 1.0), colour)
    paint(pixels, np.clip(disc(0.64), 0, 1) * strength, colour)


def draw_agent(pixels: np.ndarray) -> None:
    """A blue disc with a light middle."""
    paint(pixels, disc(0.6), AGENT)
    paint(pixels, disc(0.24), EYE)
