"""jaxued's mazes: walls and a goal, seen from where the agent stands and looks."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxued.environments.maze import Level, Maze, MazeSolved, make_level_generator, make_level_mutator
from jaxued.environments.maze.level import prefabs

from levels.adapters.forms import cast
from levels.adapters.jaxued.family import from_jaxued
from levels.base import Family
from levels.mazes import Maze as TextMaze

PENALTY = 0.9
"""What of the reward of 1 is lost by arriving at the last step (jaxued's Maze)."""


def maze(
    *, height: int = 13, width: int = 13, walls: int = 25, view: int = 5, episode_limit: int = 250, time: bool = False
) -> Family:
    """The mazes of jaxued, with its generator and its edits.

    The agent turns left or right or goes forward, and is paid 1 - 0.9 n / episode_limit where it arrives at the goal in n
    steps. It sees the `view` x `view` cells before it, f32[3 view² + 1] with its direction. Not every random maze has a way
    to the goal; the optimum of one without is 0. It is that of an agent that knows the maze.

    Args:
        height: Rows.
        width: Columns.
        walls: Cells of random mazes that are drawn to be walls, with replacement.
        view: Side of what the agent sees, odd.
        episode_limit: Steps of an episode.
        time: Whether the agent sees the time; then the limit terminates, else it truncates.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> import jax
        >>> from levels.adapters.jaxued import maze, named_mazes
        >>> family, level = maze(), named_mazes()["SixteenRooms"]
        >>> print(family.draw(level).splitlines()[1], f"{family.optimum(level):.3f}")
        .>.......#... 0.906
    """
    if min(height, width) < 2:
        raise ValueError(f"height and width must be at least 2 cells, got {(height, width)}.")
    if not 0 <= walls <= height * width - 2:
        raise ValueError(f"walls must be between 0 and {height * width - 2}, two cells fewer than there are, got {walls}.")
    if view < 1 or view % 2 == 0:
        raise ValueError(f"view must be an odd number of cells, got {view}.")
    family = from_jaxued(
        Maze(max_height=height, max_width=width, agent_view_size=view),
        make_level_generator(height, width, walls),
        name="jaxued:Maze",
        episode_limit=episode_limit,
        time=time,
        mutate=make_level_mutator(1),
        is_valid=is_valid,
        draw=draw,
    )
    return family._replace(
        optimum=lambda level: optimum(level, episode_limit),
        success=lambda level, episode_return: _solved(optimum(level, episode_limit), episode_return),
        features=features,
    )


def named_mazes(names: Iterable[str] | None = None, *, height: int = 13, width: int = 13) -> dict[str, Level]:
    """The mazes that come with jaxued, made by hand, by name, walled in to a common size.

    Args:
        names: Which; by default all of them that fit.
        height: Rows, at least those of the highest.
        width: Columns, at least those of the widest.

    Raises:
        ValueError: A name is unknown, or its maze does not fit.

    Example:
        >>> from levels.adapters.jaxued import named_mazes
        >>> sorted(named_mazes(height=7, width=7))
        ['TrivialMaze', 'TrivialMaze2', 'TrivialMaze3']
    """
    chosen = list(names) if names is not None else [name for name in prefabs if _fits(name, height, width)]
    for name in chosen:
        if name not in prefabs:
            raise ValueError(f"unknown maze {name!r}. Known: {', '.join(prefabs)}.")
        if not _fits(name, height, width):
            raise ValueError(f"height and width must hold the maze {name!r}, got {(height, width)}.")
    form = jax.eval_shape(make_level_generator(height, width, 0), jax.random.key(0))
    return {name: cast(Level.from_str(prefabs[name]).pad_to_shape(width, height), form) for name in chosen}


def level_of(maze: TextMaze, *, height: int = 13, width: int = 13) -> Level:
    """A maze that was written as text, walled in to a common size; of an episode's length it says nothing.

    Args:
        maze: As `levels.mazes.from_text` reads it.
        height: Rows, at least those of the maze.
        width: Columns, at least those of the maze.

    Raises:
        ValueError: It does not fit.

    Example:
        >>> from levels import mazes
        >>> from levels.adapters.jaxued import level_of
        >>> (maze,) = mazes.from_text("v.G")
        >>> level_of(maze, height=2, width=4).wall_map.tolist()
        [[False, False, False, True], [True, True, True, True]]
    """
    rows, columns = maze.walls.shape
    if rows > height or columns > width:
        raise ValueError(f"height and width must hold the maze of {rows} x {columns} cells, got {(height, width)}.")
    walls = np.ones((height, width), bool)
    walls[:rows, :columns] = maze.walls
    form = jax.eval_shape(make_level_generator(height, width, 0), jax.random.key(0))
    places = (np.array(place[::-1], np.uint32) for place in (maze.goal, maze.start))  # column and row
    return cast(Level(walls, *places, np.uint8(maze.direction), columns, rows), form)


def optimum(level: Level, episode_limit: int) -> jax.Array:
    """The return f32[] of the shortest way to the goal, 0 where there is none within the limit."""
    steps = shortest(level)
    return jnp.where(steps <= episode_limit, 1 - PENALTY * steps / episode_limit, 0.0).astype(jnp.float32)


def shortest(level: Level) -> jax.Array:
    """Turns and steps from the start to the goal, f32[]; infinite where there is no way."""
    height, width = level.wall_map.shape[-2:]
    solved = MazeSolved(max_height=height, max_width=width)
    with jax.numpy_rank_promotion("allow"):
        return solved.min_steps_to_goal(solved.init_state_from_level(level)).astype(jnp.float32)


def is_valid(level: Level) -> jax.Array:
    """Whether the level is well formed, as jaxued understands it, and the agent looks in one of four directions: bool[]."""
    inside = (level.width <= level.wall_map.shape[1]) & (level.height <= level.wall_map.shape[0])
    return level.is_well_formatted() & (level.agent_dir < 4) & inside


def features(level: Level) -> dict[str, jax.Array]:
    """Measurements of a level, each f32[]: walls, their share of cells; shortest, steps to the goal, or -1 without a way."""
    steps = shortest(level)
    return {"walls": jnp.mean(level.wall_map, dtype=jnp.float32), "shortest": jnp.where(jnp.isfinite(steps), steps, -1.0)}


def draw(level: Level) -> str:
    """A level as jaxued writes it: # wall, G goal, the agent an arrow."""
    return jax.tree.map(np.asarray, level).to_str()


def _solved(best: jax.Array, episode_return: jax.Array) -> jax.Array:
    return (best > 0) & (episode_return >= 0.75 * best)


def _fits(name: str, height: int, width: int) -> bool:
    rows = prefabs[name].splitlines()
    return len(rows) <= height and len(rows[0]) <= width
