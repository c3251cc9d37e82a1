"""Parts of other packages: listed without being imported, loaded with a reason when they cannot be."""

import sys

import jax
import pytest

from levels import plugins
from levels.base import Family
from levels.chain import chain

GOOD = """
from levels.chain import chain

CORRIDOR = chain()


def corridor():
    return CORRIDOR


def fails():
    return 1 / 0


def sample(key):
    return CORRIDOR.generator.sample(key)


def sized(key, family):
    return family.generator.sample(key)


def fails_later(key):
    raise RuntimeError("out of levels\\nand of patience")


def make():
    return CORRIDOR.generator
"""
MODULES = {
    "good_parts": GOOD,
    "bad_parts": "import a_package_that_is_not_there\n",
    "loud_parts": "raise SystemExit('no licence')\n",
}
ENTRIES = """
[groove.families]
corridor = good_parts:corridor
corridor-made = good_parts:CORRIDOR
broken = bad_parts:family
loud = loud_parts:family
misspelt = good_parts:coridor
mangled = good parts:corridor
number = good_parts:corridor.__code__.co_argcount
shared = good_parts:corridor

[groove.scores]
another-kind = good_parts:corridor
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Packages as pip leaves them: modules, and folders of metadata beside them."""
    for name, text in MODULES.items():
        assert tmp_path.joinpath(f"{name}.py").write_text(text)
    for name, entries in (
        ("demo_parts", ENTRIES),
        ("other_parts", "[groove.families]\nshared = good_parts:CORRIDOR\n"),
        ("ruined_parts", "[groove.families]\nruined = good_parts:CORRIDOR\n"),
    ):
        folder = tmp_path / f"{name}-1.2.dist-info"
        assert folder.mkdir() is None
        assert folder.joinpath("entry_points.txt").write_text(entries)
        if name != "ruined_parts":
            assert folder.joinpath("METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2\n"
            )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in MODULES:
        assert sys.modules.pop(name, None) is None or name == "good_parts"


def test_parts_are_listed_with_their_package_and_not_imported(installed):
    listed = plugins.names("groove.families")
    assert {plugin.name for plugin in listed} >= {
        "broken", "corridor", "corridor-made", "loud", "mangled", "misspelt", "number", "ruined", "shared",
    }  # fmt: skip
    first = next(plugin for plugin in listed if plugin.name == "corridor")
    assert first == plugins.Plugin("corridor", "groove.families", "good_parts:corridor", "demo-parts 1.2")
    assert str(first) == "plug-in 'corridor' (demo-parts 1.2, good_parts:corridor)"
    assert [plugin.name for plugin in plugins.names("groove.scores")] == ["another-kind"]
    assert not set(MODULES) & set(sys.modules)


def test_a_part_is_loaded_by_name_and_by_place(installed):
    made = plugins.load("groove.families", "corridor-made", accepts=lambda found: isinstance(found, Family))
    assert made.name == "chain"
    assert plugins.load("groove.families", "good_parts:CORRIDOR") is made
    assert plugins.load("groove.families", "corridor")() is made
    assert plugins.load("groove.families", "ruined") is made
    assert plugins.load("groove.rules", "levels.chain:chain") is chain


@pytest.mark.parametrize(
    "name, message",
    [
        ("coridor", r"unknown plug-in 'coridor' of groove.families; did you mean 'corridor'\? Known: broken, "),
        ("chian", r"unknown plug-in 'chian' .*; did you mean 'chain'\?"),
        ("zzz", r"unknown plug-in 'zzz' of groove.families\. Known: "),
        ("broken", r"plug-in 'broken' \(demo-parts 1.2, bad_parts:family\) cannot be imported: ModuleNotFoundError: No"),
        ("loud", r"plug-in 'loud' .* cannot be imported: SystemExit: no licence"),
        ("misspelt", r"plug-in 'misspelt' .* cannot be loaded: .*'coridor'; did you mean 'corridor'\?"),
        ("mangled", r"plug-in 'mangled' .* must be of the form package.module:object, got 'good parts:corridor'"),
        ("shared", r"plug-in 'shared' is offered by several packages; .* good_parts:CORRIDOR of other-parts 1.2"),
        ("number", r"plug-in 'number' .* must be a Family or a function that makes one, got the int 0\."),
        ("bad_parts:family", r"plug-in 'bad_parts:family' cannot be imported: ModuleNotFoundError"),
        ("good_parts:nothing", r"plug-in 'good_parts:nothing' cannot be loaded: module 'good_parts' has no attribute"),
        ("not_there.at_all:thing", r"plug-in 'not_there.at_all:thing' cannot be imported: ModuleNotFoundError"),
        (":thing", r"plug-in ':thing' must be of the form package.module:object"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_the_reason(installed, name, message):
    with pytest.raises(ValueError, match=message):
        plugins.load(
            "groove.families", name, known=("chain",), accepts=callable, kind="a Family or a function that makes one"
        )


def test_families_and_generators_are_made(installed):
    for name in ("corridor", "corridor-made", "good_parts:corridor"):
        assert plugins.family("groove.families", name).name == "chain"
    key = jax.random.key(0)
    sampled = [
        plugins.generator("groove.generators", "good_parts:sample").sample(key),
        plugins.generator("groove.generators", "good_parts:make").sample(key),
        plugins.generator("groove.generators", "good_parts:sized", family=chain()).sample(key),
    ]
    assert len({str(level) for level in sampled}) == 1
    assert plugins.generator("groove.generators", "good_parts:make").mutate is not None
    for name, message in (
        ("good_parts:fails", "plug-in 'good_parts:fails' fails: ZeroDivisionError: division by zero"),
        ("good_parts:make", "plug-in 'good_parts:make' must be a Family or a function that makes one, got Generator"),
        ("good_parts:sample", "plug-in 'good_parts:sample' fails: TypeError: .*'key'"),
    ):
        with pytest.raises(plugins.PluginError, match=message):
            plugins.family("groove.families", name)
    with pytest.raises(ValueError, match="plug-in 'good_parts:CORRIDOR' must be a Generator, a function of a key"):
        plugins.generator("groove.generators", "good_parts:CORRIDOR")
    with pytest.raises(ValueError, match="a key and a family, which is not known here; it needs key, family"):
        plugins.generator("groove.generators", "good_parts:sized")


def test_whatever_fails_later_is_blamed_too(installed):
    found = plugins.generator("groove.generators", "good_parts:fails_later")
    with pytest.raises(plugins.PluginError, match="^plug-in 'good_parts:fails_later' fails: RuntimeError: out of levels"):
        jax.eval_shape(found.sample, jax.random.key(0))
    inner = plugins.blamed("outer", Family("x", None, found, str))
    with pytest.raises(plugins.PluginError, match="^plug-in 'good_parts:fails_later' fails"):
        inner.generator.sample(jax.random.key(0))


def test_where_parts_come_from_is_known_without_importing_them(installed):
    assert plugins.origin("groove.families", "broken") == "demo-parts 1.2"
    assert plugins.origin("groove.families", "good_parts:corridor") == "no installed package"
    assert plugins.origin("groove.families", "jax.numpy:sum").startswith("jax ")
    with pytest.raises(ValueError, match="unknown plug-in 'brokn'"):
        plugins.origin("groove.families", "brokn")
