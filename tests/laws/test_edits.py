"""Twenty edits of a thousand levels: fields stay where the sampler draws them, all move, and none piles up at an end."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
import pytest

from levels.adapters.gymnax import from_gymnax
from levels.bandit import bernoulli_bandit, gaussian_bandit
from levels.base import Family
from levels.chain import chain
from levels.gridworld import gridworld

COUNT, EDITS = 1000, 20


class Kind(NamedTuple):
    """A family and what its sampler draws from."""

    family: Family
    ranges: dict[str, tuple[float, float]]
    fixed: tuple[str, ...] = ()  # fields that no edit changes
    used: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None  # how many entries of rows are; None for all
    most: int | None = None  # entries of rows that may be in use; None for all


KINDS = {
    "gridworld": Kind(
        gridworld(
            height=4,
            width=4,
            objects=4,
            episode_limit=30,
            side=(4, 4),
            number=(2, 3),
            reward=(-0.75, 1.25),
            terminate=(0.03, 0.7),
            respawn=(0.004, 0.3),
            limit=(5, 25),
            walls=3,
        ),
        {"reward": (-0.75, 1.25), "terminate": (0.03, 0.7), "respawn": (0.004, 0.3), "limit": (5, 25), "objects": (2, 3)},
        fixed=("height", "width"),
        used=lambda level: np.sum(level["kind"] >= 0, axis=-1),
        most=3,
    ),
    "bernoulli": Kind(
        bernoulli_bandit(arms=5, fewest_arms=3, pulls=(3, 17), mean=(0.125, 0.75)),
        {"mean": (0.125, 0.75), "pulls": (3, 17), "arms": (3, 5)},
        fixed=("deviation",),
        used=lambda level: level["arms"],
    ),
    "gaussian": Kind(
        gaussian_bandit(arms=4, fewest_arms=2, pulls=(4, 9), mean=(-2.0, 1.5), deviation=(0.25, 3.0)),
        {"mean": (-2.0, 1.5), "pulls": (4, 9), "deviation": (0.25, 3.0), "arms": (2, 4)},
        used=lambda level: level["arms"],
    ),
    "chain": Kind(chain(length=(3, 9), noise=(0.25, 0.875)), {"length": (3, 9), "noise": (0.25, 0.875), "good": (0, 1)}),
    "gymnax": Kind(
        from_gymnax("Freeway-MinAtar", ranges={"player_speed": (2, 13), "max_steps_in_episode": (40, 90)}),
        {"player_speed": (2, 13), "max_steps_in_episode": (40, 90)},
    ),
    "gymnax-floats": Kind(
        from_gymnax("DeepSea-bsuite", ranges={"unscaled_move_cost": (0.5, 3.5), "deterministic": (False, True)}),
        {"unscaled_move_cost": (0.5, 3.5), "deterministic": (0, 1)},
        fixed=("max_steps_in_episode",),
    ),
}


@functools.cache
def edited(name: str) -> dict[str, np.ndarray]:
    """By field, [1 + edits, levels, ...]: samples, and what becomes of them."""
    generator = KINDS[name].family.generator

    def one(key):
        sample_key, edit_key = jax.random.split(key)
        level = generator.sample(sample_key)

        def edit(level, key):
            return (generator.mutate(key, level),) * 2

        return level, jax.lax.scan(edit, level, jax.random.split(edit_key, EDITS))[1]

    first, rest = jax.jit(jax.vmap(one, out_axes=(0, 1)))(jax.random.split(jax.random.key(7), COUNT))
    first, rest = (tree if isinstance(tree, dict) else tree._asdict() for tree in (first, rest))
    found = {field: np.concatenate([np.asarray(first[field])[None], np.asarray(rest[field])]) for field in first}
    if name == "gridworld":
        found["objects"] = KINDS[name].used(found)
    return found


def in_use(name: str, field: str) -> np.ndarray:
    """The values of a field that count, one after the other."""
    levels = edited(name)
    values = levels[field]
    if values.ndim < 3 or KINDS[name].used is None:
        return values.reshape(-1)
    return values[np.arange(values.shape[-1]) < KINDS[name].used(levels)[..., None]]


@pytest.mark.parametrize("name", KINDS)
def test_fields_stay_where_the_sampler_draws_them(name):
    for field, (low, high) in KINDS[name].ranges.items():
        values = in_use(name, field)
        assert np.float32(low) <= values.min() and values.max() <= np.float32(high), field


@pytest.mark.parametrize("name", KINDS)
def test_every_entry_of_every_field_changes(name):
    """In at least one edit of two hundred; an edit changes something nearly always."""
    changes = {field: values[1:] != values[:-1] for field, values in edited(name).items()}
    for field, changed in changes.items():
        share = changed.mean((0, 1))
        if share.ndim == 1:  # kinds are numbers in order, so that those of the first objects stay
            share = share[KINDS[name].most - 1] if field == "kind" else share[: KINDS[name].most]
        assert np.all(share == 0) if field in KINDS[name].fixed else np.all(share > 0.005), (field, share)
    anything = np.any([c.reshape(*c.shape[:2], -1).any(-1) for c in changes.values()], axis=0)
    assert anything.mean() > 0.95


@pytest.mark.parametrize("name", KINDS)
def test_no_values_pile_up_at_the_ends(name):
    """Of numbers that are measured hardly any is an end; of those that are counted it is met at most thrice its share."""
    for field, (low, high) in KINDS[name].ranges.items():
        values = in_use(name, field)
        ends = [np.mean(values == np.float32(end)) for end in (low, high)]
        if values.dtype.kind == "f":
            assert max(ends) < 1e-3, (field, ends)
        elif high - low > 2:
            sampled = edited(name)[field][0]
            assert max(ends) < 3 * max(np.mean(sampled == low), np.mean(sampled == high), 1 / (high - low + 1)), (
                field,
                ends,
            )


@pytest.mark.parametrize("name", KINDS)
def test_samples_reach_both_ends_of_what_is_counted(name):
    """Those of a thousand levels; what is measured comes near the ends."""
    for field, (low, high) in KINDS[name].ranges.items():
        values = edited(name)[field][0]
        if values.dtype.kind == "f":
            values = in_use(name, field)
            assert values.min() < low + 0.1 * (high - low) and values.max() > high - 0.1 * (high - low), field
        else:
            assert (values.min(), values.max()) == (low, high), field


def test_the_first_object_of_a_grid_keeps_a_reward_that_is_not_negative():
    assert edited("gridworld")["reward"][..., 0].min() >= 0 > in_use("gridworld", "reward").min()
