"""The node's services; each answers success and reason once its order serves or is refused.

An answer may take as long as a swap. The callbacks are coroutines in a group of their own: they
await, and the executor goes on with everything else.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from semla_ros.core.answers import SwapEvent
from semla_ros.core.errors import EngineError, LibraryError, SemlaError
from semla_ros.core.types import AdapterMix
from semla_ros.pipeline import AdaptivePipeline
from semla_ros.srv import SelectAdapters, SetHint, SetVocabulary

_log = logging.getLogger(__name__)

_Response = TypeVar("_Response")
_Answer = TypeVar("_Answer")
Order = Callable[[AdaptivePipeline], "concurrent.futures.Future[_Answer]"]


class OrderServices:
    """`~/set_vocabulary`, `~/select_adapters`, `~/reload_library` and `~/set_hint`."""

    def __init__(self, node: Node) -> None:
        """Create the services on `node`; they refuse until `serve` is called."""
        self._node = node
        self._pipeline: AdaptivePipeline | None = None
        self._lock = threading.Lock()
        group = ReentrantCallbackGroup()
        services: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
            (SetVocabulary, "~/set_vocabulary", self._set_vocabulary),
            (SelectAdapters, "~/select_adapters", self._select_adapters),
            (Trigger, "~/reload_library", self._reload_library),
            (SetHint, "~/set_hint", self._set_hint),
        )
        for kind, name, callback in services:
            node.create_service(kind, name, callback, callback_group=group)

    def serve(self, pipeline: AdaptivePipeline) -> None:
        """Carry out orders on `pipeline` from now on."""
        self._pipeline = pipeline

    def refuse(self) -> None:
        """Refuse orders from now on, those that are waiting included: they are not carried out."""
        with self._lock:
            pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.refuse_orders("the node was deactivated meanwhile")

    async def _set_vocabulary(
        self, request: SetVocabulary.Request, response: SetVocabulary.Response
    ) -> SetVocabulary.Response:
        names = tuple(request.class_names)
        return await self._answer(
            lambda pipeline: pipeline.set_vocabulary(names),
            response,
            lambda _: f"{len(names)} classes serve: {', '.join(names)}",
        )

    async def _select_adapters(
        self, request: SelectAdapters.Request, response: SelectAdapters.Response
    ) -> SelectAdapters.Response:
        def order(pipeline: AdaptivePipeline) -> concurrent.futures.Future[SwapEvent]:
            mix = selected_mix(request.mode, request.names, request.weights)
            return pipeline.unpin() if mix is None else pipeline.pin(mix)

        return await self._answer(order, response, lambda event: event.to_mix.identity)

    async def _reload_library(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        del request

        def loaded(event: SwapEvent) -> str:
            library = None if self._pipeline is None else self._pipeline.library
            names = () if library is None else library.names
            problems = {} if library is None else library.problems
            refused = "".join(f"; unusable {name}: {why}" for name, why in problems.items())
            lost = () if self._pipeline is None else self._pipeline.health.unknown_excluded
            refused += "".join(f"; excluded and not in the library: {name}" for name in lost)
            return f"{len(names)} adapters, serving {event.to_mix.identity}{refused}"

        return await self._answer(lambda pipeline: pipeline.reload_library(), response, loaded)

    async def _set_hint(
        self, request: SetHint.Request, response: SetHint.Response
    ) -> SetHint.Response:
        text, ttl_s = str(request.text), float(request.ttl_s)
        return await self._answer(lambda pipeline: pipeline.hint(text, ttl_s=ttl_s), response, str)

    async def _answer(
        self, order: Order[_Answer], response: _Response, describe: Callable[[_Answer], str]
    ) -> _Response:
        """Return `response` filled after the order was carried out; never raises a SemlaError."""
        answer: Any = response
        try:
            done = await self._carried_out(order)
        except SemlaError as error:
            answer.success, answer.message = False, str(error)
        else:
            refused = done.error if isinstance(done, SwapEvent) and not done.committed else None
            answer.success = refused is None
            answer.message = describe(done) if refused is None else refused
        if not answer.success:
            _log.warning("refused: %s", answer.message)
        return response

    async def _carried_out(self, order: Order[_Answer]) -> _Answer:
        with self._lock:
            if self._pipeline is None:
                raise EngineError("expected an active node: configure and activate it first")
            ordered = order(self._pipeline)
        future: Future[_Answer] = Future(executor=self._node.executor)
        ordered.add_done_callback(lambda done: self._hand_over(done, future))
        done = await future
        if done is None:
            raise EngineError("the order ended without an answer: the node is shutting down")
        return done

    def _hand_over(
        self, done: concurrent.futures.Future[_Answer], future: Future[_Answer]
    ) -> None:
        """Pass a result on to the executor's thread and wake it."""
        error = EngineError("cancelled") if done.cancelled() else done.exception()
        if error is None:
            future.set_result(done.result())
        elif isinstance(error, SemlaError):
            future.set_exception(error)
        else:
            future.set_exception(EngineError(f"{type(error).__name__}: {error}"))
        executor = self._node.executor
        if executor is not None:
            executor.wake()


def selected_mix(mode: int, names: Sequence[str], weights: Sequence[float]) -> AdapterMix | None:
    """Return the mix that a `SelectAdapters` request asks for, None to follow the scene.

    Raises:
        LibraryError: Unknown mode, or names and weights that make no mix.
    """
    request = SelectAdapters.Request
    if mode == request.FOLLOW:
        return None
    if mode == request.BASE:
        return AdapterMix.base_only()
    if mode != request.PIN:
        raise LibraryError(
            f"expected a mode of FOLLOW {request.FOLLOW}, PIN {request.PIN} or "
            f"BASE {request.BASE}, got {mode!r}"
        )
    if not names or len(set(names)) != len(names):
        raise LibraryError(f"expected distinct adapter names, at least one, got {list(names)!r}")
    shares = list(weights) or [1.0] * len(names)
    if len(shares) != len(names):
        raise LibraryError(
            f"expected as many weights as names ({len(names)}) or none, got {len(shares)}"
        )
    return AdapterMix.from_weights(dict(zip(names, map(float, shares), strict=True)))
