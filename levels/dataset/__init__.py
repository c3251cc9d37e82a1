"""Levels on disk: a Parquet file with one row a task, readable by anything and checked before it is used.

A leaf of the level is a column named by its path (`level.walls`), beside it stand extra columns that mean nothing here.
Arrays are flattened into lists, their shape stands in the field's metadata.
"""

from levels.dataset.header import Description
from levels.dataset.parquet import MOST_BYTES
from levels.dataset.reading import Dataset, describe, family_of, load
from levels.dataset.writing import save

__all__ = ["MOST_BYTES", "Dataset", "Description", "describe", "family_of", "load", "save"]
