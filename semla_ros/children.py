"""Processes that do not outlive the one that started them, however that one ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

_FOLLOW = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def start_child(command: Sequence[str], **popen: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
    """Start `command` as `subprocess.Popen` does; it gets SIGTERM when this process is gone.

    The kernel sends it (Linux), so it comes after SIGKILL, too. To be called in a thread that
    stays: for the kernel the parent is the thread.
    """
    words = [sys.executable, "-I", "-S", "-c", _FOLLOW, str(os.getpid()), *command]
    return subprocess.Popen(words, **popen)
