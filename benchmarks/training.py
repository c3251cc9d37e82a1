"""Runs that experiments make, each where it stopped."""

from pathlib import Path

from groove import runs
from groove.config import Config


def finished(settings: Config, folder: Path) -> runs.Result:
    """One run, or the rest of it.

    Raises:
        KeyboardInterrupt: It was interrupted; what was saved goes on.
    """

    def announce(text: str) -> None:
        print(f"{folder.name}: {text}", flush=True)

    if not (folder / "config.json").exists():
        runs.create(settings, folder, announce=announce)
    result = runs.train(folder, lambda rows: None, announce=announce)
    if not result.finished:
        raise KeyboardInterrupt
    return result
