"""Gaps leave as pictures and a bag that can be labelled."""

import csv

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")

from semla_ros.core.errors import EvaluationError
from semla_ros.data.bags.reader import image_topics, read_frames
from semla_ros.evaluation.analysis.gaps import library_gaps
from semla_ros.evaluation.report.gap_files import TOPIC, contact_sheet, export_gaps, gap_section


@pytest.fixture
def gaps(made, tmp_path):
    """A folder of six images, two of which the library does not cover."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for i in range(6):
        cv2.imwrite(str(folder / f"{i:03d}.png"), np.full((24, 32, 3), 40 * i, np.uint8))
    levels = ("OK", "OK", "OUT_OF_LIBRARY", "OK", "OUT_OF_LIBRARY", "OK")
    drive = made.recording(
        "drive", ("",) * 6, np.ones(6), np.ones(6), levels=levels, source=str(folder), topic=""
    )
    study = made.study([drive])
    return study, library_gaps(study)


def test_images_bag_and_table_hold_the_same_frames(gaps, tmp_path):
    study, found = gaps
    out = tmp_path / "out"
    export_gaps(study, found, out)
    rows = list(csv.DictReader((out / "gaps.csv").read_text().splitlines()))
    assert [(r["index"], r["level"]) for r in rows] == [
        ("2", "OUT_OF_LIBRARY"),
        ("4", "OUT_OF_LIBRARY"),
    ]
    image = cv2.imread(str(out / rows[1]["file"]))
    assert (image == 160).all()
    (topic,) = image_topics(out / "gaps.mcap")
    assert (topic.name, topic.count) == (TOPIC, 2)
    frames = list(read_frames(out / "gaps.mcap", topic=TOPIC, max_pixels=10_000))
    assert [int(f.rgb[0, 0, 0]) for f in frames] == [80, 160]
    assert (out / "contact_sheet.png").is_file()


def test_the_page_shows_the_sheet_or_does_without(gaps, made, tmp_path):
    study, found = gaps
    assert "data:image/jpeg" in gap_section(study, found)
    for file in (tmp_path / "drive").iterdir():
        file.unlink()
    (tmp_path / "drive").rmdir()
    alone = gap_section(study, found)
    assert "data:image" not in alone
    assert "What the library lacks" in alone
    assert "the library covers" in gap_section(study, ())


def test_nothing_to_export_is_refused(gaps, tmp_path):
    with pytest.raises(EvaluationError, match="no frame has low support"):
        export_gaps(gaps[0], (), tmp_path / "x")
    with pytest.raises(EvaluationError, match="pictures of gaps"):
        contact_sheet([[]])
