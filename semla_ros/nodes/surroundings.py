"""What is wrong around a node: another one of its name, and simulated time without a clock."""

from __future__ import annotations

import logging

from rclpy.node import Node

_log = logging.getLogger(__name__)

CLOCK = "/clock"


class Surroundings:
    """Looks at the graph around a node and logs each thing that is wrong when it begins."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._known: set[str] = set()

    def look(self) -> tuple[str, ...]:
        """Return what is wrong now; cheap, for every round of diagnostics."""
        found = tuple(text for text in (self._twin(), self._clock()) if text)
        for text in found:
            if text not in self._known:
                _log.warning("%s", text)
        self._known = set(found)
        return found

    def _twin(self) -> str:
        own = (self._node.get_name(), self._node.get_namespace())
        if self._node.get_node_names_and_namespaces().count(own) < 2:
            return ""
        return (
            f"another node is named {self._node.get_fully_qualified_name()} and publishes beside "
            "this one (one that was killed still counts for some seconds): end one of them, or "
            "give this one another namespace"
        )

    def _clock(self) -> str:
        simulated = self._node.get_parameter("use_sim_time").value
        if not simulated or self._node.count_publishers(CLOCK):
            return ""
        return (
            f"time stands still: use_sim_time is true and nobody publishes {CLOCK}; start the "
            "simulation, play the bag with --clock, or set use_sim_time to false"
        )
