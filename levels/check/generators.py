"""Laws of generators."""

import inspect
import re
import time
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from levels.base import LONGEST, Level
from levels.check.subject import Fault, Skip, Subject, check_form, check_storable, compiled, row, rows, shown
from levels.dataset.faults import first_fault

EDITS = 5
"""Edits in a row."""

TRACES, CLOCK = 4, 1.05
"""Times that a function is traced, and the seconds over which a sampler is: a clock that counts whole ones moves in them."""

CLOSE = 1e-4
"""What rounding may change, relatively: XLA orders sums in one way alone and in another in a batch."""


def sampling(subject: Subject) -> str:
    """Many levels at once, compiled."""
    if not jax.tree.leaves(subject.levels):
        raise Fault("a sample holds no arrays.", "A level is a PyTree of arrays that parametrises the environment.")
    return f"{subject.sizes.levels} levels at once."


def form(subject: Subject) -> str:
    """Fixed shapes and dtypes: those of the family, if there is one."""
    level = jax.eval_shape(subject.generator.sample, subject.keys[0])
    if subject.family is None or subject.family.generator is subject.generator:
        wanted, of = level, "itself"
    else:
        wanted = jax.eval_shape(subject.family.generator.sample, subject.keys[0])
        of = f"a level of {subject.family.name}"
    check_form("a sample", level, wanted, of)
    check_storable("a sample", level)
    return f"{shown(level)}."


def validity(subject: Subject) -> str:
    """Samples are finite, and valid as `is_valid` has it."""
    check_valid(subject, subject.levels, "samples")
    if judge_of(subject) is None:
        return "all numbers are finite; there is no is_valid to say more."
    return f"all of {subject.sizes.levels} samples are valid."


def judge_of(subject: Subject) -> Callable[[Level], jax.Array] | None:
    """The generator's own `is_valid`, else the family's."""
    if subject.generator.is_valid is not None or subject.family is None:
        return subject.generator.is_valid
    return subject.family.generator.is_valid


def check_valid(subject: Subject, levels: Level, what: str) -> None:
    """Raises a Fault with the first of the levels [n, ...] that holds a number not finite, or is not valid."""
    for path, leaf in jax.tree.leaves_with_path(levels):
        bad = ~np.isfinite(np.asarray(leaf)).reshape(leaf.shape[0], -1).all(axis=1)
        if bad.any():
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise Fault(f"{name} of {bad.sum()} of {bad.size} {what} is not finite.", level=row(levels, int(bad.argmax())))
    judge = judge_of(subject)
    if judge is None:
        return
    good = np.asarray(jax.jit(jax.vmap(judge))(levels))
    if good.dtype != bool or good.shape != (rows(levels),):
        raise Fault(f"is_valid gives {good.dtype}{list(good.shape[1:])}, not one boolean a level.")
    if not good.all():
        first = int(good.argmin())
        reason = why(subject, row(levels, first))
        count = f"{(~good).sum()} of {good.size} {what} are not valid"
        raise Fault(f"{count}; number {first}: {reason}", level=row(levels, first))


def why(subject: Subject, level: Level) -> str:
    """What is wrong with a level, where that is known."""
    longest = LONGEST if subject.family is None else subject.family.environment.spec.episode_limit
    name = "" if subject.family is None else subject.family.name
    fault = first_fault(jax.tree.map(lambda leaf: np.asarray(leaf)[None], level), longest, name)
    return "is_valid says no." if fault is None else f"{fault.column} {fault.what}."


def determinism(subject: Subject) -> str:
    """Samples, edits and decodings depend on their arguments alone: traced again and called again, they are the same."""
    generator, key, level = subject.generator, subject.keys[0], row(subject.levels, 0)
    check_pure("sample", generator.sample, key, seconds=CLOCK)
    if generator.mutate is not None:
        check_pure("mutate", generator.mutate, key, level)
    if generator.decode is not None:
        check_pure("decode", generator.decode, jnp.zeros(generator.dimensions, jnp.float32))
    again = subject.sampler.call(subject.keys)
    check_same(subject.levels, again, "sampling twice with the same keys gives other levels")
    return "the same keys, the same levels."


def check_pure(name: str, function: Callable, *arguments: chex.ArrayTree, seconds: float = 0.0) -> None:
    """Raises a Fault unless a function is the same each time it is traced: `TRACES` times, over so many seconds."""
    first = program(function, arguments)
    for _ in range(TRACES - 1):
        time.sleep(seconds / (TRACES - 1))
        if program(function, arguments) != first:
            raise Fault(
                f"{name} is another function each time it is traced.",
                "Take all chance from the key or the noise, by jax.random: not from NumPy, global variables or clocks.",
            )


def program(function: Callable, arguments: tuple) -> tuple:
    """What a function does, as text and constants, traced anew even if it compiles itself."""
    bare = inspect.unwrap(function)
    closed = jax.make_jaxpr(lambda *given: bare(*given))(*arguments)
    if any(isinstance(constant, jax.core.Tracer) for constant in closed.consts):
        raise Fault("a traced array of an earlier call was kept outside of the function.", "No global state.")
    text = re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr))
    return text, [np.asarray(constant).tobytes() for constant in closed.consts if not is_key(constant)]


def is_key(constant: object) -> bool:
    """Whether it is a typed key, which has no bytes."""
    return jnp.issubdtype(getattr(constant, "dtype", np.dtype(bool)), jax.dtypes.extended)


def check_same(first: chex.ArrayTree, second: chex.ArrayTree, otherwise: str) -> None:
    """Raises a Fault that says `otherwise` unless all arrays are equal."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    if not all(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True) for a, b in pairs):
        raise Fault(f"{otherwise}.", "Something outside of JAX, such as a callback, takes part.")


def variety(subject: Subject) -> str:
    """Other keys give other levels, unless the generator says that there is only one."""
    packed = np.concatenate(
        [np.asarray(leaf).reshape(subject.sizes.levels, -1).astype(np.float64) for leaf in jax.tree.leaves(subject.levels)],
        1,
    )
    count = len(np.unique(packed, axis=0))
    only = subject.generator.decode is not None and subject.generator.dimensions == 0
    if count == 1 and not only and subject.sizes.levels > 1:
        raise Fault(
            f"{subject.sizes.levels} keys give one and the same level.",
            "Use the key. A generator of one level says so by a `decode` of 0 dimensions.",
            row(subject.levels, 0),
        )
    return f"{count} different levels of {subject.sizes.levels}."


def batches(subject: Subject) -> str:
    """A level sampled alone is the one sampled in a batch."""
    alone = jax.jit(subject.generator.sample)
    for i in range(min(3, subject.sizes.levels)):
        check_close(alone(subject.keys[i]), row(subject.levels, i), "a level sampled alone is not the one of the batch")
    return "one by one as together."


def check_close(first: chex.ArrayTree, second: chex.ArrayTree, otherwise: str) -> None:
    """Raises a Fault that says `otherwise` and which array, unless all are equal but for rounding."""
    for (path, a), b in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        if not np.allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=CLOSE, atol=CLOSE, equal_nan=True):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise Fault(
                f"{otherwise}: {name} differs.", "Treat every member alike: no use of the batch, its axes or its size."
            )


def edits(subject: Subject) -> str:
    """Edits are levels of the same form, valid, five in a row, and most of them change something."""
    mutate = subject.generator.mutate
    if mutate is None:
        raise Skip("the generator has no mutate.")
    level = row(subject.levels, 0)
    check_form("an edit", jax.eval_shape(mutate, subject.keys[0], level), jax.eval_shape(lambda: level), "a sample")
    edit, levels = compiled(jax.vmap(mutate), subject.keys, subject.levels), subject.levels
    changed = []
    for i in range(EDITS):
        before, levels = levels, edit.call(jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(subject.keys), levels)
        check_valid(subject, levels, "edits")
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(levels), strict=True)
        differ = [np.any((np.asarray(a) != np.asarray(b)).reshape(len(a), -1), axis=1) for a, b in pairs]
        changed.append(np.any(differ, axis=0))
    share = float(np.mean(changed))
    only = subject.generator.decode is not None and subject.generator.dimensions == 0
    if share == 0 and not only:
        raise Fault("no edit changes anything.", "An edit is one small change; where it does not apply, try another.", level)
    return f"{EDITS} in a row are valid; {share:.0%} change the level."


def decoding(subject: Subject) -> str:
    """Every vector is a level of the same form, valid."""
    generator = subject.generator
    if generator.decode is None:
        if generator.dimensions:
            raise Fault(f"dimensions is {generator.dimensions}, but there is no decode.", "Give both or neither.")
        raise Skip("the generator has no decode.")
    size = (subject.sizes.levels, generator.dimensions)
    vectors = jax.random.uniform(jax.random.key(subject.sizes.seed + 2), size, jnp.float32)
    vectors = vectors.at[0].set(0.0).at[-1].set(1.0)
    wanted = jax.eval_shape(generator.sample, subject.keys[0])
    check_form("a decoding", jax.eval_shape(generator.decode, vectors[0]), wanted, "a sample")
    check_valid(subject, compiled(jax.vmap(generator.decode), vectors).call(vectors), "decodings")
    return f"vectors of {generator.dimensions} numbers, corners included."


def retracing(subject: Subject) -> str:
    """Functions compile once: other keys, and what they returned, do not make them compile again."""
    generator, keys = subject.generator, jax.random.split(subject.keys[0], 3)
    check_once("sample", generator.sample, None, lambda i, level: (keys[i],))
    if generator.mutate is not None:
        first = jax.jit(generator.sample)(keys[0])
        check_once("mutate", generator.mutate, first, lambda i, level: (keys[i], level))
    return "nothing is compiled twice."


def check_once(
    name: str, function: Callable, first: chex.ArrayTree, arguments: Callable[[int, chex.ArrayTree], tuple]
) -> None:
    """Raises a Fault if three calls with `arguments(i, what it returned last)` compile a function more than once."""
    traces = []

    def counted(*given: chex.ArrayTree) -> chex.ArrayTree:
        traces.append(name)
        return function(*given)

    call, made = jax.jit(counted), first
    for i in range(3):
        made = call(*arguments(i, made))
    if len(traces) > 1:
        hint = "Give every array one dtype and one shape; numbers of Python, such as 0, have a weak dtype."
        raise Fault(f"{name} is compiled again when it is given what it returned.", hint)
