"""A library larger than its memory: bounded, checked by header, read when needed."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.library import contract
from semla_ros.library import library as module
from semla_ros.library.memory import AdapterMemory, bytes_of
from semla_ros.library.seal import TENSOR_FILE
from semla_ros.library.spread import StatisticsStore
from semla_ros.library.statistics import DomainStatistics
from semla_ros.prepare.adapters.write import write_statistics

ENCODER = "clip-tiny:center_crop"


def counted(monkeypatch):
    """Record which adapters are read whole."""
    reads, real = [], contract.read_adapter

    def counting(folder, *, name, trusted=None):
        reads.append(name)
        return real(folder, name=name, trusted=trusted)

    monkeypatch.setattr(contract, "read_adapter", counting)
    return reads


def test_memory_is_bounded_and_keeps_the_recent_ones(
    root, open_library, make_adapter, monkeypatch
):
    reads = counted(monkeypatch)
    size = bytes_of(make_adapter())
    header = (root / "fog" / TENSOR_FILE).stat().st_size - size
    assert header < size, "or the third would fit as well"
    limit = 2 * size + header
    library = open_library(root, memory_bytes=limit)
    assert reads == ["fog", "night"], "the third is checked by its header alone"
    assert library.names == ("fog", "night", "rain")
    for name in ("night", "rain", "night", "fog", "rain"):
        assert library.get(name).name == name
        assert library.memory_bytes <= limit
    assert reads == ["fog", "night", "rain", "fog", "rain"]


def test_adapters_that_grow_in_memory_do_not_push_each_other_out_while_opening(
    tmp_path, store, open_library, make_adapter, monkeypatch
):
    """Half precision on disk is float32 in memory, so a file says too little of the room."""
    for name in "abcdef":
        path = store(tmp_path, name, rank=64) / TENSOR_FILE
        save_file({k: v.astype(np.float16) for k, v in load_file(path).items()}, path)
    size = bytes_of(make_adapter(rank=64))
    reads = counted(monkeypatch)
    library = open_library(tmp_path, memory_bytes=2 * size + size * 9 // 10)
    assert library.names == tuple("abcdef")
    assert reads == ["a", "b", "c"], "the third shows that there is no room for more"


def test_what_does_not_fit_by_its_header_is_a_problem_at_once(root, open_library, edit_config):
    edit_config(root / "fog", r=7)
    edit_config(root / "night", base_model_name_or_path="other")
    (root / "rain" / TENSOR_FILE).write_bytes(b"not safetensors")
    library = open_library(root, memory_bytes=1)
    assert library.names == ()
    assert "rank 7" in library.problems["fog"]
    assert "got 'other'" in library.problems["night"]
    assert "damaged or truncated" in library.problems["rain"]


def test_values_beyond_memory_are_checked_when_they_are_read(root, open_library):
    path = root / "fog" / TENSOR_FILE
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] = np.nan
    save_file(tensors, path)
    assert "NaN" in open_library(root).problems["fog"]
    library = open_library(root, memory_bytes=1)
    assert library.names == ("fog", "night", "rain")
    with pytest.raises(AdapterError, match="NaN"):
        library.get("fog")
    assert library.get("night").name == "night"


def test_the_bound_outlives_a_reload(root, open_library):
    assert open_library(root).reload().memory_bytes > 0
    assert open_library(root, memory_bytes=1).reload().memory_bytes == 0


def test_a_memory_of_nothing_is_refused(root, open_library):
    with pytest.raises(LibraryError, match="cache"):
        open_library(root, memory_bytes=0)


def test_covariances_beyond_the_bound_stay_pooled(root, open_library, monkeypatch):
    rng = np.random.default_rng(1)
    total = np.zeros((5, 5))
    for count, name in enumerate(("fog", "night", "rain"), start=300):
        points = rng.standard_normal((20, 5))
        covariance = (points.T @ points).astype(np.float32)
        write_statistics(
            root / name,
            name,
            DomainStatistics(np.ones(5, np.float32), count, covariance, encoder=ENCODER),
        )
        total += count * covariance.astype(np.float64)
    whole = open_library(root)
    monkeypatch.setattr(module, "StatisticsStore", lambda: StatisticsStore(covariance_bytes=250))
    bounded = open_library(root)
    for library in (whole, bounded):
        assert library.spread.count == 903
        np.testing.assert_allclose(library.spread.covariance, total / 903)
    assert [s.covariance is None for s in whole.statistics.values()] == [False] * 3
    assert [s.covariance is None for s in bounded.statistics.values()] == [False, True, True]


def test_domains_without_a_covariance_are_named_and_left_out_of_the_pool(
    root, open_library, caplog
):
    caplog.set_level("INFO")
    assert open_library(root).spread is None
    assert "3 of 3 domains have no covariance (fog, night, rain)" in caplog.text
    assert "there is no novelty" in caplog.text
    caplog.clear()
    known = DomainStatistics(np.ones(5, np.float32), 40, np.eye(5) * 2, encoder=ENCODER)
    write_statistics(root / "night", "night", known)
    spread = open_library(root).spread
    assert spread.count == 40
    np.testing.assert_array_equal(spread.covariance, np.eye(5) * 2)
    assert "2 of 3 domains have no covariance (fog, rain)" in caplog.text
    for name in ("fog", "rain"):
        write_statistics(root / name, name, known)
    caplog.clear()
    assert open_library(root).spread.count == 120
    assert "covariance" not in caplog.text


def test_the_same_adapter_again_is_counted_once(make_adapter):
    memory = AdapterMemory(10**6)
    first, second = make_adapter(rank=4), make_adapter(rank=2)
    memory.keep(first)
    assert memory.used_bytes == bytes_of(first)
    memory.keep(second)
    assert memory.used_bytes == bytes_of(second)
    assert memory.get("fog") is second
    assert memory.get("snow") is None


def test_what_fills_the_memory_to_the_last_byte_fits(make_adapter):
    size = bytes_of(make_adapter())
    memory = AdapterMemory(2 * size)
    memory.keep(make_adapter("fog"))
    assert memory.has_room(size)
    assert not memory.has_room(size + 1)
    memory.keep(make_adapter("rain"))
    assert memory.get("fog").name == "fog"
    memory.keep(make_adapter("snow"))
    assert memory.get("rain") is None, "the one used longest ago"
    assert memory.used_bytes == 2 * size


def test_one_adapter_larger_than_the_memory_is_kept_alone(make_adapter):
    memory = AdapterMemory(1)
    for name in ("fog", "rain"):
        memory.keep(make_adapter(name))
    assert memory.get("fog") is None
    assert memory.get("rain").name == "rain"
