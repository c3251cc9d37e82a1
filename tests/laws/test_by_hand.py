"""Every term of critics, rules and of the meta-loss in float64, on rollouts without a 0 and without two equal numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import (
    ACTIONS,
    GAMMA,
    LAMBDA,
    SPEC,
    advantage,
    chosen,
    close,
    critic_loss,
    descended,
    entropy,
    log_softmax,
    normalised,
    outputs_of,
    rollout,
    single,
    tables,
    taught,
)

from groove.base import Clock, Origin, Outcome, Task, UpdateRule
from groove.lifetime import Lifetime, Member
from groove.meta import AgentState, FamilySetup, Weights, gradient
from groove.nets import agents
from groove.nets.agents import TrainState
from groove.nets.categorical import entropy as entropy_of
from groove.nets.critic import critic, over_steps
from groove.rules import a2c, dpo, horizon, lpg, lpo, ppo
from groove.rules.a2c import ActorCritic
from groove.rules.lpg import TargetNetwork

ACTOR, CRITIC = 3.5, 0.35
"""Learning rates."""
PLAIN = agents.tabular(actor_rate=ACTOR, critic_rate=CRITIC, clip=1e6)
STEPS = {"gamma": GAMMA, "lambda_": LAMBDA}
CLOCK = Clock(np.int32(3), np.int32(11))
ENTROPY = 0.17


def learner(parameters) -> TrainState:
    return agents.begin(PLAIN.actor, single(parameters))


def test_critics():
    rows, parameters, value = rollout(1), tables(2, 1), critic(SPEC, PLAIN, **STEPS)

    @jax.jit
    def once(start, rows):
        found = value.advantage(start, rows)
        return found, value.update(start, rows, found[1])

    start = agents.begin(PLAIN.critic, single(parameters))
    found, (after, loss) = once(start, rows)
    want = advantage(parameters, rows)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss, critic_loss(rows, want[1])(parameters), rtol=1e-4)
    close(after.parameters, taught(parameters, rows, CRITIC))


# Rules


def policy_loss(rows, scaled):
    def loss(actor):
        logits = outputs_of(actor, rows.observation, rows.time)
        return -np.mean(chosen(logits, rows.action) * scaled) - ENTROPY * np.mean(entropy(logits))

    return loss


def ppo_drift(ratio, scaled):
    return np.maximum((ratio - np.clip(ratio, 0.9, 1.1)) * scaled, 0)


def dpo_drift(ratio, scaled):
    gain, loss = (ratio - 1) * scaled, np.log(ratio) * scaled
    return np.maximum(np.where(scaled >= 0, gain - 0.5 * np.tanh(gain / 0.5), loss - 0.25 * np.tanh(loss / 0.25)), 0)


THETA = {
    "hidden": np.random.default_rng(5).permutation(np.linspace(-0.9, 1.1, 16 * 3)).reshape(16, 3).astype(np.float32),
    "output": np.float32([[0.6], [-0.4], [0.9]]),
}
AGE = 3 / 11


def lpo_drift(ratio, scaled):
    """PPO's drift and a net of what vanishes at r = 1, alone and times the age."""
    plain = (np.log(ratio), np.log(ratio) ** 2, 1 - ratio, (1 - ratio) ** 2)
    base = np.stack([*plain, *(scaled * x for x in plain)], -1)
    net = np.tanh(np.concatenate([base, AGE * base], -1) @ THETA["hidden"]) @ THETA["output"]
    return np.maximum(ppo_drift(ratio, scaled) + net[..., 0] - 1e-4, 0)


def proximal(actor, value, rows, drift, epochs: int):
    """Epochs of one minibatch each: the order of steps does not matter."""
    scaled, target = normalised(advantage(value, rows)[0]), advantage(value, rows)[1]
    played = chosen(outputs_of(actor, rows.observation, rows.time), rows.action)

    def loss(actor):
        logits = outputs_of(actor, rows.observation, rows.time)
        ratio = np.exp(chosen(logits, rows.action) - played)
        return np.mean(drift(ratio, scaled) - ratio * scaled) - ENTROPY * np.mean(entropy(logits))

    for _ in range(epochs):
        actor = descended(actor, loss, (1 - AGE) * ACTOR)
        value = descended(value, critic_loss(rows, target), (1 - AGE) * CRITIC)
    return actor, value


PROXIMAL = {"epochs": 3, "minibatches": 1, "entropy_weight": ENTROPY, **STEPS}
RULES = {
    "a2c": (a2c(SPEC, PLAIN, entropy_weight=ENTROPY, **STEPS), ()),
    "ppo": (ppo(SPEC, PLAIN, clip=0.1, **PROXIMAL), ()),
    "dpo": (dpo(SPEC, PLAIN, alpha=0.5, beta=0.25, **PROXIMAL), ()),
    "lpo": (lpo(SPEC, PLAIN, width=3, horizon=horizon.fraction, ppo_start=True, clip=0.1, **PROXIMAL), THETA),
}
DRIFTS = {"ppo": ppo_drift, "dpo": dpo_drift, "lpo": lpo_drift}


@pytest.mark.parametrize("name", RULES)
def test_actors_with_critics(name):
    """One update. For those with a drift three steps, of which the first sees r = 1."""
    rule, theta = RULES[name]
    rows, actor, value = rollout(1), tables(3, ACTIONS), tables(2, 1)
    agent = ActorCritic(learner(actor), agents.begin(PLAIN.critic, single(value)))
    after, info = jax.jit(rule.update)(jax.random.key(0), theta, agent, rows, CLOCK)
    if name == "a2c":
        scaled = normalised(advantage(value, rows)[0])
        want = descended(actor, policy_loss(rows, scaled), ACTOR), taught(value, rows, CRITIC)
        np.testing.assert_allclose(
            info["entropy"], entropy(outputs_of(actor, rows.observation, rows.time)).mean(), rtol=1e-4
        )
    else:
        want = proximal(actor, value, rows, DRIFTS[name], 3)
        assert info["ratio_deviation"] > 0.1 and info["drift"] > 0.001
    close(after.actor.parameters, want[0])
    close(after.critic.parameters, want[1])


PREDICTIONS, WEIGHT = 2, 0.37
PI_HAT = np.float32([[0.7, -1.3], [2.1, 0.4], [-0.9, 1.7], [0.3, -2.3]])
Y_HAT = np.random.default_rng(4).permutation(np.linspace(-1.7, 1.9, 16)).reshape(4, 2, 2).astype(np.float32)


def test_one_update_of_lpg():
    """mean(-log pi(a|s) pi_hat + alpha KL(y || y_hat)), pi_hat and y_hat given."""
    targets = TargetNetwork(lambda key, inputs: (), lambda theta, y: y[..., :1], lambda theta, x, keep: (PI_HAT, Y_HAT))
    rule = lpg(SPEC, PLAIN, targets=targets, predictions=PREDICTIONS, prediction_weight=WEIGHT)
    rows, parameters = rollout(1), tables(6, ACTIONS + PREDICTIONS)
    after, _ = jax.jit(rule.update)(jax.random.key(0), (), learner(parameters), rows, CLOCK)

    def loss(actor):
        both = outputs_of(actor, rows.observation, rows.time)
        log_y, log_hat = log_softmax(both[..., ACTIONS:]), log_softmax(np.float64(Y_HAT))
        divergence = np.sum(np.exp(log_y) * (log_y - log_hat), -1)
        return np.mean(-chosen(both[..., :ACTIONS], rows.action) * PI_HAT + WEIGHT * divergence)

    close(after.parameters, descended(parameters, loss, ACTOR))


@functools.cache
def column_of_lpg(*, stopped: bool):
    """`(theta f32[8], agent, rollout) -> (x theta f32[T, E], gradient of its mean square in the agent's parameters)`."""

    def apply(theta, x, keep):
        column = x @ theta
        return column, jnp.zeros((*column.shape, PREDICTIONS))

    targets = TargetNetwork(lambda key, inputs: (), lambda theta, y: y @ jnp.float32([[0.7], [-1.9]]), apply)
    rule = lpg(
        SPEC,
        PLAIN,
        targets=targets,
        predictions=PREDICTIONS,
        gamma=0.62,
        horizon=horizon.fraction_and_log,
        stop_inputs=stopped,
    )

    def square(parameters, theta, rows):
        return rule.update(jax.random.key(0), theta, agents.begin(PLAIN.actor, parameters), rows, CLOCK)[1]["pi_hat_square"]

    return jax.jit(jax.vmap(jax.value_and_grad(square), (None, 0, None)))


@pytest.mark.parametrize("stopped", [False, True])
def test_what_lpg_sees(stopped):
    """Each input's mean square, times included; its gradient reaches the agent through pi, y, y' unless stopped."""
    rows, parameters = rollout(1), tables(6, ACTIONS + PREDICTIONS)
    both = outputs_of(parameters, rows.observation, rows.time)
    following = outputs_of(parameters, rows.next_observation, rows.next_time)
    phi = np.float64([0.7, -1.9])
    shape = rows.reward.shape
    want = [
        rows.reward,
        rows.terminated,
        np.full(shape, 0.62),
        np.exp(chosen(both[..., :ACTIONS], rows.action)),
        np.exp(log_softmax(both[..., ACTIONS:])) @ phi,
        np.exp(log_softmax(following[..., ACTIONS:])) @ phi,
        np.full(shape, 3 / 11),
        np.full(shape, np.log(11)),
    ]
    got, slopes = column_of_lpg(stopped=stopped)(single(parameters), np.eye(8, dtype=np.float32), rows)
    np.testing.assert_allclose(got, [np.mean(np.float64(column) ** 2) for column in want], rtol=1e-4)
    reached = np.abs(slopes["table"]).max((1, 2)) > 1e-6
    assert reached.tolist() == [not stopped and place in (3, 4, 5) for place in range(8)]


# The meta-gradient

BETAS = Weights(entropy=0.31, prediction_entropy=0.23, policy_target=0.47, prediction_target=0.13)
LIVES = {"ages": (10, 3, 5), "lifetimes": (12, 23, 17), "learn": (True, True, False)}
"""Three members: the first lives on for two of three updates; nothing is learned from the third."""
UPDATES = 3
PULL = np.float32([[0.6, -0.4], [0.3, 0.8], [-0.7, 0.5]])


def toy_rule() -> UpdateRule:
    """Agents f32[observations, actions] that theta pulls along, the more the higher the reward."""

    def policy(agent, observation, time):
        return agent[observation] * (1 + time)

    def update(key, theta, agent, rollout, clock):
        reward = jnp.mean(rollout.reward)
        info = {"pi_hat_square": theta**2 * reward**2, "y_hat_square": jnp.sin(theta) ** 2 * (1 + reward)}
        return agent + theta * reward * PULL, {**info, "entropy": jnp.float32(99.0)}

    def diagnose(agent, rollout):
        spread = entropy_of(over_steps(policy)(agent, rollout.observation, rollout.time))
        return {"entropy": jnp.mean(spread), "y_entropy": jnp.mean(jnp.tanh(agent))}

    return UpdateRule(lambda key: jnp.float32(0.0), lambda key: jnp.zeros_like(PULL), policy, update, diagnose)


AGENTS = np.stack([PULL + 0.11, PULL.T.reshape(3, 2) - 0.23, 0.37 - PULL])


def played(members: int):
    """Rollouts [members, updates + 1, ...], no two alike."""
    rows = [rollout(10 + number) for number in range(members * (UPDATES + 1))]
    return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(members, UPDATES + 1, *leaves[0].shape), *rows)


def toy_life(rule: UpdateRule) -> Lifetime:
    """A level is a member's rollouts; the state of its environment counts those that it has seen."""

    def rollout(key, member, level):
        return member, jax.tree.map(lambda leaf: leaf[member.state], level)

    def update(key, theta, member, level):
        rows = rollout(key, member, level)[1]
        agent, info = rule.update(key, theta, member.agent, rows, member.clock)
        alive = member.clock.update < member.clock.lifetime
        clock = member.clock._replace(update=member.clock.update + alive)
        return Member(jnp.where(alive, agent, member.agent), member.state + 1, (), clock), rows, info

    nothing = lambda key, agent, level, wanted: Outcome(jnp.float32(0), jnp.float32(0))  # noqa: E731
    return Lifetime(None, rollout, update, None, nothing)


def meta_loss(theta: float, member: int, rows, value) -> float:
    """Of one member; `value` is its critic before."""
    age, lifetime = LIVES["ages"][member], LIVES["lifetimes"][member]
    agent, infos = np.float64(AGENTS[member]), []
    for number in range(UPDATES):
        if age + number < lifetime:
            own = jax.tree.map(lambda leaf, number=number: leaf[member, number], rows)
            reward = np.float64(own.reward).mean()
            infos.append((theta**2 * reward**2, np.sin(theta) ** 2 * (1 + reward)))
            agent, value = agent + theta * reward * PULL, taught(value, own, CRITIC)
    fresh = jax.tree.map(lambda leaf: leaf[member, UPDATES], rows)
    logits = agent[fresh.observation] * (1 + np.float64(fresh.time))[..., None]
    policy = -np.mean(chosen(logits, fresh.action) * normalised(advantage(value, fresh)[0]))
    squares = np.mean(infos, axis=0)
    bonus = BETAS.entropy * entropy(logits).mean() + BETAS.prediction_entropy * np.tanh(agent).mean()
    return policy + BETAS.policy_target * squares[0] + BETAS.prediction_target * squares[1] - bonus


def critic_after(member: int, rows, value):
    """It learns from the updates of a life, not after its end, and from the fresh rollout."""
    alive = min(UPDATES, LIVES["lifetimes"][member] - LIVES["ages"][member])
    for number in (*range(alive), UPDATES):
        value = taught(value, jax.tree.map(lambda leaf, number=number: leaf[member, number], rows), CRITIC)
    return value


@functools.cache
def meta_step():
    """Theta's slope, the critics after, and the mean of the meta-losses, of one meta-step from theta 0.43."""
    rule, rows = toy_rule(), played(3)
    value = critic(SPEC, PLAIN, **STEPS)
    stage = FamilySetup(rule, toy_life(rule), value)
    optimizer = gradient((stage,), optax.sgd(1.0), updates=UPDATES, weights=BETAS, per_life=True)
    minus = jnp.full(3, -1, jnp.int32)
    origin = Origin(minus, minus, minus, minus, jnp.zeros((3, 0)), jnp.array(LIVES["learn"]))
    clocks = Clock(jnp.array(LIVES["ages"], jnp.int32), jnp.array(LIVES["lifetimes"], jnp.int32))
    task = Task(rows, clocks.lifetime, (), (), origin)
    critics = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(single(tables(20 + member, 1)) for member in range(3)))
    member = Member(jnp.asarray(AGENTS, jnp.float32), jnp.zeros(3, jnp.int32), (), clocks)
    players = AgentState(task, member, jax.vmap(lambda own: agents.begin(PLAIN.critic, own))(critics))

    @jax.jit
    def step(theta, players):
        state, live, _, info = optimizer.step(jax.random.key(1), optimizer.init(jax.random.key(0), theta), (players,))
        return theta - optimizer.theta(state), live[0].critic.parameters, info["meta_loss"]

    return step(jnp.float32(0.43), players)


def test_the_meta_gradient_and_its_critics():
    """Three members' losses, weighted by 1 / N, and their slope; every weight lies between 0 and 1, and no two are alike."""
    rows, (slope, critics, loss) = played(3), meta_step()
    starts = [tables(20 + member, 1) for member in range(3)]
    losses = [functools.partial(meta_loss, member=m, rows=rows, value=starts[m]) for m in range(3)]
    np.testing.assert_allclose(loss, np.mean([one(0.43) for one in losses]), rtol=1e-4)
    share = 1 / np.float64(LIVES["lifetimes"])
    share = share / share.mean() * np.array(LIVES["learn"])
    slopes = [(one(0.43 + 1e-5) - one(0.43 - 1e-5)) / 2e-5 for one in losses]
    np.testing.assert_allclose(slope, np.mean(share * slopes), rtol=1e-3)
    for member in range(3):
        close({name: leaf[member] for name, leaf in critics.items()}, critic_after(member, rows, starts[member]), 1e-3)
