"""The lifecycle node: camera topic in, adapted masks and a support score out.

Heavy work is in `configure` (opening the bundle, warming up); `activate` only subscribes. Unless
`autostart` is false the node does both by itself. Whatever is wrong with parameters, bundle or
images, the node lives and /diagnostics says what to mend.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import Executor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from semla_ros.core.config import Config
from semla_ros.core.errors import ConfigError, EngineUnavailableError, SemlaError
from semla_ros.core.streaks import Streaks
from semla_ros.nodes import lifeline
from semla_ros.nodes.diagnostics import Snapshot, statuses
from semla_ros.nodes.executors import make_executor
from semla_ros.nodes.latency import prefer_latency
from semla_ros.nodes.opened_with import OpenedWith
from semla_ros.nodes.outputs import Outputs
from semla_ros.nodes.parameters import NodeParameters
from semla_ros.nodes.ros_logging import attach, detach
from semla_ros.nodes.services import OrderServices
from semla_ros.nodes.signals import ros_process, spin_until
from semla_ros.nodes.statistics import FrameStatistics
from semla_ros.nodes.stream import FrameStream, StreamReport
from semla_ros.nodes.surroundings import Surroundings
from semla_ros.pipeline import AdaptivePipeline, build_pipeline
from semla_ros.pipeline.health import PipelineHealth

_log = logging.getLogger("semla_ros.nodes.segmenter_node")  # also when run as __main__

NODE_NAME = "segmenter"
FINALIZED = "finalized"
_PATIENCE_S, _EXIT_PATIENCE_S = 10.0, 2.5
"""How long the frame in hand and each background thread may take to end: at a transition, and
when the process is told to end."""
_END_WITHIN_S = 9.0
"""From a signal to the end of the process; `ros2 launch` kills it 10 s after its own."""
_TURN_WITHIN_S = 30.0
"""Longest turn of the main loop, transitions aside; beyond it the process can only be ended."""


class SegmenterNode(LifecycleNode):
    """Segments a camera topic.

    Parameters, services and diagnostics are there always, pipeline and publishers once it is
    configured, subscription and worker while it is active.
    """

    def __init__(self) -> None:
        super().__init__(NODE_NAME, automatically_declare_parameters_from_overrides=True)
        self._log_handler = attach(self.get_logger())
        self._pipeline: AdaptivePipeline | None = None
        self._outputs: Outputs | None = None
        self._stream: FrameStream | None = None
        self._problem = ""
        self._patience_s = _PATIENCE_S
        self._hangs = False
        self._streaks = Streaks()
        self._settings = NodeParameters(self, on_change=self._reconfigure)
        self._opened = OpenedWith(self, self._settings)
        self._surroundings = Surroundings(self)
        self._statistics = FrameStatistics()
        self._orders = OrderServices(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        for reason in self._settings.ignored.values():
            _log.error("%s: ignored", reason)
        self.create_timer(
            self._settings.config.diagnostics_period_s,
            self._check,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=Clock(clock_type=ClockType.STEADY_TIME),  # simulated time may stand still
        )

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        return str(self._state_machine.current_state[1])

    def make_executor(self) -> Executor:
        """Return the executor that the parameters ask for.

        Raises:
            EngineUnavailableError: This rclpy has none of that kind.
        """
        return make_executor(self._settings.config.executor)

    def start(self) -> None:
        """Configure and activate, unless `autostart` is false; a refusal is logged, not raised."""
        if not self._settings.autostart:
            _log.info("autostart is false: waiting for a lifecycle manager")
        elif self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()
        elif self._settings.mendable:
            how = " and ".join(self._opened.commands("configure", "activate"))
            _log.error("the node waits unconfigured: set what is wrong by parameter, then %s", how)
        else:
            _log.error("the node cannot be configured: restart it with what is wrong set right")

    def close(self) -> bool:
        """Release everything, in whatever state the node is; return whether nothing hangs."""
        self._patience_s = _EXIT_PATIENCE_S
        self._halt()
        self._release()
        detach(self._log_handler)
        return not self._hangs

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the bundle and create the publishers."""
        return self._transition(super().on_configure, state, before=self._build)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start receiving images."""
        check = self._opened.require
        return self._transition(super().on_activate, state, before=check, after=self._run)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop receiving images; the model stays."""
        return self._transition(super().on_deactivate, state, before=self._halt)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and the publishers."""
        return self._transition(super().on_cleanup, state, after=self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        return self._transition(super().on_shutdown, state, before=self._halt, after=self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; the node is unconfigured again."""
        return self._transition(super().on_error, state, before=self._halt, after=self._release)

    def _transition(
        self,
        entities: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
        *,
        before: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> TransitionCallbackReturn:
        """Run a transition; rclpy would swallow what it raises, so it is logged and kept."""
        lifeline.pause()  # opening a bundle takes its time
        try:
            if before:
                before()
            result = entities(state)
            if after:
                after()
        except SemlaError as error:
            self._problem = str(error)
            _log.error("%s", error)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: BLE001  an edge: rclpy would hide it
            self._problem = f"{type(error).__name__}: {error}"
            _log.error("unexpected error in a transition\n%s", traceback.format_exc())
            return TransitionCallbackReturn.FAILURE
        self._problem = ""
        return result

    def _build(self) -> None:
        if self._settings.problem:
            raise ConfigError(self._settings.problem)
        try:
            self._outputs = Outputs(self, lambda text: _log.error("%s", text))
            self._pipeline = build_pipeline(self._settings.config)
            self._opened.renew()
        except BaseException:
            self._release()
            raise
        gc.collect()
        gc.freeze()  # what lives as long as the model need not be looked at again
        engine, library = self._pipeline.engine, self._pipeline.library
        what = (self._pipeline.bundle.manifest.name, len(library.names), engine.facts.name)
        text = "bundle %r with %d adapters, engine %s in %s, %s"
        _log.info(text, *what, engine.facts.precision, engine.facts.reason)
        for name, reason in library.problems.items():
            _log.error("adapter %s does not serve: %s", name, reason)

    def _run(self) -> None:
        if self._pipeline is None or self._outputs is None:
            raise ConfigError("expected a configured node: configure it first")
        self._stream = FrameStream(
            self, self._pipeline, self._outputs, self._statistics, lambda: self._settings.config
        )
        self._orders.serve(self._pipeline)
        for reason in self._settings.look_for_unused():
            _log.error("%s: ignored", reason)
        _log.info("segmenting %s", self._stream.camera.topic)

    def _halt(self) -> None:
        self._orders.refuse()
        if self._stream is not None:
            self._stream.stop(patience_s=self._patience_s)
            self._stream = None
            self._statistics = FrameStatistics()

    def _release(self) -> None:
        if self._pipeline is not None:
            self._hangs |= not self._pipeline.close(patience_s=self._patience_s)
            self._pipeline = None
            gc.unfreeze()  # or cycles of the old model would stay for ever
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None

    def _reconfigure(self, config: Config) -> None:
        served = self._opened.changed(config, active=self._stream is not None)
        if self._pipeline is not None:
            self._pipeline.configure(served)

    def _check(self) -> None:
        try:
            if self._stream is not None:
                self._stream.check()
            message = DiagnosticArray(status=statuses(self._snapshot()))
            for each in message.status:
                if each.level == DiagnosticStatus.ERROR and self._streaks.begins(
                    each.name, each.message
                ):
                    _log.error("%s: %s", each.name, each.message)
            message.header.stamp = self.get_clock().now().to_msg()
            self._diagnostics.publish(message)
        except Exception as error:  # noqa: BLE001  an edge: a report that fails must not end masks
            if self._streaks.begins("check", error):
                _log.exception("unexpected error in the periodic check")

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            node=self.get_fully_qualified_name(),
            state=self.state,
            problem=self._problem or self._settings.problem,
            ignored=self._settings.ignored,
            surroundings=self._surroundings.look(),
            config=self._settings.config,
            stream=self._stream.report() if self._stream else StreamReport(),
            model=self._pipeline.health if self._pipeline else PipelineHealth(),
            values=self._statistics.values(),
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or the lifecycle's shutdown; return the exit code."""
    prefer_latency()
    ended = True
    with ros_process(argv, ends_within_s=_END_WITHIN_S) as stop:
        node = SegmenterNode()
        executor: Executor | None = None
        try:
            executor = node.make_executor()
            executor.add_node(node)
            node.start()
            line = lifeline.Lifeline(_TURN_WITHIN_S)

            def ended_now() -> bool:
                line.renew()
                return bool(stop) or node.state == FINALIZED

            spin_until(ended_now, executor)
        except EngineUnavailableError as error:
            _log.error("%s", error)
            return 1
        finally:
            ended = node.close()
            if executor is not None:
                executor.shutdown()
            node.destroy_node()
            lifeline.pause()
    if not ended:  # the interpreter's own end would run into whatever hangs
        sys.stderr.flush()
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
