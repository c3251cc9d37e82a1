"""What the page shows of a rule at each age: numbers of its tables, units, names, and which lives were trained on."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_report import SETTINGS, Page, complete, course, fill, tables

from groove import assembly, cli, runs
from groove.files import rulefile
from groove.files.writing import write_text
from groove.lifetime import schedules
from groove.report import ages
from groove.report import page as reports
from groove.rules import horizon

assert complete  # the fixture


LPO = dataclasses.replace(SETTINGS, rule=dataclasses.replace(SETTINGS.rule, kind="lpo", horizon="fraction"))


def shown(page: Page) -> dict[str, str]:
    """Captions of the page's pictures by their alternative texts."""
    figures = re.findall(
        r'<figure><img class="chart" src="[^"]*" alt="([^"]*)">(?:<figcaption>(.*?)</figcaption>)?', page.text
    )
    return dict(figures)


def test_lpgs_page_shows_courses_and_answers(complete: Path):
    """For each family; the pictures say in words what they show and how they are to be read."""
    found = shown(Page(complete))
    for name in SETTINGS.families:
        (alt,) = [alt for alt in found if alt.startswith(f"Agents on {name} against n/N")]
        assert "N = 4: entropy 1.50 to 0.50, update nan to 0.0001, return 0.00 to 2.00; N = 16:" in alt
        for word in ("n/N", "entropy", "KL divergence", "return", "logarithmic"):
            assert word in found[alt]
        (alt,) = [alt for alt in found if alt.startswith(f"LPG&#x27;s answers to {name} rollouts")]
        assert "|pi_hat| 0.2 to 0.11, entropy of y_hat 2 to 1.1" in alt
        assert "|pi_hat|" in found[alt] and "y_hat" in found[alt]
        for kind in ("course", "response"):
            with Image.open(complete.parent / "figures" / f"{kind}-{name}.png") as picture:
                assert min(picture.size) >= 300
    assert not any("Drift functions" in alt for alt in found)


def test_lpos_page_shows_courses_and_drifts(tmp_path: Path):
    page = reports.write(fill(tmp_path / "run", "schedules", settings=LPO))
    found = shown(Page(page))
    (alt,) = [alt for alt in found if alt.startswith("Drift functions")]
    for name in ("LPO at n/N = 0:", "LPO at n/N = 0.5:", "LPO at n/N = 1:", "PPO: 0.3", "DPO: 0.0102"):
        assert name in alt
    assert "probability ratio r" in found[alt] and "PPO with a clip of 0.2, and DPO" in found[alt]
    names = {file.name for file in (page.parent / "figures").iterdir()}
    assert names == {"drift.png", *(f"course-{name}.png" for name in LPO.families)}


def drawn(monkeypatch: pytest.MonkeyPatch, found: ages.Schedules):
    """The figures of the pictures, not yet turned into PNGs."""
    figures = []
    monkeypatch.setattr(ages, "finished", lambda figure: figures.append(figure) or b"")
    assert ages.pictures(found)
    return figures


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e4])
def test_drifts_can_be_told_apart_whatever_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float):
    """In every chart the learned curves and the others each fill a tenth of the height, or are 0 throughout."""
    tables(tmp_path / runs.SCHEDULES, LPO, scale)
    (figure,) = drawn(monkeypatch, ages.read(tmp_path / runs.SCHEDULES)._replace(courses={}, responses={}))
    for axes in figure.axes:
        low, high = axes.transAxes.inverted().transform(axes.transData.transform([(1, y) for y in axes.get_ylim()]))[:, 1]
        assert (round(low), round(high)) == (0, 1)
        curves = [line for line in axes.get_lines() if len(line.get_ydata()) > 2]
        for learned in (True, False):
            rows = [line.get_ydata() for line in curves if line.get_label().startswith("learned") is learned]
            ends = [(1, np.min(rows)), (1, np.max(rows))]
            height = np.ptp(axes.transAxes.inverted().transform(axes.transData.transform(ends))[:, 1])
            assert height > 0.1 or not np.any(rows)
    assert len({line.get_color() for line in figure.axes[0].get_lines()}) == 4  # three ages, and grey


def test_every_chart_has_its_unit_and_lines_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = {}
    for settings in (SETTINGS, LPO):
        tables(tmp_path / runs.SCHEDULES, settings)
        for figure in drawn(monkeypatch, ages.read(tmp_path / runs.SCHEDULES)):
            found |= {axes.get_title(loc="left"): (axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes}
            assert len(figure.legends) == 1 and not any(axes.get_legend() for axes in figure.axes)
            names = [text.get_text() for text in figure.legends[0].get_texts()]
            assert names == ["N = 4", "N = 16"] or names[-2:] == ["PPO", "DPO"]
    assert found == {
        "entropy of the policy": ("n / N", "entropy, in nats"),
        "size of an update": ("n / N", "KL divergence, in nats"),
        "what agents achieve": ("n / N", "return of an episode"),
        "push on the policy": ("n / N", "mean |pi_hat|"),
        "target of predictions": ("n / N", "entropy of y_hat, in nats"),
        "drift, A = +1": ("probability ratio r", "drift, in normalised A"),
        "drift, A = −1": ("probability ratio r", "drift, in normalised A"),
        "slope of the drift, A = +1": ("probability ratio r", "slope, in normalised A"),
        "slope of the drift, A = −1": ("probability ratio r", "slope, in normalised A"),
    }


def test_captions_say_which_lives_were_trained_on(complete: Path):
    """The range of the configuration; what lies outside is named. Bands are spoken of where they are drawn."""
    captions = shown(Page(complete))
    for start in ("Agents on gridworld", "LPG&#x27;s answers to gridworld"):
        (caption,) = [caption for alt, caption in captions.items() if alt.startswith(start)]
        assert "trained on lives of 4 updates; those of N = 16 it never saw." in caption
        assert ("95 % intervals" in caption) == start.startswith("Agents")
    assert ages._told((4, 16), [4, 16]) == ["The rule was trained on lives of 4 to 16 updates."] and not ages._told(
        None, [4]
    )


def test_schedules_of_before_there_were_errors_have_no_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tables(tmp_path / runs.SCHEDULES, LPO)
    bands = [len(axes.collections) for axes in drawn(monkeypatch, ages.read(tmp_path / runs.SCHEDULES))[0].axes]
    page = json.loads((tmp_path / runs.SCHEDULES).read_text())
    old = [{name: x for name, x in row.items() if not name.endswith("error")} for row in page["courses"]["gridworld"]]
    drifts = [{name: x for name, x in row.items() if name != "lifetime"} for row in page["drifts"]]
    write_text(tmp_path / runs.SCHEDULES, json.dumps({**page, "courses": {"gridworld": old}, "drifts": drifts}))
    found = ages.read(tmp_path / runs.SCHEDULES)
    assert np.isnan(found.courses["gridworld"][0].return_error).all() and found.trained is None and bands == [2, 2, 2]
    assert not any(word in picture.caption for picture in ages.pictures(found) for word in ("Shaded", "was trained"))


def test_drifts_that_know_n_say_so():
    """Each line has its N, and the caption which lives these are."""
    theta = {"hidden": jnp.ones((24, 2)) / 4, "output": jnp.ones((2, 1))}
    rows = schedules.drifts(theta, horizon.fraction_and_log, lifetime=20)
    (picture,) = ages.pictures(ages.Schedules({}, {}, rows, np.float64(schedules.RATIOS), {}, (10, 10)))
    assert "drawn for lives of 20 updates and, paler, of 10" in picture.caption
    assert "trained on lives of 10 updates; those of N = 20 it never saw" in picture.caption
    assert "LPO at n/N = 0.5, N = 20:" in picture.alt and "LPO at n/N = 0.5, N = 10:" in picture.alt


def test_schedules_come_back_from_their_file(tmp_path: Path):
    """Every number, and NaN where one was not finite or a drift does not know the age."""
    tables(tmp_path / runs.SCHEDULES, LPO)
    found = ages.read(tmp_path / runs.SCHEDULES)
    want = course(16)
    got = found.courses["gridworld"][1]
    assert got.lifetime == 16 and np.isnan(got.step[0]) and np.array_equal(got.step[1:], want.step[1:])
    assert all(np.array_equal(a, b) for a, b in zip(got[4:7], want[4:7], strict=True))
    assert np.array_equal(found.ratios, schedules.RATIOS)
    assert [row.age for row in found.drifts[:6:2]] == [0, 0.5, 1] and all(np.isnan(row.age) for row in found.drifts[6:])
    theta = {"hidden": jnp.ones((16, 2)), "output": jnp.ones((2, 1))}
    for row, other in zip(found.drifts, schedules.drifts(theta, horizon.fraction, lifetime=10), strict=True):
        assert np.array_equal(row.value, other.value) and np.array_equal(row.slope, other.slope)
    tables(tmp_path / runs.SCHEDULES)
    assert ages.read(tmp_path / runs.SCHEDULES).responses["gridworld"][1].pi_hat.tolist() == (
        (0.2 - 0.1 * np.linspace(0, 0.9, 4)).tolist()
    )


def damage(page: dict, *path: str | int, value: object) -> str:
    """The page with one value replaced."""
    *way, last = path
    at = page
    for step in way:
        at = at[step]
    at[last] = value
    return json.dumps(page)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("courses",), []),
        (("courses", "gridworld"), []),
        (("courses", "gridworld", 0), {"lifetime": 4}),
        (("courses", "gridworld", 0, "entropy"), [1.0]),
        (("courses", "gridworld", 0, "step"), ["x"] * 4),
        (("courses", "gridworld", 0, "reward"), [[1.0]] * 4),
        (("courses", "gridworld", 0, "episode_return"), [1.0]),
        (("courses", "gridworld", 0, "lifetime"), "4"),
        (("responses", "gridworld", 0, "pi_hat"), None),
        (("responses", "gridworld", 0, "lifetime"), "4"),
        (("drifts",), [{"name": "LPO"}]),
        (("drifts",), [{"name": "LPO", "age": 0, "advantage": 1, "value": [0.0], "slope": [0.0]}]),
        (("ratios",), 3),
    ],
)
def test_damaged_schedules_are_named(tmp_path: Path, path: tuple[str | int, ...], value: object):
    folder = fill(tmp_path / "run", "schedules")
    file = folder / runs.SCHEDULES
    file.write_text(damage(json.loads(file.read_text()), *path, value=value))
    with pytest.raises(ValueError, match=r"^schedules.json is damaged \("):
        ages.read(file)
    page = reports.write(folder).read_text()
    assert "schedules cannot be drawn: schedules.json is damaged" in page and "course-" not in page


def test_without_schedules_the_page_says_so(tmp_path: Path):
    """A run that was stopped, or one of before they were measured."""
    page = Page(reports.write(fill(tmp_path / "run", "metrics")))
    assert "What the rule does at each age was not measured yet" in page.text
    assert ">What the rule does at each age</h" not in page.text


def test_report_measures_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`groove report` of a folder with a rule but without schedules; it does so once."""
    settings = dataclasses.replace(SETTINGS, families=("bernoulli-bandit",), members=(2,))
    folder = fill(tmp_path / "run", settings=settings)
    theta = assembly.build(settings).parts[0].rule.init(jax.random.key(3))
    rulefile.save_rule(folder / runs.RULE, theta, {})
    assert cli.main(["report", str(folder)]) == 0
    assert "measuring" in capsys.readouterr().out
    found = ages.read(folder / runs.SCHEDULES)
    assert list(found.courses) == list(found.responses) == ["bernoulli-bandit"] and not found.drifts
    assert [row.lifetime for row in found.courses["bernoulli-bandit"]] == [2, 4, 8]
    assert cli.main(["report", str(folder)]) == 0
    assert "measuring" not in capsys.readouterr().out


def test_a_rule_that_cannot_be_read_does_not_stop_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = fill(tmp_path / "run", "metrics")
    (folder / runs.RULE).write_bytes(b"nonsense")
    assert cli.main(["report", str(folder)]) == 0
    assert "not measured" in capsys.readouterr().out and (folder / "report.html").is_file()
