"""NaN is found within a chunk, and the operation that made it is named."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest
from test_devices import settings

from groove import runs
from groove.runs import nan_origin
from groove.trainer import State


@jax.custom_vjp
def guarded(x):
    return jnp.sqrt(x)


guarded.defvjp(lambda x: (guarded(x), x), lambda x, slope: (slope * jnp.log(x),))


def looped(x):
    return jax.lax.fori_loop(0, 3, lambda i, x: jnp.log(x - 1), x)


def whiled(x):
    return jax.vmap(lambda y: jax.lax.while_loop(lambda y: y > 0, lambda y: jnp.sqrt(y - 1), y))(x)


def backwards(x):
    return jax.lax.scan(lambda carry, row: (carry + jnp.arccos(row), None), 0.0, x, reverse=True)[0]


def branched(x):
    return jax.lax.cond(x > 0, jnp.sin, lambda x: jax.checkpoint(jnp.log)(x), x)


@pytest.mark.parametrize(
    ("function", "argument", "says"),
    [
        (looped, 2.5, "log at .*looped"),
        (whiled, jnp.array([2.0, 0.5]), "sqrt at .*whiled"),
        (backwards, jnp.array([0.5, 2.0]), "acos at .*backwards"),
        (branched, -1.0, "log at .*branched"),
        (lambda x: guarded(x - 3), 1.0, "sqrt at .*guarded"),
        (lambda x: jax.grad(lambda x: guarded(x * x))(x - x), 0.0, "mul at"),  # 0 times log 0
        (lambda x: jnp.inf * x, 0.0, "mul at"),
    ],
)
def test_the_first_operation_that_makes_nan(function, argument, says):
    found = nan_origin.origin(function, argument)
    assert re.search(says, found), found
    assert "test_faults_of_runs.py" in found


def test_nothing_is_blamed_where_nothing_is_wrong():
    assert nan_origin.origin(looped, 50.0) == ""
    assert nan_origin.origin(jnp.sin, jnp.nan) == ""  # it was there before
    assert nan_origin.origin(lambda x: jnp.log(x), 0.0) == ""  # infinite, but a number


def test_infinities_are_named_where_nothing_is_nan():
    state = State(jnp.int32(0), jax.random.key(0), (), {"w": jnp.array([1.0, jnp.inf])}, (jnp.array(-jnp.inf),))
    assert nan_origin.broken(state) == "an infinity is in .meta['w']"
    assert nan_origin.broken(state._replace(live=(jnp.array(jnp.nan),))) == "NaN is in .live[0]"
    assert nan_origin.broken(state._replace(meta=())) == ""


def metrics_of_nothing(x):
    """In every turn the mean of nothing, in the last one a number from nothing as well."""

    def turn(carry, row):
        mean = jnp.where(row > 9, carry, jnp.nan)
        return carry, (mean, jnp.sqrt(row))

    return jax.lax.scan(turn, x, jnp.array([1.0, 2.0, -1.0]))


def test_nan_that_is_written_is_not_blamed():
    found = nan_origin.origin(metrics_of_nothing, 1.0)
    assert re.match("sqrt at .*turn", found), found
    assert nan_origin.origin(lambda x: jax.lax.map(lambda row: jnp.where(row > 9, row, jnp.nan), x), jnp.arange(3.0)) == ""


@pytest.mark.slow
def test_a_run_says_what_broke_and_where_it_began(tmp_path):
    """A rate that no rule survives: after the first step theta is huge, in the second its net makes NaN."""
    made = settings("gradient")
    runs.create(dataclasses.replace(made, meta=dataclasses.replace(made.meta, rate=1e38)), tmp_path / "run")
    with pytest.raises(runs.NotFinite) as caught:
        runs.train(tmp_path / "run", lambda rows: None)
    assert "NaN is in .meta" in str(caught.value) and "--debug" in str(caught.value)
    with pytest.raises(runs.NotFinite, match="The first operation to make NaN: .* at groove/") as caught:
        runs.train(tmp_path / "run", lambda rows: None, debug=True)
    assert "trainer.py" not in str(caught.value).partition(", called from")[0]  # where means of no lives are
