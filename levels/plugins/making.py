"""What the parts of other packages stand for: families, generators, and whatever else a caller knows how to ask for."""

import contextlib
import functools
import inspect
import reprlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import jax

from levels.base import Family, Generator, Level
from levels.plugins.finding import load, reason

Made = TypeVar("Made", bound=tuple)


class PluginError(ValueError):
    """A plug-in fails, or is not what it must be. The message names it."""


def family(group: str, name: str, *, known: Iterable[str] = ()) -> Family:
    """The family that a plug-in is, or makes when it is called without arguments.

    Args:
        group: Of entry points.
        name: As of `load`.
        known: As of `load`.

    Raises:
        ValueError: As `load` does, or if the plug-in fails or makes no family. The message names the plug-in.

    Example:
        >>> from levels import plugins
        >>> plugins.family("my.families", "levels.chain:chain").name
        'chain'
    """
    return make(group, name, Family, known=known)


def generator(group: str, name: str, *, family: Family | None = None, known: Iterable[str] = ()) -> Generator:
    """The generator that a plug-in is, or makes, as `made` has it.

    Args:
        group: Of entry points.
        name: As of `load`.
        family: That it is for, where this is known.
        known: As of `load`.

    Raises:
        ValueError: As `load` does, or if the plug-in fails or makes no generator. The message names the plug-in.

    Example:
        >>> from levels import plugins
        >>> plugins.generator("my.generators", "jax.random:normal").mutate is None
        True
    """
    found = load(group, name, known=known)
    with blaming(name):
        part = made(found, family)
    if not isinstance(part, Generator):
        meant = "a Generator, a function of a key that returns a level, or a function that makes a Generator"
        raise PluginError(f"plug-in {name!r} must be {meant}, got {reprlib.repr(part)}.")
    return blamed(name, part)


def make(group: str, name: str, kind: type[Made], *arguments: object, known: Iterable[str] = ()) -> Made:
    """The part that a plug-in is, or makes of some arguments. Its functions name the plug-in when they fail.

    Args:
        group: Of entry points.
        name: As of `load`.
        kind: What the part must be, a NamedTuple of functions.
        arguments: What the plug-in is called with if it is not such a part itself.
        known: As of `load`.

    Raises:
        ValueError: As `load` does, or if the plug-in fails or makes something else. The message names the plug-in.
    """
    found = load(group, name, known=known)
    with blaming(name):
        part = found(*arguments) if callable(found) and not isinstance(found, kind) else found
    if not isinstance(part, kind):
        meant = f"a {kind.__name__} or a function that makes one"
        raise PluginError(f"plug-in {name!r} must be {meant}, got {reprlib.repr(part)}.")
    return blamed(name, part)


def made(part: object, family: Family | None = None) -> object:
    """What a part stands for: a function without arguments for what it returns, one of a key for a generator.

    A function of a key and a family makes levels of whatever sizes that family has.

    Args:
        part: A Family, a Generator, or a function.
        family: That a function of two arguments is for.

    Raises:
        ValueError: If a function needs more arguments than there are.

    Example:
        >>> import jax
        >>> from levels.plugins import made
        >>> made(lambda key: {"slip": jax.random.uniform(key)}).dimensions, made(lambda: "anything")
        (0, 'anything')
    """
    if isinstance(part, Family | Generator) or not callable(part):
        return part
    needs = [one.name for one in inspect.signature(part).parameters.values() if _is_needed(one)]
    if len(needs) == 2 and family is not None:
        return Generator(functools.partial(_sample_of, part, family))
    if len(needs) > 1:
        hint = ", which is not known here" if len(needs) == 2 else ""
        raise ValueError(f"it must be a function of a key, or of a key and a family{hint}; it needs {', '.join(needs)}.")
    return Generator(part) if needs else part()


@contextlib.contextmanager
def blaming(name: str) -> Iterator[None]:
    """Whatever goes wrong within is said to be the plug-in's.

    Raises:
        PluginError: Something did.
    """
    try:
        yield
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"plug-in {name!r} fails: {reason(error)}") from error


def blamed(name: str, part: Made) -> Made:
    """The same part, whose functions name the plug-in when they fail, whoever calls them.

    Args:
        name: Of the plug-in.
        part: A NamedTuple of functions, of other such parts, and of what is neither.

    Example:
        >>> from levels.base import Generator
        >>> from levels.plugins import blamed
        >>> blamed("mine", Generator(lambda key: 1 / 0)).sample(None)
        Traceback (most recent call last):
        levels.plugins.making.PluginError: plug-in 'mine' fails: ZeroDivisionError: division by zero
    """

    def one(value: object) -> object:
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return blamed(name, value)
        return _watched(name, value) if callable(value) else value

    return type(part)(*[one(value) for value in part])  # type: ignore[arg-type]  # a NamedTuple


def _watched(name: str, function: Callable) -> Callable:
    @functools.wraps(function)
    def call(*arguments):
        with blaming(name):
            return function(*arguments)

    return call


def _sample_of(part: Callable[[jax.Array, Family], Level], family: Family, key: jax.Array) -> Level:
    return part(key, family)


def _is_needed(parameter: inspect.Parameter) -> bool:
    several = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in several
