"""The pictures that the README files show, drawn anew into `benchmarks/results/figures`.

`python -m benchmarks.figures` draws those of the loop, of an agent before and after it was taught by `shipped/quick`, of
levels, and of the committed results of `benchmarks.discovery`, `distil`, `horizons` and `curricula`.
`python -m benchmarks.figures RUN` also puts figures of the report of a run of `quick` side by side, from its folder RUN.
Keys: the bytes of each picture, of which none may have more than `MOST_BYTES`.
"""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image, ImageDraw, ImageFont

import groove
import levels
from groove import lifetime
from groove.base import Theta, UpdateRule
from groove.lifetime.learning_curve import Walk, walk
from groove.report.figures import COLOURS, FAINT, GREY, INK, canvases, finished
from levels.base import Family, Level

RESULTS = Path(__file__).parent / "results"
FOLDER = RESULTS / "figures"
MOST_BYTES = 150_000
FRAME_SECONDS, LAST_SECONDS = 0.25, 2.5
AGENT_SEED, UPDATES, ENVIRONMENTS = 0, 100, 8
LEVEL = """
@..B..
.##.#.
.#....
.C.#..
.#.#..
.....A

A  reward 1  terminate 1  respawn 0.1
B  reward 0.5  terminate 0.01  respawn 0.001
C  reward -1  terminate 0.5  respawn 0.1
limit 40
"""
"""Made by hand, so that no rule was trained on it: B pays on the way to A, which pays most and ends the episode; C costs."""
METHODS = {
    "tuned A2C": "A2C, tuned for each lifetime",
    "lpg-evolution": "LPG, evolved",
    "ta-lpg-evolution": "TA-LPG, evolved",
    "ta-lpg-gradient": "TA-LPG, meta-gradient",
}
DISCOVERED = {"a2c": "A2C, tuned for each", "ppo": "PPO, tuned for each", "ta": "TA-LPG by discover"}
TEACHERS = {
    "uniform": "uniform levels",
    "plr-regret": "PLR, regret",
    "plr-normalised-regret": "PLR, normalised regret",
    "plr-exact-regret": "PLR, exact regret",
    "plr-l1-value-loss": "PLR, L1 value loss",
    "plr-positive-value-loss": "PLR, positive value loss",
    "plr-max-mc": "PLR, MaxMC",
    "plr-learnability": "PLR, learnability",
    "plr-learning-progress": "PLR, learning progress",
    "accel": "ACCEL, regret",
    "sfl": "SFL, learnability",
    "alp-gmm": "ALP-GMM",
    "clutr": "CLUTR, regret",
}
"""By their keys in the results, what the pages call them."""


def taught() -> bytes:
    """An agent on `LEVEL`, as it was born and after a hundred updates by `shipped/quick`: a GIF."""
    family = levels.gridworld.gridworld(height=6, width=6, objects=3, episode_limit=50)
    level = levels.from_text(LEVEL, height=6, width=6, objects=3)
    rule, theta = groove.load_rule("shipped/quick", family.environment.spec)
    before, after = jax.jit(lambda key: _walks(rule, theta, family, key, level))(jax.random.key(AGENT_SEED))
    places = range(max(int(np.sum(one.running)) for one in (before, after)) + 1)
    pairs = [
        _beside([_panel(family, level, before, i, "untaught"), _panel(family, level, after, i, "taught")]) for i in places
    ]
    palette = _beside([pairs[0], pairs[-1]]).quantize(32)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in pairs]
    durations = [round(1000 * FRAME_SECONDS)] * (len(frames) - 1) + [round(1000 * LAST_SECONDS)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)
    return file.getvalue()


def _walks(rule: UpdateRule, theta: Theta, family: Family, key: jax.Array, level: Level) -> tuple[Walk, Walk]:
    """An episode of an agent that never learned, and one of the same agent after its life."""
    life_key, walk_key = jax.random.split(key)
    life = lifetime.lifetime(rule, family.environment, environments=ENVIRONMENTS)
    agents = life.begin(life_key, level, UPDATES).agent, life.live(life_key, theta, level, UPDATES)
    return tuple(walk(rule, family.environment, walk_key, agent, level, steps=50) for agent in agents)


def _panel(family: Family, level: Level, walked: Walk, place: int, name: str) -> Image.Image:
    last = int(np.sum(walked.running))
    state = jax.tree.map(lambda leaf: np.asarray(leaf)[min(place, last)], walked.state)
    grid = Image.fromarray(family.image(jax.tree.map(np.asarray, level), state)).resize((288, 288), Image.Resampling.NEAREST)
    panel = Image.new("RGB", (320, 336), "white")
    panel.paste(grid, (16, 32))
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(16)
    draw.text((16, 7), name, fill=INK, font=font)
    draw.text((304, 7), f"return {float(walked.total[min(place, last)]):+.1f}", fill=INK, font=font, anchor="ra")
    return panel


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (sum(one.width for one in pictures), max(one.height for one in pictures)), "white")
    left = 0
    for one in pictures:
        whole.paste(one, (left, 0))
        left += one.width
    return whole


def loop() -> bytes:
    """Level, task, lifetime, outcome, score, curriculum, and what improves the rule meanwhile."""
    figure = Figure(figsize=(8.8, 3.5), dpi=130)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 88), ylim=(-0.5, 34.5))
    axes.set_axis_off()
    boxes = {
        "level": (11, 28, "a generator makes it", 0),
        "task": (32, 28, "a level, and how long\nto live on it", 0),
        "lifetime": (53, 28, "an agent learns by the\nupdate rule, N times", 0),
        "outcome": (74, 28, "what it reached\nin the end", 0),
        "score": (74, 8, "how much the task\nhas to teach", 1),
        "curriculum": (32, 8, "keeps what scores high,\nproposes what comes next", 1),
        "meta-learner": (53, 8, "improves theta, the rule's\nown parameters", 2),
    }
    for name, (x, y, words, ink) in boxes.items():
        box = FancyBboxPatch((x - 8.4, y - 4), 16.8, 8, boxstyle="round,pad=0.3,rounding_size=1.2")
        box.set(facecolor="white", edgecolor=COLOURS[ink], linewidth=1.8)
        axes.add_patch(box)
        axes.text(x, y + 1.7, name, ha="center", va="center", fontsize=11, fontweight="bold", color=INK)
        axes.text(x, y - 1.5, words, ha="center", va="center", fontsize=7.2, color=GREY, linespacing=1.2)
    straight = "arc3"
    for start, end, style in (
        ((19.9, 28), (23.0, 28), straight),
        ((40.9, 28), (44.0, 28), straight),
        ((61.9, 28), (65.0, 28), straight),
        ((74, 23.5), (74, 12.6), straight),
        ((68, 3.2), (38, 3.2), "arc3,rad=-0.12"),
        ((32, 12.6), (32, 23.5), straight),
        ((50, 23.5), (50, 12.6), straight),
        ((56, 12.6), (56, 23.5), straight),
    ):
        axes.add_patch(FancyArrowPatch(start, end, connectionstyle=style, arrowstyle="-|>", mutation_scale=13, color=INK))
    for x, y, words, side in (
        (75, 18, "minus what the\nantagonist reached:\nregret", "left"),
        (31, 18, "proposes, also\nlevels seen before", "right"),
        (49, 18, "rollouts", "right"),
        (57, 18, "theta", "left"),
    ):
        axes.text(x, y, words, ha=side, va="center", fontsize=7.2, color=GREY, linespacing=1.2)
    return finished(figure)


def horizons() -> bytes:
    """What rules reach at each lifetime, with intervals over meta-seeds."""
    found = json.loads((RESULTS / "horizons.json").read_text(encoding="utf-8"))["intervals"]
    figure, (axes,) = canvases(6.4, 3.2, 1, 1)
    _courses(axes, {name: found[method] for method, name in METHODS.items()}, [INK, *COLOURS], (10, 100))
    axes.set(xlabel="updates of a lifetime (shaded: those trained on)", ylabel="exact return, IQM")
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2)
    return finished(figure)


def discovery() -> bytes:
    """What rules of `discover` reach at each lifetime beside A2C and PPO, on grids and on bandits."""
    found = json.loads((RESULTS / "discovery.json").read_text(encoding="utf-8"))
    figure, grid = canvases(6.8, 3.0, 1, 2)
    for axes, (family, title) in zip(grid, (("gridworld", "grids"), ("bernoulli-bandit", "bandits")), strict=True):
        rows = {name: found[family]["intervals"][arm] for arm, name in DISCOVERED.items()}
        _courses(axes, rows, [INK, GREY, COLOURS[1]], (5, 100))
        axes.axhline(found[family]["optimum"], color=GREY, linewidth=0.8, linestyle=(0, (4, 2)))
        axes.set_title(title, fontsize=9, loc="left", color=INK)
    figure.supxlabel("updates of a lifetime (shaded: those trained on; dashed: the optimum)", fontsize=8.5, color=GREY)
    grid[0].set_ylabel("exact return, IQM")
    grid[1].legend(frameon=False, fontsize=8, loc="lower right")
    return finished(figure)


def learned() -> bytes:
    """What a reward adds to the push on an action before it, at three ages, and how far closed forms take agents."""
    found = json.loads((RESULTS / "distilled.json").read_text(encoding="utf-8"))
    figure, grid = canvases(6.8, 5.2, 2, 2)
    for place, (family, title) in enumerate((("gridworld", "grids"), ("bernoulli-bandit", "bandits"))):
        above, below, credit = grid[place], grid[2 + place], found["credit"][family]
        steps = np.arange(len(credit["profile"][0]))
        above.axhline(0, color=GREY, linewidth=0.6)
        for age, profile, pale in zip(credit["age"], credit["profile"], (0.35, 0.65, 1.0), strict=True):
            above.plot(steps, np.array(profile, float), color=COLOURS[1], alpha=pale, label=f"n/N = {age:.2g}")
        above.plot(steps, credit["profile"][0][0] * credit["decay"] ** steps, "--", color=GREY, linewidth=1, label="GAE")
        above.set(xlabel="steps from action to reward", title="")
        above.set_title(title, fontsize=9, loc="left", color=INK)
        names = {"a2c": "A2C, tuned", "ppo": "PPO, tuned", "learned": "learned", f"4 terms of {family}": "four terms of it"}
        rows = {
            name: {
                n: dict(zip(("low", "point", "high"), row, strict=True)) for n, row in found["returns"][family][rule].items()
            }
            for rule, name in names.items()
        }
        _courses(below, rows, [INK, GREY, COLOURS[1], COLOURS[0]], (5, 100))
        below.set_xlabel("updates of a lifetime")
    grid[0].set_ylabel("d push / d reward")
    grid[1].legend(frameon=False, fontsize=7.5, loc="upper right")
    grid[2].set_ylabel("exact return, IQM")
    grid[3].legend(frameon=False, fontsize=7.5, loc="lower right")
    return finished(figure)


def _courses(axes, rows, inks: Sequence[str], trained: tuple[float, float]) -> None:
    """Points with intervals at each lifetime, by name; shaded are the lifetimes of training."""
    for place, (name, own) in enumerate(rows.items()):
        at = [float(updates) * 1.05 ** (place - (len(rows) - 1) / 2) for updates in own]
        points = np.array([[row["low"], row["point"], row["high"]] for row in own.values()])
        axes.plot(at, points[:, 1], "o-", color=inks[place], markersize=4, linewidth=1.4, label=name)
        axes.vlines(at, points[:, 0], points[:, 2], color=inks[place], alpha=0.4, linewidth=3)
    lifetimes = list(next(iter(rows.values())))
    axes.set_xscale("log")
    axes.set_xticks([float(updates) for updates in lifetimes], lifetimes)
    axes.minorticks_off()
    axes.axvspan(*trained, color=FAINT, alpha=0.35, linewidth=0, zorder=0)


def curricula() -> bytes:
    """What rules trained under each teacher reach on held-out grids: a dot a meta-seed."""
    found = json.loads((RESULTS / "curricula.json").read_text(encoding="utf-8"))["results"]
    figure, (axes,) = canvases(6.4, 3.6, 1, 1)
    low, high = min(found["uniform"]["gridworld"]["seeds"]), max(found["uniform"]["gridworld"]["seeds"])
    axes.axvspan(low, high, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    for place, method in enumerate(TEACHERS):
        seeds = found[method]["gridworld"]["seeds"]
        axes.plot(seeds, [place] * len(seeds), "o", color=GREY if place == 0 else COLOURS[0], markersize=6, alpha=0.75)
    axes.set_yticks(range(len(TEACHERS)), list(TEACHERS.values()))
    axes.set_ylim(len(TEACHERS) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("exact return on held-out grids (shaded: between the seeds of uniform levels)")
    return finished(figure)


def gallery() -> bytes:
    """A random grid and four edits of it, a bandit and a chain."""
    grids, bandits, chains = (levels.FAMILIES[name]() for name in ("gridworld", "bernoulli-bandit", "chain"))
    level = grids.generator.sample(jax.random.key(4))
    edited = level
    for key in jax.random.split(jax.random.key(5), 4):
        edited = grids.generator.mutate(key, edited)
    drawn = {
        "gridworld": grids.image(level, None),
        "four edits later": grids.image(edited, None),
        "bernoulli-bandit": bandits.image(bandits.generator.sample(jax.random.key(1)), None),
        "chain": chains.image(chains.generator.sample(jax.random.key(6)), None),
    }
    figure, grid = canvases(8.6, 2.4, 1, len(drawn))
    for axes, (name, picture) in zip(grid, drawn.items(), strict=True):
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title(name, fontsize=9, loc="left", color=INK)
    return finished(figure)


def report(run: Path) -> bytes:
    """Figures of the report of a run, side by side as on its page."""

    def figure(name: str, width: int) -> Image.Image:
        picture = Image.open(run / "figures" / f"{name}.png").convert("RGB")
        return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)

    rows = [
        [figure(f"{name}-{family}", 540) for family in ("gridworld", "bernoulli-bandit")] for name in ("held-out", "return")
    ]
    rows.append([figure("course-gridworld", 1080)])
    rows.append([_level(run / "figures" / f"gridworld-highest-{i}.png") for i in range(1, 7)])
    titles = (
        "On held-out tasks",
        "On the tasks of training",
        "What the rule does at each age",
        "Levels of highest regret that the curriculum kept",
    )
    page = Image.new("RGB", (1120, sum(max(one.height for one in row) + 44 for row in rows) + 8), "white")
    draw, font, top = ImageDraw.Draw(page), ImageFont.load_default(19), 8
    for title, row in zip(titles, rows, strict=True):
        draw.text((20, top + 8), title, fill=INK, font=font)
        page.paste(_beside(row), (20, top + 38))
        top += max(one.height for one in row) + 44
    file = io.BytesIO()
    page.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _level(path: Path) -> Image.Image:
    picture = Image.open(path).convert("RGB")
    tile = Image.new("RGB", (180, 160), "white")
    tile.paste(picture.resize((150, 150 * picture.height // picture.width), Image.Resampling.NEAREST))
    return tile


def main(words: Sequence[str]) -> None:
    """Draws all pictures into their folder."""
    FOLDER.mkdir(exist_ok=True)
    made = {"walk.gif": taught(), "loop.png": loop(), "levels.png": gallery()}
    made |= {
        "discovery.png": discovery(),
        "horizons.png": horizons(),
        "curricula.png": curricula(),
        "learned.png": learned(),
    }
    if words:
        made["report.png"] = report(Path(words[0]))
    for name, content in made.items():
        if len(content) > MOST_BYTES:
            raise ValueError(f"{name} must have at most {MOST_BYTES} bytes, got {len(content)}.")
        (FOLDER / name).write_bytes(content)
    print(json.dumps({name: len(content) for name, content in made.items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
