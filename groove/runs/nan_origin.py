"""Where a number that is not finite came from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import chex
import jax
import jax.numpy as jnp
from jax.extend import core

from groove.base.ranges import has_nan
from groove.trainer import State

Values: TypeAlias = list[jax.Array]
HOUSE = Path(__file__).parents[2]


def broken(state: State, most: int = 3) -> str:
    """The leaves of theta, its optimizer and the members in play that hold NaN, by their paths in a State; "" if none.

    If none does, those of theta and its optimizer that hold an infinity.
    """
    kept = state._replace(curricula=())
    found = [f"NaN is in {path}" for path in _paths(kept, jnp.isnan)]
    found = found or [f"an infinity is in {path}" for path in _paths(kept._replace(live=()), jnp.isinf)]
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def _paths(state: State, bad: Callable[[jax.Array], jax.Array]) -> list[str]:
    """Of leaves with a number that is bad."""
    floats = [row for row in jax.tree.leaves_with_path(state) if jnp.issubdtype(row[1].dtype, jnp.floating)]
    return [jax.tree_util.keystr(path) for path, leaf in floats if bool(jnp.any(bad(leaf)))]


def origin(function: Callable[..., chex.ArrayTree], *arguments: chex.ArrayTree) -> str:
    """Which operation of a function was the first to make NaN of numbers that were none, and where it stands.

    The function is computed again, operation by operation, and inside of the loops and calls in which it happens. (JAX's own
    `checkify` refuses loops under `vmap`, of which a meta-step is full.)

    Args:
        function: Pure, that JAX can trace.
        arguments: That it failed with.

    Returns:
        Words for a person; "" if there is no such operation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from groove.runs import nan_origin
        >>> def fails(x):
        ...     return jax.lax.fori_loop(0, 3, lambda i, x: jnp.log(x - 1), x)
        >>> nan_origin.origin(fails, 2.5).split(" at ")[0]
        'log'
        >>> nan_origin.origin(jnp.exp, 2.5)
        ''
    """
    traced = jax.make_jaxpr(function)(*arguments)
    return _walk(
        traced.jaxpr, list(traced.consts), [jnp.asarray(leaf) for leaf in jax.tree.leaves(arguments)], "an unknown place"
    )


def _walk(jaxpr: core.Jaxpr, consts: Values, arguments: Values, around: str) -> str:
    """What `origin` says, of a program, its inputs, and where it is called, for what JAX does not tell of within."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))
    for equation in jaxpr.eqns:
        inputs = [jnp.asarray(v.val) if isinstance(v, core.Literal) else known[v] for v in equation.invars]
        outputs = _computed(jaxpr, equation, known)
        if has_nan(outputs) and not has_nan(inputs):
            place = _place(equation) or around
            found = _inside(equation, inputs, place)
            if found is None or found:
                return found or f"{equation.primitive.name} at {place}"
        known.update(zip(equation.outvars, outputs, strict=True))
    return ""


def _computed(jaxpr: core.Jaxpr, equation: core.JaxprEqn, known: dict[core.Var, jax.Array]) -> Values:
    """The results of one equation: a program of its own."""
    needed = list(dict.fromkeys(v for v in equation.invars if not isinstance(v, core.Literal)))
    info = jaxpr.debug_info.with_unknown_names()
    alone = jaxpr.replace(constvars=[], invars=needed, outvars=equation.outvars, eqns=[equation], debug_info=info)
    return list(core.jaxpr_as_fun(core.ClosedJaxpr(alone, []))(*(known[v] for v in needed)))


def _inside(equation: core.JaxprEqn, inputs: Values, place: str) -> str | None:
    """The operation inside of a loop, a branch or a call that is to blame; None if there is no inside.

    "" if all NaN there is written in the program, as the mean of nothing is.
    """
    name, parameters = equation.primitive.name, equation.params
    if name == "cond":
        return _walk_closed(parameters["branches"][int(inputs[0])], inputs[1:], place)
    if name in ("scan", "while"):
        turns = _scanned(parameters, inputs) if name == "scan" else _whiled(parameters, inputs)
        found = (_walk_closed(body, values, place) for body, values, outputs in turns if has_nan(outputs))
        return next(filter(None, found), "")
    for inner in parameters.values():
        if isinstance(inner, core.ClosedJaxpr) and len(inner.jaxpr.invars) == len(inputs):
            return _walk_closed(inner, inputs, place)
        if isinstance(inner, core.Jaxpr) and len(inner.invars) == len(inputs):
            return _walk(inner, [], inputs, place)
    return None


def _walk_closed(program: core.ClosedJaxpr, arguments: Values, around: str) -> str:
    return _walk(program.jaxpr, list(program.consts), arguments, around)


Turn: TypeAlias = tuple[core.ClosedJaxpr, Values, Values]
"""A loop's body, and what went into one turn of it and came out."""


def _scanned(parameters: dict, inputs: Values) -> Iterator[Turn]:
    body, consts, carries = parameters["jaxpr"], parameters["num_consts"], parameters["num_carry"]
    run = jax.jit(core.jaxpr_as_fun(body))
    fixed, carry, rows = inputs[:consts], inputs[consts : consts + carries], inputs[consts + carries :]
    numbers = range(parameters["length"])
    for number in reversed(numbers) if parameters["reverse"] else numbers:
        values = [*fixed, *carry, *(leaf[number] for leaf in rows)]
        outputs = run(*values)
        yield body, values, outputs
        carry = list(outputs[:carries])


def _whiled(parameters: dict, inputs: Values) -> Iterator[Turn]:
    body, tests, consts = parameters["body_jaxpr"], parameters["cond_nconsts"], parameters["body_nconsts"]
    run, test = jax.jit(core.jaxpr_as_fun(body)), jax.jit(core.jaxpr_as_fun(parameters["cond_jaxpr"]))
    asked, fixed, carry = inputs[:tests], inputs[tests : tests + consts], inputs[tests + consts :]
    while jnp.any(test(*asked, *carry)[0]):
        values = [*fixed, *carry]
        carry = run(*values)
        yield body, values, carry


def _place(equation: core.JaxprEqn) -> str:
    """The innermost line of groove, levels or a user that the operation comes from, and who called it; "" if unknown."""
    trace = equation.source_info.traceback
    frames: tuple = tuple(trace.frames) if trace else ()

    def line(frame) -> str:
        path = Path(frame.file_name)
        return f"{path.relative_to(HOUSE) if path.is_relative_to(HOUSE) else path}:{frame.line_num} ({frame.function_name})"

    own = [line(frame) for frame in frames if "site-packages" not in frame.file_name and not frame.file_name.startswith("<")]
    return ", called from ".join(own[:3])
