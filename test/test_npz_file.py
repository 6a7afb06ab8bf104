"""Arrays of unknown origin: only those asked for, nothing unchecked."""

import contextlib
import io
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def packed(members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def npy(header):
    text = header.ljust(117).encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8)


FINE = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }")
HEADERS = {
    "open bracket": "{'descr': ('<f8', 'fortran_order': False, 'shape': (1,), ",
    "open string": "{'descr': '''<f8, 'fortran_order': False",
    "indent": "  {\n 1\n2",
    "no type": "{'descr': 'odd', 'fortran_order': False, 'shape': (1,), }",
    "deep": "(" * 100,
    "huge": "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999999999,), }",
    "shape of text": "{'descr': '<f8', 'fortran_order': False, 'shape': ('a',), }",
    "structure": "{'descr': [('a', '<f8', -1)], 'fortran_order': False, 'shape': (1,), }",
}


def test_a_header_made_by_hand_is_read():
    content = io.BytesIO(packed({"a.npy": FINE}))
    np.testing.assert_array_equal(read_arrays(content, ("a",), max_bytes=999)["a"], [0.0])


@pytest.mark.parametrize("what", HEADERS)
def test_malformed_headers_are_value_errors(what):
    content = io.BytesIO(packed({"a.npy": npy(HEADERS[what])}))
    with pytest.raises(ValueError, match=r"[a-z]"):
        read_arrays(content, ("a",), max_bytes=999)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_numpy_never_writes_are_refused(method):
    content = io.BytesIO(packed({"a.npy": FINE}, method))
    with pytest.raises(ValueError, match="expected 'a' stored or deflated"):
        read_arrays(content, ("a",), max_bytes=999)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_no_damage_escapes_as_another_error(changes):
    data = bytearray(packed({"a.npy": FINE}, zipfile.ZIP_DEFLATED))
    for place, value in changes:
        data[place % len(data)] = value
    with contextlib.suppress(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of headers as Python 2 wrote them
        read_arrays(io.BytesIO(bytes(data)), ("a",), max_bytes=10_000)
