"""gymnax, both ways: its environments become families of levels, and families become its environments.

gymnax (Lange 2022) parametrises an environment by `EnvParams`. A level of `from_gymnax` is a dict of some of their fields,
so that a curriculum can choose them; `to_gymnax` makes the level itself a field.
"""

from levels.adapters.gymnax.environment import LevelParams, LevelState, Timed, to_gymnax
from levels.adapters.gymnax.family import GymnaxState, from_gymnax

__all__ = ["GymnaxState", "LevelParams", "LevelState", "Timed", "from_gymnax", "to_gymnax"]
