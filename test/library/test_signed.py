"""Where keys are trusted, an adapter serves only under a seal that one of them signed."""

import shutil

import numpy as np
import pytest
from signing import Minisign

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.signature import read_trusted_keys
from semla_ros.library.seal import SEAL_FILE, TENSOR_FILE
from semla_ros.prepare.adapters.changes import add_adapter, remove_adapter
from semla_ros.prepare.adapters.seals import write_seal


@pytest.fixture
def signer():
    return Minisign()


@pytest.fixture
def trusted(signer, tmp_path):
    return read_trusted_keys(signer.public_file(tmp_path / "fleet.pub"))


@pytest.fixture
def signed(signer, store, tmp_path):
    """Return the library's folder with `fog` and `night`, both sealed and signed."""
    root = tmp_path / "library"
    for seed, name in enumerate(("fog", "night")):
        folder = store(root, name, seed=seed)
        write_seal(folder)
        signer.sign(folder / SEAL_FILE)
    return root


def test_signed_adapters_serve(signed, open_library, trusted):
    library = open_library(signed, trusted=trusted)
    assert library.names == ("fog", "night")
    assert not library.problems
    assert library.get("fog").layers


def test_where_no_keys_are_trusted_nobody_asks(signed, open_library):
    (signed / "fog" / "SHA256SUMS.minisig").write_bytes(b"nonsense")
    assert open_library(signed).names == ("fog", "night")


def spoil_tensors(folder, _):
    with (folder / TENSOR_FILE).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x41")


def remove_signature(folder, _):
    (folder / "SHA256SUMS.minisig").unlink()


def remove_seal(folder, _):
    (folder / SEAL_FILE).unlink()


def seal_anew_after_a_change(folder, signer):
    spoil_tensors(folder, signer)
    write_seal(folder)


def sign_by_a_stranger(folder, _):
    Minisign(b"stranger").sign(folder / SEAL_FILE)


def change_statistics(folder, _):
    path = folder / f"{folder.name}_statistics.npz"
    np.savez(path, train_average_embedding=np.ones((1, 5), np.float32))


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (spoil_tensors, "expected sha256"),
        (change_statistics, "expected sha256"),
        (remove_signature, r"fog/SHA256SUMS\.minisig: expected a signature by a trusted key"),
        (remove_seal, "fog/SHA256SUMS: expected a seal signed by a trusted key"),
        (seal_anew_after_a_change, "changed after it was signed"),
        (sign_by_a_stranger, "expected a signature by a trusted key"),
    ],
)
def test_what_no_trusted_key_vouches_for_is_left_out_in_one_line(
    signed, open_library, trusted, signer, attack, says
):
    attack(signed / "fog", signer)
    library = open_library(signed, trusted=trusted)
    assert library.names == ("night",)
    assert "\n" not in library.problems["fog"]
    with pytest.raises(AdapterError, match=says):
        library.get("fog")


def test_a_signed_adapter_under_another_name_is_left_out(signed, open_library, trusted):
    """Its statistics are sealed under its own name, so fog cannot be passed off as snow."""
    (signed / "fog").rename(signed / "snow")
    (signed / "snow" / "fog_statistics.npz").rename(signed / "snow" / "snow_statistics.npz")
    library = open_library(signed, trusted=trusted)
    assert library.names == ("night",)
    assert "fog_statistics.npz, which is missing" in library.problems["snow"]


def test_an_adapter_that_is_read_later_is_asked_again(signed, open_library, trusted):
    library = open_library(signed, trusted=trusted, memory_bytes=1)
    assert library.names == ("fog", "night")
    library.get("night")
    seal_anew_after_a_change(signed / "fog", None)
    library.get("night")
    with pytest.raises(AdapterError, match="changed after it was signed"):
        library.get("fog")


def test_adding_a_signed_adapter_keeps_its_signature(signed, open_library, trusted, tmp_path):
    source = tmp_path / "from_the_fleet" / "fog"
    shutil.copytree(signed / "fog", source)
    library = add_adapter(remove_adapter(open_library(signed), "fog"), source, "fog")
    assert "fog" in library.names
    assert open_library(signed, trusted=trusted).names == ("fog", "night")


def test_a_new_name_is_another_seal(signed, open_library, trusted, tmp_path):
    source = tmp_path / "from_the_fleet" / "fog"
    shutil.copytree(signed / "fog", source)
    add_adapter(remove_adapter(open_library(signed), "fog"), source, "mist")
    assert "expected a signature" in open_library(signed, trusted=trusted).problems["mist"]
