"""The benchmarks still fit the library: all import, and the meta-step's runs in small."""

import dataclasses
import importlib
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import SPEC, recorded

from benchmarks import curate, discovery, distil, evolution, meta_step, quick, roofline, scaling, tune_rivals, two_processes
from groove import config
from groove.base import Clock
from groove.nets.agents import tabular
from groove.rules import a2c

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


def test_wins_of_seeds_need_intervals_apart_from_all_rivals():
    def table(low: float, high: float) -> quick.Table:
        others = {"untrained rule": (0.0, 0.1), "tuned A2C": (0.4, 0.6), "tuned PPO": (0.3, 0.7)}
        rows = {**others, "trained rule": (low, high)}
        return {"grids": {"5": {name: {"low": a, "point": a, "high": b} for name, (a, b) in rows.items()}}}

    seeds = [table(0.8, 0.9), table(0.65, 0.9), table(0.05, 0.9)]
    assert quick.count(seeds, quick.RIVALS) == {"grids": {"5": 1}}
    assert quick.count(seeds, (quick.UNTRAINED,)) == {"grids": {"5": 2}}


def test_rivals_are_those_with_the_highest_returns_at_a_lifetime():
    found = {"40 0.01": {"5": 0.5, "300": 0.7}, "10 0": {"5": 0.4, "300": 0.9}, "80 0": {"5": -math.inf, "300": -math.inf}}
    assert [tune_rivals.best(found, lifetime) for lifetime in (5, 300)] == [[40.0, 0.01], [10.0, 0.0]]


def test_what_discovery_found_is_summed_up(tmp_path):
    """One rule above both rivals on bandits, one that lost a seed; nothing of arms that are not complete."""
    settings = dataclasses.replace(config.DISCOVER, families=("bernoulli-bandit",), members=(32,))
    means = {"a2c": [1.0] * 5, "ppo": [1.5] * 5, "ta": [2.0, 2.1, 2.0, 2.1, 2.0], "blind": [2.0, 2.0, 0.5, 2.0, 2.0]}
    means["uniform"] = [1.2] * 5  # between the two rivals
    for arm, values in {**means, "sampled": [3.0] * 4}.items():
        for seed, value in enumerate(values):
            page = {"bernoulli-bandit": {str(n): [value] * discovery.TASKS for n in discovery.LIFETIMES}}
            (tmp_path / f"{arm}-{seed}").mkdir()
            (tmp_path / f"{arm}-{seed}" / "judgement.json").write_text(json.dumps(page))
    found = discovery.summary(settings, tmp_path)["bernoulli-bandit"]
    everywhere = list(discovery.LIFETIMES)
    assert found["above"] == {"a2c": [], "ppo": [], "ta": everywhere, "blind": [], "uniform": []}
    assert found["collapsed"] == {"a2c": [], "ppo": [], "ta": [], "blind": [2], "uniform": []}
    assert found["means_by_meta_seed"]["ta"][5] == means["ta"] and 16 < found["optimum"] < 18


def test_an_advantage_of_one_term_is_a2c():
    """Without its bonus for entropy: agents and critics move as A2C's do, and the weights are those of the terms."""
    architecture, key, rollout = tabular(), jax.random.key(2), recorded(4)
    own, other = distil.closed_form(SPEC, architecture, {"A normalised": 1.0}), a2c(SPEC, architecture, entropy_weight=0.0)
    agent, clock = other.init_agent(key), Clock(jnp.int32(3), jnp.int32(6))
    rows = [jax.jit(rule.update)(key, (), agent, rollout, clock)[0] for rule in (own, other)]
    for got, want in zip(*map(jax.tree.leaves, rows), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    older = distil.closed_form(SPEC, architecture, {"A normalised n/N": 1.5, "A normalised": 0.25})
    got = jax.jit(older.update)(key, (), agent, rollout, clock)[0].actor.parameters  # 1.5 * 3 / 6 + 0.25
    for one, want in zip(jax.tree.leaves(got), jax.tree.leaves(rows[1].actor.parameters), strict=True):
        np.testing.assert_allclose(one, want, rtol=1e-5, atol=1e-6)


def test_terms_by_hand():
    """Of three steps of one environment, of which the second ends an episode."""
    column = lambda *values: jnp.array(values, jnp.float32)[:, None]  # noqa: E731
    ends = jnp.array([[False], [True], [False]])
    rollout = recorded(1, (3, 1))._replace(
        reward=column(1, 2, 4), terminated=ends, truncated=ends & False, action=jnp.zeros((3, 1), jnp.int32)
    )
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.5, 0.25, 0.25], jnp.float32)), (3, 1, 3))
    clock = Clock(jnp.int32(1), jnp.int32(4))
    terms = distil.dictionary(rollout, logits, column(1, 1, 1), column(1, 9, 3), clock, 0.5)
    want = {
        "1": [1, 1, 1],
        "r": [1, 2, 4],
        "sum 0.5^k r": [2, 2, 4],
        "sum 0.9^k r": [2.8, 2, 4],
        "A(0.0)": [0.5, 1, 4.5],
        "A(0.5)": [0.75, 1, 4.5],
        "sign A": [1, 1, 1],
        "pi(a)": [0.5] * 3,
        "log pi(a)": [math.log(0.5)] * 3,
        "H": [1.5 * math.log(2)] * 3,
        "mean r": [7 / 3] * 3,
        "r n/N": [0.25, 0.5, 1],
        "r pi(a)": [0.5, 1, 2],
        "1 n/N": [0.25] * 3,
    }
    for name, values in want.items():
        np.testing.assert_allclose(terms[name][:, 0], values, rtol=1e-5, err_msg=name)
    assert "1 pi(a)" not in terms and len(terms) == len({*terms})


def test_terms_are_found_again():
    """The two that a push is made of, on levels that were not fitted; what is left is the noise's share of the variance."""
    chance = np.random.default_rng(0)
    terms, noise = chance.normal(size=(8, 500, 5)) * [1, 10, 1, 0.1, 1], chance.normal(size=(8, 500))
    found = distil.fitted(terms, 3 * terms[..., 3] - 0.2 * terms[..., 1] + 0.1 * noise, [*"abcde"])
    assert found["2"]["weights"] == {"b": pytest.approx(-0.2, rel=0.01), "d": pytest.approx(3, rel=0.01)}
    assert found["1"]["weights"].keys() == {"b"} and found["2"]["share"] == pytest.approx(1 - 0.01 / 4.1, abs=2e-4)
    push = np.concatenate([terms[:4, :, 0], -terms[4:, :, 0]])  # the second half of the levels turns it round
    turned = distil.fitted(terms, push + 0.01 * noise, [*"abcde"])["1"]
    assert turned["weights"] == {"a": pytest.approx(1, rel=1e-3)} and turned["share"] == pytest.approx(-3, rel=1e-2)


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
