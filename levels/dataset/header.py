"""What a file of levels says of itself, and the hashes that keep it honest."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

VERSION = "1"
"""Of the schema. Files of other versions are refused."""
KEY = b"levels.dataset"
"""Where the header stands in the metadata of the Parquet schema, as JSON."""


class Description(NamedTuple):
    """What a file of levels says of itself."""

    family: str
    metadata: dict[str, str]
    content: str  # SHA-256 over names, dtypes, shapes and values of all columns: equal levels, equal hash
    rows: int


def write(family: str, metadata: Mapping[str, str], content: str) -> dict[bytes, str]:
    """The metadata of the Parquet schema."""
    header = _sealed({"version": VERSION, "family": family, "sha256": content, "metadata": dict(metadata)})
    return {KEY: json.dumps(header)}


def read(path: Path, schema: pa.Schema, rows: int) -> Description:
    """What `write` wrote, once it is found to be whole.

    Raises:
        ValueError: There is no header, it is of another version, or it was changed.
    """
    try:
        header = json.loads((schema.metadata or {})[KEY])
        version, sealed = header["version"], _sealed(header)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no file of levels: its metadata lack {KEY.decode()!r}.") from error
    if version != VERSION:
        raise ValueError(f"{path} has version {version!r} of the schema, this reads {VERSION!r}.")
    if header != sealed:
        raise ValueError(f"{path} is damaged or was edited: its metadata do not have the hash that they state.")
    texts = [header.get("family"), header.get("sha256")]
    metadata = header.get("metadata")
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in (*texts, *metadata.values())):
        raise ValueError(f"{path} is no file of levels: family, sha256 and metadata of its header must be text.")
    return Description(header["family"], metadata, header["sha256"], rows)


def digest(table: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, dtypes, shapes and values, whatever the order of the columns."""
    total = hashlib.sha256()
    for name, column in sorted(table.items()):
        kind = "string" if column.dtype.kind == "U" else column.dtype.name
        total.update(json.dumps([name, kind, column.shape]).encode())
        total.update(json.dumps(column.tolist()).encode() if kind == "string" else column.tobytes())
    return total.hexdigest()


def _sealed(header: dict) -> dict:
    """The header with a hash of itself."""
    content = json.dumps({name: value for name, value in header.items() if name != "seal"}, sort_keys=True)
    return {**header, "seal": hashlib.sha256(content.encode()).hexdigest()}
