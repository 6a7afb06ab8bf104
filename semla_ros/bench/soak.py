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

from semla_ros.bench.ledger import COMMITTED, FAILED, LOGGED, REQUESTED, SUPERSEDED, SwapLedger
from semla_ros.bench.measures import Slope, slope, summary
from semla_ros.bench.record import BenchRecord, Cell, Row
from semla_ros.bench.resources import resident_mib
from semla_ros.core.config import Config, updated
from semla_ros.core.errors import ConfigError, EvaluationError
from semla_ros.core.timing import now_ms
from semla_ros.core.types import AdapterMix, Float64Array, Frame, UInt8Array
from semla_ros.demo.world import DOMAINS, Drive
from semla_ros.pipeline import AdaptivePipeline, open_parts

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


@dataclass(slots=True, eq=False)
class Soak:
    """What happened.

    Attributes:
        engine: Its name.
        latencies_ms: Of every step.
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
    memory: Sequence[tuple[int, float, float]] = ()
    changes: int = 0
    ledger: SwapLedger = field(default_factory=SwapLedger)
    events: int = 0
    probes: int = 0
    drifted: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def growth(self) -> Slope:
        """MiB per hour over the second half: by then every cache is full."""
        half = self.memory[len(self.memory) // 2 :]
        return slope([s for _, s, _ in half], [m * 3600 for _, _, m in half])

    @property
    def held(self) -> bool:
        """Whether memory did not certainly grow, no mask drifted and no swap got lost."""
        ledger = self.ledger
        ended = ledger.count(COMMITTED) + ledger.count(FAILED)
        told = ended == self.events == ledger.count(LOGGED)
        return not self.growth.grows and not self.drifted and ledger.balanced and told


def run_soak(request: SoakRequest) -> Soak:
    """Return what happened while the weather changed.

    Raises:
        SemlaError: Bundle or engine cannot be used, the library has fewer than two adapters, or
            an order is not carried out.
    """
    scenes = _scenes(request.size)
    config = updated(Config(), {"adaptation": "background", **request.changes})
    parts = open_parts(config)
    with AdaptivePipeline(parts, config) as pipeline:
        run = _Run(request, pipeline, scenes)
        run.soak.ledger.watch(parts.swapper)
        with run.soak.ledger.listening():
            return run.run()


class _Run:
    """One soak: frames, samples and probes in turns."""

    def __init__(
        self,
        request: SoakRequest,
        pipeline: AdaptivePipeline,
        scenes: Mapping[str, Sequence[UInt8Array]],
    ) -> None:
        names = pipeline.library.names
        if len(names) < 2:
            raise EvaluationError(f"expected at least two adapters to swap, got {names!r}")
        self._mixes = [AdapterMix.from_weights({name: 1.0}) for name in names[:2]]
        self._request = request
        self._pipeline = pipeline
        self._scenes = scenes
        self._rng = np.random.default_rng(_SEED)
        self._domain = DOMAINS[0]
        self._stamp_ns = 0
        most = request.frames or math.ceil(request.minutes * 60 * _MOST_HZ)
        # both arrays are written once now, so that they cannot grow
        self.soak = Soak(pipeline.engine.facts.name, np.full(most, np.nan))
        self._memory = np.full((_SAMPLES + 2, 3), np.nan)
        self._samples = 0
        self._first: dict[str, int] = {}

    def run(self) -> Soak:
        """Return what happened."""
        gc.collect()
        soak, start = self.soak, time.monotonic()
        count = self._frames(start)
        self._sample(count, start)
        self._wait(lambda: not self._pipeline.busy, "the last swap")  # so that all balances
        soak.latencies_ms = soak.latencies_ms[:count]
        soak.memory = [(int(f), float(s), float(m)) for f, s, m in self._memory[: self._samples]]
        soak.errors = dict(self._pipeline.health.errors)
        return soak

    def _frames(self, start: float) -> int:
        """Run frames, samples and probes; return how many frames there were."""
        request, latencies = self._request, self.soak.latencies_ms
        seconds = request.minutes * 60 or math.inf
        probes = 0
        bar = tqdm(total=request.frames or None, desc="soak", unit="frame", mininterval=5.0)
        with bar:
            for number in range(len(latencies)):
                elapsed = time.monotonic() - start
                if elapsed > seconds:
                    return number
                share = number / len(latencies) if request.frames else 0.0
                done = max(share, elapsed / seconds)
                if self._samples <= _SAMPLES and done >= self._samples / _SAMPLES:
                    self._sample(number, start)
                if probes < request.probes and done >= probes / request.probes:
                    self._probe()
                    probes += 1
                if number and number % DWELL == 0:
                    self._change()
                views = self._scenes[self._domain]
                before = now_ms()
                self._step(views[number % len(views)])
                latencies[number] = now_ms() - before
                bar.update()
        return len(latencies)

    def _change(self) -> None:
        others = [name for name in DOMAINS if name != self._domain]
        self._domain = others[int(self._rng.integers(len(others)))]
        self.soak.changes += 1

    def _step(self, rgb: UInt8Array) -> int:
        """Segment one image; return the checksum of mask and confidence."""
        self._stamp_ns += _SENSOR_NS
        result = self._pipeline.step(Frame(self._stamp_ns, "camera", rgb))
        self.soak.events += len(result.swaps)
        return zlib.crc32(result.confidence.tobytes(), zlib.crc32(result.labels.tobytes()))

    def _probe(self) -> None:
        """Segment the same image with A, B and A again; every mask must be that mix's first."""
        self.soak.probes += 1
        one, other = self._mixes
        for mix in (one, other, one):
            order = self._pipeline.pin(mix)
            self._wait(order.done, f"pin {mix.identity}")
            event = order.result()
            if not event.committed or self._pipeline.active != mix:
                raise EvaluationError(f"pinning {mix.identity} failed: {event.error}")
            seen = self._step(self._scenes[DOMAINS[0]][0])
            self.soak.drifted += seen != self._first.setdefault(mix.identity, seen)
        self._wait(self._pipeline.unpin().done, "unpin")

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        """Poll until `done`.

        Raises:
            EvaluationError: It takes too long.
        """
        for _ in range(_PATIENCE):
            if done():
                return
            self.soak.events += len(self._pipeline.poll(self._stamp_ns))
            time.sleep(0.01)
        raise EvaluationError(f"expected {what} to be through within 20 s")

    def _sample(self, frames: int, start: float) -> None:
        self._memory[self._samples] = (frames, time.monotonic() - start, resident_mib())
        self._samples += 1


def _scenes(size: tuple[int, int]) -> dict[str, list[UInt8Array]]:
    """Return a few images of each weather."""
    scenes = {}
    for domain in tqdm(DOMAINS, desc="render weather", mininterval=2.0):
        drive = Drive(_SEED, fps=2.0, segments=((domain, _PER_DOMAIN / 2.0),), size=size)
        scenes[domain] = [drive.frame(i).image.rgb for i in range(len(drive))]
    return scenes


def soak_record(request: SoakRequest, soak: Soak, *, command: str) -> BenchRecord:
    """Return what happened as one record."""
    ledger, growth = soak.ledger, soak.growth
    tenths = np.array_split(soak.latencies_ms, 10)
    first, last = summary(tenths[0]), summary(tenths[9])
    answers: dict[str, Cell] = {
        "frames": len(soak.latencies_ms),
        "minutes": soak.memory[-1][1] / 60,
        "changes of the weather": soak.changes,
        "swaps requested": ledger.count(REQUESTED),
        **{f"of these {kind}": ledger.count(kind) for kind in (COMMITTED, FAILED, SUPERSEDED)},
        "every request ended in one way": ledger.balanced,
        "swaps told with the frames": soak.events,
        "swaps in the log": ledger.count(LOGGED),
        "A, B, A tried": soak.probes,
        "masks that differed from their mix's first": soak.drifted,
        "failures by stage": ", ".join(f"{k}: {n}" for k, n in soak.errors.items() if n) or "none",
        "memory at the start [MiB]": soak.memory[0][2],
        "memory at the end [MiB]": soak.memory[-1][2],
        "growth over the second half [MiB/h]": growth.per_s,
        "its 95 % interval": f"{growth.low:.2f} to {growth.high:.2f}",
        **{
            f"{key} of the first and the last tenth [ms]": f"{first[key]:.1f} and {last[key]:.1f}"
            for key in ("p50", "p95", "p99", "max")
            if key in first and key in last
        },
        "no growth, no drift, every swap accounted for": soak.held,
    }
    rows: list[Row] = [{"question": key, "answer": value} for key, value in answers.items()]
    return BenchRecord(
        f"Soak: weather that never stops changing (engine {soak.engine})",
        command,
        tuple(rows),
        notes=_notes(request),
        extra={"memory_mib": [[frames, round(mib, 2)] for frames, _, mib in soak.memory]},
    )


def _notes(request: SoakRequest) -> tuple[str, ...]:
    return (
        f"Frames of {request.size[1]}x{request.size[0]} from the demo world, one after the other "
        f"without a pause, another weather every {DWELL} frames; navigator and swaps in the "
        "background, as on a robot.",
        "Memory is judged over the second half, when the caches of adapters, text features and "
        "recent mixes are full; the interval is that of a line through the means of 20 "
        "stretches. The picture shows all of it.",
        "Latencies are of the pipeline's step, without ROS.",
        "Requests are counted where they are made, outcomes where they are answered, and both are "
        "compared with the swaps that came with the frames and with the log.",
    )
