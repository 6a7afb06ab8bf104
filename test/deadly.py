"""A task of an evaluation that takes its first worker down, where workers can import it."""

import os
from dataclasses import dataclass
from pathlib import Path

from semla_ros.data.inputs import Input
from semla_ros.data.tasks import ReadSettings, Task


@dataclass(frozen=True)
class DeadlyTask(Task):
    """Takes the first worker that carries it out down with it."""

    tried: Path = Path()

    def open_input(self, settings: ReadSettings) -> Input:
        if not self.tried.exists():
            self.tried.touch()
            os._exit(1)
        return Task.open_input(self, settings)
