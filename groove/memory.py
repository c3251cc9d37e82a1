"""Memory of the process, where the host's allocator costs time."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # parameters of glibc's mallopt


def keep() -> bool:
    """Asks the C library to keep freed memory for the process instead of giving it back to the system.

    XLA's CPU backend allocates its temporary memory anew for every call; large blocks then come from the system page by
    page, zeroed. Call it before the first computation. The process's memory does not shrink after that.

    Returns:
        Whether it did; not where the C library is another than glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, 2**31 - 1), mallopt(_ARENA_MAX, 1)])
