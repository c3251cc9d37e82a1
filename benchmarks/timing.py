"""Timing that a busy machine disturbs little."""

import statistics
import time
from collections.abc import Callable, Mapping

import jax


def interleaved(methods: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each function over rounds in which all of them run, after one call that is not counted.

    What a function returns is waited for. Interleaving gives every method its share of a machine's bad moments.
    """
    for run in methods.values():
        jax.block_until_ready(run())
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, run in methods.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}
