"""From inputs to a saved study: what `semla evaluate` does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from semla_ros.bundle import open_bundle
from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.core.timing import StageTimer
from semla_ros.data.tasks import Task
from semla_ros.evaluation.files import json_text, write_file
from semla_ros.evaluation.study.session import StudySettings, evaluated_sha256
from semla_ros.evaluation.study.shards import (
    TIMINGS,
    is_finished,
    read_timings,
    shard_folder,
    write_shard,
)
from semla_ros.evaluation.study.store import frames_table, load_study, save_study
from semla_ros.evaluation.study.study import Study, merge_studies
from semla_ros.evaluation.study.tasks import TaskResult
from semla_ros.evaluation.study.workers import run_tasks
from semla_ros.pipeline import default_bundle

FRAMES_CSV = "frames.csv"


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """What `semla evaluate` was asked for.

    Attributes:
        tasks: The recordings.
        out: Folder of the results, made where missing.
        settings: How they are evaluated.
        jobs: Processes; 1 stays in this one.
        ray: Address of a Ray cluster, `auto` or `local`; "" without one.
        fresh: Do everything again, also what a former run has finished.
    """

    tasks: tuple[Task, ...]
    out: Path
    settings: StudySettings = field(default_factory=StudySettings)
    jobs: int = 1
    ray: str = ""
    fresh: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.jobs <= 1024:
            raise EvaluationError(f"expected --jobs of 0 to 1024, got {self.jobs!r}")


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """A saved study.

    Attributes:
        study: What was saved.
        files: The files written.
        reused: Recordings taken from a former run.
        failed: Recording -> why it is missing.
        interrupted: The user stopped it.
    """

    study: Study
    files: tuple[Path, ...]
    reused: tuple[str, ...]
    failed: dict[str, str]
    interrupted: bool


@dataclass(slots=True)
class _Progress:
    """What has become of the tasks so far."""

    folders: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    stopped: str = ""

    def done(self, task: Task, result: TaskResult) -> None:
        """Keep a result, or why there is none."""
        self.interrupted = self.interrupted or result.interrupted
        if result.study is not None:
            write_shard(self.folders[task.name], result.study, result.timings)
        elif not result.interrupted:
            self.failed[task.name] = result.error


def run_study(request: StudyRequest) -> StudyOutcome:
    """Evaluate what is not evaluated yet and save the study of everything.

    Writes `results.json`, `frames.npz`, `frames.csv`, `timings.json` and one shard for each
    recording. A recording that fails twice is left out and named in the notes.

    Raises:
        SemlaError: Bundle or settings cannot be used, nothing could be evaluated, or the folder
            cannot be written.
    """
    settings, timer = request.settings, StageTimer()
    with timer.stage("total"):
        bundle = open_bundle(settings.bundle or default_bundle())
        sha256 = evaluated_sha256(bundle)
        state = _Progress()
        for task in request.tasks:
            try:
                folder = shard_folder(request.out, task, settings, bundle_sha256=sha256)
            except SemlaError as error:
                if len(request.tasks) == 1:
                    raise
                state.failed[task.name] = str(error)
            else:
                state.folders[task.name] = folder
        known = {n for n, f in state.folders.items() if not request.fresh and is_finished(f)}
        todo = [t for t in request.tasks if t.name in state.folders and t.name not in known]
        _carry_out(request, todo, state)
        study = _study(request, state)
    return _saved(request, study, state, reused=tuple(sorted(known)), timer=timer)


def _carry_out(request: StudyRequest, todo: list[Task], state: _Progress) -> None:
    """Do what is to do; a disk that is full stops it, and what was written stays."""
    if not todo:
        return
    settings = request.settings
    masks = sum(task.open_input(settings.reading).count for task in todo) * len(
        settings.strategies
    )
    bar = tqdm(total=masks or None, unit="mask", disable=None, leave=False, smoothing=0.1)
    try:
        with bar:
            run_tasks(
                todo,
                settings,
                on_done=state.done,
                on_progress=bar.update,
                jobs=request.jobs,
                ray=request.ray,
            )
    except KeyboardInterrupt:
        state.interrupted = True
    except EvaluationError as error:
        if not any((folder / TIMINGS).exists() for folder in state.folders.values()):
            raise
        state.stopped = str(error)


def _study(request: StudyRequest, state: _Progress) -> Study:
    """Return the study of all shards there are, in the order of the tasks."""
    shards: list[Study] = []
    for task in request.tasks:
        folder = state.folders.get(task.name)
        if folder is None or task.name in state.failed:
            continue
        try:
            shards.append(load_study(folder))
        except EvaluationError:
            if not state.interrupted and not state.stopped:
                raise
    if not shards:
        why = state.stopped or "; ".join(f"{n}: {e}" for n, e in state.failed.items())
        if state.interrupted and not why:
            raise KeyboardInterrupt
        raise EvaluationError(why or "nothing was evaluated")
    merged = merge_studies(shards)
    notes = [f"recording {name!r} is missing: {why}" for name, why in state.failed.items()]
    missing = len(request.tasks) - len(shards) - len(state.failed)
    if missing:
        why = "interrupted by the user" if state.interrupted else f"stopped: {state.stopped}"
        notes.append(f"{missing} of {len(request.tasks)} recordings are missing: {why}")
    info = replace(merged.info, excluded=request.settings.excluded)
    return replace(merged, info=info, notes=(*merged.notes, *notes))


def _saved(
    request: StudyRequest,
    study: Study,
    state: _Progress,
    *,
    reused: tuple[str, ...],
    timer: StageTimer,
) -> StudyOutcome:
    files = list(save_study(study, request.out))
    files.append(write_file(request.out / FRAMES_CSV, frames_table(study)))
    timings = {
        "total_s": round(timer.durations_ms["total"] * 1e-3, 3),
        "jobs": request.jobs,
        "ray": request.ray,
        "reused": list(reused),
        "recordings": {n: read_timings(f) for n, f in state.folders.items() if f.is_dir()},
    }
    files.append(write_file(request.out / TIMINGS, json_text(timings)))
    return StudyOutcome(study, tuple(files), reused, state.failed, state.interrupted)
