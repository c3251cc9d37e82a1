"""The folder of a run: how it is made, what must fit before anything is computed."""

import functools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import jax

from groove import config
from groove.assembly import Inputs, Run, Saved, architecture, build, family, learned_rule
from groove.base import Theta
from groove.config import Config, is_file
from groove.files import rulefile
from groove.files.library import check_trusted, config_of, fixed_rule
from groove.files.writing import write_bytes, write_text
from groove.runs import latents, tasks
from groove.runs.metrics import read_metrics
from groove.runs.process import LOCK, InUse, locked
from levels.files import DAMAGED, read_json

RULE = rulefile.RULE
START, ANTAGONIST = "start.safetensors", "antagonist.safetensors"
"""Files of a run folder: theta as trained, as a run began with it that did not begin with an untrained rule, and the learned
rule that regret compares with, where that is one."""
SCHEDULES = "schedules.json"
CONFIG, UNMADE = "config.json", ".unmade"
"""Of a run folder: written last, when all that it begins with is there; and what is there until then."""
TOGETHER = "runs.json"
"""Names the folders of runs side by side, in the folder that holds them."""
NO_SWEEP: Mapping[str, Sequence[float]] = MappingProxyType({})
"""Of runs that differ in their seeds alone."""
RANDOM = "JAX's random numbers"
"""Among the versions of a run: of which generator."""
PACKAGES = (
    "groove-rl",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "chex",
    "evosax",
    "gymnax",
    "jaxued",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "scikit-learn",
    "pyarrow",
)


def create(
    settings: Config,
    folder: Path,
    *,
    announce: Callable[[str], None] = lambda text: None,
    trusted: tuple[str, ...] = (),
) -> None:
    """Makes a new run folder.

    A rule that the run starts from, one that regret compares with, curricula that it begins with and the autoencoders that
    it needs are copied into it.

    Args:
        settings: Of the run.
        folder: New, or empty.
        announce: Receives one-line messages for a person: training an autoencoder takes up to a minute, once.
        trusted: Plug-ins of the form package.module:object that the antagonist's file may name beside those of the run.

    Raises:
        ValueError: The configuration is not valid, the folder exists and is not empty, or a file to begin with is damaged
            or does not fit.
        FileNotFoundError: There is no rule to start from, or to compare with, or no curriculum to begin with.
        OSError: The folder cannot be written.
    """
    settings = config.check(settings)
    start, antagonist = rule_file(settings.start), rule_file(settings.curriculum.antagonist)
    if settings.start:
        check_start(start, settings)
    known = latents.prepare(settings, announce)
    may = (*trusted, *(name for _, name in config.plugged(settings)))
    inputs = Inputs(saved=_saved(settings, antagonist, may), latents=latents.found(known))
    run = build(settings, inputs)  # what families and scores lack is said now
    if settings.meta.objective == "exact" and (rest := [p.family.name for p in run.parts if p.setup.expected is None]):
        announce(f"the meta-loss of {', '.join(rest)} is sampled, for their exact returns cannot be differentiated")
    begun = tasks.check_files(settings)
    with _making(folder):
        if settings.start:
            write_bytes(folder / START, start.read_bytes())
        if is_file(settings.curriculum.antagonist):
            write_bytes(folder / ANTAGONIST, antagonist.read_bytes())
        for name, path in begun.items():
            write_bytes(tasks.file_of(folder, name), path.read_bytes())
        for name, path in known.items():
            write_bytes(latents.file_of(folder, name), path.read_bytes())
        config.save(settings, folder / CONFIG, versions())


def create_together(
    settings: Config,
    folder: Path,
    seeds: int,
    *,
    sweep: Mapping[str, Sequence[float]] = NO_SWEEP,
    announce: Callable[[str], None] = lambda text: None,
    trusted: tuple[str, ...] = (),
) -> None:
    """Makes a folder with the folders `seed-0`, ... of runs that differ in their seeds, which follow `settings.seed`.

    If they differ in numbers as well, the folders are `meta.rate=0.0001,seed-0` and so on.

    Args:
        settings: Of all runs, but for what differs.
        folder: New, or empty.
        seeds: How many.
        sweep: Numbers by field, one of `config.SWEPT`: every combination of them is run with every seed.
        announce: As of `create`.
        trusted: As of `create`.

    Raises:
        ValueError, FileNotFoundError, OSError: As of `create`.
    """
    several = config.combinations(settings, seeds, sweep)
    if len(several) < 2:
        raise ValueError(f"seeds must be at least 2 for runs side by side without a sweep, got {seeds}.")
    if settings.curriculum.files:
        raise ValueError(
            "runs side by side cannot begin with curricula, whose references would be shared: start them apart."
        )
    with _making(folder):
        try:
            for name, one in several.items():
                create(one, folder / name, announce=announce, trusted=trusted)
            write_text(folder / TOGETHER, json.dumps({"folders": list(several)}) + "\n")
        except BaseException:  # some of them are of no use
            shutil.rmtree(folder, ignore_errors=True)
            raise


def folders_of(folder: Path) -> tuple[Path, ...]:
    """The folders of runs side by side; the folder itself where it is that of one run.

    Raises:
        ValueError: What it says of its runs is damaged.
    """
    if not (folder / TOGETHER).is_file():
        return (folder,)
    try:
        names = read_json(folder / TOGETHER)["folders"]
        good = isinstance(names, list) and len(names) > 1 and all(map(_is_name, names))
    except DAMAGED as error:
        raise ValueError(f"{folder / TOGETHER} does not name the folders of runs.") from error
    if not good:
        raise ValueError(f"{folder / TOGETHER} does not name the folders of runs.")
    return tuple(folder / name for name in names)


def _is_name(name: object) -> bool:
    """Whether it is the name of something in a folder."""
    return isinstance(name, str) and Path(name).name == name != ".."


def begun(folder: Path) -> bool:
    """Whether there is a checkpoint."""
    return any((folder / "checkpoints").glob("step_*"))


@contextmanager
def _making(folder: Path) -> Iterator[None]:
    """Makes a folder that says of itself until the end that it is not whole; what a start left that was killed over it goes.

    Raises:
        ValueError: It exists and is not empty, or another process makes it.
    """
    _check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _check_free(folder)  # nobody has been faster
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
        (folder / UNMADE).touch()
        yield
        (folder / UNMADE).unlink()


def _check_free(folder: Path) -> None:
    """Raises a ValueError unless a folder is new, empty, or what a killed start has left."""
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()} - {LOCK} if folder.is_dir() else {folder.name}
    if found and (UNMADE not in found or {CONFIG, TOGETHER} & found):
        raise ValueError(f"{folder} exists already; choose another --output, or continue it with --resume {folder}.")


def rule_file(path: str) -> Path:
    """The file of a learned rule, given as such, by its run folder, or by the name of one that comes with groove."""
    return rulefile.locate(path)


def assembled(folder: Path, *, new: bool = False, untrained: bool = False, trusted: tuple[str, ...] = ()) -> Run:
    """The run of a folder, built from its configuration and the files that lie beside that.

    Args:
        folder: Of the run.
        new: Whether it is to begin: then references of tasks from files are computed, which a checkpoint has.
        untrained: Whether it is to begin with an untrained rule, whatever the run began with.
        trusted: As of `open_folder`; the antagonist's file may name them as well.
    """
    settings = open_folder(folder, trusted=trusted)
    inputs = Inputs(
        start=theta_of(folder / START, settings) if settings.start and not untrained else None,
        saved=_saved(settings, folder / ANTAGONIST, trusted),
        given=tasks.given(folder, settings, new=new),
        latents=latents.found(latents.of_folder(settings, folder)),
    )
    try:
        return build(settings, inputs)
    except ValueError as error:
        if str(folder) in str(error):  # it names a file that lies there
            raise
        raise ValueError(f"{folder / CONFIG}: {error}") from error


def _saved(settings: Config, path: Path, trusted: tuple[str, ...]) -> Saved | None:
    """How to make the antagonist, where that is a learned rule."""
    return functools.partial(fixed_rule, path, trusted=trusted) if is_file(settings.curriculum.antagonist) else None


def check_start(path: Path, settings: Config) -> None:
    """Raises a ValueError unless the file holds a rule that means the same as the configuration's."""
    metadata = rulefile.load_rule_file(path)[1]
    theirs, ours = config_of(path, metadata).rule, settings.rule
    for name in ("kind", "horizon", "cell", "width", "predictions", "drift_width", "ppo_start"):
        if getattr(theirs, name) != getattr(ours, name):
            raise ValueError(
                f"start must be a rule like that of the configuration, but rule.{name} differs: "
                f"{getattr(theirs, name)!r} in {path}, {getattr(ours, name)!r} here."
            )
    theta_of(path, settings)


def theta_of(path: Path, settings: Config) -> Theta:
    """Theta in a rule's file, for the rule of a configuration.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or holds a rule of another shape.
    """
    flat, _ = rulefile.load_rule_file(path)
    spec = family(settings, settings.families[0]).environment.spec
    rule = learned_rule(settings, spec, architecture(settings, spec, settings.families[0]))
    try:
        return rulefile.unflatten(jax.eval_shape(rule.init, jax.random.key(0)), flat)
    except ValueError as error:
        raise ValueError(f"{path} must hold a rule like that of the configuration, but {error}") from error


def open_folder(folder: Path, *, trusted: tuple[str, ...] = ()) -> Config:
    """Reads the configuration of an existing run, once all that it names may be imported.

    Args:
        folder: Of the run.
        trusted: Plug-ins of the form package.module:object that it may name; those of entry points need no trust.

    Raises:
        ValueError: The folder is no run, or names a plug-in that is not trusted.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} is not a run folder: it has no config.json.")
    settings = config.load(folder / CONFIG)
    check_trusted(folder / CONFIG, [name for _, name in config.plugged(settings)], trusted)
    return settings


def versions() -> dict[str, str]:
    """What decides a run beside its configuration, to the bit: versions of packages, and how JAX draws random numbers."""
    found = {RANDOM: _randomness()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def _randomness() -> str:
    """JAX's switches that make other numbers of one seed."""
    switches = jax.config.values
    offset = switches["jax_random_seed_offset"]
    said = [str(switches["jax_default_prng_impl"]), "" if switches["jax_threefry_partitionable"] else "not partitionable"]
    return ", ".join(filter(None, [*said, f"seeds plus {offset}" if offset else ""]))


def versions_of(folder: Path) -> dict[str, str]:
    """Those with which a run began, of its plug-ins too."""
    return config.plugins_of(folder / CONFIG) | config.versions_of(folder / CONFIG)


def check_space(run: Run, folder: Path, *, runs: int = 1) -> None:
    """Raises an OSError unless the disk has room for the checkpoints that runs like this keep, and one more of each."""
    state = jax.eval_shape(run.trainer.init, jax.random.key(0))
    size = runs * sum(math.prod(leaf.shape) * max(leaf.dtype.itemsize, 4) for leaf in jax.tree.leaves(state))
    needed, free = 4 * size + 2**24, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{folder} needs {needed / 2**20:.0f} MiB of disk for checkpoints, {free / 2**20:.0f} MiB are free.")


@contextmanager
def unless_unused(folder: Path) -> Iterator[None]:
    """Removes a new run folder again if its run fails before anything was learned, unless another process runs in it.

    The folder of runs side by side as well, with all of theirs or none.
    """
    try:
        yield
    except InUse:
        raise
    except Exception:
        folders = folders_of(folder)
        members = {own.name for own in folders if own != folder}
        if _unused(folder, members) and all(_unused(own, members) for own in folders):
            shutil.rmtree(folder)
        raise


def _unused(folder: Path, members: set[str]) -> bool:
    """Whether nothing was learned in a folder, and nothing lies there but what a run begins with, and members."""
    early = {CONFIG, UNMADE, TOGETHER, START, ANTAGONIST, LOCK, "metrics.jsonl", "tensorboard", *members}
    found = {path.name for path in folder.iterdir() if not path.name.startswith(tasks.PREFIX)}
    return found <= early and not any(read_metrics(folder / "metrics.jsonl"))
