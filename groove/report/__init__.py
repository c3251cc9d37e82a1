"""The page a person looks at: runs drawn from their folders alone, and results of evaluations."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["write", "write_all"]


def write(folder: Path, *, trusted: tuple[str, ...] = ()) -> Path:
    """Draws the run in `folder` from its files: `report.html`, one self-contained page, and its pictures in `figures/`.

    Everything but `config.json` may be missing, as it is in a run that was interrupted: the page says what is.

    Args:
        folder: Of the run.
        trusted: Plug-ins of the form package.module:object that it may name; those of entry points need no trust.

    Returns:
        The page.

    Raises:
        ValueError: The folder is no run, or names a plug-in that is not trusted.
        OSError: The page cannot be written.
    """
    from groove.report import page  # here, so that whoever wants a walk drawn does not wait for the rest

    return page.write(folder, trusted)


def write_all(runs: Sequence[Path], results: Sequence[Path], output: Path, *, trusted: tuple[str, ...] = ()) -> Path:
    """Draws several runs and results on one self-contained page, with its pictures in `figures/` beside it.

    Args:
        runs: Folders of runs.
        results: Files of results, or folders that hold them; what they say of one suite is put together.
        output: The page.
        trusted: As of `write`, of every run.

    Returns:
        The page.

    Raises:
        ValueError: A folder is no run or names what is not trusted, results are damaged, or two of them differ on what a
            rule reached.
        OSError: The page cannot be written.
    """
    from groove.report import combined

    return combined.write(runs, results, output, trusted)
