"""`groove train`: everything from flags to report."""

import dataclasses
import functools
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from groove import config
from groove.cli.common import Line, cache, read, smoke, trusting
from groove.config import Config
from groove.report.terminal import say


@dataclass(frozen=True)
class TrainOptions:
    """Meta-trains a rule on a curriculum. Presets: quick (the default), ta-lpg-small, ...; flags override their fields."""

    run: Annotated[config.Config, tyro.conf.arg(name="")] = config.QUICK
    output: Path | None = None
    """Folder of the run; by default runs/PRESET-SEED, with a number behind it if that exists."""
    resume: Path | None = None
    """Continue the run in this folder."""
    seeds: int = 1
    """Runs of so many seeds, from `seed` on, side by side in one program; --output holds their folders."""
    sweep: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Runs that differ in a number as well, such as meta.rate=1e-4,3e-4; given again for other fields, runs of every
    combination, with every seed. Rates and weights may differ so; fan out what decides shapes with Slurm arrays."""
    devices: int = 0
    """Devices that share the run; 0 for as many as there are and can. It may go on with another number."""
    yes: bool = False
    """Start long runs without asking."""
    memory: float = 0.0
    """GiB that a device may use: lives are computed in the largest blocks that fit, found by compiling; 0 for no limit."""
    debug: bool = False
    """Of a number that is not finite, say which operation made it: twice the memory for agents, minutes when it happens."""
    tensorboard: bool = False
    """Log to FOLDER/tensorboard as well; needs the extra `tensorboard`."""
    wandb: bool = False
    """Log to Weights & Biases as well; needs the extra `wandb`."""
    distributed: bool = False
    """Make one run with other processes, on this machine or others: start the same command once for each, with an --output
    or --resume that all of them see. Slurm and Open MPI are detected; elsewhere say the next three."""
    coordinator: str = ""
    """HOST:PORT of the first process."""
    processes: int = 0
    """How many there are."""
    process: int = -1
    """Which of them this is, from 0."""
    trust: tuple[str, ...] = ()
    """Plug-ins, as package.module:object, that may be imported although only a file or the folder of --resume names them."""


def run(words: list[str]) -> int:
    """`groove train`: everything from flags to report."""
    from groove import runs
    from groove.parallel import processes

    line = read(words)
    _join(line)
    may = line.trusted
    options, settings, folder = _parse(line)
    cache()
    if options.resume is None:
        processes.by_first(lambda: _create(options, settings, folder, may))
    results = _train(options, settings, folder, may)
    processes.leave()
    if not processes.first():
        return 0 if results[0].finished else 130
    if not results[0].finished:
        step, trust = int(results[0].state.step), trusting(name for _, name in config.plugged(settings))
        say(f"interrupted and saved at meta-step {step}; go on with: groove train --resume {folder}{trust}")
        return 130
    with ExitStack() as stack:
        for held in dict.fromkeys((folder, *(result.folder for result in results))):
            stack.enter_context(runs.locked(held))
        for result in results:
            _finish(result, named=len(results) > 1)
    return 0


def _join(line: Line) -> None:
    """Finds the other processes of a run, before anything is computed."""
    from groove.parallel import processes

    if "distributed" not in line.flags:
        lone = [flag for flag in ("coordinator", "processes", "process") if flag in line.flags]
        if lone:
            raise ValueError(f"--{lone[0]} says how processes find each other: give --distributed as well.")
        return
    if not (line.get("output") or line.get("resume")):
        raise ValueError("--distributed needs --output FOLDER or --resume FOLDER, the same for all processes.")
    numbers = [line.get(flag) or default for flag, default in (("processes", "0"), ("process", "-1"))]
    if not all(number.removeprefix("-").isdecimal() for number in numbers):
        raise ValueError(f"--processes and --process must be whole numbers, got {' and '.join(numbers)}.")
    processes.join(line.get("coordinator") or "", *map(int, numbers))


def _create(options: TrainOptions, settings: Config, folder: Path, may: tuple[str, ...]) -> None:
    """Asks before long runs, and makes the folder."""
    import jax

    from groove import runs
    from groove.parallel import devices
    from groove.report import terminal
    from groove.runs.cost import confirm, fitted

    sweep = config.sweep_of(options.sweep)
    count = len(config.combinations(settings, options.seeds, sweep))
    if options.memory:
        available = options.devices or jax.device_count()
        beside = max(1, count // devices.usable((count,), available))
        share = devices.usable(settings.members, available) if count == 1 else 1
        settings = fitted(settings, options.memory * 2**30 / beside, share=share, announce=say)
    confirm(settings, runs=count, agreed=options.yes, ask=terminal.ask, announce=say)
    if count > 1:
        runs.create_together(settings, folder, options.seeds, sweep=sweep, announce=say, trusted=may)
    else:
        runs.create(settings, folder, announce=say, trusted=may)


def _train(options: TrainOptions, settings: Config, folder: Path, may: tuple[str, ...]):
    """The runs themselves; of several processes the first shows and logs how they get on."""
    from groove import runs
    from groove.parallel import processes
    from groove.report import terminal

    folders, begun = runs.folders_of(folder), time.perf_counter()
    count, debug = options.devices or None, options.debug
    how: dict[str, Any] = {"device_count": count, "debug": debug, "trusted": may}
    if not processes.first():
        return [runs.train(folder, lambda rows: None, **how)]
    with ExitStack() as stack:
        show = stack.enter_context(terminal.Progress(settings))
        if not options.resume:
            stack.enter_context(runs.unless_unused(folder))
        logs = [_sinks(options, own) for own in folders]
        if folders == (folder,):
            sinks = [show.update, *logs[0]]
            results = [runs.train(folder, lambda rows: _each(sinks, rows), announce=show.announce, **how)]
        else:
            show.announce(f"{len(folders)} runs side by side in {folder}; shown are their means")
            together = _Together(show.update, logs)
            results = runs.train_together(folder, together.sinks, announce=show.announce, **how)
    if results[0].finished:
        seconds = time.perf_counter() - begun
        show.announce(f"trained {settings.meta_steps} meta-steps in {seconds:.0f} s; meeting held-out tasks")
    return results


class _Together:
    """Sinks of runs side by side: each logs its own, and when all have, their means are shown."""

    def __init__(self, show, logs):
        self.show, self.rows, self.count = show, [], len(logs)
        self.sinks = [functools.partial(self._take, own) for own in logs]

    def _take(self, own, rows) -> None:
        from groove import runs

        _each(own, rows)
        self.rows.append(rows)
        if len(self.rows) == self.count:
            self.show(runs.averaged(self.rows))
            self.rows = []


def _finish(result, *, named: bool) -> None:
    """Everything after the last meta-step: the rule, the curriculum, the held-out table, the report."""
    from groove import protocols, runs
    from groove.report import gif, page, terminal

    if named:
        say(result.folder.name)
    left = runs.save(result)
    terminal.print_table(left.held_out, protocols.caption(result.run.config))
    picture = gif.draw_walk(result)
    drawn = page.write(result.folder, trusted=result.trusted)
    say(f"rule        {left.rule}")
    for path in left.curricula:
        say(f"curriculum  {path}")
    say(f"schedules   {left.schedules}")
    if picture:
        say(f"walk        {picture}")
    say(f"report      {drawn}")


def _each(sinks, rows) -> None:
    for sink in sinks:
        sink(rows)


def _parse(line: Line):
    from groove import runs

    name, resumed = line.preset, line.get("resume")
    stored = runs.open_folder(runs.folders_of(Path(resumed))[0], trusted=line.trusted) if resumed else None
    files, words = _begin_with(line)
    default = stored or _fitted(smoke(config.preset(name or "quick")), files, line.trusted)
    if stored and name and name != stored.name:
        raise ValueError(f"{resumed} is a run of the preset {stored.name!r}, not {name!r}.")
    for part, field in config.CHOICES:  # before tyro, whose answer would not fit on a line
        if (value := line.get(f"{part}.{field}")) is not None:
            config.check_choice(part, field, value)
    options = tyro.cli(TrainOptions, args=words, prog="groove train", default=TrainOptions(default))
    settings = config.check(options.run)
    if stored and settings != stored:
        raise ValueError(f"{resumed} was written by another configuration: {_difference(stored, settings)}.")
    if not 0 <= options.memory < math.inf or (options.memory and options.resume):
        raise ValueError(
            "--memory must be positive and finite, and cannot change a run that goes on: its blocks are part of its numbers."
        )
    _check_several(options, line)
    if options.resume and options.output:
        raise ValueError("--resume and --output exclude each other: a run goes on in its own folder.")
    return options, settings, options.resume or options.output or _free_folder(settings)


def _check_several(options: TrainOptions, line: Line) -> None:
    from groove import runs

    if options.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {options.seeds}.")
    if options.distributed and (options.seeds > 1 or options.sweep):
        raise ValueError("--distributed excludes --seeds and --sweep: give each job a --seed of its own.")
    if options.sweep and options.resume:
        raise ValueError("--sweep and --resume exclude each other: the folders of runs say in what they differ.")
    for field in config.sweep_of(options.sweep):
        if field in line.flags:
            raise ValueError(f"--{field} and --sweep {field} exclude each other.")
    if options.resume and options.seeds not in (1, count := len(runs.folders_of(options.resume))):
        raise ValueError(f"{options.resume} is a folder of {count} runs, not of {options.seeds}.")


def _begin_with(line: Line) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files after `--curriculum`, and words with `--curriculum.files` for it; frozen, unless a kind is asked for."""
    if "curriculum" not in line.flags:
        return (), line.words
    files = line.flags["curriculum"]
    if not files:
        raise ValueError("--curriculum needs the file of a curriculum.")
    place = next(i for i, word in enumerate(line.words) if word.split("=")[0] == "--curriculum")
    end = place + 1 + len(files) - ("=" in line.words[place])
    kind = () if line.get("curriculum.kind") else ("--curriculum.kind", "frozen")
    return files, (*line.words[:place], "--curriculum.files", *files, *kind, *line.words[end:])


def _fitted(settings: Config, files: tuple[str, ...], may: tuple[str, ...]) -> Config:
    """Flags as they are if nothing is said: curricula to begin with decide families, sizes of levels and lifetimes."""
    from groove.files import curriculumfile, sizes

    if not files:
        return settings
    opened = [curriculumfile.opened(Path(file), trusted=may) for file in files]
    for _, stored in opened:
        settings = sizes.sized(settings, stored.metadata)
    lifetimes = np.concatenate([stored.rows.lifetime for _, stored in opened])
    if not lifetimes.size:
        raise ValueError(f"--curriculum needs tasks to begin with, {', '.join(files)} hold none.")
    life = dataclasses.replace(settings.life, updates=(int(lifetimes.min()), int(lifetimes.max())))
    names = tuple(family.name for family, _ in opened)
    members = (sum(settings.members) // len(names),) * len(names)
    return dataclasses.replace(settings, families=names, members=members, life=life)


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


def _sinks(options, folder: Path):
    from groove.runs import logs

    return [
        *([logs.tensorboard(folder / "tensorboard")] if options.tensorboard else []),
        *([logs.wandb(folder)] if options.wandb else []),
    ]
