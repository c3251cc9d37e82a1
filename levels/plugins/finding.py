"""Parts of other packages: which there are, where they come from, and the objects that they name."""

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple


class Plugin(NamedTuple):
    """A part that can be loaded."""

    name: str  # by which users ask for it
    group: str  # of entry points
    target: str  # "package.module:object"
    distribution: str  # the package that offers it and its version; empty if it was named as `package.module:object`

    def __str__(self) -> str:
        """What messages call it."""
        source = ", ".join(part for part in (self.distribution, self.target) if part and part != self.name)
        return f"plug-in {self.name!r} ({source})" if source else f"plug-in {self.name!r}"


def names(group: str) -> tuple[Plugin, ...]:
    """The parts of a group that installed packages offer, by name. Imports none of them.

    Args:
        group: Of entry points.

    Example:
        >>> from levels import plugins
        >>> isinstance(plugins.names("my.families"), tuple)
        True
    """
    found = [
        Plugin(point.name, group, point.value, _distribution(point))
        for point in importlib.metadata.entry_points(group=group)
    ]
    return tuple(sorted(found))


def load(
    group: str,
    name: str,
    *,
    known: Iterable[str] = (),
    accepts: Callable[[object], bool] | None = None,
    kind: str = "an object of the right kind",
) -> object:
    """Imports a part.

    Args:
        group: Of entry points.
        name: The name of an entry point of the group, or `package.module:object`, which needs none.
        known: Further names, those of built-in parts, that may have been meant by one that is unknown.
        accepts: Whether an object is what the caller needs; by default anything is.
        kind: What it needs, for the message: "a Family or a function that makes one".

    Raises:
        ValueError: If the name is unknown, several packages offer the name, its import fails, or `accepts`
            says no. The message names the plug-in and the reason.

    Example:
        >>> from levels import plugins
        >>> plugins.load("my.families", "levels.chain:chain", accepts=callable).__name__
        'chain'
        >>> plugins.load("my.families", "levels.chain:LONGEST", accepts=callable, kind="a function")
        Traceback (most recent call last):
        ValueError: plug-in 'levels.chain:LONGEST' must be a function, got the int 1048576.
    """
    plugin = Plugin(name, group, name, "") if ":" in name else _installed(group, name, known)
    found = _imported(plugin)
    if accepts is not None and not accepts(found):
        raise ValueError(f"{plugin} must be {kind}, got the {type(found).__name__} {reprlib.repr(found)}.")
    return found


def origin(group: str, name: str) -> str:
    """The package that a plug-in comes from, with its version; imports nothing.

    Args:
        group: Of entry points.
        name: As of `load`.

    Raises:
        ValueError: If the name is unknown, or several packages offer the name.

    Example:
        >>> from levels import plugins
        >>> plugins.origin("my.families", "json:loads")
        'no installed package'
    """
    if ":" not in name:
        return _installed(group, name, ()).distribution
    found = importlib.metadata.packages_distributions().get(_package(name), [])
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in found) or "no installed package"


def source(group: str, name: str) -> str:
    """A hash, SHA-256, of the Python files of a plug-in's module or package, empty without files; imports nothing.

    Args, Raises:
        As of `origin`.

    Example:
        >>> from levels import plugins
        >>> len(plugins.source("my.families", "json:loads"))
        64
    """
    target = name if ":" in name else _installed(group, name, ()).target
    try:
        found = importlib.util.find_spec(_package(target))
    except (ImportError, ValueError):  # whoever loads it says so
        return ""
    if found is None:
        return ""
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    files = [file for folder in folders for file in folder.rglob("*.py")] or [Path(found.origin or "")]
    contents = [file.read_bytes() for file in sorted(files) if file.is_file()]
    return hashlib.sha256(b"".join(contents)).hexdigest() if contents else ""


def _package(target: str) -> str:
    """The top-level package or module of package.module:object."""
    return target.partition(":")[0].partition(".")[0].strip()


def reason(error: BaseException) -> str:
    """The kind of an exception and the first line of its message, whatever that does when it is asked for."""
    try:
        lines = str(error).strip().splitlines() or ["no message"]
    except KeyboardInterrupt:
        raise
    except BaseException:
        lines = ["a message that cannot be read"]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    """The name and version of the package that offers it; damaged metadata are no reason to hide its parts."""
    try:
        return "" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    except Exception:
        return "a package with damaged metadata"


def _installed(group: str, name: str, known: Iterable[str]) -> Plugin:
    """The one entry point of that name."""
    offered = names(group)
    found = [plugin for plugin in offered if plugin.name == name]
    if len(found) > 1:
        places = "; ".join(f"{plugin.target} of {plugin.distribution}" for plugin in found)
        raise ValueError(f"plug-in {name!r} is offered by several packages; name one of these instead: {places}.")
    if not found:
        choices = sorted({*known, *(plugin.name for plugin in offered)})
        listed = f"Known: {', '.join(choices) or 'none'}."
        raise ValueError(f"unknown plug-in {name!r} of {group}{_nearest(name, choices)} {listed}")
    return found[0]


def _imported(plugin: Plugin) -> object:
    """The object, whatever its module does when it is imported."""
    module, _, path = (part.strip() for part in plugin.target.partition(":"))
    if not all(part.isidentifier() for part in (*module.split("."), *(path.split(".") if path else ()))):
        raise ValueError(f"{plugin} must be of the form package.module:object, got {plugin.target!r}.")
    try:
        found = importlib.import_module(module)
    except KeyboardInterrupt:  # a person's
        raise
    except BaseException as error:
        raise ValueError(f"{plugin} cannot be imported: {reason(error)}") from error
    for part in path.split(".") if path else ():
        try:
            found = getattr(found, part)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            public = [name for name in dir(found) if not name.startswith("_")]
            raise ValueError(f"{plugin} cannot be loaded: {error}{_nearest(part, public)}") from error
    return found


def _nearest(name: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else "."
