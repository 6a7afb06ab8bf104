"""Centroid files: SemLA's own, ours with more in them, and damaged ones."""

import contextlib
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.errors import AdapterError
from semla_ros.core.novelty import EmbeddingSample
from semla_ros.library import statistics as module
from semla_ros.library.statistics import (
    MAX_SAMPLE,
    DistanceQuantiles,
    DomainStatistics,
    read_statistics,
    statistics_path,
)
from semla_ros.prepare.adapters.write import write_statistics


def write_npz(folder, **arrays):
    np.savez(statistics_path(folder, "fog"), **arrays)


@pytest.mark.parametrize("shape", [(1, 6), (6,)])
def test_semla_files_hold_one_array(tmp_path, shape):
    write_npz(tmp_path, train_average_embedding=np.arange(6, dtype=np.float32).reshape(shape))
    statistics = read_statistics(tmp_path, "fog")
    np.testing.assert_array_equal(statistics.centroid, np.arange(6))
    assert statistics.centroid.dtype == np.float32
    assert (statistics.count, statistics.encoder, statistics.covariance) == (None, None, None)


def test_everything_written_is_read(tmp_path):
    rng = np.random.default_rng(0)
    quantiles = DistanceQuantiles(np.array([0.5, 0.99]), np.array([1.5, 4.0]))
    written = DomainStatistics(
        centroid=rng.standard_normal(4).astype(np.float32),
        count=612,
        covariance=np.eye(4) * 3,
        encoder="clip:überall",
        quantiles=quantiles,
    )
    path = write_statistics(tmp_path / "new", "fog", written)
    read = read_statistics(tmp_path / "new", "fog")
    np.testing.assert_array_equal(read.centroid, written.centroid)
    np.testing.assert_array_equal(read.covariance, written.covariance)
    assert (read.count, read.encoder) == (612, "clip:überall")
    np.testing.assert_array_equal(read.quantiles.distances, quantiles.distances)
    with np.load(path, allow_pickle=False) as archive:
        assert archive["train_average_embedding"].shape == (1, 4)
        assert archive["train_average_embedding"].dtype == np.float32


def test_quantiles_interpolate():
    quantiles = DistanceQuantiles(np.array([0.0, 1.0]), np.array([2.0, 4.0]))
    assert quantiles.at(0.25) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("levels", "distances"),
    [
        ([0.5], [1.0, 2.0]),
        ([], []),
        ([[0.5]], [[1.0]]),
        ([0.9, 0.1], [1, 2]),
        ([0.5, 0.5], [1, 2]),
        ([0.1, 0.9], [2, 1]),
        ([0, 2], [1, 2]),
        ([0, 0.5, 2], [1, 2, 3]),
        ([-0.1, 1], [1, 2]),
        ([0, 1], [-1, 2]),
    ],
)
def test_impossible_quantiles_are_refused(levels, distances):
    with pytest.raises(AdapterError, match="quantile"):
        DistanceQuantiles(np.array(levels, float), np.array(distances, float))


def test_bounds_are_possible():
    assert DistanceQuantiles(np.array([0.0, 1.0]), np.array([0.0, 0.0])).at(0.5) == 0
    for shrinkage in (0.0, 1.0):
        one = DomainStatistics(np.ones(1, np.float32), count=1, shrinkage=shrinkage)
        assert (one.count, one.shrinkage) == (1, shrinkage)
    with pytest.raises(AdapterError, match=r"up to 4096, got \(4097,\)"):
        DomainStatistics(np.ones(4097, np.float32))
    assert DomainStatistics(np.ones(4096, np.float32)).count is None


def test_unknown_arrays_are_ignored(tmp_path):
    write_npz(tmp_path, train_average_embedding=np.ones(3), of_tomorrow=np.ones((9, 9)))
    assert read_statistics(tmp_path, "fog").centroid.shape == (3,)


def test_compressed_files_are_read(tmp_path):
    np.savez_compressed(statistics_path(tmp_path, "fog"), train_average_embedding=np.ones(3))
    assert read_statistics(tmp_path, "fog").centroid.shape == (3,)


BAD = {
    "train_average_embedding": {"other": np.ones(3)},
    "NaN": {"train_average_embedding": np.array([1.0, np.nan])},
    "expected a centroid": {"train_average_embedding": np.ones((2, 3))},
    "expected a centroid ": {"train_average_embedding": np.ones(())},
    "as numbers": {"train_average_embedding": np.array(["a"])},
    "pickled": {"train_average_embedding": np.array([{}], dtype=object)},
    "covariance": {"train_average_embedding": np.ones(3), "covariance": np.eye(4)},
    "at least 1 image": {"train_average_embedding": np.ones(3), "count": np.asarray(0)},
    "one text": {"train_average_embedding": np.ones(3), "encoder": np.asarray(["a", "b"])},
    "one text ": {"train_average_embedding": np.ones(3), "encoder": np.ones(3)},
    "expected a sample (R, D)": {"train_average_embedding": np.ones(3), "sample": np.ones(3)},
    "from 1 to 256, got (257": {
        "train_average_embedding": np.ones(3),
        "sample": np.ones((257, 3)),
        "sample_blocks": np.zeros(257),
    },
    "from 1 to 256, got (0": {"train_average_embedding": np.ones(3), "sample": np.ones((0, 3))},
    "sample of embeddings (R, 3)": {
        "train_average_embedding": np.ones(3),
        "sample": np.ones((4, 2)),
        "sample_blocks": np.zeros(4),
    },
    "'sample_blocks' (4,)": {"train_average_embedding": np.ones(3), "sample": np.ones((4, 3))},
    "'sample_blocks' (2,) in 0 to 255": {
        "train_average_embedding": np.ones(3),
        "sample": np.ones((2, 3)),
        "sample_blocks": np.array([0, 1e300]),
    },
    "damaged": {"train_average_embedding": np.ones(3), "count": np.ones(3, np.int64)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arrays_are_refused_by_file_name(tmp_path, message):
    write_npz(tmp_path, **BAD[message])
    with pytest.raises(AdapterError, match=re.escape(message.strip())) as raised:
        read_statistics(tmp_path, "fog")
    assert "fog_statistics.npz" in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AdapterError, match=r"fog_statistics\.npz, found none"):
        read_statistics(tmp_path, "fog")


@given(share=st.floats(0.0, 0.98))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("statistics")
    write_npz(folder, train_average_embedding=np.ones(50))
    path = statistics_path(folder, "fog")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(AdapterError, match="fog_statistics"):
        read_statistics(folder, "fog")


@given(position=st.integers(0, 700), value=st.integers(0, 255))
def test_a_flipped_byte_never_escapes_as_another_error(tmp_path_factory, position, value):
    folder = tmp_path_factory.mktemp("statistics")
    np.savez_compressed(statistics_path(folder, "fog"), train_average_embedding=np.ones(50))
    path = statistics_path(folder, "fog")
    data = bytearray(path.read_bytes())
    data[position % len(data)] = value
    path.write_bytes(bytes(data))
    with contextlib.suppress(AdapterError):
        assert read_statistics(folder, "fog").centroid.shape == (50,)


def npy(shape, body=b"\0" * 8):
    header = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


@pytest.mark.parametrize("shape", [(10**12,), (10**9, 10**9), (2,), (-1,), (0, 10**15)])
def test_a_lying_shape_is_refused_before_memory_is_taken(tmp_path, shape):
    with zipfile.ZipFile(statistics_path(tmp_path, "fog"), "w") as archive:
        archive.writestr("train_average_embedding.npy", npy(shape))
    with pytest.raises(AdapterError, match="fog_statistics"):
        read_statistics(tmp_path, "fog")


def test_a_zip_bomb_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_STATISTICS_BYTES", 100)
    np.savez_compressed(statistics_path(tmp_path, "fog"), train_average_embedding=np.zeros(10_000))
    with pytest.raises(AdapterError, match="at most 100 bytes"):
        read_statistics(tmp_path, "fog")


def test_shrinkage_comes_back_and_has_bounds(tmp_path):
    centroid = np.ones(3, np.float32)
    write_statistics(tmp_path, "fog", DomainStatistics(centroid, shrinkage=0.25))
    assert read_statistics(tmp_path, "fog").shrinkage == 0.25
    with pytest.raises(AdapterError, match="from 0 to 1"):
        DomainStatistics(centroid, shrinkage=1.5)


def test_a_sample_is_read_as_it_was_written(tmp_path):
    rows = np.random.default_rng(0).normal(size=(MAX_SAMPLE, 5)).astype(np.float32)
    sample = EmbeddingSample(rows, np.arange(MAX_SAMPLE) * 3 // MAX_SAMPLE, 4000)
    path = write_statistics(tmp_path, "fog", DomainStatistics(rows.mean(axis=0), sample=sample))
    read = read_statistics(tmp_path, "fog").sample
    np.testing.assert_array_equal(read.embeddings, rows)
    np.testing.assert_array_equal(read.blocks, sample.blocks)
    assert path.stat().st_size < MAX_SAMPLE * (5 * 4 + 8) + 2000


def test_arrays_that_do_not_go_together_are_refused_before_they_are_unpacked(tmp_path):
    centroid = np.ones(3)
    for key, array in (
        ("covariance", np.zeros((4, 4))),
        ("sample", np.zeros((513, 3))),
        ("quantiles", np.zeros(10_001)),
        ("encoder", np.asarray("a" * 2000)),
        ("count", np.zeros(4)),
    ):
        write_npz(tmp_path, train_average_embedding=centroid, **{key: array})
        with pytest.raises(AdapterError, match=f"{key!r} to have at most"):
            read_statistics(tmp_path, "fog")


def test_a_git_lfs_pointer_in_place_of_statistics_says_so(tmp_path):
    statistics_path(tmp_path, "fog").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(AdapterError, match=r"git lfs pull` in its repository$"):
        read_statistics(tmp_path, "fog")
