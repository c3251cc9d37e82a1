"""Work that outlives its process: finished blocks in a folder, each written whole or not at all."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from groove.files.writing import write_text
from levels import dataset
from levels.files import read_json

FAMILY = "groove.files.journal"


class Journal:
    """A folder of finished blocks, for the work that a plan describes.

    Example:
        >>> import tempfile, numpy as np
        >>> from groove.curate import Journal
        >>> journal = Journal(tempfile.mkdtemp() + "/parts", {"seed": 0})
        >>> journal.write(0, [np.arange(3.0)])
        >>> journal.read(0), journal.read(1)
        ([array([0., 1., 2.])], None)
        >>> journal.remove()
    """

    def __init__(self, folder: str | Path, plan: Mapping[str, object]):
        """Opens a folder, or makes it.

        Args:
            folder: Where blocks are kept.
            plan: Everything that the work depends on, as JSON can hold it.

        Raises:
            ValueError: The folder holds other work; the message names what differs.
            OSError: It cannot be written.
        """
        self.folder = Path(folder)
        about = self.folder / "plan.json"
        wanted = json.loads(json.dumps(plan))
        if about.is_file():
            _check_plan(about, wanted)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(about, json.dumps(wanted, indent=2) + "\n")

    def read(self, number: int) -> list[np.ndarray] | None:
        """The arrays of a block; None if it is not there, or was damaged."""
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            found = dataset.load(path, {"block": np.int64(number)}, family=FAMILY).columns
        except ValueError:
            return None
        return [found[f"leaf_{i}"] for i in range(len(found))]

    def write(self, number: int, leaves: Sequence[np.ndarray]) -> None:
        """Keeps the arrays [rows, ...] of a block."""
        columns = {f"leaf_{i}": leaf for i, leaf in enumerate(leaves)}
        block = {"block": np.full(len(leaves[0]), number, np.int64)}
        dataset.save(self._path(number), block, columns, family=FAMILY)

    @contextmanager
    def unless_unused(self) -> Iterator[None]:
        """Removes the folder again if what is done with it fails before the first block."""
        try:
            yield
        except BaseException:
            if not any(self.folder.glob("block_*")):
                self.remove()
            raise

    def remove(self) -> None:
        """Deletes the folder, once the work is done."""
        shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"block_{number:08d}.parquet"


def _check_plan(path: Path, wanted: Mapping[str, object]) -> None:
    try:
        found = dict(read_json(path))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}; remove {path.parent} to begin anew.") from error
    for name in sorted(set(found) | set(wanted)):
        if found.get(name) != wanted.get(name):
            differ = f"{name} is {found.get(name)} there, {wanted.get(name)} here"
            raise ValueError(f"{path.parent} holds the beginning of other work: {differ}; finish that or remove it.")
