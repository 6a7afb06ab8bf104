from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.result import SkippedRecord
from semla_ros.evaluation.study.store import FRAMES, RESULTS, load_study, save_study
from semla_ros.evaluation.study.study import SequenceResult, StrategyResult, merge_studies

from .studies import fake_recording, fake_study


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    if isinstance(one, StrategyResult | SequenceResult):
        return all(_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return isinstance(other, dict) and all(_equal(v, other[k]) for k, v in one.items())
    return one == other


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    odd = replace(
        fake_recording("odd", domains=("", "fog-day", "")),
        smoothed=np.array([np.nan, 0.1, 0.2]),
        levels=("", "LOW", "OUT_OF_LIBRARY"),
        skipped=(SkippedRecord(3, 7, "truncated"),),
        notes=("no header stamps",),
        ended_early="disk full",
    )
    study = fake_study(fake_recording(), odd)
    save_study(study, tmp_path)
    loaded = load_study(tmp_path / RESULTS)
    assert loaded.info == study.info
    assert _equal(loaded.recordings[0], study.recordings[0])
    assert _equal(
        replace(loaded.recordings[1], smoothed=np.zeros(3)),
        replace(odd, smoothed=np.zeros(3)),
    )
    assert np.isnan(loaded.recordings[1].smoothed[0])
    assert not loaded.complete


def test_equal_studies_are_equal_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        save_study(fake_study(), tmp_path / folder)
    for name in (RESULTS, FRAMES):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_study_survives_a_second_round(tmp_path: Path) -> None:
    save_study(fake_study(), tmp_path / "one")
    save_study(load_study(tmp_path / "one"), tmp_path / "two")
    for name in (RESULTS, FRAMES):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"format": "semla-study/2"}']
)
def test_a_damaged_results_file_is_one_line(tmp_path: Path, damage: bytes) -> None:
    save_study(fake_study(), tmp_path)
    (tmp_path / RESULTS).write_bytes(damage)
    with pytest.raises(EvaluationError, match=r"evaluate again|cannot read"):
        load_study(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("colors", [[1, 2]], "info.colors[0]: expected a list of 3 items"),
        ("adapters", "fog", "info.adapters: expected a list"),
        ("support_low", True, "info.support_low: expected a number"),
        ("parameters", [], "info.parameters: expected entries"),
    ],
)
def test_facts_of_another_type_are_refused_by_name(
    tmp_path: Path, name: str, value: object, said: str
) -> None:
    save_study(fake_study(), tmp_path)
    data = json.loads((tmp_path / RESULTS).read_text())
    data["info"][name] = value
    (tmp_path / RESULTS).write_text(json.dumps(data))
    with pytest.raises(EvaluationError, match=re.escape(said)):
        load_study(tmp_path)


def test_arrays_of_another_study_are_refused(tmp_path: Path) -> None:
    save_study(fake_study(), tmp_path)
    save_study(fake_study(fake_recording(domains=("fog-day",) * 3)), tmp_path / "other")
    (tmp_path / "other" / FRAMES).replace(tmp_path / FRAMES)
    arrays = load_study(tmp_path).recordings[0]
    assert arrays.frames == 3  # consistent in itself: only the shapes can be checked
    with np.load(tmp_path / FRAMES) as file:
        kept = {k: v for k, v in file.items() if not k.endswith("novelty")}
    np.savez(tmp_path / FRAMES, **kept)
    with pytest.raises(EvaluationError, match="novelty"):
        load_study(tmp_path)


def test_an_array_that_announces_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    save_study(fake_study(), tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(tmp_path / FRAMES, "w") as archive:
        archive.writestr("r00000/novelty.npy", header.getvalue())
    with pytest.raises(EvaluationError, match="expected an array"):
        load_study(tmp_path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    save_study(fake_study(), tmp_path)
    np.savez(tmp_path / FRAMES, bad=np.array([{"a": 1}], dtype=object))
    with pytest.raises(EvaluationError, match="pickled objects"):
        load_study(tmp_path)


def test_merging_keeps_every_recording_under_its_own_name() -> None:
    merged = merge_studies([fake_study(), fake_study(), fake_study(fake_recording("other"))])
    assert [r.name for r in merged.recordings] == ["drive", "drive-2", "other"]


def test_studies_of_different_models_do_not_merge() -> None:
    study = fake_study()
    other = replace(study, info=replace(study.info, bundle_sha256="1" * 64))
    with pytest.raises(EvaluationError, match="bundle_sha256"):
        merge_studies([study, other])
    with pytest.raises(EvaluationError, match="at least one"):
        merge_studies([])
