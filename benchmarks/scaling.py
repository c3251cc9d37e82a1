"""How the time of a meta-step grows with lifetimes, environments, the net's width and the buffer's capacity.

`python -m benchmarks.scaling [FOLDER]` takes runs of GROOVE's grids under prioritised regret, with a full buffer, and makes
one of these four 1, 2, 4 and 8 times as large as in `BASE`. A round computes one chunk of every run, in which all members
live a whole life: updates, evaluation, scores, the store and the references of the tasks that follow. It draws the medians
of all rounds into FOLDER/scaling.png (FOLDER is runs/scaling by default), writes FOLDER/scaling.json, and prints one JSON
object on its last line. Keys:

- `exponents`: by what was made larger, the slope of a straight line through log seconds against log factor.
- `seconds`: by the same, seconds per meta-step at each of `factors`.
- `two_process_efficiency`: two processes that share a run of `SHARED`, one thread and one core each, against one process
  with two threads on both cores. It is the time of the one process over that of the two. Of the ways to use two threads in
  one process the faster one counts: a device whose operations XLA spreads over both, or two devices.
- `two_process_seconds`: seconds per meta-step of all of these, and of one thread.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import two_processes
from benchmarks.timing import interleaved
from groove.assembly import build
from groove.config import GROOVE, Config
from groove.curricula.prioritised import Prioritised
from groove.report.figures import COLOURS, Picture, canvases, finished, save
from groove.trainer import State

BASE = dataclasses.replace(
    GROOVE,
    name="scaling",
    members=(16,),
    chunk=5,
    rule=dataclasses.replace(GROOVE.rule, width=64),
    life=dataclasses.replace(GROOVE.life, updates=(25, 25), environments=32),
    meta=dataclasses.replace(GROOVE.meta, rematerialise=False),
)
SHARED = dataclasses.replace(BASE, members=(64,))
FACTORS = (1, 2, 4, 8)
ROUNDS = 5
GROWN = ("lifetimes", "environments", "width", "capacity")


def grown(base: Config, what: str, factor: int) -> Config:
    """The run with one of `GROWN` so many times as large."""
    if what == "lifetimes":
        return dataclasses.replace(base, members=tuple(factor * members for members in base.members))
    part, field = {
        "environments": ("life", "environments"),
        "width": ("rule", "width"),
        "capacity": ("curriculum", "capacity"),
    }[what]
    values = getattr(base, part)
    larger = dataclasses.replace(values, **{field: factor * getattr(values, field)})
    return dataclasses.replace(base, **{part: larger})


def full(state: State) -> State:
    """The state with full buffers, of the pool's tasks over and over, with random scores, and none that equal others."""

    def filled(curriculum: Prioritised) -> Prioritised:
        store, pool = curriculum.buffer, curriculum.source.task
        place = jnp.arange(store.score.size, dtype=jnp.int32) % pool.lifetime.size
        score_key, print_key = jax.random.split(jax.random.key(1))
        store = store._replace(
            task=jax.tree.map(lambda rows: rows[place], pool),
            score=jax.random.uniform(score_key, store.score.shape, jnp.float32, -1.0, 1.0),
            fingerprint=jax.random.bits(print_key, store.fingerprint.shape, jnp.uint32),
            stamp=jnp.ones_like(store.stamp),
        )
        return curriculum._replace(buffer=store)

    return state._replace(curricula=tuple(filled(curriculum) for curriculum in state.curricula))


class Runner:
    """A run that goes on chunk by chunk."""

    def __init__(self, settings: Config, name: str):
        trainer = build(settings).trainer
        self.name, self.steps = name, settings.chunk
        self.refresh = jax.jit(trainer.refresh, donate_argnums=0)
        self.state = jax.jit(full)(jax.jit(trainer.init)(jax.random.key(0)))
        self.chunk = jax.jit(trainer.chunk, donate_argnums=0).lower(self.state).compile()
        say(f"compiled {name}")

    def advance(self) -> State:
        self.state = jax.block_until_ready(self.refresh(self.chunk(self.state)[0]))
        say(f"a chunk of {self.name}")
        return self.state


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def growth(base: Config, *, factors: tuple[int, ...] = FACTORS, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds per meta-step of each of `GROWN` at each factor; they share the run of factor 1."""
    sizes = {f"{what} x {factor}": grown(base, what, factor) for what in GROWN for factor in factors if factor > 1}
    runners = {name: Runner(settings, name) for name, settings in {"base": base, **sizes}.items()}
    seconds = interleaved({name: runner.advance for name, runner in runners.items()}, rounds=rounds)
    return {
        what: [seconds["base" if factor == 1 else f"{what} x {factor}"] / base.chunk for factor in factors] for what in GROWN
    }


def exponent(factors: tuple[int, ...], seconds: list[float]) -> float:
    """b of the least-squares fit log seconds = a + b log factor."""
    return float(np.polyfit(np.log(factors), np.log(seconds), 1)[0])


def drawn(factors: tuple[int, ...], seconds: Mapping[str, list[float]]) -> Picture:
    """Seconds against the factor, both logarithmic: a line for each of `GROWN`."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure, (axes,) = canvases(4.4, 3.2, 1, 1)
    for colour, (what, values) in zip(COLOURS, seconds.items(), strict=True):
        axes.loglog(factors, values, "o-", color=colour, label=f"{what}: {exponent(factors, values):.2f}")
    axes.set_xticks(factors, [f"{factor}x" for factor in factors])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("times as large as the base")
    axes.set_ylabel("seconds per meta-step")
    axes.legend(title="exponent", fontsize=8, title_fontsize=8, frameon=False)
    return Picture("scaling", finished(figure), "Seconds per meta-step against the size of one part of a run.")


def efficiency(seconds: Mapping[str, float]) -> float:
    """The faster of the two ways to use two threads in one process, over two processes."""
    return min(seconds["one_process"], seconds["one_process_two_devices"]) / seconds["two_processes"]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shares = two_processes.measure(SHARED, rounds=ROUNDS)
    say(f"two processes: {json.dumps(shares)}")
    seconds = growth(BASE)
    save([drawn(FACTORS, seconds)], folder)
    page = {
        "exponents": {what: round(exponent(FACTORS, values), 3) for what, values in seconds.items()},
        "two_process_efficiency": round(efficiency(shares), 3),
        "factors": FACTORS,
        "seconds": {what: [round(value, 4) for value in values] for what, values in seconds.items()},
        "two_process_seconds": {name: round(value, 4) for name, value in shares.items()},
    }
    (folder / "scaling.json").write_text(json.dumps(page) + "\n", encoding="utf-8")
    print(json.dumps(page))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/scaling"))
