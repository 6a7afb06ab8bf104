"""Only what a trusted key signed passes; the files were by minisign itself (data/minisign)."""

import base64
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signing import Minisign

from semla_ros.core.errors import AdapterError, BundleError, ConfigError
from semla_ros.core.files.signature import MAX_SIGNATURE_BYTES, read_trusted_keys

DATA = Path(__file__).parent / "data" / "minisign"
FLEET, STRANGER = "E360A597B369AA15", "43B93865DB74A19C"
CONTENT = (DATA / "content.txt").read_bytes()
SIGNED = (DATA / "content.txt.minisig").read_bytes()


def verify(signature, *, content=CONTENT, keys=DATA / "fleet.pub"):
    return read_trusted_keys(keys).verify(
        content, signature, where="bundle.yaml.minisig", error=BundleError
    )


@pytest.mark.parametrize(
    ("file", "comment"),
    [
        ("content.txt.minisig", "bundle demo, release 7"),
        ("legacy.minisig", "bundle demo, legacy"),
    ],
)
def test_both_algorithms_of_minisign_are_verified(file, comment):
    signer = verify((DATA / file).read_bytes())
    assert (signer.key.key_id, signer.key.file, signer.comment) == (FLEET, "fleet.pub", comment)


def test_a_folder_of_keys_trusts_each():
    keys = read_trusted_keys(DATA)
    assert set(keys.by_id) == {FLEET, STRANGER}
    signer = verify((DATA / "stranger.minisig").read_bytes(), keys=DATA)
    assert signer.key.file == "stranger.pub"
    assert verify(SIGNED, keys=DATA).key.key_id == FLEET


def test_lines_that_end_as_on_windows_are_read_as_minisign_reads_them():
    assert verify(SIGNED.replace(b"\n", b"\r\n")).comment == "bundle demo, release 7"


def test_an_untrusted_key_is_named():
    with pytest.raises(BundleError, match=rf"expected.*{FLEET} \(fleet.pub\).*got.*{STRANGER}"):
        verify((DATA / "stranger.minisig").read_bytes())


@pytest.mark.parametrize("content", [CONTENT + b" ", CONTENT[:-1], b""])
def test_changed_content_is_refused(content):
    with pytest.raises(BundleError, match="changed after it was signed"):
        verify(SIGNED, content=content)


def test_a_changed_trusted_comment_is_refused():
    with pytest.raises(BundleError, match="trusted comment"):
        verify(SIGNED.replace(b"release 7", b"release 8"))


def test_a_key_id_that_lies_is_refused():
    """The id only says which key to try; the stranger's signature under the fleet's id fails."""
    fleet, stranger = SIGNED.split(b"\n"), (DATA / "stranger.minisig").read_bytes().split(b"\n")
    raw = base64.b64decode(stranger[1])
    stranger[1] = base64.b64encode(raw[:2] + base64.b64decode(fleet[1])[2:10] + raw[10:])
    with pytest.raises(BundleError, match="changed after it was signed"):
        verify(b"\n".join(stranger))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        SIGNED[:-40],
        SIGNED[: SIGNED.index(b"trusted comment: b")],
        SIGNED + b"more\n",
        SIGNED.replace(b"trusted comment", b"remark"),
        SIGNED.replace(b"RUQV", b"RXQV"),
        SIGNED.replace(b"RUQV", b"!UQV"),
        SIGNED.replace(b"release 7", b"7" * MAX_SIGNATURE_BYTES),
        b"\0" * 300,
        (DATA / "fleet.pub").read_bytes(),
    ],
)
def test_damaged_truncated_and_oversized_signatures_are_refused(signature):
    with pytest.raises(BundleError, match="expected a minisign signature"):
        verify(signature)


@given(st.integers(0, len(SIGNED) - 1), st.integers(0, 7))
def test_no_flipped_bit_of_a_signature_adds_a_signer(position, bit):
    """What is not covered is the first line, which nobody is shown, and encoding slack."""
    changed = bytearray(SIGNED)
    changed[position] ^= 1 << bit
    try:
        signer = verify(bytes(changed))
    except BundleError:
        return
    assert (signer.key.key_id, signer.comment) == (FLEET, "bundle demo, release 7")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pub", b""),
        ("signature.pub", SIGNED),
        ("short.pub", (DATA / "fleet.pub").read_bytes()[:-10]),
        ("huge.pub", b"untrusted comment: " + b"x" * 10_000_000),
    ],
)
def test_what_is_no_public_key_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"trusted_keys: expected.*{name}"):
        read_trusted_keys(tmp_path)


def test_no_keys_is_not_everybody(tmp_path):
    with pytest.raises(ConfigError, match=r"expected minisign public keys \*\.pub"):
        read_trusted_keys(tmp_path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_trusted_keys(tmp_path / "missing.pub")


def test_the_signature_lies_beside_its_file(tmp_path):
    keys = read_trusted_keys(DATA / "fleet.pub")
    path = tmp_path / "fog" / "SHA256SUMS"
    path.parent.mkdir()
    with pytest.raises(AdapterError, match=r"fog/SHA256SUMS\.minisig: expected a signature"):
        keys.check(path, CONTENT, error=AdapterError)
    (tmp_path / "fog" / "SHA256SUMS.minisig").write_bytes(SIGNED)
    assert keys.check(path, CONTENT, error=AdapterError).key.key_id == FLEET


def test_a_missing_library_is_told_with_the_remedy(monkeypatch):
    name = "cryptography.hazmat.primitives.asymmetric.ed25519"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="apt install python3-cryptography"):
        read_trusted_keys(DATA / "fleet.pub")


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is missing: apt install it")
def test_the_tool_and_this_code_agree_on_what_a_test_signs(tmp_path):
    """`Minisign` of test/signing.py signs for other tests: here the real tool judges it."""
    signer = Minisign()
    public = signer.public_file(tmp_path / "test.pub")
    file = tmp_path / "bundle.yaml"
    file.write_bytes(CONTENT)
    signer.sign(file)
    command = ["minisign", "-Vm", str(file), "-p", str(public)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "made by a test" in said
    keys = read_trusted_keys(public)
    assert keys.check(file, CONTENT, error=BundleError).comment == "made by a test"
    file.write_bytes(CONTENT + b"x")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
