"""The mark of adapters made from words: read within bounds, sealed, left out when asked."""

import json

import pytest

from semla_ros.core.errors import AdapterError
from semla_ros.library.generated import (
    WEIGHTED,
    Provenance,
    is_generated,
    provenance_text,
    read_provenance,
)
from semla_ros.library.seal import GENERATED_FILE
from semla_ros.prepare.adapters.changes import add_adapter
from semla_ros.prepare.adapters.seals import write_seal

MADE = Provenance(
    "snow at night", WEIGHTED, {"fog": 0.75, "rain": 0.25}, {"fog": "ab" * 32}, 0.9, 0.1, "fog"
)


@pytest.fixture
def folder(tmp_path, store):
    store(tmp_path, "fog")
    made = store(tmp_path, "made", seed=3)
    (made / GENERATED_FILE).write_text(provenance_text(MADE))
    write_seal(made)
    return made


def test_it_says_what_it_was_made_of(folder):
    assert is_generated(folder)
    assert read_provenance(folder) == MADE
    assert read_provenance(folder.parent / "fog") is None
    assert json.loads((folder / GENERATED_FILE).read_text())["generated"] is True


def test_a_library_knows_them_and_leaves_them_out_when_asked(folder, open_library):
    library = open_library(folder.parent)
    assert library.names == ("fog", "made")
    assert library.generated == ("made",)
    without = open_library(folder.parent, use_generated=False)
    assert without.names == without.reload().names == ("fog",)
    assert not without.problems


def test_taking_the_mark_away_breaks_the_seal(folder, open_library):
    (folder / GENERATED_FILE).unlink()
    library = open_library(folder.parent)
    assert library.names == ("fog",)
    assert GENERATED_FILE in library.problems["made"]


def test_the_mark_goes_along_into_another_library(folder, tmp_path, open_library):
    (tmp_path / "other").mkdir()
    library = add_adapter(open_library(tmp_path / "other"), folder, "made")
    assert library.generated == ("made",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"generated": False}, "expected true"),
        ({"method": "magic"}, "one of weighted"),
        ({"experts": {"fog": 7}}, "from 0 to 1"),
        ({"text": "x" * 500}, "at most 400 bytes"),
        ({"more": 1}, "expected entries"),
    ],
)
def test_a_file_that_says_something_else_is_one_line(folder, change, said):
    path = folder / GENERATED_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    write_seal(folder)
    with pytest.raises(AdapterError, match=rf"made/generated\.json: .*{said}.*generate") as caught:
        read_provenance(folder)
    assert len(str(caught.value).splitlines()) == 1
