"""Programs kept between starts: the same numbers, traced again as soon as anything has changed, never an error."""

import dataclasses
import importlib
import os
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove import config, host
from groove.host import traced
from groove.host.traced import Program, Shelf, follows_from_config
from groove.trainer import State
from tests.test_together import nothing, rows_of, settings


def state_of(step: int = 0) -> State:
    return State(jnp.asarray(step), jax.random.key(step), (jnp.zeros(3),), {"theta": jnp.ones(2)}, ())


class Stepped:
    """A program that counts how often it is traced."""

    def __init__(self) -> None:
        self.traced = 0

    def __call__(self, state: State) -> tuple[State, dict[str, jax.Array]]:
        self.traced += 1
        key, other = jax.random.split(state.key)
        return state._replace(step=state.step + 1, key=key), {"seen": jax.random.normal(other)}


def lived(place: Shelf | None, function=None, **how: bool | dict[str, bool | int]) -> tuple[int, tuple[State, dict]]:
    """How often a new start traces, and what the program gives."""
    function = function or Stepped()
    program = Program(function, "step", **{"donate": False, **how})
    program.trace(state_of(), place)()
    return getattr(function, "traced", 0), jax.block_until_ready(program(state_of()))


def plain(tree: object) -> list[np.ndarray]:
    leaves = jax.tree.leaves(tree)
    return [np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x) for x in leaves]


@pytest.fixture(autouse=True)
def long_ago(monkeypatch) -> None:
    """As if all modules had been there before this process, also those that somebody has just edited."""
    monkeypatch.setattr(traced, "BORN", 2**63)


@pytest.fixture
def place(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "programs", "about")


@pytest.fixture
def module(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A module that is loaded while something is traced."""
    file = tmp_path / "some_module_of_a_test.py"
    assert file.write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.import_module(file.stem).A == 1
    yield file
    del sys.modules[file.stem]


def test_the_second_start_traces_nothing_and_gives_the_same(place):
    (first, a), (second, b), (_, c) = lived(place), lived(place), lived(None)
    assert (first, second) == (1, 0)
    assert jax.tree.structure(a) == jax.tree.structure(b) == jax.tree.structure(c)
    for x, y, z in zip(plain(a), plain(b), plain(c), strict=True):
        assert np.array_equal(x, y) and np.array_equal(x, z)


def test_what_differs_is_traced(place, module):
    assert lived(place)[0] == 1
    assert lived(place._replace(about="else"))[0] == 1
    assert lived(place)[0] == 0
    os.utime(module, ns=(1, 1))
    assert lived(place)[0] == 1 and lived(place)[0] == 0
    module.touch()
    os.utime(module, ns=(1, 1))  # the time of its last change, but not that of its change of times
    assert lived(place)[0] == 1 and lived(place)[0] == 0


def test_modules_without_files_keep_nothing(place, module):
    module.unlink()
    assert lived(place)[0] == 1 and lived(place)[0] == 1


def test_modules_that_changed_after_they_were_loaded_keep_nothing(place, module, monkeypatch):
    monkeypatch.setattr(traced, "BORN", time.time_ns())
    assert lived(place)[0] == 1 and lived(place)[0] == 0
    assert module.write_text("A = 2\n")
    monkeypatch.undo()
    assert lived(place)[0] == 1 and lived(place)[0] == 1


def test_a_module_of_that_name_from_elsewhere_is_another(place, module, monkeypatch, tmp_path):
    assert lived(place)[0] == 1 and lived(place)[0] == 0
    (tmp_path / "first").mkdir()
    assert (tmp_path / "first" / module.name).write_text("A = 2\n")
    monkeypatch.delitem(sys.modules, module.stem)
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    assert importlib.import_module(module.stem).A == 2
    assert lived(place)[0] == 1


def test_modules_are_not_asked_for_what_they_would_have_to_load(place, monkeypatch):
    module = types.ModuleType("lazy")
    module.__getattr__ = lambda name: pytest.fail(f"{name} was asked for")
    monkeypatch.setitem(sys.modules, "lazy", module)
    monkeypatch.setitem(sys.modules, "mock", SimpleNamespace(__file__=3))
    assert lived(place)[0] == 1 and lived(place)[0] == 0


def test_damaged_files_are_traced_again(place):
    assert lived(place)[0] == 1
    (file,) = place.folder.iterdir()
    content = file.read_bytes()
    for damaged in (b"", content[:20], content[:-1], content[:50] + bytes([content[50] ^ 1]) + content[51:]):
        assert file.write_bytes(damaged) == len(damaged)
        assert lived(place)[0] == 1
    assert lived(place)[0] == 0


def test_folders_that_cannot_be_written_keep_nothing(tmp_path):
    assert (tmp_path / "file").write_text("") == 0
    place = Shelf(tmp_path / "file" / "folder", "about")
    assert lived(place)[0] == 1 and lived(place)[0] == 1


def test_the_last_used_are_kept(place, monkeypatch):
    monkeypatch.setattr(traced, "KEPT", 2)
    for i in range(3):
        assert lived(place._replace(about=str(i)))[0] == 1
        os.utime(traced._path(place._replace(about=str(i)), "step"), ns=(i, i))
    assert [lived(place._replace(about=about))[0] for about in "12"] == [0, 0]
    assert len(list(place.folder.iterdir())) == 2


def test_what_cannot_be_exported_is_compiled_as_ever(place):
    def called(state):
        return None, {"seen": jax.pure_callback(lambda step: step + 1, state.step, state.step)}

    assert lived(place, called)[1][1]["seen"] == 1
    assert not place.folder.exists()


def test_memory_of_the_argument_is_used_again(place):
    for _ in range(2):
        program, state = Program(Stepped(), "step", donate=True), state_of()
        program.trace(state, place)()
        assert int(program(state)[0].step) == 1 and state.meta["theta"].is_deleted()


def test_options_reach_the_compiler(place):
    unknown = {"xla_no_such_option": True}
    for shelf in (None, place, place):
        assert int(lived(shelf, options={"xla_backend_optimization_level": 1})[1][0].step) == 1
        with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
            lived(shelf, options=unknown)


FILES = {"start": "rule.safetensors", "antagonist": "shipped/quick", "kind": "clutr", "files": ("grids.parquet",)}


@pytest.mark.parametrize("name", FILES)
def test_runs_with_files_keep_nothing(name, tmp_path):
    base = settings()
    assert follows_from_config(base) and traced.shelf(tmp_path, [base], state_of()) is not None
    own = {name: FILES[name]}
    curriculum = base.curriculum if name == "start" else dataclasses.replace(base.curriculum, **own)
    other = dataclasses.replace(base, curriculum=curriculum, **(own if name == "start" else {}))
    assert not follows_from_config(other) and traced.shelf(tmp_path, [base, other], state_of()) is None


@pytest.mark.parametrize(
    "changes",
    [{"families": ("package:family",)}, {"generators": ("package:made",)}, {"rule": config.Rule(kind="package:rule")}],
)
def test_runs_with_plug_ins_keep_nothing(changes):
    assert not follows_from_config(dataclasses.replace(settings(), **changes))


def test_a_shelf_is_of_its_configurations_but_for_seeds(tmp_path, monkeypatch):
    def about(*changes: dict, state: State | None = None) -> str:
        found = traced.shelf(tmp_path, [settings(**change) for change in changes], state or state_of())
        assert found is not None
        return found.about

    assert about({"seed": 1}) == about({"seed": 2})
    swept = {"meta": dataclasses.replace(settings().meta, rate=0.5)}
    others = [about({}), about({"chunk": 3}), about({}, {}), about({}, swept), about(swept, {})]
    others.append(about({}, state=state_of()._replace(meta=jnp.zeros(7))))
    with jax.default_matmul_precision("highest"):
        others.append(about({}))
    monkeypatch.setenv("FLAX_FIX_RNG_SEPARATOR", "0")
    others.append(about({}))
    monkeypatch.syspath_prepend(str(tmp_path))
    others.append(about({}))
    monkeypatch.setattr(jax, "devices", lambda: 2 * jax.local_devices())
    others.append(about({}))
    assert len(set(others)) == len(others)


def test_nothing_is_kept_while_somebody_looks_for_nan(tmp_path):
    with jax.debug_nans(True):
        assert traced.shelf(tmp_path, [settings()], state_of()) is None


@pytest.mark.slow
def test_a_run_of_kept_programs_is_the_run(tmp_path, monkeypatch):
    """Of another seed than those that were traced for; and resumed."""
    for name, seed in (("first", 3), ("second", 4), ("other", 4)):
        host.create(settings(seed=seed), tmp_path / name)
    programs = tmp_path / "programs"
    assert host.train(tmp_path / "first", nothing, programs=programs).finished
    assert sorted(path.name.split("-")[0] for path in programs.iterdir()) == ["chunk", "describe", "refresh"]
    other = host.train(tmp_path / "other", nothing)
    with monkeypatch.context() as patched:
        patched.setattr(Program, "_export", lambda *_: pytest.fail("it is traced again"))

        def stop(rows) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            host.train(tmp_path / "second", stop, programs=programs)
        second = host.train(tmp_path / "second", nothing, programs=programs)
    assert second.finished
    assert rows_of(second.folder) == rows_of(other.folder)
    assert host.save_rule(second).read_bytes() == host.save_rule(other).read_bytes()
