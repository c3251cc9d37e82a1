"""`groove levels check`: whether a part keeps the laws that the rest of the code relies on."""

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import tyro
from rich.text import Text

from groove import config
from groove.base import Curriculum, Score, UpdateRule
from groove.cli.common import cache, leave, smoke, trusting
from groove.cli.parts import ADAPTED
from groove.report.terminal import plain, say
from levels import FAMILIES, plugins
from levels import check as laws
from levels.base import Family

USAGE = """Asks every law of a family or a generator, draws the level on which one is broken, says why, and what to do about
it; lets a small run use a score, a curriculum or a rule. Where every law is kept, the last line is a command that uses it:

  groove levels check corridor                               a family of another package, by the name of its entry point
  groove levels check open-fields --family gridworld         a generator, with the family that its levels are for
  groove levels check my_module:corridor --levels 16         what lies in this folder; fewer levels, sooner done
  groove levels check my_module:shortfall --kind score       a score, on gridworlds

Ends with 0 where every law is kept, with 1 where one is broken.

"""
STYLES: Mapping[str, str] = MappingProxyType({"passed": "green", "FAILED": "bold red", "skipped": "dim"})
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "family": "groove.families",
        "generator": "groove.generators",
        "score": "groove.scores",
        "curriculum": "groove.curricula",
        "rule": "groove.rules",
    }
)
"""What can be checked, and the entry points that offer it. Read-only."""
OURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "score": config.CHOICES["curriculum", "score"],
        "curriculum": config.CHOICES["curriculum", "kind"],
        "rule": (*config.CHOICES["rule", "kind"], *config.ANTAGONISTS),
    }
)
"""Names of this library's own. Read-only."""
TYPES: tuple[tuple[type, str], ...] = ((Score, "score"), (Curriculum, "curriculum"), (UpdateRule, "rule"))
FIRST: Mapping[str, str] = MappingProxyType({"family": "score", "source": "curriculum", "spec": "rule"})
"""What a function makes of an argument of this name. Read-only."""


@dataclass(frozen=True)
class Options:
    """Asks every law of a part: validity, shapes, keys, vmap, retracing, optimum, edits, speed."""

    name: Annotated[str, tyro.conf.Positional]
    """A family, generator, score, curriculum or rule, by its name, or as package.module:object."""
    kind: str = ""
    """family, generator, score, curriculum or rule; by default what has that name, or what the object seems to be."""
    family: str = ""
    """The family that a part is for, by its name or as package.module:object; its sizes are those of `quick`."""
    levels: int = 64
    """Levels to sample."""
    episodes: int = 64
    """Episodes of each level that is played."""
    seed: int = 0
    """Of all chance."""
    seconds: float = 60.0
    """Sampling and playing must compile in this time each."""
    only: tuple[str, ...] = ()
    """Laws to ask, with those that they need; by default all."""
    trust: tuple[str, ...] = ()
    """No need: whatever a command line names is trusted."""


def run(words: list[str]) -> int:
    """`groove levels check NAME`: 0 where every law is kept, 1 where one is broken."""
    from groove.report.terminal import console

    if "-h" in words or "--help" in words:
        say(USAGE)
    options = tyro.cli(Options, args=words, prog="groove levels check")
    cache()
    output = console()
    if output.is_terminal:
        with output.status(f"asking {plain(options.name)} about {len(laws.LAWS)} laws"):
            kind, verdict = _asked(options)
    else:
        kind, verdict = _asked(options)
    for line in plain(laws.render(verdict)).splitlines():
        output.print(Text(line, STYLES.get(line.partition(" ")[0], "")), soft_wrap=True)
    if verdict.passed:
        say(f"to use it:\n{command(kind, options.name, options.family)}")
    else:
        say(f"to ask again:\n{again(options, verdict)}")
    return _left(0 if verdict.passed else 1)


def command(kind: str, name: str, family: str) -> str:
    """A command that uses a part of a kind, with a family where it is for one."""
    own = family or "gridworld"
    flags = {
        "family": f"--families {name} --members 48",
        "generator": f"--families {own} --members 48 --generators {name}",
        "score": f"--families {own} --members 48 --curriculum.score {name}",
        "curriculum": f"--families {own} --members 48 --curriculum.kind {name}",
        "rule": f"--families {own} --members 48 --rule.kind {name}",
        "antagonist": f"--families {own} --members 48 --curriculum.antagonist {name}",
    }[kind]
    return f"groove train {flags}{trusting((name, family))}"


def again(options: Options, verdict: laws.Verdict) -> str:
    """The command that asks the first broken law again."""
    found = verdict.failures[0].law
    only = f" --only {found!r}" if found in {law.name for law in laws.LAWS} else ""
    flags = [f" --{name} {value}" for name in ("kind", "family") if (value := getattr(options, name))]
    return f"groove levels check {options.name}{''.join(flags)}{only}"


def _left(code: int) -> int:
    """Ends the process of the command `groove`; anywhere else, returns the exit code."""
    if Path(sys.argv[0]).stem == "groove":
        # Nothing is left to be done or written, and Python would spend minutes on freeing what it traced of a slow plug-in.
        leave(code)
    return code


def _asked(options: Options) -> tuple[str, laws.Verdict]:
    """What kind of part it is, and what was found of it."""
    try:
        kind, part = _part(options)
        if kind in OURS:
            return _tried(kind, options)
    except plugins.PluginError as error:
        return "family", laws.Verdict(options.name, (laws.Finding("making", "failed", str(error)),))
    family = _family(options.family) if options.family else None
    verdict = laws.check(
        part,
        family=family,
        name=options.name,
        levels=options.levels,
        episodes=options.episodes,
        seed=options.seed,
        seconds=options.seconds,
        only=options.only,
    )
    is_family = verdict.passed and isinstance(plugins.made(part, family), Family)
    return ("family" if is_family else "generator"), verdict


def _family(name: str) -> Family:
    """A family by its name, of the sizes of the preset `quick` where those are for groove to say."""
    from groove import assembly

    return assembly.family(smoke(config.QUICK), config.check_family(name))


def _part(options: Options) -> tuple[str, object]:
    """What a name stands for, and of which kind it is: "family" also of what may be a generator."""
    name, kind = options.name, options.kind
    if kind:
        config.check_name("kind", kind, KINDS)
    if not kind and not config.is_plugged(name):
        return "family", _family(name)
    offered = {one: [plugin.name for plugin in plugins.names(group)] for one, group in KINDS.items()}
    if ":" not in name:
        kind = kind or _kind_of(name, offered, for_family=bool(options.family))
        known = (*OURS.get(kind, ()), *offered[kind], *((*FAMILIES, *ADAPTED) if kind == "family" else ()))
        config.check_name(kind, name, known or (f"package.module:{kind}",))
        if name in OURS.get(kind, ()) or not config.is_plugged(name):
            return kind, None
    try:
        found = plugins.load(KINDS[kind or ("generator" if options.family else "family")], name)
    except ValueError as error:
        raise plugins.PluginError(str(error)) from error
    return kind or _seems(found), found


def _kind_of(name: str, offered: Mapping[str, list[str]], *, for_family: bool) -> str:
    """The kind of what has a name, families first, unless it is for a family."""
    asked = [kind for kind in KINDS if not (for_family and kind == "family")]
    kinds = [kind for kind in asked if name in (*offered[kind], *OURS.get(kind, ()))]
    if not kinds and not for_family:
        every = (*FAMILIES, *ADAPTED, *(one for kind in KINDS for one in (*offered[kind], *OURS.get(kind, ()))))
        config.check_name("family or generator", name, tuple(dict.fromkeys(every)))
    return kinds[0] if kinds else "generator"


def _seems(found: object) -> str:
    """What an object seems to be."""
    for kind, name in TYPES:
        if isinstance(found, kind):
            return name
    try:
        first = next(iter(inspect.signature(found).parameters), "") if callable(found) else ""
    except ValueError:
        first = ""
    return FIRST.get(first, "family")


def _tried(kind: str, options: Options) -> tuple[str, laws.Verdict]:
    """Lets a run of two small meta-steps use a score, a curriculum or a rule."""
    from groove import assembly
    from groove.cli.trial import lived, settings_with

    kind, settings = settings_with(kind, options.name, options.family or "gridworld")
    findings: list[laws.Finding] = []
    try:
        run = assembly.build(config.check(settings))
        findings.append(laws.Finding("contract", "passed", f"as a run on {settings.families[0]} needs it."))
        findings.append(laws.Finding("meta-steps", "passed", lived(run)))
    except Exception as error:  # of the part, at whatever place
        reason = str(error) if isinstance(error, ValueError) else plugins.reason(error)
        findings.append(laws.Finding("meta-steps" if findings else "contract", "failed", reason))
    return kind, laws.Verdict(options.name, tuple(findings))
