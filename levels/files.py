"""Files that appear whole or not at all, and files of JSON that somebody else may have written."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

Json: TypeAlias = Any
"""Of JSON, which is known to be what it should be once it is used."""
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)
"""What may come of values that are not what they should be: of JSON from elsewhere, taken as if they were."""


def parsed(text: str, where: object) -> Json:
    """The value of JSON.

    Args:
        text: The JSON.
        where: What messages call it, such as a file.

    Raises:
        ValueError: It is none, or nests too deep.

    Example:
        >>> from levels.files import parsed
        >>> parsed("[1, 2", "a.json")
        Traceback (most recent call last):
        ValueError: a.json is damaged: no JSON: Expecting ',' delimiter: line 1 column 6 (char 5).
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged: no JSON: {error}.") from error


def read_json(path: Path) -> Json:
    """The value of a file of JSON.

    Raises:
        ValueError: It holds none; the message names it.
        OSError: It cannot be read.
    """
    try:
        return parsed(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: no text: {error}.") from error


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
