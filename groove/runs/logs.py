"""Where else a run's metrics may go: TensorBoard and Weights & Biases, both optional."""

import importlib
import secrets
from pathlib import Path
from types import ModuleType

from groove.runs import Metrics, Sink


def tensorboard(folder: Path) -> Sink:
    """A sink that writes every metric as a scalar against meta-steps; `tensorboard --logdir FOLDER` shows them.

    TensorFlow is not needed.

    Args:
        folder: For event files; made if there is none.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    writer = _extra("tensorboard.summary").Writer(str(folder))

    def sink(rows: list[Metrics]) -> None:
        for row in rows:
            step, values = _split(row)
            for name, value in values.items():
                writer.add_scalar(name, value, step)
        writer.flush()

    return sink


def wandb(folder: Path) -> Sink:
    """A sink that logs every metric to Weights & Biases, in the project `groove`, under the name of the folder.

    The run's identifier is kept in `folder/wandb-id`, so that a resumed run goes on where it was. Its own environment
    variables (`WANDB_MODE=offline`, ...) hold.

    Args:
        folder: Of the run.

    Raises:
        ValueError: wandb is not installed.
    """
    client = _extra("wandb")
    name = folder.resolve().name
    own = {"name": name, "id": _identifier(folder / "wandb-id"), "dir": str(folder)}
    run = client.init(project="groove", resume="allow", reinit="create_new", **own)  # beside those of other seeds

    def sink(rows: list[Metrics]) -> None:
        for row in rows:
            step, values = _split(row)
            run.log(values, step=step)

    return sink


def _extra(module: str) -> ModuleType:
    """A module of an optional package."""
    name = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f'--{name} needs a package that is missing; install it with: pip install "groove-rl[{name}]".'
        ) from error


def _identifier(path: Path) -> str:
    """What the file holds; if there is none, a new one is drawn and kept there."""
    if not path.exists():
        path.write_text(secrets.token_hex(8), encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def _split(row: Metrics) -> tuple[int, dict[str, float]]:
    """The meta-step and the other metrics, without those that are missing."""
    values = {name: value for name, value in row.items() if value is not None}
    return int(values.pop("step")), values
