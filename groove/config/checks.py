"""Whether a run can be built from a configuration."""

from groove.config.families import GYMNAX, entry
from groove.config.idle import DEEP_GA, idle, whole_lives
from groove.config.limits import LARGEST, check_counts, check_ranges
from groove.config.names import ANTAGONISTS, check_choice, check_family, check_name, check_part, is_file
from groove.config.presets import PRESETS, smoke
from groove.config.settings import CHOICES, TABLES, Config, Evolution
from groove.meta import strategies
from groove.parallel.devices import check_precision

STRATEGIES = (*strategies.KINDS, DEEP_GA)
"""What `evolution.strategy` may be."""
SHARES = ("replay", "minimal_fill", "staleness", "diversity", "edit", "select", "explore")
"""Fields of the curriculum that lie in [0, 1]."""
MIXTURE = 10
"""Most Gaussians that alp-gmm fits."""
OPTIMUM = ("exact-regret", "learnability")
"""Scores that need a known optimum."""
RATES = ("actor_rate", "critic_rate", "antagonist_rate")


def check(config: Config) -> Config:
    """Returns the configuration if a run can be built from it.

    Raises:
        ValueError: Names the field, the rule and the value.
    """
    check_precision()
    _check_families(config)
    check_counts(config)
    _check_rates(config)
    check_ranges(config)
    _check_rule(config)
    _check_curriculum(config)
    _check_strategy(config.evolution.strategy)
    if config.meta.method == "evolution":
        _check_evolution(config)
    block = config.meta.block
    if block < 0 or (block and any(members % block for members in config.members)):
        raise ValueError(f"meta.block must be 0 or divide every batch of members {config.members}, got {block}.")
    low, high = config.life.updates
    back_through_all = config.meta.method == "gradient" and config.meta.updates == high
    if not whole_lives(config) and not back_through_all and config.meta.updates > low:
        through = f" unless it is the longest of {high}" if high > low and config.meta.method == "gradient" else ""
        raise ValueError(
            f"meta.updates (K) must not exceed the shortest lifetime of {low} updates{through}, got {config.meta.updates}."
        )
    _check_idle(config)
    return config


def population(config: Config) -> int:
    """Candidates of a generation of evolution over whole lives."""
    return config.evolution.population or 2 * sum(config.members)


def blocks_of_lives(config: Config) -> int:
    """Into how many blocks evolution over whole lives cuts the family that has most: devices beyond them have no work."""
    kind = strategies.KINDS.get(config.evolution.strategy)
    couples = max(config.members) * (1 if kind is not None and kind.mirrored else population(config) // 2)
    return couples // config.evolution.block


def _check_rule(config: Config) -> None:
    tokens = config.life.environments * config.life.steps
    if config.rule.kind == "lpo" and config.rule.epochs * config.rule.minibatches == 1:
        raise ValueError("rule.epochs and rule.minibatches must not both be 1: r stays 1, and the drift has no effect.")
    proximal = config.rule.kind == "lpo" or config.curriculum.antagonist in ("ppo", "dpo")
    if proximal and tokens % config.rule.minibatches:
        raise ValueError(
            f"rule.minibatches must divide the {tokens} steps of a rollout (environments times steps), "
            f"got {config.rule.minibatches}."
        )


def _check_curriculum(config: Config) -> None:
    settings = config.curriculum
    if not is_file(settings.antagonist):
        check_part("antagonist", settings.antagonist, "groove.rules", ANTAGONISTS)
    if settings.kind in ("prioritised", "accel") and settings.capacity < max(config.members):
        least = max(config.members)
        raise ValueError(f"curriculum.capacity must hold at least a batch of {least} tasks, got {settings.capacity}.")
    if settings.sweep and settings.sweep < settings.capacity:
        raise ValueError(
            f"curriculum.sweep must be 0 or at least curriculum.capacity ({settings.capacity}), got {settings.sweep}."
        )
    if settings.files and settings.kind not in ("frozen", "prioritised", "accel"):
        raise ValueError(f"curriculum.files need curriculum.kind 'frozen', 'prioritised' or 'accel', got {settings.kind!r}.")
    if settings.kind == "frozen" and len(settings.files) != len(config.families):
        raise ValueError(
            f"curriculum.kind 'frozen' needs one file for each of the families {config.families}, got {settings.files}."
        )
    if settings.window <= MIXTURE:
        raise ValueError(f"curriculum.window must exceed the {MIXTURE} Gaussians of the mixture, got {settings.window}.")
    if settings.select == 1:
        raise ValueError("curriculum.select must be below 1: else nobody trains.")


def _check_strategy(name: str) -> None:
    if name in strategies.REFUSED:
        raise ValueError(
            f"evolution.strategy {name!r} cannot be used: {strategies.REFUSED[name]}. Known: {', '.join(STRATEGIES)}."
        )
    check_name("strategy", name, STRATEGIES)


def _check_idle(config: Config) -> None:
    """Refuses fields that were changed to no effect: of the class's own value, and of the preset's, nobody is to blame.

    A configuration whose name is no preset's was made in Python, and may hold what it likes.
    """
    if config.name not in (Config.name, *PRESETS):
        return
    if config.reproducible and config.meta.method == "evolution":
        raise ValueError("reproducible has no effect here: evolution always computes in the same blocks.")
    began = [PRESETS[config.name]] if config.name in PRESETS else [*PRESETS.values()]
    blameless = [Config(), *began, *map(smoke, began)]
    for part, field, remedy in idle(config):
        value = getattr(getattr(config, part), field)
        if value not in [getattr(getattr(one, part), field) for one in blameless]:
            raise ValueError(f"{part}.{field} {value!r} has no effect here; add {remedy}, or leave it out.")


def _check_evolution(config: Config) -> None:
    settings = config.evolution
    if settings.lives != "whole":
        if settings.novelty:
            raise ValueError("evolution.novelty needs evolution.lives 'whole': behaviour is what whole lives lead to.")
        if (settings.strategy, settings.population) != (Evolution.strategy, Evolution.population):
            raise ValueError(
                f"evolution.strategy and evolution.population need evolution.lives 'whole', got {settings.strategy!r} and "
                f"{settings.population} with {settings.lives!r}."
            )
        _check_block(config, config.members)
        return
    size, tasks = population(config), sum(config.members)
    mirrored = settings.strategy != DEEP_GA and strategies.KINDS[settings.strategy].mirrored
    if mirrored and size != 2 * tasks:
        raise ValueError(
            f"evolution.population must be 0 or twice the {tasks} members with {settings.strategy}, whose pairs have a task "
            f"each, got {size}."
        )
    if size < 4 or size % 2:
        raise ValueError(f"evolution.population must be even and at least 4, got {size}.")
    if settings.strategy == DEEP_GA and not 1 <= settings.parents < size:
        raise ValueError(f"evolution.parents must be between 1 and {size - 1}, got {settings.parents}.")
    _check_block(config, config.members if mirrored else tuple(members * size // 2 for members in config.members))


def _check_block(config: Config, couples: tuple[int, ...]) -> None:
    block = config.evolution.block
    if block < 1 or any(count % block for count in couples):
        raise ValueError(f"evolution.block must be at least 1 and divide every family's couples {couples}, got {block}.")


def _check_families(config: Config) -> None:
    if not config.families or len(config.families) != len(config.members):
        raise ValueError(f"families and members must pair up, got {config.families} and {config.members}.")
    if len(set(config.families)) != len(config.families):
        raise ValueError(f"families must differ, got {config.families}.")
    if config.gymnax.ranges and not any(name.startswith(GYMNAX) for name in config.families):
        raise ValueError(f"gymnax.ranges need a family {GYMNAX}NAME, got the families {config.families}.")
    for name in config.families:
        check_family(name)
        score = config.curriculum.score
        known = entry(name)
        if known and score in OPTIMUM and not known.optimum:
            raise ValueError(f"curriculum.score {score!r} needs a known optimum, which {name!r} lacks.")
        if known and config.curriculum.exact and not known.exact:
            raise ValueError(f"curriculum.exact needs exact returns, which {name!r} lacks.")
    if len(config.generators) not in (0, len(config.families)):
        raise ValueError(f"generators must be none or one a family, got {config.generators} for {config.families}.")
    for name in filter(None, config.generators):
        check_part("generator", name, "groove.generators", ())
    for part, field in CHOICES:
        check_choice(part, field, getattr(getattr(config, part), field))


def _check_rates(config: Config) -> None:
    rates = {
        "meta.rate": config.meta.rate,
        "evolution.sigma": config.evolution.sigma,
        "evolution.rate": config.evolution.rate,
        "evolution.decay": config.evolution.decay,
        "gymnax.rate": config.gymnax.rate,
        "gymnax.antagonist_rate": config.gymnax.antagonist_rate,
        "life.clip": config.life.clip,
        "curriculum.temperature": config.curriculum.temperature,
        **{f"{part}.{name}": getattr(getattr(config, part), name) for part in TABLES for name in RATES},
        "plugged.rate": config.plugged.rate,
    }
    weights = {
        "meta.clip": config.meta.clip,
        "meta.member_clip": config.meta.member_clip,
        "meta.entropy": config.meta.entropy,
        "meta.prediction_entropy": config.meta.prediction_entropy,
        "meta.policy_target": config.meta.policy_target,
        "meta.prediction_target": config.meta.prediction_target,
        "rule.prediction_weight": config.rule.prediction_weight,
        "rule.policy_entropy": config.rule.policy_entropy,
        "gymnax.antagonist_entropy": config.gymnax.antagonist_entropy,
        **{f"{part}.antagonist_entropy": getattr(config, part).antagonist_entropy for part in TABLES},
    }
    shares = {f"curriculum.{name}": getattr(config.curriculum, name) for name in SHARES}
    shares |= {"evolution.novelty": config.evolution.novelty, "evolution.decay": config.evolution.decay}
    if not 0 <= config.evolution.floor <= config.evolution.rate:
        raise ValueError(
            f"evolution.floor must lie between 0 and evolution.rate ({config.evolution.rate}), got {config.evolution.floor}."
        )
    shares |= {"life.gamma": config.life.gamma, "life.gae_lambda": config.life.gae_lambda}
    for values, good, rule in (
        (rates, lambda x: 0 < x <= LARGEST, "positive and finite"),
        (weights, lambda x: 0 <= x <= LARGEST, "at least 0 and finite"),
        (shares, lambda x: 0 <= x <= 1, "between 0 and 1"),
    ):
        for name, value in values.items():
            if not good(value):
                raise ValueError(f"{name} must be {rule}, got {value}.")
