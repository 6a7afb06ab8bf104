"""What was sealed is what serves, byte for byte; nothing else is believed."""

import contextlib
import logging
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.errors import AdapterError
from semla_ros.library import tensor_file
from semla_ros.library.seal import CONFIG_FILE, SEAL_FILE, TENSOR_FILE, parse_seal, read_seal
from semla_ros.library.statistics import statistics_path
from semla_ros.library.storage import read_adapter
from semla_ros.prepare.adapters.changes import add_adapter, rename_adapter
from semla_ros.prepare.adapters.seals import reseal_file, write_seal

STATISTICS = "fog_statistics.npz"
PARTS = (CONFIG_FILE, TENSOR_FILE, STATISTICS, "LICENSE")


@pytest.fixture
def sealed(root):
    """A library of three adapters, all sealed; `fog` has a licence."""
    (root / "fog" / "LICENSE").write_text("CC0\n")
    for name in ("fog", "night", "rain"):
        write_seal(root / name)
    return root


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, store):
    folder = store(tmp_path_factory.mktemp("library"), "fog", seed=1)
    (folder / "LICENSE").write_text("CC0\n")
    write_seal(folder)
    return folder


def test_a_sealed_library_serves_and_says_nothing(sealed, open_library, caplog):
    with caplog.at_level(logging.WARNING):
        library = open_library(sealed)
    assert library.names == ("fog", "night", "rain")
    assert library.unsealed == ()
    assert not caplog.records


def test_coreutils_reads_the_seal(sealed):
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum of coreutils")
    command = ["sha256sum", "--strict", "-c", SEAL_FILE]
    assert subprocess.run(command, cwd=sealed / "fog", check=False).returncode == 0
    assert set(read_seal(sealed / "fog").digests) == set(PARTS)


@given(
    part=st.sampled_from(PARTS), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255)
)
def test_any_changed_byte_of_any_part_is_refused(
    tmp_path_factory, pristine, open_library, part, place, flip
):
    root = tmp_path_factory.mktemp("copy")
    folder = root / "fog"
    shutil.copytree(pristine, folder)
    content = bytearray((folder / part).read_bytes())
    content[int(place * len(content))] ^= flip
    (folder / part).write_bytes(content)
    library = open_library(root)
    assert library.names == ()
    assert f"fog/{SEAL_FILE}: expected sha256" in library.problems["fog"]
    assert part in library.problems["fog"]
    assert "semla library seal" in library.problems["fog"]


@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_changed_seal_says_the_same_or_is_refused(
    tmp_path_factory, pristine, open_library, place, byte
):
    before = read_seal(pristine).digests
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(pristine, root / "fog")
    content = bytearray((root / "fog" / SEAL_FILE).read_bytes())
    content[int(place * len(content))] = byte
    (root / "fog" / SEAL_FILE).write_bytes(content)
    library = open_library(root)
    if library.names:
        assert read_seal(root / "fog").digests == before


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "line 1 ''"),
        (b"\xff\n", "damaged"),
        (b"0" * 63 + b"  LICENSE\n", "line 1"),
        (b"0" * 64 + b"  LICENSE\n\n", "line 2"),
        (2 * (b"0" * 64 + b"  LICENSE\n"), "each file once, got line 2"),
        (b"0" * 64 + b"  ../LICENSE\n", "line 1"),
        (b"0" * 64 + b"  notes.txt\n", "no part of an adapter"),
        (b"0" * 64 + b"  .x_statistics.npz\n", "no part of an adapter"),
    ],
)
def test_what_is_no_seal_is_refused(content, match):
    with pytest.raises(AdapterError, match=match):
        parse_seal(content, "fog/SHA256SUMS")


def test_a_huge_seal_is_refused_unread(sealed):
    (sealed / "fog" / SEAL_FILE).write_bytes(b"x" * 70_000)
    with pytest.raises(AdapterError, match="at most 65536 bytes"):
        read_seal(sealed / "fog")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_listed_and_missing_is_named(sealed, open_library, part):
    (sealed / "fog" / part).unlink()
    library = open_library(sealed)
    assert library.names == ("night", "rain")
    assert part in library.problems["fog"]


@pytest.mark.parametrize("part", PARTS[:3])
def test_a_part_that_is_there_and_not_listed_is_named(sealed, open_library, part):
    path = sealed / "fog" / SEAL_FILE
    lines = [line for line in path.read_text().splitlines() if not line.endswith(part)]
    path.write_text("\n".join(lines) + "\n")
    assert f"does not list {part}" in open_library(sealed).problems["fog"]


def test_unsealed_adapters_serve_and_are_reported_once(root, open_library, caplog):
    write_seal(root / "fog")
    with caplog.at_level(logging.WARNING):
        library = open_library(root)
    assert library.names == ("fog", "night", "rain")
    assert library.unsealed == ("night", "rain")
    (record,) = caplog.records
    assert "2 of 3 adapters are unsealed (night, rain)" in record.getMessage()


@pytest.mark.parametrize("memory_bytes", [1, 2**20])
def test_unsealed_adapters_may_be_refused(root, open_library, memory_bytes):
    write_seal(root / "fog")
    library = open_library(root, unsealed="refuse", memory_bytes=memory_bytes)
    assert library.names == ("fog",)
    assert "is unsealed and unsealed_adapters is 'refuse'" in library.problems["rain"]
    assert library.reload().names == ("fog",)


def test_damage_after_opening_shows_when_the_adapter_is_read_again(sealed, open_library):
    library = open_library(sealed, memory_bytes=1)
    path = sealed / "fog" / TENSOR_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    library.get("night")
    with pytest.raises(AdapterError, match=f"sha256 .* of {TENSOR_FILE}"):
        library.get("fog")


def test_the_bytes_that_are_hashed_are_the_bytes_that_are_parsed(sealed, monkeypatch):
    expected = read_adapter(sealed / "fog")
    other = (sealed / "rain" / TENSOR_FILE).read_bytes()
    real = tensor_file.read_sealed

    def swapped_after_reading(path, seal, *, max_bytes):
        content = real(path, seal, max_bytes=max_bytes)
        path.write_bytes(other)
        return content

    monkeypatch.setattr(tensor_file, "read_sealed", swapped_after_reading)
    got = read_adapter(sealed / "fog")
    for name, layer in expected.layers.items():
        assert layer.lora_a.tobytes() == got.layers[name].lora_a.tobytes()
    monkeypatch.undo()
    with pytest.raises(AdapterError, match="sha256"):
        read_adapter(sealed / "fog")


def test_adding_seals(root, tmp_path, store, open_library):
    given = store(tmp_path, "dusk", seed=9)
    (given / "NOTICE").write_text("mine\n")
    library = add_adapter(open_library(root), given, "evening")
    assert "evening" not in library.unsealed
    files = {CONFIG_FILE, TENSOR_FILE, "evening_statistics.npz", "NOTICE"}
    assert set(read_seal(root / "evening").digests) == files
    assert not (given / SEAL_FILE).exists()


def test_a_source_that_its_own_seal_denies_is_not_added(root, tmp_path, store, open_library):
    given = store(tmp_path, "dusk", seed=9)
    write_seal(given)
    store(tmp_path, "dusk", seed=10)
    with pytest.raises(AdapterError, match="expected sha256"):
        add_adapter(open_library(root), given, "dusk")
    assert not (root / "dusk").exists()


def test_a_new_name_keeps_the_seal_and_vouches_for_nothing(sealed, open_library):
    library = rename_adapter(open_library(sealed), "fog", "mist")
    assert library.names == ("mist", "night", "rain")
    assert "mist_statistics.npz" in read_seal(sealed / "mist").digests
    path = sealed / "rain" / TENSOR_FILE
    path.write_bytes((sealed / "mist" / TENSOR_FILE).read_bytes())
    renamed = rename_adapter(open_library(sealed), "rain", "drizzle")
    assert "expected sha256" in renamed.problems["drizzle"]


def test_an_unsealed_adapter_stays_unsealed_under_another_name(root, open_library):
    assert rename_adapter(open_library(root), "fog", "mist").unsealed == ("mist", "night", "rain")


@pytest.mark.parametrize("step", range(6))
def test_no_crash_while_renaming_spoils_an_adapter(sealed, open_library, monkeypatch, step):
    library = open_library(sealed)
    taken = []

    def crashing(real):
        def call(*args, **kwargs):
            taken.append(real)
            if len(taken) > step:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return call

    for name in ("rename", "replace", "unlink"):
        monkeypatch.setattr(Path, name, crashing(getattr(Path, name)))
    monkeypatch.setattr(shutil, "copyfile", crashing(shutil.copyfile))
    with contextlib.suppress(KeyboardInterrupt):
        rename_adapter(library, "fog", "mist")
    monkeypatch.undo()
    after = open_library(sealed)
    assert not after.problems
    assert {"night", "rain"} < set(after.names)
    assert len(after.names) == 3


def test_other_statistics_are_resealed_and_damage_beside_them_is_not(sealed, store, open_library):
    path = statistics_path(sealed / "fog", "fog")
    path.write_bytes(statistics_path(sealed / "fog", "fog").read_bytes() + b"\0")
    assert "fog" in open_library(sealed).problems
    path.write_bytes(path.read_bytes()[:-1])
    tensors = sealed / "fog" / TENSOR_FILE
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\1")
    reseal_file(path)
    assert TENSOR_FILE in open_library(sealed).problems["fog"]


def test_statistics_of_an_unsealed_adapter_seal_nothing(root):
    reseal_file(statistics_path(root / "fog", "fog"))
    assert not (root / "fog" / SEAL_FILE).exists()
