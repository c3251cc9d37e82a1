"""The check itself: every law on one family or generator, whatever it does."""

import random
import sysconfig
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from levels.base import Family, Generator, Level
from levels.check import environments, generators, worth
from levels.check.subject import Fault, Sizes, Skip, Subject
from levels.check.verdict import Finding, Verdict
from levels.plugins import made
from levels.text import fields


class Law(NamedTuple):
    """One law: a name, the laws without which it cannot be asked, and a function that returns what it measured or raises."""

    name: str
    needs: tuple[str, ...]
    ask: Callable[[Subject], str]
    with_family: tuple[str, ...] = ()  # laws that it needs, too, where there is a family

    def wants(self, subject: Subject) -> tuple[str, ...]:
        """All that it needs."""
        return self.needs if subject.family is None else (*self.needs, *self.with_family)


LAWS: tuple[Law, ...] = (
    Law("sampling", (), generators.sampling),
    Law("form", ("sampling",), generators.form),
    Law("validity", ("sampling", "form"), generators.validity),
    Law("determinism", ("sampling",), generators.determinism),
    Law("variety", ("sampling",), generators.variety),
    Law("batches", ("sampling",), generators.batches),
    Law("edits", ("validity",), generators.edits),
    Law("decoding", ("validity",), generators.decoding),
    Law("retracing", ("sampling",), generators.retracing),
    Law("spec", (), environments.spec),
    Law("time steps", ("form", "spec"), environments.timesteps),
    Law("episodes", ("time steps",), environments.episodes),
    Law("noise", ("time steps",), environments.noise),
    Law("batches of steps", ("time steps",), environments.alone),
    Law("retracing of steps", ("time steps",), environments.retracing),
    Law("drawing", ("form",), environments.drawing),
    Law("features", ("form",), environments.features),
    Law("optimum", ("episodes",), worth.optimum),
    Law("optimal policy", ("optimum",), worth.optimal_policy),
    Law("success", ("episodes",), worth.success),
    Law("solvable", ("episodes",), worth.solvable),
    Law("speed", ("sampling",), worth.speed, with_family=("time steps",)),
)
"""All laws, in the order in which they are asked."""

MOST = 2**20
"""Levels, and episodes of a level."""

PAD = "A value that makes a shape must be known while tracing: pad to the largest size."

HINTS: tuple[tuple[type[BaseException], str, str], ...] = (
    (
        jax.errors.TracerBoolConversionError,
        "",
        "Python decides (if, while, and, or, min) by a value that is unknown while tracing: use jnp.where or jax.lax.cond.",
    ),
    (
        jax.errors.TracerIntegerConversionError,
        "",
        "Python counts or indexes with a traced value: use jax.lax and jnp arrays.",
    ),
    (jax.errors.TracerArrayConversionError, "", "NumPy was given a traced array: use jax.numpy."),
    (jax.errors.NonConcreteBooleanIndexError, "", "The mask would make a shape that is not fixed: use jnp.where."),
    (jax.errors.ConcretizationTypeError, "", PAD),
    (jax.errors.UnexpectedTracerError, "", "A traced array was kept outside of the function: no global state."),
    (TypeError, "Shapes must be 1D", PAD),
)
"""What to do about an exception whose message has a phrase in it, the most special first."""

OURS, PYTHON = str(Path(__file__).parent), sysconfig.get_path("stdlib")


def check(
    part: object,
    *,
    family: Family | None = None,
    name: str | None = None,
    levels: int = 64,
    episodes: int = 64,
    seed: int = 0,
    seconds: float = 60.0,
    only: Iterable[str] = (),
) -> Verdict:
    """Asks every law of a family or a generator. Whatever goes wrong in it becomes a finding.

    Args:
        part: A family, a generator, a function without arguments that makes one of them, or a function of a key, or of a
            key and the family, that returns a level.
        family: The family that a generator is for; without it only the laws of generators are asked.
        name: What the verdict calls it; by default its own name.
        levels: Levels that are sampled; up to 16 of them are played.
        episodes: Episodes of each level that is played.
        seed: Of all chance.
        seconds: Sampling and playing must compile in this time each.
        only: The names of laws to ask, with those that they need; by default all.

    Raises:
        ValueError: If a number is out of its range, a law unknown, or `family` given beside a family.

    Example:
        >>> import jax
        >>> from levels.check import check
        >>> def coin(key):
        ...     return {"bias": 1.0 if jax.random.uniform(key) < 0.5 else 0.0}
        >>> finding = check(coin).failures[0]
        >>> print(finding.law, "-", finding.reason)  # doctest: +ELLIPSIS
        sampling - TracerBoolConversionError in coin (line 2 of ...): Attempted boolean conversion of traced array...
        >>> print(finding.hint.split(":")[0])
        Python decides (if, while, and, or, min) by a value that is unknown while tracing
    """
    if jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
        raise ValueError("levels are arrays of 32 bits; unset JAX_ENABLE_X64 to check them.")
    if min(levels, episodes) < 2:
        raise ValueError(f"levels and episodes must be at least 2, got {(levels, episodes)}.")
    if max(levels, episodes) > MOST:
        raise ValueError(f"levels and episodes must be at most {MOST}, got {(levels, episodes)}.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be between 0 and {2**32 - 1}, got {seed}.")
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, got {seconds}.")
    asked = tuple(map(_known, only))
    called = name or str(getattr(part, "__name__", type(part).__name__))
    try:
        found = made(part, family)
    except KeyboardInterrupt:  # a person's
        raise
    except BaseException as error:
        return Verdict(called, (_raised("making", error),))
    if isinstance(found, Family):
        if family is not None:
            raise ValueError(f"family must not be given beside a family, got {family.name!r} and {found.name!r}.")
        subject = Subject(name or found.name, found.generator, found, Sizes(levels, episodes, seed, seconds))
    elif isinstance(found, Generator):
        subject = Subject(called, found, family, Sizes(levels, episodes, seed, seconds))
    else:
        hint = "It must be a levels.base.Family, a levels.base.Generator or a function of a key that returns a level."
        return Verdict(called, (Finding("making", "failed", f"it is a {type(found).__name__}.", hint),))
    return Verdict(subject.name, _findings(subject, _laws(asked, subject)))


def _known(name: str) -> Law:
    """The law of that name."""
    known = {law.name: law for law in LAWS}
    if name not in known:
        raise ValueError(f"only must name laws, {', '.join(known)}; got {name!r}.")
    return known[name]


def _laws(asked: tuple[Law, ...], subject: Subject) -> tuple[Law, ...]:
    """Those laws and all that they need, or all laws if none was asked for."""
    wanted = list(asked or LAWS)
    for law in wanted:  # which grows meanwhile
        wanted.extend(map(_known, law.wants(subject)))
    return tuple(law for law in LAWS if law in wanted)


def _findings(subject: Subject, laws: tuple[Law, ...]) -> tuple[Finding, ...]:
    found: dict[str, Finding] = {}
    for law in laws:
        missing = [need for need in law.wants(subject) if found[need].outcome != "passed"]
        if missing:
            found[law.name] = Finding(law.name, "skipped", f"cannot be asked without {missing[0]!r}.")
        else:
            found[law.name] = _asked(law, subject)
    return tuple(found.values())


def _asked(law: Law, subject: Subject) -> Finding:
    """What one law says. NumPy's and Python's global random numbers must not have moved meanwhile."""
    before = _global_randomness()
    try:
        finding = Finding(law.name, "passed", law.ask(subject))
    except Skip as skip:
        finding = Finding(law.name, "skipped", str(skip))
    except Fault as fault:
        drawn = "" if fault.level is None else _drawn(subject, fault.level)
        finding = Finding(law.name, "failed", fault.reason, fault.hint, drawn)
    except KeyboardInterrupt:  # a person's
        raise
    except BaseException as error:
        finding = _raised(law.name, error)
    if finding.outcome != "failed" and _global_randomness() != before:
        hint = "Take all chance from the key or the noise: jax.random.uniform(key), levels.base.uniform(word)."
        return Finding(law.name, "failed", "it draws from the global random numbers of NumPy or Python.", hint)
    return finding


def _global_randomness() -> tuple:
    kind, numbers, *more = np.random.get_state()  # noqa: NPY002 (to see whether anybody else uses it)
    return kind, np.asarray(numbers).tobytes(), more, random.getstate()


def _raised(law: str, error: BaseException) -> Finding:
    """An exception, where it comes from and what to do about it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    place = f" in {frames[-1].name} (line {frames[-1].lineno} of {Path(frames[-1].filename).name})" if frames else ""
    try:
        lines = str(error).strip().splitlines() or ["no message"]
    except KeyboardInterrupt:
        raise
    except BaseException:  # its own, when asked for its text
        lines = ["a message that cannot be read"]
    hint = next((hint for kind, phrase, hint in HINTS if isinstance(error, kind) and phrase in lines[0]), "")
    return Finding(law, "failed", f"{type(error).__name__}{place}: {lines[0][:300]}", hint)


def _is_machinery(path: str) -> bool:
    """Whether code is of this check, of Python or of an array library, where no plug-in goes wrong."""
    parts = Path(path).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1] in ("jax", "jaxlib", "numpy", "chex")
    return path.startswith((OURS, PYTHON, "<frozen"))


def _drawn(subject: Subject, level: Level) -> str:
    try:
        return fields(level) if subject.family is None else str(subject.family.draw(level))
    except KeyboardInterrupt:  # a person's
        raise
    except BaseException:
        return fields(level)
