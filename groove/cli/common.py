"""What several commands need."""

import itertools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from groove import config
from groove.config import Config

MEASURES = ("antagonist", "antagonists", "episodes", "exact")
SIZES = ("grids", "bandits", "chains", "gymnax", "plugged", "life")
"""Fields of `Lives`: those that a configuration's curriculum has, and those that a configuration has."""


@dataclass(frozen=True)
class Lives:
    """Flags of every command that lets agents live on tasks without training a rule."""

    antagonist: str = "a2c"
    """What regret compares with: a2c, ppo, dpo, random, a path to a learned rule, or a plug-in; with the optimum compares
    exact-regret."""
    antagonists: int = 2
    """Antagonist agents per task."""
    episodes: int = 4
    """Episodes that measure an agent's return."""
    exact: bool = False
    """Measure agents by their exact expected returns: no sampling noise, more time."""
    grids: config.Grids = field(default_factory=config.Grids)
    bandits: config.Bandits = field(default_factory=config.Bandits)
    chains: config.Chains = field(default_factory=config.Chains)
    gymnax: config.Gymnax = field(default_factory=config.Gymnax)
    plugged: config.Plugged = field(default_factory=config.Plugged)
    life: config.Life = field(default_factory=config.Life)
    trust: tuple[str, ...] = ()
    """Plug-ins, as package.module:object, that may be imported although only a file names them."""


def trusted(words: Sequence[str]) -> tuple[str, ...]:
    """The plug-ins that a command line names itself, as package.module:object, after --trust or any other flag."""
    said = [word.partition("=")[2] if word.startswith("-") else word for word in words]
    return tuple(word for word in said if ":" in word and not Path(word).exists())


def trusting(names: Iterable[str]) -> str:
    """The end of a command whose files name plug-ins: `--trust` and those of the form package.module:object."""
    strange = [name for name in dict.fromkeys(names) if ":" in name and config.is_plugged(name)]
    return f" --trust {' '.join(strange)}" if strange else ""


def leave(code: int) -> None:
    """Ends the process at once, with what was printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Line(NamedTuple):
    """A command line before it is parsed: what decides the defaults of its flags, read once."""

    preset: str | None  # the first word, where that is no flag
    words: tuple[str, ...]  # all others, as they were typed
    flags: Mapping[str, tuple[str, ...]]  # what follows each flag, by its name without dashes; of two the last
    trusted: tuple[str, ...]  # plug-ins that it names itself

    def get(self, flag: str) -> str | None:
        """The first word after a flag; None where the flag is missing, or nothing follows it."""
        return next(iter(self.flags.get(flag, ())), None)


def read(words: Sequence[str]) -> Line:
    """A command line from its words.

    Example:
        >>> from groove.cli.common import read
        >>> line = read(["quick", "--seed=3", "--meta.policy-target", "1", "--families", "a", "b", "--yes"])
        >>> line.preset, line.get("meta.policy_target"), line.flags["families"], line.get("yes"), line.get("seed")
        ('quick', '1', ('a', 'b'), None, '3')
    """
    preset = words[0] if words and not words[0].startswith("-") else None
    rest = tuple(words[1:] if preset is not None else words)
    starts = [place for place, word in enumerate(rest) if word.startswith("--")]
    flags: dict[str, tuple[str, ...]] = {}
    for place, end in itertools.pairwise((*starts, len(rest))):
        name, equals, value = rest[place].removeprefix("--").partition("=")
        flags[name.replace("-", "_")] = (*([value] if equals else []), *rest[place + 1 : end])
    return Line(preset, rest, flags, trusted(words))


def trained_with(rule: str, trusted: tuple[str, ...] = ()) -> Config:
    """The configuration of the run that a rule comes from, given by its folder or file.

    Args:
        rule: The folder or file.
        trusted: As of `groove.load_rule`.

    Raises:
        ValueError: The file is damaged, says nothing of a run, or names a plug-in that is not trusted.
    """
    from groove.files.library import check_trusted, config_of, needed
    from groove.files.rulefile import load_rule_file
    from groove.runs import rule_file

    found = config_of(rule, load_rule_file(rule_file(rule))[1])
    check_trusted(rule, needed(found), trusted)
    return found


def smoke(settings: Config) -> Config:
    """Shrinks a preset while the environment variable GROOVE_SMOKE is set: for tests of what users run."""
    return config.smoke(settings) if os.environ.get("GROOVE_SMOKE") else settings


def smoke_scale(scale: str) -> str:
    """A protocol's scale, checked; the smallest while the environment variable GROOVE_SMOKE is set."""
    from groove.protocols import SCALES

    known = config.check_name("scale", scale, SCALES)
    return SCALES[0] if os.environ.get("GROOVE_SMOKE") else known


SHORTEST = 0.1
"""Seconds of compilation from which on a program is kept for the next start."""


def cache() -> None:
    """Turns JAX's compilation cache on, in the user's cache folder, unless the user has chosen one."""
    import jax

    from groove.files.writing import user_cache

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR") and (folder := user_cache("jax")) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):  # JAX's second has each start compile some anew
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
