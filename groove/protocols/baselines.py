"""Hand-written rules that others are compared with, and what is searched when they are tuned."""

import inspect
import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from groove import rules
from groove.base import UpdateRule
from groove.nets import agents
from groove.nets.agents import Architecture
from levels.base import Discrete, Spec

CRITIC_SHARE = 0.1
"""Of a table's critic's rate in its actor's: 4 of 40 in GROOVE."""
EPOCHS, MINIBATCHES = 4, 4
"""Of PPO and DPO."""


class Setting(NamedTuple):
    """What is tuned of a baseline. Numbers may be traced, so that one compiled function tries many."""

    rate: float | jax.Array  # learning rate of the actor
    entropy: float | jax.Array  # weight of the policy's entropy


def architecture_of(spec: Spec, rate: float | jax.Array) -> Architecture:
    """Agents of the protocols for an environment, at a learning rate."""
    tabular = isinstance(spec.observation, Discrete)
    unscaled = agents.tabular(actor_rate=1.0, critic_rate=CRITIC_SHARE) if tabular else agents.for_spec(spec, rate=1.0)
    return agents.scaled(unscaled, jnp.asarray(rate, jnp.float32))


def default_architecture(spec: Spec) -> Architecture:
    """Agents of the protocols for an environment, at GROOVE's learning rates."""
    return architecture_of(spec, _default_rate(spec))


def _default_rate(spec: Spec) -> float:
    return 40.0 if isinstance(spec.observation, Discrete) else 5e-4


def _a2c(spec: Spec, setting: Setting, gamma: float, lambda_: float) -> UpdateRule:
    made = architecture_of(spec, setting.rate)
    return rules.a2c(spec, made, gamma=gamma, lambda_=lambda_, entropy_weight=setting.entropy)


def _proximal(make: Callable[..., UpdateRule]) -> Callable[[Spec, Setting, float, float], UpdateRule]:
    def baseline(spec: Spec, setting: Setting, gamma: float, lambda_: float) -> UpdateRule:
        made = architecture_of(spec, setting.rate)
        loop = {"epochs": EPOCHS, "minibatches": MINIBATCHES, "entropy_weight": setting.entropy}
        return make(spec, made, gamma=gamma, lambda_=lambda_, **loop)

    return baseline


BASELINES: Mapping[str, Callable[[Spec, Setting, float, float], UpdateRule]] = MappingProxyType(
    {"a2c": _a2c, "ppo": _proximal(rules.ppo), "dpo": _proximal(rules.dpo)}
)
"""`(spec, setting, gamma, lambda) -> UpdateRule` of every rule that is tuned, by name. Read-only."""


def identity(name: str) -> dict[str, object]:
    """All that decides a baseline's numbers beside its `Setting`, the protocol's discounts and the environment, for JSON.

    Defaults of the rule and of all agents' networks are read from their factories, so that none can be forgotten.

    Example:
        >>> from groove.protocols import identity
        >>> identity("ppo")["clip"], identity("ppo")["epochs"]
        (0.2, 4)
    """
    loop = {} if name == "a2c" else {"epochs": EPOCHS, "minibatches": MINIBATCHES}
    networks = {made.__name__: _defaults(made) for made in (agents.tabular, agents.mlp, agents.convolutional)}
    return {**_defaults(getattr(rules, name)), **loop, "critic_share": CRITIC_SHARE, **networks}


def _defaults(factory: Callable) -> dict[str, object]:
    """Those of a factory's arguments that nobody sets elsewhere."""
    elsewhere = ("architecture", "gamma", "lambda_", "entropy_weight", "actor_rate", "critic_rate", "rate")
    found = {name: argument.default for name, argument in inspect.signature(factory).parameters.items()}
    return {
        name: [*value] if isinstance(value, tuple) else value
        for name, value in found.items()
        if value is not inspect.Parameter.empty and name not in elsewhere
    }


def named_rule(name: str, spec: Spec, setting: Setting, *, gamma: float, lambda_: float) -> UpdateRule:
    """A baseline, or the random policy."""
    return rules.random_policy(spec) if name == "random" else BASELINES[name](spec, setting, gamma, lambda_)


def default_setting(name: str, spec: Spec) -> Setting:
    """What a baseline has where it was not tuned: GROOVE's of A2C; for the others a rate that is as much an update."""
    rate = _default_rate(spec)
    proximal = isinstance(spec.observation, Discrete) and name != "a2c"
    return Setting(rate / (EPOCHS * MINIBATCHES) if proximal else rate, 0.01)


def search_space(name: str, spec: Spec) -> tuple[Setting, ...]:
    """What `groove tune` tries: learning rates a factor of two (tables) or about three (Adam) apart, entropy weights."""
    if isinstance(spec.observation, Discrete):
        rates = tuple(2.0**i * (5.0 if name == "a2c" else 1.25) for i in range(-1, 6))
    else:
        rates = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    return tuple(Setting(rate, entropy) for rate, entropy in itertools.product(rates, (0.0, 0.01, 0.03, 0.1)))
