"""The shape of the source: who imports whom, what may stand as a statement, how long things get."""

import ast
import builtins
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each room may import those of lower floors; rooms on one floor do not know each other.
FLOORS = (
    {"levels.base"},
    {"groove.base", "groove.statistics", "groove.parallel"},
    {"groove.nets"},
    {"groove.rules", "groove.curricula", "groove.trainer"},
    {"groove.lifetime"},
    {"groove.scores", "groove.meta"},
    {"groove.config"},
    {"groove.assembly"},
    {"groove.files"},
    {"groove.protocols"},
    {"groove.runs"},
    {"groove.curate", "groove.evaluation"},
    {"groove.analysis"},
    {"groove.report"},
    {"groove.cli"},
    {"groove"},  # groove/__init__.py, the list of public names
)
KNOW_NO_FAMILY = ("levels.base", "levels.files")
KNOW_FAMILIES = (
    "groove", "groove.config", "groove.assembly", "groove.files", "groove.protocols", "groove.runs", "groove.curate",
    "groove.evaluation", "groove.analysis", "groove.report", "groove.cli",
)  # fmt: skip
HAVE_EFFECTS = (
    "groove.parallel.processes", "groove.config", "groove.files", "groove.protocols.tuned", "groove.runs", "groove.curate",
    "groove.evaluation", "groove.analysis", "groove.report", "groove.cli", "levels.check", "levels.dataset", "levels.files",
    "levels.suites.make",
)  # fmt: skip
PAINT = ("levels.gridworld.image", "levels.bandit.image")  # into an array of pixels, in place
REGISTRATIONS = ("defvjp", "defjvp", "def_impl", "def_abstract_eval", "defbilinear", "register_lowering")  # with JAX
MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_TEST_FILE = 350, 500

FILES = sorted((*ROOT.glob("groove/**/*.py"), *ROOT.glob("levels/**/*.py")))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def within(module: str, parents: tuple[str, ...] | set[str]) -> bool:
    """Whether `module` is one of `parents` or inside one; `groove` itself is only groove/__init__.py."""
    return any(module == parent or (parent != "groove" and module.startswith(f"{parent}.")) for parent in parents)


def room_of(module: str) -> str:
    found = [room for room in set().union(*FLOORS) if within(module, (room,))]
    assert found, f"{module} has no room: add it to FLOORS in {__file__}, and to DESIGN"
    return max(found, key=len)


def floor_of(module: str) -> int:
    return next(height for height, rooms in enumerate(FLOORS) if room_of(module) in rooms)


def imports_of(path: Path) -> Iterator[str]:
    """Absolute names of every import in the file, wherever it stands; `from a import b` gives a.b where that is a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            yield from (inner if is_module(inner := f"{node.module}.{alias.name}") else node.module for alias in node.names)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def functions_of(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


def may_stand_alone(node: ast.Expr, *, effects: bool) -> bool:
    """Docstrings, `...`, yields; of calls in pure code checks that raise (named check*, assert_*), growing lists, and
    registrations of derivatives; where a module has effects, every call."""
    match node.value:
        case ast.Yield() | ast.YieldFrom() | ast.Constant(value=str()) | ast.Constant(value=builtins.Ellipsis):
            return True
        case ast.Call() if effects:
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="append" | "extend")):
            return owner not in ("np", "jnp")
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.lstrip("_").startswith(("check", "assert_")) or name in REGISTRATIONS
    return False


def arguments_of(function: Function) -> list[ast.arg]:
    named = function.args
    return [*named.posonlyargs, *named.args, *named.kwonlyargs]


every_file = pytest.mark.parametrize("path", FILES, ids=module_of)


def test_there_are_files():
    assert len(FILES) > 2


@every_file
def test_arrows_point_one_way(path: Path):
    module = module_of(path)
    for name in imports_of(path):
        if name.split(".")[0] == "levels" and not module.startswith("levels"):
            assert name in KNOW_NO_FAMILY or within(module, KNOW_FAMILIES), f"{module} imports {name}"
        if name.split(".")[0] == "groove":
            assert not module.startswith("levels"), f"{module} imports {name}"
            below = floor_of(name) < floor_of(module) or room_of(name) == room_of(module)
            assert below, f"{module} imports {name}, which is not below it"
    if module == "levels.base":
        assert not any(name.startswith(("levels", "groove")) for name in imports_of(path))


SLOW_OR_OPTIONAL = (
    "levels.adapters",
    "evosax",
    "jax.experimental",
    "matplotlib",
    "scipy",
    "sklearn",
    "tensorboardX",
    "threadpoolctl",
    "wandb",
)


def late_imports(tree: ast.AST) -> Iterator[str]:
    """What functions import when they are called."""
    for function in functions_of(tree):
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                yield node.module or ""
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)


@every_file
def test_imports_stand_at_the_top(path: Path):
    """But for packages that are optional or slow; and commands import what they need."""
    if within(module_of(path), ("groove.cli",)):
        return
    late = set(late_imports(ast.parse(path.read_text(encoding="utf-8"))))
    assert all(name.startswith(SLOW_OR_OPTIONAL) for name in late), f"{path} imports within functions: {late}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/*.py")), ids=module_of)
def test_no_test_file_is_long(path: Path):
    assert path.read_text(encoding="utf-8").count("\n") <= MOST_LINES_OF_A_TEST_FILE


@every_file
def test_siblings_do_not_know_each_other(path: Path):
    """Rules do not know lifetimes, curricula do not know scores, meta does not know curricula."""
    apart = ("groove.rules", "groove.lifetime"), ("groove.curricula", "groove.scores"), ("groove.meta", "groove.curricula")
    for module, other in apart:
        if within(module_of(path), (module,)):
            assert not any(within(name, (other,)) for name in imports_of(path)), f"{module} imports {other}"


@every_file
def test_no_expression_stands_alone(path: Path):
    """A bare expression is a discarded result, hence a bug; a bare call is one in pure code."""
    effects = within(module_of(path), HAVE_EFFECTS + PAINT)
    expressions = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Expr))
    loose = [node.lineno for node in expressions if not may_stand_alone(node, effects=effects)]
    assert not loose, f"{path}: bare expressions in lines {loose}"


def calls_in_asserts(source: str) -> list[int]:
    """Lines of asserts that call something, which `python -O` drops with them; `isinstance` is there for type checkers."""
    asserts = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert))
    calls = ((node.lineno, call.func) for node in asserts for call in ast.walk(node.test) if isinstance(call, ast.Call))
    return [line for line, called in calls if not (isinstance(called, ast.Name) and called.id == "isinstance")]


@pytest.mark.parametrize("path", [*FILES, *sorted(ROOT.glob("benchmarks/**/*.py"))], ids=module_of)
def test_no_call_stands_in_an_assert(path: Path):
    assert not calls_in_asserts(path.read_text(encoding="utf-8"))


def test_calls_in_asserts_are_found():
    source = "assert x\nassert write(path), 'lost'\nassert isinstance(x, int)\nassert not (y or x.save())"
    assert calls_in_asserts(source) == [2, 4]


@pytest.mark.parametrize("path", sorted(ROOT.glob("[!.]*/**/*.py")), ids=module_of)
def test_nothing_is_pickled(path: Path):
    picklers = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "_pickle"}
    assert not picklers & {name.split(".")[0] for name in imports_of(path)}


@every_file
def test_public_names_are_documented_and_typed(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body, f"{path} has no docstring"
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        where = f"{path}:{node.lineno}: {node.name}"
        assert ast.get_docstring(node), f"{where} has no docstring"
        if isinstance(node, Function):
            assert node.returns is not None, f"{where} has no return type"
            assert node.args.kwarg is None, f"{where} takes **{node.args.kwarg and node.args.kwarg.arg}"
            annotations = [argument.annotation for argument in arguments_of(node)]
            assert None not in annotations, f"{where} has an argument without a type"
            named = {part.id for one in (*annotations, node.returns) for part in ast.walk(one) if isinstance(part, ast.Name)}
            assert "Any" not in named, f"{where} has Any in its signature"


@pytest.mark.parametrize("path", [path for path in FILES if "__all__" in path.read_text(encoding="utf-8")], ids=module_of)
def test_all_that_is_listed_exists(path: Path):
    """Each name of `__all__` once; so `from room import *` works."""
    module = importlib.import_module(module_of(path))
    assert len({*module.__all__}) == len(module.__all__) and not [
        name for name in module.__all__ if not hasattr(module, name)
    ]


@every_file
def test_nothing_is_long(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES_OF_A_FILE
    lengths = {function.name: body_lines(function) for function in functions_of(ast.parse(text))}
    too_long = {name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION}
    assert not too_long


@pytest.mark.parametrize("path", sorted(ROOT.glob("groove/**/*.py")), ids=module_of)
def test_commands_print_by_the_terminal_alone(path: Path):
    """Which lets no text of a file give orders to it."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    bare = [called.lineno for called in calls if isinstance(called, ast.Name) and called.id == "print"]
    assert not bare or module_of(path) == "groove.report.terminal"
