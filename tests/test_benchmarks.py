"""The benchmarks still fit the library: all import, and the meta-step's runs in small."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from benchmarks import curate, evolution, meta_step
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
