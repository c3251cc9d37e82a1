"""What a run will cost: how many steps of environments, and the memory of its program, before it begins.

How long it takes is known after its first chunk, and shown from then on.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import jax

from groove import assembly
from groove.config import QUICK, Config, part_of, population, whole_lives
from groove.meta.strategies import KINDS
from groove.parallel import devices
from groove.trainer import State, Trainer

SMALL = 1e9
"""Steps of environments, and probabilities held at once, of a run that never asks: minutes, on whatever machine."""


def environment_steps(config: Config) -> float:
    """Steps that a whole run plays with its learning agents; those of antagonists and of evaluation are not counted.

    Example:
        >>> from groove import config
        >>> from groove.runs import cost
        >>> cost.environment_steps(config.QUICK) == 1250 * 64 * 5 * 8 * 20
        True
    """
    probing = 0.0
    if whole_lives(config) and config.evolution.novelty:
        probing = population(config) * config.evolution.probes * len(config.families) * config.life.updates[1]
    of_an_update = config.life.environments * config.life.steps
    return (lives(config) * updates(config) + probing) * of_an_update * config.meta_steps


def lives(config: Config) -> int:
    """Agents that a meta-step plays with: members, couples of candidates, or every candidate on every task."""
    tasks = sum(config.members)
    if config.meta.method == "gradient":
        return tasks
    settings = config.evolution
    paired = settings.lives != "whole" or (settings.strategy in KINDS and KINDS[settings.strategy].mirrored)
    return 2 * tasks if paired else population(config) * tasks


def updates(config: Config) -> float:
    """Updates of each of them in a meta-step: K, or the mean of log-uniform lifetimes."""
    low, high = config.life.updates
    if not whole_lives(config):
        return config.meta.updates
    return (high - low) / math.log(high / low) if high > low else low


def probabilities(config: Config) -> int:
    """Of actions, that the rollouts of all agents hold at once: what many arms make large, however few the steps."""
    arms = config.bandits.arms if "bandits" in map(part_of, config.families) else 1
    return lives(config) * config.life.environments * config.life.steps * arms


def compiled_bytes(config: Config) -> int:
    """What XLA allocates for a chunk of a run on one device: arguments, results that are no arguments, temporaries.

    It compiles the chunk. Of the curriculum that has no more than tasks in play: buffers are small beside agents.
    """
    trainer, state = _trainer_and_state(config)
    analysis = jax.jit(trainer.chunk, donate_argnums=0).lower(state).compile().memory_analysis()
    if analysis is None:
        raise ValueError("memory cannot be limited here: this backend does not say what a compiled program needs.")
    fresh = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.argument_size_in_bytes + fresh + analysis.temp_size_in_bytes


def _trainer_and_state(config: Config) -> tuple[Trainer, State]:
    """Of a run under uniform levels; the state in shapes alone."""
    plain = dataclasses.replace(config.curriculum, kind="uniform", score="uniform", antagonist="a2c", files=())
    trainer = assembly.build(dataclasses.replace(config, start="", curriculum=plain)).trainer
    return trainer, jax.eval_shape(trainer.init, jax.random.key(0))


def fitted(config: Config, budget: float, *, share: int = 1, announce: Callable[[str], None] = lambda text: None) -> Config:
    """The configuration with the largest blocks whose compiled program needs no more than so many bytes.

    Blocks change no equation: gradients are summed over them, lives do not meet. They get smaller, by
    half or more, until one fits; each is compiled.

    Args:
        config: Of the run.
        budget: Bytes, on one device.
        share: Devices that share the members. Only blocks that they can share evenly are tried. Under gradients each needs
            what one device does for its part, under evolution it is taken to need what one does for all.
        announce: Is told what each block needs.

    Raises:
        ValueError: Not even blocks of one member fit.
    """
    _, state = _trainer_and_state(config)
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) // share
    if needed > budget:  # before anything is compiled
        raise ValueError(
            f"memory must be more than {needed / 2**30:.2g} GiB, what the state takes, got {budget / 2**30:.2g} GiB."
        )
    gradient = config.meta.method == "gradient"
    for candidate in _in_blocks(config):
        block = candidate.meta.block if gradient else candidate.evolution.block
        cut = (block or 1) if gradient or not whole_lives(config) else 1
        if share > 1 and not devices.fit(config.members, share, block=cut):
            continue
        own = tuple(count // share for count in config.members) if gradient else config.members
        needed = compiled_bytes(dataclasses.replace(candidate, members=own))
        announce(f"blocks of {block or 'all'} members need {needed / 2**30:.2f} GiB of {budget / 2**30:.2f} GiB")
        if needed <= budget:
            return candidate
    raise ValueError(f"memory must be at least {needed / 2**30:.2f} GiB for this run, got {budget / 2**30:.2f} GiB.")


def _in_blocks(config: Config) -> Iterator[Config]:
    """The configuration, and with smaller and smaller blocks, down to single members."""
    yield config
    if config.meta.method != "gradient":
        for block in _smaller(config.evolution.block):
            yield dataclasses.replace(config, evolution=dataclasses.replace(config.evolution, block=block))
        return
    common = math.gcd(*config.members)
    first = (common,) if not config.meta.block and common < max(config.members) else ()
    for block in (*first, *_smaller(config.meta.block or common)):
        yield dataclasses.replace(config, meta=dataclasses.replace(config.meta, block=block))


def _smaller(block: int) -> Iterator[int]:
    """Divisors of a block, each at most half of the one before, down to 1."""
    while block > 1:
        block = next(size for size in range(block // 2, 0, -1) if block % size == 0)
        yield block


def confirm(
    config: Config,
    *,
    runs: int = 1,
    agreed: bool,
    ask: Callable[[str], bool],
    announce: Callable[[str], None] = print,
) -> None:
    """Says how large a run is, unless it is small on any machine, and how much memory it needs; asks whether to start it.

    Args:
        config: Of the run.
        runs: How many such runs are made side by side.
        agreed: Whether to start it without asking.
        ask: `(question) -> whether the answer was yes`.
        announce: Is told what it will cost.

    Raises:
        ValueError: The answer was no.
    """
    steps = runs * environment_steps(config)
    held = probabilities(config)
    if max(steps, held) <= SMALL:
        return
    times = steps / environment_steps(QUICK)
    announce(f"{config.name}: {steps:.0e} steps of environments, {times:,.0f} times those of quick.")
    if held > SMALL:
        announce(f"Its rollouts hold {held:.0e} probabilities of actions at once.")
    if agreed:
        return
    announce("Compiling its program, to learn how much memory it needs.")
    announce(f"{runs * compiled_bytes(config) / 2**30:.1f} GiB of memory; the first chunk will tell the hours.")
    if not ask("Start?"):
        raise ValueError(f"the run of {config.name} was not confirmed; start it with --yes, or make it smaller.")
