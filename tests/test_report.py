"""The page of a run: complete, self-contained, and honest about what is missing."""

import base64
import dataclasses
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from groove import assembly, config, runs
from groove.files.writing import write_text
from groove.lifetime import schedules
from groove.lifetime.learning_curve import walk
from groove.lifetime.schedules import LifeCurve, Response
from groove.protocols import Row
from groove.report import charts, heldout, record
from groove.report import page as reports
from groove.report.gif import save_walk
from groove.report.series import Series, line, series, smooth
from groove.rules import horizon, random_policy
from groove.runs import folder as folders
from groove.statistics import Interval
from levels import dataset

SETTINGS = dataclasses.replace(config.smoke(config.QUICK), meta_steps=6)
RULES = ("random policy", "untrained rule", "trained rule", "tuned A2C", "optimum")


def metrics(steps: int) -> list[runs.Metrics]:
    """Rows as `runs.train` writes them: a life ends at every other meta-step."""
    rows = []
    for step in range(1, steps + 1):
        row: dict[str, float | None] = {"step": step, "entropy": 1.0, "gradient_norm": 0.1, "meta_loss": -0.2 * step}
        for name in SETTINGS.families:
            ended = step % 2 == 0
            row |= {f"{name}/finished": 2 * ended, f"{name}/return": 0.1 * step if ended else None}
            row |= {f"{name}/curriculum_{part}": step for part in ("taken", "replayed", "written", "age", "effective")}
            row |= {
                f"{name}/curriculum_fill": 0.5,
                f"{name}/score": 0.5 if ended else None,
                f"{name}/feature_{'walls' if 'grid' in name else 'arms'}": step,
            }
        rows.append(row | ({"chunk_seconds": 0.5} if step % SETTINGS.chunk == 0 else {}))
    return rows


def test_a_share_of_a2c_needs_an_a2c_that_learned():
    """With A2C below the random policy there is nothing to be a share of."""

    def rows(a2c: float) -> list[Row]:
        reached = {"random policy": 0.8, "untrained rule": 0.7, "trained rule": 1.0, "tuned A2C": a2c}
        return [Row("gridworld", 9, rule, Interval(value, value, value)) for rule, value in reached.items()]

    assert "125 % of tuned A2C's 0.80" not in heldout.verdicts(rows(0.8))[0]
    (low,), (high,) = heldout.verdicts(rows(0.5)), heldout.verdicts(rows(2.0))
    assert "%" not in low and "50 % (50 to 50 %) of tuned A2C's 2.00; one meta-seed." in high


def test_how_theta_was_learned_is_said():
    meta = dict(charts.facts(config.QUICK))["Meta-gradient"]
    assert meta.startswith("of exact returns, through 5 updates; Adam at 0.005, cosine decay")
    assert meta.endswith("; a bonus of 0.05 for entropy that fades with n/N")
    assert dict(charts.facts(config.LPG))["Meta-gradient"] == "through 5 updates; Adam at 0.0001"


def test_a_rule_is_held_beside_the_better_rival_of_each_lifetime():
    def rows(lifetime: int, **reached: float) -> list[Row]:
        names = {name.replace("_", " "): value for name, value in reached.items()}
        return [Row("chain", lifetime, name, Interval(v - 0.1, v, v + 0.1)) for name, v in names.items()]

    found = [
        *rows(5, untrained_rule=0.5, trained_rule=2.0, tuned_A2C=1.0, tuned_PPO=1.5),
        *rows(50, untrained_rule=0.5, trained_rule=1.0, tuned_A2C=4.0, tuned_PPO=1.05),
        *rows(150, untrained_rule=0.5, trained_rule=3.25, tuned_A2C=1.0, tuned_PPO=3.1),
    ]
    (sentence,) = heldout.verdicts(found)
    assert (
        "reaches 1.00 after 50 updates, more than the untrained rule's 0.50, 25 % (22 to 28 %) of tuned A2C's 4.00"
        in sentence
    )
    assert "above it after 5, not clearly apart from it after 150, below it after 50 updates; one meta-seed" in sentence
    assert "above it" not in heldout.verdicts(rows(7, untrained_rule=0.5, trained_rule=2.0, A2C=1.0))[0]


def test_cells_have_one_decimal_where_returns_are_in_the_tens():
    rows = [Row("chain", n, rule, Interval(x - 1, x, x + 1)) for n in (5, 50) for rule, x in (("a", 0.25 + n), ("b", 1.5))]
    words = {"a": ["5.2 (4.2 to 6.2)", "50.2 (49.2 to 51.2)"], "b": ["1.5 (0.5 to 2.5)"] * 2}
    assert heldout.cells(rows) == ([5, 50], words)
    assert heldout.cells(rows[1:2]) == ([5], {"b": ["1.50 (0.50 to 2.50)"]})
    assert heldout.cells(rows[:3]) == ([5, 50], {"a": words["a"], "b": ["1.5 (0.5 to 2.5)", ""]})


def fill(folder: Path, *parts: str, settings: config.Config = SETTINGS) -> Path:
    """A run folder with some of its files, as though a run had written them."""
    runs.create(settings, folder)
    families = [assembly.family(settings, name) for name in settings.families]
    if "metrics" in parts:
        runs.append_metrics(folder / "metrics.jsonl", metrics(settings.meta_steps))
    if "curriculum" in parts:
        for family in families:
            levels = jax.vmap(family.generator.sample)(jax.random.split(jax.random.key(1), 5))
            columns = {"lifetime": np.full(5, 4), "serial": np.arange(5), "score": np.float32([0.5, -1, 3, 1, 2])}
            columns["parent"] = np.array([-1, 0, 0, 77, 2])  # all but the first are edits, one of a level that is not kept
            suffix = "" if len(families) == 1 else f"-{family.name}"
            assert dataset.save(folder / f"curriculum{suffix}.parquet", levels, columns, family=family.name)
    if "evaluation" in parts:
        rows = [
            {"family": family.name, "lifetime": 4, "rule": rule, "low": place - 0.1, "point": place, "high": place + 0.1}
            for family in families
            for place, rule in enumerate(RULES)
        ]
        protocol = {
            "tasks": 4,
            "agents": 2,
            "lifetimes": [4],
            "held_out_seed": 7,
            "caption": "Four levels, <b>two</b> agents.",
        }
        write_text(folder / "evaluation.json", json.dumps({"protocol": protocol, "rows": rows}))
    if "schedules" in parts:
        tables(folder / runs.SCHEDULES, settings)
    if "walk" in parts:
        draw_walk(folder / "walk.gif")
    return folder


def course(lifetime: int) -> LifeCurve:
    """One that ends with a policy of entropy 0.5 and a return of 2; one number was not finite."""
    step = np.geomspace(1e-2, 1e-4, lifetime)
    step[0] = np.inf
    age = np.linspace(0, 1, 3)
    errors = (np.full(lifetime, 0.01), step / 10, np.full(3, 0.1))
    return LifeCurve(lifetime, np.linspace(1.5, 0.5, lifetime), step, np.zeros(lifetime), age, 2 * age, *errors)


def tables(path: Path, settings: config.Config = SETTINGS, scale: float = 1.0) -> None:
    """Schedules as `runs.save_schedules` writes them: LPG's answers for LPG, drifts as large as `scale` for LPO."""
    age = np.linspace(0, 0.9, 4)
    rows = [runs.plain(Response(lifetime, age, 0.2 - 0.1 * age, 2 - age)) for lifetime in (4, 16)]
    theta = {"hidden": jnp.ones((16, 2)), "output": jnp.full((2, 1), scale)}
    drifts = schedules.drifts(theta, horizon.fraction, lifetime=10)
    page = {
        "courses": {name: [runs.plain(course(lifetime)) for lifetime in (4, 16)] for name in settings.families},
        "responses": dict.fromkeys(settings.families, rows) if settings.rule.kind == "lpg" else {},
        "drifts": [runs.plain(row) for row in drifts] if settings.rule.kind == "lpo" else [],
        "ratios": schedules.RATIOS.tolist(),
    }
    write_text(path, json.dumps(page, allow_nan=False))


def draw_walk(path: Path, steps: int = 12) -> int:
    """Draws a drifter's walk on a grid; returns the number of states until it ended."""
    family = assembly.family(SETTINGS, "gridworld")
    level = family.generator.sample(jax.random.key(0))
    rule = random_policy(family.environment.spec)
    walked = walk(rule, family.environment, jax.random.key(1), rule.init_agent(jax.random.key(2)), level, steps=steps)
    save_walk(path, family, level, walked)
    return int(jnp.sum(walked.running)) + (not bool(walked.running[-1]))


class Page(HTMLParser):
    """Tags and attributes of a page; checks that what opens is closed."""

    def __init__(self, path: Path):
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(self.text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = ("metrics", "curriculum", "evaluation", "schedules", "walk")
    return reports.write(fill(tmp_path_factory.mktemp("runs") / "R&D <run>", *parts))


def test_the_page_shows_everything(complete: Path):
    page = Page(complete)
    headings = ("What was trained", "On held-out tasks", "What the rule does at each age", "Learning", "Curriculum")
    for heading in (*headings, "How levels drift", "Curriculum health", "Lineage", "A walk"):
        assert f">{heading}</h" in page.text
    assert "Not here yet" not in page.text
    for name in (*SETTINGS.families, *RULES, "jaxlib", "&quot;meta_steps&quot;: 6", "score +3.000\nlifetime 4"):
        assert name in page.text
    assert "2.00 (1.90 to 2.10)" in page.text
    assert (
        "reaches 2.00 after 4 updates, more than the untrained rule&#x27;s 1.00, 67 % (61 to 72 %) of tuned A2C&#x27;s 3.00"
        in page.text
    )


def test_the_page_needs_nothing_else(complete: Path):
    page = Page(complete)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "video", "base"}
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(?!data:)\s*[\w/]""", page.text)
    for image in page.named("img"):
        kind, content = re.fullmatch(r"data:image/(png|gif);base64,(.*)", image["src"] or "").groups()  # type: ignore[union-attr]
        assert Image.open(io.BytesIO(base64.b64decode(content))).format == kind.upper()
        assert image["alt"]


def test_names_are_escaped(complete: Path):
    page = Page(complete)
    assert "<h1>R&amp;D &lt;run&gt;</h1>" in page.text
    assert "&lt;b&gt;two&lt;/b&gt;" in page.text
    assert not page.named("run") and not page.named("b")


def test_pictures_are_also_files(complete: Path):
    page, files = Page(complete), sorted((complete.parent / "figures").glob("*.png"))
    assert len(files) == len(page.named("img")) - 1  # the walk
    assert {"health-gridworld.png", "lineage-gridworld-1.png"} <= {file.name for file in files}
    assert {"held-out-gridworld.png", "return-gridworld.png", "gridworld-highest-1.png"} <= {file.name for file in files}


def test_levels_stand_in_the_order_of_their_scores(complete: Path):
    scores = re.findall(r"score ([+-][\d.]+)\n", Page(complete).text)
    assert scores[:5] == ["+3.000", "+2.000", "+1.000", "-1.000", "+0.500"]


def test_a_run_that_just_began_gets_a_page(tmp_path: Path):
    page = Page(reports.write(fill(tmp_path / "run")))
    for sentence in ("Only 0 of 6 meta-steps are done", "has not met held-out tasks yet", "was not written yet", "No agent"):
        assert sentence in page.text
    assert not page.named("img")


def test_a_run_under_way_shows_what_there_is(tmp_path: Path):
    folder = fill(tmp_path / "run", "metrics")
    runs.cut_metrics(folder / "metrics.jsonl", 1)  # no life has ended
    page = Page(reports.write(folder))
    assert "Only 1 of 6 meta-steps are done" in page.text and "No life has ended yet." in page.text
    runs.cut_metrics(folder / "metrics.jsonl", 0)
    assert "<h2>Learning</h2>" not in Page(reports.write(folder)).text


def test_drawing_again_replaces_the_page(tmp_path: Path):
    folder = fill(tmp_path / "run", "metrics")
    assert reports.write(folder).read_text() == reports.write(folder).read_text()


NESTED = "[" * 200_000
HUGE = f"{10**400}"
LINES = ["5", "null", '{"step": "7"}', '{"step": -1}', f'{{"step": 1, "a": {HUGE}}}', '{"step": 1, "a": NaN}', NESTED, "\0"]


def row(point: str) -> str:
    return f'{{"family": "x", "lifetime": 4, "rule": "y", "low": 0, "point": {point}, "high": 1}}'


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("evaluation.json", "{}", "evaluation.json is damaged"),
        ("evaluation.json", '{"protocol": {"caption": ""}, "rows": [{"family": "x"}]}', "evaluation.json is damaged"),
        ("metrics.jsonl", "nonsense\n", "metrics.jsonl is damaged"),
        ("metrics.jsonl", '{"a": 1}\n', "metrics.jsonl is damaged"),
        *[("metrics.jsonl", f"{line}\n", "metrics.jsonl is damaged: line 1 ") for line in LINES],
        ("evaluation.json", '{"protocol": {"caption": ""}, "rows": [' + row(HUGE) + "]}", "evaluation.json is damaged"),
        ("evaluation.json", NESTED, "evaluation.json is damaged"),
        ("schedules.json", f'{{"ratios": [{HUGE}]}}', "schedules.json is damaged"),
        ("schedules.json", NESTED, "schedules.json is damaged"),
        ("curriculum-gridworld.parquet", "nonsense", "The curriculum of gridworld cannot be read"),
        ("schedules.json", "{", "The rule's schedules cannot be drawn: schedules.json is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: str, sentence: str):
    folder = fill(tmp_path / "run")
    (folder / name).write_text(content)
    assert any(sentence in found for found in record.read(folder).missing)
    assert "Not here yet" in reports.write(folder).read_text()


def test_one_family_has_one_curriculum(tmp_path: Path):
    settings = dataclasses.replace(SETTINGS, families=("gridworld",), members=(2,))
    assert len(record.read(fill(tmp_path / "run", "curriculum", settings=settings)).kept["gridworld"].score) == 5


def test_no_curriculum_is_missed_where_there_is_none(tmp_path: Path):
    uniform = dataclasses.replace(SETTINGS.curriculum, kind="uniform", score="uniform")
    folder = fill(tmp_path / "run", "metrics", settings=dataclasses.replace(SETTINGS, curriculum=uniform))
    assert not any("curriculum" in sentence for sentence in record.read(folder).missing)
    page = Page(reports.write(folder)).text
    assert "Levels are not scored" in page and "regret</" not in page


def said(folder: Path, **changes) -> None:
    """Changes what a run's config.json says beside its configuration."""
    page = json.loads((folder / "config.json").read_text())
    write_text(folder / "config.json", json.dumps(page | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": [1]},
        {"versions": {"jax": 7}},
        {"plugins": 5},
        {"plugins": {"groove.families": ["a"]}},
        {"versions": None},
    ],
)
def test_damaged_versions_are_named(tmp_path: Path, changes: dict):
    runs.create(SETTINGS, tmp_path / "run")
    said(tmp_path / "run", **changes)
    name = next(iter(changes))
    with pytest.raises(ValueError, match=f"run/config.json: {name} must be an object of "):
        folders.versions_of(tmp_path / "run")
    if name == "versions":
        with pytest.raises(ValueError, match=r"run/config.json: versions must be an object of texts, got "):
            reports.write(tmp_path / "run")


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir()])
def test_no_run_is_refused(tmp_path: Path, make: Callable[[Path], None]):
    make(tmp_path / "no-run")
    with pytest.raises(ValueError, match="no-run is not a run folder: it has no config.json"):
        reports.write(tmp_path / "no-run")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Open_ES over whole lives, 64 candidates; sigma 0.1, Adam at 0.03"),
        (
            {"strategy": "PGPE", "novelty": 0.5},
            "PGPE over whole lives, 64 candidates, novelty of weight 0.5; sigma 0.1, Adam at 0.03",
        ),
        ({"strategy": "CR_FM_NES", "population": 8}, "CR_FM_NES over whole lives, 8 candidates; sigma 0.1"),
        ({"strategy": "SNES"}, "SNES over whole lives, 64 candidates; sigma 0.1"),
        (
            {"strategy": "deep-ga", "parents": 5, "sigma": 0.002},
            "deep-ga over whole lives, 64 candidates, 5 parents; sigma 0.002",
        ),
        ({"lives": "persistent"}, "in pieces of 5 updates, persistent; sigma 0.1, Adam at 0.03"),
    ],
)
def test_only_those_who_use_adam_say_so(changes: dict[str, object], said: str):
    start = config.preset("ta-lpg-small")
    settings = dataclasses.replace(start, evolution=dataclasses.replace(start.evolution, **changes))  # type: ignore[arg-type]
    assert dict(charts.facts(settings))["Evolution"] == said


def test_what_is_not_from_the_paper_is_said(complete: Path):
    """And what this run changed; on the page as well."""
    said = dict(charts.facts(config.TA_LPO))["Where from"]
    assert said.startswith("our own choices: meta_steps, ") and "life.updates" in said.split(";")[0]
    assert "; LPO's: members, evolution.sigma" in said and "changed" not in said
    changed = dataclasses.replace(config.TA_LPO, seed=3, rule=dataclasses.replace(config.TA_LPO.rule, drift_width=64))
    assert dict(charts.facts(changed))["Where from"] == f"{said}; changed for this run: rule.drift_width"
    assert dict(charts.facts(config.QUICK))["Where from"].startswith("our own choices altogether")
    assert "Where from" not in dict(charts.facts(dataclasses.replace(config.QUICK, name="mine")))
    assert "our own choices altogether" in Page(complete).text


def test_every_score_has_its_sentence():
    assert set(charts.SCORES) == set(config.CHOICES["curriculum", "score"])


def test_a_walk_has_a_frame_a_step(tmp_path: Path):
    states = draw_walk(tmp_path / "walk.gif", steps=12)
    with Image.open(tmp_path / "walk.gif") as movie:
        assert movie.n_frames == states and max(movie.size) >= 240
        durations = [movie.seek(frame) or movie.info["duration"] for frame in range(movie.n_frames)]
    assert set(durations[:-1]) == {150} and durations[-1] == 2000
    assert (tmp_path / "walk.gif").stat().st_size < 100_000


def test_a_family_without_pictures_cannot_be_walked(tmp_path: Path):
    family = assembly.family(SETTINGS, "gridworld")._replace(image=None)
    with pytest.raises(ValueError, match="family must have an image to be drawn, got 'gridworld'"):
        save_walk(tmp_path / "walk.gif", family, {}, None)  # type: ignore[arg-type]


def test_series_leave_out_what_is_not_known():
    points = series([{"step": 1, "x": None}, {"step": 2}, {"step": 3, "x": 5.0, "n": 2}], "x", "n")
    assert [column.tolist() for column in points] == [[3.0], [5.0], [2.0]]
    assert [column.tolist() for column in line(points)] == [[3.0], [5.0]]


def test_smoothing_is_a_weighted_mean():
    points = Series(*np.float64([[0, 1], [1, 3], [1, 3]]))
    np.testing.assert_allclose(smooth(points, np.float64([0.5]), 1.0), [2.5])
    np.testing.assert_allclose(smooth(points, np.float64([1e6, -1e6]), 1.0), [3.0, 1.0])  # far away: the nearest
