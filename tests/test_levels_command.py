"""`groove levels show` and `groove levels diff`: what files hold, and how two of them differ."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from groove import cli, config, curate, curricula
from groove.analysis import differences
from groove.files import curriculumfile
from groove.files.curriculumfile import fresh, take
from levels import FAMILIES, dataset
from levels.bandit import bernoulli_bandit
from levels.gridworld import gridworld

GRIDS = gridworld(height=4, width=4, objects=2, episode_limit=10)
GRID_ROWS = curate.sampled(jax.random.key(0), GRIDS, curricula.constant(3), count=12)
ROWS = GRID_ROWS._replace(score=np.random.default_rng(0).normal(size=12).astype(np.float32))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    about = curriculumfile.about(config.smoke(config.QUICK), "gridworld", rule={"name": "a2c"}, versions={"jax": "1"})
    other = take(ROWS, np.arange(4, 12))
    other = other._replace(score=ROWS.score[4:] + 1, lifetime=np.where(np.arange(8) < 2, 7, 3).astype(np.int32))
    for name, rows in (("a.parquet", ROWS), ("b.parquet", other)):
        assert curriculumfile.save(folder / name, rows, about, family=GRIDS)
    return folder / "a.parquet", folder / "b.parquet"


def test_what_two_curricula_share(files):
    (family, one), (_, other) = (curriculumfile.opened(path) for path in files)
    found = differences.compare(one.rows, other.rows, (family, family))
    assert (found.levels, found.tasks) == ((4, 8, 0), (6, 6, 2))
    assert found.correlation is not None and found.correlation.point == pytest.approx(1.0)
    np.testing.assert_array_equal(found.scores[:, 1], found.scores[:, 0] + 1)
    names = {feature.name for feature in found.features}
    assert {"height", "walls", "reward_sum"} <= names
    for feature in found.features:
        want = stats.ks_2samp(feature.first, feature.second).statistic
        assert feature.distance == pytest.approx(want)
    distances = [feature.distance for feature in found.features]
    assert distances == sorted(distances, reverse=True)
    with pytest.raises(ValueError, match="curricula must be of one family, got 'gridworld' and 'bernoulli-bandit'"):
        differences.compare(one.rows, one.rows, (family, bernoulli_bandit(arms=3)))


def test_rank_correlation_is_spearmans():
    random = np.random.default_rng(1)
    pairs = random.normal(size=(40, 2))
    pairs[:, 1] += pairs[:, 0]
    pairs = np.round(pairs, 1)  # with ties
    found = differences.rank_correlation(pairs)
    assert found is not None and found.point == pytest.approx(stats.spearmanr(*pairs.T).statistic)
    assert found.low < found.point < found.high
    assert differences.rank_correlation(pairs[:2]) is None
    assert differences.rank_correlation(np.ones((5, 2))) is None


def test_an_interval_covers_as_often_as_it_says():
    """Independent scores: 0 lies within about 95 of 100 intervals; a bootstrap of 30 pairs may miss a few more."""
    random = np.random.default_rng(2)
    found = [differences.rank_correlation(random.normal(size=(30, 2)), repetitions=300) for _ in range(100)]
    assert sum(one.low <= 0 <= one.high for one in found if one) >= 85


def test_show(files, tmp_path: Path, capsys):
    assert cli.main(["levels", "show", str(files[0]), "--first", "2", "--page", str(tmp_path / "a.html")]) == 0
    shown = capsys.readouterr().out
    best = curriculumfile.row(ROWS.level, int(np.argmax(ROWS.score)))
    assert GRIDS.draw(best) in shown
    for words in (
        "12 of gridworld",
        "rank 1  score",
        "rank 12  score",
        "rule        name a2c",
        "antagonist a2c",
        "side 3 to 4",
    ):
        assert words in shown
    assert shown.count("\nrank ") == 4
    assert cli.main(["levels", "show", str(files[0]), "--first", "0"]) == 0
    assert "12 of gridworld" in (facts := capsys.readouterr().out) and "rank" not in facts
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img") >= 12 and "http" not in page.replace("http-equiv", "")
    assert "jax 1" in page and "highest scores" in page


def test_diff(files, tmp_path: Path, capsys):
    assert cli.main(["levels", "diff", *map(str, files), "--page", str(tmp_path / "d.html")]) == 0
    shown = capsys.readouterr().out
    assert "8 in both, 4 only in" in shown and "rank correlation  +1.00" in shown and "reward_max" in shown
    page = (tmp_path / "d.html").read_text()
    assert page.count("<img") == 2 and "6 in both" in page


def test_files_of_few_and_of_no_levels(tmp_path: Path, capsys):
    for rows in (0, 1):
        path = tmp_path / f"{rows}.parquet"
        assert curriculumfile.save(path, take(ROWS, np.arange(rows)), {}, family=GRIDS)
        assert cli.main(["levels", "show", str(path), "--page", str(tmp_path / "page.html")]) == 0
        assert f"{rows} of gridworld" in capsys.readouterr().out
        assert cli.main(["levels", "diff", str(path), str(path), "--page", str(tmp_path / "page.html")]) == 0
        assert f"{rows} in both" in capsys.readouterr().out


def test_families_without_pictures(tmp_path: Path, capsys):
    """gymnax's levels have no columns that this library knows: the file says how its generator was configured."""
    settings = dataclasses.replace(config.smoke(config.QUICK), families=("gymnax:CartPole-v1",), members=(1,))
    settings = dataclasses.replace(settings, gymnax=config.Gymnax(ranges=("gravity=8:12",)))
    settings = dataclasses.replace(settings, curriculum=dataclasses.replace(settings.curriculum, kind="uniform"))
    from groove import assembly

    family = assembly.family(settings, "gymnax:CartPole-v1")
    levels = jax.vmap(family.generator.sample)(jax.random.split(jax.random.key(0), 3))
    about = curriculumfile.about(settings, family.name, rule={}, versions={})
    path = tmp_path / "poles.parquet"
    assert curriculumfile.save(path, fresh(levels, lifetime=[1] * 3, score=[1, 2, 3]), about, family=family)
    assert cli.main(["levels", "show", str(path), "--page", str(tmp_path / "page.html")]) == 0
    assert "3 of gymnax:CartPole-v1" in capsys.readouterr().out


BAD = {
    "nothing": ([], None),
    "unknown command": (["shwo"], "unknown command 'shwo'; did you mean 'show'"),
    "no file": (["show", "nowhere"], "nowhere is not a file"),
    "no levels": (["show", str(Path(__file__))], "is damaged or no Parquet file"),
    "negative": (["show", "nowhere", "--first", "-1"], "first must be at least 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, capsys):
    words, message = BAD[case]
    assert cli.main(["levels", *words]) == 2
    if message:
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_an_unknown_family_is_named(tmp_path: Path, capsys):
    assert dataset.save(tmp_path / "f", {"a": np.zeros(2)}, {"lifetime": [1, 1], "score": [0, 0]}, family="gridwrld")
    assert cli.main(["levels", "show", str(tmp_path / "f")]) == 2
    assert "unknown family 'gridwrld'; did you mean 'gridworld'" in capsys.readouterr().err


def corners(key: jax.Array):
    """A generator of someone else's, for the family of grids."""
    return GRIDS.generator.sample(key)


def broken(key: jax.Array):
    return {"bias": 1.0 if jax.random.uniform(key) < 0.5 else 0.0}


def test_list(capsys):
    assert cli.main(["levels", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*FAMILIES, "regret", "prioritised", "lpg", "a2c", "gymnax:NAME"))


def test_check(capsys):
    few = ["--levels", "4", "--episodes", "4"]
    assert cli.main(["levels", "check", "bernoulli-bandit", *few]) == 0
    assert "bernoulli-bandit: all of " in capsys.readouterr().out
    assert cli.main(["levels", "check", f"{__name__}:broken", *few]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert cli.main(["levels", "check", "gridwrld", *few]) == 2
    assert "did you mean 'gridworld'" in capsys.readouterr().err


def test_check_of_a_generator_for_a_family(capsys):
    words = ["levels", "check", f"{__name__}:corners", "--family", f"{__name__}:GRIDS", "--levels", "4", "--episodes", "2"]
    assert cli.main(words) == 0
    assert "corners: all of " in capsys.readouterr().out
