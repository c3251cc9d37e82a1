"""Rule files: a round trip, and every way for a file to be wrong."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax

import groove
from groove.files.rulefile import load_rule_file, locate, save_rule, shipped, unflatten
from levels.chain import chain


class Theta(NamedTuple):
    cell: dict[str, jax.Array]
    empty: jax.Array
    half: tuple[jax.Array, ...]


def make(width: int = 3) -> Theta:
    key = jax.random.key(0)
    return Theta(
        {"a/b": jax.random.normal(key, (width, 2))}, jnp.zeros((0, 2)), (jnp.ones(5, jnp.bfloat16) / 3, jnp.int32(7))
    )


METADATA = {"rule": "lpg", "arguments": '{"width": 3}', "é": ""}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_rule(tmp_path / "rule.safetensors", make(), METADATA)
    return tmp_path / "rule.safetensors"


@pytest.mark.parametrize("like", [make(), jax.eval_shape(make)], ids=["arrays", "shapes"])
def test_round_trip(file: Path, like: Theta):
    flat, metadata = load_rule_file(file)
    assert metadata == METADATA
    assert sorted(flat) == [".cell['a/b']", ".empty", ".half[0]", ".half[1]"]
    got, want = unflatten(like, flat), make()
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (one.dtype, one.shape, one.weak_type) == (other.dtype, other.shape, False)
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in file.parent.iterdir()] == ["rule.safetensors"]


def test_the_same_rule_is_the_same_bytes(tmp_path: Path):
    """The library that writes them puts metadata in another order every time."""
    about = METADATA | {str(number): "" for number in range(9)}
    for number in range(5):
        save_rule(tmp_path / str(number), make(), about)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    save_rule(tmp_path / "other", make(), dict(reversed(about.items())))
    assert (tmp_path / "other").read_bytes() == (tmp_path / "0").read_bytes()


@pytest.mark.parametrize("theta", [(), jnp.float32(2.0)])
def test_thetas_of_one_leaf_or_none(tmp_path: Path, theta):
    save_rule(tmp_path / "rule", theta, {})
    assert unflatten(theta, load_rule_file(tmp_path / "rule")[0]) == theta


def test_every_flipped_byte_is_found(file: Path):
    content = file.read_bytes()
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 4
        file.write_bytes(bytes(changed))
        with pytest.raises(ValueError, match=r"damaged|no rule of format"):
            unflatten(make(), load_rule_file(file)[0])


def test_a_rule_that_is_not_finite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as careless:
        careless.setattr("groove.files.rulefile._not_finite", lambda tensors: None)
        save_rule(tmp_path / "rule", {"a": jnp.float32(jnp.inf)}, {})
    with pytest.raises(ValueError, match=r"must be finite, \['a'\] is not"):
        load_rule_file(tmp_path / "rule")


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_truncation_is_found(file: Path, length: int):
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load_rule_file(file)


def test_files_from_elsewhere(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        load_rule_file(tmp_path)
    (tmp_path / "text").write_text("not a rule at all")
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load_rule_file(tmp_path / "text")
    (tmp_path / "other").write_bytes(safetensors.flax.save({"a": jnp.zeros(3)}))
    with pytest.raises(ValueError, match="is no rule of format 'groove.rule.1', its format is None"):
        load_rule_file(tmp_path / "other")


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (make(width=4), r"theta must have \.cell\['a/b'\] float32\[4, 2\], the file has float32\[3, 2\] there"),
        (make()._replace(half=make().half[:1]), r"theta has no leaf \.half\[1\], but the file has"),
        (make()._replace(cell={**make().cell, "c": jnp.zeros(1)}), r"must have \.cell\['c'\] .* the file has nothing there"),
        (make()._replace(empty=jnp.zeros((0, 2), bool)), r"must have \.empty bool\[0, 2\], the file has float32\[0, 2\]"),
    ],
)
def test_another_theta_is_refused(file: Path, like: Theta, message: str):
    with pytest.raises(ValueError, match=message):
        unflatten(like, load_rule_file(file)[0])


@pytest.mark.parametrize(
    ("theta", "metadata", "message"),
    [
        ({"a": jnp.array([1.0, jnp.nan])}, {}, r"theta must be finite, \['a'\] is not"),
        ({"a": 1.0}, {}, r"\['a'\] must be an array, got 1.0"),
        ((), {"format": "mine"}, "names other than .* got 'format': 'mine'"),
        ((), {"width": 3}, "to strings, got 'width': 3"),
    ],
)
def test_bad_arguments(tmp_path: Path, theta, metadata, message: str):
    with pytest.raises(ValueError, match=message):
        save_rule(tmp_path / "rule", theta, metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", shipped())
def test_rules_that_come_with_groove_can_be_used(name: str):
    """For the spec of their first family, and for another one."""
    assert locate(name).is_file()
    for spec in (None, chain().environment.spec):
        _, theta = groove.load_rule(name, spec)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(theta))


def test_there_are_rules_to_begin_with_and_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    assert shipped() == ["shipped/quick", "shipped/ta-lpg"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shipped").mkdir()
    assert locate("shipped/quick").is_absolute() and locate("shipped/nobody") == Path("shipped/nobody")
    assert (tmp_path / "shipped" / "quick").write_text("mine")
    assert locate("shipped/quick") == Path("shipped/quick")
