"""Evolution over pieces of lives: evosax's where lives are equal, unbiased, each couple with its own memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from evosax.algorithms import NoiseReuseES, PersistentES
from test_evolution import at, toy

from groove.base import Clock, Outcome, Rollout
from groove.base.trees import tree_where
from groove.lifetime import Lifetime, Member
from groove.meta import noise_reuse_es, persistent_es, truncated, truncated_es

SIZE, SIGMA, K = 3, 0.2, 2
MEMORIES = {"persistent": persistent_es, "noise-reuse": noise_reuse_es, "truncated": truncated_es}
THETA = jnp.array([0.3, -0.2, 0.1])


def value(agent, point):
    return jnp.sum(jnp.sin(agent) * point)


LIFE = toy(value)
CHANCY = toy(value, noise=0.3)


def summed() -> optax.GradientTransformation:
    """Theta stays where it is; the state is minus the sum of all gradients."""

    def update(slope, state, parameters=None):
        return jax.tree.map(jnp.zeros_like, slope), jax.tree.map(jnp.subtract, state, slope)

    return optax.GradientTransformation(lambda parameters: jax.tree.map(jnp.zeros_like, parameters), update)


def renewed(meta, key, live):
    """The trainer's part: untrained couples in the places of those that finished, on the same tasks."""
    untrained = meta.begin(key, tuple(couples.task for couples in live))
    return tuple(tree_where(old.finished, new, old) for new, old in zip(untrained, live, strict=True))


@functools.cache
def made(memory, optimizer=None, lives=(LIFE,), **options):
    """(meta-optimiser, its compiled step, renewal included)."""
    options = {"sigma": SIGMA, "updates": K, **options}
    meta = truncated(lives, optimizer or summed(), THETA, credit=MEMORIES[memory], **options)
    return meta, jax.jit(lambda key, state, live: meta.step(key, state, renewed(meta, key, live)))


def run(memory, generations, *batches, **options):
    """[(state, live, outcomes, info)] of generations whose keys are 0, 1, ..."""
    meta, step = made(memory, **options)
    state, live = meta.init(jax.random.key(0), THETA), meta.begin(jax.random.key(1), batches)
    found = []
    for n in range(generations):
        state, live, outcomes, info = step(jax.random.key(n), state, live)
        found.append((state, live, outcomes, info))
    return found


def draws(n, couples):
    """The key of generation n's perturbations, and these."""
    key = jax.random.split(jax.random.split(jax.random.key(n), 1)[0])[0]
    return key, SIGMA * normal_by_row(key, (couples, SIZE))


def normal_by_row(key, shape, normal=jax.random.normal):
    """A key for each row, so that devices that share couples draw the numbers of their own alone."""
    return jax.vmap(lambda key: normal(key, shape[1:]))(jax.random.split(key, shape[0]))


POINTS = np.array([[1.0, 0.5, -1.0], [-0.5, 2.0, 1.0], [0.3, 0.4, 0.5], [1.5, -1.0, 0.2]], np.float32)


def piece(agent, age, theta, point, lifetime):
    """(agent, age, fitness) after K updates, by hand: what lies beyond the lifetime does not happen."""
    total = 0.0
    for _ in range(K):
        if age < lifetime:
            agent, age = agent + theta, age + 1
            total += float(np.sum(np.sin(agent) * point))
    return agent, age, total / lifetime


@pytest.mark.parametrize(
    ("memory", "old", "young"),
    [
        (persistent_es, (2.0, 7.0), (2.0, 2.0)),
        (noise_reuse_es, (5.0, 5.0), (2.0, 2.0)),
        (truncated_es, (2.0, 2.0), (2.0, 2.0)),
    ],
)
def test_memories_by_hand(memory, old, young):
    """Fresh noise 2, remembered 5: (noise, weight) in the middle of a life, and at a birth, where nothing earlier counts."""
    fresh, kept = {"w": jnp.float32(2.0)}, {"w": jnp.float32(5.0)}
    for born, want in ((False, old), (True, young)):
        assert [float(tree["w"]) for tree in memory(fresh, kept, jnp.array(born))] == list(want)


@pytest.mark.parametrize("name", ["persistent", "noise-reuse"])
@pytest.mark.parametrize("lifetime", [6, 5])
def test_equal_to_evosax(name, lifetime, monkeypatch):
    """Thetas of seven generations, two lives and a piece; also where K does not divide the lifetime."""
    optimizer = optax.sgd(0.02, momentum=0.9)  # unlike Adam it tells scales apart
    batch = at(POINTS, [lifetime] * 4)
    ours = [state.parameters for state, *_ in run(name, 7, batch, optimizer=optimizer)]
    kind = PersistentES if name == "persistent" else NoiseReuseES
    monkeypatch.setattr(jax.random, "normal", normal_by_row)  # evosax draws all rows with one key
    with jax.numpy_rank_promotion("allow"):
        algorithm = kind(8, THETA, optimizer=optimizer, std_schedule=optax.constant_schedule(SIGMA))
        options = algorithm.default_params.replace(T=lifetime, K=K)
        state = algorithm.init(jax.random.key(0), THETA, options)
        agents, ages = np.zeros((8, SIZE)), np.zeros(8, int)
        for n, got in enumerate(ours):
            if ages[0] >= lifetime:
                agents, ages = np.zeros((8, SIZE)), np.zeros(8, int)
            candidates, state = algorithm.ask(draws(n, 4)[0], state, options)
            rows = [
                piece(*row, POINTS[i % 4], lifetime)
                for i, row in enumerate(zip(agents, ages, np.asarray(candidates), strict=True))
            ]
            agents, ages = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
            fitness = jnp.array([row[2] for row in rows], jnp.float32)
            state, _ = algorithm.tell(jax.random.key(0), candidates, -fitness, state, options)
            np.testing.assert_allclose(got, state.mean, atol=2e-4, err_msg=f"generation {n}")


@pytest.mark.parametrize("name", MEMORIES)
def test_each_couple_remembers_since_its_own_birth(name):
    """Against a loop in which couples live 2, 3, 4 and 7 updates: memories, fitness and the sum of gradients."""
    lifetimes = [2, 3, 4, 7]
    found = run(name, 6, at(POINTS, lifetimes))
    agents, ages, kept = np.zeros((4, 2, SIZE)), [0] * 4, np.zeros((4, SIZE))
    total = np.zeros(SIZE)
    for n, (state, live, _, info) in enumerate(found):
        fresh, fitness = np.asarray(draws(n, 4)[1]), np.zeros((4, 2))
        for i in range(4):
            if ages[i] >= lifetimes[i]:
                agents[i], ages[i] = 0.0, 0
            born = ages[i] == 0
            used = kept[i] if name == "noise-reuse" and not born else fresh[i]
            kept[i] = kept[i] + fresh[i] if name == "persistent" and not born else used
            for j, sign in enumerate((1, -1)):
                agents[i, j], age, fitness[i, j] = piece(agents[i, j], ages[i], THETA + sign * used, POINTS[i], lifetimes[i])
            ages[i] = age
            total += (fitness[i, 0] - fitness[i, 1]) / (2 * SIGMA**2) * kept[i] / 4
        np.testing.assert_allclose(live[0].kept, kept, atol=1e-6)
        np.testing.assert_allclose(state.optimizer, total, atol=1e-4)
        np.testing.assert_allclose(info["fitness"], fitness.mean(), rtol=1e-4)
        assert live[0].member.clock.update.tolist() == [[age] * 2 for age in ages]
        assert live[0].finished.tolist() == [age >= life for age, life in zip(ages, lifetimes, strict=True)]
    assert (found[0][1][0].member.clock.update[0] == found[5][1][0].member.clock.update[0]).all()


@pytest.mark.parametrize("name", ["persistent", "noise-reuse"])
def test_unbiased(name):
    """Against the gradient of whole unrolled lives, of 5 and of 4 updates; not quadratic, but sigma is small."""
    lifetimes, size = (5, 4), 32
    batch = at(np.tile(POINTS[:2], (size // 2, 1)), list(lifetimes) * (size // 2))
    meta, _ = made(name, sigma=0.01)

    def whole(theta, point, lifetime):
        ages = jnp.arange(1.0, lifetime + 1)
        return jnp.mean(jax.vmap(lambda age: value(age * theta, point))(ages))

    def lives(key):
        state, live = meta.init(key, THETA), meta.begin(key, (batch,))
        for k in jax.random.split(key, 3):  # those of 4 are through after two, and frozen in the third
            state, live, _, _ = meta.step(k, state, live)
        return state.optimizer

    found = np.asarray(jax.jit(jax.vmap(lives))(jax.random.split(jax.random.key(5), 64)))
    slopes = [jax.grad(whole)(THETA, POINTS[i], lifetimes[i]) for i in range(2)]
    want, error = np.mean(slopes, axis=0), found.std(axis=0, ddof=1) / 8
    assert (np.abs(found.mean(axis=0) - want) < 5 * error + 1e-3).all(), (found.mean(axis=0), want, error)
    assert (error < 0.2 * np.abs(want).max()).all()


def misleading() -> Lifetime:
    """Each update earns theta - theta^2 / 2 at once, and at the life's end costs twice all the thetas there were.

    The mean reward of a life is thus -theta - theta^2 / 2, best at -1. One who forgets holds the last quarter of the
    updates responsible for the cost: theta - theta^2 / 2 - theta / 2, best at 1/2.
    """

    def begin(key, level, lifetime):
        return Member(jnp.zeros(1), (), (), Clock(jnp.zeros((), jnp.int32), lifetime))

    def rollout(key, member, level):
        none, no = jnp.zeros((1, 1)), jnp.zeros((1, 1), bool)
        return member, Rollout(none, none, none.astype(jnp.int32), none, no, no, none, none)

    def update(key, theta, member, level):
        alive = member.clock.update < member.clock.lifetime
        clock = member.clock._replace(update=member.clock.update + alive.astype(jnp.int32))
        agent = jnp.where(alive, member.agent + theta, member.agent)
        cost = jnp.where(clock.update == clock.lifetime, 2.0 * agent, 0.0)
        reward = theta - jnp.square(theta) / 2 - cost
        _, rows = rollout(key, member, level)
        return member._replace(agent=agent, clock=clock), rows._replace(reward=reward.reshape(1, 1)), {}

    return Lifetime(begin, rollout, update, lambda *rest: None, lambda *rest: Outcome(jnp.zeros(()), jnp.zeros(())))


@pytest.mark.parametrize(("name", "best"), [("persistent", -1.0), ("noise-reuse", -1.0), ("truncated", 0.5)])
def test_plain_truncation_is_misled_and_the_others_are_not(name, best):
    """Lives of 8 updates in pieces of 2, from between both answers."""
    start = jnp.array([-0.25])
    meta = truncated((misleading(),), optax.adam(0.03), start, sigma=0.1, updates=2, credit=MEMORIES[name], block=32)
    batch = at(np.zeros((32, 1)), [8] * 32)

    def generation(carry, key):
        state, live, _, _ = meta.step(key, carry[0], renewed(meta, key, carry[1]))
        return (state, live), meta.theta(state)

    @jax.jit
    def thetas(key):
        begin = (meta.init(key, start), meta.begin(key, (batch,)))
        return jax.lax.scan(generation, begin, jax.random.split(key, 400))[1]

    found = np.asarray(thetas(jax.random.key(0)))[:, 0]
    assert abs(found[-100:].mean() - best) < 0.15, found[::40]


def test_a_couple_shares_all_chance():
    """Where theta does not matter, both agents of a couple are equal, bit for bit; those of other couples are not."""
    deaf = CHANCY._replace(update=lambda key, theta, member, level: CHANCY.update(key, jnp.zeros(SIZE), member, level))
    batch = at(np.ones((4, SIZE)), [5] * 4)
    found = run("persistent", 3, batch, lives=(deaf,))
    for state, live, _, info in found:
        agents = np.asarray(live[0].member.agent)
        assert np.array_equal(agents[:, 0], agents[:, 1]) and len(np.unique(agents[:, 0, 0])) == 4
        assert (state.optimizer == 0).all() and info["gradient_norm"] == 0
    assert len(np.unique(found[-1][2][0].episode_return)) == 4


def test_the_better_agent_reports_at_the_end():
    """A couple at theta + e and theta - e ends at 2 theta ± 2 e; only then is there a fitness, if it is the final return."""
    (state, live, outcomes, info), *_ = run("persistent", 1, at(POINTS, [2, 2, 3, 2]), final=True)
    ends = np.sum(np.sin(np.asarray(live[0].member.agent)) * POINTS[:, None], axis=-1)
    np.testing.assert_allclose(outcomes[0].episode_return[jnp.array([0, 1, 3])], ends.max(axis=1)[[0, 1, 3]], rtol=1e-5)
    np.testing.assert_allclose(info["fitness"], ends[[0, 1, 3]].sum() / 8, rtol=1e-4)
    credit = (ends[:, 0] - ends[:, 1])[:, None] / (2 * SIGMA**2) * np.asarray(draws(0, 4)[1])
    np.testing.assert_allclose(state.optimizer, credit[[0, 1, 3]].sum(axis=0) / 4, rtol=1e-3)


def test_blocks_change_rounding_only():
    batch = at(POINTS, [2, 3, 4, 7])
    for one, two in zip(run("persistent", 2, batch), run("persistent", 2, batch, block=2), strict=True):
        np.testing.assert_allclose(one[0].optimizer, two[0].optimizer, rtol=1e-5)
        np.testing.assert_allclose(one[1][0].member.agent, two[1][0].member.agent, rtol=1e-6)


def test_couples_of_all_families_count_alike():
    """One and three couples: the gradient is the mean over four."""
    lives = (LIFE, LIFE._replace(update=lambda *rest: LIFE.update(*rest)))
    (state, live, outcomes, _), *_ = run("persistent", 1, at(POINTS[:1], [4]), at(POINTS[1:], [4] * 3), lives=lives)
    total = np.zeros(SIZE)
    for points, couples in ((POINTS[:1], live[0]), (POINTS[1:], live[1])):
        noise = np.asarray(couples.kept)
        for e, point in zip(noise, points, strict=True):
            plus, minus = (piece(np.zeros(SIZE), 0, THETA + s * e, point, 4)[2] for s in (1, -1))
            total += (plus - minus) / (2 * SIGMA**2) * e
    np.testing.assert_allclose(state.optimizer, total / 4, rtol=1e-4)
    assert not np.isin(np.asarray(live[0].kept), np.asarray(live[1].kept)).any()
    assert [outcome.episode_return.size for outcome in outcomes] == [1, 3]


def test_tasks_that_are_not_to_be_learned_from():
    """They add nothing, even what is not finite."""
    points = np.array([POINTS[0], [np.inf] * 3])
    (only, _, _, info), *_ = run("persistent", 1, at(points, [4, 4], learn=[True, False]))
    noise = np.asarray(draws(0, 2)[1])[0]
    plus, minus = (piece(np.zeros(SIZE), 0, THETA + s * noise, POINTS[0], 4)[2] for s in (1, -1))
    np.testing.assert_allclose(only.optimizer, (plus - minus) / (2 * SIGMA**2) * noise / 2, rtol=1e-4)
    assert info["nonfinite"] == 0
    (_, _, _, info), *_ = run("persistent", 1, at(points, [4, 4]))
    assert info["nonfinite"] == 0 and info["diverged"] == 2


@pytest.mark.parametrize("final", [False, True])
def test_who_is_lost_has_diverged_whatever_was_paid(final):
    """One of each couple becomes NaN, the one beyond theta in its first number; rewards and returns stay finite."""
    blind = toy(lambda agent, point: value(jnp.nan_to_num(agent), point))

    def update(key, theta, member, level):
        member, rollout, info = blind.update(key, theta, member, level)
        return member._replace(agent=jnp.where(theta[0] > THETA[0], jnp.nan, member.agent)), rollout, info

    (*_, info), *_ = run("persistent", 1, at(POINTS, [2] * 4), lives=(blind._replace(update=update),), final=final)
    assert info["diverged"] == 4 and info["nonfinite"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"updates": 0}, "updates and block must be at least 1, got 0 and 1"),
        ({"block": 0}, "updates and block must be at least 1, got 5 and 0"),
        ({"sigma": 0.0}, "sigma must be positive and finite, got 0.0"),
        ({"sigma": float("nan")}, "sigma must be positive and finite, got nan"),
        ({"block": 3}, "block must divide the 4 tasks, got 3"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        meta = truncated((LIFE,), optax.adam(0.1), THETA, **options)
        meta.step(
            jax.random.key(0), meta.init(jax.random.key(0), THETA), meta.begin(jax.random.key(0), (at(POINTS, [2] * 4),))
        )
