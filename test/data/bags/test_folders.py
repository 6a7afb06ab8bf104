"""Which folders are recordings, and the order of their parts."""

import pytest
from recordings import write_camera, write_storage
from rosbags.rosbag2 import StoragePlugin

from semla_ros.data.bags import opening
from semla_ros.data.bags.opening import holds_recording, natural
from semla_ros.data.bags.reader import read_frames


def test_numbers_in_names_count_by_value_and_superscripts_are_no_numbers(tmp_path):
    names = ["1²3.mcap", "drive_10.mcap", "drive_9.mcap"]
    assert sorted(names, key=natural) == ["1²3.mcap", "drive_9.mcap", "drive_10.mcap"]
    for name in names:
        write_camera(tmp_path / name, 1)
    assert len(list(read_frames(tmp_path, on_note=lambda _: None))) == 3


@pytest.mark.parametrize(
    ("name", "content", "recording"),
    [
        ("d_0.mcap", "", True),
        ("d_0.db3.zstd", "", True),
        ("metadata.yaml", "rosbag2_bagfile_information:\n  version: 9\n", True),
        ("metadata.yaml", "camera: front\n", False),
        ("metadata.yaml", "", False),
        ("preview.png", "", False),
    ],
)
def test_a_folder_is_a_recording_by_its_parts_or_by_metadata_of_rosbag2(
    tmp_path, name, content, recording
):
    (tmp_path / name).write_text(content)
    assert holds_recording(tmp_path) is recording


def test_metadata_is_read_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "_MAX_METADATA_BYTES", 100)
    (tmp_path / "metadata.yaml").write_text("\n" * 100 + "rosbag2_bagfile_information:\n")
    assert not holds_recording(tmp_path)


def test_a_folder_named_like_a_recording_is_no_part_of_one(tmp_path):
    write_camera(tmp_path / "d_0.mcap", 1)
    write_storage(tmp_path / "old.mcap", StoragePlugin.MCAP)
    assert len(list(read_frames(tmp_path, on_note=lambda _: None))) == 1
    (tmp_path / "d_0.mcap").unlink()
    assert not holds_recording(tmp_path)
