"""Settings of a process that passes images on, for their sake.

By default the C library hands an image's memory back to the kernel as soon as it is freed. At
640x480 that made the way through a node which only answers 4.6 instead of 3.6 ms long
(`semla bench node`, column `relay`, two interleaved runs each).

Python's switch interval stays as it is: with 0.1 instead of 5 ms the niced thread that prepares a
swap took the interpreter from the frame loop and 12 of 450 frames waited over 1 ms.
"""

from __future__ import annotations

import ctypes

_MIB = 1 << 20
_ONE_BLOCK, _FREE = 16 * _MIB, 64 * _MIB
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def prefer_latency() -> bool:
    """Let freed image buffers be used again; to be called first in `main`.

    From here on blocks of up to 16 MiB come from memory of which up to 64 MiB stay with the
    process.

    Returns:
        Whether the C library took it; one other than glibc knows no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    taken = [mallopt(_M_MMAP_THRESHOLD, _ONE_BLOCK), mallopt(_M_TRIM_THRESHOLD, _FREE)]
    return all(taken)
