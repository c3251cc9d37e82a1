"""The command `groove`. Commands are modules of this folder; each takes its words and returns an exit code."""

import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from groove import config, processes
from groove.cli import curate, evaluate, levels, report, train, tune

__all__ = ["USAGE", "main"]

USAGE = """usage: groove train [preset] [flags]     meta-train a rule; `groove train --help` explains every flag
       groove train --resume FOLDER      continue a run that was stopped
       groove curate [preset] [flags]    make a curriculum without training; `groove curate --help` has examples
       groove evaluate RULE... [flags]   rules on held-out levels; `groove evaluate --help` names the suites
       groove tune RULE... [flags]       settings of baselines for a suite
       groove levels show FILE           what a curriculum holds; `groove levels diff A B` compares two
       groove levels list                what can be named; `groove levels check NAME` tests a family or a generator
       groove report PATH...             draw runs and results again: report.html

presets: quick (the default; three minutes on two cores); ta-lpg-small, lpo-small, ta-lpo-small (ten minutes);
         lpg, groove, ta-lpg, lpo, ta-lpo (of paper scale)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 1 failed, 2 bad input, 130 interrupted and saved."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    if not {"", os.getcwd()} & set(sys.path):  # so that package.module:object may name what lies here
        sys.path.append(os.getcwd())
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": train.run,
        "curate": curate.run,
        "evaluate": evaluate.run,
        "levels": levels.run,
        "report": report.run,
        "tune": tune.run,
    }
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    try:
        return commands[config.check_name("command", words[0], commands)](words[1:])
    except (ValueError, FileNotFoundError) as error:
        return _fail(error, 2)
    except (OSError, RuntimeError) as error:
        return _fail(error, 1)
    except Exception:
        if processes.joined():
            traceback.print_exc()
            processes.abandon(1)
        raise
    except KeyboardInterrupt:
        return _fail(RuntimeError("interrupted; what was saved goes on with --resume FOLDER"), 130)


def _open_streams() -> None:
    """Lets output go on that is closed, or cannot show every character."""
    for number in (0, 1, 2):  # or the next file to be opened gets the number, and what others print into it
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _fail(error: Exception, code: int) -> int:
    print(f"groove: {' '.join(str(error).split())}", file=sys.stderr)
    processes.abandon(code)
    return code
