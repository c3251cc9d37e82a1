"""Estimates of cost, and who is asked."""

import dataclasses
import math

import jax
import pytest

from groove import build, config, cost

BIG, SLOW = config.GROOVE, 1e9


def never(question: str) -> bool:
    raise AssertionError(f"was asked: {question}")


def resized(settings: config.Config, **meta: object) -> config.Config:
    return dataclasses.replace(settings, meta=dataclasses.replace(settings.meta, **meta))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of one gigaflop per second."""
    monkeypatch.setattr(cost, "_speed", lambda: SLOW)


def test_operations_by_hand():
    settings = dataclasses.replace(config.LPG, members=(2,), meta_steps=3)
    settings = resized(
        dataclasses.replace(settings, rule=config.Rule(width=4, predictions=2)), updates=1, rematerialise=False
    )
    settings = dataclasses.replace(settings, life=config.Life(environments=5, steps=7))
    token = 2 * (4 * 12 + 6 * 12 + 4 * 3)  # hidden to 3 gates, 6 inputs to 3 gates, two heads
    assert cost.operations(settings) == 3 * token * (2 * 5 * 7) * 3
    assert cost.operations(resized(settings, rematerialise=True)) == 4 * token * (2 * 5 * 7) * 3


def test_every_horizon_has_its_width():
    """Each number that the rule knows of the lifetime is an input to three gates."""

    def forward(horizon: str) -> float:
        rule = config.Rule(horizon=horizon, width=4)  # type: ignore[arg-type]
        return cost._forward(dataclasses.replace(config.LPG, rule=rule, life=config.Life(environments=1, steps=1)))

    known = {"none": 0, "fraction": 1, "fraction-and-log": 2, "remaining": 1}
    assert {name: (forward(name) - forward("none")) / (2 * 4 * 3) for name in build.HORIZONS} == known


def test_evolution_counts_lives_and_whole_lifetimes():
    settings = dataclasses.replace(config.TA_LPG, members=(8,))
    assert (cost.lives(settings), cost.updates(settings)) == (16, pytest.approx(240 / math.log(25)))
    everyone = dataclasses.replace(settings.evolution, strategy="SNES", population=6)
    assert cost.lives(dataclasses.replace(settings, evolution=everyone)) == 48
    pieces = dataclasses.replace(settings, evolution=dataclasses.replace(settings.evolution, lives="persistent"))
    assert (cost.lives(pieces), cost.updates(pieces)) == (16, 5)


def test_lpo_counts_epochs_over_the_agents_networks():
    """Twice the epochs of a loop that dominates are nearly twice the work; a rollout is one pass forward."""
    settings = dataclasses.replace(config.TA_LPO, families=("gridworld-planes",))
    twice = dataclasses.replace(settings, rule=dataclasses.replace(settings.rule, epochs=8))
    assert 1.8 < cost.operations(twice) / cost.operations(settings) < 2


def test_less_is_kept_in_blocks_and_with_rematerialisation():
    plain = resized(BIG, rematerialise=False)
    assert cost.memory(resized(plain, block=64)) < cost.memory(plain)
    assert cost.memory(resized(plain, rematerialise=True)) < cost.memory(plain)


@pytest.mark.slow
def test_memory_is_that_of_the_compiled_program_within_a_factor_of_three():
    settings = dataclasses.replace(config.QUICK, meta_steps=1, chunk=1, families=("gridworld",), members=(64,))
    run = build.build(dataclasses.replace(settings, rule=config.Rule(width=64)))
    state = jax.eval_shape(run.trainer.init, jax.random.key(0))
    compiled = jax.jit(run.trainer.chunk, donate_argnums=0).lower(state).compile().memory_analysis()
    estimated = cost.memory(run.config)
    assert estimated / 3 < compiled.temp_size_in_bytes + compiled.argument_size_in_bytes < 3 * estimated


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gymnax:SpaceInvaders-MinAtar", "gymnax:CartPole-v1"])
def test_memory_of_lpo_is_that_of_the_compiled_program_within_a_factor_of_two(family: str):
    """It is rollouts, with observations before and after each step, and what networks make of them."""
    evolution = dataclasses.replace(config.LPO.evolution, block=1)
    run = build.build(dataclasses.replace(config.LPO, families=(family,), evolution=evolution))
    state = jax.eval_shape(run.trainer.init, jax.random.key(0))
    compiled = jax.jit(run.trainer.chunk, donate_argnums=0).lower(state).compile().memory_analysis()
    estimated = cost.memory(run.config)
    assert estimated / 2 < compiled.temp_size_in_bytes + compiled.argument_size_in_bytes < 2 * estimated


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradient", "evolution"])
def test_the_largest_blocks_that_fit_a_budget(method: str):
    """Half a block needs less; the budget of the smaller one takes it, one below refuses all."""
    small = config.smoke(config.preset("quick" if method == "gradient" else "ta-lpg-small"))
    small = dataclasses.replace(
        small,
        name="custom",
        families=("bernoulli-bandit",),
        members=(4,),
        rule=config.Rule(width=64),
        life=dataclasses.replace(small.life, environments=16),
        evolution=dataclasses.replace(small.evolution, block=4),
    )
    said: list[str] = []
    assert cost.fitted(small, 2.0**40, announce=said.append) == small
    whole = cost.compiled_bytes(small)
    halved = cost.fitted(small, whole - 1, announce=said.append)
    assert (halved.meta.block if method == "gradient" else halved.evolution.block) == 2
    assert cost.compiled_bytes(halved) < whole
    assert [line.split()[2] for line in said] == (["all", "all", "2"] if method == "gradient" else ["4", "4", "2"])
    with pytest.raises(ValueError, match="memory must be at least 0.00 GiB for this run, got 0.00 GiB"):
        cost.fitted(small, 1.0)
    shared = cost.fitted(
        small, 2.0**40, share=4, announce=said.append
    )  # a block of one member is all that fits four devices
    assert (shared.meta.block if method == "gradient" else shared.evolution.block) == (0 if method == "gradient" else 4)
    if method == "gradient":
        half = dataclasses.replace(small, meta=dataclasses.replace(small.meta, block=2))
        assert cost.fitted(half, 2.0**40, share=4).meta.block == 1
        own = cost.compiled_bytes(dataclasses.replace(small, members=(1,)))
        assert cost.fitted(small, own, share=4) == small and own < whole


@pytest.mark.parametrize(
    ("members", "block", "want"),
    [
        ((512,), 0, [0, 256, 128, 64, 32, 16, 8, 4, 2, 1]),
        ((24, 8), 0, [0, 8, 4, 2, 1]),
        ((15,), 0, [0, 5, 1]),
        ((6,), 3, [3, 1]),
    ],
)
def test_blocks_get_smaller_down_to_single_members(members, block, want):
    """Each divides every family's batch."""
    settings = resized(dataclasses.replace(config.LPG, members=members, families=BIG.families[: len(members)]), block=block)
    assert [candidate.meta.block for candidate in cost._in_blocks(settings)] == want
    evolved = dataclasses.replace(config.TA_LPG, evolution=dataclasses.replace(config.TA_LPG.evolution, block=6))
    assert [candidate.evolution.block for candidate in cost._in_blocks(evolved)] == [6, 3, 1]


def test_a_row_of_a_rollout_by_hand():
    """Two observations and times, action and reward in four bytes each, two flags, and the words of action, step, reset."""
    invaders = "gymnax:SpaceInvaders-MinAtar"
    settings = dataclasses.replace(config.LPO, families=(invaders, "bernoulli-bandit"))
    spec = build.family(settings, invaders).environment.spec
    assert cost._row(settings, invaders) == 2 * 4 * 600 + 4 * 4 + 2 + 4 * (1 + spec.noise + spec.reset_noise)
    bandit = build.family(settings, "bernoulli-bandit").environment.spec
    assert cost._row(settings, "bernoulli-bandit") == 2 * 4 + 4 * 4 + 2 + 4 * (1 + bandit.noise + bandit.reset_noise)
    patches, layers = 64 * 9 * 6, 64 * 16 + 128 + 5  # a convolution, a layer, four actions and a value
    assert cost._activations(settings, invaders) == patches + layers


def test_couples_that_are_stepped_at_once_need_their_rollouts_each():
    def of(block: int) -> float:
        return cost.memory(dataclasses.replace(config.LPO, evolution=dataclasses.replace(config.LPO.evolution, block=block)))

    assert 15 < of(16) / of(1) <= 16


@pytest.mark.parametrize("strategy", ["SNES", "deep-ga"])
def test_every_candidate_is_held_once(strategy: str):
    """However many tasks all of them live on: as much as the same number of mirrored ones."""
    everyone = dataclasses.replace(config.TA_LPG.evolution, strategy=strategy)
    settings = dataclasses.replace(config.TA_LPG, evolution=everyone)
    assert cost.thetas(settings) == cost.thetas(config.TA_LPG) == 1024
    assert cost.memory(settings) == cost.memory(config.TA_LPG) < 20 * 2**30
    pieces = dataclasses.replace(config.TA_LPG, evolution=dataclasses.replace(everyone, lives="persistent"))
    assert cost.thetas(pieces) == 1024


def test_planes_have_networks_to_hold():
    settings = dataclasses.replace(config.LPG, families=("gridworld-planes",))
    assert cost.memory(settings) > cost._agents(settings, 1) > 0


def test_an_estimate_is_positive_and_measured():
    found = cost.estimate(BIG)
    assert found.hours > 0 and found.bytes > 0
    assert 1e8 < cost._speed(0.0) < 1e16


def test_hours_follow_the_speed(slow: None):
    assert cost.estimate(BIG).hours == pytest.approx(cost.operations(BIG) / (0.3 * SLOW) / 3600)


@pytest.mark.parametrize("settings", [config.QUICK, config.smoke(config.GROOVE)], ids=["quick", "smoke"])
def test_small_runs_never_ask(slow: None, capsys: pytest.CaptureFixture[str], settings: config.Config):
    cost.confirm(settings, agreed=False, ask=never)
    assert capsys.readouterr().out == ""


def test_fast_machines_ask_as_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(cost, "_speed", lambda: 1e18)
    with pytest.raises(ValueError, match="not confirmed"):
        cost.confirm(BIG, agreed=False, ask=lambda question: False)
    assert "GiB" in capsys.readouterr().out


def test_agreement_is_not_asked_for_twice(slow: None, capsys: pytest.CaptureFixture[str]):
    cost.confirm(BIG, agreed=True, ask=never)
    assert "groove: about" in (shown := capsys.readouterr().out) and "hours" in shown and "GiB" in shown


def test_yes_starts_and_no_does_not(slow: None, capsys: pytest.CaptureFixture[str]):
    cost.confirm(BIG, agreed=False, ask=lambda question: True)
    with pytest.raises(ValueError, match="the run of groove was not confirmed; start it with --yes"):
        cost.confirm(BIG, agreed=False, ask=lambda question: False)
    assert capsys.readouterr().out.count("GiB") == 2
