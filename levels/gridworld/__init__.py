"""Gridworlds of GROOVE (Jackson et al. 2023): walls, and objects that pay, may end the episode and reappear."""

import functools

import jax
import jax.numpy as jnp

from levels.base import Family, Generator, interval
from levels.gridworld import draw, edits, environment, features, generator, image, optimum, planar
from levels.gridworld.draw import from_text, to_text
from levels.gridworld.environment import ACTIONS, GridState
from levels.gridworld.generator import Ranges
from levels.gridworld.level import GridLevel, Thing, grid_level
from levels.gridworld.planar import PlanesState

__all__ = [
    "ACTIONS",
    "GridLevel",
    "GridState",
    "PlanesState",
    "Thing",
    "from_text",
    "grid_level",
    "gridworld",
    "planes",
    "to_text",
]

MAX_OBJECTS = 16
"""The state counts 2^objects sets; more would not fit memory."""

SMALLEST, LARGEST = float(jnp.finfo(jnp.float32).tiny), float(jnp.finfo(jnp.float32).max)


def gridworld(
    *,
    height: int = 10,
    width: int = 10,
    objects: int = 5,
    episode_limit: int = 750,
    time: bool = True,
    side: tuple[int, int] | None = None,
    square: bool = True,
    number: tuple[int, int] | None = None,
    reward: tuple[float, float] = (-1.0, 1.0),
    terminate: tuple[float, float] = (0.01, 1.0),
    respawn: tuple[float, float] = (0.001, 0.1),
    limit: tuple[int, int] | None = None,
    walls: int | None = None,
) -> Family:
    """Grids whose objects reappear where they were. Observations are integers; the optimum is exact.

    The defaults are GROOVE's training grids (Jackson et al. 2023, public code).

    Args:
        height: Rows that every level is padded to.
        width: Columns that every level is padded to.
        objects: Entries for objects that every level is padded to, 1 to 16.
        episode_limit: The longest limit that a level may have, in steps.
        time: Whether the agent sees the time; then the limit terminates, else it truncates.
        side: Lowest and highest side of random grids; by default 4 (or less, if the padding is smaller) to the padding.
        square: Whether random grids are square; else height and width are drawn apart.
        number: Fewest and most objects of random grids; by default 1 to `objects`.
        reward: Range of uniform rewards; the first object's is drawn from the part that is not negative.
        terminate: Range of log-uniform termination probabilities.
        respawn: Range of log-uniform respawn probabilities.
        limit: Range of log-uniform limits; by default 20 (or less) to `episode_limit`.
        walls: Cells of the padding drawn to be walls, those outside the grid dropped; by default 15 %.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> import jax
        >>> from levels.gridworld import gridworld
        >>> family = gridworld(height=5, width=5, objects=2, episode_limit=50)
        >>> level = family.generator.sample(jax.random.key(0))
        >>> state, timestep = family.environment.reset(jax.numpy.zeros(0, jax.numpy.uint32), level)
        >>> bool(family.optimum(level) >= 0)
        True
    """
    check_sizes(height, width, objects, episode_limit)
    longest = min(height, width) if square else max(height, width)
    drawn = round(0.15 * height * width) if walls is None else walls
    if not 0 <= drawn <= height * width:
        raise ValueError(f"walls must be between 0 and the {height * width} cells of the padding, got {walls}.")
    if reward[1] < 0:
        raise ValueError(f"reward must reach 0, since the first object's is not negative, got {reward}.")
    ranges = Ranges(
        height=height,
        width=width,
        objects=objects,
        side=interval(side or (min(4, height, width), longest), "side", 2, longest),
        square=square,
        number=interval(number or (1, objects), "number", 1, objects),
        reward=interval(reward, "reward", -LARGEST, LARGEST),
        terminate=interval(terminate, "terminate", SMALLEST, 1.0),
        respawn=interval(respawn, "respawn", SMALLEST, 1.0),
        limit=interval(limit or (min(20, episode_limit), episode_limit), "limit", 1, episode_limit),
        walls=drawn,
    )
    sizes = {"height": height, "width": width, "objects": objects, "episode_limit": episode_limit}
    return Family(
        name="gridworld",
        environment=environment.environment(**sizes, time=time),
        generator=_generator(ranges, episode_limit),
        draw=draw.to_text,
        image=image.image,
        optimum=optimum.optimum,
        policy=functools.partial(optimum.policy, episode_limit=episode_limit),
        value=optimum.value,
        differentiable_value=functools.partial(optimum.differentiable_value, episode_limit=episode_limit),
        success=success,
        features=features.features,
    )


def planes(
    *,
    height: int = 10,
    width: int = 10,
    objects: int = 5,
    episode_limit: int = 750,
    time: bool = True,
    side: tuple[int, int] | None = None,
    square: bool = True,
    number: tuple[int, int] | None = None,
    reward: tuple[float, float] = (-1.0, 1.0),
    terminate: tuple[float, float] = (0.01, 1.0),
    respawn: tuple[float, float] = (0.001, 0.1),
    limit: tuple[int, int] | None = None,
    walls: int | None = None,
    scatter: bool = False,
) -> Family:
    """Grids whose objects reappear in random free cells. Observations are planes; the optimum is not known.

    Levels and all arguments but one are those of `gridworld`. With `scatter` every episode begins with its objects in random
    free cells, as in the random grids of Oh et al. 2020 (arXiv 2007.08794), and not in those of the level.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> from levels.gridworld import planes
        >>> planes(height=5, width=6, objects=2).environment.spec.observation
        Array(shape=(5, 6, 4))
    """
    family = gridworld(
        height=height,
        width=width,
        objects=objects,
        episode_limit=episode_limit,
        time=time,
        side=side,
        square=square,
        number=number,
        reward=reward,
        terminate=terminate,
        respawn=respawn,
        limit=limit,
        walls=walls,
    )
    sizes = {"height": height, "width": width, "objects": objects, "episode_limit": episode_limit}
    return family._replace(
        name="gridworld-planes",
        environment=planar.environment(**sizes, time=time, scatter=scatter),
        optimum=None,
        policy=None,
        value=None,
        differentiable_value=None,
        success=None,
    )


def success(level: GridLevel, episode_return: jax.Array) -> jax.Array:
    """Whether the return of an episode is at least 0.75 of the optimum, and that is positive: bool[]."""
    best = optimum.optimum(level)
    return (best > 0) & (episode_return >= 0.75 * best)


def check_sizes(height: int, width: int, objects: int, episode_limit: int) -> None:
    """Raises a ValueError that names the first size out of its range."""
    if min(height, width) < 2:
        raise ValueError(f"height and width must be at least 2 cells, got {(height, width)}.")
    most = min(MAX_OBJECTS, height * width - 1)
    if not 1 <= objects <= most:
        raise ValueError(f"objects must be between 1 and {most}, got {objects}.")
    if episode_limit < 1:
        raise ValueError(f"episode_limit must be at least 1 step, got {episode_limit}.")


def _generator(ranges: Ranges, episode_limit: int) -> Generator:
    return Generator(
        sample=functools.partial(generator.sample, ranges=ranges),
        mutate=functools.partial(edits.mutate, ranges=ranges, episode_limit=episode_limit),
        decode=functools.partial(generator.decode, ranges=ranges),
        dimensions=generator.dimensions(ranges),
        is_valid=functools.partial(generator.is_valid, ranges=ranges, episode_limit=episode_limit),
    )
