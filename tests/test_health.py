"""The health of curricula and the lineage of what they keep, as the report shows them."""

import dataclasses
import io
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from groove import assembly, config, curricula, scores
from groove.base import Outcome
from groove.curricula.clutr import train
from groove.report import health, html, lineage
from groove.report.record import Kept, Record
from groove.runs import describe
from levels.base import Family

SETTINGS = dataclasses.replace(config.smoke(config.QUICK), families=("gridworld",), members=(2,), meta_steps=6)
GRIDS = assembly.family(SETTINGS, "gridworld")
FIRST = jax.jit(GRIDS.generator.sample)(jax.random.key(0))
LEVELS = jax.jit(jax.vmap(GRIDS.generator.mutate, (0, None)))(jax.random.split(jax.random.key(1), 5), FIRST)
LEVELS = jax.tree.map(np.asarray, LEVELS)


def kept(parent: list[int]) -> Kept:
    """Five levels, highest score first, numbered from 10."""
    score = np.float32([3, 2, 1, 0, -1])
    return Kept(LEVELS, np.full(5, 4, np.int32), score, np.arange(10, 15), np.array(parent))


def record(counts: Mapping[str, list[float]], **held: Kept) -> Record:
    """A run whose curriculum's numbers are these, a chunk of two meta-steps each."""
    names = counts.items()
    rows = [
        {"step": i + 1, **{f"gridworld/curriculum_{name}": values[i // 2] for name, values in names}}
        for i in range(2 * len(next(iter(counts.values()))))
    ]
    return Record("run", SETTINGS, {}, rows, None, (GRIDS,), held, None, None, ())


def test_lines_of_descent():
    """Children of one level that is not kept are of one family; generations count from the first level that is known."""
    found = lineage.lineage(np.array([10, 11, 12, 13, 14]), np.array([-1, 10, 11, 99, 99]))
    assert found.parent.tolist() == [-1, 0, 1, -1, -1] and found.generation.tolist() == [0, 1, 2, 1, 1]
    assert found.lost.tolist() == [False, False, False, True, True] and found.edits == 4
    assert found.family.tolist() == [0, 0, 0, 1, 1]
    nobody = lineage.lineage(np.zeros(0, int), np.zeros(0, int))
    assert nobody.edits == 0 and not lineage.trees(nobody, np.zeros(0))


def test_a_file_whose_lines_run_in_circles_is_drawn_all_the_same():
    found = lineage.lineage(np.array([0, 1, 2]), np.array([2, 0, 1]))
    assert found.edits == 2 and sorted(found.generation.tolist()) == [0, 1, 2]
    assert len(lineage.trees(found, np.zeros(3))) == 1


def test_trees_are_the_largest_families():
    parent = np.array([-1, 0, 0, 1, -1, 4, -1, 6, 6, 7, 7, 7, -1])
    found = lineage.trees(lineage.lineage(np.arange(13), parent), np.zeros(13))
    assert [sorted(tree.rows) for tree in found] == [[6, 7, 8, 9, 10, 11], [0, 1, 2, 3], [4, 5]]
    first = found[1]
    assert first.rows == (0, 1, 2, 3) and first.x[1] == first.x[3] and first.x[0] == (first.x[1] + first.x[2]) / 2
    for tree in found:
        leaves = sorted(tree.x[one] for one in tree.rows if one not in {parent[other] for other in tree.rows})
        assert leaves == list(range(len(leaves)))


def test_large_trees_keep_the_best_and_their_ancestors():
    parent = np.append([-1, 0, 1], np.full(60, 2))
    score = np.arange(63, dtype=np.float32)
    (tree,) = lineage.trees(lineage.lineage(np.arange(63), parent), score)
    assert tree.size == 63 and {0, 1, 2} < set(tree.rows) and len(tree.rows) == 3 + lineage.LEAVES
    assert set(tree.rows) - {0, 1, 2} == set(range(63 - lineage.LEAVES, 63))


def test_a_tree_is_drawn_and_said():
    """One picture with all that it shows in words; levels without pictures are drawn as text; names are escaped."""
    (picture,) = lineage.pictures(GRIDS, kept([-1, 10, 11, 99, -1]), "difference of returns")
    assert "level 1, score 3.00, not edited; level 2, score 2.00, from level 1" in picture.alt
    assert picture.caption.startswith("All 3 kept levels of one family of gridworld. Score: difference of returns.")
    image = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))
    near = np.max(np.abs(image.astype(int) - lineage.MARK), axis=-1) < 30
    assert np.any(near)  # what edits changed is outlined
    (lost, *_) = lineage.pictures(GRIDS._replace(image=None, name="<b>maze</b>"), kept([99, 99, 99, -1, -1]))
    assert "level 1, score 3.00, from one no longer kept" in lost.alt
    assert "<b>" in lost.caption and "<b>" not in html.figure(lost)
    assert lineage.pictures(GRIDS, kept([-1] * 5)) == []


@pytest.mark.parametrize(("parent", "dashed", "lines"), [([99, 99, 11, -1, -1], 1, 4), ([-1, 10, 11, -1, -1], 0, 2)])
def test_an_ancestor_that_is_not_kept_is_a_dashed_box(monkeypatch: pytest.MonkeyPatch, parent, dashed: int, lines: int):
    """At the top, with lines to its children; without one there is none. Every other line leads from parent to child."""
    figures = []
    monkeypatch.setattr(lineage, "finished", lambda figure: figures.append(figure) or b"")
    assert len(lineage.pictures(GRIDS, kept(parent))) == 1
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts].count("no longer kept") == dashed
    assert [line.get_linestyle() for line in axes.get_lines()].count("--") == dashed and len(axes.get_lines()) == lines
    assert axes.get_ylim() == (2.5, -0.3)


def test_the_most_telling_changes_come_first():
    """By deviations over all that is kept: walls by 1.2 of them, the limit by a quarter; what looks the same is left out."""
    features = {"limit": [100, 140, 500, 260], "side": [7, 7, 9, 4], "walls": [0.1, 0.4, 0.3, 0.7]}
    moved = lineage._moved({name: np.array(values, float) for name, values in features.items()}, 0, 1)
    assert moved == [("walls", 0.1, 0.4), ("limit", 100.0, 140.0)]


def test_changes_are_outlined():
    before = np.full((30, 30, 3), 200, np.uint8)
    after = before.copy()
    after[10:20, 10:20] = 0
    drawn = lineage.marked(after, before)
    ring = np.all(drawn == lineage.MARK, axis=-1)
    assert np.all(drawn[10:20, 10:20] == 0) and not np.any(ring[:8]) and np.all(ring[8, 10:20])
    assert np.array_equal(lineage.marked(before, before), before)
    assert lineage.marked(after, before[:5]) is after


def test_courses_of_a_buffer():
    """Effective beside held, churn and shares by chunk of two meta-steps."""
    counts = {"fill": [0.5, 1], "effective": [1, 3], "age": [1, 3], "written": [2, 9]}
    counts |= {"taken": [4, 6], "replayed": [0, 3], "edits": [0, 1]}
    found = {one.title: one for one in health.courses(record(counts), "gridworld")}
    effective = found["effective tasks, of those held"]
    assert effective.line.step.tolist() == [2, 4] and effective.line.value.tolist() == [1, 3]
    assert effective.beside is not None and effective.beside.value.tolist() == [2, 4]  # of a capacity of 4
    assert found["tasks written in a chunk"].line.step.tolist() == [2, 4]
    assert found["tasks written in a chunk"].line.value.tolist() == [2, 7]
    np.testing.assert_allclose(found["share of replays"].line.value, [0, 3 / 6])
    np.testing.assert_allclose(found["share of edits"].line.value, [0, 1 / 6])
    (picture,) = health.pictures(record(counts))
    assert "at the end: effective tasks, of those held 3; tasks written in a chunk 7" in picture.alt
    assert health.pictures(record({"taken": [1, 2], "reused": [0, 0]})) == []


@pytest.mark.parametrize("kind", ["prioritised", "accel", "sfl", "alp-gmm", "uniform", "clutr"])
def test_what_curricula_say_of_themselves_is_shown(kind: str):
    """Every number of a curriculum's info is drawn, but for those that other sections show."""
    settings = dataclasses.replace(SETTINGS, curriculum=dataclasses.replace(SETTINGS.curriculum, kind=kind))
    if kind == "clutr":
        score = scores.uniform()
        made = train(jax.random.key(0), GRIDS.generator, samples=4, steps=1, batch=2)[0]
        curriculum = assembly.curriculum_of(settings, GRIDS, score, 2, found=made)
    else:
        curriculum = assembly.build(settings).parts[0].group.curriculum
    info = jax.eval_shape(lambda key: curriculum.info(curriculum.init(key)), jax.random.key(0))
    shown = {"fill", "effective", "age", "written", "taken", "replayed", "edits", *health.PLAIN}
    assert set(info) - shown <= {"entropy", "reused", "score"}
    found = health.courses(record({name: [1.0, 2.0] for name in info}), "gridworld")
    assert bool(found) == (kind != "uniform")


def test_effective_tasks_are_those_of_all_that_is_held():
    """Also of those in play, which the dashed line counts: of four held alike, one idle, it is four."""
    source = curricula.pool(GRIDS.generator, scores.uniform(), curricula.constant(2), size=4)
    kept = curricula.prioritised(source, capacity=4, replay=1.0, staleness=0.0)
    one, everyone, propose = np.ones(4, np.float32), np.ones(4, bool), jax.jit(kept.propose)
    state, tasks = propose(jax.random.key(2), jax.jit(kept.init)(jax.random.key(0)), everyone)
    state = jax.jit(kept.report)(state, tasks, one, Outcome(one, one), everyone)
    state, _ = propose(jax.random.key(3), state, np.array([True, True, True, False]))
    assert np.any(np.asarray(state.buffer.active) > 0)
    assert jax.jit(kept.info)(state)["effective"] == pytest.approx(4.0)


def test_the_share_of_levels_in_play_that_can_be_solved():
    """Of the first ones, with optima of 1 where the first cell is a wall; nothing is said where no optimum is known."""
    run = assembly.build(SETTINGS)
    levels = jax.tree.map(np.asarray, jax.jit(jax.vmap(GRIDS.generator.sample))(jax.random.split(jax.random.key(3), 100)))
    wall = lambda level: level.walls[0, 0].astype(jnp.float32)  # noqa: E731
    state = jax.eval_shape(run.trainer.init, jax.random.key(0))
    tasks = (state.live[0].task._replace(level=levels),)
    for optimum, want in ((wall, np.mean(levels.walls[:64, 0, 0])), (None, None)):
        part = run.parts[0]._replace(family=GRIDS._replace(optimum=optimum))
        found = describe(run._replace(parts=(part,)), tasks)
        assert (
            (found.get("gridworld/solvable") == want) if want is None else found["gridworld/solvable"] == pytest.approx(want)
        )
    rows = [{"step": i + 1, "gridworld/curriculum_fill": 0.5, "gridworld/solvable": 0.25 * (i // 2)} for i in range(4)]
    shown = {one.title: one for one in health.courses(record({"fill": [1]})._replace(metrics=rows), "gridworld")}
    assert shown["share of levels in play that can be solved"].line.value.tolist() == [0.0, 0.25]


def solved(optimum: float) -> Family:
    return GRIDS._replace(optimum=lambda level: jnp.float32(optimum))


def test_what_can_be_solved():
    assert health.solvable(solved(0.0), LEVELS) == (0.0, 0.0)
    assert health.solvable(solved(0.1), jax.tree.map(lambda leaf: leaf[:0], LEVELS)) == (None, 1.0)
    assert health.solvable(GRIDS._replace(optimum=None), LEVELS) is None
    first = jax.tree.map(lambda leaf: leaf[:1], LEVELS)
    one = GRIDS._replace(optimum=lambda level: jnp.all(level.walls == LEVELS.walls[0]).astype(jnp.float32))
    share = health.solvable(one, first)
    assert share is not None and share[0] == 1.0 and share[1] < 0.5


def test_what_is_kept_in_a_row():
    run = record({"taken": [1]}, gridworld=kept([-1, 10, 11, 99, -1]))._replace(families=(solved(0.5),))
    assert health.rows(run) == [["gridworld", "5", "100 %", "100 %", "3 (1 from levels no longer kept)", "2"]]
    unknown = run._replace(families=(GRIDS._replace(optimum=None),), kept={"gridworld": kept([-1] * 5)})
    assert health.rows(unknown) == [["gridworld", "5", "not known", "not known", "none", "0"]]
    page = html.table("a <b>", health.HEAD, [["<i>", *health.rows(run)[0][1:]]])
    assert "<b>" not in page and "<i>" not in page and "&lt;i&gt;" in page


def test_what_never_moves_is_said_and_not_drawn():
    counts = {"fill": [0.5, 0.5, 0.5], "effective": [1, 3, 2], "age": [3, 3, 3], "written": [2, 9, 1]}
    run = record(counts)
    capacity = SETTINGS.curriculum.capacity
    carried, still = health.sentences(run, "gridworld")
    assert carried == f"2 of {capacity / 2:.0f} tasks carry the replay of gridworld."
    assert still == "gridworld: the same throughout: mean age, in proposals 3."
    picture = health.picture(run, "gridworld", 0)
    assert picture is not None and "mean age" not in picture.alt and "effective tasks" in picture.alt
    assert health.sentences(record({"fill": [0.5, 1.0]}), "gridworld") == []
    assert health.picture(record({"age": [3, 3, 3]}), "gridworld", 0) is None
