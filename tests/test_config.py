"""Configurations: bad ones are refused in one line that names the field; good ones survive a file."""

import dataclasses
import json
import math

import numpy as np
import pytest

from groove import cli, config, curricula
from groove.config import PRESETS, Config, check, checks, limits, preset, smoke
from groove.config.idle import uses_adam

NAN = math.nan


def changed(path, value, start="quick"):
    """A preset with one field, `part.field` or `field`, set to another value."""
    whole = PRESETS[start] if isinstance(start, str) else start
    part, _, name = path.rpartition(".")
    if part:
        return dataclasses.replace(whole, **{part: dataclasses.replace(getattr(whole, part), **{name: value})})
    return dataclasses.replace(whole, **{name: value})


COUNTS = (
    "meta_steps", "chunk", "checkpoint_every", "life.environments", "life.steps", "meta.updates", "rule.width",
    "rule.predictions", "rule.drift_width", "rule.epochs", "rule.minibatches", "evolution.probes", "curriculum.capacity",
    "curriculum.antagonists", "curriculum.episodes",
)  # fmt: skip
RATES = (
    "meta.rate", "life.clip", "curriculum.temperature", "grids.actor_rate", "grids.critic_rate", "grids.antagonist_rate",
    "bandits.actor_rate", "bandits.critic_rate", "bandits.antagonist_rate", "gymnax.rate", "gymnax.antagonist_rate",
    "evolution.sigma", "evolution.rate", "evolution.decay",
)  # fmt: skip
WEIGHTS = (
    "meta.clip", "meta.member_clip", "meta.entropy", "meta.prediction_entropy", "meta.policy_target",
    "meta.prediction_target", "rule.prediction_weight", "grids.antagonist_entropy", "bandits.antagonist_entropy",
    "gymnax.antagonist_entropy", "rule.policy_entropy",
)  # fmt: skip
SHARES = (
    "evolution.novelty",
    "curriculum.replay",
    "curriculum.minimal_fill",
    "curriculum.staleness",
    "life.gamma",
    "life.gae_lambda",
)

BAD = [
    *((path, value) for path in COUNTS for value in (0, -1)),
    *((path, value) for path in RATES for value in (0.0, -1.0, NAN, math.inf)),
    *((path, value) for path in WEIGHTS for value in (-1.0, NAN, math.inf)),
    *((path, value) for path in SHARES for value in (-0.1, 1.1, NAN)),
    ("life.updates", (0, 5)),
    ("life.updates", (9, 8)),
    ("members", (0, 16)),
    ("grids.side", (1, 4)),
    ("grids.side", (6, 4)),
    ("grids.objects", 0),
    ("grids.objects", 17),
    ("grids.limit", (0, 5)),
    ("grids.limit", (9, 5)),
    ("bandits.arms", 1),
    ("bandits.pulls", (0, 5)),
    ("bandits.pulls", (9, 5)),
]


@pytest.mark.parametrize(("path", "value"), BAD, ids=[f"{path}={value}" for path, value in BAD])
def test_impossible_values(path, value):
    with pytest.raises(ValueError) as caught:
        check(changed(path, value))
    message = str(caught.value)
    assert path in message and "\n" not in message
    number = value if not isinstance(value, tuple) else min(value)
    assert str(value) in message or str(number) in message


CLOCKS = ("meta_steps", "chunk", "checkpoint_every", "curriculum.latent_steps")
STORES = ("curriculum.capacity", "curriculum.sweep", "curriculum.window")
BLOCKS = ("meta.block", "evolution.block", "evolution.population", "evolution.parents", "curriculum.latent_batch")
MOST = dict.fromkeys((*COUNTS, *BLOCKS), 2**20) | dict.fromkeys(CLOCKS, 2**31 - 1) | dict.fromkeys(STORES, 2**24)


@pytest.mark.parametrize("path", MOST)
def test_counts_are_as_high_as_clocks_stores_and_arrays_go(path):
    """And no higher; of those that 0 does not turn off, 1 is the least."""
    start = dataclasses.replace(PRESETS["quick"], meta_steps=2**31 - 1, chunk=1)
    limits.check_counts(changed(path, MOST[path], start))
    limits.check_counts(dataclasses.replace(changed(path, 1, start), chunk=1))
    with pytest.raises(ValueError, match=f"^{path} must be at most {MOST[path]}, got {MOST[path] + 1}"):
        limits.check_counts(changed(path, MOST[path] + 1, start))


RANGES = {
    "grids.side": (2, 256),
    "grids.limit": (1, 2**24),
    "bandits.pulls": (1, 2**24),
    "chains.length": (1, 2**20),
    "chains.noise": (0, 1e30),
    "life.updates": (1, 1_000_000),
}


@pytest.mark.parametrize("path", RANGES)
def test_ranges_reach_from_end_to_end(path):
    """Or hold a single number; but neither begin lower, nor end higher, nor turn round."""
    least, most = RANGES[path]
    for good in ((least, most), (most, most)):
        limits.check_ranges(changed(path, good))
    for bad in ((least - 1, most), (least, 2 * most), (most, least)):
        with pytest.raises(ValueError, match=rf"^{path} must satisfy {least} <= low <= high <= "):
            limits.check_ranges(changed(path, bad))


@pytest.mark.parametrize("path", SHARES)
def test_shares_may_be_none_or_all(path):
    for value in (0.0, 1.0):
        checks._check_rates(changed(path, value))


@pytest.mark.parametrize("path", [*WEIGHTS, *(path for path in RATES if path not in ("evolution.rate", "evolution.decay"))])
def test_rates_are_as_high_as_float32_goes_and_weights_may_be_0(path):
    highest = float(np.finfo(np.float32).max)
    for value in (highest, 0.0 if path in WEIGHTS else 1e-30):
        checks._check_rates(changed(path, value))
    with pytest.raises(ValueError, match=f"^{path} must be "):
        checks._check_rates(changed(path, 2 * highest))


@pytest.mark.parametrize(
    ("side", "most"), [((2, 3), 8), ((2, 5), 16), ((4, 256), 14)], ids=["cells", "entries", "observations"]
)
def test_objects_have_room_in_the_largest_grid(side, most):
    """A cell each but for the start, no more than 16, and fewer than 2^31 observations: cells times sets of objects."""
    sized = changed("grids.side", side)
    several = [dataclasses.replace(sized, grids=dataclasses.replace(sized.grids, objects=most + by)) for by in (0, 1)]
    assert check(several[0]) == several[0]
    with pytest.raises(ValueError, match=r"grids\.objects"):
        check(several[1])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("families", ("gridworl", "bernoulli-bandit"), "unknown family 'gridworl'; did you mean 'gridworld'"),
        ("curriculum.score", "regrett", "unknown score 'regrett'; did you mean 'regret'"),
        ("curriculum.kind", "prioritized", "unknown kind 'prioritized'; did you mean 'prioritised'"),
        ("curriculum.priority", "ranks", "unknown priority 'ranks'; did you mean 'rank'"),
        ("rule.kind", "lpp", "unknown kind 'lpp'; did you mean 'lpo'"),
        ("meta.method", "gradients", "unknown method 'gradients'; did you mean 'gradient'"),
        ("evolution.lives", "persistant", "unknown lives 'persistant'; did you mean 'persistent'"),
        ("evolution.fitness", "returns", "unknown fitness 'returns'; did you mean 'return'"),
        ("evolution.shaping", "rank", "unknown shaping 'rank'; did you mean 'ranks'"),
        ("rule.cell", "gruu", "unknown cell 'gruu'; did you mean 'gru'"),
        ("rule.horizon", "fraction-log", "unknown horizon 'fraction-log'; did you mean 'fraction-and-log'"),
    ],
)
def test_unknown_names_get_a_suggestion(path, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(changed(path, value))
    assert "\n" not in str(caught.value)


def test_unknown_presets_get_a_suggestion():
    with pytest.raises(
        ValueError, match=r"unknown preset 'quik'; did you mean 'quick'\? Known: quick, discover, lpg, groove, ta-lpg, "
    ):
        preset("quik")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": ("gridworld",)}, "families and members must pair up"),
        ({"families": (), "members": ()}, "families and members must pair up"),
        ({"families": ("gridworld", "gridworld")}, "families must differ"),
        ({"chunk": 7}, r"chunk must divide meta_steps \(\d+\), got 7"),
        ({"members": (1500, 16)}, "curriculum.capacity must hold at least a batch of 1500 tasks"),
    ],
)
def test_what_does_not_fit_together(changes, message):
    with pytest.raises(ValueError, match=message):
        check(dataclasses.replace(PRESETS["quick"], **changes))


def test_k_must_fit_into_the_shortest_lifetime():
    start = changed("life.updates", (4, 100))

    def k(updates):
        return dataclasses.replace(start, meta=dataclasses.replace(start.meta, updates=updates))

    whole = "exceed the shortest lifetime of 4 updates unless it is the longest of 100"
    for updates in (5, 99, 101):
        with pytest.raises(ValueError, match=rf"meta.updates \(K\) must not {whole}, got {updates}"):
            check(k(updates))
    for updates in (4, 100):  # or a gradient goes back through whole lives
        check(k(updates))
    pieces = dataclasses.replace(k(100), meta=dataclasses.replace(k(100).meta, method="evolution"))
    pieces = dataclasses.replace(pieces, evolution=dataclasses.replace(pieces.evolution, lives="persistent"))
    with pytest.raises(ValueError, match="must not exceed the shortest lifetime of 4 updates, got 100"):
        check(pieces)


def evolved(**changes):
    start = PRESETS["ta-lpg-small"]
    return dataclasses.replace(start, evolution=dataclasses.replace(start.evolution, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "Open_E"}, "unknown strategy 'Open_E'; did you mean 'Open_ES'"),
        ({"strategy": "CMA_ES"}, "'CMA_ES' cannot be used: it keeps a full covariance"),
        ({"strategy": "SimpleGA"}, "'SimpleGA' cannot be used: .*deep-ga"),
        ({"strategy": "PersistentES"}, "'PersistentES' cannot be used: .*evolution.lives"),
        ({"population": 10}, r"evolution.population must be 0 or twice the \d+ members with Open_ES"),
        ({"strategy": "SNES", "population": 2}, "evolution.population must be even and at least 4, got 2"),
        ({"strategy": "SNES", "population": 7}, "evolution.population must be even and at least 4, got 7"),
        ({"strategy": "deep-ga", "population": 8, "parents": 8}, "evolution.parents must be between 1 and 7, got 8"),
        ({"block": 0}, "evolution.block must be at least 1"),
        ({"block": 37}, "evolution.block must be at least 1 and divide every family's couples"),
        ({"floor": 1.0}, r"evolution.floor must lie between 0 and evolution.rate"),
        ({"lives": "persistent", "strategy": "SNES"}, "evolution.strategy and .* need evolution.lives 'whole', got 'SNES'"),
        ({"lives": "persistent", "novelty": 0.5}, "evolution.novelty needs evolution.lives 'whole'"),
    ],
)
def test_evolutions_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(evolved(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "blocks"),
    [
        ({"block": 2}, 3),
        ({"block": 3}, 2),
        ({"strategy": "SNES", "population": 10, "block": 5}, 6),
        ({"strategy": "deep-ga", "block": 4}, 15),
    ],
)
def test_evolution_cuts_the_largest_family_into_blocks_of_couples(changes, blocks):
    """Six tasks and four: a pair each, or half a population on every task, by default of two a task."""
    assert config.blocks_of_lives(dataclasses.replace(evolved(**changes), members=(6, 4))) == blocks


@pytest.mark.parametrize(
    ("method", "lives", "strategy", "uses"),
    [
        ("gradient", "whole", "SNES", True),
        ("evolution", "persistent", "SNES", True),
        ("evolution", "whole", "SNES", False),
        ("evolution", "whole", "deep-ga", False),
        ("evolution", "whole", "PGPE", True),
    ],
)
def test_adam_moves_theta_but_where_a_strategy_does(method, lives, strategy, uses):
    start = evolved(lives=lives, strategy=strategy)
    assert uses_adam(dataclasses.replace(start, meta=dataclasses.replace(start.meta, method=method))) == uses


IDLE = [
    ("quick", "evolution.lives", "persistent", "--meta.method evolution"),
    ("quick", "evolution.strategy", "SNES", "--meta.method evolution"),
    ("groove", "evolution.sigma", 0.2, "--meta.method evolution"),
    ("groove", "evolution.novelty", 0.5, "--meta.method evolution"),
    ("ta-lpg-small", "meta.rate", 0.5, "--meta.method gradient"),
    ("ta-lpg-small", "meta.updates", 3, "--meta.method gradient"),
    ("ta-lpg-small", "evolution.parents", 3, "--evolution.strategy deep-ga"),
    ("ta-lpg", "evolution.probes", 3, "--evolution.novelty 0.5"),
    ("quick", "curriculum.edit", 0.1, "--curriculum.kind accel"),
    ("quick", "curriculum.window", 99, "--curriculum.kind alp-gmm"),
    ("lpg", "curriculum.replay", 0.3, "--curriculum.kind prioritised"),
    ("lpg", "curriculum.antagonists", 3, "--curriculum.score regret"),
    ("quick", "rule.drift_width", 3, "--rule.kind lpo"),
    ("lpo-small", "rule.predictions", 5, "--rule.kind lpg"),
    ("quick", "chains.length", (3, 4), "a family of chains"),
    ("lpo", "grids.side", (3, 5), "a family of grids"),
]


@pytest.mark.parametrize(("start", "path", "value", "remedy"), IDLE)
def test_what_has_no_effect_is_refused(start, path, value, remedy):
    """In a line that names the field, and the flag that would give it an effect; as `groove train` has it."""
    with pytest.raises(ValueError) as caught:
        check(changed(path, value, start))
    assert str(caught.value) == f"{path} {value!r} has no effect here; add {remedy}, or leave it out."


def test_rates_of_tables_need_tables():
    """In one run and in sweeps: grids seen as planes, and chains with distractors, are for networks."""
    for family, field in (("gridworld-planes", "grids.actor_rate"), ("chain-distractors", "chains.antagonist_rate")):
        seen = dataclasses.replace(changed(field, 3.0, "lpg"), families=(family,))
        with pytest.raises(ValueError, match=rf"{field} 3.0 has no effect here; add the family \w+, whose agents"):
            check(seen)
        with pytest.raises(ValueError, match=f"sweep cannot vary what has no effect in this run: {field}"):
            config.combinations(dataclasses.replace(preset("lpg"), families=(family,)), 1, {field: (1.0, 2.0)})
    assert check(changed("grids.actor_rate", 3.0, "lpg")).grids.actor_rate == 3.0
    with pytest.raises(ValueError, match=r"sweep cannot vary .*: curriculum.replay"):
        config.combinations(preset("lpg"), 1, {"curriculum.replay": (0.1, 0.2)})


def test_rates_that_nobody_uses_are_refused():
    with pytest.raises(ValueError, match=r"evolution.rate 0.5 has no effect here; add --evolution.strategy Open_ES"):
        check(evolved(strategy="SNES", rate=0.5))
    with pytest.raises(ValueError, match=r"evolution.decay 0.5 has no effect here"):
        check(evolved(strategy="deep-ga", decay=0.5))
    assert check(evolved(strategy="PGPE", rate=0.5)).evolution.rate == 0.5
    assert check(evolved(lives="persistent", rate=0.5)).evolution.rate == 0.5
    assert check(evolved(strategy="deep-ga", parents=3)).evolution.parents == 3


def test_names_of_strategies_are_always_checked():
    with pytest.raises(ValueError, match="unknown strategy 'nonsense'"):
        check(changed("evolution.strategy", "nonsense"))
    with pytest.raises(ValueError, match="'PSO' cannot be used"):
        check(changed("evolution.strategy", "PSO"))


@pytest.mark.parametrize("shrunk", [False, True])
@pytest.mark.parametrize("method", ["gradient", "evolution"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_goes_with_either_method(name, method, shrunk):
    """What a preset says of the other method is no flag that anybody set."""
    start = smoke(preset(name)) if shrunk else preset(name)
    assert check(dataclasses.replace(start, meta=dataclasses.replace(start.meta, method=method))).meta.method == method


def test_configurations_of_other_names_hold_what_they_like():
    start = dataclasses.replace(changed("evolution.sigma", 0.2), name="mine")
    assert check(start) == start
    with pytest.raises(ValueError, match="evolution.sigma 0.2 has no effect"):
        check(dataclasses.replace(start, name="custom"))


def test_flags_without_effect_are_refused_before_anything_else(capsys, tmp_path):
    folder = tmp_path / "run"
    assert cli.main(["train", "quick", "--evolution.lives", "persistent", "--output", str(folder)]) == 2
    assert "add --meta.method evolution" in capsys.readouterr().err and not folder.exists()


def test_whole_lives_may_be_shorter_than_k():
    start = evolved()
    short = dataclasses.replace(start, life=dataclasses.replace(start.life, updates=(2, 9)))
    assert config.whole_lives(check(short)) and config.population(short) == 2 * sum(short.members)
    with pytest.raises(ValueError, match=r"meta.updates \(K\)"):
        check(dataclasses.replace(short, evolution=dataclasses.replace(short.evolution, lives="noise-reuse")))


def test_minibatches_must_divide_a_rollout():
    with pytest.raises(ValueError, match=r"rule.minibatches must divide the 160 steps of a rollout .*, got 7"):
        start = dataclasses.replace(PRESETS["lpo-small"], life=config.Life(updates=(9, 9), environments=8, steps=20))
        check(dataclasses.replace(start, rule=dataclasses.replace(start.rule, minibatches=7)))


@pytest.mark.parametrize("antagonist", ["ppo", "dpo"])
def test_minibatches_of_antagonists_must_divide_a_rollout(antagonist):
    start = changed("curriculum.antagonist", antagonist)
    assert check(start) == start
    with pytest.raises(ValueError, match=r"rule.minibatches must divide the 160 steps of a rollout .*, got 7"):
        check(dataclasses.replace(start, rule=dataclasses.replace(start.rule, minibatches=7)))


def test_ranges_of_gymnax_must_fit_every_environment_of_it(capsys, tmp_path):
    """Said before anything is written: Acrobot has no gravity to vary."""
    words = ["--families", "gymnax:CartPole-v1", "gymnax:Acrobot-v1", "--members", "4", "4", "--curriculum.kind", "uniform"]
    folder = tmp_path / "run"
    assert cli.main(["train", "quick", *words, "--gymnax.ranges", "gravity=8:12", "--output", str(folder)]) == 2
    assert "unknown field of Acrobot-v1's EnvParams 'gravity'" in capsys.readouterr().err and not folder.exists()


def test_blocks_must_divide_every_batch():
    def blocks(block):
        start = changed("meta.block", block)
        return dataclasses.replace(start, members=(48, 16))

    with pytest.raises(ValueError, match=r"meta.block must be 0 or divide every batch of members \(48, 16\), got 5"):
        check(blocks(5))
    with pytest.raises(ValueError, match="meta.block"):
        check(blocks(-1))
    assert check(blocks(8)).meta.block == 8


def test_planes_have_no_exact_returns():
    start = dataclasses.replace(changed("curriculum.exact", True), families=("gridworld-planes",), members=(8,))
    with pytest.raises(ValueError, match=r"curriculum.exact needs exact returns, which 'gridworld-planes' lacks"):
        check(start)


def test_planes_have_no_exact_regret():
    start = dataclasses.replace(changed("curriculum.score", "exact-regret"), families=("gridworld-planes",), members=(8,))
    with pytest.raises(ValueError, match="'exact-regret' needs a known optimum, which 'gridworld-planes' lacks"):
        check(start)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_good_also_in_smoke_size(name):
    assert preset(name).name == name
    assert check(preset(name)) == preset(name)
    assert check(smoke(preset(name))).members == (2,) * len(preset(name).families)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_file(name, tmp_path):
    path = tmp_path / "config.json"
    config.save(preset(name), path, {"jax": "1.2.3"})
    assert config.load(path) == preset(name)
    assert json.loads(path.read_text())["versions"] == {"jax": "1.2.3"}
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def text_with(**changes):
    return json.dumps(dataclasses.asdict(Config()) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "3",
        "null",
        text_with(colour="red"),
        text_with(members="many"),
        text_with(members=[None]),
        text_with(meta=3),
        text_with(life=dataclasses.asdict(Config().life) | {"updates": [5]}),
        text_with(life=dataclasses.asdict(Config().life) | {"updates": [5, 6, 7]}),
        text_with(life=dataclasses.asdict(Config().life) | {"steps": "20"}),
        text_with(life=dataclasses.asdict(Config().life) | {"steps": 20.5}),
        text_with(life=dataclasses.asdict(Config().life) | {"steps": True}),
        text_with(life=dataclasses.asdict(Config().life) | {"gamma": True}),
        text_with(seed="zero"),
    ],
)
def test_damaged_configurations(text, tmp_path):
    with pytest.raises(ValueError, match="^not a configuration of this version of groove: ") as caught:
        config.from_json(text)
    assert "\n" not in str(caught.value)
    path = tmp_path / "config.json"
    path.write_text('{"config": ' + text + "}")
    with pytest.raises(ValueError):
        config.load(path)


def test_whole_numbers_may_stand_for_others():
    """JSON knows one kind of number: 1 is a discount, and the end of a range."""
    life = dataclasses.asdict(Config().life) | {"gamma": 1}
    chains = dataclasses.asdict(Config().chains) | {"noise": [0, 1]}
    found = config.from_json(text_with(life=life, chains=chains))
    assert (found.life.gamma, found.chains.noise) == (1, (0, 1))


def test_files_of_earlier_versions_lack_what_came_later():
    early = dataclasses.asdict(Config())
    assert early.pop("reproducible") is False
    assert config.from_json(json.dumps(early)) == Config()
    with pytest.raises(ValueError, match="fields of Config differ: .'seed'."):
        config.from_json(json.dumps({name: value for name, value in early.items() if name != "seed"}))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"versions": {}}'])
def test_files_that_are_no_configuration(content, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="config.json is not a configuration"):
        config.load(path)


@pytest.mark.parametrize(("alias", "name"), [("plr", "prioritised"), ("dr", "uniform")])
def test_curricula_have_the_names_of_papers_too(alias: str, name: str):
    assert config.Curriculum(kind=alias) == config.Curriculum(kind=name)
    assert config.check_choice("curriculum", "kind", alias) == name
    assert getattr(curricula, alias) is getattr(curricula, name)
    page = json.dumps(dataclasses.asdict(Config())).replace('"kind": "prioritised"', f'"kind": "{alias}"')
    assert config.from_json(page).curriculum.kind == name
