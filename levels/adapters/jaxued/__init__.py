"""jaxued, both ways: its environments become families of levels, and families become its environments.

jaxued (Coward et al. 2024) keeps levels apart from environments, as this package does. Of its version 0.0.1 only what works
with present JAX is used: environments, levels, their text and `make_level_generator`.
"""

from levels.adapters.jaxued.environment import EpisodeParams, EpisodeState, to_jaxued
from levels.adapters.jaxued.family import JaxuedState, from_jaxued
from levels.adapters.jaxued.maze import level_of, maze, named_mazes

__all__ = ["EpisodeParams", "EpisodeState", "JaxuedState", "from_jaxued", "level_of", "maze", "named_mazes", "to_jaxued"]
