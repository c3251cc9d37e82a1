"""Parquet files from elsewhere: opened without harm, and refused where they take more memory than their size allows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from levels.dataset import footer
from levels.dataset.footer import Group

LEAST_BYTES, TIMES = 2**26, 256
"""The memory that the columns of any file may take, and beyond that of every byte of the file: what is written well is not
packed much closer."""
MOST_BYTES = 2**30
"""More than that they may never take."""


def most_bytes_of(path: Path, *, times: int = TIMES) -> int:
    """The memory that the columns of a file may take, by its size.

    Args:
        path: The file.
        times: Bytes of memory for each of its own.
    """
    return min(MOST_BYTES, LEAST_BYTES + times * path.stat().st_size)


def counted(path: Path) -> tuple[Group, ...]:
    """What the footer of a file counts, before pyarrow sees it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file.")
    try:
        return footer.read(path)
    except (ValueError, OSError) as error:
        raise damaged(path, error) from error


def opened(path: Path, words: Sequence[str] | None = None) -> pq.ParquetFile:
    """A file of which only the footer was read; columns named in `words` come as words and their numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged.
    """
    groups = counted(path)  # refuses what pyarrow would end the process over
    try:
        file = pq.ParquetFile(
            path,
            read_dictionary=words,
            thrift_string_size_limit=2**26,
            thrift_container_size_limit=2**20,
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, error) from error
    if file.metadata.num_rows != sum(group.rows for group in groups):
        raise ValueError(f"{path} is damaged: its metadata count other rows than its groups.")
    return file


def check_size(path: Path, groups: Sequence[Group], bytes_of_a_row: int, most_bytes: int) -> None:
    """Raises a ValueError if the columns of a file take more memory than they may.

    Args:
        path: The file.
        groups: What it counts.
        bytes_of_a_row: Of all columns, where every text counts as the place of a word.
        most_bytes: What they may take.
    """
    rows = sum(group.rows for group in groups)
    size = max(rows * bytes_of_a_row, sum(chunk.size for group in groups for chunk in group.chunks))
    if size > most_bytes:
        raise ValueError(
            f"{path} holds {rows} rows, {size / 2**20:.0f} MiB in all, more than the {most_bytes / 2**20:.0f} MiB that may "
            f"be read of a file of {path.stat().st_size} bytes."
        )


def bytes_of_text(column: pa.ChunkedArray, *, padded: bool) -> int:
    """Bytes that the words of a column take if each row has a copy, or one as long as the longest.

    Args:
        column: Of text as words and their numbers.
        padded: Whether all are to be as long as the longest, of four bytes a letter.
    """
    sizes = [np.asarray(pc.utf8_length(chunk.dictionary) if padded else pc.binary_length(chunk.dictionary).cast(pa.int64()))
             for chunk in column.chunks]  # fmt: skip
    if padded:
        return 4 * max((int(size.max(initial=0)) for size in sizes), default=0) * max(len(column), sum(map(len, sizes)))
    numbers = [np.asarray(chunk.indices.drop_null(), np.int64) for chunk in column.chunks]
    return sum(int(size[number].sum()) for size, number in zip(sizes, numbers, strict=True))


def damaged(path: Path, error: Exception) -> ValueError:
    """Says so of a file."""
    return ValueError(f"{path} is damaged or no Parquet file: {' '.join(str(error).split())}.")
