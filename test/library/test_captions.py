"""Captions beside an adapter: bounded, sealed, shared by reloads."""

import pytest

from semla_ros.core.errors import AdapterError
from semla_ros.library.captions import (
    MAX_CAPTION_BYTES,
    MAX_CAPTIONS,
    captions_content,
    checked_captions,
    read_captions,
)
from semla_ros.library.seal import CAPTIONS_FILE, read_seal
from semla_ros.prepare.adapters.captioning import add_caption, write_captions
from semla_ros.prepare.adapters.changes import add_adapter
from semla_ros.prepare.adapters.seals import write_seal

FOG = ("a street in fog", "ein Weg im Nebel – früh", "yes")


def test_what_is_written_is_read(root):
    assert read_captions(root / "fog") == ()
    write_captions(root / "fog", FOG)
    assert read_captions(root / "fog") == FOG


@pytest.mark.parametrize(
    ("captions", "says"),
    [
        ([], "a list of 1 to 32 items"),
        ("a street", "a list of 1 to 32 items"),
        (["a street", 5], "expected text"),
        (["a street", " "], "expected text"),
        (["two\nlines"], "printable text"),
        (["a" * (MAX_CAPTION_BYTES + 1)], "printable text of at most"),
        (["again", "again"], "once"),
        ([f"street {i}" for i in range(MAX_CAPTIONS + 1)], "a list of 1 to 32 items"),
    ],
)
def test_what_is_no_list_of_sentences_is_refused(captions, says):
    with pytest.raises(ValueError, match=says):
        checked_captions(captions)


@pytest.mark.parametrize(
    "content", [b"- [", b"a: b", b"- no", b"\xff", b"- x\n" * 40, b"# " + b"x" * 100_000]
)
def test_a_damaged_file_makes_the_adapter_unusable(root, open_library, content):
    (root / "fog" / CAPTIONS_FILE).write_bytes(content)
    library = open_library(root)
    assert library.names == ("night", "rain")
    assert "fog/captions.yaml" in library.problems["fog"]
    assert "\n" not in library.problems["fog"]


def test_captions_are_in_the_seal(root, open_library):
    write_seal(root / "fog")
    before = read_seal(root / "fog").digests
    write_captions(root / "fog", FOG)
    assert read_seal(root / "fog").digests.keys() - before.keys() == {CAPTIONS_FILE}
    (root / "fog" / CAPTIONS_FILE).write_bytes(captions_content(["a street at night"]))
    assert "expected sha256" in open_library(root).problems["fog"]


def test_a_library_knows_who_is_described(root, open_library):
    write_captions(root / "fog", FOG)
    library = open_library(root)
    assert dict(library.captions) == {"fog": FOG}
    assert add_caption(library, "night", " a  dark\n road ") == ("a dark road",)
    assert dict(library.captions) == {"fog": FOG}
    assert dict(library.reload().captions) == {"fog": FOG, "night": ("a dark road",)}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("snow", "a street", "got 'snow'"), ("fog", "", "text"), ("fog", FOG[0], "once")],
)
def test_what_cannot_be_added_changes_nothing(root, open_library, name, text, says):
    write_captions(root / "fog", FOG)
    with pytest.raises(AdapterError, match=says):
        add_caption(open_library(root), name, text)
    assert read_captions(root / "fog") == FOG


def test_captions_come_along_with_an_adapter(root, tmp_path, open_library):
    write_captions(root / "fog", FOG)
    (tmp_path / "other").mkdir()
    library = add_adapter(open_library(tmp_path / "other"), root / "fog", "mist")
    assert dict(library.captions) == {"mist": FOG}
    assert CAPTIONS_FILE in read_seal(tmp_path / "other" / "mist").digests
