"""`semla loop demo`: a robot meets snow for the first time, and knows it on the next lap.

Snow is taken out of a copy of the demo's library: no other pair of domains raises the alarm so
surely when it is missing (`python -m semla_ros.bench.left_out`).
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from semla_ros.bundle import open_bundle
from semla_ros.core.errors import ConfigError, SemlaError, TrainingError
from semla_ros.data.captures.folder import is_capture_folder, read_captures
from semla_ros.data.labelling.label_set import SET_FILE
from semla_ros.demo.footage import Footage, read_answers, render_footage
from semla_ros.demo.laps import FoundGap, Lap, LoopOutcome, Step, domain_miou, lap_of
from semla_ros.demo.loop_labels import labelled_gap, labelled_known
from semla_ros.demo.loop_page import loop_page
from semla_ros.demo.score import replayed_masks
from semla_ros.demo.world import Drive
from semla_ros.evaluation.page import write_page
from semla_ros.evaluation.run import versions
from semla_ros.loop.quarantine import read_verdict
from semla_ros.pipeline import default_bundle
from semla_ros.processes.children import start_child, stop_process
from semla_ros.processes.drive import require_ros
from semla_ros.processes.live import LiveNode

MISSING = ("snow-day", "snow-night")
ROUTE = tuple(
    ((known, 4.0), (missing, 6.5))
    for missing, around in (
        ("snow-day", ("clear-day", "fog-day", "rain-day")),
        ("snow-night", ("rain-night", "clear-night", "fog-night")),
    )
    for known in 2 * around
)
"""Streets, each with known and then missing weather: many, for one street is no domain."""
BUNDLE, CAPTURES, GAPS, KNOWN, LOGS = "bundle", "captures", "gaps", "known", "logs"
_LATER_NS = 3_600_000_000_000
_RELOAD_AFTER_S = 6.0
Say = Callable[[str], None]
"""Told each step before it is taken."""


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """How large the demo is.

    Attributes:
        route: The streets of both laps: (domain, seconds) of their weather.
        seeds: Of the first and the second drive: other streets, traffic and weather.
        fps: Camera rate.
        known_frames: Labelled frames of each known domain that an adapter is held against.
        least: Frames of a gap from which on an adapter is trained: a quarter judges, a fifth of
            the rest chooses the best step, and fewer than 50 would silence the library's alarm.
        train: Further words for `semla loop train`.
    """

    route: tuple[tuple[tuple[str, float], ...], ...] = ROUTE
    seeds: tuple[int, int] = (2030, 2031)
    fps: float = 10.0
    known_frames: int = 24
    least: int = 88
    train: tuple[str, ...] = ()


def run(out: Path, say: Say, plan: LoopPlan | None = None) -> tuple[Path, LoopOutcome]:
    """Return the page and what came of both laps.

    Args:
        out: New folder for `index.html`, `summary.json`, the bundle, captures and gaps.
        say: Told what is done.
        plan: How large, None for the demo.

    Raises:
        EngineUnavailableError: ROS 2 or the interfaces are missing.
        TrainingError: What training needs is missing.
        SemlaError: The node, the camera or a command failed.
    """
    _require_all(out)
    plan = plan or LoopPlan()
    outcome = _Demo(out, plan, say).outcome()
    text = json.dumps(outcome.as_dict() | {"versions": versions()}, indent=2)
    (out / "summary.json").write_text(text + "\n", encoding="utf-8")
    page = out / "index.html"
    write_page(page, loop_page(outcome))
    return page, outcome


def _require_all(out: Path) -> None:
    require_ros()
    for module in ("torch", "sklearn"):
        if importlib.util.find_spec(module) is None:
            raise TrainingError(f"the loop needs {module!r}: scripts/setup --dev, or `make loop`")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"expected a new folder, got {str(out)!r}: remove it, or give another")


class _Demo:
    """The demo's course; what is done is timed."""

    def __init__(self, out: Path, plan: LoopPlan, say: Say) -> None:
        self._out, self._plan, self._say = out.resolve(), plan, say
        self._whole = default_bundle()
        self._steps: list[Step] = []

    def outcome(self) -> LoopOutcome:
        """Drive, close the gaps, drive again."""
        hidden = shutil.ignore_patterns(".*", *MISSING)
        shutil.copytree(self._whole, self._out / BUNDLE, ignore=hidden)
        with tempfile.TemporaryDirectory(prefix="semla-loop-") as scratch:
            folder = Path(scratch)
            with self._step("both drives rendered"):
                first, second = self._rendered(folder)
            with self._node(bundle=self._out / BUNDLE, captures=True) as node:
                lap_1 = self._lap(node, first, "lap 1")
                gaps = self._close_gaps(first)
                name = "lap 2, the library reloaded on the way"
                lap_2 = self._lap(node, second, name, reload_after_s=_RELOAD_AFTER_S)
            with self._node(bundle=self._whole) as node:
                name = "lap 2 again with the whole library, nothing captured"
                full = self._lap(node, second, name, captures=False)
        lacking = {"bundle": str(self._whole), "exclude": ",".join(MISSING)}
        with self._step("lap 2 replayed with the library of lap 1"):
            before = domain_miou(second, replayed_masks(second, lacking))
        return LoopOutcome(MISSING, lap_1, lap_2, full, before, gaps, tuple(self._steps))

    def _rendered(self, folder: Path) -> tuple[Footage, ...]:
        plan = self._plan
        with ProcessPoolExecutor(len(plan.seeds), mp_context=get_context("spawn")) as pool:
            waiting = [
                pool.submit(
                    render_footage,
                    folder / f"camera_{number}.mcap",
                    *(
                        Drive(100 * seed + street, fps=plan.fps, segments=weather)
                        for street, weather in enumerate(plan.route)
                    ),
                    later_ns=number * _LATER_NS,
                )
                for number, seed in enumerate(plan.seeds)
            ]
            return tuple(each.result() for each in waiting)

    def _node(self, *, bundle: Path, captures: bool = False) -> LiveNode:
        """Return a node that runs; two minutes are short, so it keeps every frame it may."""
        changes: dict[str, object] = {"bundle": str(bundle)}
        if captures:
            changes["capture_dir"] = str(self._out / CAPTURES)
            changes |= {"capture_period_s": 0.0, "capture_spread": 0.0}
        return LiveNode(self._out / LOGS, changes=changes)

    def _lap(
        self,
        node: LiveNode,
        footage: Footage,
        name: str,
        *,
        captures: bool = True,
        reload_after_s: float | None = None,
    ) -> Lap:
        out = footage.camera.with_name("lap.mcap")
        with self._step(name):
            run = node.play(
                footage.camera, out, seconds=footage.seconds, reload_after_s=reload_after_s
            )
        lap = lap_of(
            footage, run, read_answers(run), captured=self._captured() if captures else ()
        )
        out.unlink()
        return lap

    def _captured(self) -> list[int]:
        folder = self._out / CAPTURES
        if not is_capture_folder(folder):
            return []
        return [capture.record.stamp_ns for capture in read_captures(folder).captures]

    def _close_gaps(self, footage: Footage) -> tuple[FoundGap, ...]:
        """Let the commands that users have find, train and let in what is missing."""
        out = self._out
        if not is_capture_folder(out / CAPTURES):
            return ()
        self._semla(
            "gaps", f"{out / CAPTURES}", "--bundle", f"{out / BUNDLE}", "--out", f"{out / GAPS}"
        )
        sets = sorted(path.parent for path in (out / GAPS).glob(f"*/{SET_FILE}"))
        with self._step("labels from the world's truth"):
            found = [labelled_gap(folder, footage) for folder in sets]
            known = set(footage.domains) - set(MISSING)
            frames = self._plan.known_frames
            others = labelled_known(out / KNOWN, footage, known, frames=frames)
        found.sort(key=lambda gap: -sum(gap.domains.values()))
        return tuple(self._trained(gap, others) for gap in found)

    def _trained(self, gap: FoundGap, others: list[str]) -> FoundGap:
        """Return a gap with what came of its adapter, which serves if it may."""
        if (frames := sum(gap.domains.values())) < self._plan.least:
            few = f"{frames} frames: fewer than {self._plan.least} would silence the alarm"
            return replace(gap, why_not=few)
        bundle = self._out / BUNDLE
        words = [f"{self._out / GAPS / gap.name}", "--bundle", f"{bundle}", *others]
        code, said = self._semla("loop", "train", *words, *self._plan.train, allowed=(0, 1, 2))
        if code not in (0, 1):
            return replace(gap, why_not=said.splitlines()[-1])
        verdict = read_verdict(open_bundle(bundle, verify=False), gap.name)
        if verdict.passed:
            self._semla("loop", "approve", f"{bundle}", gap.name)
        return replace(gap, verdict=verdict)

    def _semla(self, *words: str, allowed: Collection[int] = (0,)) -> tuple[int, str]:
        """Run a command as users do; return its exit code and what it said.

        Raises:
            SemlaError: It ended with another code than those `allowed`.
        """
        shown = shlex.join(["semla", *words]).replace(f"{self._out}/", "")
        brief = shown.partition(" --others ")
        with self._step(brief[0] + (" --others …" if brief[1] else "")):
            command = [sys.executable, "-m", "semla_ros", *words]
            process = start_child(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            try:
                said = process.communicate()[0].decode(errors="replace").strip()
            finally:
                stop_process(process)
        with (self._out / LOGS / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {shown}\n{said}\n")
        if process.returncode not in allowed:
            last = said.splitlines()[-1:] or ["it said nothing"]
            raise SemlaError(f"{shown!r} ended with code {process.returncode}: {last[0]}")
        return process.returncode, said

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self._say(what)
        start = time.monotonic()
        yield
        self._steps.append(Step(what, time.monotonic() - start))
