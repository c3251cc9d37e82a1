"""Contracts of learning across levels. NamedTuples of pure, unbatched functions: `jax.vmap` is the caller's.

Functions that use chance take the key first and consume it; state goes in before data and comes out first. *State* is what
the next call needs, arrays only; *info* is what a person wants to see.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import chex
import jax

from levels.base import Level

Theta: TypeAlias = chex.ArrayTree
Agent: TypeAlias = chex.ArrayTree
Reference: TypeAlias = chex.ArrayTree
Memory: TypeAlias = chex.ArrayTree
Info: TypeAlias = Mapping[str, jax.Array]


class Clock(NamedTuple):
    """An agent's place in its lifetime."""

    update: jax.Array  # i32[]; n, the updates done so far
    lifetime: jax.Array  # i32[]; N, the updates of the whole life, at least 1


class Rollout(NamedTuple):
    """Steps of one agent in several environments of one level. Leading axes [T, E]: time, environment."""

    observation: jax.Array  # [T, E, *observation]; what the agent saw
    time: jax.Array  # f32[T, E]; time in the episode, in thousandths of a step
    action: jax.Array  # i32[T, E]
    reward: jax.Array  # f32[T, E]
    terminated: jax.Array  # bool[T, E]; the episode ended with this step, nothing follows
    truncated: jax.Array  # bool[T, E]; it was cut off here: bootstrap from `next_observation`
    next_observation: jax.Array  # [T, E, *observation]; what the step led to, before any reset
    next_time: jax.Array  # f32[T, E]

    @property
    def ended(self) -> jax.Array:
        """bool[T, E]: the next row, if any, belongs to another episode."""
        return self.terminated | self.truncated


class Signals(NamedTuple):
    """What some scores ask of an agent beside its return, measured in a few episodes at the end of its life."""

    highest: jax.Array  # f32[]; the highest return of these episodes
    success: jax.Array  # f32[]; share of these episodes that count as solving the level; 0 where a family does not say
    value: jax.Array  # f32[]; mean of V(s_t) over their steps
    advantage_size: jax.Array  # f32[]; mean of |A_t| over their steps, A by GAE
    advantage_gain: jax.Array  # f32[]; mean of max(A_t, 0) over their steps


class Outcome(NamedTuple):
    """What came of an agent's life on a level."""

    episode_return: jax.Array  # f32[]; mean undiscounted return of one episode under the sampled policy
    standard_error: jax.Array  # f32[]; of that mean; 0 where it is exact
    signals: Signals | tuple[()] = ()  # () where nobody asked, see `groove.lifetime.signals`


class Origin(NamedTuple):
    """Where a task came from."""

    slot: jax.Array  # i32[]; its place in the curriculum's buffer, -1 if new
    stamp: jax.Array  # i32[]; the count of writes to that slot when the task was drawn; another count now means eviction
    serial: jax.Array  # i32[]; unique among the tasks of one curriculum
    parent: jax.Array  # i32[]; serial of the task that this one was edited from, -1 if none
    vector: jax.Array  # f32[d]; what the level was decoded from; d = 0 if it was not
    learn: jax.Array  # bool[]; whether the meta-learner may learn from it


class Task(NamedTuple):
    """A level to live on, and for how long."""

    level: Level
    lifetime: jax.Array  # i32[]; agent updates
    reference: Reference  # what its score needs and the learner does not change; PyTree
    memory: Memory  # what its score remembers between visits; PyTree
    origin: Origin


class UpdateRule(NamedTuple):
    """How an agent learns. Made for one Spec by a factory of `groove.rules`.

    Attributes:
        init: `(key) -> theta`, the rule's own parameters: () if hand-written, of the same shape for every family.
        init_agent: `(key) -> agent`, at its birth: parameters and optimizer state, arrays only.
        policy: `(agent, observation, time f32[]) -> logits f32[actions]`.
        update: `(key, theta, agent, rollout, clock) -> (agent, info)`. Differentiable in theta. `info` holds f32[]
            measurements, differentiable too.
        diagnose: `(agent, rollout) -> info`, measurements of an agent on a rollout, differentiable in the agent: at least
            `entropy`, the mean entropy of the policy in nats.
    """

    init: Callable[[jax.Array], Theta]
    init_agent: Callable[[jax.Array], Agent]
    policy: Callable[[Agent, jax.Array, jax.Array], jax.Array]
    update: Callable[[jax.Array, Theta, Agent, Rollout, Clock], tuple[Agent, Info]]
    diagnose: Callable[[Agent, Rollout], Info]


class Score(NamedTuple):
    """How much a task has to teach: the higher, the more it should be trained on.

    Attributes:
        reference: `(key, level, lifetime i32[]) -> reference`, what does not depend on the learner; computed once per task.
        score: `(outcome, reference, memory) -> (score f32[], memory)`.
        memory: The memory of a task that was never played.
        like: An example of a reference, of which only the shapes matter; None to have them found by tracing `reference`,
            which takes long where agents live in it.
    """

    reference: Callable[[jax.Array, Level, jax.Array], Reference]
    score: Callable[[Outcome, Reference, Memory], tuple[jax.Array, Memory]]
    memory: Memory = ()
    like: Reference | None = None


class Source(NamedTuple):
    """Where new tasks come from: a pool whose references are computed ahead of need, by the host's `refresh`.

    Attributes:
        init: `(key) -> state`, with a full pool.
        take: `(state, want bool[B]) -> (state, tasks [B, ...])`; rows nobody wants hold tasks that are to be ignored.
        refresh: `(key, state) -> state`, replaces what was taken since.
        info: `(state) -> info`, among it `reused`: tasks handed out twice because the pool had run dry.
        score: Whose references its tasks have.
    """

    init: Callable[[jax.Array], chex.ArrayTree]
    take: Callable[[chex.ArrayTree, jax.Array], tuple[chex.ArrayTree, Task]]
    refresh: Callable[[jax.Array, chex.ArrayTree], chex.ArrayTree]
    info: Callable[[chex.ArrayTree], Info]
    score: Score | None = None


class Curriculum(NamedTuple):
    """Which tasks to live on next.

    Attributes:
        init: `(key) -> state`, with tasks to propose.
        propose: `(key, state, needed bool[B]) -> (state, tasks [B, ...])`; only members that need a task count as proposals,
            the other rows are to be ignored.
        report: `(state, tasks, score f32[B], outcomes, finished bool[B]) -> state`; `tasks` as proposed, with the
            memory that the score returned. Members that have not finished change nothing.
        refresh: `(key, state) -> state`, what the host does between chunks of steps.
        info: `(state) -> info`, looked at after every chunk of steps.
        contents: `(state) -> (tasks [C, ...], score f32[C], held bool[C])`, what the curriculum keeps, for files and
            pictures.
        score: Of its tasks, which a run computes of the lives that end; None leaves it to `groove.trainer.TaskGroup`.
    """

    init: Callable[[jax.Array], chex.ArrayTree]
    propose: Callable[[jax.Array, chex.ArrayTree, jax.Array], tuple[chex.ArrayTree, Task]]
    report: Callable[[chex.ArrayTree, Task, jax.Array, Outcome, jax.Array], chex.ArrayTree]
    refresh: Callable[[jax.Array, chex.ArrayTree], chex.ArrayTree]
    info: Callable[[chex.ArrayTree], Info]
    contents: Callable[[chex.ArrayTree], tuple[Task, jax.Array, jax.Array]]
    score: Score | None = None


class MetaOptimizer(NamedTuple):
    """How theta improves. `live` is what persists across steps: a tuple over families of member batches.

    Attributes:
        init: `(key, theta) -> state`.
        begin: `(key, tasks) -> live`, new members for a tuple over families of tasks [B, ...]. Each entry of `live` has
            a field `task` and a property `finished`, bool[B]: its lifetime is over.
        theta: `(state) -> theta`.
        step: `(key, state, live) -> (state, live, outcomes, info)`; outcomes are a tuple over families, of members whose
            lifetime ended with this step, other rows are to be ignored.
    """

    init: Callable[[jax.Array, Theta], chex.ArrayTree]
    begin: Callable[[jax.Array, tuple[Task, ...]], tuple[chex.ArrayTree, ...]]
    theta: Callable[[chex.ArrayTree], Theta]
    step: Callable[
        [jax.Array, chex.ArrayTree, chex.ArrayTree], tuple[chex.ArrayTree, chex.ArrayTree, tuple[Outcome, ...], Info]
    ]
