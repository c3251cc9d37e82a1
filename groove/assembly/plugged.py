"""Parts of other packages as a run needs them: made, and traced once, so that what is wrong is said before all else.

What they may be, by group: a Family or `() -> Family`; a Generator, `(key) -> level`, `(key, family) -> level` or
`() -> Generator`; a Score or `(family, antagonist: Lifetime) -> Score`; `(source, family, score, capacity) -> Curriculum`;
`(spec, architecture) -> UpdateRule`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from groove.base import Clock, Curriculum, Outcome, Score, Signals, Source, Theta, UpdateRule
from groove.lifetime import Lifetime
from groove.nets.agents import Architecture
from levels import plugins
from levels.base import Family, Generator, Spec
from levels.check import environments, generators
from levels.check.subject import Fault, Sizes, Subject, check_form, check_storable

BATCH = 2
"""Members that curricula are traced for."""


class Forms(NamedTuple):
    """What functions are traced with: forms in place of arrays."""

    key: jax.Array
    number: jax.Array
    integer: jax.Array
    flag: jax.Array

    @property
    def outcome(self) -> Outcome:
        """With signals."""
        return Outcome(self.number, self.number, Signals(*[self.number] * len(Signals._fields)))


@functools.cache
def forms() -> Forms:
    """The forms; made when they are first needed, not when this is imported, for that would start JAX."""
    return jax.eval_shape(lambda: Forms(jax.random.key(0), jnp.float32(0), jnp.int32(0), jnp.bool_(False)))


def family(name: str) -> Family:
    """The family of a plug-in, called by the plug-in's name.

    Raises:
        ValueError: It fails, or its environment does not keep the contract of `levels.base`; the message names it.
    """
    found = plugins.family("groove.families", name)._replace(name=name)
    _check(name, found, found.generator, (environments.spec, generators.form, environments.timesteps))
    return found


def generator(name: str, kind: Family) -> Generator:
    """The generator of a plug-in, whose levels are like those of a family.

    Raises:
        ValueError: It fails, or its levels have another form; the message names it.
    """
    found = plugins.generator("groove.generators", name, family=kind)
    _check(name, kind, found, (generators.form,))
    level = jax.eval_shape(found.sample, forms().key)
    with _saying(name):
        if found.mutate is not None:
            check_form("an edit", jax.eval_shape(found.mutate, forms().key, level), level, "a sample")
        if found.decode is not None:
            vector = jax.ShapeDtypeStruct((found.dimensions,), jnp.float32)
            check_form("a decoding", jax.eval_shape(found.decode, vector), level, "a sample")
    return found if found.is_valid is not None else found._replace(is_valid=kind.generator.is_valid)


def score(name: str, kind: Family, antagonist: Lifetime) -> Score:
    """The score of a plug-in, made for a family and the lives of an antagonist, which has its theta whatever it is given.

    Raises:
        ValueError: It fails, or does not keep the contract of `groove.base`; the message names it.
    """
    found = plugins.make("groove.scores", name, Score, kind, antagonist)
    with _saying(name):
        if found.like is not None:
            check_form("what is like a reference", _shapes(found.like), _scored(found._replace(like=None), kind)[1], "one")
        number, memory = jax.eval_shape(found.score, *_scored(found, kind))
        check_form("the score", number, forms().number, "a number")
        check_form("the memory after a score", memory, _shapes(found.memory), "that of a new task")
        check_storable("a reference", _scored(found, kind)[1])
    return found


def bound(life: Lifetime, theta: Theta) -> Lifetime:
    """Lives under one theta, whatever theta they are given."""
    return life._replace(
        update=lambda key, other, member, level: life.update(key, theta, member, level),
        live=lambda key, other, level, lifetime: life.live(key, theta, level, lifetime),
    )


def sees_signals(chosen: Score, kind: Family) -> bool:
    """Whether what a score gives depends on the signals of an outcome: then agents must be watched."""
    traced = jax.make_jaxpr(chosen.score)(*_scored(chosen, kind)).jaxpr
    first = len(jax.tree.leaves(forms().outcome._replace(signals=())))
    signals = {id(variable) for variable in traced.invars[first : first + len(Signals._fields)]}
    read = [variable for equation in traced.eqns for variable in equation.invars]
    return any(id(variable) in signals for variable in (*read, *traced.outvars))


def curriculum(name: str, source: Source, kind: Family, scored: Score, capacity: int) -> Curriculum:
    """The curriculum of a plug-in, made of where new tasks come from, the family, the score, and the most tasks to keep.

    Raises:
        ValueError: It fails, or does not keep the contract of `groove.base`; the message names it.
    """
    found = plugins.make("groove.curricula", name, Curriculum, source, kind, scored, capacity)
    number, flag, outcomes, keys = _stacked((forms().number, forms().flag, forms().outcome, forms().key))
    level = jax.eval_shape(jax.vmap(kind.generator.sample), keys)
    with _saying(name):
        state = jax.eval_shape(found.init, forms().key)
        proposed, tasks = jax.eval_shape(found.propose, forms().key, state, flag)
        check_form("a proposed level", tasks.level, level, f"a level of {kind.name}")
        after = {
            "refresh": jax.eval_shape(found.refresh, forms().key, state),
            "propose": proposed,
            "report": jax.eval_shape(found.report, state, tasks, number, outcomes, flag),
        }
        for step, made in after.items():
            check_form(f"the state after {step}", made, state, "that of init")
        told, _ = jax.eval_shape(lambda state: (found.info(state), found.contents(state)), state)
        _check_info("info", told, forms().number, forms().integer)
    return found


def rule(name: str, spec: Spec, architecture: Architecture) -> UpdateRule:
    """The rule of a plug-in, made for an environment and its agents' networks; see `check_rule`.

    Raises:
        ValueError: It fails, or makes something else; the message names it.
    """
    return plugins.make("groove.rules", name, UpdateRule, spec, architecture)


def check_rule(name: str, made: UpdateRule, life: Lifetime, kind: Family) -> None:
    """Raises a ValueError that names the plug-in unless its rule keeps the contract of `groove.base`.

    Args:
        name: Of the plug-in.
        made: Its rule.
        life: How the rule's agents live.
        kind: Where.
    """
    level = jax.eval_shape(kind.generator.sample, forms().key)
    with _saying(name):
        theta, agent = jax.eval_shape(made.init, forms().key), jax.eval_shape(made.init_agent, forms().key)
        member = jax.eval_shape(life.begin, forms().key, level, forms().integer)
        logits = jax.ShapeDtypeStruct((kind.environment.spec.actions,), jnp.float32)
        shown = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), member.view)
        check_form("the policy", jax.eval_shape(made.policy, agent, shown.observation, shown.time), logits, "logits")
        rollout = jax.eval_shape(life.rollout, forms().key, member, level)[1]
        after, info = jax.eval_shape(
            made.update, forms().key, theta, agent, rollout, Clock(forms().integer, forms().integer)
        )
        check_form("the agent after an update", after, agent, "an untrained agent")
        _check_info("update", info, forms().number)
        _check_info("diagnose", diagnosed := jax.eval_shape(made.diagnose, agent, rollout), forms().number)
        if "entropy" not in diagnosed:
            raise Fault("diagnose does not give the policy's entropy.", "Its result needs the entry 'entropy', f32[].")


def _check_info(function: str, info: object, usual: jax.Array, *others: jax.Array) -> None:
    """Raises a Fault unless these are numbers by name, each of one of these forms."""
    if not isinstance(info, dict):
        raise Fault(f"{function} gives {type(info).__name__} as info.", "Return a dict of numbers f32[].")
    for name, value in info.items():
        wanted = next((form for form in others if getattr(value, "dtype", None) == form.dtype), usual)
        check_form(f"{name} of {function}'s info", value, wanted, "a number")


def _scored(chosen: Score, kind: Family) -> tuple[Outcome, chex.ArrayTree, chex.ArrayTree]:
    """Forms of what a score is given, signals among it."""
    if chosen.like is not None:
        return forms().outcome, _shapes(chosen.like), _shapes(chosen.memory)
    level = jax.eval_shape(kind.generator.sample, forms().key)
    return forms().outcome, jax.eval_shape(chosen.reference, forms().key, level, forms().integer), _shapes(chosen.memory)


def _stacked(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Forms of `BATCH` rows."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((BATCH, *leaf.shape), leaf.dtype), tree)


def _shapes(tree: chex.ArrayTree) -> chex.ArrayTree:
    return jax.eval_shape(lambda: jax.tree.map(jnp.asarray, tree))


def _check(name: str, kind: Family, made: Generator, laws: tuple[Callable[[Subject], str], ...]) -> None:
    """Asks those laws of `levels.check` that need only forms."""
    subject = Subject(name, made, kind, Sizes(BATCH, BATCH, seed=0, seconds=1.0))
    with _saying(name):
        for check in laws:
            check(subject)


@contextlib.contextmanager
def _saying(name: str) -> Iterator[None]:
    """Whatever breaks a law, or fails, within is said to be the plug-in's."""
    with plugins.blaming(name):
        try:
            yield
        except Fault as fault:
            raise plugins.PluginError(f"plug-in {name!r} cannot be used: {fault.reason} {fault.hint}".strip()) from fault
