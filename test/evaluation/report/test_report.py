"""The report says what the study holds, needs nothing else, and is the same every time."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[evaluate]'")

from semla_ros.evaluation import extra
from semla_ros.evaluation.analysis.detection import BadMasks
from semla_ros.evaluation.analysis.drive_tables import curve_table
from semla_ros.evaluation.analysis.frames import SIGNALS
from semla_ros.evaluation.page import BadFrame, worst_grid
from semla_ros.evaluation.report import PAGE, study_page, write_report
from semla_ros.evaluation.report.findings import findings
from semla_ros.evaluation.report.sections import page_fills, support_sections
from semla_ros.evaluation.report.verdict import verdict
from semla_ros.evaluation.report.worst_frames import error_pictures
from semla_ros.evaluation.table import ResultTable, comma_separated, latex, markdown

TABLE = ResultTable(
    "t",
    "A & b",
    ("who", "a_b", "c"),
    (("x|y", 1.25, float("nan")), ("z", 3.0, None)),
    "50 %",
    "column",
)


@pytest.fixture(scope="module")
def study(made):
    return made.calibrated_study(frames=24, drives=6)


def test_the_files_are_whole_and_the_page_needs_no_network(study, tmp_path):
    files = write_report(study, tmp_path, with_latex=True)
    tables = {"tables.md", "tables.tex", "miou.csv", "classes.csv", "swaps.csv"}
    assert {f.name for f in files} == tables | {"index.html", "report.json"}
    page = (tmp_path / PAGE).read_text()
    assert page.count("<svg") == page.count("</svg>") >= 3
    assert not re.search(r'(src|href)="(?!data:|#)', page), "nothing is loaded from elsewhere"
    assert "@import" not in page
    figures = set(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    ids = [i for figure in figures for i in re.findall(r'\bid="([^"]+)"', figure)]
    assert len(ids) == len(set(ids)), "figures must not share clip paths"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["strategy"] == "semla-gated"
    assert len(report["calibration"]["held_out"]) == 4


def test_the_same_study_gives_the_same_bytes(study, tmp_path):
    one = write_report(study, tmp_path / "a")
    two = write_report(study, tmp_path / "b")
    assert [f.read_bytes() for f in one] == [f.read_bytes() for f in two]


def test_the_verdict_has_the_numbers(study):
    words = " ".join(verdict(study, findings(study)))
    assert re.search(r"Adaptation helps: semla-gated is \+2\d\.\d points", words)
    assert re.search(r"The promise can be trusted: the expected mIoU errs by 4\.\d points", words)
    assert re.search(r"the expected mIoU: 0\.9\d", words)
    assert "No frame was out of the library." in words


def test_a_verdict_on_harm_says_harm(made):
    rows = np.full(60, 0.5)
    results = {
        "zero-shot": made.result("zero-shot", rows),
        "semla": made.result("semla", rows * 0.6),
    }
    one = made.recording("fog-day", ("fog-day",) * 60, rows, rows, results=results)
    bad = made.study([one], strategies=("zero-shot", "semla"))
    words = verdict(bad, findings(bad))
    assert words[0].startswith("Adaptation hurts: semla is -20.0 points")
    assert "It loses on fog-day." in words
    assert any("Not judged: no promise can be made" in w for w in words)


def test_a_place_the_library_does_not_know_is_named_as_such(made):
    rows = np.full(60, 0.5)
    one = made.recording("moon", ("",) * 60, rows, rows, levels=("OUT_OF_LIBRARY",) * 60)
    away = made.study([one])
    words = " ".join(verdict(away, findings(away)))
    assert "100 % of frames are out of the library: it does not know this place" in words


def test_without_truth_nothing_is_said_about_miou(made, tmp_path):
    blind = made.recording(
        "drive", ("",) * 30, np.ones(30), np.zeros(30), scored=np.zeros(30, np.bool_)
    )
    study = made.study([blind])
    words = verdict(study, findings(study))
    assert words[0].startswith("No frame has ground truth")
    files = write_report(study, tmp_path)
    assert "miou.csv" not in {f.name for f in files}


def test_without_the_extra_the_tables_remain(study, tmp_path, monkeypatch):
    def missing(module):
        raise extra.MissingExtraError(f"expected {module!r}: pip install '.[evaluate]'")

    for name in ("calibration", "detection"):
        monkeypatch.setattr(f"semla_ros.evaluation.analysis.{name}.evaluate_extra", missing)
    for name in ("library_sections", "plots"):
        monkeypatch.setattr(f"semla_ros.evaluation.report.{name}.evaluate_extra", missing)
    write_report(study, tmp_path)
    page = (tmp_path / PAGE).read_text()
    assert ".[evaluate]" in page
    assert "mIoU by domain" in page


def test_tables_in_every_dress():
    text = markdown(TABLE)
    assert "| x\\|y | 1.2 | – |" in text
    assert "| z | **3.0** | – |" in text
    tex = latex(TABLE)
    assert r"a\_b" in tex
    assert r"\textbf{3.0}" in tex
    assert r"A \& b. 50 \%" in tex
    assert comma_separated(TABLE) == "who,a_b,c\nx|y,1.25,\nz,3.0,\n"


def test_wrong_pixels_are_orange_and_ignored_ones_are_not():
    import cv2

    truth = np.zeros((20, 20), np.uint8)
    truth[:, 10:15], truth[:, 15:] = 1, 255
    rgb = np.full((20, 20, 3), 90, np.uint8)
    pictures = error_pictures(rgb, truth, np.zeros_like(truth), [(0, 0, 0)] * 2, width=20)
    error = cv2.imdecode(np.frombuffer(pictures[3].data, np.uint8), 1)[10]
    assert error[12, 2] > error[12, 0] + 60, "wrong: red over blue"
    assert abs(int(error[3, 2]) - int(error[3, 0])) < 30
    assert abs(int(error[18, 2]) - int(error[18, 0])) < 30
    shown = worst_grid([BadFrame(0.1, "<frame>", pictures)])
    assert shown.count("<img") == 4
    assert "mIoU 10.0 %: &lt;frame&gt;" in shown


def test_a_signal_worse_than_chance_is_said_to_point_the_wrong_way(study):
    found = findings(study)
    bad = BadMasks(0.3, 0.25, {**dict.fromkeys((*SIGNALS, "expected"), 0.6), "support": 0.32})
    words = " ".join(verdict(study, replace(found, bad=(bad,))))
    assert "Support points the wrong way (worse than chance) for masks below 30 %" in words
    weak = replace(bad, auroc={**bad.auroc, "support": 0.6})
    assert "Support hardly finds masks" in " ".join(verdict(study, replace(found, bad=(weak,))))


def test_a_caption_names_only_lines_that_are_drawn(study):
    found = findings(study)
    for calibration in (found.calibration, None):
        scatter, *_ = support_sections(replace(found, calibration=calibration), page_fills(study))
        assert "line" not in re.search(r'class="note">([^<]*)', scatter)[1]


def colour_of(svg, name):
    """The colours in which matplotlib drew the series `name`: those of its legend entry."""
    marks = re.findall(r'style="fill: (#[0-9a-f]{6})[^"]*stroke: #1f2933', svg)
    return dict(zip(sorted(name), dict.fromkeys(marks), strict=False))


def test_an_adapter_has_one_colour_on_every_chart(study):
    fills = page_fills(study)
    drawn = study_page(study, findings(study))
    domains = sorted({d for r in study.recordings for d in r.domains})
    assert set(domains) <= set(fills)
    for name in domains:
        swatch = re.findall(rf'background-color:(#[0-9a-f]{{6}})"></i>{re.escape(name)}<', drawn)
        assert set(swatch) <= {fills[name].color}
    scatter = colour_of(support_sections(findings(study), fills)[0], domains)
    assert scatter == {name: fills[name].color for name in domains}


def test_classes_that_do_not_count_stand_beside_the_headline(study):
    note = "2 of 3 classes of the truth are counted; without a counterpart, not scored: kerb"
    other = "damaged: 3 frames"
    noted = replace(study, notes=(note, other))
    page = study_page(noted, findings(noted))
    assert page.count(note) == page.count(other) == 1
    assert page.index("headline") < page.index(note) < page.index("Verdict")
    assert page.index(other) > page.index("How this was made")
    assert f"{len(study.info.classes)} of {len(study.info.classes)} classes" in page


def test_the_curve_compares_triggers_with_per_frame_semla(made):
    names, rows = ("semla", "semla-gated@0.1", "semla-gated@0.5"), np.full(20, 0.6)
    results = {
        name: replace(made.result(name, rows * share), swapped=np.arange(20) < swaps)
        for name, share, swaps in zip(names, (1.0, 0.9, 0.5), (20, 2, 1), strict=True)
    }
    one = made.recording("d", ("fog-day",) * 20, rows, rows, results=results)
    curve = curve_table(made.study([one], strategies=names))
    assert [row[0] for row in curve.rows] == ["semla-gated@0.5", "semla-gated@0.1"]
    assert [row[1] for row in curve.rows] == pytest.approx([95.0, 90.0])
    assert [row[2] for row in curve.rows] == pytest.approx([30.0, 6.0])
    assert curve_table(made.study([one], strategies=names[1:])) is None
