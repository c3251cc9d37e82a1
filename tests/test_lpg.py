"""LPG: its inputs and update by hand, and the meta-gradient against finite differences."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rollouts import SPEC, recorded

from groove import assembly, config
from groove.base import Clock, Origin, Outcome, Rollout, Task
from groove.lifetime import Lifetime, Member
from groove.meta import FamilySetup, Weights, gradient
from groove.meta.gradient import REGULARISED, regulariser
from groove.nets import agents, recurrent
from groove.nets.critic import critic, normalise
from groove.rules import a2c, horizon, lpg, recurrent_targets
from groove.rules.lpg import TargetNetwork

STEPS, ENVIRONMENTS, PREDICTIONS = 5, 3, 4  # the first two are those of `recorded`
CLOCK = Clock(jnp.int32(3), jnp.int32(12))
PLAIN = agents.tabular(actor_rate=1.0, critic_rate=1.0, clip=100.0)


def oracle(pi_hat, y_hat=None):
    """A network that answers with what it is told."""
    y_hat = jnp.zeros((*pi_hat.shape, PREDICTIONS), jnp.float32) if y_hat is None else y_hat
    return TargetNetwork(
        init=lambda key, inputs: (), embed=lambda theta, y: y[..., :1], apply=lambda theta, x, keep: (pi_hat, y_hat)
    )


@pytest.mark.parametrize("architecture", [PLAIN, agents.tabular()], ids=["plain", "groove"])
def test_with_a2cs_advantage_it_is_a2c(architecture):
    """Entropy 0, alpha_y 0, pi_hat the normalised advantage: the same policy update, also where the gradient is clipped."""
    antagonist = a2c(SPEC, architecture, entropy_weight=0.0)
    agent = antagonist.init_agent(jax.random.key(0))
    value, teach = critic(SPEC, architecture), jax.jit(antagonist.update)
    for seed in range(3):
        rollout = recorded(seed)
        pi_hat = normalise(value.advantage(agent.critic, rollout)[0])
        rule = lpg(SPEC, architecture, targets=oracle(pi_hat), predictions=PREDICTIONS, prediction_weight=0.0)
        student = rule.init_agent(jax.random.key(1))
        both = jax.tree.map(
            lambda mine, theirs: jnp.concatenate([theirs, mine[..., SPEC.actions :]], axis=-1),
            student.parameters,
            agent.actor.parameters,
        )
        student, _ = jax.jit(rule.update)(jax.random.key(0), (), student._replace(parameters=both), rollout, CLOCK)
        before = agent.actor.parameters
        agent, _ = teach(jax.random.key(0), (), agent, rollout, CLOCK)
        for name in ("table", "time"):
            got, want = student.parameters[name], agent.actor.parameters[name]
            np.testing.assert_allclose(got[..., : SPEC.actions], want, rtol=1e-6, atol=1e-6)
            assert jnp.array_equal(got[..., SPEC.actions :], both[name][..., SPEC.actions :])
            assert bool(jnp.any(want != before[name]))


def seen(rule_options, rollout, clock, parameters=None):
    """What the network is shown, f32[T, E, inputs], and keep; phi sums y with weights 1, 2, 3, ..."""
    shown = []

    def apply(theta, x, keep):
        shown.extend((x, keep))
        return jnp.zeros(keep.shape), jnp.zeros((*keep.shape, PREDICTIONS))

    def embed(theta, y):
        return jnp.sum(y * jnp.arange(1.0, 1.0 + y.shape[-1]).reshape((1,) * (y.ndim - 1) + (-1,)), -1, keepdims=True)

    rule = lpg(SPEC, PLAIN, targets=TargetNetwork(lambda k, n: n, embed, apply), predictions=PREDICTIONS, **rule_options)
    agent = rule.init_agent(jax.random.key(0))
    agent = agent if parameters is None else agent._replace(parameters=parameters)
    rule.update(jax.random.key(0), rule.init(jax.random.key(0)), agent, rollout, clock)
    assert shown[0].shape[-1] == rule.init(jax.random.key(0))
    return shown


def test_inputs_by_hand():
    """[r, d, gamma, pi(a|s), phi(y(s)), phi(y(s')), n/N, log N]; truncation is no d, but ends the recurrence's memory."""
    third, half = math.log(1 / 3), math.log(0.5)
    rows = [[half, half, -40, half, half, -40, -40]] + [[third] * 3 + [0.0] * 4] * 3  # actions, then predictions
    parameters = {"table": jnp.array(rows), "time": jnp.zeros(SPEC.actions + PREDICTIONS)}
    nothing = jnp.zeros((3, 1))
    rollout = Rollout(
        observation=jnp.array([[0], [1], [0]], jnp.int32),
        time=nothing,
        action=jnp.array([[0], [1], [1]], jnp.int32),
        reward=jnp.array([[2.0], [-1.0], [0.5]]),
        terminated=jnp.array([[False], [True], [False]]),
        truncated=jnp.array([[True], [False], [False]]),
        next_observation=jnp.array([[1], [0], [3]], jnp.int32),
        next_time=nothing,
    )
    x, keep = seen({"gamma": 0.75, "horizon": horizon.fraction_and_log}, rollout, CLOCK, parameters)
    # phi of (1/2, 1/2, 0, 0) is 1.5; of four quarters (1 + 2 + 3 + 4) / 4 = 2.5
    want = [
        [2.0, 0.0, 0.75, 1 / 2, 1.5, 2.5, 0.25, math.log(12)],
        [-1.0, 1.0, 0.75, 1 / 3, 2.5, 1.5, 0.25, math.log(12)],
        [0.5, 0.0, 0.75, 1 / 2, 1.5, 2.5, 0.25, math.log(12)],
    ]
    np.testing.assert_allclose(x[:, 0], want, rtol=1e-6, atol=1e-6)
    assert keep[:, 0].tolist() == [0.0, 0.0, 1.0]


def test_horizon_inputs():
    """Not raw counts: at n = N/2 they are the same for every N, but for log N."""
    for lifetime in (10, 250, 2500):
        clock = Clock(jnp.int32(lifetime // 2), jnp.int32(lifetime))
        assert horizon.none(clock).shape == (0,)
        assert horizon.fraction(clock).tolist() == [0.5]
        got = horizon.fraction_and_log(clock)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, [0.5, math.log(lifetime)], rtol=1e-6)
        np.testing.assert_allclose(horizon.scaled(clock), [0.0, math.log(lifetime / 30) / 3], rtol=1e-6)
        np.testing.assert_allclose(horizon.remaining(clock), [math.log(lifetime / 2)], rtol=1e-6)
    ends = [Clock(jnp.int32(n), jnp.int32(40)) for n in (0, 39)]
    assert [horizon.fraction(clock).tolist() for clock in ends] == [[0.0], [np.float32(39 / 40)]]
    assert bool(jnp.isfinite(horizon.remaining(Clock(jnp.int32(40), jnp.int32(40)))).all())


@pytest.mark.parametrize(
    ("update", "lifetime", "seen"), [(75, 300, 100), (1, 4, 5), (10, 40, 40), (1, 5, 5), (99, 100, 100)]
)
def test_no_other_lives_than_those_of_training_are_known(update: int, lifetime: int, seen: int):
    """At the same part of them; within the range nothing changes, to the last bit."""
    known = jax.jit(horizon.within(horizon.fraction_and_log, 5, 100))(Clock(jnp.int32(update), jnp.int32(lifetime)))
    assert known.tolist() == [np.float32(update / lifetime), jnp.log(jnp.float32(seen))]


@pytest.mark.parametrize(("name", "held"), [("scaled", True), ("fraction-and-log", False)])
def test_rules_of_runs_know_the_lives_of_their_run(name: str, held: bool):
    """By our own inputs; the papers' are what the papers say."""
    settings = config.smoke(config.preset("quick"))
    settings = dataclasses.replace(settings, rule=dataclasses.replace(settings.rule, horizon=name))
    settings = dataclasses.replace(settings, life=dataclasses.replace(settings.life, updates=(4, 16)))
    rule = assembly.learned_rule(settings, SPEC, PLAIN)
    theta, agent = rule.init(jax.random.key(0)), rule.init_agent(jax.random.key(1))
    update = jax.jit(lambda clock: rule.update(jax.random.key(2), theta, agent, recorded(3), clock)[1]["pi_hat_size"])
    short, long = (float(update(Clock(jnp.int32(lifetime // 2), jnp.int32(lifetime)))) for lifetime in (16, 64))
    assert (short == long) == held


def test_one_step_towards_the_prediction_by_hand():
    """y = (1/2, 1/2), y_hat = (1/4, 3/4): KL(y || y_hat) = log(4/3) / 2; its slope in y's logits is (1, -1) log(3) / 4.

    One step in one state, rate 1, alpha_y = 2: y's logits move by -(1, -1) log(3) / 2, the policy's not at all.
    """
    y_hat = jnp.log(jnp.array([[[0.25, 0.75]]]))
    rule = lpg(SPEC, PLAIN, targets=oracle(jnp.zeros((1, 1)), y_hat), predictions=2, prediction_weight=2.0)
    agent = rule.init_agent(jax.random.key(0))
    agent = agent._replace(parameters=jax.tree.map(jnp.zeros_like, agent.parameters))
    rollout = recorded(0, shape=(1, 1))._replace(observation=jnp.full((1, 1), 2, jnp.int32), time=jnp.zeros((1, 1)))
    after, info = jax.jit(rule.update)(jax.random.key(0), (), agent, rollout, CLOCK)
    want = np.zeros((4, 5))
    want[2, 3:] = -math.log(3) / 2, math.log(3) / 2
    np.testing.assert_allclose(after.parameters["table"], want, atol=1e-6)
    np.testing.assert_allclose(info["y_hat_square"], 1 / 16 + 9 / 16, rtol=1e-6)
    assert info["pi_hat_square"] == 0


def test_one_step_of_the_policy_by_hand():
    """Uniform over three actions, pi_hat = 3: the logit of the action taken moves by 3 * 2/3, the others by -3 * 1/3."""
    rule = lpg(SPEC, PLAIN, targets=oracle(jnp.full((1, 1), 3.0)), predictions=PREDICTIONS, prediction_weight=0.5)
    agent = rule.init_agent(jax.random.key(0))
    agent = agent._replace(parameters=jax.tree.map(jnp.zeros_like, agent.parameters))
    rollout = recorded(0, shape=(1, 1))._replace(
        observation=jnp.full((1, 1), 1, jnp.int32), time=jnp.zeros((1, 1)), action=jnp.full((1, 1), 2, jnp.int32)
    )
    after, info = jax.jit(rule.update)(jax.random.key(0), (), agent, rollout, CLOCK)
    np.testing.assert_allclose(after.parameters["table"][1], [-1, -1, 2, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(info["pi_hat_square"], 9.0)


def test_what_an_update_tells_by_hand():
    """pi_hat = -2 and 1; y_hat = (1/4, 3/4), of entropy log 4 - 3/4 log 3, and (1/2, 1/2), of entropy log 2."""
    y_hat = jnp.log(jnp.array([[[0.25, 0.75]], [[0.5, 0.5]]])) + 3.0  # logits: what is added to all says nothing
    rule = lpg(SPEC, PLAIN, targets=oracle(jnp.array([[-2.0], [1.0]]), y_hat), predictions=2)
    agent = jax.tree.map(jnp.zeros_like, rule.init_agent(jax.random.key(0)))
    info = jax.jit(rule.update)(jax.random.key(0), (), agent, recorded(0, shape=(2, 1)), CLOCK)[1]
    want = {
        "entropy": math.log(SPEC.actions),
        "pi_hat_size": 1.5,
        "pi_hat_square": 2.5,
        "y_hat_entropy": (math.log(4) - 0.75 * math.log(3) + math.log(2)) / 2,
        "y_hat_square": (10 / 16 + 1 / 2) / 2,
    }
    assert set(info) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(info[name], value, rtol=1e-6)


# ----- the meta-gradient, in float64, on recorded trajectories


def double(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def replayed(rule, updates):
    """A Lifetime whose rollouts were recorded beforehand: number n of the updates, then a fresh one."""
    rollouts = [recorded(10 + i, dtype=jnp.float64) for i in range(updates + 1)]
    rollouts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rollouts)

    def rollout(key, member, level):
        return member, jax.tree.map(lambda leaf: leaf[member.clock.update - 3], rollouts)

    def update(key, theta, member, level):
        rows = rollout(key, member, level)[1]
        agent, info = rule.update(key, theta, member.agent, rows, member.clock)
        clock = member.clock._replace(update=member.clock.update + 1)
        return member._replace(agent=agent, clock=clock), rows, info

    def begin(key, level, lifetime):
        return Member(double(rule.init_agent(key)), (), (), CLOCK)

    def evaluate(key, agent, level, wanted):
        return Outcome(jnp.float32(0), jnp.float32(0))

    return Lifetime(begin, rollout, update, lambda *arguments: (), evaluate)


def task(learn=True, count=1):
    minus = jnp.full(count, -1, jnp.int32)
    origin = Origin(minus, minus, minus, minus, jnp.zeros((count, 0)), jnp.full(count, learn))
    return Task((), jnp.full(count, 12, jnp.int32), (), (), origin)


UPDATES = 3


def meta(architecture, cell, **options):
    rule = lpg(
        SPEC,
        architecture,
        targets=recurrent_targets(width=4, predictions=PREDICTIONS, cell=cell),
        predictions=PREDICTIONS,
        horizon=horizon.fraction_and_log,
        **options,
    )
    stage = FamilySetup(rule, replayed(rule, UPDATES), critic(SPEC, PLAIN))
    strong = Weights(entropy=0.5, prediction_entropy=0.3, policy_target=0.7, prediction_target=0.2)  # so that each counts
    return rule, gradient((stage,), optax.sgd(1.0), updates=UPDATES, weights=strong)


def meta_gradient(architecture, cell, **options):
    """Theta, its meta-gradient by the library, and the meta-loss as a function of theta."""
    rule, optimizer = meta(architecture, cell, **options)
    theta = double(rule.init(jax.random.key(2)))
    live = optimizer.begin(jax.random.key(3), (task(),))
    step = jax.jit(lambda theta: optimizer.step(jax.random.key(4), optimizer.init(jax.random.key(0), theta), live))
    state = step(theta)[0]
    slope = jax.tree.map(lambda old, new: old - new, theta, optimizer.theta(state))
    return theta, slope, lambda theta: float(step(theta)[3]["meta_loss"])


def difference(theta, loss, direction, size):
    ahead, behind = (jax.tree.map(lambda x, d, s=s: x + s * size * d, theta, direction) for s in (1, -1))
    return (loss(ahead) - loss(behind)) / (2 * size)


CASES = {
    "gru": (PLAIN, recurrent.gru),
    "lstm-clipped": (agents.tabular(), recurrent.lstm),
}


@pytest.mark.parametrize("case", CASES)
def test_meta_gradient_equals_finite_differences(case):
    """Through three updates and a fresh rollout, in float64: along random directions, and along each leaf.

    A central difference of width h errs by O(h^2) = 1e-10 and by rounding O(1e-16 / h) = 1e-11.
    """
    with jax.enable_x64(True):
        theta, slope, loss = meta_gradient(*CASES[case])
        theta, slope = jax.device_get((theta, slope))
        leaves, tree = jax.tree.flatten(theta)
        chance = np.random.default_rng(3)
        noise = [chance.normal(size=leaf.shape) for leaf in leaves]
        directions = [noise] + [[n * (i == j) for j, n in enumerate(noise)] for i in range(len(noise))]
        for direction in directions:
            direction = jax.tree.unflatten(tree, direction)
            want = difference(theta, loss, direction, 1e-5)
            got = sum(jax.tree.leaves(jax.tree.map(lambda s, d: np.sum(s * d), slope, direction)))
            assert abs(want) > 1e-6
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8)


def test_gradients_reach_what_is_regularised_and_stop_at_what_is_looked_at():
    looked_at = ("entropy", "pi_hat_size", "y_hat_entropy", "value_loss")
    updates = {name: jnp.float32(0.7) for name in (*REGULARISED, *looked_at)}
    slope = jax.grad(lambda updates: regulariser(Weights(), {"entropy": 0.3, "y_entropy": 0.2}, updates))(updates)
    assert {name for name, value in slope.items() if value} == set(REGULARISED)


def test_stopping_the_inputs_changes_the_gradient_only():
    with jax.enable_x64(True):
        theta, slope, loss = meta_gradient(*CASES["gru"])
        _, stopped, stopped_loss = meta_gradient(*CASES["gru"], stop_inputs=True)
        assert loss(theta) == stopped_loss(theta)
        worlds = zip(jax.tree.leaves(slope), jax.tree.leaves(stopped), strict=True)
        assert all(bool(jnp.any(a != b)) for a, b in worlds)


def test_stopping_the_inputs_blocks_their_path():
    """pi_hat is the input pi: d(new agent)/d(old agent) with the path blocked is that of a constant pi_hat."""
    rollout = recorded(0)
    echo = TargetNetwork(
        lambda key, inputs: (), lambda theta, y: y[..., :1], lambda t, x, keep: (x[..., 3], jnp.zeros((*keep.shape, 4)))
    )

    def jacobian(targets, stop):
        rule = lpg(SPEC, PLAIN, targets=targets, predictions=PREDICTIONS, stop_inputs=stop)
        agent = rule.init_agent(jax.random.key(0))

        def after(parameters):
            return rule.update(jax.random.key(0), (), agent._replace(parameters=parameters), rollout, CLOCK)[0].parameters

        return jax.jit(jax.jacobian(after))(agent.parameters)["table"]["table"]

    constant = seen({}, rollout, CLOCK)[0][..., 3]  # of the same untrained agent
    np.testing.assert_allclose(jacobian(echo, True), jacobian(oracle(constant), False), atol=1e-6)
    assert float(jnp.max(jnp.abs(jacobian(echo, False) - jacobian(echo, True)))) > 1e-2


def test_y_is_as_wide_as_that_of_the_targets():
    rule = lpg(SPEC, targets=recurrent_targets(width=3, predictions=5))
    agent = jax.eval_shape(rule.init_agent, jax.random.key(0))
    assert agent.parameters["table"].shape[-1] == SPEC.actions + 5
    theta = jax.eval_shape(rule.init, jax.random.key(0))
    learned = jax.eval_shape(rule.update, jax.random.key(0), theta, agent, recorded(0), CLOCK)[0]
    assert jax.tree.map(jnp.shape, learned) == jax.tree.map(jnp.shape, agent)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lpg(SPEC, gamma=-0.1), "gamma"),
        (lambda: lpg(SPEC, prediction_weight=-1.0), "prediction_weight must be at least 0, got -1.0"),
        (lambda: lpg(SPEC, prediction_weight=math.nan), "prediction_weight"),
        (lambda: recurrent_targets(width=0), "width and predictions must be at least 1, got 0 and 8"),
        (lambda: recurrent_targets(predictions=0), "width and predictions must be at least 1, got 256 and 0"),
        (lambda: lpg(SPEC, predictions=0), "width and predictions must be at least 1, got 256 and 0"),
        (
            lambda: lpg(SPEC, targets=recurrent_targets(predictions=5), predictions=8),
            "predictions must be the width of the targets' y, 5, got 8",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
