"""Metrics of a run: a line of JSON a meta-step."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from groove.config.limits import LARGEST
from groove.files.writing import write_text
from levels.files import parsed

Metrics: TypeAlias = Mapping[str, float | None]
Sink: TypeAlias = Callable[[list[Metrics]], None]
"""Receives the metrics of a chunk's meta-steps, a row each, in order."""


def table(first: int, info: Mapping[str, np.ndarray], steps: int) -> list[Metrics]:
    """A row of plain numbers for each meta-step, from arrays [steps] or []; None where a number is not finite.

    What is a number for all steps is what was found after the last.
    """

    def number(value: np.ndarray, step: int) -> float | None:
        chosen = value[step] if np.ndim(value) else value
        return None if not np.isfinite(chosen) else int(chosen) if np.issubdtype(value.dtype, np.integer) else float(chosen)

    return [{"step": first + i + 1, **{name: number(info[name], i) for name in sorted(info)}} for i in range(steps)]


def append_metrics(path: Path, rows: Sequence[Metrics]) -> None:
    """Adds rows to a file of JSON lines and forces them to the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def read_metrics(path: Path) -> list[Metrics]:
    """The rows of a file of JSON lines; a last line that was cut off is left out.

    Raises:
        ValueError: Another line is damaged; the message names file and line.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _row(path: Path, number: int, line: bytes) -> Metrics:
    """A line of metrics, once it is found to be one."""
    try:
        row = parsed(line.decode(), f"line {number}")
        step = row.get("step") if isinstance(row, dict) else None
        if type(step) is not int or step < 0 or not all(map(_is_number, row.values())):
            raise ValueError(f"line {number} must be an object of finite numbers with a step, got {line[:40]!r}.")
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error} Remove the line, or the file, to go on without.") from error
    return row


def _is_number(value: object) -> bool:
    """Whether it is one that programs reach; None stands for one that was not finite."""
    return value is None or (isinstance(value, int | float) and abs(value) <= LARGEST)


def cut_metrics(path: Path, step: int) -> None:
    """Drops the rows after a meta-step, as they will be written again."""
    rows = [row for row in read_metrics(path) if (row["step"] or 0) <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def averaged(rows: Sequence[Sequence[Metrics]]) -> list[Metrics]:
    """The means over runs side by side of the metrics of each meta-step; of counts, and steps, too.

    Args:
        rows: Of each run, those of the same meta-steps.
    """
    means: list[Metrics] = []
    for step in zip(*rows, strict=True):
        known = {name: [row[name] for row in step if row.get(name) is not None] for name in step[0]}
        means.append({name: sum(values) / len(values) if values else None for name, values in known.items()})
    return means
