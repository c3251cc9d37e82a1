"""The conformance check: sound parts pass, every kind of brokenness is named with a reason and a hint."""

import random
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.members import FAMILIES

from levels.adapters.jaxued import maze
from levels.base import TIME_SCALE, Array, Discrete, Environment, Family, Generator, Spec, TimeStep, uniform
from levels.check import LAWS, check, render

SMALL = {"levels": 8, "episodes": 8}
GRIDS = FAMILIES["gridworld"]


class Corridor(NamedTuple):
    """Walk right to the end, which pays 1; every step slips back with some probability."""

    length: jax.Array  # i32[]
    slip: jax.Array  # f32[]


def observe(place, step, reward, level):
    done = place >= level.length
    return TimeStep(place, TIME_SCALE * step.astype(jnp.float32), jnp.float32(reward), done, ~done & (step >= 30))


def reset(noise, level):
    start = (jnp.int32(0), jnp.int32(0))
    return start, observe(*start, 0.0, level)


def step(noise, level, state, action):
    forward = (action == 1) & (uniform(noise[0]) >= level.slip)
    place = jnp.maximum(state[0] + jnp.where(forward, 1, -1), 0)
    state = (place, state[1] + 1)
    return state, observe(*state, place >= level.length, level)


def sample(key):
    length_key, slip_key = jax.random.split(key)
    return Corridor(jax.random.randint(length_key, (), 2, 8), jax.random.uniform(slip_key, maxval=0.3))


def is_valid(level):
    return (level.length >= 1) & (level.length <= 8) & (level.slip >= 0) & (level.slip <= 1)


def mutate(key, level):
    return level._replace(slip=jax.random.uniform(key, maxval=0.3))


def decode(vector):
    return Corridor(2 + jnp.floor(5.99 * vector[0]).astype(jnp.int32), 0.3 * vector[1])


SPEC = Spec(Discrete(9), time=False, actions=2, episode_limit=30, noise=1, reset_noise=0)
GENERATOR = Generator(sample, mutate, decode, 2, is_valid)
CORRIDORS = Family("corridor", Environment(SPEC, reset, step), GENERATOR, draw=lambda level: "." * int(level.length))
ONE_ROOM = {"optimum": lambda level: jnp.float32(1), "success": lambda level, gained: gained >= 0.75}


def with_generator(**changes):
    return CORRIDORS._replace(generator=GENERATOR._replace(**changes))


def with_environment(**changes):
    return CORRIDORS._replace(environment=CORRIDORS.environment._replace(**changes))


def stepping(change):
    """Corridors whose steps are changed: `(state, timestep, noise) -> (state, timestep)`."""

    def changed(noise, level, state, action):
        return change(*step(noise, level, state, action), noise)

    return with_environment(step=changed)


def failing(part, law, **options):
    """The finding of the law, asked with those that it needs, all of which hold; it must fail."""
    verdict = check(part, only=(law,), **SMALL | options)
    assert [finding.law for finding in verdict.failures] == [law], str(verdict)
    return verdict.failures[0]


@pytest.mark.parametrize("name", ["gridworld", "gridworld-planes", "bernoulli-bandit", "gaussian-bandit", "chain"])
def test_built_in_families_pass(name):
    verdict = check(FAMILIES[name], levels=16, episodes=16)
    assert verdict.passed, str(verdict)
    assert {finding.law for finding in verdict.findings} == {law.name for law in LAWS}
    skipped = {finding.law for finding in verdict.findings if finding.outcome == "skipped"}
    assert skipped == ({"optimum", "optimal policy", "success"} if name == "gridworld-planes" else set())


@pytest.mark.parametrize("name", ["chain-distractors", "gymnax-cartpole", "gymnax-frozenlake"])
def test_families_without_a_policy_pass(name):
    verdict = check(FAMILIES[name], **SMALL)
    assert verdict.passed, str(verdict)


def test_jaxueds_mazes_pass():
    verdict = check(maze(height=4, width=4, walls=4, episode_limit=20), levels=16, episodes=8)
    assert verdict.passed, str(verdict)


def test_a_family_of_sixty_lines_and_its_factory_pass():
    verdict = check(lambda: CORRIDORS, **SMALL)
    assert verdict.passed and verdict.name == "corridor", str(verdict)
    measured = {finding.law: finding.reason for finding in verdict.findings}
    assert "samples a second" in measured["speed"] and "steps a second" in measured["speed"]
    assert measured["spec"].startswith("Discrete(n=9), 2 actions")


def test_a_generator_alone_is_asked_less_and_with_its_family_more():
    def open_fields(key):
        level = GRIDS.generator.sample(key)
        rows, columns = jnp.indices(level.walls.shape)
        return level._replace(walls=(rows >= level.height) | (columns >= level.width))

    alone = check(open_fields, only=("validity", "episodes", "drawing"), **SMALL)
    assert alone.passed and alone.name == "open_fields"
    assert alone.findings[-1].outcome == "skipped" and "a generator without a family" in str(alone)
    full = check(Generator(open_fields), family=GRIDS, name="open", only=("validity", "optimum"), **SMALL)
    assert full.passed and full.name == "open", str(full)
    assert "all of 8 samples are valid" in str(full)


def test_a_generator_may_ask_for_its_family():
    def open_fields(key, family):
        return family.generator.sample(key)._replace(walls=jnp.zeros((4, 4), bool))

    assert check(open_fields, family=GRIDS, only=("form",), **SMALL).passed


def padded(key):
    level = GRIDS.generator.sample(key)
    return level._replace(walls=jnp.pad(level.walls, 1))


def walled(key):
    level = GRIDS.generator.sample(key)
    return level._replace(walls=jnp.ones_like(level.walls))


def test_a_wrong_shape_is_named():
    finding = failing(padded, "form", family=GRIDS)
    assert finding.reason == "walls of a sample is bool[6,6], of a level of gridworld bool[4,4]."
    assert "pad to the largest size" in finding.hint


def test_another_kind_of_level_is_named():
    assert "a level of gridworld height i32[]" in failing(sample, "form", family=GRIDS).reason


def test_an_invalid_level_is_drawn():
    finding = failing(walled, "validity", family=GRIDS)
    assert finding.reason.startswith("8 of 8 samples are not valid") and "limit " in finding.level


def test_numbers_that_are_not_finite_are_drawn_as_fields():
    def endless(key):
        return {"slip": 1 / jnp.round(0.6 * jax.random.uniform(key))}

    finding = failing(endless, "validity")
    assert "slip of" in finding.reason and "not finite" in finding.reason and finding.level.split() == ["slip", "inf"]


def raises(key):
    raise RuntimeError("out of levels\nand of patience")


def branches(key):
    return {"slip": 1.0} if jax.random.uniform(key) < 0.5 else {"slip": 0.0}


def ranges(key):
    return {"sum": sum(jnp.float32(i) for i in range(jax.random.randint(key, (), 0, 5)))}


def borrows(key):
    return {"slip": np.sin(jax.random.uniform(key))}


def shapes(key):
    return {"walls": jnp.zeros(jax.random.randint(key, (), 0, 5))}


def masks(key):
    noise = jax.random.uniform(key, (4,))
    return {"high": noise[noise > 0.5]}


def no_key():
    return 3


@pytest.mark.parametrize(
    "sampler, reason, hint",
    [
        (raises, f"RuntimeError in raises (line {raises.__code__.co_firstlineno + 1} of test_check.py): out of levels", ""),
        (branches, "TracerBoolConversionError in branches (line", "use jnp.where or jax.lax.cond"),
        (ranges, "TracerIntegerConversionError in ranges", "counts or indexes with a traced value"),
        (borrows, "TracerArrayConversionError in borrows", "use jax.numpy"),
        (shapes, "in shapes", "pad to the largest size"),
        (masks, "NonConcreteBooleanIndexError in masks", "jnp.where"),
        (lambda key: "level", "TypeError", ""),
        (lambda key: (), "a sample holds no arrays", "PyTree of arrays"),
    ],
)
def test_samplers_that_do_not_compile_are_named(sampler, reason, hint):
    finding = failing(sampler, "sampling")
    assert reason in finding.reason and hint in finding.hint and "\n" not in finding.reason


def test_what_keeps_a_traced_array_is_named():
    leaked = []

    def leaks(key):
        leaked.append(jax.random.uniform(key))
        return {"slip": leaked[0]}

    finding = failing(leaks, "determinism")
    assert "was kept outside of the function" in finding.reason and finding.hint == "No global state."


def test_constants_of_a_generator_are_its_own():
    slips = jnp.linspace(0.0, 0.3, 7)
    assert check(lambda key: {"slip": jax.random.choice(key, slips)}, **SMALL).passed


def from_numpy(key):
    return {"slip": jax.random.uniform(key) + np.random.rand()}  # noqa: NPY002


def from_python(key):
    return {"slip": jax.random.uniform(key) + random.random()}


def test_global_random_numbers_are_found_where_they_are_drawn():
    for sampler in (from_numpy, from_python):
        finding = failing(sampler, "sampling")
        assert "global random numbers of NumPy or Python" in finding.reason and "jax.random" in finding.hint


COUNTER = []


def counts(key):
    COUNTER.append(0)
    return {"slip": jax.random.uniform(key) + len(COUNTER)}


@jax.jit
def own_generator(key):
    return {"slip": jax.random.uniform(key) + jnp.asarray(np.random.default_rng().random(3), jnp.float32)}


@pytest.mark.parametrize("sampler", [counts, own_generator])
def test_what_is_not_pure_is_named(sampler):
    finding = failing(sampler, "determinism")
    assert finding.reason == "sample is another function each time it is traced." and "global variables" in finding.hint


def test_what_is_not_pure_while_it_runs_is_named():
    chance = np.random.default_rng(0)

    def calls_out(key):
        form = jax.ShapeDtypeStruct((), jnp.float32)
        return {"slip": jax.pure_callback(lambda _: np.float32(chance.random()), form, key, vmap_method="sequential")}

    assert "sampling twice with the same keys" in failing(calls_out, "determinism").reason


def test_unused_keys_are_named_unless_there_is_one_level():
    def constant(key):
        return {"slip": jnp.float32(0.5)}

    assert failing(constant, "variety").level.split() == ["slip", "0.5"]
    single = Generator(constant, decode=lambda vector: {"slip": jnp.float32(0.5)}, dimensions=0)
    assert check(single, only=("variety", "decoding"), **SMALL).passed


@pytest.mark.parametrize(
    "law, changes, reason",
    [
        ("form", {"sample": lambda key: {"slip": 1.0}}, "slip of a sample has a weak dtype"),
        ("validity", {"is_valid": lambda level: level.slip}, "is_valid gives float32[], not one boolean a level"),
        ("validity", {"is_valid": lambda level: 1 / 0}, "ZeroDivisionError"),
        (
            "edits",
            {"mutate": lambda key, level: level._replace(length=level.slip)},
            "length of an edit is f32[], of a sample",
        ),
        ("edits", {"mutate": lambda key, level: level}, "no edit changes anything"),
        ("edits", {"mutate": lambda key, level: level._replace(slip=level.slip + 0.5)}, "edits are not valid"),
        ("decoding", {"decode": lambda vector: vector}, "a decoding is f32[2], a sample length"),
        ("decoding", {"decode": lambda vector: decode(vector)._replace(slip=2 * vector[1])}, "decodings are not valid"),
        ("decoding", {"decode": None}, "dimensions is 2, but there is no decode"),
        ("retracing", {"mutate": lambda key, level: level._replace(length=3)}, "mutate is compiled again"),
    ],
)
def test_generators_that_break_a_law_are_named(law, changes, reason):
    assert reason in failing(with_generator(**changes), law).reason


def test_what_is_slow_to_compile_is_named():
    def unrolled(key):
        slip = jax.random.uniform(key)
        for _ in range(3000):
            slip = jnp.sin(slip) + 0.1
        return Corridor(jnp.int32(3), slip)

    finding = failing(unrolled, "speed", seconds=0.05)
    assert "sampling takes" in finding.reason and "operations" in finding.reason
    assert "loop of Python is unrolled" in finding.hint


def restarting(noise, level):
    return (jnp.int32(0), jnp.int32(0)), observe(jnp.int32(0), jnp.int32(0), 1.0, level)


def gambling(state, timestep, noise):
    return state, timestep._replace(reward=jnp.float32(np.random.default_rng().random()))


def shown_as(observation):
    return with_environment(spec=SPEC._replace(observation=observation))


def slow_time(state, timestep, noise):
    return state, timestep._replace(time=timestep.time * 2)


def both_ends(state, timestep, noise):
    return state, timestep._replace(truncated=timestep.terminated | timestep.truncated)


@pytest.mark.parametrize(
    "law, family, reason",
    [
        ("spec", with_environment(spec=SPEC._replace(noise=1.0)), "spec.noise must be an integer of at least 0, got 1.0"),
        ("spec", with_environment(spec=SPEC._replace(observation=9)), "spec is Spec(observation=9"),
        ("time steps", with_environment(reset=lambda noise, level: jnp.int32(0)), "reset returns"),
        ("time steps", with_environment(step=lambda *given: 1 / 0), "ZeroDivisionError in <lambda>"),
        ("time steps", shown_as(Array((4,))), "the observation of the time step of reset"),
        ("time steps", stepping(lambda state, step, noise: ((state[0], 0.5), step)), "1 of the state after a step is f32[]"),
        ("time steps", stepping(lambda state, step, noise: ((state[0], 3), step)), "1 of the state after a step has a weak"),
        (
            "time steps",
            stepping(lambda state, step, noise: (state, step._replace(reward=jnp.zeros(2)))),
            "reward of the time step of step must be f32[], got f32[2]",
        ),
        (
            "time steps",
            stepping(lambda state, step, noise: (state, step._replace(observation=jnp.float32(0)))),
            "the observation of the time step of step must be i32[], got f32[]",
        ),
        (
            "episodes",
            stepping(lambda state, step, noise: (state, step._replace(truncated=jnp.bool_(False)))),
            "do not end within the limit of 30 steps",
        ),
        ("episodes", stepping(both_ends), "are both terminated and truncated"),
        ("episodes", stepping(slow_time), "have a wrong time"),
        ("episodes", with_environment(spec=SPEC._replace(time=True)), "are truncated, though the agent sees the time"),
        ("episodes", shown_as(Discrete(2)), "observations that are not Discrete(n=2)"),
        (
            "episodes",
            stepping(lambda state, step, noise: (state, step._replace(reward=jnp.float32(jnp.nan)))),
            "rewards or observations that are not finite",
        ),
        (
            "episodes",
            with_environment(reset=restarting),
            "reward of a reset is not 0",
        ),
        (
            "noise",
            stepping(gambling),
            "step is another function each time it is traced",
        ),
        ("drawing", CORRIDORS._replace(draw=lambda level: None), "draw returns NoneType"),
        ("drawing", CORRIDORS._replace(draw=lambda level: {}["no"]), "KeyError in <lambda>"),
        ("drawing", CORRIDORS._replace(image=lambda level, state: np.zeros((2, 2))), "image returns float64[2, 2]"),
        ("features", CORRIDORS._replace(features=lambda level: {"n": level.length}), "the feature 'n' is i32[], not f32[]"),
        ("features", CORRIDORS._replace(features=lambda level: {"n": level.slip / 0}), "the feature 'n' is not finite"),
    ],
)  # fmt: skip
def test_families_that_break_a_law_are_named(law, family, reason):
    assert reason in failing(family, law).reason


def table(good):
    """The policy that walks right with probability `good`."""
    return lambda level: lambda step: jnp.broadcast_to(jnp.array([1 - good, good], jnp.float32), (9, 2))


@pytest.mark.parametrize(
    "law, changes, reason",
    [
        ("optimum", {"optimum": lambda level: 0.5 + 0 * level.slip}, "always action 1 returns 1 on average"),
        ("optimum", {"optimum": lambda level: level.length}, "optimum is int32[], not f32[]"),
        ("optimum", {"optimum": lambda level: jnp.inf * level.slip}, "the optimum is not finite"),
        ("optimal policy", {"policy": table(0.0)}, "the policy returns 0 where the optimum is 1"),
        ("optimal policy", {"policy": lambda level: lambda step: jnp.ones((9, 2))}, "must give probabilities f32[9, 2]"),
        (
            "optimal policy",
            {"policy": table(1.0), "value": lambda level, policy: jnp.float32(0.5)},
            "is 0.5, the optimum 1.",
        ),
        ("success", {"success": lambda level, gained: gained}, "success is float32[], not bool[]"),
        ("success", {"success": lambda level, gained: gained > 2}, "returning the optimum is no success"),
        ("success", {"success": lambda level, gained: gained == gained}, "returning less than nothing is a success"),
        ("success", {"success": lambda level, gained: gained >= 0}, "the least return that was seen is a success on every"),
        ("success", {"success": lambda level, gained: gained >= 0, "optimum": None}, "the least return that was seen is"),
    ],
)
def test_worth_that_is_wrong_is_named(law, changes, reason):
    assert reason in failing(CORRIDORS._replace(**ONE_ROOM | changes), law).reason


def test_worth_that_is_right_passes():
    family = CORRIDORS._replace(**ONE_ROOM, policy=table(1.0), value=lambda level, policy: jnp.float32(1))
    assert check(family, only=("optimal policy", "success", "solvable"), **SMALL).passed
    nothing = stepping(lambda state, step, noise: (state, step._replace(reward=jnp.float32(0))))
    hopeless = nothing._replace(**ONE_ROOM | {"optimum": lambda level: jnp.float32(0)})
    assert "the optimum of no level is positive" in failing(hopeless, "solvable").reason


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("never")


def mute(key):
    raise Mute


def test_an_exception_without_a_readable_message_is_named():
    assert "Mute in mute" in failing(mute, "sampling").reason


def refuses():
    raise SystemExit("no licence")


@pytest.mark.parametrize(
    "part, reason",
    [
        (refuses, "SystemExit in refuses"),
        (no_key, "it is a int"),
        (lambda key, family: key, "a function of a key, or of a key and a family, which is not known here; it needs key,"),
        ("text", "it is a str"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_is_no_family_is_named(part, reason):
    verdict = check(part)
    assert not verdict.passed and reason in verdict.findings[0].reason and verdict.findings[0].law == "making"


def test_laws_that_need_a_broken_one_are_skipped():
    verdict = check(raises, family=GRIDS, **SMALL)
    assert len(verdict.findings) == len(LAWS) and [finding.law for finding in verdict.failures] == ["sampling"]
    assert {finding.outcome for finding in verdict.findings} == {"failed", "skipped", "passed"}


def test_a_verdict_reads_well():
    lines = render(check(walled, family=GRIDS, only=("validity", "edits"), **SMALL)).splitlines()
    assert lines[0] == "walled: 1 of 3 laws is broken."
    assert lines[3].startswith("FAILED   validity    8 of 8 samples are not valid; number 0: start lies in a wall: cell ")
    assert lines[4].strip().startswith("| ###")
    assert lines[-1] == "skipped  edits       cannot be asked without 'validity'."


def test_bad_arguments_are_named():
    for arguments, message in (
        ({"levels": 1}, r"levels and episodes must be at least 2, got \(1, 64\)"),
        ({"seconds": 0.0}, r"seconds must be positive, got 0.0"),
        ({"only": ("speeed",)}, "only must name laws, sampling, .*; got 'speeed'"),
        ({"family": GRIDS}, "family must not be given beside a family, got 'gridworld' and 'corridor'"),
    ):
        with pytest.raises(ValueError, match=message):
            check(CORRIDORS, **arguments)
