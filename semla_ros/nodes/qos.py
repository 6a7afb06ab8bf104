"""Quality of service: what the node asks for, and how a user changes it.

Subscribe best effort, publish reliable, both open to `qos_overrides` (REP-2003 as image_pipeline
applies it). Depth 1 everywhere: a mask that is late is worthless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from semla_ros.core.errors import ConfigError

Note = Callable[[str], None]

_ACCEPTED = {"RELIABILITY": "best_effort", "DURABILITY": "volatile"}
_OFFERED = {"RELIABILITY": "reliable", "DURABILITY": "transient_local"}
_MAX_DEPTH = 2**31 - 1
_POLICIES: Mapping[str, tuple[str, ...]] = {
    name: tuple(each.lower() for each in kind.__members__ if each != "UNKNOWN")
    for name, kind in (
        ("history", HistoryPolicy),
        ("reliability", ReliabilityPolicy),
        ("durability", DurabilityPolicy),
    )
}


def camera_qos() -> QoSProfile:
    """Return the QoS of the camera subscription: the newest image, lost ones stay lost."""
    return _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def output_qos() -> QoSProfile:
    """Return the QoS of masks and the like: what arrives is whole, nothing queues up."""
    return _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def latched_qos() -> QoSProfile:
    """Return the QoS of what a late subscriber must still get."""
    return _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def overridable() -> QoSOverridingOptions:
    """Return the policies that `qos_overrides.<topic>.<subscription|publisher>.*` may change."""
    return QoSOverridingOptions(
        policy_kinds=(
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        )
    )


def check_override(name: str, value: object) -> None:
    """Check the value of a parameter `qos_overrides.<topic>.<subscription|publisher>.<policy>`.

    Raises:
        ConfigError: No endpoint could be made with it.
    """
    policy = name.rpartition(".")[2]
    if policy == "depth":
        right = type(value) is int and 0 <= value <= _MAX_DEPTH
        expected = f"a whole number from 0 to {_MAX_DEPTH}"
    else:
        choices = _POLICIES.get(policy, ())
        right = not choices or (isinstance(value, str) and value.lower() in choices)
        expected = f"one of {', '.join(choices)}"
    if not right:
        raise ConfigError(f"parameter {name!r}: expected {expected}, got {value!r}")


def subscription_events(
    topic: str, note: Note, *, lost: Callable[[int], None] | None = None
) -> SubscriptionEventCallbacks:
    """Return callbacks that explain a publisher whose QoS does not fit the subscription.

    Args:
        topic: Resolved topic name.
        note: Takes the explanation.
        lost: Takes how many messages the middleware has lost so far; None: nobody asks.
    """

    def explain(event: Any) -> None:  # noqa: ANN401  made by rclpy
        note(mismatch(topic, "subscription", _policy(event)))

    def tell(event: Any) -> None:  # noqa: ANN401  made by rclpy
        if lost is not None:
            lost(int(event.total_count))

    return SubscriptionEventCallbacks(
        incompatible_qos=explain, message_lost=None if lost is None else tell
    )


def publisher_events(topic: str, note: Note) -> PublisherEventCallbacks:
    """Return callbacks that explain a subscriber whose QoS does not fit the publisher.

    Without rclpy's own (a subscriber of another type): the executor looks at every callback of
    every publisher for each image.
    """

    def explain(event: Any) -> None:  # noqa: ANN401  made by rclpy
        note(mismatch(topic, "publisher", _policy(event)))

    return PublisherEventCallbacks(incompatible_qos=explain, use_default_callbacks=False)


def mismatch(topic: str, side: str, policy: str) -> str:
    """Return what is wrong and the parameter to paste.

    Args:
        topic: Resolved topic name.
        side: `subscription` or `publisher`: this node's part in it.
        policy: Name of the policy, such as `RELIABILITY`.
    """
    other = "publisher" if side == "subscription" else "subscriber"
    value = (_ACCEPTED if side == "subscription" else _OFFERED).get(policy)
    remedy = (
        f"give this node the parameter `qos_overrides.{topic}.{side}.{policy.lower()}: {value}`"
        if value
        else f"change that {other}"
    )
    return f"a {other} of {topic} wants another {policy}, nothing flows between us: {remedy}"


def _policy(event: Any) -> str:  # noqa: ANN401  made by rclpy
    return str(qos_policy_name_from_kind(event.last_policy_kind)).removesuffix("_QOS_POLICY")


def _profile(reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=reliability, durability=durability
    )
