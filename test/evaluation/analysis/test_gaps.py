"""Groups of like frames are found, and what merely lags behind is no gap."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")

from semla_ros.evaluation.analysis.gaps import clusters, library_gaps
from semla_ros.evaluation.result import SkippedRecord


@pytest.fixture(scope="module")
def groups():
    """Forty points around each of three far corners."""
    rng = np.random.default_rng(2)
    corners = np.eye(3, 6) * 50
    return np.concatenate([c + rng.normal(0, 1, (40, 6)) for c in corners])


def test_clear_groups_are_found(groups):
    labels = clusters(groups)
    assert len(np.unique(labels)) == 3
    assert all(len(np.unique(labels[i : i + 40])) == 1 for i in (0, 40, 80))


def test_one_cloud_stays_one_group():
    assert not clusters(np.random.default_rng(1).normal(size=(80, 6))).any()
    assert not clusters(np.ones((3, 6))).any()


def test_gaps_have_share_exemplars_and_the_nearest_adapter(made, groups):
    distances = np.full((120, 4), 9.0)
    distances[:, 2] = 3.0
    drive = replace(
        made.recording("drive", ("",) * 120, np.full(120, 0.05), np.ones(120)),
        embeddings=groups.astype(np.float32),
        distances=distances,
        levels=("LOW",) * 80 + ("OUT_OF_LIBRARY",) * 40,
    )
    fine = made.recording("fine", ("fog-day",) * 120, np.full(120, 0.9), np.ones(120))
    gaps = library_gaps(made.study([drive, fine]))
    assert [len(g.frames) for g in gaps] == [40, 40, 40]
    assert sum(g.share for g in gaps) == pytest.approx(0.5)
    assert {g.nearest for g in gaps} == {"rain-day"}
    assert sorted(g.out_of_library for g in gaps) == [0.0, 0.0, 1.0]
    assert all(f.recording == "drive" for g in gaps for f in g.exemplars)


def test_a_mix_that_lags_behind_is_no_gap(made):
    lagging = made.recording("a", ("a",) * 20, np.full(20, 0.9), np.ones(20), levels=("LOW",) * 20)
    assert library_gaps(made.study([lagging])) == ()


def test_without_the_gate_the_frame_alone_is_judged(made):
    nothing = np.full(20, np.nan)
    alone = made.recording(
        "a", ("a",) * 20, np.full(20, 0.05), np.ones(20), smoothed=nothing, levels=("",) * 20
    )
    assert sum(len(g.frames) for g in library_gaps(made.study([alone]))) == 20


def test_skipped_frames_keep_their_place(made):
    short = made.recording("a", ("a",) * 4, np.ones(4), np.ones(4))
    holes = replace(short, skipped=(SkippedRecord(0, 0, "x"), SkippedRecord(3, 0, "x")))
    assert holes.indices == [1, 2, 4, 5]
