"""A whole replay with a real pipeline, from a recording to its files."""

import json
import os

import cv2
import numpy as np
import pytest
from recordings import write_odd_stamps

from semla_ros.core.errors import BagError, BundleError, ConfigError, EvaluationError
from semla_ros.data.bags.reader import image_topics
from semla_ros.evaluation.result import load_result
from semla_ros.evaluation.run import ReplayRequest, run_replay, versions, write_image
from semla_ros.evaluation.sinks import VideoSink

FAKE = {"engine": "fake"}
FILES = ["index.html", "overlay.mp4", "predictions.mcap", "results.json", "strip.png"]


@pytest.fixture(scope="module")
def outcomes(bundle, support, tmp_path_factory):
    """Two replays of the same recording, the onnx engine, a swap policy that swaps soon."""
    root = tmp_path_factory.mktemp("run")
    bag = support.write_bag(root / "drive.mcap", support.frames(12))
    changes = {"engine": "onnx", "threads": 1, "navigator_rate_hz": 0.0, "swap_policy": "always"}
    requests = [
        ReplayRequest(bag, root / name, bundle=bundle, changes=changes) for name in ("one", "two")
    ]
    return [(request, run_replay(request)) for request in requests]


def test_every_file_is_written_and_true(outcomes):
    request, outcome = outcomes[0]
    assert sorted(f.name for f in request.out.iterdir()) == FILES
    assert sorted(p.name for p in outcome.files) == FILES
    result = load_result(request.out / "results.json")
    assert result.digest() == outcome.result.digest()
    summary = json.loads((request.out / "results.json").read_text())["summary"]
    assert summary["frames"] == {"read": 12, "segmented": 12, "skipped": 0}
    assert summary["swaps"]["committed"] >= 1
    assert result.info.engine == "onnx"
    assert result.info.classes == ("road", "car", "sky", "tree")
    assert result.info.parameters["swap_policy"] == "always"
    assert result.frames[-1].support is not None
    counts = {t.name: t.count for t in image_topics(request.out / "predictions.mcap")}
    each_frame = ("mask", "mask_color", "overlay/compressed")
    assert counts == {f"/segmenter/{name}": 12 for name in each_frame} | {"/segmenter/legend": 1}
    assert cv2.imread(str(request.out / "strip.png")).shape[0] > 100


def test_two_replays_decide_the_same(outcomes):
    (_, one), (_, two) = outcomes
    assert one.result.digest() == two.result.digest()
    assert [f.mask_crc32 for f in one.result.frames] == [f.mask_crc32 for f in two.result.frames]


def test_old_results_do_not_survive_a_new_run(bundle, support, tmp_path):
    bag = support.write_bag(tmp_path / "drive.mcap", support.frames(2))
    out = tmp_path / "out"
    changes = {"engine": "fake"}
    run_replay(ReplayRequest(bag, out, bundle=bundle, changes=changes))
    assert (out / "overlay.mp4").exists()
    run_replay(ReplayRequest(bag, out, bundle=bundle, changes=changes, video=False))
    assert not (out / "overlay.mp4").exists()


def test_a_damaged_recording_is_noted_once(bundle, support, tmp_path):
    whole = support.write_bag(tmp_path / "whole.mcap", support.frames(30, 200, 300))
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    request = ReplayRequest(
        cut, tmp_path / "out", bundle=bundle, changes={"engine": "fake"}, video=False
    )
    result = run_replay(request).result
    assert 5 < len(result.frames) < 30
    assert len(result.notes) == 1
    assert "cut off" in result.notes[0]


def test_a_stamp_that_is_no_time_costs_its_frame_only(bundle, tmp_path):
    bag = write_odd_stamps(tmp_path / "drive.mcap")
    outcome = run_replay(
        ReplayRequest(bag, tmp_path / "out", bundle=bundle, changes={"engine": "fake"})
    )
    assert len(outcome.result.frames) == 3
    assert [s.index for s in outcome.result.skipped] == [1, 3]
    assert outcome.result.ended_early == ""
    assert sorted(p.name for p in outcome.files) == FILES


def test_unusable_requests_are_refused_before_anything_runs(bundle, support, tmp_path):
    bag = support.write_bag(tmp_path / "drive.mcap", support.frames(2))
    out = tmp_path / "out"
    with pytest.raises(BagError, match="found nothing"):
        run_replay(ReplayRequest(tmp_path / "no.mcap", out, bundle=bundle))
    with pytest.raises(BundleError, match=r"bundle\.yaml"):
        run_replay(ReplayRequest(bag, out, bundle=tmp_path))
    with pytest.raises(ConfigError, match="did you mean 'top_k'"):
        run_replay(ReplayRequest(bag, out, bundle=bundle, changes={"topk": 1}))
    (tmp_path / "file").write_text("x")
    with pytest.raises(EvaluationError, match="cannot write"):
        run_replay(ReplayRequest(bag, tmp_path / "file" / "out", bundle=bundle))
    with pytest.raises(EvaluationError, match="cannot write"):
        write_image(tmp_path / "file" / "x.png", np.zeros((2, 2, 3), np.uint8))


def test_versions_name_what_can_change_a_result():
    assert {"semla_ros", "python", "numpy", "onnxruntime", "machine"} <= versions().keys()


def test_results_stay_where_a_file_cannot_be_written(bundle, support, tmp_path, monkeypatch):
    """The page and the numbers are there; what failed is said, in the page too."""

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoSink, "_write", full)
    bag = support.write_bag(tmp_path / "drive.mcap", support.frames(3))
    outcome = run_replay(ReplayRequest(bag, tmp_path / "out", bundle=bundle, changes=FAKE))
    assert len(load_result(tmp_path / "out" / "results.json").frames) == 3
    assert outcome.failures == ("[Errno 28] No space left on device",)
    assert outcome.failures[0] in outcome.result.notes
    assert sorted(p.name for p in outcome.files) == [n for n in FILES if n != "overlay.mp4"]
    assert not list((tmp_path / "out").glob(".*"))


def test_names_that_are_no_utf8_keep_the_finished_work(bundle, support, tmp_path):
    folder = tmp_path / os.fsdecode(b"d\xe9j")
    folder.mkdir()
    bag = support.write_bag(folder / os.fsdecode(b"dr\xefve.mcap"), support.frames(3))
    outcome = run_replay(ReplayRequest(bag, folder / "out", bundle=bundle, changes=FAKE))
    assert sorted(p.name for p in outcome.files) == FILES
    assert "d\\udce9j" in (folder / "out" / "index.html").read_text()
