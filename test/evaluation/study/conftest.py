"""A drive of three domains for the small bundle, whose embedding is the mean colour."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.data.inputs import InputOptions, open_input
from semla_ros.data.labels.domains import DomainTable, read_domains
from semla_ros.data.labels.source import TruthSource
from semla_ros.data.sequence_source import SequenceSource
from semla_ros.evaluation.study.session import Session, StudySettings

COLOURS = {"night": 2, "fog": 153, "rain": 204}
STEP_NS = 200_000_000
SIZE = (24, 32)
SETTINGS = {"engine": "onnx", "threads": 1, "ema_time_s": 0.2, "min_dwell_s": 0.2}


@dataclass(frozen=True)
class Drive:
    """A recording with labels, and the same as folders."""

    bag: Path
    images: Path
    labels: Path
    domains: Path
    frames: int


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Ten frames each of night, fog and night at 5 Hz; truth of random classes."""
    root = tmp_path_factory.mktemp("drive")
    rng = np.random.default_rng(3)
    names = ["night"] * 10 + ["fog"] * 10 + ["night"] * 10
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    with BagWriter(root / "drive.mcap") as bag, (root / "domains.csv").open("w") as table:
        rows = csv.writer(table)
        rows.writerow(("stamp_ns", "domain"))
        for i, name in enumerate(names):
            stamp = (i + 1) * STEP_NS
            noise = rng.integers(-2, 3, (*SIZE, 3))
            rgb = np.clip(COLOURS[name] + noise, 0, 255).astype(np.uint8)
            truth = np.repeat(rng.integers(0, 4, (6, 8), dtype=np.uint8), 4, 0).repeat(4, 1)
            truth[0] = 255
            cv2.imwrite(str(root / "images" / f"{i}.png"), rgb[..., ::-1])
            cv2.imwrite(str(root / "labels" / f"{i}.png"), truth)
            for topic, image in (("/camera", rgb), ("/truth", truth)):
                fields = image_fields(image, stamp_ns=stamp, frame_id="cam")
                bag.write(topic, IMAGE, fields, stamp)
            rows.writerow((stamp, name))
    return Drive(
        root / "drive.mcap", root / "images", root / "labels", root / "domains.csv", len(names)
    )


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
