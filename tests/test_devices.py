"""Several devices share a run: the numbers are those of one device, and it goes on with any number of devices."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove import config, runs
from groove.config import Config, preset
from groove.parallel import devices

MEMBERS = 8
COMPILED: list[str] = []
"""A word for every program that this process compiled, or found compiled."""
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}
"""Between one device, which computes a whole batch at once, and several: over the first three steps."""


def settings(method: str, **changes: object) -> Config:
    """The smallest run with replayed regret, whose lives end in the course of a chunk."""
    small = config.smoke(preset({"gradient": "quick"}.get(method, "ta-lpg-small")))
    if method == "gradient":
        small = dataclasses.replace(small, meta=dataclasses.replace(small.meta, objective="sampled", rate=1e-3))
    found = dataclasses.replace(
        small,
        name="custom",
        families=("bernoulli-bandit",),
        members=(MEMBERS,),
        meta_steps=6,
        chunk=2,
        curriculum=dataclasses.replace(
            small.curriculum, kind="prioritised", score="regret", minimal_fill=0.1, capacity=16, exact=False
        ),
        **changes,
    )
    if method == "persistent":
        return dataclasses.replace(found, evolution=dataclasses.replace(found.evolution, lives="persistent", shaping="raw"))
    if method == "snes":
        rule = dataclasses.replace(found.rule, kind="lpo", horizon="fraction")
        evolution = config.Evolution(strategy="SNES", population=4, block=4)
        return dataclasses.replace(found, rule=rule, evolution=evolution, meta_steps=4)
    return found


def note(event: str, duration: float, **about: object) -> None:
    if event.endswith("backend_compile_duration"):
        COMPILED.append(event)


def trained(folder: Path, settings: Config, *device_counts: int) -> None:
    """A run that changes its number of devices after every chunk, as long as there are others to change to."""
    runs.create(settings, folder)
    left, compiled = list(device_counts), []

    def sink(rows):
        compiled.append(len(COMPILED))
        if len(left) > 1:
            raise KeyboardInterrupt

    while left:
        try:
            assert runs.train(folder, sink, device_count=left[0]).finished
        except KeyboardInterrupt:
            assert len(left) > 1
        left = left[1:]
    (folder / "compiled.json").write_text(json.dumps(compiled))


def main(method: str, folder: Path) -> None:
    """What a process with four devices does for a test."""
    jax.monitoring.register_event_duration_secs_listener(note)
    if method == "parts":
        (folder / "parts.json").write_text(json.dumps(parts()))
        return
    for count in (1, 4) if method == "persistent" else (1, 2, 4):
        trained(folder / str(count), settings(method), count)
    if method == "gradient":
        trained(folder / "reproducible", settings(method, reproducible=True), 1)
    if method == "evolution":
        trained(folder / "moved", settings(method), 2, 1, 4)


def parts() -> dict[str, object]:
    """Four devices: what each owns, all gather, take in turns, and one of them asks the host for."""
    asked = []

    def host_side(x):
        asked.append(float(x))
        return np.float32(2 * x)

    def function(rows):
        mine = devices.local_shard(rows)
        called = devices.by_one(lambda: jax.pure_callback(host_side, jax.ShapeDtypeStruct((), jnp.float32), rows[1]))
        kinds = {"flag": mine > 2, "one": mine[:1].astype(jnp.int32), "pair": jnp.stack([mine, -mine], axis=1)}
        kinds["none"] = jnp.zeros((2, 0), jnp.float32)
        thrice = devices.blockwise(lambda x: (3 * x, x.astype(jnp.int32)), rows[:7], block=2)
        return devices.gather(mine * mine), thrice, called, devices.gather(kinds)

    together = devices.everywhere(devices.mesh(4), function, (devices.P(),), devices.P())
    squares, (thrice, once), called, kinds = jax.jit(together)(jnp.arange(8.0))
    found = {"squares": squares, "thrice": thrice, "once": once, **kinds}
    return {**{name: rows.tolist() for name, rows in found.items()}, "called": float(called), "asked": asked}


def metrics(folder: Path) -> list[dict[str, float]]:
    rows = runs.read_metrics(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in rows]


def shared(method: str, folder: Path) -> Path:
    """What a process with four devices left of a method."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    command = [sys.executable, __file__, method, str(folder)]
    found = subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
    return folder


def assert_close_at_first(one: list[dict[str, float]], other: list[dict[str, float]]) -> None:
    for a, b in zip(one[:3], other[:3], strict=True):
        assert a.keys() == b.keys()
        whole = a["step"] <= 2  # in the first chunk: a row of the second says of curricula what they are after step 4
        for name in (name for name in a if whole or "/curriculum_" not in name):
            np.testing.assert_allclose(np.float64(a[name]), np.float64(b[name]), err_msg=name, **TOLERANCE)


@pytest.mark.slow
def test_evolution_does_not_depend_on_the_number_of_devices(tmp_path):
    """Nor does a run that goes on with another number after every chunk."""
    folder = shared("evolution", tmp_path)
    rows = metrics(folder / "1")
    assert len(rows) == 6 == len({row["theta_step"] for row in rows})
    for name in ("2", "4", "moved"):
        assert metrics(folder / name) == rows


@pytest.mark.slow
def test_nor_does_evolution_in_pieces(tmp_path):
    folder = shared("persistent", tmp_path)
    rows = metrics(folder / "1")
    assert len(rows) == 6 == len({row["theta_step"] for row in rows})
    assert metrics(folder / "4") == rows


@pytest.mark.slow
def test_where_candidates_share_tasks_one_device_takes_other_means(tmp_path):
    folder = shared("snes", tmp_path)
    assert metrics(folder / "2") == metrics(folder / "4")
    assert_close_at_first(metrics(folder / "1"), metrics(folder / "2"))


@pytest.mark.slow
def test_gradients_are_those_of_several_devices_on_one_that_is_told_to(tmp_path):
    """Otherwise its first steps are close."""
    folder = shared("gradient", tmp_path)
    one, two = metrics(folder / "1"), metrics(folder / "2")
    assert any(row["bernoulli-bandit/finished"] for row in one)
    for name in ("4", "reproducible"):
        assert metrics(folder / name) == two
    for name in ("1", "2", "4"):
        after_chunks = json.loads((folder / name / "compiled.json").read_text())
        assert len(after_chunks) == 3 and 0 < after_chunks[0] == after_chunks[2], "something was compiled again"
    assert_close_at_first(one, two)


def test_the_parts(tmp_path):
    found = json.loads((shared("parts", tmp_path) / "parts.json").read_text())
    assert found["squares"] == [n * n for n in range(8)]
    assert found["thrice"] == [3 * n for n in range(7)] and found["once"] == list(range(7))
    assert found["flag"] == [n > 2 for n in range(8)] and found["one"] == [0, 2, 4, 6]
    assert found["pair"] == [[n, -n] for n in range(8)] and found["none"] == [[]] * 8
    assert found["called"] == 2.0 and found["asked"] == [1.0]


def test_devices_without_work_and_blocks_that_do_not_fit_are_named():
    said: list[str] = []
    small = settings("gradient")
    wide = dataclasses.replace(small, meta=dataclasses.replace(small.meta, block=8))
    with pytest.raises(ValueError, match=r"share members \(8,\) in blocks of 8 \(meta.block\), got 2"):
        runs.training.mesh_of(wide, 2, said.append)
    evolved = settings("evolution")
    few = dataclasses.replace(evolved, evolution=dataclasses.replace(evolved.evolution, block=4))
    with pytest.raises(ValueError, match="as many as JAX sees"):
        runs.training.mesh_of(few, 4, said.append)
    assert said == ["4 devices share 2 blocks of lives, so that some have no work: make evolution.block smaller"]


def test_devices_that_members_cannot_be_shared_out_to_are_refused(tmp_path):
    runs.create(settings("gradient"), tmp_path / "run")
    with pytest.raises(ValueError, match=r"that they can share members \(8,\) evenly, got 3"):
        runs.train(tmp_path / "run", lambda rows: None, device_count=3)
    with pytest.raises(ValueError, match=f"between 1 and {len(jax.devices())}"):
        runs.train(tmp_path / "run", lambda rows: None, device_count=MEMBERS)


@pytest.mark.parametrize(
    ("members", "available", "want"), [((512,), 8, 8), ((24, 8), 6, 4), ((24, 8), 3, 2), ((5,), 4, 1), ((6, 9), 64, 3)]
)
def test_usable(members, available, want):
    assert devices.usable(members, available) == want
    assert devices.usable(members, available, block=1000) == 1


def test_pieces_do_not_depend_on_the_number_of_devices():
    assert [devices.num_blocks(512, count) for count in (1, 2, 4, 8)] == [8] * 4
    assert [devices.num_blocks(512, count) for count in (16, 64)] == [16, 64]
    for members in (6, 24, 30, 512):
        for count in range(1, members + 1):
            if members % count == 0:
                cut = devices.num_blocks(members, count)
                assert members % cut == 0 and cut % count == 0


@pytest.mark.parametrize("block", [1, 3, 4, 7, 10])
def test_blockwise_is_a_map(block):
    rows = {"a": jnp.arange(7.0), "b": jnp.arange(14.0).reshape(7, 2)}
    found = devices.blockwise(lambda row: (row["a"] * 2, jnp.sum(row["b"])), rows, block=block)
    np.testing.assert_array_equal(found[0], 2 * np.arange(7.0))
    np.testing.assert_array_equal(found[1], np.arange(14.0).reshape(7, 2).sum(axis=1))


def test_alone_nothing_is_cut_and_nothing_gathered():
    rows = jnp.arange(3)
    assert devices.count() == 1
    assert devices.local_shard(rows) is rows and devices.gather(rows) is rows


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    print(json.dumps({"done": True}))
