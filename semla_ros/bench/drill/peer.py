"""The probe (`semla_ros.bench.drill.probe`) as a process."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semla_ros.bench.processes import stop_process
from semla_ros.children import start_child
from semla_ros.errors import SemlaError

_PROBE = "semla_ros.bench.drill.probe"
_MARGIN_S = 60.0


class Peer:
    """A running probe; every method waits for its answer.

    Attributes:
        process: The process; scripts may stop and kill it.
    """

    def __init__(
        self,
        pictures: Path,
        heard: Path,
        words: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        """Start it; it listens as soon as it is up."""
        command = [sys.executable, "-m", _PROBE, str(pictures), str(heard), *words]
        pipe = subprocess.PIPE
        with log.open("ab") as sink:
            self.process = start_child(
                command, env=dict(environment), stdin=pipe, stdout=pipe, stderr=sink
            )
        self._log = log
        self.camera(hz=0)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def camera(self, **script: object) -> int:
        """Let the camera work so, see `probe_camera.Script`; return its subscribers."""
        return int(self._ask({"do": "camera", **script})["subscribers"])

    def call(
        self, service: str, request: Mapping[str, object], *, timeout_s: float
    ) -> tuple[bool | None, str]:
        """Return success (None: no answer in time) and message of one of the node's services."""
        order = {"do": "call", "service": service, "request": request, "timeout_s": timeout_s}
        answer = self._ask(order, timeout_s=timeout_s)
        return answer["success"], str(answer["message"])

    def close(self) -> None:
        """End it."""
        stop_process(self.process)

    def _ask(self, order: Mapping[str, object], *, timeout_s: float = 0.0) -> Mapping[str, Any]:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise SemlaError("expected a probe with pipes")
        try:
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise self._ended() from None
        if not select.select([stdout], [], [], timeout_s + _MARGIN_S)[0]:
            raise self._ended()
        line = stdout.readline()
        if not line:
            raise self._ended()
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> SemlaError:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        return SemlaError(f"the probe ended or hangs: {' / '.join(lines)}")
