from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semla_ros.core.errors import ConfigError
from semla_ros.core.files.label_image import decode_labels
from semla_ros.data.bags.labels import read_labels
from semla_ros.data.bags.reader import read_frames
from semla_ros.data.labels.domains import read_domains
from semla_ros.demo.labelled_drive import CAMERA, TRUTH, write_labelled_drive
from semla_ros.demo.world import Drive


def test_the_drive_has_the_truth_of_its_frames(tmp_path: Path) -> None:
    stages = ("clear-day", "fog-night", "clear-day")
    written = write_labelled_drive(tmp_path, seconds=6, fps=1, domains=stages, seed=4)
    frames = list(read_frames(written.bag, topic=CAMERA))
    truth = list(read_labels(written.bag, TRUTH, max_pixels=10**6))
    assert written.frames == len(frames) == len(truth) == 6
    assert [f.stamp_ns for f in frames] == [t.stamp_ns for t in truth]
    drive = Drive(4, fps=1, segments=[(name, 2.0) for name in stages])
    shot = drive.frame(3)
    assert np.array_equal(decode_labels(truth[3].png, max_pixels=10**6), shot.image.labels)
    table = read_domains(written.domains, recording="drive")
    assert [table.domain(f.stamp_ns, "") for f in frames] == [
        drive.frame(i).domain for i in range(6)
    ]


def test_impossible_drives_are_refused(tmp_path: Path) -> None:
    for options in ({"seconds": 0}, {"domains": ()}, {"domains": ("hail",)}):
        with pytest.raises(ConfigError):
            write_labelled_drive(tmp_path, **options)
