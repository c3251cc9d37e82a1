"""What LPG's push is made of: slopes and correlations by hand, on rollouts and rules whose every number is known."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import SPEC, recorded

from groove.base import Rollout
from groove.lifetime import credit as credits
from groove.lifetime import lifetime, sampled
from groove.nets.agents import tabular
from groove.nets.categorical import entropy
from groove.nets.critic import critic
from groove.report import ages
from groove.report.credits import picture
from groove.rules import horizon, lpg, lpg_answers, random_policy, recurrent_targets
from groove.runs import plain
from levels.bandit import BanditLevel, bernoulli_bandit

FAMILY = bernoulli_bandit(arms=2, pulls=(3, 3))
LEVELS = BanditLevel(jnp.array([[0.3, 0.8], [0.6, 0.1]]), jnp.zeros(2), jnp.full(2, 2, jnp.int32), jnp.full(2, 3, jnp.int32))


def fading(weights: np.ndarray):
    """A push that sums weights[k] r_{t+k} over the rest of the rollout, whatever episodes end in between."""

    def push(reward):
        steps = reward.shape[0]
        later = jnp.asarray([[weights[j - t] if j >= t else 0.0 for j in range(steps)] for t in range(steps)], jnp.float32)
        return later @ reward

    return push


def ending(*at: tuple[int, int], steps: int = 4, environments: int = 2) -> Rollout:
    """A rollout in which episodes end with these steps, (time, environment), by turns terminated and truncated."""
    rollout = recorded(1, (steps, environments))
    terminated, truncated = np.zeros((2, steps, environments), bool)
    for place, where in enumerate(at):
        (terminated, truncated)[place % 2][where] = True
    return rollout._replace(terminated=jnp.asarray(terminated), truncated=jnp.asarray(truncated))


def test_a_profile_by_hand():
    """Over pairs of steps of one episode alone: one environment ends after steps 1 and 2, then both after step 1."""
    weights = np.array([5.0, -3.0, 2.0, 0.5])
    sums, pairs = jax.jit(lambda rollout: credits.profile(fading(weights), rollout))(ending((1, 0), (2, 0)))
    assert pairs.tolist() == [8, 1 + 3, 2, 1]
    np.testing.assert_allclose(sums, weights * [8, 4, 2, 1], rtol=1e-6)
    sums, pairs = jax.jit(lambda rollout: credits.profile(fading(weights), rollout))(ending((1, 0), (1, 1)))
    assert pairs.tolist() == [8, 4, 0, 0] and sums.tolist() == [40, -12, 0, 0]


def told(answers, **settings) -> credits.Credit:
    """Of agents that play at random, and a critic that learns beside them."""
    rule = random_policy(FAMILY.environment.spec)
    life = lifetime(
        rule, FAMILY.environment, steps=6, environments=3, evaluate=sampled(rule, FAMILY.environment, episodes=1)
    )
    watching = critic(FAMILY.environment.spec, tabular(critic_rate=0.5), gamma=0.9, lambda_=0.5)
    return credits.credit(answers, life, watching, jax.random.key(3), (), LEVELS, decay=0.45, **settings)


def test_credit_by_age():
    """A push of (n + 1) r_t + N r_{t+1} within an episode: those are its slopes, at the first, middle and last update."""

    def answers(theta, agent, rollout, clock):
        later = jnp.append(rollout.reward[1:], jnp.zeros_like(rollout.reward[:1]), axis=0)
        return (clock.update + 1) * rollout.reward + clock.lifetime * jnp.where(rollout.ended, 0.0, later), None

    found = told(answers, lifetime=8)
    assert found.lifetime == 8 and found.decay == 0.45 and found.age.tolist() == [0, 0.5, 7 / 8]
    assert found.profile[:, :3].tolist() == [[1, 8, 0], [5, 8, 0], [8, 8, 0]]
    assert np.isnan(found.profile[:, 3:]).all()  # no episode has more than three steps
    assert found.advantage.shape == (2 * 6 * 3,) and found.push.shape == (3, 36)
    for push, correlation in zip(found.push, found.correlation, strict=True):
        assert correlation == pytest.approx(np.corrcoef(push, found.advantage)[0, 1], rel=1e-5)
    assert len({*found.correlation.tolist()}) == 3 and np.isfinite(found.correlation).all()


def test_advantages_are_of_a_critic_that_has_learned(monkeypatch: pytest.MonkeyPatch):
    """For half a life: its advantages are smaller than at birth, where V is 0. No more steps are kept than are drawn."""
    rewards = lambda theta, agent, rollout, clock: (rollout.reward, None)  # noqa: E731
    long, short = told(rewards, lifetime=80), told(rewards, lifetime=1)
    assert np.mean(np.abs(long.advantage)) < 0.8 * np.mean(np.abs(short.advantage))
    assert short.age.tolist() == [0, 0, 0]
    constant = told(lambda theta, agent, rollout, clock: (jnp.ones_like(rollout.reward), None), lifetime=2)
    assert np.isnan(constant.correlation).all() and np.nanmax(np.abs(constant.profile)) == 0
    monkeypatch.setattr(credits, "SHOWN", 5)
    few = told(rewards, lifetime=80)
    assert few.advantage.tolist() == long.advantage[[0, 8, 17, 26, 35]].tolist()
    assert few.push.tolist() == long.push[:, [0, 8, 17, 26, 35]].tolist()
    assert few.correlation.tolist() == long.correlation.tolist()


def test_answers_are_those_of_updates():
    """What an update says of pi_hat and y_hat is said of the answers, horizon and gamma included."""
    settings = {"gamma": 0.7, "horizon": horizon.fraction_and_log}
    targets = recurrent_targets(width=5, predictions=3, head_scale=1.0)
    architecture = tabular()
    rule = lpg(SPEC, architecture, targets=targets, **settings)
    answers = lpg_answers(SPEC, architecture, targets=targets, **settings)
    key, rollout = jax.random.key(2), recorded(4)
    theta, agent = rule.init(key), rule.init_agent(key)
    for update in (0, 6):
        clock = jnp.int32(update), jnp.int32(9)
        clock = credits.Clock(*clock)
        _, info = jax.jit(rule.update)(key, theta, agent, rollout, clock)
        pi_hat, y_hat = jax.jit(answers)(theta, agent, rollout, clock)
        assert pi_hat.shape == (5, 3) and y_hat.shape == (5, 3, 3)
        np.testing.assert_allclose(jnp.mean(jnp.abs(pi_hat)), info["pi_hat_size"], rtol=1e-5)
        np.testing.assert_allclose(jnp.mean(jnp.square(pi_hat)), info["pi_hat_square"], rtol=1e-5)
        np.testing.assert_allclose(jnp.mean(entropy(y_hat)), info["y_hat_entropy"], rtol=1e-5)


def row() -> credits.Credit:
    """Credit that halves within two steps at first, and never at last."""
    profile = np.array([[4.0, 3.0, 1.0], [4.0, 3.0, 3.0]])
    push = np.array([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.0, 0.0, 1.0]])
    return credits.Credit(22, 0.5, np.array([0.0, 0.9]), profile, np.array([0.25, np.nan]), np.arange(4.0), push)


def test_a_picture_says_what_it_shows(monkeypatch: pytest.MonkeyPatch):
    figures = []
    monkeypatch.setattr("groove.report.credits.finished", lambda figure: figures.append(figure) or b"")
    found = picture("gridworld", row(), 0, ["Told."])
    assert found.name == "credit-gridworld" and found.caption.endswith(
        "a life of 22 updates: r = 0.25 at 0, r = nan at 0.9. Told."
    )
    assert found.alt == (
        "What LPG's push on gridworld is made of. n/N = 0: half of a reward's credit is gone after 2 steps, r = 0.25; "
        "n/N = 0.9: credit does not halve, r = nan."
    )
    left, right = figures[0].axes
    drawn = {line.get_label(): line.get_ydata().tolist() for line in left.get_lines()[1:]}
    assert drawn == {"n/N = 0": [4, 3, 1], "n/N = 0.9": [4, 3, 3], "GAE": [4, 2, 1]}
    dots = [line.get_xydata().tolist() for line in right.get_lines()[1:]]
    assert dots == [[list(pair) for pair in zip(np.arange(4.0), push, strict=True)] for push in row().push]
    assert (left.get_xlabel(), left.get_ylabel()) == ("k, in steps", "d pi_hat / d reward")
    assert (right.get_xlabel(), right.get_ylabel()) == ("advantage by GAE", "pi_hat")


def page(**changes: object) -> str:
    """A file of schedules with nothing but credit."""
    rows = {"gridworld": {**plain(row()), **changes}}
    return json.dumps({"courses": {}, "responses": {}, "drifts": [], "ratios": [1.0], "credits": rows}, allow_nan=False)


def test_credit_comes_back_from_its_file(tmp_path: Path):
    file = tmp_path / "schedules.json"
    file.write_text(page())
    found = ages.read(file)
    jax.tree.map(np.testing.assert_array_equal, found.credits, {"gridworld": row()})
    (drawn,) = ages.pictures(found)
    assert drawn.name == "credit-gridworld"
    file.write_text(json.dumps({**json.loads(page()), "credits": {}}))
    assert not ages.read(file).credits


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": [1.0, 2.0]},
        {"profile": [[1.0, 2.0], [1.0]]},
        {"profile": [[], []]},
        {"correlation": [1.0]},
        {"advantage": []},
        {"push": [[1.0] * 4]},
        {"push": [[1e300] * 4] * 2},
        {"age": "x"},
        {"lifetime": 1.5},
        {"decay": None},
    ],
)
def test_damaged_credit_is_named(tmp_path: Path, changes: dict[str, object]):
    file = tmp_path / "schedules.json"
    file.write_text(page(**changes))
    with pytest.raises(ValueError, match=r"^schedules.json is damaged \("):
        ages.read(file)
