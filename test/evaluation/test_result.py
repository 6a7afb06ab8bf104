"""Results survive the disk, and their summary counts right."""

import copy
import dataclasses
import json
import math

import pytest

from semla_ros.core.answers import SupportReading
from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import AdapterMix
from semla_ros.evaluation.compare import compare
from semla_ros.evaluation.result import load_result, result_to_json, save_result


def test_a_saved_result_comes_back_equal(result, tmp_path):
    path = tmp_path / "sub" / "results.json"
    save_result(result, path)
    again = load_result(path)
    assert result_to_json(again) == result_to_json(result)
    assert again.digest() == result.digest()
    assert again.frames[1].mix == result.frames[1].mix
    assert again.swaps == result.swaps
    assert [f.name for f in path.parent.iterdir()] == ["results.json"]


def test_the_file_is_strict_json(result, tmp_path):
    save_result(result, tmp_path / "r.json")

    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    assert data["frames"][1]["support"]["nearest_distance"] is None


def test_summary(result):
    summary = result.summary()
    assert summary["frames"] == {"read": 8, "segmented": 6, "skipped": 2}
    assert summary["skipped_why"] == {"<broken> JPEG": 2}
    assert summary["swaps"] == {"committed": 1, "failed": 1}
    assert list(summary["latency_ms"]) == ["step", "infer"]
    assert summary["latency_ms"]["step"]["p50"] == pytest.approx(12.5)
    assert summary["mean_mix"] == pytest.approx({"fog": 0.7 * 4 / 6, "base": 2 / 6, "rain": 0.2})
    assert summary["support"] == {"levels": {"LOW": 5}, "mean": 0.5, "lowest": 0.5}
    assert summary["duration_s"] == pytest.approx(0.5)
    assert summary["ended_early"] == "the disk is full"


def test_swaps_that_failed_are_counted_apart(result):
    failed = dataclasses.replace(result, swaps=result.swaps[1:] * 2)
    assert failed.summary()["swaps"] == {"committed": 0, "failed": 2}


def test_an_empty_result_has_a_summary(result):
    empty = dataclasses.replace(result, frames=(), swaps=(), skipped=())
    summary = empty.summary()
    assert summary["frames"]["read"] == 0
    assert summary["latency_ms"] == {}
    assert summary["support"]["mean"] is None


def changed(result, field, place, **changes):
    """Return `result` with other values in one of its frames, swaps or skipped frames."""
    records = list(getattr(result, field))
    records[place] = dataclasses.replace(records[place], **changes)
    return dataclasses.replace(result, **{field: tuple(records)})


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("frames", {"index": 99}),
        ("frames", {"stamp_ns": 1}),
        ("frames", {"mask_crc32": 12345}),
        ("frames", {"mix": AdapterMix(("night",), (1.0,))}),
        ("frames", {"support": None}),
        ("frames", {"support": SupportReading(1.0, 0.5, "fog", 2.0, "OUT_OF_LIBRARY", 1)}),
        ("swaps", {"stamp_ns": 1}),
        ("swaps", {"to_mix": AdapterMix(("night",), (1.0,))}),
        ("swaps", {"reason": "pinned"}),
        ("swaps", {"committed": False}),
        ("skipped", {"index": 99}),
        ("skipped", {"reason": "another"}),
    ],
)
def test_the_digest_sees_every_decision(result, field, changes):
    place = 1 if field == "frames" else 0  # the first frame has no support yet
    assert changed(result, field, place, **changes).digest() != result.digest()


@pytest.mark.parametrize("field", ["frames", "swaps", "skipped"])
def test_the_digest_sees_what_is_missing(result, field):
    shorter = dataclasses.replace(result, **{field: getattr(result, field)[:-1]})
    assert shorter.digest() != result.digest()


@pytest.mark.parametrize(
    ("field", "changes"),
    [("frames", {"timings_ms": {"step": 99.0}}), ("swaps", {"fuse_ms": 9.0, "stall_ms": 1.0})],
)
def test_the_digest_does_not_see_durations(result, field, changes):
    assert changed(result, field, 0, **changes).digest() == result.digest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read"),
        ("[]", "format 1"),
        ('{"format": 7}', "format 1"),
        ('{"format": 1}', "damaged at info: expected a value"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        load_result(path)


def test_an_edited_result_is_refused(result, tmp_path):
    path = tmp_path / "r.json"
    save_result(result, path)
    data = json.loads(path.read_text())
    data["frames"][0]["mix"] = {"fog": 0.4}
    path.write_text(json.dumps(data))
    with pytest.raises(EvaluationError, match="sum 1"):
        load_result(path)
    with pytest.raises(EvaluationError, match="cannot read"):
        load_result(tmp_path / "nowhere.json")


def test_a_place_that_cannot_be_written(result, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EvaluationError, match="cannot write"):
        save_result(result, tmp_path / "file" / "r.json")


WRONG = (None, True, -1, 0.5, 10**40, math.nan, math.inf, "", "odd", [], [[1]], {}, {"odd": 1})


def leaves(value, path=()):
    """Yield the path of every value; of lists those of the first item."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*path, 0))


def edited(data, path, value):
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


MISSING = object()


def test_no_edit_by_hand_ends_in_another_error(result, tmp_path):
    """Each value in turn is missing or of every wrong kind: refused, or usable."""
    plain, path = result_to_json(result), tmp_path / "results.json"
    accepted = 0
    for place in list(leaves(plain))[1:]:
        for value in (MISSING, *WRONG):
            path.write_text(json.dumps(edited(plain, place, value)))
            try:
                read = load_result(path)
            except EvaluationError:
                continue
            accepted += 1
            read.summary()
            if read.frames:
                compare(read, read)
            save_result(read, tmp_path / "again.json")
    assert accepted > 10


def test_runs_with_other_classes_or_another_order_are_not_compared(result):
    info = dataclasses.replace(result.info, classes=("road", "car"))
    one = dataclasses.replace(result, info=info)
    other = dataclasses.replace(result, info=dataclasses.replace(info, classes=("car", "road")))
    with pytest.raises(EvaluationError, match="the same classes in the same order"):
        compare(one, other)
    assert compare(one, one).equal_masks == compare(one, one).common
