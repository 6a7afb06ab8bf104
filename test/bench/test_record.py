"""Records on disk and the page made of them."""

import json
import math
import re

import pytest

from semla_ros.bench.page import busy, markdown_table, write_report
from semla_ros.bench.record import BenchRecord, machine_facts, read_record, save_record
from semla_ros.core.errors import EvaluationError

SERIES = [
    {
        "hz": hz,
        "phase": phase,
        "latency_ms_at_percent": [30.0, 40.0, 90.0],
        "timeline": {"seconds": [0, 1], "latency_ms": [30.0, 40.0], "swap_seconds": [0.5, 7]},
    }
    for hz in (5.0, 10.0)
    for phase in ("quiet", "swapping")
]


def record(**changes):
    given = {
        "title": "A <title>",
        "command": "semla bench x --out y.json",
        "rows": (
            {"what": "a|b", "p50_ms": 12.345, "count": 3, "held": True},
            {"p50_ms": math.nan},
        ),
        "machine": {"processor": "P", "cores": 2, "load_before": 0.1},
        "notes": ("one note",),
        "extra": {
            "tables": [{"title": "More", "rows": [{"rate_hz": 10.0}]}],
            "series": SERIES,
            "memory_mib": [[0, 100.0], [10, 101.0]],
        },
    }
    return BenchRecord(**(given | changes))


def test_a_record_survives_the_disk(tmp_path):
    path = tmp_path / "deep" / "x.json"
    save_record(record(), path)
    back = read_record(path)
    assert back.rows[0] == dict(record().rows[0])
    assert back.rows[1] == {"p50_ms": None}
    assert back.extra["series"][0]["hz"] == 5.0
    assert (back.title, back.command, back.notes) == (
        record().title,
        record().command,
        ("one note",),
    )


@pytest.mark.parametrize(
    "content",
    ["nonsense", "[]", '{"title": 1}', '{"title": "t", "command": "c", "rows": [3]}'],
)
def test_what_is_no_record_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(EvaluationError, match=re.escape("x.json")):
        read_record(path)


def test_a_record_of_another_room_is_printed_as_it_is(tmp_path):
    """The common format: title, command, rows; everything else may be missing."""
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"title": "Other", "command": "do", "rows": [{"layer": "fc"}]}))
    write_report([path], tmp_path / "page.md", command="report")
    assert "| layer |" in (tmp_path / "page.md").read_text()


def test_the_page_holds_tables_pictures_commands_and_notes(tmp_path):
    save_record(record(), tmp_path / "live.json")
    out = tmp_path / "docs" / "performance.md"
    out.parent.mkdir()
    write_report([tmp_path / "live.json"], out, command="semla bench report")
    text = out.read_text()
    for wanted in (
        "semla bench x --out y.json",
        "p50 [ms]",
        "12.3",
        "a\\|b",
        "one note",
        "### More",
    ):
        assert wanted in text
    for name in ("latency", "swaps", "memory"):
        assert f"images/bench_live_{name}.svg" in text
        svg = (out.parent / "images" / f"bench_live_{name}.svg").read_text()
        assert svg.startswith("<svg")
        assert "nan" not in svg
    assert "nan" not in text
    assert "noisy" not in text


def test_the_page_is_loud_about_a_busy_machine(tmp_path):
    machine = {"processor": "P", "cores": 2, "load_before": 1.5}
    save_record(record(machine=machine), tmp_path / "live.json")
    write_report([tmp_path / "live.json"], tmp_path / "page.md", command="r")
    text = (tmp_path / "page.md").read_text()
    assert "**Perhaps noisy**: load 1.5 on 2 cores" in text
    assert "load was high" in text
    assert busy(machine)
    assert not busy({"load_before": 0.5, "cores": 2})
    assert not busy({})


def test_damaged_tables_are_refused(tmp_path):
    save_record(record(extra={"tables": ["x"]}), tmp_path / "x.json")
    with pytest.raises(EvaluationError, match="tables"):
        write_report([tmp_path / "x.json"], tmp_path / "page.md", command="r")


def test_columns_are_named_with_their_units():
    columns = {
        "p50_ms": 1,
        "rss_mib_per_h": 2,
        "switches_per_s": 3,
        "version.numpy": "4",
        "of_all": 5,
    }
    head = markdown_table([columns]).splitlines()[0]
    assert head == "| p50 [ms] | rss [MiB/h] | switches [1/s] | numpy | of all |"


def test_every_row_of_a_table_has_every_column():
    lines = markdown_table([{"a_ms": 1.0}, {"b": "x", "a_ms": 12345.6}, {}]).splitlines()
    assert lines[0] == "| a [ms] | b |"
    assert lines[1] == "| ---: | --- |"
    assert lines[2:] == ["| 1 |  |", "| 12346 | x |", "|  |  |"]


def test_the_machine_is_told_without_its_name_or_paths():
    import socket

    facts = machine_facts()
    assert facts["cores"] >= 1
    assert facts["memory_gib"] > 0
    assert facts["processor"]
    told = json.dumps(facts)
    assert "/" not in told.replace("GNU/Linux", "")
    assert socket.gethostname() not in told
