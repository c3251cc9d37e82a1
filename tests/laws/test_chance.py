"""No chance is used twice: of every key that is consumed in a program, numbers are drawn once or children made, not both."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from chance import assert_used_once, compiled, used
from members import BANDIT, FAMILIES, REMEMBERING, SCORES, antagonist, life_of, rule_of, sample

from groove import analysis
from groove.base import Outcome, UpdateRule
from groove.curate.rating import rater
from groove.curricula import accel, alp_gmm, constant, pool, prioritised, sfl, uniform
from groove.curricula.clutr import clutr
from groove.files import curriculumfile
from groove.lifetime import Lifetime, learning_curve, lifetime, sampled, schedules
from groove.lifetime.signals import observed, watched
from groove.meta import FamilySetup, deep_ga, evolution, gradient, truncated
from groove.meta.novelty import probes
from groove.meta.strategies import named
from groove.nets import agents
from groove.nets.critic import critic
from groove.rules import random_policy
from groove.scores import algorithmic_regret, learning_progress, normalised_regret
from groove.scores import uniform as indifferent
from groove.trainer import TaskGroup, trainer
from levels.bandit import bernoulli_bandit
from levels.base import Environment

REGRET = algorithmic_regret(antagonist(), agents=2)
LPG = "lpg-fraction-and-log"


def restless(environment: Environment) -> Environment:
    """The same, but that resets use chance as well."""

    def reset(noise, level):
        state, first = environment.reset(noise[:0], level)
        return state, first._replace(observation=(noise[0] & 0).astype(jnp.int32))

    return environment._replace(spec=environment.spec._replace(reset_noise=1), reset=reset)


def drawing(rule: UpdateRule) -> UpdateRule:
    """The same, but that updates use their key."""

    def update(key, theta, agent, rollout, clock):
        agent, info = rule.update(key, theta, agent, rollout, clock)
        nothing = 0 * jax.random.uniform(key)
        return jax.tree.map(lambda leaf: leaf + nothing, agent), info

    return rule._replace(update=update)


HOME = bernoulli_bandit(arms=3, pulls=(3, 3))
"""Episodes are of one length: where they are not, those that are over draw the same again, for nothing."""
PLACE = restless(HOME.environment)


@functools.cache
def living(name: str) -> tuple[UpdateRule, Lifetime]:
    """A rule and its lives, of which everything uses chance; episodes are played in blocks of a single step."""
    rule = drawing(rule_of(name))
    return rule, lifetime(rule, PLACE, steps=2, environments=2, evaluate=sampled(rule, PLACE, episodes=2, block=1))


def test_evaluated_lives():
    """Two agents on each of two levels, watched and measured twice; and lives of which only the end counts."""
    rule, plain_life = living("a2c-bandit")
    value = critic(PLACE.spec, agents.tabular())
    seen = watched(rule, value)
    watching = observed(seen, PLACE, value, episodes=2, block=1)
    watched_life = lifetime(seen, PLACE, steps=2, environments=2, evaluate=watching)

    def program(key, levels):
        course_key, return_key = jax.random.split(key)
        points, ends = jnp.array([1, 3]), jnp.full(2, 2, jnp.int32)
        found = learning_curve.learning_curves(watched_life, course_key, (), levels, points, agents=2, block=2)
        return found, learning_curve.returns(plain_life, return_key, (), levels, ends, agents=2)

    assert_used_once(used(program, sample(HOME, 2)))


def test_courses_of_lives():
    program = functools.partial(schedules.life_curves, *living("a2c-bandit"))
    assert_used_once(used(lambda key: program(key, (), sample(HOME, 2), [3])[0].entropy, jit=False))


def test_references():
    """Of scores that compare with an antagonist, with the random policy, or with both."""
    random, antagonist = random_policy(PLACE.spec), living("a2c-bandit")[1]
    drifter = lifetime(random, PLACE, steps=2, environments=2, evaluate=sampled(random, PLACE, episodes=2, block=1))
    scores = (algorithmic_regret(antagonist), normalised_regret(antagonist, drifter), learning_progress(drifter))

    def program(key, level):
        rows = zip(scores, jax.random.split(key, len(scores)), strict=True)
        return [score.reference(own, level, jnp.int32(2)) for score, own in rows]

    assert_used_once(used(program, jax.tree.map(lambda leaf: leaf[0], sample(HOME, 1))))


def test_curated_and_audited_tasks():
    """A score with an antagonist, two of one life, and a yardstick."""
    scores = {"one": SCORES["learning-progress"], "two": SCORES["learning-progress"]}
    measures = [analysis.scored(antagonist(), scores), analysis.shortfall(antagonist(), BANDIT.optimum)]

    def program(key, levels):
        keys, lifetimes = jax.random.split(key), jnp.full(2, 2, jnp.int32)
        number = jnp.arange(2, dtype=jnp.int32)
        rate, measure = rater(antagonist(), REGRET), analysis.joined(measures)
        return [
            jax.vmap(one, (None, 0, None, 0, 0))(k, number, (), levels, lifetimes)
            for k, one in zip(keys, (rate, measure), strict=True)
        ]

    assert_used_once(used(program, sample(BANDIT, 2)))


def test_births():
    """Parameters of rules of every kind, and of their agents."""
    kinds = ("a2c", "lpg-lstm", "lpo-convolutional-from-ppo")

    def program(key):
        rows = zip(map(rule_of, kinds), jax.random.split(key, (len(kinds), 2)), strict=True)
        return [(rule.init(keys[0]), rule.init_agent(keys[1])) for rule, keys in rows]

    assert_used_once(used(program))


def test_generations():
    """Of a genetic algorithm, over a theta of two leaves."""
    strategy = deep_ga(population=4, parents=2)

    def program(key):
        init_key, tell_key = jax.random.split(key)
        state = strategy.init(init_key, {"a": jnp.zeros(2), "b": jnp.zeros(3)})
        return strategy.tell(tell_key, state, state.members, jnp.arange(4.0))

    assert_used_once(used(program))


def test_updates_that_shuffle():
    def program(key, level):
        begin_key, *keys = jax.random.split(key, 3)
        member = life_of("dpo").begin(begin_key, level, jnp.int32(2))
        for own in keys:
            member = life_of("dpo").update(own, (), member, level)[0]
        return member

    assert_used_once(used(program, jax.tree.map(lambda leaf: leaf[0], sample(FAMILIES["gaussian-bandit"], 1))))


def test_levels():
    """Samples and edits of families of every kind."""
    found = [FAMILIES[name] for name in ("gridworld", "bernoulli-bandit", "chain", "gymnax-cartpole")]

    def program(key):
        made = []
        for family, keys in zip(found, jax.random.split(key, (len(found), 2)), strict=True):
            level = family.generator.sample(keys[0])
            made.append(family.generator.mutate(keys[1], level))
        return made

    assert_used_once(used(program))


BATCH = 4


def new(score):
    """As many tasks as are asked for at once, so that none is made that nobody waits for."""
    return pool(BANDIT.generator, score, constant(2), size=BATCH, block=2)


TEACHERS = {
    "prioritised": lambda: prioritised(new(REGRET), capacity=8, minimal_fill=0.25),
    "without-replacement": lambda: prioritised(new(REMEMBERING), capacity=8, minimal_fill=0.25, replace=False),
    "edited": lambda: accel(
        prioritised(new(REMEMBERING), capacity=8, minimal_fill=0.25), BANDIT.generator, REMEMBERING, size=BATCH, block=2
    ),
    "selected": lambda: sfl(new(REMEMBERING), capacity=2, sweep=4),
    "mixture": lambda: alp_gmm(
        BANDIT.generator, REMEMBERING, constant(2), size=BATCH, block=2, window=50, history=50, components=2
    ),
    "latent": lambda: clutr(
        lambda point: BANDIT.generator.decode(jax.nn.sigmoid(point)),
        REMEMBERING,
        constant(2),
        dimensions=BANDIT.generator.dimensions,
        size=BATCH,
        block=2,
        batch=50,
    ),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_curricula(name):
    """Two rounds of proposals by members who all need a task, their reports and the refresh behind them."""
    teacher = TEACHERS[name]()
    init, refresh = compiled(teacher.init), compiled(teacher.refresh)

    @compiled
    def play(key, state):
        state, tasks = teacher.propose(key, state, jnp.ones(BATCH, bool))
        score = jnp.arange(BATCH, dtype=jnp.float32)
        return teacher.report(state, tasks, score, Outcome(score, jnp.zeros(BATCH)), jnp.ones(BATCH, bool))

    def program(key):
        init_key, *keys = jax.random.split(key, 6)
        state = refresh(keys[0], init(init_key))
        for play_key, refresh_key in (keys[1:3], keys[3:]):
            state = refresh(refresh_key, play(play_key, state))
        return teacher.contents(state)[1]

    assert_used_once(used(program, jit=False))


def meta_optimizers():
    """Each with the number of those who share their chance: pairs, under evolution."""
    value = critic(PLACE.spec, agents.tabular(), gamma=0.9)
    rule, life = living(LPG)
    theta = jax.eval_shape(rule.init, jax.random.key(0))
    return {
        "gradient": (gradient((FamilySetup(rule, life, value),), optax.sgd(0.1), updates=2), 1),
        "evolution": (evolution((life,), named("Open_ES", theta, population=4)), 2),
        "truncated": (truncated((life,), optax.sgd(0.1), theta, updates=2), 2),
    }


@pytest.mark.parametrize("name", ["gradient", "evolution", "truncated"])
def test_meta_steps(name):
    """Two chunks of two meta-steps each, with the refresh before each: births, updates, measurements and new lives."""
    learner, most = meta_optimizers()[name]
    share = TaskGroup("bandit", 2, uniform(pool(HOME.generator, indifferent(), constant(4), size=4, block=2)), indifferent())
    run = trainer((share,), learner, rule_of(LPG).init, steps=2)

    init, chunk, refresh = map(compiled, (run.init, run.chunk, run.refresh))

    def program(key):
        state = chunk(refresh(init(key)))[0]
        return chunk(refresh(state))[1]

    assert_used_once(used(program, jit=False), most=most)


def test_improvements():
    """Before and after training agents meet the same chance, on the task and elsewhere; training has a chance of its own."""
    rule, life = living(LPG)
    learner = meta_optimizers()["gradient"][0]
    others = curriculumfile.fresh(sample(HOME, 2), lifetime=[2, 2], score=[0.0, 0.0])

    def program(key, theta, level):
        elsewhere_key, own_key = jax.random.split(key)
        measure = analysis.improvement(elsewhere_key, learner, life, others, steps=2, members=2, agents=2)
        return measure(own_key, jnp.int32(0), theta, level, jnp.int32(4))

    level = jax.tree.map(lambda leaf: leaf[0], sample(HOME, 1))
    assert_used_once(used(program, jax.jit(rule.init)(jax.random.key(0)), level), most=2)


def test_probes_of_novelty():
    source = pool(HOME.generator, indifferent(), constant(2), size=2, block=2)

    def program(key, theta):
        task_key, probe_key = jax.random.split(key)
        tasks = source.take(source.refresh(task_key, source.init(task_key)), jnp.ones(2, bool))[1]
        return probes((living(LPG)[1],), (tasks,), probe_key, rules=(living(LPG)[0],))(theta)

    assert_used_once(used(program, jax.jit(rule_of(LPG).init)(jax.random.key(0))))
