"""`semla bench` from the command line: what it refuses, and the page."""

import json

import pytest

from semla_ros.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["node", "--rates", "fast", "--out", "x.json"], "'fast'"),
        (["node", "--transport", "smoke", "--out", "x.json"], "'smoke'"),
        (["swap", "--only", "magic", "--out", "x.json"], "'magic'"),
        (["soak", "--out", "x.json"], "frames"),
        (["report", "missing.json", "--out", "x.md"], "missing.json"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(
    words, said, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_page_is_made_of_records(tmp_path, capsys):
    record = {"title": "T", "command": "semla bench x", "rows": [{"p50_ms": 1.5}]}
    (tmp_path / "x.json").write_text(json.dumps(record))
    out = tmp_path / "page.md"
    assert main(["bench", "report", str(tmp_path / "x.json"), "--out", str(out)]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    assert "| p50 [ms] |" in out.read_text()
