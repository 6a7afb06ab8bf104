from __future__ import annotations

from pathlib import Path

import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.data.labels.domains import DomainTable, read_domains


def test_a_domain_holds_from_its_stamp_on(tmp_path: Path) -> None:
    path = tmp_path / "domains.csv"
    path.write_text("stamp_ns,domain\n200,fog\n100,clear\n300,\n")
    table = read_domains(path, recording="drive", default="unknown")
    assert [table.domain(s, "") for s in (50, 100, 199, 200, 301)] == [
        *("unknown", "clear", "clear", "fog", "")
    ]


def test_domains_by_name_and_by_recording(tmp_path: Path) -> None:
    path = tmp_path / "domains.csv"
    path.write_text("recording,name,domain\na,1,fog\nb,1,snow\n,2,rain\n")
    table = read_domains(path, recording="b", default="clear")
    assert [table.domain(0, n) for n in ("1", "2", "3")] == ["snow", "rain", "clear"]


def test_a_recording_is_known_by_its_file_where_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "domains.csv"
    path.write_text("recording,stamp_ns,domain\ndrive1,0,fog\ndrive2,0,snow\n")
    table = read_domains(path, recording="night", file="drive1")
    assert (table.domain(5, ""), table.known) == ("fog", True)
    assert read_domains(path, recording="drive2", file="drive1").domain(5, "") == "snow"
    assert not read_domains(path, recording="night").known


def test_without_a_table_all_frames_have_one_domain() -> None:
    assert DomainTable("fog").domain(5, "x") == "fog"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "expected the columns"),
        ("", "expected the columns"),
        ("stamp_ns,domain\n1,fog\nsoon,fog\n", "line 3.*'soon'"),
        ("stamp_ns,domain\n1,fog\n2\n", "line 3: expected 2 values, got fewer"),
        ("stamp_ns,domain\n1,fog\n2,fog\n1,rain\n", "line 4.*for 1, got 'fog' and 'rain'"),
        ("name,domain\na,fog\na.png,rain\n", "line 3.*for 'a', got 'fog' and 'rain'"),
        ("name,domain\n" + "x" * 200_000 + ",fog\n", "field larger than field limit"),
    ],
)
def test_an_unusable_table_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "domains.csv"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        read_domains(path, recording="x")
    with pytest.raises(EvaluationError, match="cannot read"):
        read_domains(tmp_path / "none.csv", recording="x")


def test_names_of_files_are_names_of_frames(tmp_path: Path) -> None:
    path = tmp_path / "domains.csv"
    path.write_text("name,domain\n000.png,fog\nb.JPG,fog\n1700000000.5,rain\n000,fog\n")
    table = read_domains(path, recording="x", default="clear")
    names = ("000", "b", "1700000000.5", "1")
    assert [table.domain(0, n) for n in names] == ["fog", "fog", "rain", "clear"]
    assert [table.knows(0, n) for n in names] == [True, True, True, False]


def test_a_frame_before_the_first_stamp_is_not_known() -> None:
    table = DomainTable("clear", (100,), ("fog",))
    assert [table.knows(s, "") for s in (99, 100, 101)] == [False, True, True]
