"""The sample of a replay: evenly spaced, bounded, the same every time."""

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import AdapterMix, Vocabulary
from semla_ros.evaluation import film as film_module
from semla_ros.evaluation.film import (
    FILM_ROWS,
    FilmSink,
    evenly,
    film_frames,
    film_strip,
    mix_text,
    support_text,
)


def sampled(support, count, limit):
    sink = FilmSink(limit, width=64)
    for view in support.views(count):
        sink.add(view)
    return sink


@pytest.mark.parametrize(("count", "limit"), [(1, 8), (8, 8), (9, 8), (40, 8), (100, 7)])
def test_moments_are_evenly_spaced_and_bounded(support, count, limit):
    moments = sampled(support, count, limit).moments
    assert len(moments) <= limit
    assert len(moments) >= min(count, limit) // 2
    index = [(m.stamp_ns - support.stamp) // support.step for m in moments]
    assert index[0] == 0
    assert len(set(np.diff(index).tolist())) <= 1
    assert index[-1] + (index[1] - index[0] if len(index) > 1 else 1) >= count


def test_small_pictures_keep_aspect_and_class_colours(support):
    moment = sampled(support, 1, 8).moments[0]
    assert moment.camera.shape == moment.mask.shape == moment.overlay.shape == (48, 64, 3)
    known = {tuple(c) for c in support.vocabulary.colors.tolist()}
    assert {tuple(c) for c in moment.mask.reshape(-1, 3).tolist()} <= known


def test_evenly_keeps_both_ends(support):
    moments = sampled(support, 20, 30).moments
    chosen = evenly(moments, 5)
    assert len(chosen) == 5
    assert chosen[0] is moments[0]
    assert chosen[-1] is moments[-1]
    assert evenly(moments[:3], 5) == moments[:3]


def test_film_frames_decode_and_say_what_is_served(support):
    moments = sampled(support, 4, 8).moments
    frames = film_frames(moments, start_ns=support.stamp, captions=["a", "b", "c", "d"])
    assert [f.seconds for f in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert frames[0].caption == "0.0 s · a · base 100 % · no support score"
    assert frames[3].caption == "0.3 s · d · fog 70 % + rain 30 % · support 0.90, ok"
    for frame, moment in zip(frames, moments, strict=True):
        assert len(frame.pictures) == len(FILM_ROWS)
        mask = cv2.imdecode(np.frombuffer(frame.pictures[1].data, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(mask[..., ::-1], moment.mask)


def test_a_heavy_film_is_thinned_to_its_budget(support, monkeypatch):
    moments = sampled(support, 16, 20).moments
    whole = film_frames(moments, start_ns=0)
    size = sum(len(p.data) for f in whole for p in f.pictures)
    monkeypatch.setattr(film_module, "BUDGET_BYTES", size // 3)
    thinned = film_frames(moments, start_ns=0)
    assert 1 <= len(thinned) < 16
    assert sum(len(p.data) for f in thinned for p in f.pictures) <= size // 3
    assert film_frames([], start_ns=0) == []


def test_strip_shows_every_row_and_class(support):
    sink = sampled(support, 12, 20)
    strip = film_strip(sink.moments, sink.vocabulary, columns=4, column_width=80)
    one = film_strip(sink.moments[:1], sink.vocabulary, column_width=80)
    assert strip.dtype == np.uint8
    assert strip.shape[1] - one.shape[1] == 3 * (80 + 8)
    colors = {tuple(c) for c in strip.reshape(-1, 3).tolist()}
    assert {tuple(c) for c in support.vocabulary.colors.tolist()} <= colors
    camera = cv2.resize(sink.moments[0].camera, (80, 60), interpolation=cv2.INTER_AREA)
    left, top = 16 + 76, 16 + 46
    np.testing.assert_array_equal(strip[top : top + 60, left : left + 80], camera)


def test_many_classes_wrap_and_odd_names_are_drawn(support):
    sink = sampled(support, 2, 20)
    names = tuple(f"Straße {i}" for i in range(40))
    many = Vocabulary(names, np.zeros((40, 3), np.uint8))
    plain = film_strip(sink.moments, sink.vocabulary)
    assert film_strip(sink.moments, many).shape[0] > plain.shape[0] + 100
    with pytest.raises(EvaluationError, match="at least one segmented frame"):
        film_strip([], many)


def test_words():
    mix = AdapterMix.from_weights({"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1})
    assert mix_text(mix) == "a 40 % + b 30 % + c 20 % + 1 more"
    assert support_text(None) == "no support score"
