"""The page of an evaluation: what it says, and what a browser makes of it."""

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from test_evaluation import made_up

from groove import evaluation
from groove.evaluation import results
from groove.report import combined, contests, figures
from groove.report import suites as pages

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
MARKUP = "<img src=x onerror=alert(1)>"
CLICK = """<script>
const head = document.querySelectorAll("table.sortable thead button"), body = document.querySelector("table.sortable tbody");
const order = () => Array.from(body.rows).map(row => row.cells[0].textContent).join(" ");
head[2].click(); const down = order(); head[2].click();
const asked = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:")).length;
document.title = `sorted ${down} | ${order()} | ${head[2].closest("th").getAttribute("aria-sort")} | requests ${asked}`;
</script>"""


def written(folder: Path, table: pa.Table) -> tuple[Path, str]:
    page = pages.write(evaluation.suite_results(table), folder)
    return page, page.read_text(encoding="utf-8")


def test_the_page_says_what_must_be_known(tmp_path: Path):
    tuned = np.array(made_up()["rule"]) == "b"
    page, text = written(tmp_path, made_up(tuned=tuned))
    assert "Not tuned for this suite at this scale: a." in text
    assert "From one meta-seed only: b." in text
    assert "These results are of other levels" in text  # no suite of groove is called s
    assert re.search(r"0\.41 \(0\.40 to 0\.41\)", text)  # the interquartile mean of 0.4, 0.401, 0.41, 0.411
    assert text.count("<img") == 4 and text.count('alt="') == 4  # intervals, courses, profiles, improvement
    assert "http" not in re.sub(r"data:image/png;base64,[^\"]*", "", text)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "s-tiny-intervals.png", "s-tiny-courses.png", "s-tiny-profiles.png", "s-tiny-improvement.png",
    }  # fmt: skip
    assert page.name == "report.html"


def test_of_many_rules_the_best_are_drawn(monkeypatch: pytest.MonkeyPatch):
    """24 of 27, in the order in which they came: not the two lowest, nor the one whose agents diverged."""
    drawn: list[list[str]] = []

    def spy(suite_result, *sums):
        drawn.append([entry.rule for entry in suite_result.entries])
        assert all(list(own) == drawn[-1] for own in sums)
        return figures.Picture("p", b"", "")

    for name in ("_intervals", "_courses", "_profiles", "_matrix"):
        monkeypatch.setattr(contests, name, spy)
    point = np.random.default_rng(0).permutation(27) - 13.0
    point[point == 13] = -np.inf
    entries = tuple(SimpleNamespace(rule=f"r{i}") for i in range(27))
    nothing = dict.fromkeys(evaluation.SuiteResult._fields)
    sums = {f"r{i}": SimpleNamespace(aggregates={"IQM": SimpleNamespace(point=one)}) for i, one in enumerate(point)}
    found = contests.pictures(evaluation.SuiteResult(**(nothing | {"entries": entries})), sums)
    assert drawn == [[f"r{i}" for i in range(27) if point[i] > -12]] * 4
    assert all(picture.caption.endswith("Drawn are the best 24 of 27 rules.") for picture in found)


def test_where_an_agent_diverged_is_worst_of_all(monkeypatch: pytest.MonkeyPatch):
    """Then come the lowest means, six levels in all; the random policy has none."""
    drawn: list[tuple[str, str]] = []
    monkeypatch.setattr(pages, "_level", lambda suite_result, task, name, said: drawn.append((task, said)))
    mean = np.array([0.5, -0.25, 0.75, 0.0, np.nan, 1.5, 0.25, 1.0])
    scores = np.stack([mean - 0.125, mean + 0.125])[None]
    entries = [SimpleNamespace(rule=rule, scores=scores) for rule in ("random", "mine")]
    suite_result = SimpleNamespace(suite="chains", scale="tiny", tasks=tuple("abcdefgh"), entries=entries)
    assert pages._worst(suite_result, 0) == pages._worst(suite_result, 1) == []
    assert [task for task, _ in drawn] == list("ebdgac")
    assert [said for _, said in drawn[:2]] == ["score diverged", "score -0.25"]


def test_names_are_shown_not_run(tmp_path: Path):
    names = np.where(np.array(made_up()["rule"]) == "a", MARKUP, "b")
    _, text = written(tmp_path, made_up(rule=names, task=np.where(np.array(made_up()["task"]) == "x", MARKUP, "y")))
    assert MARKUP not in text and "&lt;img src=x onerror=alert(1)&gt;" in text


def test_nothing_to_normalise_by_is_said(tmp_path: Path):
    table = made_up(one=np.full(16, np.nan), one_is=np.repeat("", 16))
    _, text = written(tmp_path, table)
    assert "Not normalised" in text and "Summary" not in text and "40.500" in text
    (suite_result,) = evaluation.suite_results(table)
    title, head, rows = pages.lines(suite_result)
    assert "nothing says what 0 and 1 are" in title and head == ["rule", "mean return"] and rows[0] == ["a", "40.5"]


def test_a_lone_rule_has_a_page(tmp_path: Path):
    _, text = written(tmp_path, made_up().slice(0, 8))
    assert "Probability of improvement" not in text and "Summary" in text


def test_the_worst_levels_are_drawn(tmp_path: Path):
    plan = evaluation.Plan("chains", "smoke", (), None)
    names = {"x": "chain-5-quiet", "y": "chain-5-noisy"}
    table = made_up(suite=np.repeat(plan.suite, 16), task=np.array([names[task] for task in made_up()["task"].to_pylist()]))
    _, text = written(tmp_path, table)
    assert text.index("chain-5-quiet\nscore 0.41") < text.index("chain-5-noisy\nscore 0.41")  # the lowest first


def test_several_results_on_one_page(tmp_path: Path):
    for name, table in (("one", made_up().slice(0, 8)), ("two", made_up().slice(8))):
        (tmp_path / name).mkdir()
        assert results.write(tmp_path / name / results.NAME, table)
    page = combined.write([], [tmp_path / "one", tmp_path / "two"], tmp_path / "both" / "page.html")
    assert "Probability of improvement" in page.read_text(encoding="utf-8")


def browse(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Opens a page, runs its scripts, and prints what became of it."""
    quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    words = [str(BROWSER), *quiet, f"--user-data-dir={page.parent}/profile", *flags, "--dump-dom", page.as_uri()]
    return subprocess.run(words, text=True, capture_output=True, timeout=120, check=True)


@in_browser
def test_a_browser_finds_nothing_wrong_and_sorts(tmp_path: Path):
    """No message on the console, no request, nothing run that a name says; the table sorts both ways."""
    names = np.where(np.array(made_up()["rule"]) == "a", MARKUP, "b")
    page, text = written(tmp_path, made_up(rule=names))
    page.write_text(text.replace("</body>", f"{CLICK}</body>"), encoding="utf-8")
    done = browse(page, "--enable-logging=stderr")
    assert "CONSOLE" not in done.stderr, done.stderr
    assert "<title>sorted y x | x y | ascending | requests 0</title>" in done.stdout


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(tmp_path: Path, scheme: str):
    page, text = written(tmp_path, made_up())
    probe = "<script>document.title = `wide ${document.documentElement.scrollWidth <= innerWidth}`;</script>"
    page.write_text(text.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    done = browse(page, "--window-size=500,900", f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}")
    assert "<title>wide true</title>" in done.stdout


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screenshot_shows_a_page(tmp_path: Path, scheme: str):
    """Text and pictures on a ground of the scheme's colour, at the width of a phone."""
    page, _ = written(tmp_path, made_up())
    shot, colours = tmp_path / "shot.png", f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    assert browse(page, "--window-size=500,2000", colours, f"--screenshot={shot}").returncode == 0
    with Image.open(shot) as picture:
        grey = np.asarray(picture.convert("L"), np.float64) / 255
    assert grey.shape == (2000, 500)
    ground = grey[5, 5]
    assert ground > 0.8 if scheme == "light" else ground < 0.3
    drawn = np.abs(grey - ground) > 0.25
    assert 0.01 < drawn.mean() < 0.8  # share of pixels
    assert all(part.any() for part in np.array_split(drawn[:1000], 10))  # from the top on


def test_the_sorting_script_is_there_once_and_only_with_a_table(tmp_path: Path):
    _, text = written(tmp_path, made_up())
    assert text.count("<script>") == 1
    assert '"aria-sort"' in text
