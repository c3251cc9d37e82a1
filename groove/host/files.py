"""Files that appear whole or not at all, and the user's cache, which may not be there."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, whoever else writes it and whenever the machine stops."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def user_cache(name: str) -> Path | None:
    """A folder in the user's cache, made if need be; None where there can be none."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groove" / name
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only; a user without a home
        return None
    return folder if os.access(folder, os.W_OK) else None
