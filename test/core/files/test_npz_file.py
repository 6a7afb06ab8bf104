"""Arrays of unknown origin: only those asked for, nothing unchecked."""

import io
import struct
import warnings
import zipfile

import numpy as np
import pytest

from semla_ros.core.files.npz_file import read_arrays


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


def npy(shape, descr="<f4", body=b"", version=1):
    """Return a member that says of itself what it likes."""
    words = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H", len(words)) + words + body


def npz(path, *members, method=zipfile.ZIP_DEFLATED):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in members:
                archive.writestr(name, content)
    return path


def test_nothing_is_unpacked_before_its_shape_was_looked_at(tmp_path, monkeypatch):
    path = npz(tmp_path / "a.npz", ("a.npy", npy((3,), body=bytes(12))))
    asked = []

    def check(infos):
        asked.append(infos["a"].shape)
        monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda *_: pytest.fail("unpacked"))
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        read_arrays(path, max_bytes=100, check=check)
    assert asked == [(3,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy((10**9,)), "expected an array"),
        (npy((2, 3), body=bytes(20)), "expected an array"),
        (npy((-1, -3), body=bytes(12)), "numbers or text"),
        (npy((0,), "V0"), "numbers or text"),
        (npy((10**20,), "U0"), "numbers or text"),
        (npy((3,), [("a", "<f4")], bytes(12)), "numbers or text"),
        (npy((3,), "O"), "pickled"),
        (npy((3,), version=9), "npy version"),
        (npy(True, body=bytes(4)), "not valid"),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, "not a whole npz"),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 9000, "not a whole npz"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31), "EOF"),
        (b"", "magic|EOF"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, content, message):
    path = npz(tmp_path / "a.npz", ("a.npy", content))
    with pytest.raises(ValueError, match=message):
        read_arrays(path, max_bytes=10**10)


def test_members_twice_packed_otherwise_or_without_number_are_refused(tmp_path):
    whole = ("a.npy", npy((3,), body=bytes(12)))
    with pytest.raises(ValueError, match="twice"):
        read_arrays(npz(tmp_path / "a.npz", whole, whole), max_bytes=100)
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with pytest.raises(ValueError, match="another compression"):
            read_arrays(npz(tmp_path / "a.npz", whole, method=method), max_bytes=100)
    many = npz(tmp_path / "many.npz", whole)
    content = bytearray(many.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<I", 100_000_000)
    with pytest.raises(ValueError, match="directory of at most"):
        read_arrays(io.BytesIO(content), max_bytes=100)


def large(content, *, said=None):
    """Return a zip whose directory is also told in the large form, as those beyond 4 GB do."""
    end = content.rindex(b"PK\x05\x06")
    (count, size, offset) = struct.unpack("<HII", content[end + 10 : end + 20])
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, said or size, offset
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    return content[:end] + record + locator + content[end:]


def test_the_directory_of_a_large_zip_is_bounded_too(tmp_path):
    path = npz(tmp_path / "a.npz", ("a.npy", npy((3,), body=bytes(12))))
    content = path.read_bytes()
    assert read_arrays(io.BytesIO(large(content)), max_bytes=100)["a"].shape == (3,)
    with pytest.raises(ValueError, match="directory of at most"):
        read_arrays(io.BytesIO(large(content, said=10**9)), max_bytes=100)
    with pytest.raises(ValueError, match="not where the zip says"):
        read_arrays(io.BytesIO(b"before" + large(content)), max_bytes=100)


def test_a_git_lfs_pointer_says_so(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tmp_path / "a.npz").write_bytes(pointer)
    for source in (tmp_path / "a.npz", io.BytesIO(pointer)):
        with pytest.raises(ValueError, match="git lfs pull"):
            read_arrays(source, max_bytes=100)
