"""What the model was opened with, and which parameters may change in which lifecycle state."""

from __future__ import annotations

from rclpy.node import Node

from semla_ros.core.config import Config
from semla_ros.core.errors import ConfigError
from semla_ros.core.live_parameters import not_live, with_live_of
from semla_ros.nodes.parameters import NodeParameters


class OpenedWith:
    """The settings that the configured model serves; parameters set since then wait for the next.

    Whatever is shown is in force while the node is active: what a running model cannot take over
    is refused then, and a model that is not the one described is not activated.
    """

    def __init__(self, node: Node, settings: NodeParameters) -> None:
        self._node = node
        self._settings = settings
        self._config = settings.config

    def renew(self) -> None:
        """Remember that a model was opened with the settings now in force."""
        self._config = self._settings.config

    def changed(self, after: Config, *, active: bool) -> Config:
        """Return what the model serves with the live parameters of `after`.

        Raises:
            ConfigError: The node is active and the change needs another model.
        """
        names = not_live(self._settings.config, after)
        if active and names:
            ways = ", ".join(self.commands("deactivate", "cleanup"))
            again = " and ".join(self.commands("configure", "activate"))
            raise ConfigError(f"{_listed(names)}: read at configure; {ways}, set it, then {again}")
        return with_live_of(self._config, after)

    def require(self) -> None:
        """Check that the model is the one that the parameters describe.

        Raises:
            ConfigError: One was set since configure.
        """
        if names := not_live(self._config, self._settings.config):
            ways = " and ".join(self.commands("cleanup", "configure"))
            raise ConfigError(f"{_listed(names)}: set since configure, not in force; {ways} first")

    def commands(self, *transitions: str) -> list[str]:
        """Return the command line of each transition."""
        name = self._node.get_fully_qualified_name()
        return [f"`ros2 lifecycle set {name} {each}`" for each in transitions]


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
