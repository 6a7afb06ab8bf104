"""Arrays of unknown origin: only those asked for, nothing unchecked."""

import numpy as np
import pytest

from semla_ros.npz_file import read_arrays


def test_only_what_is_asked_for_is_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(6).reshape(2, 3), big=np.zeros(10_000))
    got = read_arrays(path, ("a", "missing"), max_bytes=1000)
    assert set(got) == {"a"}
    np.testing.assert_array_equal(got["a"], [[0, 1, 2], [3, 4, 5]])


def test_fortran_order_keeps_its_shape(tmp_path):
    table = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(tmp_path / "a.npz", a=table)
    np.testing.assert_array_equal(
        read_arrays(tmp_path / "a.npz", ("a",), max_bytes=1000)["a"], table
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(999)}, "at most 500 bytes"),
        ({"a": np.array([{}], dtype=object)}, "pickled"),
    ],
)
def test_too_much_and_code_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_arrays(tmp_path / "a.npz", ("a",), max_bytes=500)


def test_other_files_are_value_errors(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(ValueError, match="npz"):
        read_arrays(tmp_path / "a.npz", ("a",), max_bytes=500)
    with pytest.raises(OSError, match="nowhere"):
        read_arrays(tmp_path / "nowhere", ("a",), max_bytes=500)


def test_without_keys_everything_is_read(tmp_path):
    path = tmp_path / "all.npz"
    stored = {"a": np.arange(3), "folder/b": np.ones((2, 2), np.float32)}
    np.savez(path, **stored)
    found = read_arrays(path, max_bytes=1000)
    assert found.keys() == stored.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(ValueError, match="at most 10 bytes"):
        read_arrays(path, max_bytes=10)
