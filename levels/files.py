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
