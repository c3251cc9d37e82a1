"""`groove report FOLDER`: draws a run again."""

from pathlib import Path

from groove import config
from groove.cli.common import cache


def run(words: list[str]) -> int:
    """`groove report FOLDER`."""
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: groove report FOLDER     draws the run in FOLDER: writes FOLDER/report.html")
        return 0 if words in (["-h"], ["--help"]) else 2
    from groove import host
    from groove.report import write

    cache()
    folder = Path(words[0])
    settings = host.open_folder(folder)
    if (folder / host.RULE).is_file() and not (folder / host.SCHEDULES).is_file():
        _measure(folder, settings)
    print(f"report      {write(folder)}")
    return 0


def _measure(folder: Path, settings: config.Config) -> None:
    """Writes the schedules of a run that has none, if its rule can be read."""
    from groove import host

    try:
        theta = host.theta_of(folder / host.RULE, settings)
    except ValueError as error:
        print(f"schedules   not measured: {error}")
        return
    print("measuring what the rule does at each age", flush=True)
    print(f"schedules   {host.save_schedules(host.assembled(folder), folder, theta)}")
