"""What tests of several commands share."""

from pathlib import Path

from groove import cli


def assert_refused(words: list[str], message: str, folder: Path, monkeypatch, capsys) -> None:
    """A command ends with 2, says why in one line, and leaves nothing in the folder that it was given in."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(folder.iterdir())
