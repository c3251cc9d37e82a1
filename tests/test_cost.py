"""How large a run is, what memory its program takes, and who is asked."""

import dataclasses
import math

import jax
import pytest

from groove import config
from groove.runs import cost

BIG = config.GROOVE


def never(question: str) -> bool:
    raise AssertionError(f"was asked: {question}")


def resized(settings: config.Config, **meta: object) -> config.Config:
    return dataclasses.replace(settings, meta=dataclasses.replace(settings.meta, **meta))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[config.Config]:
    """The configurations that are compiled for their memory, which is 3 GiB."""
    asked: list[config.Config] = []
    monkeypatch.setattr(cost, "compiled_bytes", lambda settings: asked.append(settings) or 3 * 2**30)
    return asked


def test_steps_by_hand():
    life = config.Life(environments=5, steps=7)
    settings = resized(dataclasses.replace(config.LPG, members=(2,), meta_steps=3, life=life), updates=4)
    assert cost.environment_steps(settings) == 2 * 4 * (5 * 7) * 3


def test_evolution_counts_lives_and_whole_lifetimes():
    settings = dataclasses.replace(config.TA_LPG, members=(8,))
    assert (cost.lives(settings), cost.updates(settings)) == (16, pytest.approx(240 / math.log(25)))
    everyone = dataclasses.replace(
        settings, evolution=dataclasses.replace(settings.evolution, strategy="SNES", population=6)
    )
    assert cost.lives(everyone) == 48
    pieces = dataclasses.replace(settings, evolution=dataclasses.replace(settings.evolution, lives="persistent"))
    assert (cost.lives(pieces), cost.updates(pieces)) == (16, 5)
    curious = dataclasses.replace(everyone.evolution, strategy="deep-ga", novelty=0.5, probes=3)
    probing = 6 * 3 * 1 * 250
    of_a_step = 20 * 64 * settings.meta_steps
    found = cost.environment_steps(dataclasses.replace(settings, evolution=curious))
    assert found == pytest.approx((48 * 240 / math.log(25) + probing) * of_a_step)


def test_arms_are_counted():
    """Every step of every environment of every agent has a probability for each."""
    bandits = config.Bandits(arms=100)
    settings = dataclasses.replace(config.QUICK, bandits=bandits, members=(3, 2), life=config.Life(environments=5, steps=7))
    assert cost.probabilities(settings) == 5 * (5 * 7) * 100
    assert cost.probabilities(dataclasses.replace(settings, families=("gridworld",), members=(5,))) == 5 * (5 * 7)


def state_bytes(settings: config.Config) -> int:
    """Of its arrays; a key is two numbers of 32 bits."""
    _, state = cost._trainer_and_state(settings)
    return sum(
        leaf.size * (8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize)
        for leaf in jax.tree.leaves(state)
    )


def test_less_memory_than_the_state_takes_is_refused_before_anything_is_compiled(compiled: list):
    small = config.smoke(config.preset("quick"))
    least = state_bytes(small)
    for budget in (least - 1, 1e-21):
        with pytest.raises(ValueError, match=r"memory must be more than .* GiB, what the state takes, got .* GiB\."):
            cost.fitted(small, budget)
    with pytest.raises(ValueError, match="what the state takes"):
        cost.fitted(small, least // 2 - 1, share=2)
    assert not compiled
    assert cost.fitted(small, 3 * 2**30) == small
    assert compiled == [small]


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
        cost.fitted(small, state_bytes(small))
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


@pytest.mark.parametrize("settings", [config.QUICK, config.smoke(config.GROOVE)], ids=["quick", "smoke"])
def test_small_runs_never_ask(compiled: list, capsys: pytest.CaptureFixture[str], settings: config.Config):
    cost.confirm(settings, agreed=False, ask=never)
    assert not compiled and capsys.readouterr().out == ""


def test_many_arms_ask(compiled: list, capsys: pytest.CaptureFixture[str]):
    """However few their steps."""
    many = dataclasses.replace(config.QUICK, bandits=dataclasses.replace(config.QUICK.bandits, arms=2**20))
    with pytest.raises(ValueError, match="was not confirmed"):
        cost.confirm(many, agreed=False, ask=lambda question: False)
    said = capsys.readouterr().out
    assert compiled == [many] and "Its rollouts hold 1e+10 probabilities of actions at once.\n" in said


def test_agreement_is_not_asked_for_twice(compiled: list, capsys: pytest.CaptureFixture[str]):
    """And nothing is compiled for it."""
    cost.confirm(config.GROOVE, agreed=True, ask=never)
    assert not compiled
    assert capsys.readouterr().out == "groove: 3e+10 steps of environments, 512 times those of quick.\n"


def test_yes_starts_and_no_does_not(compiled: list, capsys: pytest.CaptureFixture[str]):
    cost.confirm(config.GROOVE, agreed=False, ask=lambda question: True)
    with pytest.raises(ValueError, match="the run of groove was not confirmed; start it with --yes"):
        cost.confirm(config.GROOVE, agreed=False, ask=lambda question: False)
    assert compiled == [config.GROOVE] * 2 and capsys.readouterr().out.count("3.0 GiB of memory") == 2
