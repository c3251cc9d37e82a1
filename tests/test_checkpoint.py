"""Checkpoints: what comes back is what was saved, and a damaged one is never used."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.files import checkpoint


class State(NamedTuple):
    key: jax.Array
    weights: dict[str, jax.Array]
    nothing: None
    count: jax.Array
    flags: tuple[jax.Array, ...]


def make(seed: int = 0, width: int = 3) -> State:
    key = jax.random.key(seed)
    weights = {
        "a/b": jax.random.normal(key, (width, 2)),
        "['quoted']": jnp.zeros((0, width), jnp.float32),
        "half": jnp.arange(5, dtype=jnp.bfloat16) / 3,
        "odd": jnp.array([jnp.nan, -jnp.inf, -0.0, 1e-45], jnp.float32),
    }
    flags = jnp.array(True), jax.random.split(jax.random.key(1, impl="rbg"), (2, 3)), jax.random.split(key, 0)
    return State(key, weights, None, jnp.int32(seed), flags)


def bits(leaf: jax.Array) -> tuple[str, tuple[int, ...], bytes]:
    raw = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return str(leaf.dtype), leaf.shape, np.asarray(raw).tobytes()


def assert_same(got: State, want: State) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(want)
    assert [bits(leaf) for leaf in jax.tree.leaves(got)] == [bits(leaf) for leaf in jax.tree.leaves(want)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, make(step))
    return tmp_path


@pytest.mark.parametrize("like", [make(), jax.eval_shape(make)], ids=["arrays", "shapes"])
def test_round_trip(tmp_path: Path, like: State):
    state = make(5)
    checkpoint.save(tmp_path / "new" / "folder", 123, state)
    step, restored = checkpoint.restore(tmp_path / "new" / "folder", like)
    assert step == 123
    assert_same(restored, state)
    for leaf, fresh in zip(jax.tree.leaves(restored), jax.tree.leaves(jax.jit(make)()), strict=True):
        assert isinstance(leaf, jax.Array)
        assert not getattr(leaf, "weak_type", False)
        assert (leaf.sharding, leaf.committed) == (fresh.sharding, fresh.committed)


def test_keys_go_on_as_before(tmp_path: Path):
    state = make(5)
    checkpoint.save(tmp_path, 1, state)
    _, restored = checkpoint.restore(tmp_path, jax.eval_shape(make))
    np.testing.assert_array_equal(jax.random.normal(restored.key, (4,)), jax.random.normal(state.key, (4,)))
    np.testing.assert_array_equal(jax.random.bits(restored.flags[1][1, 2]), jax.random.bits(state.flags[1][1, 2]))


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("abstract", [False, True])
def test_resuming_compiles_nothing_again(tmp_path: Path, sharded: bool, donate: bool, abstract: bool):
    mesh = jax.make_mesh((1,), ("members",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()) if sharded else None

    def chunk(state: State) -> State:
        key, _ = jax.random.split(state.key)
        return state._replace(key=key, count=state.count + 1)

    initial = jax.jit(make, out_shardings=sharding)()
    step = jax.jit(chunk, donate_argnums=0 if donate else (), out_shardings=sharding)
    like = jax.eval_shape(step, initial) if abstract else initial
    state = step(step(initial))
    checkpoint.save(tmp_path, 2, state)
    never_stopped = step(state)
    compiled = step._cache_size()
    _, restored = checkpoint.restore(tmp_path, like)
    resumed = step(restored)
    assert compiled == step._cache_size() == 1
    assert_same(resumed, never_stopped)


def test_states_of_no_arrays(tmp_path: Path):
    for state in ((), {"a": jnp.zeros(0, jnp.int8)}):
        checkpoint.save(tmp_path, 1, state)
        assert checkpoint.restore(tmp_path, state)[0] == 1


def test_only_the_newest_are_kept(tmp_path: Path):
    for step in (1, 5, 3, 100_000_000, 7):
        checkpoint.save(tmp_path, step, make(step), keep=2)
    assert names(tmp_path) == ["step_00000007", "step_100000000"]
    assert checkpoint.restore(tmp_path, make())[0] == 100_000_000


def test_saving_a_step_again_replaces_it(three: Path):
    checkpoint.save(three, 30, make(31))
    assert names(three) == ["step_00000010", "step_00000020", "step_00000030"]
    assert_same(checkpoint.restore(three, make())[1], make(31))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_damage_to_any_file_is_found(three: Path, damage):
    whole = three / "whole"
    newest = three / "step_00000030"
    shutil.copytree(newest, whole)
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert len(files) > 3
    for file in files:
        damage(newest / file)
        with pytest.warns(UserWarning, match=rf"Skipped the checkpoint .*step_00000030: .*{re.escape(file.name)}"):
            step, state = checkpoint.restore(three, make())
        assert step == 20
        assert_same(state, make(20))
        shutil.rmtree(newest)
        shutil.copytree(whole, newest)
    assert checkpoint.restore(three, make())[0] == 30


def test_several_damaged_ones_are_skipped(three: Path):
    flip(three / "step_00000030" / "manifest.json")
    shutil.rmtree(three / "step_00000020" / "arrays")
    with pytest.warns(UserWarning, match="Skipped") as record:
        assert checkpoint.restore(three, make())[0] == 10
    assert len(record) == 2
    truncate(three / "step_00000010" / "manifest.json")
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match=r"no usable checkpoint: step_00000030 has an \w+ manifest"),
    ):
        checkpoint.restore(three, make())


def test_a_writer_that_died_leaves_no_trace(three: Path):
    """Half-written, then half-replaced: nothing is lost, and the next save cleans up."""
    shutil.copytree(three / "step_00000030", three / ".unfinished")
    (three / ".unfinished" / "manifest.json").unlink()
    assert checkpoint.restore(three, make())[0] == 30
    (three / "step_00000030").rename(three / "step_00000030_replaced")
    assert checkpoint.restore(three, make())[0] == 30
    checkpoint.save(three, 30, make(30))
    assert names(three) == ["step_00000010", "step_00000020", "step_00000030"]


def test_a_failing_write_keeps_what_was_there(three: Path, monkeypatch: pytest.MonkeyPatch):
    def no_space(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="No space left"):
        broken.setattr(checkpoint, "_sync", no_space)
        checkpoint.save(three, 40, make(40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.restore(three, make())[0] == 30


REFUSED = """
import resource, sys
import jax
from groove.files import checkpoint
noise = {str(number): jax.random.bits(jax.random.key(number), (2**18,)) for number in range(8)}
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    checkpoint.save(sys.argv[1], 40, noise)
except OSError as error:
    print(error.strerror)
"""


def test_what_the_system_refuses_is_an_os_error(three: Path):
    """Orbax says ValueError, and its threads print pages. In a process of its own, where no file may exceed 64 KiB."""
    found = subprocess.run([sys.executable, "-c", REFUSED, str(three)], capture_output=True, text=True, timeout=300)
    assert found.stdout == "File too large\n", found.stderr
    assert "_SignalingThread" not in found.stderr and "Task exception" not in found.stderr
    assert checkpoint.restore(three, make())[0] == 30


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (make(width=4), r"\.weights\[\"\['quoted'\]\"\] float32\[0, 3\] where .* float32\[0, 4\] is expected"),
        (make()._replace(count=jnp.float32(0)), r"it has \.count int32\[\] where \.count float32\[\] is expected"),
        (make()._replace(key=jnp.zeros(2, jnp.uint32)), r"it has \.key key<fry>\[\] where \.key uint32\[2\] is expected"),
        (make()._replace(flags=()), r"it has \.flags\[0\] bool\[\] where nothing more is expected"),
    ],
)
def test_another_configuration_is_refused(three: Path, like: State, message: str):
    with pytest.raises(ValueError, match=message):
        checkpoint.restore(three, like)


def test_folders_without_checkpoints(tmp_path: Path):
    (tmp_path / "step_12").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match=f"{folder} holds no checkpoint"):
            checkpoint.restore(folder, make())
    checkpoint.save(tmp_path, 1, make())
    assert names(tmp_path) == ["notes.txt", "step_00000001", "step_12"]


def test_a_later_format_is_skipped(three: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint, "_VERSION", 3)
    checkpoint.save(three, 40, make(40))
    monkeypatch.undo()
    assert json.loads((three / "step_00000040" / "manifest.json").read_text())["version"] == 3
    with pytest.warns(UserWarning, match="is of version 3, not 2"):
        assert checkpoint.restore(three, make())[0] == 30


def test_checkpoints_of_another_run_are_not_taken(three: Path):
    """Such as seed 1's in the folder of seed 0: not even where nothing else differs."""
    checkpoint.save(three, 40, make(40), run="seed 1", keep=9)
    checkpoint.save(three, 35, make(35), run="seed 0", keep=9)
    with pytest.warns(UserWarning, match="step_00000040: is of another run"):
        assert checkpoint.restore(three, make(), run="seed 0")[0] == 35
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="no usable checkpoint: step_00000040 is of another run"):
        checkpoint.restore(three, make(), run="seed 2")


def rewritten(checkpoint_folder: Path, change) -> None:
    """A manifest that somebody changed, its own hash with it."""
    manifest = checkpoint_folder / "manifest.json"
    body = json.loads(manifest.read_text())
    body.pop("sha256")
    change(body)
    manifest.write_text(json.dumps({"sha256": checkpoint._digest_of(body), **body}))


@pytest.mark.parametrize(
    "change",
    [
        *(lambda body, name=name: body.pop(name) for name in ("files", "leaves", "step", "run")),
        *(lambda body, name=name: body.update({name: 7}) for name in ("files", "leaves", "run")),
        *(lambda body, step=step: body.update(step=step) for step in ("x", -1, 10**30, 20, None)),
        lambda body: body["leaves"][1].__setitem__(1, "wide"),
        lambda body: body["leaves"].append(7),
        lambda body: body["files"].update({"../step_00000020/manifest.json": [1, "x"]}),
        lambda body: body["files"].update({"new": 7}),
        lambda body: body["files"].clear(),
        lambda body: body["files"].update({"new": [float("inf"), "x"]}),
        lambda body: body["leaves"][1].__setitem__(1, [float("inf")]),
        lambda body: body.update(step=30.0),
    ],
)
def test_manifests_that_say_anything(three: Path, change):
    rewritten(three / "step_00000030", change)
    with pytest.warns(UserWarning, match="Skipped the checkpoint .*step_00000030"):
        assert checkpoint.restore(three, make())[0] == 20


def test_arrays_of_other_shapes_than_the_manifest_says(three: Path):
    """The arrays are those of a wider state, the manifest is that of the right one."""
    checkpoint.save(three / "wide", 30, make(width=4))
    leaves = json.loads((three / "step_00000030" / "manifest.json").read_text())["leaves"]
    shutil.rmtree(three / "step_00000030")
    (three / "wide" / "step_00000030").rename(three / "step_00000030")
    rewritten(three / "step_00000030", lambda body: body.update(leaves=leaves))
    with pytest.warns(UserWarning, match=r"holds an array float32\[4, 2\] for \.weights\['a/b'\] float32\[3, 2\]"):
        assert checkpoint.restore(three, make())[0] == 20


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_arrays_of_another_dtype_than_the_manifest_says(tmp_path: Path, dtype):
    """Nor are they cast in silence."""
    with jax.enable_x64(dtype is np.float64):
        checkpoint.save(tmp_path, 30, {"a": jnp.asarray(np.arange(3, dtype=dtype))})
    checkpoint.save(tmp_path, 20, {"a": jnp.arange(3, dtype=jnp.float32)})
    rewritten(tmp_path / "step_00000030", lambda body: body["leaves"][0].__setitem__(2, "float32"))
    with pytest.warns(UserWarning, match=rf"holds an array {np.dtype(dtype)}\[3\] for \['a'\] float32\[3\]"):
        assert checkpoint.restore(tmp_path, {"a": jnp.zeros(3)})[0] == 20


def test_links_are_not_followed(three: Path, tmp_path_factory: pytest.TempPathFactory):
    """A checkpoint that is a link, and one with a link in it; a new one takes their place."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(three / "step_00000030", elsewhere / "step_00000030")
    (three / "step_00000030").symlink_to(elsewhere / "step_00000030")
    shutil.move(three / "step_00000020" / "arrays", elsewhere / "arrays")
    (three / "step_00000020" / "arrays").symlink_to(elsewhere / "arrays")
    with pytest.warns(UserWarning, match="holds symbolic links") as record:
        assert checkpoint.restore(three, make())[0] == 10
    assert len(record) == 2
    for step in (40, 50, 60):
        checkpoint.save(three, step, make(step))
    assert names(three) == ["step_00000040", "step_00000050", "step_00000060"]
    assert names(elsewhere) == ["arrays", "step_00000030"]


def test_bad_arguments(tmp_path: Path):
    with pytest.raises(ValueError, match="step must be at least 0, got -1"):
        checkpoint.save(tmp_path, -1, make())
    with pytest.raises(ValueError, match="keep must be at least 1 checkpoint, got 0"):
        checkpoint.save(tmp_path, 1, make(), keep=0)
    with pytest.raises(ValueError, match=r"\['a'\] must be an array, got 3"):
        checkpoint.save(tmp_path, 1, {"a": 3})
    assert not names(tmp_path)
