"""Images from folders and recordings, in an order that never changes."""

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import BagError, LibraryError, SemlaError
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.data.inputs import InputOptions, open_input
from semla_ros.prepare.curation.sources import SourceOptions, list_images, open_sources


def names(source, wanted=lambda _: True):
    return [image.name for image in source.images(wanted)]


def write_bag(path, count=7, topics=("/camera",), odd=()):
    with BagWriter(path) as writer:
        for i in range(count):
            for topic in topics:
                picture = np.full((8, 12, 3), 10 * i, dtype=np.uint8)
                fields = image_fields(picture, stamp_ns=10**9 + i * 10**8, frame_id="cam")
                if i in odd:
                    fields["encoding"] = "klingon8"
                writer.write(topic, IMAGE, fields, 10**9 + i * 10**8)
    return path


def test_pngs_come_first_each_kind_sorted(tmp_path):
    for name in ("b.jpg", "a.jpeg", "d.png", "c.PNG", ".hidden.png", "notes.txt"):
        cv2.imwrite(str(tmp_path / "x.png"), np.zeros((4, 4, 3), np.uint8))
        (tmp_path / "x.png").rename(tmp_path / name)
    assert [p.name for p in list_images(tmp_path)] == ["c.PNG", "d.png", "a.jpeg", "b.jpg"]


def test_folders_in_folders_need_recursive(tmp_path, pictures):
    pictures(4)
    with pytest.raises(LibraryError, match="--recursive"):
        open_sources([tmp_path], SourceOptions())
    assert open_sources([tmp_path], SourceOptions(recursive=True)).lengths == (4,)


def test_every_and_wanted(pictures):
    source = open_sources([pictures(10)], SourceOptions(every=3))
    assert source.lengths == (4,)
    images = list(source.images(lambda index: index != 1))
    assert [(i.index, i.name) for i in images] == [
        (0, "001.png"),
        (2, "002.jpg"),
        (3, "008.jpg"),
    ]


def test_unreadable_images_have_a_reason(pictures):
    folder = pictures(4)
    (folder / "001.png").write_bytes(b"no png")
    got = {i.name: i for i in open_sources([folder], SourceOptions()).images(lambda _: True)}
    assert got["001.png"].frame is None
    assert "001.png" in got["001.png"].reason
    assert got["003.png"].frame.rgb.shape == (20, 30, 3)


def test_a_recording_gives_every_nth_frame_of_its_topic(tmp_path):
    bag = write_bag(tmp_path / "drive.mcap", odd=(4,))
    source = open_sources([bag], SourceOptions(every=2))
    assert source.lengths == (4,)
    images = list(source.images(lambda index: index != 1))
    assert [i.name for i in images] == ["drive.mcap#0", "drive.mcap#4", "drive.mcap#6"]
    assert [i.index for i in images] == [0, 2, 3]
    assert images[0].frame.rgb[0, 0, 0] == 0
    assert images[2].frame.rgb[0, 0, 0] == 60
    assert images[1].frame is None
    assert "klingon8" in images[1].reason


def test_a_recording_counts_more_than_a_picture_beside_it(tmp_path):
    write_bag(tmp_path / "d_0.mcap", count=2)  # a killed recorder wrote no metadata.yaml
    cv2.imwrite(str(tmp_path / "preview.png"), np.zeros((4, 4, 3), np.uint8))
    assert open_sources([tmp_path], SourceOptions()).lengths == (2,)


def test_images_beside_metadata_of_their_own_are_images(pictures):
    folder = pictures(3)
    (folder / "metadata.yaml").write_text("camera: front\nversion: 2\n")
    assert open_sources([folder], SourceOptions()).lengths == (3,)
    assert open_input(folder, InputOptions()).count == 3


def write_video(path, count):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    for i in range(count):
        writer.write(np.full((24, 32, 3), 40 * i, np.uint8))
    writer.release()
    return path


def test_a_video_gives_every_nth_frame(tmp_path):
    source = open_sources([write_video(tmp_path / "drive.avi", 5)], SourceOptions(every=2))
    assert source.lengths == (3,)
    assert names(source) == ["drive.avi#0", "drive.avi#2", "drive.avi#4"]


def test_a_video_that_does_not_say_its_length_is_refused(tmp_path):
    path = write_video(tmp_path / "drive.avi", 3)
    content = path.read_bytes()
    count = (3).to_bytes(4, "little")
    assert content[48:52] == count, "the header's number of frames"
    path.write_bytes(content[:4096].replace(count, bytes(4)) + content[4096:])
    with pytest.raises(LibraryError, match="give its frames as images"):
        open_sources([path], SourceOptions())


def test_several_topics_ask_which(tmp_path):
    bag = write_bag(tmp_path / "drive.mcap", topics=("/left", "/right"))
    with pytest.raises(BagError, match="/left"):
        open_sources([bag], SourceOptions())
    assert open_sources([bag], SourceOptions(topic="/right")).lengths == (7,)


def test_sources_follow_one_another(tmp_path, pictures):
    bag = write_bag(tmp_path / "drive.mcap", count=2)
    folder = pictures(3)
    source = open_sources([bag, folder, folder / "000.jpg"], SourceOptions())
    assert source.lengths == (2, 3, 1)
    images = list(source.images(lambda _: True))
    assert [i.index for i in images] == list(range(6))
    assert [i.name for i in images][1:4] == ["drive.mcap#1", "001.png", "000.jpg"]
    assert names(source, lambda index: index >= 4) == ["002.jpg", "000.jpg"]


def test_the_fingerprint_follows_files_and_choice(tmp_path, pictures):
    folder = pictures(4)
    bag = write_bag(tmp_path / "drive.mcap")
    one = open_sources([folder], SourceOptions()).fingerprint
    assert open_sources([folder], SourceOptions()).fingerprint == one
    assert open_sources([folder], SourceOptions(every=2)).fingerprint != one
    assert open_sources([folder], SourceOptions(significant_bits=12)).fingerprint != one
    (folder / "000.jpg").write_bytes(b"other")
    assert open_sources([folder], SourceOptions()).fingerprint != one
    first = open_sources([bag], SourceOptions()).fingerprint
    assert open_sources([bag], SourceOptions(every=2)).fingerprint != first


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["nowhere"], {}, "found nothing"),
        (["empty"], {}, "found none"),
        ([], {}, "at least one"),
        (["empty"], {"every": 0}, "--every"),
    ],
)
def test_what_is_no_source(tmp_path, paths, options, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SemlaError, match=message):
        open_sources([tmp_path / p for p in paths], SourceOptions(**options))
