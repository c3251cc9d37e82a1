"""What a learned LPG asks for, in a few terms: a sparse regression of pi_hat, and how far those terms alone take an agent.

`python -m benchmarks.distil [RULE]` (shipped/ta-lpg by default) shows rollouts of agents at many ages of lives of 5, 22 and
100 updates to the rule, and chooses terms for its pi_hat by orthogonal matching pursuit on one half of the levels. The
dictionary has discounted sums of the rewards that follow, advantages by GAE and their signs, probabilities and entropy, each
as it is and times n / N. On the other half it says which share of pi_hat's variance one to eight terms explain, of each
family and of all at once. Forms of four terms then live as rules of their own, beside the learned rule, A2C and PPO, on the
held-out levels of `benchmarks.discovery`, and as `benchmarks.distil:rule` in `groove evaluate`. One JSON object on its last
line, which `benchmarks/results/distilled.json` keeps.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import orthogonal_mp_gram

from benchmarks.discovery import AGENTS, LIFETIMES, TASKS, judges
from groove import assembly, config, load_rule, protocols
from groove.base import Clock, Rollout, UpdateRule
from groove.config import Config
from groove.files import library, rulefile
from groove.files.writing import write_text
from groove.lifetime.credit import watched
from groove.nets import agents
from groove.nets.agents import Architecture
from groove.nets.categorical import entropy, log_probability
from groove.nets.critic import advantages, critic, normalise, over_steps
from groove.protocols import RIVALS, Setting, named_rule
from groove.rules.a2c import ActorCritic, a2c, policy_slope
from groove.runs import plain
from groove.runs.artefacts import credit_of
from groove.statistics import stratified_bootstrap
from levels.base import Spec

RULE = "shipped/ta-lpg"
RESULTS = Path(__file__).parent / "results" / "distilled.json"
SEED, LEVELS, LIVES, AGES = 55_871, 64, (5, 22, 100), 6
TERMS = (1, 2, 3, 4, 6, 8)
KEPT = 4
"""Terms of the rule of its own."""
DECAYS = (0.5, 0.7, 0.9, 0.99)
"""Of sums of rewards."""
LAMBDAS = (0.0, 0.5, 0.95)
"""Of advantages."""


def dictionary(
    rollout: Rollout, logits: jax.Array, value: jax.Array, next_value: jax.Array, clock: Clock, gamma: float
) -> dict[str, jax.Array]:
    """What pi_hat may be made of, f32[T, E] each.

    Args:
        rollout: [T, E].
        logits: f32[T, E, n], of the policy.
        value: f32[T, E], of a critic.
        next_value: f32[T, E].
        clock: When the agent meets the rollout.
        gamma: Discount of advantages.
    """
    nothing = jnp.zeros_like(rollout.reward)

    def summed(decay: float) -> jax.Array:
        return advantages(rollout, nothing, nothing, gamma=decay, lambda_=1.0)

    terms = {"1": nothing + 1, "r": rollout.reward, **{f"sum {decay}^k r": summed(decay) for decay in DECAYS}}
    gains = {lam: advantages(rollout, value, next_value, gamma=gamma, lambda_=lam) for lam in LAMBDAS}
    terms |= {f"A({lam})": gain for lam, gain in gains.items()}
    terms |= {"sign A": jnp.sign(gains[0.95]), "A normalised": normalise(gains[0.95])}
    chosen = log_probability(logits, rollout.action)
    terms |= {
        "pi(a)": jnp.exp(chosen),
        "log pi(a)": chosen,
        "H": entropy(logits),
        "mean r": nothing + jnp.mean(rollout.reward),
    }
    age, chance = clock.update / clock.lifetime, jnp.exp(chosen)
    aged = {f"{name} n/N": age * column for name, column in terms.items()}
    return terms | aged | {f"{name} pi(a)": chance * column for name, column in terms.items() if name != "1"}


def closed_form(
    spec: Spec, architecture: Architecture, weights: Mapping[str, float], *, gamma: float = 0.99, lambda_: float = 0.95
) -> UpdateRule:
    """An actor-critic whose advantage is a weighted sum of terms of the dictionary: a rule without parameters."""
    network = architecture.network(spec, spec.actions)
    apply, value_apply = over_steps(network.apply), over_steps(architecture.network(spec, 1).apply)
    watching = critic(spec, architecture, gamma=gamma, lambda_=lambda_)

    def update(key, theta, agent: ActorCritic, rollout: Rollout, clock: Clock):
        logits, pull_back = jax.vjp(lambda own: apply(own, rollout.observation, rollout.time), agent.actor.parameters)
        value, following = values(value_apply, agent.critic, rollout)
        terms = dictionary(rollout, logits, value, following, clock, gamma)
        push = sum(weight * terms[name] for name, weight in weights.items())
        slope, spread = policy_slope(logits, rollout.action, push, 0.0)
        (gradient,) = pull_back(slope)
        learned, loss = watching.update(agent.critic, rollout, watching.advantage(agent.critic, rollout)[1])
        return ActorCritic(agents.descend(architecture.actor, agent.actor, gradient), learned), {
            "entropy": spread,
            "value_loss": loss,
        }

    return a2c(spec, architecture, gamma=gamma, lambda_=lambda_)._replace(update=update)


def rule(spec: Spec, architecture: Architecture) -> UpdateRule:
    """The closed form of all families at once."""
    forms = json.loads(RESULTS.read_text(encoding="utf-8"))["forms"]
    return closed_form(spec, architecture, forms["both"][str(KEPT)]["weights"])


def values(apply, learner: agents.TrainState, rollout: Rollout) -> tuple[jax.Array, jax.Array]:
    """V of each step and of what follows it, f32[T, E] both."""
    now = apply(learner.parameters, rollout.observation, rollout.time)
    return now[..., 0], apply(learner.parameters, rollout.next_observation, rollout.next_time)[..., 0]


def seen(settings: Config, run: assembly.Run, place: int, theta) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Terms f64[LEVELS, rows, D] and pi_hat f64[LEVELS, rows] of a family, at all ages of all lives, and names of terms."""
    part = run.parts[place]
    spec, name = part.family.environment.spec, part.family.name
    made = assembly.architecture(settings, spec, name)
    answers = assembly.learned_answers(settings, spec, made)
    apply, value_apply = (
        over_steps(made.network(spec, width).apply) for width in (spec.actions + settings.rule.predictions, 1)
    )
    levels = protocols.held_out_levels(part.family, LEVELS, seed=SEED)
    names: list[str] = []

    @jax.jit
    def shown(keys, levels, updates, lifetime):
        def one(key, level):
            agent, learner, rollout = watched(part.life, part.setup.critic, key, theta, level, lifetime, updates)
            logits = apply(agent.parameters, rollout.observation, rollout.time)[..., : spec.actions]
            clock = Clock(updates, lifetime)
            terms = dictionary(rollout, logits, *values(value_apply, learner, rollout), clock, settings.life.gamma)
            names[:] = terms
            return jnp.stack([*terms.values()], axis=-1), answers(theta, agent, rollout, clock)[0]

        return jax.vmap(one)(keys, levels)

    columns, pushes = [], []
    for lifetime in LIVES:
        key = jax.random.fold_in(jax.random.key(SEED), lifetime)
        for updates in np.unique(np.linspace(0, lifetime - 1, AGES).astype(int)):
            terms, push = shown(jax.random.split(key, LEVELS), levels, jnp.int32(updates), jnp.int32(lifetime))
            columns.append(np.asarray(terms, np.float64).reshape(LEVELS, -1, terms.shape[-1]))
            pushes.append(np.asarray(push, np.float64).reshape(LEVELS, -1))
    return np.concatenate(columns, axis=1), np.concatenate(pushes, axis=1), names


def credited(settings: Config, part: assembly.FamilyParts, theta) -> dict[str, object]:
    """What rewards add to pi_hat, by the steps between, and how it goes with GAE's advantage: by age, as reports show it."""
    found = credit_of(settings, part, jax.random.key(SEED), theta, protocols.held_out_levels(part.family, LEVELS, seed=SEED))
    return plain(found._replace(profile=found.profile.round(4), advantage=np.empty(0), push=np.empty(0)))


def fitted(terms: np.ndarray, push: np.ndarray, names: list[str]) -> dict[str, object]:
    """For each number of terms their weights, by the first half of the levels, and the share of variance on the second."""
    half = len(terms) // 2
    (x, y), (unseen, wanted) = (
        (terms[cut].reshape(-1, len(names)), push[cut].ravel()) for cut in (slice(half), slice(half, None))
    )
    scale = np.maximum(np.sqrt(np.mean(x**2, axis=0)), 1e-12)
    gram, target = (x / scale).T @ (x / scale), (x / scale).T @ y
    found: dict[str, object] = {}
    for count in (size for size in TERMS if size <= len(names)):
        weights = orthogonal_mp_gram(gram, target, n_nonzero_coefs=count) / scale
        left = wanted - unseen @ weights
        kept = {names[i]: float(f"{weights[i]:.4g}") for i in np.flatnonzero(weights)}
        found[str(count)] = {"weights": kept, "share": round(1 - float(np.mean(left**2) / np.var(wanted)), 4)}
    return found


def lived(settings: Config, theta, forms: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By family, rule and lifetime: interquartile means of returns on the levels of `discovery`, low, point and high.

    Args:
        settings: Of the learned rule.
        theta: It.
        forms: Weights of closed forms, by name.
    """
    life = settings.life
    rivals = {name: protocols.rivals(settings, name) for name in settings.families}

    def learned(name, spec):
        rule = assembly.learned_rule(settings, spec, assembly.architecture(settings, spec, name))
        return lambda theta: (rule, theta)

    def distilled(weights):
        def make(name, spec):
            rule = closed_form(spec, assembly.architecture(settings, spec, name), weights, gamma=life.gamma)
            return lambda theta: (rule, theta)

        return make

    def written(rival):
        def make(name, spec):
            return lambda own: (named_rule(rival, spec, Setting(*own), gamma=life.gamma, lambda_=life.gae_lambda), ())

        return make

    def chosen(family: str, rule: str, updates: int):
        return rivals[family][updates][rule] if rule in RIVALS else theta if rule == "learned" else ()

    makers = {
        "learned": learned,
        **{name: distilled(weights) for name, weights in forms.items()},
        **{r: written(r) for r in RIVALS},
    }
    found: dict[str, dict[str, dict[str, list[float]]]] = {name: {} for name in settings.families}
    for rule, make in makers.items():
        for family, live in judges(settings, make).items():
            rows = {n: np.asarray(live(jax.random.key(1_000), chosen(family, rule, n), n)) for n in LIFETIMES}
            found[family][rule] = {
                str(n): [round(float(x), 3) for x in stratified_bootstrap(row.T, seed=0)] for n, row in rows.items()
            }
            print(family, rule, found[family][rule], flush=True)
    return found


def main(path: str = RULE) -> None:
    file = rulefile.locate(path)
    settings, (_, theta) = library.config_of(file, rulefile.load_rule_file(file)[1]), load_rule(path)
    run = assembly.build(
        dataclasses.replace(settings, start="", curriculum=config.Curriculum(kind="uniform", score="uniform"))
    )
    rows = {part.family.name: seen(settings, run, place, theta) for place, part in enumerate(run.parts)}
    names = next(iter(rows.values()))[2]
    sizes = {name: np.std(push) for name, (_, push, _) in rows.items()}  # so that each family counts as much
    together = (np.concatenate([row[i] / sizes[name] for name, row in rows.items()], axis=1) for i in (0, 1))
    forms = {name: fitted(terms, push, names) for name, (terms, push, _) in rows.items()}
    forms["both"] = fitted(*together, names)
    kept = {f"{KEPT} terms of {name}": form[str(KEPT)]["weights"] for name, form in forms.items()}
    page = {"rule": path, "levels": LEVELS, "lives": LIVES, "tasks": TASKS, "agents": AGENTS, "forms": forms}
    page["credit"] = {part.family.name: credited(settings, part, theta) for part in run.parts}
    page["returns"] = lived(settings, theta, kept)
    write_text(RESULTS, json.dumps(page, indent=1) + "\n")
    print(json.dumps(page))


if __name__ == "__main__":
    main(*sys.argv[1:])
