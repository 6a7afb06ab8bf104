"""A live recording read as a result, and two runs held against each other."""

import json
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import AdapterMix
from semla_ros.data.bags.messages import IMAGE, MIX_STATE, image_fields, mix_state_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.evaluation.compare import compare, comparison_table, read_run, write_comparison
from semla_ros.evaluation.live_result import read_live
from semla_ros.evaluation.replay import replay
from semla_ros.evaluation.result import ReplayResult, RunInfo, save_result
from semla_ros.evaluation.sinks import PredictionSink

MS = 1_000_000
FRAMES = 5


class LateWriter:
    """Writes what it is given, as if it had arrived `delay_ns` after its stamp."""

    def __init__(self, bag, delay_ns):
        self._bag, self._delay_ns = bag, delay_ns

    def write(self, topic, msgtype, fields, stamp):
        self._bag.write(topic, msgtype, fields, stamp + self._delay_ns)


@pytest.fixture
def views(support):
    return support.views(FRAMES)


@pytest.fixture
def live(views, tmp_path):
    """Five images, masks 30 ms later for all but the fourth."""
    path = tmp_path / "live.mcap"
    with BagWriter(path) as bag:
        for view in views:
            frame = view.frame
            fields = image_fields(frame.rgb, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id)
            bag.write("/camera/image_raw", IMAGE, fields, frame.stamp_ns)
        sink = PredictionSink(LateWriter(bag, 30 * MS))
        for index, view in enumerate(views):
            if index != 3:
                sink.add(view)
    return path


@pytest.fixture
def replayed(views, support):
    pipeline = support.pipeline()
    return replay(pipeline, [view.frame for view in views], info=RunInfo("bag"))


def test_a_camera_stamp_that_is_no_time_is_left_out(views, tmp_path):
    path = tmp_path / "live.mcap"
    with BagWriter(path) as bag:
        sink = PredictionSink(bag)
        for index, view in enumerate(views):
            frame = view.frame
            fields = image_fields(frame.rgb, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id)
            if index == 2:
                fields["header"]["stamp"]["sec"] = -1
            bag.write("/camera/image_raw", IMAGE, fields, frame.stamp_ns)
            sink.add(view)
    assert [f.index for f in read_live(path).frames] == [0, 1, 2, 3]


def test_a_swap_between_two_frames_is_not_laid_to_the_one_before(live, views, tmp_path):
    """Such a swap carries the stamp of the last frame, whose mask the old mix made."""
    last = views[-1].frame
    path = tmp_path / "swapped.mcap"
    with BagWriter(path) as bag:
        sink = PredictionSink(bag)
        for view in views:
            frame = view.frame
            fields = image_fields(frame.rgb, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id)
            bag.write("/camera/image_raw", IMAGE, fields, frame.stamp_ns)
            sink.add(view)
        state = mix_state_fields(
            AdapterMix(("fog",), (1.0,)),
            None,
            stamp_ns=last.stamp_ns,
            frame_id="cam",
            since_ns=last.stamp_ns,
        )
        bag.write("/segmenter/mix", MIX_STATE, state, last.stamp_ns + MS)
    assert read_live(path).frames[-1].mix.names == views[-1].result.mix.names


def test_masks_mixes_support_and_latency_are_read_by_stamp(live, views):
    result = read_live(live)
    assert [f.stamp_ns for f in result.frames] == [
        v.frame.stamp_ns for i, v in enumerate(views) if i != 3
    ]
    assert [f.index for f in result.frames] == [0, 1, 2, 4]
    assert [(s.index, s.stamp_ns) for s in result.skipped] == [(3, views[3].frame.stamp_ns)]
    assert result.frames[0].mix.names == ("base",)
    assert result.frames[-1].mix.weight("fog") == pytest.approx(0.7)
    assert result.frames[-1].support.level == "OK"
    assert all(f.timings_ms["latency"] == pytest.approx(30.0) for f in result.frames)
    assert [s.to_mix.names for s in result.swaps] == [("fog", "rain")]


def test_live_and_replay_agree_on_every_common_frame(live, replayed):
    found = compare(replayed, read_live(live))
    assert (found.frames, found.answered, found.common) == ((5, 5), (5, 4), 4)
    assert found.equal_masks == 4
    assert found.first_different == ()
    assert found.mix_difference[1] == pytest.approx(0.0, abs=1e-6)
    assert found.swaps == (1, 1)
    assert found.latency_ms[1]["p50"] == pytest.approx(30.0)
    assert found.added_ms == pytest.approx(30.0 - found.latency_ms[0]["p50"])
    table = comparison_table(found, ("replay", "live"))
    assert "| dropped | 0 | 1 |" in table
    assert "4 of 4 common frames have equal masks" in table


def test_a_different_mask_is_found_and_named(replayed):
    frames = list(replayed.frames)
    frames[2] = replace(frames[2], mask_crc32=frames[2].mask_crc32 ^ 1)
    found = compare(replayed, replace(replayed, frames=tuple(frames)))
    assert found.equal_masks == FRAMES - 1
    assert found.first_different == (frames[2].stamp_ns,)


def test_runs_over_other_frames_are_refused(replayed):
    moved = [replace(f, stamp_ns=f.stamp_ns + 1) for f in replayed.frames]
    other = ReplayResult(RunInfo("elsewhere"), tuple(moved))
    with pytest.raises(EvaluationError, match=r"same frames.*elsewhere"):
        compare(replayed, other)


def test_a_run_is_a_folder_a_file_or_a_recording(live, replayed, tmp_path):
    save_result(replayed, tmp_path / "out" / "results.json")
    assert read_run(tmp_path / "out").digest() == replayed.digest()
    assert read_run(tmp_path / "out" / "results.json").digest() == replayed.digest()
    assert len(read_run(live).frames) == 4
    write_comparison(compare(replayed, replayed), tmp_path / "comparison.json")
    assert json.loads((tmp_path / "comparison.json").read_text())["equal_masks"] == FRAMES


def test_a_recording_without_masks_or_with_two_cameras_says_so(tmp_path):
    rgb = np.zeros((4, 6, 3), np.uint8)
    for name, topics, expected in (
        ("one.mcap", ("/camera",), "expected masks of '/segmenter'"),
        ("two.mcap", ("/left", "/right"), "expected one camera topic"),
    ):
        with BagWriter(tmp_path / name) as bag:
            for topic in topics:
                bag.write(topic, IMAGE, image_fields(rgb, stamp_ns=1, frame_id="c"), 1)
        with pytest.raises(EvaluationError, match=expected):
            read_live(tmp_path / name)


def padded(fields):
    """Return the image with four bytes more in each row."""
    rows = fields["data"].reshape(fields["height"], -1)
    return {
        "step": fields["step"] + 4,
        "data": np.pad(rows, ((0, 0), (0, 4)), constant_values=77).reshape(-1),
    }


SAME = {
    "padded rows": padded,
    "big endian": lambda fields: {
        "is_bigendian": 1,
        "data": fields["data"].view(np.uint16).byteswap().view(np.uint8),
    },
}
NOT_MASKS = {
    "another encoding": (lambda _: {"encoding": "rgb8"}, "mono8 or mono16, got 'rgb8'"),
    "short data": (lambda f: {"data": f["data"][:-1]}, "is no mask"),
    "small step": (lambda f: {"step": 1}, "is no mask"),
    "wrong height": (lambda f: {"height": 9999}, "is no mask"),
    "no size": (lambda f: {"height": 0, "width": 0}, "is no mask"),
}


def one_mask(path, change):
    """Write a recording of one camera image and one mask of 16 bits."""
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100
    fields = image_fields(labels, stamp_ns=1, frame_id="c")
    with BagWriter(path) as bag:
        bag.write("/camera/image_raw", IMAGE, image_fields(labels, stamp_ns=1, frame_id="c"), 1)
        bag.write("/segmenter/mask", IMAGE, fields | change(fields), 2)
    return path


@pytest.mark.parametrize("what", SAME)
def test_step_and_byte_order_of_a_mask_do_not_change_its_labels(tmp_path, what):
    plain = read_live(one_mask(tmp_path / "plain.mcap", lambda _: {}))
    other = read_live(one_mask(tmp_path / "other.mcap", SAME[what]))
    assert compare(plain, other).equal_masks == 1


@pytest.mark.parametrize("what", NOT_MASKS)
def test_what_is_no_mask_is_refused_by_topic(tmp_path, what):
    change, said = NOT_MASKS[what]
    with pytest.raises(EvaluationError, match=f"/segmenter/mask.*{said}"):
        read_live(one_mask(tmp_path / "a.mcap", change))
