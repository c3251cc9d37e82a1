"""The page a person looks at: a run drawn from its folder alone."""

from pathlib import Path

__all__ = ["write"]


def write(folder: Path) -> Path:
    """Draws the run in `folder` from its files: `report.html`, one self-contained page, and its pictures in `figures/`.

    Everything but `config.json` may be missing, as it is in a run that was interrupted: the page says what is.

    Args:
        folder: Of the run.

    Returns:
        The page.

    Raises:
        ValueError: The folder is no run.
        OSError: The page cannot be written.
    """
    from groove.report import page  # here, so that whoever wants a walk drawn does not wait for the rest

    return page.write(folder)
