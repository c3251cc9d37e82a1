"""What a run can be asked for: frozen dataclasses that become flags."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Agents:
    """Agents that are tables, and the antagonist that regret compares them with."""

    actor_rate: float = 20.0
    """Learning rate of the agents' policies, where observations are discrete."""
    critic_rate: float = 4.0
    """Learning rate of the value functions, where observations are discrete."""
    antagonist_rate: float = 20.0
    """Learning rate of the antagonist's policy, where observations are discrete."""
    antagonist_entropy: float = 0.01
    """Entropy weight of the antagonist."""


@dataclass(frozen=True)
class Grids(Agents):
    """Gridworld levels, and the tabular agents that live on them."""

    actor_rate: float = 40.0
    antagonist_rate: float = 40.0
    side: tuple[int, int] = (4, 10)
    """Lowest and highest side of random square grids; the highest is what all are padded to."""
    objects: int = 5
    """Most objects of a level."""
    limit: tuple[int, int] = (20, 750)
    """Range of the log-uniform episode limit, in steps."""


@dataclass(frozen=True)
class Bandits(Agents):
    """Bandit levels, and the agents that live on them: a single row of logits."""

    actor_rate: float = 1.0
    critic_rate: float = 0.5
    antagonist_rate: float = 1.0
    arms: int = 10
    """Most arms of a level."""
    pulls: tuple[int, int] = (20, 20)
    """Range of the log-uniform number of pulls of an episode."""


@dataclass(frozen=True)
class Chains(Agents):
    """Chain levels, and the tabular agents that live on them; with distractors a perceptron has rates of its own."""

    length: tuple[int, int] = (5, 30)
    """Shortest and longest chain, in steps."""
    noise: tuple[float, float] = (0.0, 1.0)
    """Range of what every step before the last pays or costs."""


@dataclass(frozen=True)
class Gymnax:
    """Families named gymnax:NAME, where NAME is one of gymnax's environments."""

    ranges: tuple[str, ...] = ()
    """Fields of its EnvParams that make a level, as FIELD=LOW:HIGH, for all of them; without any there is one level."""
    rate: float = 5e-4
    """Learning rate of the agents' policies and value functions (Adam)."""
    antagonist_rate: float = 5e-4
    """Learning rate of the antagonist."""
    antagonist_entropy: float = 0.01
    """Entropy weight of the antagonist."""


@dataclass(frozen=True)
class Plugged(Agents):
    """The agents of families from other packages, whose levels have the sizes that those packages give them."""

    rate: float = 5e-4
    """Learning rate of policies and value functions, where observations are arrays (Adam)."""


TABLES = ("grids", "bandits", "chains", "plugged")
"""Parts of a configuration that hold settings of `Agents`."""


@dataclass(frozen=True)
class Rule:
    """The learned rule: LPG (Oh et al. 2020) or LPO (Lu et al. 2022)."""

    kind: Literal["lpg", "lpo"] | str = "lpg"
    """lpg: a recurrent net says how the agent changes; lpo: a small net takes the place of PPO's clip; or a plug-in."""
    cell: Literal["gru", "lstm"] = "gru"
    """Recurrent cell."""
    width: int = 256
    """Width of the recurrent layer."""
    predictions: int = 8
    """Width of y, the agent's prediction vector."""
    prediction_weight: float = 0.5
    """alpha_y, weight of the prediction's loss in the agent's update."""
    horizon: Literal["none", "fraction", "fraction-and-log", "scaled", "remaining"] = "none"
    """What the rule knows of the lifetime. fraction-and-log: TA-LPG; scaled: the same, both within -1 and 1 for usual lives,
    and no N beyond those of training; fraction: TA-LPO; remaining: log(N - n)."""
    stop_inputs: bool = False
    """Stop the meta-gradient at the inputs pi and y (LPG)."""
    drift_width: int = 128
    """Width of the drift network (LPO)."""
    ppo_start: bool = False
    """Learn a correction of PPO's drift instead of a drift from nothing (LPO)."""
    epochs: int = 4
    """Passes over each rollout (LPO)."""
    minibatches: int = 8
    """Gradient steps of each pass (LPO)."""
    anneal: bool = True
    """Let the agents' learning rates fall linearly to 0 over their lives (LPO)."""
    policy_entropy: float = 0.01
    """Weight of the policy's entropy in the agents' loss (LPO)."""


@dataclass(frozen=True)
class Life:
    """How agents live."""

    updates: tuple[int, int] = (250, 250)
    """Range of the log-uniform lifetime, in agent updates."""
    environments: int = 64
    """Parallel environments per agent."""
    steps: int = 20
    """Steps of each environment per update."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """Decay of generalised advantage estimation."""
    clip: float = 0.5
    """Largest global norm of an agent's gradients."""


@dataclass(frozen=True)
class Meta:
    """How theta improves, and the settings of the meta-gradient."""

    method: Literal["gradient", "evolution"] = "gradient"
    """gradient: back through K updates; evolution: as the flags of `evolution` say."""
    objective: Literal["sampled", "exact"] = "sampled"
    """sampled: the policy gradient of a fresh rollout; exact: minus the agent's exact expected return, where a family can
    compute and differentiate it, and sampled elsewhere."""
    updates: int = 5
    """K, agent updates that a meta-gradient goes back through, and of a piece of a life in truncated evolution."""
    rate: float = 1e-4
    """Adam's learning rate for theta."""
    clip: float = 0.0
    """Largest global norm of the meta-gradient, before Adam; 0 for no clipping."""
    member_clip: float = 0.0
    """Largest global norm of each member's own meta-gradient, before their mean; 0 for no clipping."""
    decay: bool = False
    """Let the learning rate fall to 0 along a cosine over the run."""
    entropy: float = 0.05
    """beta_0, weight of the policy's entropy."""
    fading: bool = False
    """Weight beta_0 by 1 - n / N, the part of the life that is left, as exploring pays only while time is left."""
    prediction_entropy: float = 0.001
    """beta_1, weight of y's entropy."""
    policy_target: float = 0.005
    """beta_2, weight of |pi_hat|^2."""
    prediction_target: float = 0.001
    """beta_3, weight of |y_hat|^2."""
    per_life: bool = False
    """Weight every member by 1 / N, so that short lives count as much as long ones."""
    rematerialise: bool = False
    """Recompute each update in the backward pass: less memory, more time, other rounding."""
    block: int = 0
    """Members computed at once, to bound memory; 0 for all. Must divide every batch."""


@dataclass(frozen=True)
class Evolution:
    """Evolution, where `meta.method` says so; defaults are TA-LPG's (Jackson, Lu et al. 2024)."""

    lives: Literal["whole", "persistent", "noise-reuse", "truncated"] = "whole"
    """Whole lifetimes, or pieces of K updates: with perturbations summed over a life, kept for a life, or forgotten."""
    strategy: str = "Open_ES"
    """Open_ES, ARS, PGPE, SNES, Sep_CMA_ES, CR_FM_NES, SimpleES, DES or ESMC of evosax, or deep-ga; of whole lives."""
    population: int = 0
    """Candidates; 0 for two per task. Strategies without mirrored pairs try every candidate on every task."""
    sigma: float = 0.1
    """Deviation of the candidates; of deep-ga's mutations, for which 0.002 is usual (Such et al. 2017)."""
    rate: float = 1e-2
    """Learning rate of Adam, for the strategies that use it."""
    decay: float = 0.999
    """What the learning rate is multiplied with in every generation."""
    floor: float = 1e-5
    """The lowest learning rate."""
    fitness: Literal["return", "reward"] = "return"
    """The return at the end of a life, or the mean reward of a step over the whole life."""
    shaping: Literal["ranks", "raw"] = "ranks"
    """Ranks among those that share a task, or the fitness itself; pieces of lives take it raw."""
    parents: int = 8
    """Members that deep-ga lets have offspring."""
    novelty: float = 0.0
    """Weight of novelty beside fitness; 1 is novelty search."""
    probes: int = 4
    """Fixed tasks of each family that novelty search compares behaviours on."""
    block: int = 1
    """Couples of lives stepped together: large on a GPU, 1 on a CPU. Must divide their number in every family."""


ALIASES: Mapping[str, str] = MappingProxyType({"plr": "prioritised", "dr": "uniform"})
"""Other names of curricula, those that papers and other libraries use. Read-only."""


@dataclass(frozen=True)
class Curriculum:
    """How tasks are chosen."""

    kind: Literal["prioritised", "uniform", "accel", "sfl", "alp-gmm", "clutr", "frozen"] | str = "prioritised"
    """prioritised or plr: replay what scores high; accel: edit it as well; sfl: train on the best of a sweep; alp-gmm: where
    returns change; clutr: where a teacher in a latent space finds regret; uniform or dr: domain randomisation; frozen: the
    tasks of `files` and no others; or a plug-in."""
    files: tuple[str, ...] = ()
    """Curricula to begin with, at most one a family: all there is (frozen), or the buffer's start (prioritised, accel)."""
    score: (
        Literal[
            "regret",
            "normalised-regret",
            "exact-regret",
            "l1-value-loss",
            "positive-value-loss",
            "max-mc",
            "learnability",
            "learning-progress",
            "uniform",
        ]
        | str
    ) = "regret"
    """What ranks tasks; regret is the algorithmic regret of GROOVE, antagonist minus learner. Or a plug-in."""
    antagonist: str = "a2c"
    """What regret compares with: a2c, ppo, dpo, random, a path to a learned rule, or a plug-in; with the optimum compares
    exact-regret."""
    robust: bool = False
    """Learn from replayed tasks only; new ones and edits are only scored (robust PLR, and ACCEL as published)."""
    capacity: int = 4000
    """Tasks stored, per family."""
    replay: float = 0.5
    """Probability that a member replays a stored task."""
    minimal_fill: float = 0.5
    """Share of the capacity that must be held before the first replay."""
    staleness: float = 0.3
    """Weight of staleness beside the score."""
    priority: Literal["rank", "proportional"] = "rank"
    """How scores become probabilities."""
    temperature: float = 0.3
    """Temperature of that; lower prefers the best more."""
    replace: bool = True
    """Whether one proposal may draw a task for several members."""
    diversity: float = 0.0
    """Weight of a level's distance to the nearest kept one, beside its score, in who is kept."""
    edit: float = 0.5
    """Share of the members in need of a task that get an edit (accel)."""
    edits: int = 3
    """Edits, one upon the other (accel)."""
    select: float = 0.5
    """Share of lives that only select (sfl); of the others, `replay` says how many train on what was selected."""
    sweep: int = 0
    """Tasks tried before the best `capacity` are kept (sfl); 0 for four times the capacity."""
    window: int = 250
    """Lives between two fits of the mixture, and of each fit (alp-gmm)."""
    explore: float = 0.2
    """Share of levels drawn without the mixture (alp-gmm)."""
    latent_steps: int = 1500
    """Steps of the autoencoder's training, which is done once for a family and its sizes (clutr)."""
    latent_batch: int = 128
    """Lives that the teacher learns from at once (clutr)."""
    antagonists: int = 2
    """Antagonist agents per task."""
    episodes: int = 4
    """Episodes that measure an agent's return."""
    exact: bool = False
    """Measure learner and antagonist by their exact expected returns: no sampling noise, more time."""

    def __post_init__(self) -> None:
        """Another name of a curriculum stands for the usual one."""
        object.__setattr__(self, "kind", ALIASES.get(self.kind, self.kind))


@dataclass(frozen=True)
class Config:
    """A training run."""

    name: str = "custom"
    """The preset that this configuration began as."""
    seed: int = 0
    """Of everything random."""
    start: str = ""
    """Run folder or rule.safetensors whose theta the run starts from; by default an untrained rule."""
    families: tuple[str, ...] = ("gridworld",)
    """Families of levels, by name: those of `groove levels list`, gymnax:NAME, or package.module:object."""
    generators: tuple[str, ...] = ()
    """Plug-ins that make the levels in place of the families' own generators, one a family; "" for its own."""
    members: tuple[int, ...] = (512,)
    """Parallel lifetimes, per family."""
    meta_steps: int = 10_000
    """Length of the run."""
    chunk: int = 10
    """Meta-steps per compiled chunk; between chunks the run logs, refreshes its curricula and saves."""
    checkpoint_every: int = 10
    """Chunks between checkpoints."""
    reproducible: bool = False
    """Let one device compute a meta-gradient in the blocks that 2, 4 or 8 would: the same numbers, in more time. Evolution's
    by mirrored pairs never depend on the number of devices."""
    grids: Grids = field(default_factory=Grids)
    bandits: Bandits = field(default_factory=Bandits)
    chains: Chains = field(default_factory=Chains)
    gymnax: Gymnax = field(default_factory=Gymnax)
    plugged: Plugged = field(default_factory=Plugged)
    rule: Rule = field(default_factory=Rule)
    life: Life = field(default_factory=Life)
    meta: Meta = field(default_factory=Meta)
    evolution: Evolution = field(default_factory=Evolution)
    curriculum: Curriculum = field(default_factory=Curriculum)


def _choices(hint: object) -> tuple[str, ...]:
    """The names that a field of this type may hold, those of a Literal in a union with str included; () without any."""
    return next((get_args(part) for part in (hint, *get_args(hint)) if get_origin(part) is Literal), ())


CHOICES: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        (part, name): _choices(hint)
        for part, kind in (("rule", Rule), ("meta", Meta), ("evolution", Evolution), ("curriculum", Curriculum))
        for name, hint in get_type_hints(kind).items()
        if _choices(hint)
    }
)
"""What the fields that hold names may hold, by part and field; some may hold names of plug-ins as well. Read-only."""
