"""Settings of a process that passes images on, for their sake.

What Python and the C library do by default costs each image up to a millisecond.
"""

from __future__ import annotations

import ctypes
import sys

SWITCH_S = 0.1e-3
"""How long a thread that runs Python may keep another one waiting; by default 5 ms."""

_MIB = 1 << 20
_ONE_BLOCK, _FREE = 16 * _MIB, 64 * _MIB
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def prefer_latency() -> bool:
    """Let the worker run soon and freed image buffers be used again; to be called first in `main`.

    glibc hands an image's memory back to the kernel when it is freed and gets it again page by
    page, three times for each image received: 1 ms at 640x480. From here on blocks of up to
    16 MiB come from memory of which up to 64 MiB stay with the process.

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
