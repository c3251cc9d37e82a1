"""Metrics elsewhere: TensorBoard's files are read back; Weights & Biases is played by a stand-in."""

import builtins
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

from groove.runs import Metrics, logs

ROWS: list[Metrics] = [{"step": 1, "a/b": 0.5, "nothing": None}, {"step": 2, "a/b": -1.5, "nothing": 3.0}]


class Run:
    def __init__(self):
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, object], Run]]:
    """Every `wandb.init`: its arguments, and the run that it gave."""
    begun: list[tuple[dict[str, object], Run]] = []

    def init(**arguments: object) -> Run:
        begun.append((arguments, Run()))
        return begun[-1][1]

    module = ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return begun


def test_wandb_gets_the_rows(wandb, tmp_path: Path):
    logs.wandb(tmp_path)(ROWS)
    (arguments, run), *_ = wandb
    assert run.rows == [(1, {"a/b": 0.5}), (2, {"a/b": -1.5, "nothing": 3.0})]
    assert arguments["project"] == "groove" and arguments["name"] == tmp_path.name and arguments["dir"] == str(tmp_path)


def test_wandb_goes_on_with_the_same_run(wandb, tmp_path: Path):
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path, tmp_path / "other"):
        logs.wandb(folder)([])
    first, again, other = (arguments["id"] for arguments, _ in wandb)
    assert first == again != other
    assert all(arguments["resume"] == "allow" for arguments, _ in wandb)
    assert all(arguments["reinit"] == "create_new" for arguments, _ in wandb), "else it gives the run that is open"


@pytest.mark.parametrize(("sink", "name"), [(logs.tensorboard, "tensorboard"), (logs.wandb, "wandb")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sink, name: str):
    for module in [module for module in sys.modules if module.split(".")[0] == name] + [name]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf'--{name} needs .* pip install "groove-rl\[{name}\]"'):
        sink(tmp_path)
    assert not list(tmp_path.iterdir())


def records(path: Path) -> list[bytes]:
    """Records of a TFRecord file: length u64, its checksum u32, data, its checksum u32."""
    content, found, place = path.read_bytes(), [], 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        found.append(content[place + 12 : place + 12 + length])
        place += 16 + length
    return found


def test_tensorboard_gets_the_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(builtins, "__import__", without_tensorflow(builtins.__import__))
    pytest.importorskip("tensorboard")
    logs.tensorboard(tmp_path / "made")(ROWS)
    from tensorboard.compat.proto.event_pb2 import Event

    (path,) = (tmp_path / "made").iterdir()
    events = [Event.FromString(data) for data in records(path)]
    values = [(event.step, value.tag, value.tensor.float_val[0]) for event in events for value in event.summary.value]
    assert sorted(values) == [(1, "a/b", 0.5), (2, "a/b", -1.5), (2, "nothing", 3.0)]


def without_tensorflow(original):
    def importer(name, *arguments, **options):
        if name.split(".")[0] == "tensorflow":
            raise ImportError(name)
        return original(name, *arguments, **options)

    return importer
