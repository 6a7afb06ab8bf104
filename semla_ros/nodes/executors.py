"""The rclpy executors by name."""

from __future__ import annotations

from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor

from semla_ros.core.errors import EngineUnavailableError


def make_executor(kind: str) -> Executor:
    """Return an rclpy executor: `single`, `multi` or `events`.

    The event-driven one is the fastest, but ends the process when a publisher or subscription
    with event callbacks is destroyed while an event of it waits (rclpy issue 1644): the node,
    which destroys its own on cleanup, takes it only when asked to.

    Raises:
        EngineUnavailableError: This rclpy has no event-driven executor.
    """
    if kind == "multi":
        return MultiThreadedExecutor()
    if kind != "events":
        return SingleThreadedExecutor()
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError as error:
        raise EngineUnavailableError(
            "executor 'events': expected rclpy.experimental.EventsExecutor (Jazzy and later), "
            "found none: take 'single'"
        ) from error
    events: Executor = EventsExecutor()
    return events


def fastest_executor() -> Executor:
    """Return an executor for a process that destroys nothing before it ends."""
    try:
        return make_executor("events")
    except EngineUnavailableError:
        return make_executor("single")
