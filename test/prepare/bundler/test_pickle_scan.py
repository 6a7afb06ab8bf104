"""Checkpoints that claim more than they hold are refused before anything is reserved."""

import struct
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from semla_ros.core.errors import TrainingError  # noqa: E402
from semla_ros.prepare.bundler import checkpoint_reader  # noqa: E402
from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint  # noqa: E402

HUGE = 2_400_000_000


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little")


def tensor(count, size, stride, offset=0):
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    sizes, strides = b"".join(map(number, size)), b"".join(map(number, stride))
    place = number(offset) + b"(" + sizes + b"t(" + strides + b"t"
    rest = b"\x89ccollections\nOrderedDict\n)RtR"
    made = storage + number(count) + b"tQ" + place + rest
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + made


TUPLES = b")" + b"q\x01h\x01\x86" * 60
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
SCALAR = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n"
HOSTILE = {
    "a storage": (tensor(HUGE, [4], [1]), "claims 9600000000 bytes of 64"),
    "a tensor": (tensor(16, [HUGE], [1]), "claims 2400000000 values of a storage of 16"),
    "an offset": (tensor(16, [4], [1], offset=13), "claims 17 values"),
    "an expansion": (tensor(16, [HUGE], [0]), "claims 9600000000 bytes"),
    "an array": (RECONSTRUCT + number(HUGE) + b"\x85" + text("b") + b"\x87R", "_reconstruct"),
    "a dtype": (SCALAR + text("V2000000000") + b"\x89\x88\x87R\x85R", "numpy.dtype"),
    "bytes": (b"cbuiltins\nbytearray\n" + number(HUGE) + b"\x85R", "GLOBAL builtins.bytearray"),
    "a type of storages": (b"ctorch\nFloatStorage\n" + number(HUGE) + b"\x85R", "FloatStorage"),
    "a key that takes years": (b"}" + TUPLES + text("x") + b"s", "plain keys"),
    "counts that take years": (b"ccollections\nCounter\n]" + TUPLES + b"a\x85R", "Counter"),
    "a command": (b"cos\nsystem\n" + text("ls") + b"\x85R", "run code from the file"),
}


def archive(path, value, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("x/data.pkl", b"\x80\x02}" + text("w") + value + b"s.")
        file.writestr("x/version", b"3\n")
        file.writestr("x/data/0", bytes(64))
    return path


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_claims_more_than_it_holds_is_refused_unloaded(kind, tmp_path, monkeypatch):
    value, message = HOSTILE[kind]
    if kind != "an expansion":  # has no more bytes than it says, only its shape is large
        monkeypatch.setattr(checkpoint_reader.torch, "load", lambda *_, **__: pytest.fail(kind))
    with pytest.raises(TrainingError, match=message) as error:
        read_checkpoint(archive(tmp_path / "x.pth", value))
    assert "\n" not in str(error.value)


def test_the_same_without_the_lie_is_read(tmp_path):
    read = read_checkpoint(archive(tmp_path / "x.pth", tensor(16, [4, 3], [4, 1])))
    assert read["w"].shape == (4, 3)


def test_a_packed_archive_is_refused(tmp_path):
    path = archive(tmp_path / "x.pth", tensor(16, [4], [1]), zipfile.ZIP_DEFLATED)
    with pytest.raises(TrainingError, match="stored and each once"):
        read_checkpoint(path)


def test_the_old_format_is_held_against_its_size(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"w": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    at = content.index(b"K\x04", content.index(b"cpu"))
    path.write_bytes(content[:at] + number(HUGE) + content[at + 2 :])
    with pytest.raises(TrainingError, match=f"claims 9600000000 bytes of {len(content) + 9}"):
        read_checkpoint(path)


def test_arrays_and_parameters_of_every_kind_are_read(tmp_path):
    kinds = {f"n{k}": np.ones((2, 2), k) for k in ("f2", "f4", "f8", "i1", "i8", "u1")}
    tensors = {
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(1.0),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "part": torch.arange(6.0)[2:4],
        "brain": torch.ones(2, dtype=torch.bfloat16),
    }
    for new in (True, False):
        torch.save(tensors | kinds, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
        read = read_checkpoint(tmp_path / "x.pth")
        assert read.keys() == tensors.keys() | kinds.keys()
        assert torch.equal(read["turned"], tensors["turned"])
        assert torch.equal(read["part"], tensors["part"])
