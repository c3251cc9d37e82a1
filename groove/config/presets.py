"""Named configurations."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from groove.config.families import GYMNAX
from groove.config.names import check_name
from groove.config.settings import Bandits, Config, Curriculum, Evolution, Grids, Gymnax, Life, Meta, Rule

LPG = Config(name="lpg", curriculum=Curriculum(kind="uniform", score="uniform"), meta=Meta(rematerialise=True))
"""LPG as GROOVE's baseline (Jackson et al. 2023): uniform levels, GROOVE's hyperparameters. What is not from a
paper, of this and of the others, `PROVENANCE` says."""

GROOVE = Config(name="groove", meta=Meta(rematerialise=True))
"""GROOVE (Jackson et al. 2023): algorithmic regret against A2C, prioritised."""

QUICK = Config(
    name="quick",
    families=("gridworld", "bernoulli-bandit"),
    members=(48, 16),
    meta_steps=1250,
    checkpoint_every=15,
    grids=Grids(side=(4, 6), objects=3, limit=(20, 50), actor_rate=80.0, antagonist_entropy=0.03),
    bandits=Bandits(actor_rate=12.0, antagonist_rate=20.0, antagonist_entropy=0.0),
    rule=Rule(width=32, horizon="scaled"),
    life=Life(updates=(5, 100), environments=8),
    meta=Meta(objective="exact", rate=5e-3, member_clip=1.0, decay=True, fading=True, per_life=True),
    curriculum=Curriculum(score="normalised-regret", capacity=1000, temperature=1.0),
)
"""All of groove at once, in three minutes on two cores: TA-LPG by exact meta-gradients on a curriculum by algorithmic
regret, for lives of very different lengths. Widths, learning rates and sizes are its own, chosen on other levels than those
of its table."""

DISCOVER = dataclasses.replace(
    QUICK,
    name="discover",
    members=(64, 32),
    meta_steps=4500,
    checkpoint_every=45,
    meta=dataclasses.replace(QUICK.meta, rate=4e-3),
    curriculum=dataclasses.replace(QUICK.curriculum, capacity=4000),
)
"""`quick` with half as many lives again, three times as long: what rules that come with groove are learned by."""

TA_GROOVE = dataclasses.replace(
    DISCOVER,
    name="ta-groove",
    members=(448, 64),
    meta_steps=5000,
    checkpoint_every=10,
    grids=Grids(actor_rate=80.0, antagonist_entropy=0.03),
    rule=dataclasses.replace(DISCOVER.rule, width=256),
    life=Life(updates=(10, 250)),
    meta=dataclasses.replace(DISCOVER.meta, rematerialise=True, block=16),
)
"""`discover` at the scale of GROOVE: its grids, nets, batch and environments, and the lives of TA-LPG. For a GPU."""

TA_LPG = Config(
    name="ta-lpg",
    meta_steps=2500,
    rule=Rule(horizon="fraction-and-log"),
    life=Life(updates=(10, 250)),
    meta=Meta(method="evolution"),
    evolution=Evolution(block=64),
    curriculum=Curriculum(kind="uniform", score="uniform"),
)
"""TA-LPG (Jackson, Lu et al. 2024) on GROOVE's grids: 1024 candidates in pairs. The block is our own."""

LPO = Config(
    name="lpo",
    families=("gymnax:SpaceInvaders-MinAtar",),
    members=(16,),
    meta_steps=1000,
    chunk=1,
    gymnax=Gymnax(rate=5e-3, antagonist_rate=5e-3),
    rule=Rule(kind="lpo"),
    life=Life(updates=(1220, 1220), environments=64, steps=128),
    meta=Meta(method="evolution"),
    evolution=Evolution(sigma=0.04, decay=1.0, floor=0.01, block=16),
    curriculum=Curriculum(kind="uniform", score="uniform", episodes=16),
)
"""LPO (Lu et al. 2022): population, sigma and Adam's rate are the authors'. Generations and block are our own; the loop is
the field's usual PPO for Min-Atar, 10^7 steps a life."""

TA_LPO = dataclasses.replace(
    LPO,
    name="ta-lpo",
    rule=dataclasses.replace(LPO.rule, horizon="fraction"),
    life=dataclasses.replace(LPO.life, updates=(122, 1220)),
    evolution=dataclasses.replace(LPO.evolution, block=4),
)
"""TA-LPO (Jackson, Lu et al. 2024): LPO that knows n / N. The range of lifetimes is our own."""

TA_LPG_SMALL = dataclasses.replace(
    QUICK,
    name="ta-lpg-small",
    members=(24, 8),
    meta_steps=400,
    checkpoint_every=8,
    grids=dataclasses.replace(QUICK.grids, actor_rate=40.0, antagonist_rate=20.0, antagonist_entropy=0.003),
    bandits=dataclasses.replace(QUICK.bandits, actor_rate=8.0, antagonist_rate=16.0, antagonist_entropy=0.01),
    rule=dataclasses.replace(QUICK.rule, horizon="fraction-and-log"),
    life=dataclasses.replace(QUICK.life, updates=(10, 100)),
    meta=Meta(method="evolution"),
    evolution=Evolution(rate=0.03, block=8),
    curriculum=Curriculum(capacity=200, exact=True),
)
"""TA-LPG by evolution for two cores. Sizes are its own; so is the learning rate: at 0.01 so few generations get nowhere."""

LPO_SMALL = dataclasses.replace(
    QUICK,
    name="lpo-small",
    members=(24, 8),
    meta_steps=200,
    checkpoint_every=4,
    grids=dataclasses.replace(TA_LPG_SMALL.grids, actor_rate=20.0),
    bandits=dataclasses.replace(TA_LPG_SMALL.bandits, actor_rate=4.0),
    rule=Rule(kind="lpo", epochs=2, minibatches=4, policy_entropy=0.003),
    life=dataclasses.replace(QUICK.life, updates=(50, 50)),
    meta=Meta(method="evolution"),
    evolution=Evolution(sigma=0.04, rate=0.01, decay=0.99, block=8),
    curriculum=TA_LPG_SMALL.curriculum,
)
"""LPO for two cores: tables instead of pixels. Sizes and learning rates are its own; with agents of these rates a random
drift does badly, so that there is something to learn. (At 5 on grids an untrained rule is as good as A2C already.)"""

TA_LPO_SMALL = dataclasses.replace(
    LPO_SMALL,
    name="ta-lpo-small",
    meta_steps=800,
    rule=dataclasses.replace(LPO_SMALL.rule, horizon="fraction", drift_width=8, ppo_start=True),
    life=dataclasses.replace(LPO_SMALL.life, updates=(10, 100)),
    evolution=dataclasses.replace(LPO_SMALL.evolution, sigma=0.15, rate=0.007, decay=0.999),
)
"""TA-LPO for two cores: `lpo-small` that knows n / N, on lives of 10 to 100 updates. Its net is narrow and its candidates
lie far apart, so that a generation tells more of where to go; its rate is low, since one alone tells little. It starts from
PPO's drift: from an untrained net evolution mostly shrank the drift, and learned nothing on grids."""

PRESETS: Mapping[str, Config] = MappingProxyType(
    {
        config.name: config
        for config in (QUICK, DISCOVER, LPG, GROOVE, TA_LPG, TA_GROOVE, LPO, TA_LPO, TA_LPG_SMALL, LPO_SMALL, TA_LPO_SMALL)
    }
)
"""Named configurations. Read-only."""


OURS = "our own choices"
"""In `PROVENANCE`: what neither a paper nor its authors' code gives, or what is not known to us to be there."""
_HERE = ("meta_steps", "chunk", "checkpoint_every", "curriculum.episodes")
_USUAL = (
    *("gymnax", "life.environments", "life.steps", "life.gamma", "life.gae_lambda", "life.clip"),
    *("rule.epochs", "rule.minibatches", "rule.anneal", "rule.policy_entropy"),
)
_PPO = "the field's usual PPO for Min-Atar"
PROVENANCE: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "lpg": {
            OURS: (*_HERE, "meta.rematerialise"),
            "GROOVE's": (
                "families",
                "grids",
                "members",
                "life.updates",
                "meta.entropy",
                "meta.policy_target",
                "rule.predictions",
            ),
        },
        "groove": {OURS: (*_HERE, "curriculum.antagonists", "meta.rematerialise")},
        "ta-lpg": {
            OURS: (*_HERE[1:], "evolution.block"),
            "GROOVE's": ("families", "grids", "rule.width", "rule.predictions", "life.environments", "life.steps"),
        },
        "ta-groove": {
            OURS: (
                *_HERE,
                "families",
                "members",
                "bandits",
                "rule.horizon",
                "meta",
                "curriculum.score",
                "curriculum.temperature",
            ),
            "GROOVE's": ("grids", "rule.width", "rule.predictions", "life.environments", "life.steps"),
            "TA-LPG's": ("life.updates",),
        },
        "lpo": {OURS: (*_HERE, "families", "evolution.block"), _PPO: (*_USUAL, "life.updates")},
        "ta-lpo": {
            OURS: (*_HERE, "families", "life.updates", "evolution.block"),
            "LPO's": ("members", "evolution.sigma", "evolution.rate", "evolution.decay", "rule.drift_width"),
            _PPO: _USUAL,
        },
        **{name: {OURS: ()} for name in ("quick", "discover", "ta-lpg-small", "lpo-small", "ta-lpo-small")},
    }
)
"""What a preset does not have from the paper that it is named for: fields, or parts with all their fields, by where they
come from. A preset that names no fields is ours altogether. Read-only."""


def preset(name: str) -> Config:
    """The preset of that name.

    Raises:
        ValueError: There is none; the nearest name is suggested.
    """
    return PRESETS[check_name("preset", name, PRESETS)]


def smoke(config: Config) -> Config:
    """The same run, shrunk until it takes seconds: for tests of what users run."""
    gymnax = any(name.startswith(GYMNAX) for name in config.families) and not config.gymnax.ranges
    return dataclasses.replace(
        config,
        gymnax=dataclasses.replace(config.gymnax, ranges=("max_steps_in_episode=5:10",)) if gymnax else config.gymnax,
        members=(2,) * len(config.families),
        meta_steps=4,
        chunk=2,
        checkpoint_every=1,
        grids=dataclasses.replace(config.grids, side=(3, 4), objects=2, limit=(5, 10)),
        bandits=dataclasses.replace(config.bandits, arms=3, pulls=(5, 5)),
        chains=dataclasses.replace(config.chains, length=(2, 4)),
        rule=dataclasses.replace(config.rule, width=4, predictions=3, drift_width=4, epochs=2, minibatches=2),
        life=dataclasses.replace(config.life, updates=(4, 4), environments=2, steps=5),
        meta=dataclasses.replace(config.meta, updates=2, block=0),
        evolution=dataclasses.replace(config.evolution, block=1, population=0, parents=2, probes=1),
        curriculum=dataclasses.replace(
            config.curriculum, capacity=4, antagonists=2, episodes=2, window=11, latent_steps=2, latent_batch=4
        ),
    )
