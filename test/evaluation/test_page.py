"""Pages need nothing but themselves, escape what they are given, and draw what is there."""

import base64
import dataclasses
import math
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_hex

from semla_ros.core.answers import SupportReading, SwapEvent
from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import AdapterMix
from semla_ros.evaluation import bars, drawing
from semla_ros.evaluation import page as p
from semla_ros.evaluation import timeline as timelines
from semla_ros.evaluation.bars import BarRow, grouped_bars, weight_bars
from semla_ros.evaluation.drawing import ADAPTER_COLORS, adapter_fills
from semla_ros.evaluation.film import FilmSink, film_strip
from semla_ros.evaluation.replay_page import replay_page
from semla_ros.evaluation.timeline import Course, course_of, thinned, timeline


def steady(name="base", *, seconds=(0, 1), levels=None, score=np.nan, domains=()):
    """A course whose mix is `name` alone."""
    count = len(seconds)
    scores = np.full(count, score)
    stamps = np.array(seconds, np.int64) * 10**9
    levels = levels or [""] * count
    return Course(stamps, (name,), np.ones((count, 1)), scores, scores, levels, domains)


def course(result):
    return course_of(*zip(*((f.stamp_ns, f.mix, f.support) for f in result.frames), strict=True))


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
    outside = r"(https?:)?//(?!www\.w3\.org/(2000/svg|1999/xlink))\w"
    assert not re.search(outside, _without_data(replayed))
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
            timeline(steady(evil)),
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


def areas(axes):
    """Area of the patches of each colour, as a share of all."""
    sums = {}
    for patch in axes.patches:
        color = to_hex(patch.get_facecolor())
        sums[color] = sums.get(color, 0.0) + patch.get_width() * patch.get_height()
    return {color: area / sum(sums.values()) for color, area in sums.items()}


@pytest.fixture
def made(monkeypatch):
    """The axes of every figure that is drawn."""
    axes, whole = [], drawing.figure

    def kept(*args, **options):
        figure, rows = whole(*args, **options)
        axes.extend(rows)
        return figure, rows

    for module in (bars, timelines):
        monkeypatch.setattr(module, "figure", kept)
    return axes


def test_timeline_areas_are_in_proportion(result, made):
    (svg,) = drawings(timeline(course(result), swaps=result.swaps, support_low=0.4))
    assert "adapter weights" in svg.attrib["aria-label"]
    fills, shares = adapter_fills(["fog", "rain"]), areas(made[0])
    # the mix holds until the next frame: base for 2 of 5 intervals, fog 0.7 of the other 3
    assert shares[fills["base"].color] == pytest.approx(2 / 5, abs=0.01)
    assert shares[fills["fog"].color] == pytest.approx(0.7 * 3 / 5, abs=0.01)
    markers = {text.get_text(): text.get_color() for text in made[0].texts}
    assert markers["1"] != markers["2"], "a failed swap is open"


def test_timeline_marks_scenes_levels_and_missing_scores():
    levels = ["OK", "OK", "STALE", "LOW", "OUT_OF_LIBRARY", ""]
    scenes = ["fog day"] * 3 + ["x"] * 3
    drive = steady(seconds=range(6), levels=levels, domains=scenes)
    html = timeline(drive)
    for word in ("fog day", "no support score", "out of library", "stale", "low"):
        assert word in html, word
    assert "scene" not in timeline(dataclasses.replace(drive, domains=list("abcdef")))
    assert timeline(steady(seconds=())) == ""
    assert timeline(steady(seconds=(0,)))


def test_a_long_timeline_stays_small_and_keeps_its_peak():
    scores = np.random.default_rng(0).random(20_000)
    seconds = np.arange(20_000)
    weights = (seconds[:, None] % 7 == np.arange(7)).astype(float)
    names = tuple(f"d{i}" for i in range(7))
    drive = Course(seconds * 10**8, names, weights, scores, scores, ["OK"] * 20_000)
    line = thinned([*zip(seconds.tolist(), scores.tolist(), strict=True), (7777.5, 55.0)])
    assert max(y for _, y in line) == 55.0
    assert len(line) <= 1000
    assert len(timeline(drive)) < 700_000


def test_swaps_outside_the_timeline_are_not_drawn(made):
    swap = SwapEvent(10**12, AdapterMix.base_only(), AdapterMix.base_only(), "pinned", True)
    assert timeline(steady(), swaps=[swap])
    assert "1" not in [text.get_text() for text in made[0].texts]


def test_bars_are_in_proportion_and_name_what_is_missing(made):
    rows = [BarRow("fog", (10.0, 40.0)), BarRow("night", (20.0, math.nan))]
    html = grouped_bars(rows, ("without", "with"), unit=" %", difference=True)
    assert [patch.get_width() for patch in made[0].patches] == [10.0, 20.0, 40.0]
    assert "not scored" in html
    assert "+30.0 %" in html
    assert grouped_bars([], ("a",)) == ""
    with pytest.raises(EvaluationError, match="rows of 1 values"):
        grouped_bars(rows, ("only one",))


def test_weights_are_stacked_to_one(made):
    fills = adapter_fills(["fog", "rain"])
    html = weight_bars({"a": {"fog": 0.7, "rain": 0.3}, "b": {"fog": 1.0}}, fills)
    assert areas(made[0])[fills["fog"].color] == pytest.approx(0.85)
    assert "fog" in html
    assert weight_bars({}, fills) == ""


def test_the_same_data_gives_the_same_bytes(result):
    assert timeline(course(result)) == timeline(course(result))


def test_a_missing_matplotlib_is_said_where_the_chart_would_stand(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    html = timeline(course(result))
    assert ".[evaluate]" in html
    assert "fog" in html


def test_names_that_are_no_utf8_are_drawn(made):
    name = "f\udcffg"
    assert timeline(steady(name, seconds=range(4), domains=[name] * 4))
    assert grouped_bars([BarRow(name, (1.0,))], ("a",))
    assert weight_bars({name: {name: 1.0}}, adapter_fills([name]))


def test_names_with_a_dollar_are_names():
    html = timeline(steady("a$b_c$", seconds=(0, 10)))
    assert html.count("a$b_c$") == 2, "legend and drawing"


def test_adapters_keep_their_fill_and_repeat_hatched():
    names = [f"domain-{i:02}" for i in range(12)]
    fills = adapter_fills([*names, "base"])
    assert fills == adapter_fills(["base", *reversed(names)])
    assert len({(f.color, f.hatched) for f in fills.values()}) == 13
    assert fills[names[len(ADAPTER_COLORS)]].hatched
    assert not fills["base"].hatched


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
