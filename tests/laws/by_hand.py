"""Rollouts without a 0 and without two equal numbers, and what agents of rows and times are worth on them, in float64.

An agent is a table: f(s, t) = row of s + t times a vector. Gradients are central differences.
"""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from groove.base import Rollout
from levels.base import Discrete, Spec

OBSERVATIONS, ACTIONS = 3, 2
SPEC = Spec(Discrete(OBSERVATIONS), time=True, actions=ACTIONS, episode_limit=9, noise=0, reset_noise=0)
STEPS, ENVIRONMENTS = 4, 2
GAMMA, LAMBDA = 0.83, 0.71

Tables = dict[str, np.ndarray]


def rollout(seed: int) -> Rollout:
    """Four steps in two environments, of which one terminates in its second step and the other is cut off in its third."""
    random, shape = np.random.default_rng(seed), (STEPS, ENVIRONMENTS)
    number = random.permutation(np.arange(1, 25)).reshape(3, *shape).astype(np.float32)
    sign = random.choice(np.float32([-1, 1]), shape)
    terminated, truncated = np.zeros(shape, bool), np.zeros(shape, bool)
    terminated[1, 0] = truncated[2, 1] = True
    seen, action, following = (random.integers(0, high, shape, np.int32) for high in (OBSERVATIONS, ACTIONS, OBSERVATIONS))
    seen.flat[:OBSERVATIONS], action.flat[:ACTIONS] = range(OBSERVATIONS), range(ACTIONS)
    return Rollout(
        seen,
        number[0] / 16,
        action,
        sign * number[1] / 8,
        terminated,
        truncated,
        following,
        number[2] / 16 + np.float32(0.03),
    )


def tables(seed: int, outputs: int) -> Tables:
    """Parameters of an agent, no two alike."""
    random = np.random.default_rng(seed)
    numbers = random.permutation(np.arange(1, 1 + (OBSERVATIONS + 1) * outputs)) / 7.0
    signed = (numbers * random.choice([-1, 1], numbers.size)).astype(np.float32).astype(np.float64)
    return {"table": signed[outputs:].reshape(OBSERVATIONS, outputs), "time": signed[:outputs]}


def single(parameters: Tables) -> Tables:
    """The same in float32, as agents have them."""
    return {name: leaf.astype(np.float32) for name, leaf in parameters.items()}


def outputs_of(parameters: Tables, seen: np.ndarray, time: np.ndarray) -> np.ndarray:
    return parameters["table"][seen] + np.float64(time)[..., None] * parameters["time"]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def entropy(logits: np.ndarray) -> np.ndarray:
    return -np.sum(np.exp(log_softmax(logits)) * log_softmax(logits), -1)


def chosen(logits: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Log-probabilities of actions."""
    return np.take_along_axis(log_softmax(logits), action[..., None], -1)[..., 0]


def values(critic: Tables, rows: Rollout) -> np.ndarray:
    return outputs_of(critic, rows.observation, rows.time)[..., 0]


def advantage(critic: Tables, rows: Rollout) -> tuple[np.ndarray, np.ndarray]:
    """GAE and targets, step by step from the last."""
    now, then = values(critic, rows), outputs_of(critic, rows.next_observation, rows.next_time)[..., 0]
    found, following = np.zeros((STEPS, ENVIRONMENTS)), np.zeros(ENVIRONMENTS)
    for t in reversed(range(STEPS)):
        delta = rows.reward[t] + GAMMA * np.where(rows.terminated[t], 0, then[t]) - now[t]
        following = delta + GAMMA * LAMBDA * np.where(rows.terminated[t] | rows.truncated[t], 0, following)
        found[t] = following
    return found, found + now


def normalised(numbers: np.ndarray) -> np.ndarray:
    return (numbers - numbers.mean()) / numbers.std()


def slope(loss: Callable[[Tables], float], parameters: Tables, size: float = 1e-5) -> Tables:
    """The gradient of a loss, by central differences."""
    found = {name: np.zeros_like(leaf) for name, leaf in parameters.items()}
    for name, leaf in parameters.items():
        for place in np.ndindex(leaf.shape):
            ends = []
            for sign in (1, -1):
                moved = {other: array.copy() for other, array in parameters.items()}
                moved[name][place] += sign * size
                ends.append(loss(moved))
            found[name][place] = (ends[0] - ends[1]) / (2 * size)
    return found


def descended(parameters: Tables, loss: Callable[[Tables], float], rate: float) -> Tables:
    """One step of plain gradient descent."""
    by = slope(loss, parameters)
    return {name: leaf - rate * by[name] for name, leaf in parameters.items()}


def critic_loss(rows: Rollout, target: np.ndarray) -> Callable[[Tables], float]:
    return lambda critic: 0.5 * np.mean((values(critic, rows) - target) ** 2)


def taught(critic: Tables, rows: Rollout, rate: float) -> Tables:
    """A critic after one step towards its targets."""
    return descended(critic, critic_loss(rows, advantage(critic, rows)[1]), rate)


def close(got: dict, want: Tables, tolerance: float = 2e-4) -> None:
    for name, leaf in want.items():
        np.testing.assert_allclose(got[name], leaf, rtol=tolerance, atol=tolerance, err_msg=name)


def clock(update: int, lifetime: int) -> SimpleNamespace:
    return SimpleNamespace(update=np.int32(update), lifetime=np.int32(lifetime))
