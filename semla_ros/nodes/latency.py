"""Settings of a process that passes images on, for their sake.

By default a thread of Python keeps another one waiting for up to 5 ms, and the C library hands an
image's memory back to the kernel as soon as it is freed. At 30 Hz, 640x480, these settings took
the way from callback to worker from 0.65 to 0.42 ms, and that through a node which only answers
from 4.6 to 3.6 ms (`semla bench node`, columns `queue` and `relay`, two interleaved runs each).
"""

from __future__ import annotations

import ctypes
import sys

SWITCH_S = 0.1e-3
"""How long a thread that runs Python may keep another one waiting."""

_MIB = 1 << 20
_ONE_BLOCK, _FREE = 16 * _MIB, 64 * _MIB
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def prefer_latency() -> bool:
    """Let the worker run soon and freed image buffers be used again; to be called first in `main`.

    From here on blocks of up to 16 MiB come from memory of which up to 64 MiB stay with the
    process.

    Returns:
        Whether the C library took it; one other than glibc knows no such setting.
    """
    sys.setswitchinterval(SWITCH_S)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    taken = [mallopt(_M_MMAP_THRESHOLD, _ONE_BLOCK), mallopt(_M_TRIM_THRESHOLD, _FREE)]
    return all(taken)
