"""The conformance check: optima that nobody reaches, samplers that look at clocks, faults that are said once."""

import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_check import CORRIDORS, GRIDS, SMALL, SPEC, Corridor, failing, sample, with_environment

from levels.check import check
from levels.check.subject import Fault, check_storable
from levels.check.worth import check_least


def test_an_optimum_without_a_policy_is_bounded_from_one_side():
    """Which the verdict says: 7 is above what anybody returns, and nothing shows it."""
    for family, said in ((CORRIDORS._replace(optimum=lambda level: jnp.float32(7)), True), (GRIDS, False)):
        (finding,) = [one for one in check(family, only=("optimum",), **SMALL).findings if one.law == "optimum"]
        assert finding.outcome == "passed" and ("it may be too high" in finding.reason) == said


def test_an_episode_that_ends_a_step_late_is_too_long():
    """Corridors are cut off after 30 steps."""
    late = with_environment(spec=SPEC._replace(episode_limit=29))
    assert "do not end within the limit of 29 steps" in failing(late, "episodes").reason


@pytest.mark.parametrize(
    ("least", "best", "message"),
    [
        ([1.0, 1.0], [1.0, 1.0], None),  # whoever acts reaches the optimum: success says nothing, and need not
        ([1.0, 0.9], [1.0, 1.0], "the least return that was seen is a success on every level"),
        ([0.9, 0.5], [1.0, 1.0], None),
        ([0.9, -0.5], [1.0, 0.0], "the least return that was seen is a success on every level"),
        ([0.5, 0.5], [1.0, 1.0], None),
    ],
)
def test_success_must_not_be_what_everybody_has_where_more_can_be_had(least, best, message):
    """Success is 0.75 here."""
    subject = SimpleNamespace(played=jnp.zeros(2), levels=jnp.zeros(2))
    try:
        check_least(subject, lambda level, gained: gained >= 0.75, np.array(least), np.array(best))
    except Fault as fault:
        assert message is not None and message in fault.reason
    else:
        assert message is None


@pytest.mark.parametrize("tick", [lambda: int(time.time()), time.time_ns])
def test_samplers_that_look_at_a_clock_are_named(tick):
    def timed(key):
        return Corridor(jnp.int32(3), 0.1 * jax.random.uniform(jax.random.fold_in(key, tick() % 2**31)))

    assert "sample is another function each time it is traced" in failing(timed, "determinism").reason


def test_a_fault_of_steps_is_said_once():
    """Speed cannot be asked without them; of a generator without a family it can."""
    verdict = check(with_environment(step=lambda *given: 1 / 0), only=("speed",), **SMALL)
    assert [one.law for one in verdict.failures] == ["time steps"]
    assert verdict.findings[-1].reason == "cannot be asked without 'time steps'."
    assert [one.law for one in check(sample, only=("speed",), **SMALL).findings] == ["sampling", "speed"]


@pytest.mark.parametrize("dtype", ["bfloat16", "complex64", "int4", "float8_e4m3fn"])
def test_what_no_file_can_hold_is_named(dtype: str):
    with pytest.raises(Fault, match=f"p of a sample is {dtype}, which no file of levels can hold"):
        check_storable("a sample", {"p": jax.ShapeDtypeStruct((2,), jnp.dtype(dtype))})
    check_storable("a sample", (jax.ShapeDtypeStruct((2,), jnp.dtype("float16")), jax.ShapeDtypeStruct((), bool)))
