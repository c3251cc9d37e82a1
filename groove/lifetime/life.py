"""An agent's life on a task: roll out, reset, update, evaluate. Unbatched over agents; `jax.vmap` is the caller's."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove.base import Agent, Clock, Info, Outcome, Rollout, Theta, UpdateRule
from groove.base.ranges import has_nan
from groove.base.trees import tree_where
from groove.parallel.devices import check_precision
from levels.base import TIME_SCALE, Discrete, Environment, Level, Policy, State, TimeStep, uniform, words


class View(NamedTuple):
    """What an agent sees before it acts."""

    observation: jax.Array
    time: jax.Array  # f32[]


class Member(NamedTuple):
    """One agent alive on a level. Fields of `state` and `view` lead with the axis [E] of its environments."""

    agent: Agent
    state: State
    view: View
    clock: Clock


class Lifetime(NamedTuple):
    """How the agents of one rule live in one environment.

    Attributes:
        begin: `(key, level, lifetime i32[]) -> Member`, an untrained agent in freshly reset environments.
        rollout: `(key, member, level) -> (member, Rollout)`, steps without learning.
        update: `(key, theta, member, level) -> (member, Rollout, info)`, a rollout and one update by the rule; past the
            lifetime's end the agent and its clock stay as they are.
        live: `(key, theta, level, lifetime i32[]) -> agent`, a whole life.
        evaluate: `(key, agent, level, wanted bool[]) -> Outcome`, what the agent achieves in fresh episodes, NaN if it has
            diverged; work is only done while some member of the batch is wanted, other outcomes are to be ignored.
    """

    begin: Callable[[jax.Array, Level, jax.Array], Member]
    rollout: Callable[[jax.Array, Member, Level], tuple[Member, Rollout]]
    update: Callable[[jax.Array, Theta, Member, Level], tuple[Member, Rollout, Info]]
    live: Callable[[jax.Array, Theta, Level, jax.Array], Agent]
    evaluate: Callable[[jax.Array, Agent, Level, jax.Array], Outcome]


Evaluate = Callable[[jax.Array, Agent, Level, jax.Array], Outcome]


def act(word: jax.Array, logits: jax.Array) -> jax.Array:
    """Samples an action i32[] from logits f32[n] with one random word u32[]: never one whose logit is -inf.

    Where the logits are no distribution (see `playable`) it is 0, and means nothing.
    """
    cumulative = jnp.cumsum(jax.nn.softmax(logits))
    passed = (cumulative[:-1] <= uniform(word)) & (cumulative[:-1] < cumulative[-1:])  # a sum may end below 1
    return jnp.sum(passed, dtype=jnp.int32)


def playable(logits: jax.Array) -> jax.Array:
    """Whether logits f32[n] are a distribution, bool[]: no NaN, no +inf, and not all of them -inf."""
    return jnp.isfinite(jnp.max(logits))


def lifetime(
    rule: UpdateRule,
    environment: Environment,
    *,
    steps: int = 20,
    environments: int = 64,
    evaluate: Evaluate | None = None,
) -> Lifetime:
    """Lives of `rule`'s agents, each update from `steps` steps in `environments` parallel copies of its level.

    Args:
        rule: How agents learn.
        environment: Where they live.
        steps: T, steps of each environment per update; at least 1.
        environments: E, parallel environments of an agent; at least 1.
        evaluate: How an agent is measured; by default `sampled(rule, environment)`.

    Raises:
        ValueError: A size is out of its range, or JAX is to compute with 64-bit numbers.
    """
    check_precision()
    if steps < 1 or environments < 1:
        raise ValueError(f"steps and environments must be at least 1, got {steps} and {environments}.")
    spec = environment.spec
    step = jax.vmap(environment.step, (1, None, 0, 0))

    def reset(noise, level):
        state, timestep = jax.vmap(environment.reset, (1, None))(noise, level)
        return state, _view(timestep)

    def begin(key, level, lifetime):
        agent_key, reset_key = jax.random.split(key)
        state, view = reset(words(reset_key, spec.reset_noise, environments), level)
        clock = Clock(jnp.zeros((), jnp.int32), jnp.asarray(lifetime, jnp.int32))
        return Member(rule.init_agent(agent_key), state, view, clock)

    def advance(agent, level, now, noise):
        state, before = now
        logits = jax.vmap(rule.policy, (None, 0, 0))(agent, before.observation, before.time)
        action = jax.vmap(act)(noise[0], logits)
        state, after = step(noise[1 : 1 + spec.noise], level, state, action)
        ended = after.terminated | after.truncated
        fresh = reset(noise[1 + spec.noise :], level)
        row = Rollout(
            before.observation,
            before.time,
            action,
            after.reward,
            after.terminated,
            after.truncated,
            after.observation,
            after.time,
        )
        return tree_where(ended, fresh, (state, _view(after))), row

    def rollout(key, member, level):
        agent = jax.lax.stop_gradient(member.agent)
        noise = words(key, steps, 1 + spec.noise + spec.reset_noise, environments)
        now = (member.state, member.view)
        now, rows = jax.lax.scan(lambda now, noise: advance(agent, level, now, noise), now, noise)
        return member._replace(state=now[0], view=now[1]), rows

    def update(key, theta, member, level):
        rollout_key, rule_key = jax.random.split(key)
        member, rows = rollout(rollout_key, member, level)
        agent, info = rule.update(rule_key, theta, member.agent, rows, member.clock)
        alive = member.clock.update < member.clock.lifetime
        clock = member.clock._replace(update=member.clock.update + alive.astype(jnp.int32))
        return member._replace(agent=tree_where(alive, agent, member.agent), clock=clock), rows, info

    def live(key, theta, level, lifetime):
        begin_key, life_key = jax.random.split(key)
        return jax.lax.while_loop(
            lambda member: member.clock.update < member.clock.lifetime,
            lambda member: update(jax.random.fold_in(life_key, member.clock.update), theta, member, level)[0],
            begin(begin_key, level, lifetime),
        ).agent

    return Lifetime(begin, rollout, update, live, _judged(evaluate or sampled(rule, environment)))


def _judged(evaluate: Evaluate) -> Evaluate:
    """The same, but that an agent which has diverged reaches nothing that could be compared: NaN."""

    def judged(key, agent, level, wanted):
        lost = has_nan(agent)
        return jax.tree.map(lambda leaf: jnp.where(lost, jnp.nan, leaf), evaluate(key, agent, level, wanted))

    return judged


def _view(timestep: TimeStep) -> View:
    return View(timestep.observation, timestep.time)


def sampled(rule: UpdateRule, environment: Environment, *, episodes: int = 4, block: int = 25) -> Evaluate:
    """Measures agents by the mean return of `episodes` episodes under their sampled policy.

    Args:
        rule: Whose agents.
        environment: Where.
        episodes: Episodes per agent; at least 1.
        block: Steps whose random words are drawn at once; changes the numbers drawn, not their law.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}.")
    spec = environment.spec
    reset = jax.vmap(environment.reset, (1, None))
    step = jax.vmap(environment.step, (1, None, 0, 0))

    def advance(agent, level, now, noise):
        state, timestep, running, total = now
        logits = jax.vmap(rule.policy, (None, 0, 0))(agent, timestep.observation, timestep.time)
        following = step(noise[1:], level, state, jax.vmap(act)(noise[0], logits))
        state, timestep = tree_where(running, following, (state, timestep))
        reward = jnp.where(jax.vmap(playable)(logits), timestep.reward, jnp.nan)
        total = total + jnp.where(running, reward, 0.0)
        return state, timestep, running & ~(timestep.terminated | timestep.truncated), total

    def evaluate(key, agent, level, wanted):
        reset_key, step_key = jax.random.split(key)

        def body(now):
            noise = words(jax.random.fold_in(step_key, now[0]), block, 1 + spec.noise, episodes)
            episode = jax.lax.scan(lambda e, noise: (advance(agent, level, e, noise), None), now[1], noise)[0]
            return now[0] + 1, episode

        start = reset(words(reset_key, spec.reset_noise, episodes), level)
        episode = (*start, jnp.broadcast_to(wanted, (episodes,)), jnp.zeros(episodes, jnp.float32))
        total = jax.lax.while_loop(lambda now: jnp.any(now[1][2]), body, (jnp.zeros((), jnp.int32), episode))[1][3]
        error = jnp.std(total, ddof=1) / jnp.sqrt(jnp.float32(episodes)) if episodes > 1 else jnp.zeros((), jnp.float32)
        return Outcome(jnp.mean(total), error)

    return evaluate


def whole_life(
    life: Lifetime, keys: Sequence[jax.Array] | jax.Array, theta: Theta, level: Level, lifetime: jax.Array
) -> Outcome:
    """What an agent reaches that lives its whole life on a task.

    Args:
        life: How it lives and is measured.
        keys: Two: of its life, and of its measuring.
        theta: Of its rule.
        level: Where it lives.
        lifetime: i32[], in updates.
    """
    agent = life.live(keys[0], theta, level, lifetime)
    return life.evaluate(keys[1], agent, level, jnp.array(True))


def exact(rule: UpdateRule, environment: Environment, value: Callable[[Level, Policy], jax.Array]) -> Evaluate:
    """Measures agents by their exact expected return, so that a regret has no sampling noise.

    Under vmap the members are measured one after the other, and those that are not wanted cost nothing.

    Args:
        rule: Whose agents; their observations must be discrete.
        environment: Where.
        value: A family's `value`.
    """
    reach = expected(rule, environment, value)

    @jax.custom_batching.sequential_vmap
    def evaluate(key, agent, level, wanted):
        result = jax.lax.cond(wanted, lambda: reach(agent, level), lambda: jnp.zeros((), jnp.float32))
        return Outcome(result, jnp.zeros((), jnp.float32))

    return evaluate


def expected(
    rule: UpdateRule, environment: Environment, value: Callable[[Level, Policy], jax.Array]
) -> Callable[[Agent, Level], jax.Array]:
    """`(agent, level) -> f32[]`, the exact expected return of an episode of an agent as it is.

    Args:
        rule: Whose agents; their observations must be discrete.
        environment: Where.
        value: A family's `value`, or its `differentiable_value` where a gradient in the agent is asked for.
    """
    shown = environment.spec.observation
    if not isinstance(shown, Discrete):
        raise ValueError(f"exact evaluation needs discrete observations, got {shown}; use sampled().")

    def reach(agent: Agent, level: Level) -> jax.Array:
        observations = jnp.arange(shown.n, dtype=jnp.int32)

        def policy(step):
            time = step.astype(jnp.float32) * TIME_SCALE
            logits = jax.vmap(rule.policy, (None, 0, None))(agent, observations, time)
            return jax.nn.softmax(logits.T, axis=0).T  # sums over so few actions are slow where they lie side by side

        return value(level, policy)

    return reach
