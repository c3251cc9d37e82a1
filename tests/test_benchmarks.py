"""The benchmarks still fit the library: all import, and the meta-step's runs in small."""

import dataclasses
import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import curate, evolution, meta_step, roofline, scaling, two_processes
from groove import config

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in ("__init__", "buffer"))


@pytest.mark.parametrize("name", NAMES)
def test_it_imports(name, loose_ranks):
    assert importlib.import_module(f"benchmarks.{name}")


def test_a_meta_step_in_small():
    small = config.smoke(config.LPG)
    found = meta_step.measure(dataclasses.replace(small, families=("bernoulli-bandit",)), rounds=1)
    keys = {"seconds", "flops", "peak_flops_per_second", "fraction_of_peak", "compile_seconds", "peak_memory_bytes"}
    assert set(found) == keys
    assert found["flops"] == 3 * 2 * (2 * 2 * 5) * 2 * (2 * (3 * 16 + 16) + (6 + 4) * 3 * 4 + 4 * 4)


def test_exact_steps_beside_sampled_ones_in_small():
    small = dataclasses.replace(config.smoke(config.QUICK), families=("bernoulli-bandit",), members=(2,))
    assert 0 < meta_step.exact_over_sampled(small, rounds=1) < float("inf")


def test_scores_in_small():
    small = dataclasses.replace(config.smoke(config.QUICK), families=("bernoulli-bandit",))
    found = curate.measure(small, tasks=4, block=2, rounds=1)
    assert set(found) == {"tasks_per_second", "updates_per_second", "batching_gain", "sorting_gain"}
    assert found["updates_per_second"] / found["tasks_per_second"] == pytest.approx(3 * 4)


@pytest.mark.slow
def test_a_generation_in_small():
    small = dataclasses.replace(config.smoke(config.TA_LPG), families=("bernoulli-bandit",), members=(4,), chunk=1)
    found = evolution.measure(small, generations=1)
    times = {"seconds_per_generation", "peak_flops_per_second", "fraction_of_peak", "grouping_gain", "sorting_gain"}
    assert set(found) == times | {"updates_per_generation", "flops"}
    assert found["updates_per_generation"] == 2 * 4 * 4
    assert found["flops"] == 2 * 4 * 4 * (2 * 5) * 2 * (2 * (3 * 16 + 16) + (8 + 4) * 3 * 4 + 4 * 4)


SMALL = dataclasses.replace(config.smoke(config.GROOVE), name="custom", families=("bernoulli-bandit",), members=(4,))


def test_exponents_are_slopes():
    assert scaling.exponent((1, 2, 4, 8), [3.0 * factor**0.5 for factor in (1, 2, 4, 8)]) == pytest.approx(0.5)
    seconds = {what: [1.0, 2.0] for what in scaling.GROWN}
    assert scaling.drawn((1, 2), seconds).png.startswith(b"\x89PNG")
    times = {"one_thread": 9.0, "one_process": 4.0, "one_process_two_devices": 3.0, "two_processes": 2.0}
    assert scaling.efficiency(times) == 1.5


def test_a_run_grows_in_one_part_alone():
    sizes = [scaling.grown(SMALL, what, 2) for what in scaling.GROWN]
    found = [(c.members, c.life.environments, c.rule.width, c.curriculum.capacity) for c in sizes]
    assert found == [((8,), 2, 4, 4), ((4,), 4, 4, 4), ((4,), 2, 8, 4), ((4,), 2, 4, 8)]


@pytest.mark.slow
def test_growth_in_small():
    found = scaling.growth(SMALL, factors=(1, 2), rounds=1)
    assert set(found) == set(scaling.GROWN) and all(len(values) == 2 and min(values) > 0 for values in found.values())


@pytest.mark.slow
def test_two_processes_in_small():
    starts = {name: two_processes.STARTS[name] for name in ("one_process_two_devices", "two_processes")}
    found = two_processes.measure(SMALL, rounds=1, starts=starts)
    assert set(found) == set(starts) and min(found.values()) > 0


def test_kernels_are_counted_with_the_turns_of_loops():
    def function(x):
        x = jax.lax.fori_loop(0, 7, lambda i, x: jnp.sort(jnp.sin(x)), x)
        return jax.lax.while_loop(lambda x: x[0] < 0, lambda x: jnp.sort(jnp.cos(x)), x)

    known, unknown = roofline.kernels(function, jax.ShapeDtypeStruct((64,), jnp.float32))
    assert 7 * 2 <= known <= 7 * 4 + 2 and 2 <= unknown <= 4


def test_devices_wait_for_each_other_seven_times_in_a_meta_step():
    """Once for each dtype of what is gathered, not for each leaf."""
    waits, gathered = roofline.collectives(SMALL, 4)
    assert waits == 7 and gathered > 0
