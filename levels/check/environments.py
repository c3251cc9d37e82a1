"""Laws of environments."""

import jax
import jax.numpy as jnp
import numpy as np

from levels.base import Array, Discrete, Spec, TimeStep, words
from levels.check.generators import check_close, check_once, check_pure, check_same
from levels.check.subject import Fault, Skip, Subject, check_form, kind_of, row, rows

NUMBERS = {"time": "f32[]", "reward": "f32[]", "terminated": "bool[]", "truncated": "bool[]"}
"""The form of a time step but for its observation."""


def spec(subject: Subject) -> str:
    """The Spec is one, hashable, with sizes that can be."""
    found = subject.known.environment.spec
    if not isinstance(found, Spec) or not isinstance(found.observation, Discrete | Array):
        raise Fault(f"spec is {found!r}.", "Use levels.base.Spec, its observation a Discrete or an Array.")
    least = {"actions": 1, "episode_limit": 1, "noise": 0, "reset_noise": 0}
    for name, low in least.items():
        value = getattr(found, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise Fault(f"spec.{name} must be an integer of at least {low}, got {value!r}.")
    if hash(found) != hash(found._replace()):
        raise Fault("spec has no hash that stays.", "Use Python's numbers and tuples in it.")
    return f"{found.observation}, {found.actions} actions, episodes of at most {found.episode_limit} steps."


def timesteps(subject: Subject) -> str:
    """Resets and steps return states of one form, and time steps as the Spec and the contract say."""
    spec, reset, step = subject.known.environment
    level = jax.eval_shape(subject.generator.sample, subject.keys[0])
    noise = [jax.ShapeDtypeStruct((size,), jnp.uint32) for size in (spec.reset_noise, spec.noise)]
    begun = jax.eval_shape(reset, noise[0], level)
    check_pair("reset", begun)
    stepped = jax.eval_shape(step, noise[1], level, begun[0], jax.ShapeDtypeStruct((), jnp.int32))
    check_pair("step", stepped)
    for name, (_, timestep) in (("reset", begun), ("step", stepped)):
        check_timestep(f"the time step of {name}", timestep, spec)
    check_form("the state after a step", stepped[0], begun[0], "that after a reset")
    check_form("the state after a reset", begun[0], stepped[0], "that after a step")
    check_form("the time step of a step", stepped[1], begun[1], "that of a reset")
    return f"observations are {kind_of(begun[1].observation)}."


def check_pair(name: str, made: object) -> None:
    """Raises a Fault unless it is a state and a TimeStep."""
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[1], TimeStep):
        raise Fault(f"{name} returns {type(made).__name__}, not (state, TimeStep).", "See levels.base.Environment.")


def check_timestep(what: str, timestep: TimeStep, spec: Spec) -> None:
    """Raises a Fault unless all arrays are as the Spec and the contract say."""
    for name, wanted in NUMBERS.items():
        found = kind_of(getattr(timestep, name))
        if found != wanted:
            raise Fault(f"{name} of {what} must be {wanted}, got {found}.", "See levels.base.TimeStep.")
    found = kind_of(timestep.observation)
    if isinstance(spec.observation, Discrete) and found != "i32[]":
        raise Fault(f"the observation of {what} must be i32[], got {found}.", f"The Spec says {spec.observation}.")
    if isinstance(spec.observation, Array) and timestep.observation.shape != spec.observation.shape:
        raise Fault(f"the observation of {what} is {found}.", f"The Spec says {spec.observation}.")


def noise(subject: Subject) -> str:
    """Resets and steps depend on their arguments alone: traced again and played again, they are the same."""
    spec, reset, step = subject.known.environment
    level, word, more = row(subject.levels, 0), *(jnp.zeros(size, jnp.uint32) for size in (spec.reset_noise, spec.noise))
    state, _ = jax.eval_shape(reset, word, level)
    check_pure("reset", reset, word, level)
    check_pure("step", step, more, level, state, jnp.int32(0))
    again = subject.player.call(subject.played, subject.odds)
    check_same(subject.tallies, again, "playing twice with the same noise gives other episodes")
    return "the same words, the same episodes."


def episodes(subject: Subject) -> str:
    """Episodes begin with nothing paid, end once and in time, and show what the Spec says."""
    check_beginnings(subject)
    spec, tallies = subject.known.environment.spec, subject.tallies
    ended = tallies.terminated | tallies.truncated
    unbounded = f"not {spec.observation}" if isinstance(spec.observation, Discrete) else "bounded"
    time_hint = "Who sees the time is told that its end terminates; else the end of the time truncates."
    checks = (
        (ended, f"do not end within the limit of {spec.episode_limit} steps", "Terminate or truncate at the level's limit."),
        (~(tallies.terminated & tallies.truncated), "are both terminated and truncated", "Truncated means: it would go on."),
        (~(tallies.truncated & spec.time), "are truncated, though the agent sees the time", time_hint),
        (tallies.finite, "have rewards or observations that are not finite", ""),
        (tallies.inside, f"have observations that are {unbounded}", "Observations count from 0."),
        (tallies.timed, "have a wrong time", "The time is the number of the step times levels.base.TIME_SCALE."),
    )
    for good, fault, hint in checks:
        if not good.all():
            first = int(good.all(axis=1).argmin())
            raise Fault(f"{(~good).sum()} of {good.size} episodes {fault}.", hint, row(subject.levels, first))
    lengths, mean = tallies.steps, tallies.total.mean()
    return f"{lengths.size} of {lengths.min()} to {lengths.max()} steps; random actions return {mean:.3g} on average."


def check_beginnings(subject: Subject) -> None:
    """Raises a Fault with the first level whose reset pays, ends or has a time."""
    spec, reset, _ = subject.known.environment
    noise = words(jax.random.key(subject.sizes.seed + 3), rows(subject.levels), spec.reset_noise)
    first = jax.jit(lambda noise, levels: jax.vmap(reset)(noise, levels)[1])(noise, subject.levels)
    for name in NUMBERS:
        bad = np.asarray(getattr(first, name)) != 0
        if bad.any():
            hint = "Nothing is paid before the first step, and no episode ends there."
            raise Fault(f"{name} of a reset is not 0.", hint, row(subject.levels, int(bad.argmax())))


def alone(subject: Subject) -> str:
    """A step alone is the one taken in a batch."""
    spec, reset, step = subject.known.environment
    count = min(2, subject.sizes.levels)
    levels = jax.tree.map(lambda leaf: leaf[:count], subject.levels)
    noise = [words(jax.random.key(subject.sizes.seed + 4), count, size) for size in (spec.reset_noise, spec.noise)]

    def first_steps(begin: jax.Array, noise: jax.Array, level: object) -> tuple:
        state, _ = reset(begin, level)
        return step(noise, level, state, jnp.int32(spec.actions - 1))

    together, one = jax.jit(jax.vmap(first_steps))(*noise, levels), jax.jit(first_steps)
    for i in range(count):
        lonely = one(noise[0][i], noise[1][i], row(levels, i))
        check_close(lonely, row(together, i), "a step alone is not the one of the batch")
    return "one by one as together."


def retracing(subject: Subject) -> str:
    """Steps compile once: a state that a step returned can be given to the next."""
    spec, reset, step = subject.known.environment
    level, noise = row(subject.levels, 0), words(jax.random.key(subject.sizes.seed + 5), 3, spec.noise)
    state, _ = jax.jit(reset)(jnp.zeros(spec.reset_noise, jnp.uint32), level)

    def following(noise: jax.Array, state: object, action: jax.Array) -> object:
        return step(noise, level, state, action)[0]

    check_once("step", following, state, lambda i, state: (noise[i], state, jnp.int32(i % spec.actions)))
    return "nothing is compiled twice."


def drawing(subject: Subject) -> str:
    """Levels can be drawn, as text and, if the family has pictures, as pictures."""
    family, level = subject.known, row(subject.levels, 0)
    text = family.draw(level)
    if not isinstance(text, str) or not text.strip():
        raise Fault(f"draw returns {type(text).__name__} {text!r}, no text.", "It takes a level and returns a str.")
    if family.image is None:
        return "as text."
    state, _ = family.environment.reset(jnp.zeros(family.environment.spec.reset_noise, jnp.uint32), level)
    for picture in (family.image(level, None), family.image(level, state)):
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise Fault(f"image returns {np.asarray(picture).dtype}{list(np.shape(picture))}, not u8[height, width, 3].")
    return "as text and as a picture."


def features(subject: Subject) -> str:
    """Features are finite numbers."""
    measure = subject.known.features
    if measure is None:
        raise Skip("the family has no features.")
    for name, values in jax.jit(jax.vmap(measure))(subject.levels).items():
        if values.dtype != jnp.float32 or values.ndim != 1:
            raise Fault(f"the feature {name!r} is {kind_of(row(values, 0))}, not f32[].")
        bad = ~np.isfinite(np.asarray(values))
        if bad.any():
            raise Fault(f"the feature {name!r} is not finite.", level=row(subject.levels, int(bad.argmax())))
    names = jax.eval_shape(measure, row(subject.levels, 0))
    return f"{', '.join(names)}."
