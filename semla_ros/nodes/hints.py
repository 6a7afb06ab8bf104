"""`~/hint` and `~/hint_stamped`: words about what the camera will see, while the node is active.

What was made of them is one line in the log; who wants an answer asks the service `~/set_hint`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from std_msgs.msg import String

from semla_ros.core.errors import SemlaError
from semla_ros.core.streaks import Streaks
from semla_ros.msg import Hint
from semla_ros.nodes import conversions, qos
from semla_ros.pipeline import AdaptivePipeline

_log = logging.getLogger(__name__)


class HintTopics:
    """Subscriptions of both topics."""

    def __init__(self, node: LifecycleNode, pipeline: AdaptivePipeline) -> None:
        """Subscribe; the newest hint wins."""
        self._node = node
        self._pipeline = pipeline
        self._streaks = Streaks()
        group = MutuallyExclusiveCallbackGroup()
        self._subscriptions: list[Subscription[Any]] = []
        topics: tuple[tuple[type[Any], str, Callable[[Any], None]], ...] = (
            (String, "~/hint", self._plain),
            (Hint, "~/hint_stamped", self._stamped),
        )
        try:
            for kind, name, callback in topics:
                self._subscriptions.append(self._subscription(kind, name, callback, group))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Receive nothing more."""
        for each in self._subscriptions:
            self._node.destroy_subscription(each)

    def _subscription(
        self, kind: type[Any], name: str, callback: Callable[[Any], None], group: CallbackGroup
    ) -> Subscription[Any]:
        return self._node.create_subscription(
            kind,
            name,
            callback,
            qos.output_qos(),
            callback_group=group,
            qos_overriding_options=qos.overridable(),
        )

    def _plain(self, message: String) -> None:
        self._give(message.data)

    def _stamped(self, message: Hint) -> None:
        stamp_ns = conversions.stamp_ns(message.header.stamp)
        self._give(message.text, ttl_s=float(message.ttl_s), stamp_ns=stamp_ns)

    def _give(self, text: str, **when: Any) -> None:  # noqa: ANN401
        try:
            self._pipeline.hint(text, **when).add_done_callback(
                lambda done: self._tell(text, done)
            )
        except SemlaError as error:
            self._refused(error)

    def _tell(self, text: str, done: Future[str]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._refused(error)
        elif self._streaks.begins(text, done.result()):
            _log.info("hint %r: %s", text, done.result())

    def _refused(self, error: BaseException) -> None:
        if self._streaks.begins("hint", error):
            _log.warning("hint refused: %s", error)
