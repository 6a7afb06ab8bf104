"""Changing an idle engine's weights, and climbing down when that fails.

    swap        stage the whole list, refit, ask the probe; only then may the slot be published
    1. failure  the slot is dirty: refit it from the last good set
    2. failure  throw the engine away, deserialise the plan again, refit from the last good set
    3. failure  frozen: no more swaps; what serves goes on serving

A pure state machine over `RefitSlot`: no TensorRT here, every rung can be tested with a script.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from semla_ros.engine.tensorrt.plan_cache import Golden
from semla_ros.engine.tensorrt.probe import relative_error
from semla_ros.engine.tensorrt.staging import HostBlock, Staged
from semla_ros.errors import EngineError
from semla_ros.types import Float32Array

_LOG = logging.getLogger(__name__)

CLEAN, DIRTY = "clean", "dirty"


class RefitSlot(Protocol):
    """One engine whose weights can be replaced while another one serves.

    Every method may raise EngineError; afterwards the engine holds anything.
    """

    def stage(self, block: HostBlock) -> None:
        """Bring the whole list to where the refitter reads it."""
        ...

    def refit(self) -> bool:
        """Return whether TensorRT took the staged weights; False may leave it half refitted."""
        ...

    def probe(self) -> Float32Array:
        """Return the logits of the fixed question."""
        ...

    def deserialise(self) -> None:
        """Throw the engine away and make it anew from the plan: base weights."""
        ...


@dataclass(frozen=True, slots=True)
class ProbeRules:
    """When the answer to the probe may be believed.

    Attributes:
        golden: Reference with the base weights.
        golden_error: Largest relative error with the base weights.
        repeat_error: Largest relative error between two answers with equal weights.
        likeness: Smallest cosine between an adapted answer and the base reference.
        material: Sets that differ less than this (relative) may give equal answers.
    """

    golden: Golden
    golden_error: float
    repeat_error: float = 1e-3
    likeness: float = 0.5
    material: float = 1e-3


@dataclass(slots=True)
class SlotHealth:
    """What is known of one slot.

    Attributes:
        state: `clean` or `dirty`.
        staged: The weights it holds, None for the plan's own.
        answer: What it said to the probe with them.
    """

    state: str = DIRTY
    staged: Staged | None = None
    answer: Float32Array | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """How a failed swap ended.

    Attributes:
        faults: What went wrong on each rung, in order.
        frozen: No more swaps.
    """

    faults: Sequence[str]
    frozen: bool

    @property
    def text(self) -> str:
        """The story in one line."""
        end = "adaptation is frozen" if self.frozen else "the slot is usable again"
        return f"{'; then '.join(self.faults)}; {end}"


@dataclass(slots=True)
class RefitLadder:
    """The state of all slots, and the only code that changes their weights.

    Attributes:
        slots: The engines.
        rules: When to believe an answer.
        frozen: Why nothing is swapped any more, empty while it is.
    """

    slots: Sequence[RefitSlot]
    rules: ProbeRules
    frozen: str = ""
    health: list[SlotHealth] = field(init=False)

    def __post_init__(self) -> None:
        self.health = [SlotHealth() for _ in self.slots]

    def swap(self, index: int, block: HostBlock, *, good: HostBlock) -> None:
        """Bring the set in `block` into slot `index`.

        Args:
            index: A slot that does not serve.
            block: The new set.
            good: The set that served last without a fault, to climb down to.

        Raises:
            EngineError: The slot must not be published; the message tells every rung.
        """
        if self.frozen:
            raise EngineError(f"adaptation is frozen: {self.frozen}")
        fault = self._attempt(index, block)
        if not fault:
            return
        refused = self._climb_down(index, good, fault)
        if refused.frozen:
            self.frozen = refused.text
            _LOG.error("no more swaps until the node restarts: %s", refused.text)
        raise EngineError(f"the refit failed: {refused.text}")

    def check_golden(self, index: int, block: HostBlock, golden: Golden) -> float:
        """Return the relative error of slot `index` with the set in `block` against `golden`.

        Raises:
            EngineError: It is above `golden_error`, or the refit failed.
        """
        fault = self._attempt(index, block)
        answer = self.health[index].answer
        error = float("inf") if answer is None else relative_error(answer, golden)
        if fault or not error <= self.rules.golden_error:
            self.health[index].state = DIRTY
            raise EngineError(
                f"the engine with {golden.weights} weights differs from the reference by "
                f"{error:.2g}, expected at most {self.rules.golden_error:g}"
                f"{': ' + fault if fault else ''}: build the plan with --mode inputs or "
                "--precision fp32"
            )
        return error

    def _attempt(self, index: int, block: HostBlock) -> str:
        """Return why slot `index` does not hold the set in `block`, empty if it does."""
        slot, health = self.slots[index], self.health[index]
        health.state = DIRTY
        try:
            slot.stage(block)
            if not slot.refit():
                return "TensorRT refused the weights, part of them may be in place"
            answer = slot.probe()
        except EngineError as error:
            return str(error)
        fault = self._judged(block.staged, answer)
        if not fault:
            self.health[index] = SlotHealth(CLEAN, block.staged, answer)
        return fault

    def _climb_down(self, index: int, good: HostBlock, fault: str) -> Refused:
        _LOG.warning("slot %d: %s; refitting the last good set", index, fault)
        second = self._attempt(index, good)
        if not second:
            return Refused((fault,), frozen=False)
        _LOG.warning("slot %d: %s; making the engine anew", index, second)
        third = self._made_anew(index) or self._attempt(index, good)
        faults = (fault, f"the last good set failed too: {second}")
        if third:
            return Refused((*faults, f"a new engine failed too: {third}"), frozen=True)
        return Refused(faults, frozen=False)

    def _made_anew(self, index: int) -> str:
        """Return why slot `index` does not hold the plan's own weights, empty if it does."""
        slot = self.slots[index]
        self.health[index] = SlotHealth()
        try:
            slot.deserialise()
            answer = slot.probe()
        except EngineError as error:
            return str(error)
        difference = relative_error(answer, self.rules.golden)
        if not difference <= self.rules.golden_error:
            return f"with the base weights it is off the reference by {difference:.2g}"
        return ""

    def _judged(self, staged: Staged, answer: Float32Array) -> str:
        """Return why `answer` cannot be that of the set `staged`, empty if it can."""
        if not np.isfinite(answer).all():
            return "the probe's answer is not finite"
        for known in self.health:
            if known.staged is None or known.answer is None:
                continue
            if known.staged.fingerprint == staged.fingerprint:
                difference = _difference(answer, known.answer)
                if not difference <= self.rules.repeat_error:
                    return f"equal weights answered differently before, by {difference:.2g}"
            elif known.staged.distance(staged) > self.rules.material and np.array_equal(
                known.answer, answer
            ):
                return "other weights gave the same answer: the refit had no effect"
        likeness = _cosine(answer, self.rules.golden)
        if not likeness >= self.rules.likeness:
            return f"the probe's answer is unlike the reference, cosine {likeness:.2f}"
        return ""


def _difference(answer: Float32Array, known: Float32Array) -> float:
    if answer.shape != known.shape:
        return float("inf")
    change = np.linalg.norm((answer - known).astype(np.float64))
    return float(change / max(float(np.linalg.norm(known)), 1e-30))


def _cosine(answer: Float32Array, golden: Golden) -> float:
    got = answer.reshape(-1)[:: golden.stride].astype(np.float64)
    if got.shape != golden.sample.shape:
        return float("nan")
    norms = float(np.linalg.norm(got) * np.linalg.norm(golden.sample))
    return float(got @ golden.sample.astype(np.float64)) / max(norms, 1e-30)
