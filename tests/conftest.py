"""Strict JAX for every test: ranks never promote silently, and nothing is compiled twice across runs.

`jax_numpy_dtype_promotion="strict"` stays off: optax's Adam raises a Python float to an integer array.
"""

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before JAX starts: the workers share the cores, so one thread each
    os.environ.setdefault("NPROC", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
# Tests compile far more than they compute: without fusion emitters it takes half the time.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
).strip()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "groove" / "tests"))
os.environ.setdefault("MPLBACKEND", "agg")

import jax

MOST_PROGRAMS = 150
"""That a test compiles, unless it is marked slow or `compiles(n)`; what module fixtures compile is nobody's."""
MOST_MAPPINGS = 20_000
"""Of memory, in a test process: every compiled program takes several, and Linux ends who wants more than 65,530."""

gc.set_threshold(200_000, 20, 100)  # tracing makes many objects, of which few are garbage
jax.devices()  # no test turns on flags of XLA's for those that follow: it has read them
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # the workers share what each has compiled


programs = itertools.count()
"""Counts what is compiled, or read from the cache on disk."""


def counted(event: str, _: float, **__: object) -> None:
    """One more program, where the event is that of compiling one."""
    if event == "/jax/core/compile/backend_compile_duration":
        next(programs)


jax.monitoring.register_event_duration_secs_listener(counted)


@pytest.fixture(autouse=True)
def few_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that compiles too much: mostly JAX's operations one by one, each a program, where one would do."""
    before = next(programs)
    yield
    made, marked = next(programs) - before - 1, request.node.get_closest_marker("compiles")
    most = marked.args[0] if marked else MOST_PROGRAMS
    if made > most and request.node.get_closest_marker("slow") is None:
        pytest.fail(f"the test compiles {made} programs, more than {most}: use NumPy for data and jax.jit for the rest.")


@pytest.fixture(autouse=True, scope="module")
def few_mappings() -> Iterator[None]:
    """Forgets compiled programs between modules where there are too many; most come back from the cache on disk."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def loose_ranks() -> Iterator[None]:
    """Lets ranks promote: for tests that call gymnax, jaxued or evosax, which rely on it."""
    with jax.numpy_rank_promotion("allow"):
        yield
