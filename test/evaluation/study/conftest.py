"""Sessions of the small bundle on a labelled drive."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_drive import Drive, labelled_drive

from semla_ros.data.inputs import InputOptions, open_input
from semla_ros.data.labels.domains import DomainTable, read_domains
from semla_ros.data.labels.source import TruthSource
from semla_ros.data.sequence_source import SequenceSource
from semla_ros.evaluation.study.session import Session, StudySettings

SETTINGS = {"engine": "onnx", "threads": 1, "ema_time_s": 0.2, "min_dwell_s": 0.2}


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """See `labelled_drive`."""
    return labelled_drive(tmp_path_factory.mktemp("drive"))


@pytest.fixture
def open_session(bundle: Path, request: pytest.FixtureRequest):
    """Return a function that opens a session on the small bundle."""

    def opened(**settings: object) -> Session:
        changes = {**SETTINGS, **settings.pop("changes", {})}  # type: ignore[dict-item]
        session = Session(StudySettings(bundle=bundle, changes=changes, **settings))  # type: ignore[arg-type]
        request.addfinalizer(session.close)
        return session

    return opened


@pytest.fixture
def sequence(drive: Drive):
    """Return a function that makes a sequence of the drive's recording."""

    def made(
        truth: TruthSource | None = None, domains: DomainTable | None = None
    ) -> SequenceSource:
        frames = open_input(drive.bag, InputOptions(except_topic="/truth"))
        table = domains or read_domains(drive.domains, recording="drive")
        return SequenceSource("drive.mcap", "drive", frames, truth, table)

    return made
