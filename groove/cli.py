"""The command `groove`."""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groove import config

USAGE = """usage: groove train [preset] [flags]     meta-train a rule; `groove train --help` explains every flag
       groove train --resume FOLDER      continue a run that was stopped
       groove report FOLDER              draw a run again: report.html

presets: quick (the default; three minutes on two cores); ta-lpg-small, lpo-small, ta-lpo-small (ten minutes);
         lpg, groove, ta-lpg, lpo, ta-lpo (of paper scale)
"""


@dataclass(frozen=True)
class TrainOptions:
    """Meta-trains a rule on a curriculum. Presets: quick (the default), ta-lpg-small, ...; flags override their fields."""

    run: Annotated[config.Config, tyro.conf.arg(name="")] = config.QUICK
    output: Path | None = None
    """Folder of the run; by default runs/PRESET-SEED, with a number behind it if that exists."""
    resume: Path | None = None
    """Continue the run in this folder."""
    yes: bool = False
    """Start long runs without asking."""
    tensorboard: bool = False
    """Log to FOLDER/tensorboard as well; needs the extra `tensorboard`."""
    wandb: bool = False
    """Log to Weights & Biases as well; needs the extra `wandb`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 1 failed, 2 bad input, 130 interrupted and saved."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[list[str]], int]] = {"train": train, "report": report}
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    try:
        return commands[config.check_name("command", words[0], commands)](words[1:])
    except (ValueError, FileNotFoundError) as error:
        return _fail(error, 2)
    except (OSError, RuntimeError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail(RuntimeError("interrupted; what was saved goes on with --resume FOLDER"), 130)


def _fail(error: Exception, code: int) -> int:
    print(f"groove: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def train(words: list[str]) -> int:
    """`groove train`: everything from flags to report."""
    options, settings, folder = _parse_train(words)
    from groove import host, terminal

    _cache()
    if options.resume is None:
        from groove.cost import confirm

        confirm(settings, agreed=options.yes, ask=terminal.ask)
        host.create(settings, folder)
    begun = time.perf_counter()
    with terminal.Progress(settings) as show, host.unless_unused(folder):
        sinks = [show.update, *_sinks(options, folder)]
        result = host.train(folder, lambda rows: _each(sinks, rows), announce=show.announce)
    if not result.finished:
        print(f"interrupted and saved at meta-step {int(result.state.step)}; go on with: groove train --resume {folder}")
        return 130
    show.announce(f"trained {settings.meta_steps} meta-steps in {time.perf_counter() - begun:.0f} s; meeting held-out tasks")
    return _finish(result, terminal)


def _finish(result, terminal) -> int:
    """Everything after the last meta-step: the rule, the curriculum, the held-out table, the report."""
    from groove import host, protocols
    from groove.report import write

    rule, curricula = host.save_rule(result), host.save_curriculum(result)
    terminal.print_table(host.evaluate(result), protocols.caption(result.run.config))
    picture = host.draw_walk(result)
    schedules = host.save_schedules(result.run, result.folder, result.run.trainer.theta(result.state))
    page = write(result.folder)
    print(f"rule        {rule}")
    for path in curricula:
        print(f"curriculum  {path}")
    print(f"schedules   {schedules}")
    if picture:
        print(f"walk        {picture}")
    print(f"report      {page}")
    return 0


def report(words: list[str]) -> int:
    """`groove report FOLDER`."""
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: groove report FOLDER     draws the run in FOLDER: writes FOLDER/report.html")
        return 0 if words in (["-h"], ["--help"]) else 2
    from groove import host
    from groove.report import write

    _cache()
    folder = Path(words[0])
    settings = host.open_folder(folder)
    if (folder / host.RULE).is_file() and not (folder / host.SCHEDULES).is_file():
        _measure(folder, settings)
    print(f"report      {write(folder)}")
    return 0


def _measure(folder: Path, settings: config.Config) -> None:
    """Writes the schedules of a run that has none, if its rule can be read."""
    from groove import host
    from groove.build import build

    try:
        theta = host.theta_of(folder / host.RULE, settings)
    except ValueError as error:
        print(f"schedules   not measured: {error}")
        return
    print("measuring what the rule does at each age", flush=True)
    print(f"schedules   {host.save_schedules(build(settings), folder, theta)}")


def _each(sinks, rows) -> None:
    for sink in sinks:
        sink(rows)


def _parse_train(words: list[str]):
    from groove import host

    name = words.pop(0) if words and not words[0].startswith("-") else None
    resumed = _value_of("--resume", words)
    stored = host.open_folder(Path(resumed)) if resumed else None
    default = stored or _smoke(config.preset(name or "quick"))
    if stored and name and name != stored.name:
        raise ValueError(f"{resumed} is a run of the preset {stored.name!r}, not {name!r}.")
    for (part, field), known in config.CHOICES.items():  # before tyro, whose answer would not fit on a line
        if (value := _value_of(f"--{part}.{field}", words)) is not None:
            config.check_name(field, value, known)
    options = tyro.cli(TrainOptions, args=words, prog="groove train", default=TrainOptions(default))
    settings = config.check(options.run)
    if stored and settings != stored:
        raise ValueError(f"{resumed} was written by another configuration: {_difference(stored, settings)}.")
    if options.resume and options.output:
        raise ValueError("--resume and --output exclude each other: a run goes on in its own folder.")
    return options, settings, options.resume or options.output or _free_folder(settings)


def _value_of(flag: str, words: list[str]) -> str | None:
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1]
    return None


def _difference(a, b, prefix: str = "") -> str:
    for f in dataclasses.fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if x != y and dataclasses.is_dataclass(x):
            return _difference(x, y, f"{prefix}{f.name}.")
        if x != y:
            return f"{prefix}{f.name} is {x} there, {y} here"
    return ""


def _free_folder(settings) -> Path:
    base = Path("runs") / f"{settings.name}-{settings.seed}"
    number = 1
    while (folder := base if number == 1 else base.with_name(f"{base.name}-{number}")).exists():
        number += 1
    return folder


def _smoke(settings):
    """Shrinks a preset while the environment variable GROOVE_SMOKE is set: for tests of what users run."""
    return config.smoke(settings) if os.environ.get("GROOVE_SMOKE") else settings


def _cache() -> None:
    """Turns JAX's compilation cache on, in the user's cache folder, unless the user has chosen one."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groove" / "jax"
        try:
            base.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(base))


def _sinks(options, folder: Path):
    from groove import logs

    return [
        *([logs.tensorboard(folder / "tensorboard")] if options.tensorboard else []),
        *([logs.wandb(folder)] if options.wandb else []),
    ]
