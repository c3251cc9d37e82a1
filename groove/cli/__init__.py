"""The command `groove`. Commands are modules of this folder; each takes its words and returns an exit code."""

import atexit
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import jax

from groove import config
from groove.cli import curate, evaluate, levels, report, train, tune
from groove.cli.common import leave
from groove.files.library import Untrusted
from groove.parallel import processes
from groove.report import terminal

__all__ = ["USAGE", "main"]

USAGE = """usage: groove train [preset] [flags]     meta-train a rule; `groove train --help` explains every flag
       groove train --resume FOLDER      continue a run that was stopped
       groove curate [preset] [flags]    make a curriculum without training; `groove curate --help` has examples
       groove evaluate RULE... [flags]   rules on held-out levels; `groove evaluate --help` names the suites
       groove tune RULE... [flags]       settings of baselines for a suite
       groove levels show FILE           what a curriculum holds; `groove levels diff A B` compares two
       groove levels list                what can be named; `groove levels check NAME` tests a part of yours
       groove report PATH...             draw runs and results again: report.html

presets: quick (the default; three minutes on two cores); discover (a quarter of an hour or two);
         ta-lpg-small, lpo-small, ta-lpo-small (ten minutes);
         lpg, groove, ta-lpg, lpo, ta-lpo, ta-groove (of paper scale)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 1 failed, 2 bad input, 130 interrupted and saved."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    terminal.open_streams()
    wide = jax.config.values["jax_enable_x64"]
    jax.config.update("jax_enable_x64", False)  # commands compute with 32-bit numbers, whatever JAX_ENABLE_X64 says
    try:
        return _left(_code_of(words))
    finally:
        jax.config.update("jax_enable_x64", wide)


def _code_of(words: list[str]) -> int:
    """The exit code of a command, once that is done."""
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": train.run,
        "curate": curate.run,
        "evaluate": evaluate.run,
        "levels": levels.run,
        "report": report.run,
        "tune": tune.run,
    }
    try:
        code = _commanded(words, commands)
        sys.stdout.flush()  # a full disk is said now
        return code
    except Untrusted as error:
        return _fail(f"{error.reason} {shlex.join(['groove', *words, '--trust', *error.names])}", 2)
    except (ValueError, FileNotFoundError) as error:
        return _fail(str(error), 2)
    except (OSError, RuntimeError) as error:
        return _fail(str(error), 1)
    except Exception:
        if processes.joined():
            traceback.print_exc()
            processes.abandon(1)
        raise
    except KeyboardInterrupt:
        return _fail("interrupted; what was saved goes on with --resume FOLDER", 130)


def _commanded(words: list[str], commands: Mapping[str, Callable[[list[str]], int]]) -> int:
    if words[:1] == ["--version"]:
        terminal.say(f"groove {metadata.version('groove-rl')}")
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        terminal.say(USAGE, end="")
        return 0 if words else 2
    _find_modules_here()
    return commands[config.check_name("command", words[0], commands)](words[1:])


def _find_modules_here() -> None:
    """Lets package.module:object name what lies in the working directory."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise FileNotFoundError("the working directory was deleted; change to another one.") from None
    if not {"", here} & set(sys.path):
        sys.path.append(here)


def _fail(reason: str, code: int) -> int:
    terminal.say(f"groove: {' '.join(reason.split())}", to=sys.stderr)
    processes.abandon(code)
    return code


def _left(code: int) -> int:
    """The exit code; ends the process of the command `groove` where a plug-in left threads, for which Python would wait."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if Path(sys.argv[0]).stem == "groove" and others:
        atexit._run_exitfuncs()
        leave(code)
    return code
