"""Pages need nothing but themselves, escape what they are given, and draw what is there."""

import base64
import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from semla_ros.answers import SupportReading, SwapEvent
from semla_ros.errors import EvaluationError
from semla_ros.evaluation import page as p
from semla_ros.evaluation.bars import BarRow, grouped_bars
from semla_ros.evaluation.film import FilmSink
from semla_ros.evaluation.replay_page import replay_page
from semla_ros.evaluation.strip import film_strip
from semla_ros.evaluation.svg import ADAPTER_COLORS, adapter_fills, nice_ticks
from semla_ros.evaluation.timeline import Stage, points_of, timeline
from semla_ros.evaluation.timeline_rows import TimelinePoint
from semla_ros.types import AdapterMix

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Balanced(HTMLParser):
    """Raises on tags that do not close in order; collects resources and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.links, self.words = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def drawings(html):
    return [ET.fromstring(s) for s in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


@pytest.fixture
def replayed(support):
    sink = FilmSink(8, width=48)
    for view in support.views(6):
        sink.add(view)
    strip = film_strip(sink.moments, sink.vocabulary, column_width=60)
    return replay_page(
        support.result(), moments=sink.moments, strip=strip, vocabulary=sink.vocabulary
    )


def test_the_page_is_whole_and_needs_nothing_from_outside(replayed):
    parsed = Balanced(replayed)
    assert all(link.startswith("data:image/") for link in parsed.links)
    assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)\w", _without_data(replayed))
    assert len(replayed) < p.MAX_PAGE_BYTES
    for svg in drawings(replayed):
        assert svg.attrib["aria-label"]


def _without_data(html):
    return re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", html)


def test_the_page_says_what_happened(replayed):
    words = " ".join(Balanced(replayed).words)
    for expected in (
        "Replay of drive",
        "frames segmented",
        "2 skipped of 8 read",
        "The replay ended early: the disk is full",
        "a note & more",
        "<broken> JPEG",
        "failed: it broke",
        "top_k = 3",
        "road",
    ):
        assert expected in words, expected


def test_a_replay_without_frames_has_a_page(support):
    empty = support.result(0)
    assert "frames segmented" in " ".join(Balanced(replay_page(empty)).words)


def test_a_replay_whose_support_was_never_known_has_a_page(support):
    whole = support.result()
    stale = SupportReading.stale()
    unknown = [dataclasses.replace(f, support=stale) for f in whole.frames]
    page = replay_page(dataclasses.replace(whole, frames=tuple(unknown)))
    assert "support was never known" in " ".join(Balanced(page).words)


def test_what_comes_from_outside_is_escaped():
    evil = "</script><script>alert(1)</script>\"'&"
    frame = p.FilmFrame(0.0, evil, (p.Picture(b"x", "image/png"),))
    html = p.page(
        evil,
        evil,
        [
            p.section(evil, p.table((evil,), [[evil]]), note=evil),
            p.film([frame], (evil,)),
            p.picture(p.Picture(b"x", "image/png"), alt=evil),
            timeline([TimelinePoint(0, {evil: 1.0}), TimelinePoint(9, {evil: 1.0})]),
            grouped_bars([BarRow(evil, (1.0,))], (evil,)),
        ],
        top=p.headlines([p.Headline(evil, evil, evil)]) + p.warning(evil),
        footer=evil,
    )
    assert "<script>alert" not in html
    Balanced(html)


def test_film_pictures_are_the_given_bytes():
    frames = [
        p.FilmFrame(float(i), f"moment {i}", (p.Picture(bytes([i, 1, 2]), "image/png"),))
        for i in range(3)
    ]
    html = p.film(frames, ("camera",))
    for i in range(3):
        assert base64.b64encode(bytes([i, 1, 2])).decode() in html
    assert 'max="2"' in html
    assert p.film([], ("camera",)) == ""
    with pytest.raises(EvaluationError, match="2 pictures"):
        p.film(frames, ("camera", "mask"))


def test_table_sets_numbers_right_and_marks_the_total():
    html = p.table(("domain", "mIoU"), [["fog", 41.234], ["mean", None]], digits=2, total=True)
    assert '<td class="n">41.23</td>' in html
    assert '<tr class="total"><td>mean</td><td class="n">–</td></tr>' in html
    assert "sortable" not in html
    assert 'class="sortable"' in p.table(("a",), [[1]], sortable=True)
    assert "–" in p.table(("a",), [[math.nan]])
    with pytest.raises(EvaluationError, match="rows of 2 cells"):
        p.table(("a", "b"), [[1]])


def test_timeline_areas_are_in_proportion(result):
    (svg,) = drawings(timeline(points_of(result), swaps=result.swaps, support_low=0.4))
    space = "{http://www.w3.org/2000/svg}"
    areas = {}
    for group in svg.iter(f"{space}g"):
        title = group.find(f"{space}title").text
        rect = group.find(f"{space}rect")
        if re.match(r"(fog|rain|base): ", title):
            area = float(rect.get("width")) * float(rect.get("height"))
            areas[title.split(":")[0]] = areas.get(title.split(":")[0], 0.0) + area
    total = sum(areas.values())
    # the mix holds until the next frame: base for 2 of 5 intervals, fog 0.7 of the other 3
    assert areas["base"] / total == pytest.approx(2 / 5, abs=0.01)
    assert areas["fog"] / total == pytest.approx(0.7 * 3 / 5, abs=0.01)
    titles = [t.text for t in svg.iter(f"{space}title")]
    assert any(t.startswith("swap 1: fog") for t in titles)
    assert any(t.startswith("swap 2 (failed)") for t in titles)


def test_timeline_marks_stages_levels_and_missing_scores(support):
    points = [
        TimelinePoint(i * 10**9, {"base": 1.0}, level=level)
        for i, level in enumerate(("OK", "OK", "STALE", "LOW", "OUT_OF_LIBRARY", ""))
    ]
    html = timeline(
        points, stages=[Stage("fog day", 0, 3 * 10**9), Stage("x", 3 * 10**9, 5 * 10**9)]
    )
    for word in ("fog day", "no support score", "out of library", "stale", "low"):
        assert word in html, word
    assert timeline([]) == ""
    assert timeline(points[:1])


def test_a_long_timeline_stays_small():
    rng = np.random.default_rng(0)
    points = [
        TimelinePoint(i * 10**8, {"base": 1.0}, float(s), float(s), "OK")
        for i, s in enumerate(rng.random(20_000))
    ]
    points[7_777] = TimelinePoint(7_777 * 10**8, {"base": 1.0}, 55.0, 55.0, "OK")
    html = timeline(points)
    assert len(html) < 60_000
    (svg,) = drawings(html)
    lines = [e.get("d") for e in svg.iter("{http://www.w3.org/2000/svg}path") if e.get("fill")]
    peak = min(float(y) for d in lines for y in re.findall(r"[ML][\d.]+ ([\d.]+)", d))
    others = sorted(float(y) for d in lines for y in re.findall(r"[ML][\d.]+ ([\d.]+)", d))
    assert peak < others[4] - 50  # the one peak is still there


def test_swaps_outside_the_timeline_are_not_drawn():
    swap = SwapEvent(10**12, AdapterMix.base_only(), AdapterMix.base_only(), "pinned", True)
    points = [TimelinePoint(0, {"base": 1.0}), TimelinePoint(10**9, {"base": 1.0})]
    assert "swap 1" not in timeline(points, swaps=[swap])


def test_bars_are_in_proportion_and_name_what_is_missing():
    rows = [BarRow("fog", (10.0, 40.0)), BarRow("night", (20.0, math.nan))]
    html = grouped_bars(rows, ("without", "with"), unit=" %", difference=True)
    (svg,) = drawings(html)
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(r.get("width")) for g in svg.iter(f"{space}g") for r in g.iter(f"{space}rect")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.01)
    assert "not scored" in html
    assert "+30.0 %" in html
    assert grouped_bars([], ("a",)) == ""
    with pytest.raises(EvaluationError, match="rows of 1 values"):
        grouped_bars(rows, ("only one",))


def test_adapters_keep_their_fill_and_repeat_hatched():
    names = [f"domain-{i:02}" for i in range(12)]
    fills = adapter_fills([*names, "base"])
    assert fills == adapter_fills(["base", *reversed(names)])
    assert len({(f.color, f.hatched) for f in fills.values()}) == 13
    assert fills[names[len(ADAPTER_COLORS)]].hatched
    assert not fills["base"].hatched


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 0.0031), (0.0, 120.0), (-3.0, 7.5)])
def test_ticks_are_round_and_inside(low, high):
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 13
    assert low <= ticks[0] <= ticks[-1] <= high
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-6)


def test_ticks_of_nothing():
    assert nice_ticks(1.0, 1.0) == [1.0]
    assert nice_ticks(math.nan, 1.0) == []


def test_a_page_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    p.write_page(tmp_path / "sub" / "index.html", "<p>ü</p>")
    assert (tmp_path / "sub" / "index.html").read_text(encoding="utf-8") == "<p>ü</p>"
    assert len(list((tmp_path / "sub").iterdir())) == 1
    monkeypatch.setattr(p, "MAX_PAGE_BYTES", 3)
    with pytest.raises(EvaluationError, match="at most 3 bytes"):
        p.write_page(tmp_path / "big.html", "<p></p>")
    monkeypatch.setattr(p, "MAX_PAGE_BYTES", 30)
    with pytest.raises(EvaluationError, match="cannot write"):
        p.write_page(tmp_path / "sub" / "index.html" / "x.html", "<p></p>")
