"""What devices gather comes in the order of the members, and of several checkpoints the newest is restored."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from groove.files import checkpoint
from groove.parallel import devices

MEMBERS = 12
ROWS = {
    "number": np.arange(MEMBERS, dtype=np.int32) * 3 + 1,
    "table": np.arange(MEMBERS * 6, dtype=np.float32).reshape(MEMBERS, 2, 3) / 7,
    "vector": np.arange(MEMBERS * 2, dtype=np.float32).reshape(MEMBERS, 2) + 100,
    "flag": np.arange(MEMBERS) % 3 == 0,
}


def by_all(function, shared: int):
    """The function on so many devices, as an axis of vmap has them, which must agree."""
    found = jax.jit(jax.vmap(lambda _: function(), axis_name=devices.AXIS))(jnp.arange(shared))
    found = jax.tree.map(np.asarray, found)
    for leaf in jax.tree.leaves(found):
        assert (leaf == leaf[:1]).all()
    return jax.tree.map(lambda leaf: leaf[0], found)


def assert_equal(got, want):
    assert got.keys() == want.keys()
    for name, leaf in want.items():
        np.testing.assert_array_equal(got[name], leaf, err_msg=name)


@pytest.mark.parametrize("shared", [2, 3, 4])
def test_what_is_cut_and_gathered_is_as_it_was(shared):
    assert_equal(by_all(lambda: devices.gather(devices.local_shard(jax.tree.map(jnp.asarray, ROWS))), shared), ROWS)


@pytest.mark.parametrize("shared", [2, 3])
@pytest.mark.parametrize("block", [1, 2, 5])
def test_blocks_come_in_order_whoever_computes_them(shared, block):
    """Also where the blocks do not come out even."""
    got = by_all(lambda: devices.blockwise(lambda row: {"twice": 2 * row}, jnp.arange(11), block=block), shared)
    assert_equal(got, {"twice": 2 * np.arange(11)})


def test_what_one_device_computes_all_have():
    def mine():
        return {"index": jax.lax.axis_index(devices.AXIS).astype(jnp.float32) + 7}

    assert_equal(by_all(lambda: devices.by_one(mine), 3), {"index": np.float32(7)})


def state(number: int) -> dict[str, jax.Array]:
    return {"number": jnp.asarray(np.int32(number))}


def restored(folder) -> tuple[int, int]:
    step, found = checkpoint.restore(folder, state(0))
    return step, int(found["number"])


def test_the_newest_checkpoint_is_restored(tmp_path):
    """By number, not by name: 100,000,000 has more digits; and one that was being replaced comes after its replacement."""
    for step in (99_999_999, 7, 100_000_000):
        checkpoint.save(tmp_path, step, state(step), keep=4)
    assert checkpoint.newest(tmp_path) == 100_000_000
    assert restored(tmp_path) == (100_000_000, 100_000_000)
    newest = tmp_path / "step_100000000"
    newest.rename(tmp_path / "step_100000000_replaced")
    assert restored(tmp_path) == (100_000_000, 100_000_000)
    checkpoint.save(tmp_path / "other", 100_000_000, state(5))
    shutil.move(tmp_path / "other" / "step_100000000", newest)
    assert restored(tmp_path) == (100_000_000, 5)
    checkpoint.save(tmp_path, 100_000_001, state(6), keep=2)
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_100000000", "step_100000001"]
    assert restored(tmp_path) == (100_000_001, 6)
