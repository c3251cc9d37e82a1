"""A run from its configuration to all that it leaves behind, in one call."""

from collections.abc import Callable
from pathlib import Path

from groove.config import Config
from groove.runs.artefacts import save
from groove.runs.folder import CONFIG, create, open_folder, unless_unused
from groove.runs.loop import Result
from groove.runs.metrics import Sink
from groove.runs.process import locked
from groove.runs.training import train as train_folder


def train(
    settings: Config,
    folder: str | Path,
    *,
    sink: Sink = lambda rows: None,
    announce: Callable[[str], None] = lambda text: None,
    device_count: int | None = None,
    trusted: tuple[str, ...] = (),
) -> Result:
    """Trains a rule: what `groove train` does, without its questions, its walk and its page.

    Args:
        settings: Of the run, such as `groove.config.preset("quick")`.
        folder: Of the run. A new one is made; one of the same settings goes on where its last checkpoint stands.
        sink: Receives the metrics of every chunk of meta-steps.
        announce: Receives one-line messages for a person.
        device_count: How many devices share the run; by default as many as there are and can.
        trusted: Plug-ins of the form package.module:object that files of the run may name.

    Returns:
        Where the run stands. If it is finished, its folder holds the rule, the curricula, the held-out table and the
        schedules; if it was interrupted (Ctrl-C), the same call goes on.

    Raises:
        ValueError: The configuration is not valid, or the folder holds something else.
        groove.runs.NotFinite: A meta-gradient, a fitness or theta was not finite; the last good checkpoint is kept.
        OSError: The folder cannot be written.

    Example:
        >>> import tempfile, groove
        >>> settings = groove.config.smoke(groove.config.preset("quick"))
        >>> result = groove.train(settings, tempfile.mkdtemp() + "/run")  # doctest: +SKIP
        >>> rule, theta = groove.load_rule(result.folder)  # doctest: +SKIP
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        create(settings, folder, announce=announce, trusted=trusted)
    elif open_folder(folder, trusted=trusted) != settings:
        raise ValueError(f"{folder} holds a run of another configuration; choose another folder.")
    with unless_unused(folder):
        result = train_folder(folder, sink, announce=announce, device_count=device_count, trusted=trusted)
    if result.finished:
        with locked(folder):
            save(result)
    return result
