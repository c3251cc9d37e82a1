"""Files that appear whole or not at all, and the user's cache, which may not be there."""

import os
from pathlib import Path

from levels.files import whole


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with whole(path) as file:
        file.write(content)


def user_cache(name: str) -> Path | None:
    """A folder in the user's cache, made if need be; None where there can be none."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groove" / name
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only; a user without a home
        return None
    return folder if os.access(folder, os.W_OK) else None
