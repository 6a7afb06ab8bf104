"""Processes that do not outlive the one that started them, however that one ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)
_GRACE_S = 20.0

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


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Close its stdin, or send SIGINT where it has none, and wait; killed if it does not end."""
    if process.stdin is not None:
        process.stdin.close()
    elif process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _LOG.warning("process %d does not end and is killed: %s", process.pid, process.args)
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Processes:
    """Processes of one environment with their logs in one folder; all end with the context.

    Attributes:
        logs: What process `name` says goes to `name.log` there.
        environment: Of every process.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        """Start nothing yet; `logs` is made."""
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self.environment = dict(environment)
        self._started: dict[str, list[subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        piped: bool = False,
        changes: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `command`; `piped` leaves stdin and stdout to the caller.

        Args:
            name: Of its log.
            command: Program and arguments.
            piped: Whether it is talked to.
            changes: What its environment has besides.
        """
        environment, pipe = self.environment | dict(changes or {}), subprocess.PIPE
        with (self.logs / f"{name}.log").open("ab" if name in self._started else "wb") as sink:
            process = start_child(
                command,
                env=environment,
                stdin=pipe if piped else None,
                stdout=pipe if piped else sink,
                stderr=sink,
            )
        self._started.setdefault(name, []).append(process)
        return process

    def stop(self) -> None:
        """End what still runs, the newest first."""
        for process in reversed([each for some in self._started.values() for each in some]):
            stop_process(process)
        self._started.clear()

    def said(self) -> str:
        """Return the last words of every process that was started."""
        return "; ".join(f"{name} says: {self.last_words(name)}" for name in self._started)

    def last_words(self, name: str) -> str:
        """Return the last lines of a process's log."""
        path = self.logs / f"{name}.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return " / ".join(text.splitlines()[-8:])
