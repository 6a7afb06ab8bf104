"""Captures that were copied, damaged or edited are told from those the node wrote."""

import json
import os

import numpy as np
import pytest
from captures import CLASSES, IDENTITY, frame_of, write_captures

from semla_ros.core.errors import CaptureError
from semla_ros.data.captures.folder import is_capture_folder, read_captures
from semla_ros.data.captures.record import record_from_json


@pytest.fixture
def folder(tmp_path):
    return write_captures(tmp_path / "captures", [1, 2, 3])


def record_path(folder, stamp):
    return folder / f"{stamp:019d}.json"


def edit(path, **changes):
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | changes))


def test_a_record_survives_to_the_bit():
    record, _ = frame_of(7)
    back = record_from_json(record.content())
    assert back.embedding.tobytes() == record.embedding.tobytes()
    assert back.mix == record.mix
    assert back.content() == record.content()
    assert np.isnan(back.novelty)


def test_frames_come_in_order_with_their_pictures(folder):
    found = read_captures(folder)
    assert found.identity == IDENTITY
    assert [c.record.stamp_ns for c in found.captures] == [1, 2, 3]
    first = found.captures[0]
    assert first.record.classes == CLASSES
    assert (first.image().shape, first.mask().shape) == ((24, 32, 3), (24, 32))


def test_half_written_frames_are_no_frames(folder):
    record_path(folder, 2).unlink()
    (folder / f".{3:019d}.json.partial").write_bytes(b"{")
    found = read_captures(folder)
    assert [c.record.stamp_ns for c in found.captures] == [1, 3]
    assert not found.problems


@pytest.mark.parametrize("picture", ["image", "mask"])
def test_an_edited_picture_is_refused(folder, picture):
    first, second = read_captures(folder).captures[:2]
    ending = {"image": ".png", "mask": ".mask.png"}[picture]
    target = folder / f"{first.record.name}{ending}"
    target.write_bytes((folder / f"{second.record.name}{ending}").read_bytes())
    with pytest.raises(CaptureError, match="not what the node wrote"):
        getattr(first, picture)()


def test_a_picture_that_is_gone_is_named(folder):
    (folder / f"{2:019d}.mask.png").unlink()
    found = read_captures(folder)
    assert list(found.problems) == [f"{2:019d}"]
    assert "lacks 0000000000000000002.mask.png" in found.problems[f"{2:019d}"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 9}, "format: expected 1, got 9"),
        ({"stamp_ns": 5}, "expected stamp 0000000000000000001"),
        ({"embedding": [1.0]}, "and 1"),
        ({"embedding": [float("inf")] * 8}, "embedding"),
        ({"mix": {"fog": 0.5}}, "sum 1"),
        ({"level": "FINE"}, "one of OK"),
        ({"support": "low"}, "support: expected a number"),
        ({"classes": []}, "classes"),
        ({"extra": 1}, "extra"),
        ({"sha256": {}}, "sha256"),
    ],
)
def test_an_edited_record_is_one_line_and_the_others_stay(folder, changes, said):
    edit(record_path(folder, 1), **changes)
    found = read_captures(folder)
    assert len(found.captures) == 2
    (problem,) = found.problems.values()
    assert said in problem
    assert "\n" not in problem


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null", b'{"format": 1}'])
def test_nonsense_is_named(folder, content):
    record_path(folder, 1).write_bytes(content)
    assert len(read_captures(folder).problems) == 1


def test_links_and_devices_are_not_followed(folder):
    record_path(folder, 1).unlink()
    record_path(folder, 1).symlink_to("/dev/zero")
    image = folder / f"{2:019d}.png"
    image.unlink()
    image.symlink_to("/dev/zero")
    found = read_captures(folder)
    assert "expected a plain file" in found.problems[f"{1:019d}"]
    assert "lacks" in found.problems[f"{2:019d}"]


def test_a_record_beyond_its_bound_is_not_read(folder):
    os.truncate(record_path(folder, 1), 10**9)
    (problem,) = read_captures(folder).problems.values()
    assert "at most 4000000 bytes" in problem


def test_other_folders_are_told_apart(tmp_path, folder):
    assert is_capture_folder(folder)
    assert not is_capture_folder(tmp_path)
    with pytest.raises(CaptureError, match=r"without capture\.json"):
        read_captures(tmp_path)
    (folder / "capture.json").write_text("{")
    with pytest.raises(CaptureError, match="is damaged"):
        read_captures(folder)
