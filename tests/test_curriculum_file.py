"""Curricula as files: what is written is read, what is wrong is named, what is read can be trained on."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groove import config, curricula, runs, scores
from groove.analysis import differences
from groove.base import Outcome
from groove.cli import train
from groove.cli.common import read
from groove.files import curriculumfile, sizes
from groove.files.curriculumfile import Rows, fresh
from levels import dataset
from levels.bandit import bernoulli_bandit

BANDITS = bernoulli_bandit(arms=3, pulls=(5, 5))
ROWS = 6
LEVELS = jax.tree.map(np.asarray, jax.jit(jax.vmap(BANDITS.generator.sample))(jax.random.split(jax.random.key(0), ROWS)))
PLAIN = fresh(LEVELS, lifetime=np.arange(1, 7), score=np.linspace(1, 0, 6))
LIFE = config.Life((1, 6), environments=2, steps=5)
SMALL = dataclasses.replace(config.smoke(config.QUICK), families=("bernoulli-bandit",), members=(2,), life=LIFE)
SMALL = dataclasses.replace(SMALL, meta=dataclasses.replace(SMALL.meta, updates=1), meta_steps=8)
KIN = PLAIN._replace(serial=np.array([4, 9, 2, 7, 30, 5], np.int32), parent=np.array([-1, 4, 9, 9, 8, -1], np.int32))


def test_round_trip(tmp_path: Path):
    measured = Outcome(np.arange(6, dtype=np.float32), np.ones(6, np.float32))
    rows = KIN._replace(reference=np.full(6, 2.0, np.float32), outcome=measured)
    content = curriculumfile.save(tmp_path / "f", rows, {"seed": "3"}, family=BANDITS, drawings=True)
    found = curriculumfile.load(tmp_path / "f", BANDITS)
    assert found.content == content and found.metadata == {"curriculum": "1", "seed": "3"}
    for got, want in zip(jax.tree.leaves(found.rows), jax.tree.leaves(rows._replace(reference=(), outcome=())), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)
    assert found.columns["parent_row"].tolist() == [-1, 0, 1, 1, -1, -1]
    assert found.columns["reference"].tolist() == [2.0] * 6
    assert found.columns["learner_episode_return"].tolist() == list(range(6))
    assert found.columns["text"][0] == BANDITS.draw(curriculumfile.row(LEVELS, 0))
    np.testing.assert_array_equal(found.columns["feature_pulls"], np.full(6, 5.0))


def test_files_of_other_programs_need_only_lifetime_and_score(tmp_path: Path):
    assert dataset.save(tmp_path / "f", LEVELS, {"lifetime": [1] * 6, "score": range(6)}, family="bernoulli-bandit")
    rows = curriculumfile.load(tmp_path / "f", BANDITS).rows
    assert rows.serial.tolist() == list(range(6)) and rows.parent.tolist() == [-1] * 6
    assert rows.score.dtype == np.float32 and rows.lifetime.dtype == np.int32


def columns(**changes) -> dict[str, np.ndarray | None]:
    whole = {"lifetime": KIN.lifetime, "score": KIN.score, "serial": KIN.serial, "parent": KIN.parent}
    return {name: column for name, column in (whole | changes).items() if column is not None}


def put(column: np.ndarray, row: int, value) -> np.ndarray:
    changed = column.copy()
    changed[row] = value
    return changed


WRONG = {
    "no lifetime": (columns(lifetime=None), "is no curriculum: it lacks the column lifetime"),
    "no score": (columns(score=None), "is no curriculum: it lacks the column score"),
    "lifetime of 0": (columns(lifetime=put(KIN.lifetime, 3, 0)), "lifetime must be at least 1 update, got 0 in row 3"),
    "lifetime and a half": (columns(lifetime=KIN.score), "lifetime must be an integer in every row, got float32"),
    "long lifetime": (
        columns(lifetime=put(KIN.lifetime.astype(np.int64), 2, 2**40)),
        "must fit 32 bits, .* in row 2",
    ),
    "score of text": (columns(score=np.array(["a"] * 6)), "the column score must be a number in every row"),
    "scores": (columns(score=np.ones((6, 2))), "the column score must be a number in every row, got float64\\[2\\]"),
    "score that is no number": (columns(score=put(KIN.score, 4, np.nan)), "score must be finite, got nan in row 4"),
    "score without end": (columns(score=put(KIN.score, 0, -np.inf)), "score must be finite, got -inf in row 0"),
    "score beyond float32": (
        columns(score=put(KIN.score.astype(float), 1, 1e300)),
        "must be finite, got 1e.300 in row 1",
    ),
    "serial twice": (columns(serial=put(KIN.serial, 5, 9)), "serial must be another than -1 in every row, got 9 in row 5"),
    "serial of nobody": (
        columns(serial=put(KIN.serial, 2, -1)),
        "must be another than -1 .* got -1 in row 2",
    ),
    "its own parent": (columns(parent=put(KIN.parent, 3, 7)), "parent must be another task, got 7 in row 3"),
    "wrong row of a parent": (
        columns(parent_row=np.array([-1, 0, 1, 0, -1, -1])),
        "must be the row .* got 0 in row 3",
    ),
    "life without end": (columns(lifetime=put(KIN.lifetime, 1, 2**31 - 1)), "must be at most 1000000 updates, .* in row 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_by_column_and_row(case: str, tmp_path: Path):
    table, message = WRONG[case]
    assert dataset.save(tmp_path / "f", LEVELS, table, family="bernoulli-bandit")
    with pytest.raises(ValueError, match=message):
        curriculumfile.load(tmp_path / "f", BANDITS)


def test_other_versions_and_families_are_refused(tmp_path: Path):
    assert dataset.save(tmp_path / "f", LEVELS, columns(), {"curriculum": "2"}, family="bernoulli-bandit")
    with pytest.raises(ValueError, match="has version '2' of a curriculum's columns, this reads '1'"):
        curriculumfile.load(tmp_path / "f", BANDITS)
    assert dataset.save(tmp_path / "f", LEVELS, columns(), family="gaussian-bandit")
    with pytest.raises(ValueError, match="levels of the family 'gaussian-bandit', not 'bernoulli-bandit'"):
        curriculumfile.load(tmp_path / "f", BANDITS)


NUMBERS = st.one_of(st.integers(-3, 12), st.integers(-(2**40), 2**40), st.floats(allow_nan=True), st.just(2.0**200))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["lifetime", "score", "serial", "parent", "parent_row"]),
    row=st.integers(0, ROWS - 1),
    value=NUMBERS,
    wide=st.booleans(),
)
def test_mutated_columns_load_as_a_curriculum_or_not_at_all(tmp_path: Path, name: str, row: int, value, wide: bool):
    table = columns(parent_row=curriculumfile.parent_rows(KIN.serial, KIN.parent))
    table[name] = put(
        table[name].astype(np.float64 if isinstance(value, float) else np.int64 if wide else object), row, value
    )
    if table[name].dtype == object:
        table[name] = np.array(table[name].tolist())
    assert dataset.save(tmp_path / "f", LEVELS, table, family="bernoulli-bandit")
    try:
        rows = curriculumfile.load(tmp_path / "f", BANDITS).rows
    except ValueError as error:
        assert name in str(error) or "parent" in str(error) or "serial" in str(error)
    else:
        assert np.all(rows.lifetime >= 1) and np.all(np.isfinite(rows.score))
        assert len(set(rows.serial.tolist())) == ROWS and -1 not in rows.serial and np.all(rows.parent != rows.serial)


HOSTILE = {
    "sides of nothing": ("gridworld", {"side": [3, None]}, "generator.side must be of the type .*got .3, None."),
    "one side": ("gridworld", {"side": [3]}, "generator.side must be of the type"),
    "sides as text": ("gridworld", {"side": "ab"}, "generator.side must be of the type"),
    "a truth": ("gridworld", {"objects": True}, "generator.objects must be of the type"),
    "objects of objects": ("gridworld", {"objects": {}}, "generator.objects must be of the type"),
    "wide": ("gridworld", {"side": [3, 100000]}, "generator.side must lie in 2 .. 256, in order, got .3, 100000."),
    "upside down": ("gridworld", {"side": [5, 3]}, "generator.side must lie in 2 .. 256, in order"),
    "endless": ("gridworld", {"limit": [5, float("inf")]}, "generator.limit must be of the type"),
    "loud": ("chain", {"noise": [0, float("nan")]}, "generator.noise must lie in"),
    "ranges": ("gymnax:CartPole-v1", {"ranges": [1]}, "generator.ranges must be of the type"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_sizes_that_no_levels_have_are_named(case: str):
    family, said, message = HOSTILE[case]
    with pytest.raises(ValueError, match=f"f.parquet: {message}"):
        sizes.sized(SMALL, {"generator": json.dumps({"family": family, **said})}, where="f.parquet")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(
    family=st.sampled_from(["gridworld", "chain", "gaussian-bandit", "gymnax:CartPole-v1", "jaxued:Maze", "a:b"]) | JSON,
    said=st.dictionaries(st.sampled_from([*sizes.RANGES, "ranges", "actor_rate", "x"]), JSON, max_size=3),
    whole=st.none() | JSON,
)
def test_whatever_a_file_says_of_its_generator_gives_sizes_or_an_error(family, said, whole):
    """Never learning rates, and never anything that is not of the type that a configuration has."""
    text = json.dumps({"family": family, **said} if whole is None else whole)
    try:
        found = sizes.sized(SMALL, {"generator": text}, where="f.parquet")
    except ValueError as error:
        assert str(error).startswith("f.parquet: generator.")
        return
    for part in ("grids", "bandits", "chains", "gymnax", "plugged"):
        old, new = getattr(SMALL, part), getattr(found, part)
        for field in dataclasses.fields(old):
            before, after = getattr(old, field.name), getattr(new, field.name)
            assert before == after or field.name in (*sizes.RANGES, "ranges")
            assert type(after) is type(before)


def test_a_family_that_is_not_known_is_said_with_its_file(tmp_path: Path):
    for family, said, message in (
        ("nobody", {}, "unknown family 'nobody'"),
        ("gymnax:Nope", {}, "Nope"),
        ("gymnax:CartPole-v1", {"ranges": ["gravity"]}, "FIELD=LOW:HIGH"),
        ("gymnax:CartPole-v1", {"ranges": ["nothing=1:2"]}, "nothing"),
        ("gymnax:CartPole-v1", {"ranges": ["max_steps_in_episode=1:1e400"]}, "max_steps_in_episode"),
        ("gymnax:CartPole-v1", {"ranges": ["gravity=nan:nan"]}, "gravity"),
    ):
        about = {"generator": json.dumps({"family": family, **said})}
        assert dataset.save(tmp_path / "f", {"a": np.zeros(2)}, {"lifetime": [1, 1], "score": [0, 1]}, about, family=family)
        with pytest.raises(ValueError, match=f"^{tmp_path / 'f'}: .*{message}"):
            curriculumfile.opened(tmp_path / "f")


def test_tasks_have_references_of_their_own(tmp_path: Path):
    """Computed anew, in blocks, each from its own key; memories begin, lineage stays."""
    drawn = scores.Score(
        lambda key, level, lifetime: jax.random.uniform(key), lambda outcome, reference, memory: (0.0, memory)
    )
    drawn = drawn._replace(memory={"best": jnp.float32(-1)})
    tasks = curriculumfile.tasks(jax.random.key(1), KIN, drawn, block=4)
    assert len(set(tasks.reference.tolist())) == ROWS
    np.testing.assert_array_equal(tasks.reference, curriculumfile.tasks(jax.random.key(1), KIN, drawn, block=4).reference)
    np.testing.assert_array_equal(tasks.reference, curriculumfile.tasks(jax.random.key(1), KIN, drawn, block=64).reference)
    np.testing.assert_array_equal(tasks.memory["best"], np.full(ROWS, -1.0))
    assert tasks.origin.serial.tolist() == [-2, -3, -4, -5, -6, -7]
    assert tasks.origin.parent.tolist() == [-1, -2, -3, -3, -1, -1]
    shapes = curriculumfile.tasks(None, KIN, drawn)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, tasks)


@pytest.fixture(scope="module")
def given_tasks():
    return curriculumfile.tasks(jax.random.key(1), PLAIN, scores.exact_regret(BANDITS.optimum))


def test_a_buffer_may_begin_with_a_file(given_tasks):
    source = curricula.pool(BANDITS.generator, scores.exact_regret(BANDITS.optimum), curricula.constant(3), size=4)
    teacher = curricula.warm_start(curricula.prioritised(source, capacity=8), given_tasks, jnp.asarray(PLAIN.score))
    state, propose = jax.jit(teacher.init)(jax.random.key(0)), jax.jit(teacher.propose)
    tasks, score, held = teacher.contents(state)
    assert sorted(np.asarray(score)[held].tolist()) == sorted(PLAIN.score.tolist())
    assert sorted(np.asarray(tasks.origin.serial)[held].tolist()) == [-7, -6, -5, -4, -3, -2]
    state = jax.jit(teacher.refresh)(jax.random.key(1), state)
    drawn = [propose(jax.random.key(i), state, np.ones(8, bool))[1] for i in range(20)]
    serials = np.concatenate([np.asarray(one.origin.serial) for one in drawn])
    assert (serials < 0).any() and (serials >= 0).any()
    with pytest.raises(ValueError, match="and score one for each, got 6 and scores"):
        curricula.warm_start(curricula.prioritised(source, capacity=8), given_tasks, jnp.zeros(5))


def test_rows_of_a_curriculum(given_tasks):
    rows = curriculumfile.of_tasks(given_tasks, PLAIN.score)
    assert isinstance(rows, Rows) and rows.serial.tolist() == [-2, -3, -4, -5, -6, -7]
    np.testing.assert_array_equal(rows.reference, jax.jit(jax.vmap(BANDITS.optimum))(LEVELS))


def run_of(path: Path, kind: str) -> config.Config:
    sizes = {"episodes": 2} if kind == "frozen" else {"episodes": 2, "capacity": 8}
    return dataclasses.replace(SMALL, curriculum=config.Curriculum(kind=kind, files=(str(path),), **sizes))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("file") / "six.parquet"
    assert curriculumfile.save(path, KIN, {}, family=BANDITS)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frozen", "prioritised"])
def test_a_run_may_begin_with_a_curriculum(kind: str, written: Path, tmp_path: Path):
    """Also once the file is gone; stopped and resumed it ends as if it had not been."""
    source = tmp_path / "here.parquet"
    assert source.write_bytes(written.read_bytes())
    for name in ("whole", "parts"):
        runs.create(run_of(source, kind), tmp_path / name)
    source.unlink()
    whole = runs.train(tmp_path / "whole", lambda rows: None)

    def stop(rows):
        if rows[-1]["step"] == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        runs.train(tmp_path / "parts", stop)
    parts = runs.train(tmp_path / "parts", lambda rows: None)
    for got, want in zip(jax.tree.leaves(parts.state), jax.tree.leaves(whole.state), strict=True):
        raw = [jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (got, want)]
        np.testing.assert_array_equal(*raw)
    (path,) = runs.save_curriculum(whole)
    found = curriculumfile.load(path, BANDITS)
    shared = differences.compare(found.rows, KIN, (BANDITS, BANDITS)).tasks
    assert shared[1] > 0 and (kind == "prioritised" or shared[0] == 0)
    assert found.metadata["step"] == "8" and json.loads(found.metadata["rule"])["name"] == "rule.safetensors"
    assert {"reference_episode_return", "feature_best", "parent_row"} <= set(found.columns)
    if kind == "frozen":
        known = [row for row in range(ROWS) if row in found.rows.serial]
        parents = curriculumfile.parent_rows(KIN.serial, KIN.parent)
        assert {int(s): int(p) for s, p in zip(found.rows.serial, found.rows.parent, strict=True)} == {
            row: parents[row] for row in known
        }


def test_curricula_that_do_not_fit_a_run(written: Path, tmp_path: Path):
    short = dataclasses.replace(SMALL, life=dataclasses.replace(SMALL.life, updates=(1, 5)))
    wide = dataclasses.replace(SMALL, bandits=dataclasses.replace(SMALL.bandits, arms=4))
    grids = dataclasses.replace(SMALL, families=("gridworld",))
    both = dataclasses.replace(SMALL, families=("gridworld", "bernoulli-bandit"), members=(2, 2))
    assert curriculumfile.save(tmp_path / "none", curriculumfile.take(KIN, np.arange(0)), {}, family=BANDITS)
    cases = [
        (short, "frozen", (written,), r"the column lifetime must lie within life.updates, 1 to 5, got 6 in row 5"),
        (wide, "frozen", (written,), r"level.mean must be float32\[4\] in every row, got float32\[3\]"),
        (grids, "frozen", (written,), "holds levels of 'bernoulli-bandit', the run has the families gridworld"),
        (both, "frozen", (written,), "'frozen' needs one file for each of the families"),
        (both, "prioritised", (written, written), "curriculum.files must be of different families"),
        (SMALL, "frozen", (), "'frozen' needs one file for each of the families"),
        (SMALL, "uniform", (written,), "curriculum.files need curriculum.kind 'frozen', 'prioritised' or 'accel'"),
        (SMALL, "frozen", (tmp_path / "none",), "must hold at least 1 task"),
    ]
    for settings_, kind, files, message in cases:
        chosen = dataclasses.replace(settings_.curriculum, kind=kind, files=tuple(map(str, files)))
        with pytest.raises(ValueError, match=message):
            runs.create(dataclasses.replace(settings_, curriculum=chosen), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    missing = dataclasses.replace(SMALL.curriculum, kind="frozen", files=("nowhere",))
    with pytest.raises(FileNotFoundError, match="nowhere is not a file"):
        runs.create(dataclasses.replace(SMALL, curriculum=missing), tmp_path / "run")


def test_the_flag_sets_families_sizes_and_lifetimes(written: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GROOVE_SMOKE", "1")
    about = curriculumfile.about(SMALL, "bernoulli-bandit", rule={}, versions={})
    path = tmp_path / "f.parquet"
    assert curriculumfile.save(path, PLAIN._replace(lifetime=np.full(6, 3, np.int32)), about, family=BANDITS)
    words = ["--curriculum", str(path), "--seed", "4"]
    _, found, _ = train._parse(read(list(words)))
    assert found.curriculum.kind == "frozen" and found.curriculum.files == (str(path),)
    assert (found.families, found.members) == (("bernoulli-bandit",), (4,))
    assert (found.life.updates, found.bandits.pulls, found.seed) == ((3, 3), (5, 5), 4)
    _, found, _ = train._parse(read([f"--curriculum={path}", "--curriculum.kind", "accel"]))
    assert found.curriculum.kind == "accel"
    with pytest.raises(ValueError, match="--curriculum needs the file of a curriculum"):
        train._parse(read(["--curriculum", "--seed", "1"]))
