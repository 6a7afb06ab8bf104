from __future__ import annotations

import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.data.tasks import tasks_of
from semla_ros.evaluation.study.overhead import measure_overhead


def test_the_overhead_is_of_the_same_work(drive, open_session) -> None:
    (task,) = tasks_of([str(drive.bag)], labels=["/truth"], domains=drive.domains)
    session = open_session(strategies=("zero-shot", "uniform"))
    found = measure_overhead(session, task, frames=5, rounds=2)
    assert (found.frames, found.masks) == (5, 12), "the base before and after as well"
    assert found.study_ms > 0
    assert found.bare_ms > 0
    assert found.share == pytest.approx(found.study_ms / found.bare_ms - 1)


def test_without_frames_there_is_nothing_to_measure(drive, open_session) -> None:
    (task,) = tasks_of([str(drive.bag)], labels=["/truth"])
    with pytest.raises(EvaluationError, match="expected frames"):
        measure_overhead(open_session(), task, frames=0)
