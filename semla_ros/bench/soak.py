"""`semla bench soak`: weather that never stops changing, at full rate, for as long as asked."""

from __future__ import annotations

import gc
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from semla_ros.bench.ledger import SwapLedger
from semla_ros.bench.measures import Slope, slope, summary
from semla_ros.bench.resources import resident_mib
from semla_ros.config import Config, updated
from semla_ros.demo.world import DOMAINS, Drive
from semla_ros.errors import ConfigError, EvaluationError
from semla_ros.pipeline import AdaptivePipeline, open_parts
from semla_ros.timing import now_ms
from semla_ros.types import AdapterMix, Float64Array, Frame, UInt8Array

DWELL = 40
_PER_DOMAIN = 4
_SENSOR_NS = 100_000_000
_SAMPLES = 400
_MOST_HZ = 500.0
_PATIENCE = 2000
_SEED = 5


@dataclass(frozen=True, slots=True)
class SoakRequest:
    """What `semla bench soak` was asked for.

    Attributes:
        frames: How many frames; 0: as many as fit in `minutes`.
        minutes: How long at most; 0: as long as the frames take.
        probes: How often the probe image is segmented on the way A, B, A.
        size: (H, W) of the frames.
        changes: Parameters of the pipeline.
    """

    frames: int = 0
    minutes: float = 0.0
    probes: int = 20
    size: tuple[int, int] = (192, 320)
    changes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames < 0 or self.minutes < 0 or not (self.frames or self.minutes):
            raise ConfigError(
                "expected a number of frames or of minutes, each > 0, got "
                f"{self.frames!r} and {self.minutes!r}"
            )
        if self.probes < 1:
            raise ConfigError(f"expected at least one probe, got {self.probes!r}")

    @property
    def most(self) -> int:
        """How many frames there can be."""
        return self.frames or math.ceil(self.minutes * 60 * _MOST_HZ)


@dataclass(frozen=True, slots=True, eq=False)
class Soak:
    """What happened.

    Attributes:
        engine: Its name.
        latencies_ms: Of every step.
        seconds: How long it took.
        memory: (frames, seconds, resident MiB) at regular intervals.
        changes: How often the weather changed.
        ledger: Requests and outcomes.
        events: Swaps that the frames' answers told of.
        probes: How often A, B, A was tried.
        drifted: How often a mask differed from the first one of its mix.
        errors: Failures by stage of the pipeline.
    """

    engine: str
    latencies_ms: Float64Array
    seconds: float
    memory: tuple[tuple[int, float, float], ...]
    changes: int
    ledger: SwapLedger
    events: int
    probes: int
    drifted: int
    errors: Mapping[str, int]

    @property
    def growth(self) -> Slope:
        """MiB per hour over the second half: by then every cache is full."""
        half = self.memory[len(self.memory) // 2 :]
        return slope([s for _, s, _ in half], [m * 3600 for _, _, m in half])

    def tenth(self, number: int) -> dict[str, float]:
        """Return the summary of a tenth of the latencies, 0 to 9."""
        return summary(np.array_split(self.latencies_ms, 10)[number])


def run_soak(request: SoakRequest) -> Soak:
    """Return what happened while the weather changed.

    Raises:
        SemlaError: Bundle or engine cannot be used, the library has fewer than two adapters, or
            an order is not carried out.
    """
    scenes = _scenes(request.size)
    config = updated(Config(), {"adaptation": "background", **request.changes})
    parts = open_parts(config)
    ledger = SwapLedger()
    ledger.watch(parts.swapper)
    with AdaptivePipeline(parts, config) as pipeline, ledger.listening():
        return _Run(request, pipeline, scenes, ledger).run()


class _Run:
    """One soak: frames, samples and probes in turns."""

    def __init__(
        self,
        request: SoakRequest,
        pipeline: AdaptivePipeline,
        scenes: Mapping[str, Sequence[UInt8Array]],
        ledger: SwapLedger,
    ) -> None:
        names = pipeline.library.names
        if len(names) < 2:
            raise EvaluationError(f"expected at least two adapters to swap, got {names!r}")
        self._mixes = [AdapterMix.from_weights({name: 1.0}) for name in names[:2]]
        self._request = request
        self._pipeline = pipeline
        self._scenes = scenes
        self._ledger = ledger
        self._rng = np.random.default_rng(_SEED)
        self._domain = DOMAINS[0]
        self._changes = 0
        self._stamp_ns = 0
        self._events = 0
        self._latencies = np.full(request.most, np.nan)  # written once now, so it cannot grow
        self._memory = np.full((2 * _SAMPLES + 2, 3), np.nan)
        self._samples = 0
        self._first: dict[str, int] = {}
        self._probes = self._drifted = 0

    def run(self) -> Soak:
        """Return what happened."""
        gc.collect()
        request, start = self._request, time.monotonic()
        limit = start + request.minutes * 60 if request.minutes else math.inf
        count = self._frames(start, limit)
        self._sample(count, start)
        self._settle()
        taken = time.monotonic() - start
        memory = tuple((int(f), float(s), float(m)) for f, s, m in self._memory[: self._samples])
        return Soak(
            self._pipeline.engine.name,
            self._latencies[:count],
            taken,
            memory,
            self._changes,
            self._ledger,
            self._events,
            self._probes,
            self._drifted,
            dict(self._pipeline.errors),
        )

    def _frames(self, start: float, limit: float) -> int:
        """Run frames, samples and probes; return how many frames there were."""
        most = self._request.most
        hint = most if self._request.frames else None
        samples, probes = _Ticks(_SAMPLES), _Ticks(self._request.probes)
        with tqdm(total=hint, desc="soak", unit="frame", mininterval=5.0) as bar:
            for number in range(most):
                now = time.monotonic()
                if now > limit:
                    return number
                done = max(number / most if hint else 0.0, (now - start) / (limit - start))
                if samples.due(done):
                    self._sample(number, start)
                if probes.due(done):
                    self._probe()
                if number and number % DWELL == 0:
                    self._change()
                before = now_ms()
                self._step(self._rgb(number))
                self._latencies[number] = now_ms() - before
                bar.update()
        return most

    def _rgb(self, number: int) -> UInt8Array:
        views = self._scenes[self._domain]
        return views[number % len(views)]

    def _change(self) -> None:
        others = [name for name in DOMAINS if name != self._domain]
        self._domain = others[int(self._rng.integers(len(others)))]
        self._changes += 1

    def _step(self, rgb: UInt8Array) -> int:
        """Segment one image; return the checksum of mask and confidence."""
        self._stamp_ns += _SENSOR_NS
        result = self._pipeline.step(Frame(self._stamp_ns, "camera", rgb))
        self._events += len(result.swaps)
        return zlib.crc32(result.confidence.tobytes(), zlib.crc32(result.labels.tobytes()))

    def _probe(self) -> None:
        """Segment the same image with A, B and A again; every mask must be that mix's first."""
        self._probes += 1
        one, other = self._mixes
        for mix in (one, other, one):
            self._pin(mix)
            seen = self._step(self._scenes[DOMAINS[0]][0])
            self._drifted += seen != self._first.setdefault(mix.identity, seen)
        order = self._pipeline.unpin()
        self._wait(order.done, "unpin")

    def _pin(self, mix: AdapterMix) -> None:
        order = self._pipeline.pin(mix)
        self._wait(order.done, f"pin {mix.identity}")
        event = order.result()
        if not event.committed or self._pipeline.active != mix:
            raise EvaluationError(f"pinning {mix.identity} failed: {event.error}")

    def _settle(self) -> None:
        """Let the last swap end, so that the ledger can balance."""
        self._wait(lambda: not self._pipeline.busy, "the last swap")

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        """Poll until `done`.

        Raises:
            EvaluationError: It takes too long.
        """
        for _ in range(_PATIENCE):
            if done():
                return
            self._events += len(self._pipeline.poll(self._stamp_ns))
            time.sleep(0.01)
        raise EvaluationError(f"expected {what} to be through within 20 s")

    def _sample(self, frames: int, start: float) -> None:
        if self._samples < len(self._memory):
            self._memory[self._samples] = (frames, time.monotonic() - start, resident_mib())
            self._samples += 1


class _Ticks:
    """Is due `count` times, evenly over a share that grows from 0 to 1."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = 0

    def due(self, done: float) -> bool:
        """Return whether the next tick has come."""
        if self._next >= self._count or done < self._next / self._count:
            return False
        self._next += 1
        return True


def _scenes(size: tuple[int, int]) -> dict[str, list[UInt8Array]]:
    """Return a few images of each weather."""
    scenes = {}
    for domain in tqdm(DOMAINS, desc="render weather", mininterval=2.0):
        drive = Drive(_SEED, fps=2.0, segments=((domain, _PER_DOMAIN / 2.0),), size=size)
        scenes[domain] = [drive.frame(i).image.rgb for i in range(len(drive))]
    return scenes
