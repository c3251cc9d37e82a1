"""Files that appear whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of another only once it is complete and on the disk.

    Whenever the writer or the machine stops, and whoever else writes the same file, there is an old one or a new one.

    Args:
        path: Of the file; its folder must exist.

    Raises:
        OSError: It cannot be written; what was there before stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.unfinished")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Raises an OSError unless a file can be written there, in the place of another or of none: before work that ends so."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder, so that {path.name} cannot be written there.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} is not to be written to, so that {path.name} cannot be.")
