"""How large the columns of a Parquet file are, by its own words: read in a few bytes, before anything else trusts them.

pyarrow says so too, but ends the process over some damaged footers, and takes the counts of pages as they come. All that is
needed is Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md)
and the numbers of Parquet's fields (https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

MAGIC = b"PAR1"
MOST_FOOTER = 2**26
MOST_PAGE_HEADER = 2**16
MOST_NESTED = 16
DATA, DICTIONARY, DATA_2 = 0, 2, 3
"""Types of pages."""

Value: TypeAlias = "bool | int | float | bytes | list[Value] | dict[int, Value] | None"


class Chunk(NamedTuple):
    """One column of one group of rows."""

    values: int  # numbers, those of lists one by one
    size: int  # bytes, before compression
    begin: int  # place in the file
    stored: int  # bytes in the file


class Group(NamedTuple):
    """A group of rows."""

    rows: int
    chunks: tuple[Chunk, ...]


def read(path: Path) -> tuple[Group, ...]:
    """The groups of rows of a file, whose pages hold as many values as their columns count.

    Raises:
        ValueError: It is no Parquet file, or its counts do not agree.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        end = file.seek(0, 2) - 8
        if end < 4 or _at(file, 0, 4) != MAGIC or _at(file, end + 4, 4) != MAGIC:
            raise ValueError("it does not begin and end as one")
        length = int.from_bytes(_at(file, end, 4), "little")
        if not 0 < length <= min(end - 4, MOST_FOOTER):
            raise ValueError(f"its footer cannot have {length} bytes")
        footer = _struct(_Reader(_at(file, end - length, length)), 0)
        groups = tuple(_group(entry) for entry in _list(footer, 4))
        if sum(group.rows for group in groups) != _int(footer, 3):
            raise ValueError("its groups have other rows than the whole")
        for chunk in (chunk for group in groups for chunk in group.chunks):
            _check_pages(file, chunk, end - length)
    return groups


def _group(entry: Value) -> Group:
    chunks = []
    for column in _list(entry, 1):
        about = _field(column, 3)
        places = [_int(about, 9), _int(about, 11, 0)]  # of the data and of the dictionary; 0 where there is none
        begin = min((place for place in places if place), default=len(MAGIC))
        chunks.append(Chunk(_int(about, 5), _int(about, 6), begin, _int(about, 7)))
    return Group(_int(entry, 3), tuple(chunks))


def _check_pages(file: BinaryIO, chunk: Chunk, end: int) -> None:
    """Raises a ValueError unless the pages of a column hold what it counts."""
    if chunk.begin < 4 or chunk.stored < 0 or chunk.begin + chunk.stored > end:
        raise ValueError("a column lies outside of it")
    values = size = 0
    for kind, count, unpacked in _pages(file, chunk):
        values += count if kind in (DATA, DATA_2) else 0
        size += unpacked
        if count > max(chunk.values, chunk.size) or size > chunk.size:
            raise ValueError("a page is larger than its column")
    if values != chunk.values:
        raise ValueError("the pages of a column have other values than it counts")


def _pages(file: BinaryIO, chunk: Chunk) -> Iterator[tuple[int, int, int]]:
    """Type, values and bytes before compression, header included, of each page."""
    place, end = chunk.begin, chunk.begin + chunk.stored
    while place < end:
        reader = _Reader(_at(file, place, min(MOST_PAGE_HEADER, end - place)))
        header = _struct(reader, 0)
        kind, unpacked, stored = (_int(header, number) for number in (1, 2, 3))
        about = _field(header, {DATA: 5, DICTIONARY: 7, DATA_2: 8}.get(kind, 0))
        count = _int(about, 1)
        if min(unpacked, stored, count) < 0:
            raise ValueError("a page counts less than nothing")
        yield kind, count, reader.place + unpacked
        place += reader.place + stored


class _Reader:
    """Bytes and a place among them."""

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if not 0 <= count <= len(self.content) - self.place:
            raise ValueError("it ends too soon")
        self.place += count
        return self.content[self.place - count : self.place]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """A number of seven bits a byte, lowest first, not negative."""
        found = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
        raise ValueError("a number has no end")

    def signed(self) -> int:
        """A number whose lowest bit is its sign."""
        found = self.number()
        return (found >> 1) ^ -(found & 1)


def _struct(reader: _Reader, depth: int) -> dict[int, Value]:
    """Fields by number."""
    if depth > MOST_NESTED:
        raise ValueError("it nests too deep")
    fields: dict[int, Value] = {}
    number = 0
    while header := reader.byte():
        number = number + (header >> 4) if header >> 4 else reader.signed()
        fields[number] = _value(reader, header & 15, depth + 1)
    return fields


def _value(reader: _Reader, kind: int, depth: int) -> Value:
    """A value of a type: truths stand in the type itself."""
    if kind in (1, 2):
        return kind == 1
    if kind == 3:
        return reader.byte()
    if kind in (4, 5, 6):
        return reader.signed()
    if kind == 7:
        return reader.take(8)
    if kind == 8:
        return reader.take(reader.number())
    if kind in (9, 10):
        header = reader.byte()
        count = reader.number() if header >> 4 == 15 else header >> 4
        inner = header & 15
        one = reader.byte if inner in (1, 2) else lambda: _value(reader, inner, depth)
        if count > len(reader.content):
            raise ValueError("a list is longer than all of it")
        return [one() for _ in range(count)]
    if kind == 12:
        return _struct(reader, depth)
    raise ValueError(f"it has a field of the unknown type {kind}")


def _field(fields: Value, number: int) -> Value:
    if not isinstance(fields, dict) or number not in fields:
        raise ValueError(f"it lacks a field, number {number}")
    return fields[number]


def _int(fields: Value, number: int, default: int | None = None) -> int:
    if default is not None and isinstance(fields, dict) and number not in fields:
        return default
    found = _field(fields, number)
    if not isinstance(found, int):
        raise ValueError(f"its field {number} is no number")
    return found


def _list(fields: Value, number: int) -> list[Value]:
    found = _field(fields, number)
    if not isinstance(found, list):
        raise ValueError(f"its field {number} is no list")
    return found


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    if file.seek(place) != place:
        raise ValueError("it ends too soon")
    return file.read(count)
