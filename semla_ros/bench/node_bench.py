"""`semla bench node`: the real node over real ROS 2, at fixed rates and at its peak."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from semla_ros.bench.bare import paced_ms
from semla_ros.bench.frames import Film, film, write_camera
from semla_ros.bench.measures import summary
from semla_ros.bench.node_run import NodeRun, keeps_up, run_of
from semla_ros.bench.processes import LiveNode, Setup, live_node, live_relay
from semla_ros.bench.resources import Sampler, Usage
from semla_ros.core.config import Config, updated
from semla_ros.core.errors import ConfigError
from semla_ros.pipeline import AdaptivePipeline, build_pipeline
from semla_ros.processes.drive import require_ros

_LOG = logging.getLogger(__name__)

QUIET, SWAPPING = "quiet", "swapping"
_WARM_UP_HZ, _WARM_UP_S = 5.0, 3.0
_FLAT_OUT_HZ = 1000.0
_SEARCH_WIDTH = 0.03
_SEARCH_S = 4.0
_SLOWEST_HZ = 0.1
_MOST_MIXES = 3


@dataclass(frozen=True, slots=True)
class NodeBenchRequest:
    """What `semla bench node` was asked for.

    Attributes:
        rates: Fixed rates in Hz.
        peak: Also find the highest rate that is kept up, and measure there.
        seconds: Length of one run.
        repeats: How often each run is repeated.
        setups: Ways to run the node; the first one gets every run, the others one quiet
            rate.
        compare_hz: That rate.
        loss: Share of frames that may be lost at the peak.
        source: Folder of images or recording; None: the demo world.
        changes: Parameters of the node.
    """

    rates: tuple[float, ...] = (5.0, 10.0, 30.0)
    peak: bool = True
    seconds: float = 10.0
    repeats: int = 3
    setups: tuple[Setup, ...] = (Setup("raw", "single", "shm"),)
    compare_hz: float = 10.0
    loss: float = 0.01
    source: Path | None = None
    changes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rates and not self.peak:
            raise ConfigError("expected at least one rate, or `peak`")
        wrong = [rate for rate in self.rates if not 0 < rate <= 1000]
        if wrong or self.seconds <= 0 or self.repeats < 1 or not 0 <= self.loss < 1:
            raise ConfigError(
                "expected rates of 0 to 1000 Hz, seconds > 0, repeats >= 1 and a loss of 0 to 1, "
                f"got {self.rates!r}, {self.seconds!r}, {self.repeats!r}, {self.loss!r}"
            )


@dataclass(frozen=True, slots=True)
class Measured:
    """The repeats of one run.

    Attributes:
        setup: How the node ran.
        hz: Rate that was asked for.
        phase: `quiet`, or `swapping` without pause.
        runs, usages: One each.
        bare_ms: What the network alone took at the same pace, one list for each repeat.
    """

    setup: Setup
    hz: float
    phase: str
    runs: tuple[NodeRun, ...]
    usages: tuple[Usage, ...]
    bare_ms: tuple[list[float], ...] = ()


@dataclass(frozen=True, slots=True)
class NodeBench:
    """Everything that was measured.

    Attributes:
        engine: Name of the engine.
        film: What was played.
        measured: In order.
        peak_hz: The highest rate kept up, NaN if not looked for.
        probes: Rate -> whether it was kept up, in the order of the search.
        relayed: Rate -> a run in which a process that only relays stood in the node's place;
            raw images only.
    """

    engine: str
    film: Film
    measured: tuple[Measured, ...]
    peak_hz: float
    probes: tuple[tuple[float, bool], ...]
    relayed: Mapping[float, NodeRun] = field(default_factory=dict)


def run_node_bench(request: NodeBenchRequest, *, logs: Path) -> NodeBench:
    """Return what the node did; `logs` is a scratch folder.

    Raises:
        EngineUnavailableError: ROS 2 or the interfaces are missing.
        SemlaError: The node does not come up, or a process failed.
    """
    require_ros()
    played = film(request.source)
    alone = {"adaptation": "inline", "swap_policy": "never"}
    with build_pipeline(updated(Config(), {**request.changes, **alone})) as bare:
        first, *others = request.setups
        session = _Session(request, played, bare, logs)
        measured = session.every_run(first)
        rates = dict.fromkeys(each.hz for each in measured)
        relayed = session.relayed(first, tuple(rates)) if first.transport == "raw" else {}
        for setup in others:
            measured += session.comparison(setup)
        return NodeBench(
            bare.engine.facts.name,
            played,
            tuple(measured),
            session.peak_hz,
            tuple(session.probes),
            relayed,
        )


class _Session:
    """Runs one setup after the other with the same frames."""

    def __init__(
        self, request: NodeBenchRequest, played: Film, bare: AdaptivePipeline, logs: Path
    ) -> None:
        self.peak_hz = math.nan
        self.probes: list[tuple[float, bool]] = []
        self._request = request
        self._film = played
        self._bare = bare.engine
        self._logs = logs
        names = bare.library.names[:_MOST_MIXES]
        self._mixes: tuple[Mapping[str, float], ...] = tuple({name: 1.0} for name in names)

    def every_run(self, setup: Setup) -> list[Measured]:
        """Return the runs at every rate and at the peak, quiet and swapping."""
        with ExitStack() as stack:
            live = self._start(stack, setup)
            rates = list(self._request.rates)
            if self._request.peak:
                self.peak_hz = self._search(live)
                rates += [self.peak_hz] if self.peak_hz else []
            phases = (QUIET, SWAPPING) if len(self._mixes) > 1 else (QUIET,)
            total = len(rates) * len(phases) * self._request.repeats
            found: dict[tuple[float, str], list[tuple[NodeRun, Usage, list[float]]]] = {}
            with tqdm(total=total, desc=f"node ({setup})", unit="run") as bar:
                for _ in range(self._request.repeats):
                    for hz in rates:
                        for phase in phases:
                            one = self._one(live, hz, phase)
                            found.setdefault((hz, phase), []).append(one)
                            bar.update()
        return [_measured(setup, hz, phase, runs) for (hz, phase), runs in found.items()]

    def comparison(self, setup: Setup) -> list[Measured]:
        """Return the quiet runs at the rate of comparison."""
        hz = self._request.compare_hz
        with ExitStack() as stack:
            live = self._start(stack, setup)
            repeats = tqdm(range(self._request.repeats), desc=f"node ({setup})", unit="run")
            runs = [self._one(live, hz, QUIET) for _ in repeats]
        return [_measured(setup, hz, QUIET, runs)]

    def relayed(self, setup: Setup, rates: Sequence[float]) -> dict[float, NodeRun]:
        """Return rate -> a run with a relay in the node's place."""
        with live_relay(self._camera(setup), setup.middleware, logs=self._logs) as live:
            live.play(hz=_WARM_UP_HZ, seconds=_WARM_UP_S)
            seconds = self._request.seconds
            return {hz: run_of(live.play(hz=hz, seconds=seconds)) for hz in rates}

    def _start(self, stack: ExitStack, setup: Setup) -> LiveNode:
        live = stack.enter_context(
            live_node(self._camera(setup), setup, changes=self._request.changes, logs=self._logs)
        )
        live.play(hz=_WARM_UP_HZ, seconds=_WARM_UP_S)
        return live

    def _camera(self, setup: Setup) -> Path:
        camera = self._logs / f"camera_{setup.transport}.mcap"
        if not camera.is_file():
            write_camera(self._film.frames, camera, compressed=setup.transport == "compressed")
        return camera

    def _one(self, live: LiveNode, hz: float, phase: str) -> tuple[NodeRun, Usage, list[float]]:
        """Return one run, with the network alone measured right before it."""
        seconds = self._request.seconds
        bare: list[float] = []
        mixes = self._mixes if phase == SWAPPING else ()
        if phase == QUIET:
            frames, length = self._film.frames, min(seconds, 5.0)
            bare = paced_ms(self._bare, frames, hz=min(hz, 1e3), seconds=length)
        sampler = Sampler(live.pid)
        run, usage = run_of(live.play(hz=hz, seconds=seconds, mixes=mixes)), sampler.usage()
        if mixes:
            live.follow()
        return run, usage, bare

    def _search(self, live: LiveNode) -> float:
        """Return the highest rate in Hz that the node keeps up, found by bisection."""
        frames = self._film.frames
        alone = summary(paced_ms(self._bare, frames, hz=_FLAT_OUT_HZ, seconds=0.02))["p50"]
        seconds = min(self._request.seconds, _SEARCH_S)

        def keeps(hz: float) -> bool:
            kept = keeps_up(run_of(live.play(hz=hz, seconds=seconds)), loss=self._request.loss)
            self.probes.append((hz, kept))
            _LOG.info("peak search: %.1f Hz %s", hz, "kept up" if kept else "too fast")
            return kept

        return search_peak(keeps, high=1.2e3 / alone)


def search_peak(
    keeps: Callable[[float], bool], *, high: float, width: float = _SEARCH_WIDTH
) -> float:
    """Return the highest rate in Hz that `keeps` up, by bisection below `high`; 0 if none does.

    As ros2_benchmark's search, which bisects and then climbs in steps of 5 Hz; steps of that
    size say nothing about a network of some ten frames a second, so the bisection here goes on
    until the interval is `width` times the rate. A rate that was kept up was measured as such.
    """
    if keeps(high):
        return high
    low = 0.0
    while high - low > width * high and high > _SLOWEST_HZ:
        probed = (low + high) / 2
        if keeps(probed):
            low = probed
        else:
            high = probed
    return low


def _measured(
    setup: Setup, hz: float, phase: str, found: Sequence[tuple[NodeRun, Usage, list[float]]]
) -> Measured:
    runs, usages, bare_ms = zip(*found, strict=True)
    return Measured(setup, hz, phase, runs, usages, bare_ms)
