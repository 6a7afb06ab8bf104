"""How a prepared set reaches the engine that will serve it: three ways, one interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from semla_ros.engine.tensorrt.execution import Feed
from semla_ros.engine.tensorrt.refitter import RefitLadder
from semla_ros.engine.tensorrt.slots import InputSlot, PlainSlot, RefittableSlot
from semla_ros.engine.tensorrt.staging import HostBlock

DOUBLE, SINGLE, INPUTS = "double", "single", "inputs"


class Loader(Protocol):
    """Brings sets to engines and frames through them.

    Attributes:
        kind: `double`, `single` or `inputs`.
        ladder: What is known of their weights.
        in_place: A set reaches the engine in `publish`, on the frame loop's thread.
    """

    kind: str
    ladder: RefitLadder
    in_place: bool

    def load(self, index: int, block: HostBlock, *, good: HostBlock) -> None:
        """Bring the set in `block` to where slot `index` is served from, proven by the probe.

        Raises:
            EngineError: It could not; the serving slot is untouched.
        """
        ...

    def publish(self, block: HostBlock, *, good: HostBlock) -> None:
        """Do what could not be done while the other set served.

        Raises:
            EngineError: It failed.
        """
        ...

    def serve(self, index: int, feed: Feed, *, stream: int) -> None:
        """Put one frame with slot `index` on `stream`."""
        ...


@dataclass(slots=True)
class DoubleLoader:
    """Two engines of one plan; the idle one is refitted while the other one serves."""

    slots: tuple[RefittableSlot, RefittableSlot]
    ladder: RefitLadder
    kind: str = DOUBLE
    in_place: bool = False

    def load(self, index: int, block: HostBlock, *, good: HostBlock) -> None:
        """Refit the idle engine."""
        self.ladder.swap(index, block, good=good)

    def publish(self, block: HostBlock, *, good: HostBlock) -> None:
        """Do nothing: the assignment of the slot is all."""

    def serve(self, index: int, feed: Feed, *, stream: int) -> None:
        """Put one frame with engine `index` on `stream`."""
        self.slots[index].serve(feed, stream=stream)


@dataclass(slots=True)
class SingleLoader:
    """One engine, refitted between two frames: the frame that follows is late."""

    slot: RefittableSlot
    ladder: RefitLadder
    kind: str = SINGLE
    in_place: bool = True
    serving: bool = False

    def load(self, index: int, block: HostBlock, *, good: HostBlock) -> None:
        """Let the set wait in `block`; refit at once only while nothing is served."""
        if not self.serving:
            self.ladder.swap(0, block, good=good)

    def publish(self, block: HostBlock, *, good: HostBlock) -> None:
        """Refit the engine in place; if all fails it serves the plan's own weights."""
        self.serving = True
        try:
            self.ladder.swap(0, block, good=good)
        finally:
            if self.ladder.frozen:
                self.slot.deserialise()

    def serve(self, index: int, feed: Feed, *, stream: int) -> None:
        """Put one frame on `stream`, whatever the slot."""
        self.slot.serve(feed, stream=stream)


@dataclass(slots=True)
class InputsLoader:
    """One engine whose weights are inputs: a set is published by naming other addresses."""

    frames: PlainSlot
    slots: tuple[InputSlot, InputSlot]
    ladder: RefitLadder
    kind: str = INPUTS
    in_place: bool = False

    def load(self, index: int, block: HostBlock, *, good: HostBlock) -> None:
        """Copy the set to the device memory of slot `index`."""
        self.ladder.swap(index, block, good=good)

    def publish(self, block: HostBlock, *, good: HostBlock) -> None:
        """Do nothing: the assignment of the slot is all."""

    def serve(self, index: int, feed: Feed, *, stream: int) -> None:
        """Put one frame with the weights of slot `index` on `stream`."""
        weights: Mapping[str, int] = self.slots[index].addresses
        self.frames.serve(Feed(feed.inputs, feed.output, weights, feed.shaped), stream=stream)
