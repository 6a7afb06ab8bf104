"""Words weigh adapters until images do, and no longer than they live."""

import itertools
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

from semla_ros.core.errors import BundleError, ConfigError, EngineError, LibraryError
from semla_ros.core.executors import BackgroundExecutor, InlineExecutor
from semla_ros.core.types import AdapterMix
from semla_ros.library.text_prior import TextPrior
from semla_ros.pipeline import hint as hints
from semla_ros.pipeline.hint import HALF_AT, Hint, HintWatch
from semla_ros.prepare.adapters.captioning import write_captions

COLOURS = ("red", "green", "blue")
S = 10**9


class ColourWords:
    """A text is as much of a colour as it names it; all else is a direction of its own."""

    alone: ClassVar[list[str]] = []  # texts that were encoded one by one: hints

    def __init__(self, bundle):
        self.bundle = bundle

    def encode(self, texts):
        self.alone += texts if len(texts) == 1 else []
        rows = [[1.0 + (c in t) * 9.0 for c in COLOURS] for t in texts]
        found = np.array(
            [[*row, 60.0 * ("class" in t)] for row, t in zip(rows, texts, strict=True)]
        )
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def words(world, monkeypatch):
    monkeypatch.setattr(hints, "OnnxTextEncoder", ColourWords)
    monkeypatch.setattr(ColourWords, "alone", [])
    for name in COLOURS:
        write_captions(world.root / "library" / name, (f"a {name} street", f"a {name} road"))
    return world


def prior(text="words"):
    return TextPrior(text, {"red": 0.9}, 0.5, 0.1)


def served(pipeline, frames):
    return [pipeline.step(frame).mix.names[0] for frame in frames]


def test_the_share_of_words_falls_with_every_observed_frame():
    watch = HintWatch()
    assert (watch.share, watch.text) == (0.0, "")
    watch.put(Hint(prior(), 5.0))
    assert watch.share == 0.0, "it begins with a frame"
    watch.at(7 * S)
    shares = [watch.share]
    for _ in range(HALF_AT):
        watch.saw(1.0)
        shares.append(watch.share)
    assert shares[0] == 1.0
    assert all(a > b for a, b in itertools.pairwise(shares))
    assert shares[-1] == 0.5


def test_frames_of_something_else_keep_words_waiting():
    watch = HintWatch()
    watch.put(Hint(prior(), 500.0))
    watch.at(7 * S)
    for _ in range(100):
        watch.saw(0.0)
        assert watch.share == 0.0
    watch.saw(1.0)
    assert watch.share == HALF_AT / (HALF_AT + 1), "only frames of what was announced are counted"
    watch.saw(0.5)
    assert watch.share == 0.5 * HALF_AT / (HALF_AT + 1.5)


@pytest.mark.parametrize(("stamp_s", "until_s"), [(0, 12.0), (5, 10.0), (7, 12.0), (9, 12.0)])
def test_it_lives_from_its_stamp_or_from_the_newest_frame(stamp_s, until_s):
    watch = HintWatch()
    watch.put(Hint(prior(), 5.0, stamp_s * S))
    watch.at(7 * S)
    watch.at(round(until_s * S) - 1)
    assert watch.text == "words"
    watch.at(round(until_s * S))
    assert (watch.text, watch.share) == ("", 0.0)


def test_one_that_is_over_already_never_begins():
    watch = HintWatch()
    watch.put(Hint(prior(), 5.0, 1 * S))
    watch.at(7 * S)
    assert watch.prior is None


def test_the_same_words_again_live_longer_and_are_believed_no_more():
    watch = HintWatch()
    for text, share in (("fog", 1.0), ("fog", HALF_AT / (HALF_AT + 1)), ("rain", 1.0)):
        watch.put(Hint(prior(text), 5.0))
        watch.at(7 * S)
        assert watch.share == share
        watch.saw(1.0)
    watch.put(None)
    assert watch.text == ""


def test_words_choose_while_the_camera_cannot_tell(words, make_frames):
    frames = make_frames(*["grey"] * 8)
    with words.pipeline() as pipeline:
        assert served(pipeline, frames[:3])[-1] != "red"
        assert pipeline.hint("a red tunnel").result().startswith("for 20 s near red")
        events = [e for f in frames[3:6] for e in pipeline.step(f).swaps]
        result = pipeline.step(frames[6])
    assert [(e.reason, e.to_mix.names[0]) for e in events] == [("hint", "red")]
    assert (result.hint, 0 < result.hint_share < 1) == ("a red tunnel", True)


def test_words_wait_for_what_they_announce(words, make_frames):
    def switched(said):
        with words.pipeline(ema_time_s=1.0) as pipeline:
            served(pipeline, make_frames(*["red"] * 10))
            if said:
                pipeline.hint(said).result()
            found = served(pipeline, make_frames(*["red"] * 20, *["blue"] * 40)[10:])
        assert set(found[:10]) == {"red"}
        return found.index("blue")

    assert switched("a blue tunnel") < switched("") == switched("a green road")


def test_withdrawn_words_count_no_more(words, make_frames):
    frames = make_frames(*["grey"] * 8)
    with words.pipeline() as pipeline:
        pipeline.hint("red").result()
        assert served(pipeline, frames[:3])[-1] == "red"
        assert pipeline.hint("  ").result() == "withdrawn"
        assert served(pipeline, frames[3:6])[-1] != "red"
        assert pipeline.step(frames[6]).hint == ""


def test_what_words_chose_is_theirs_until_images_would_keep_it():
    watch, chosen = HintWatch(), AdapterMix(("red",), (1.0,))
    assert not watch.had_part_in(chosen)
    watch.put(Hint(prior(), 5.0, 0))
    watch.at(0)
    watch.note(chosen)
    watch.put(None)
    assert watch.had_part_in(chosen)
    assert not watch.had_part_in(AdapterMix(("blue",), (1.0,)))
    watch.note(chosen)
    assert not watch.had_part_in(chosen)


def test_words_end_by_stream_time(words, make_frames):
    frames = make_frames(*["grey"] * 20)
    with words.pipeline() as pipeline:
        pipeline.hint("red", ttl_s=0.5).result()
        found = served(pipeline, frames)
    assert "red" in found
    assert found[-1] != "red"


def test_without_words_nothing_changes(words, make_frames):
    frames = make_frames("red", "red", "blue", "blue", "green", "green")
    answers = []
    for said in (False, True):
        with words.pipeline() as pipeline:
            if said:
                pipeline.hint("blue").result()
                pipeline.hint("").result()
            results = [pipeline.step(frame) for frame in frames]
        answers.append([(r.mix, r.labels.tobytes(), repr(r.support)) for r in results])
    assert answers[0] == answers[1]


def test_a_pinned_mix_stays(words, make_frames):
    frames = make_frames(*["red"] * 6)
    with words.pipeline() as pipeline:
        pipeline.step(frames[0])
        pipeline.pin(AdapterMix(("green",), (1.0,)))
        pipeline.hint("blue").result()
        assert served(pipeline, frames[1:])[-1] == "green"


def test_excluded_adapters_stay_out(words, make_frames):
    with words.pipeline(exclude="blue") as pipeline:
        pipeline.hint("blue").result()
        assert "blue" not in served(pipeline, make_frames(*["red"] * 5))


@pytest.mark.parametrize(
    ("text", "options", "error", "says"),
    [
        ("x" * 1001, {}, ConfigError, "at most 1000 printable characters, got 1001"),
        ("fog\x00", {}, ConfigError, "printable"),
        ("blue", {"ttl_s": -1.0}, ConfigError, "a time to live above 0 s"),
        ("blue", {"ttl_s": float("nan")}, ConfigError, "a time to live above 0 s"),
        ("class list", {}, LibraryError, "speaks of no domain of the library"),
    ],
)
def test_what_is_no_hint_is_refused_in_a_line(words, make_frames, text, options, error, says):
    frames = make_frames(*["red"] * 4)
    with words.pipeline() as pipeline:
        with pytest.raises(error, match=says) as refused:
            pipeline.hint(text, **options).result()
        assert "\n" not in str(refused.value)
        assert served(pipeline, frames)[-1] == "red"


def test_a_navigator_that_reads_no_text_says_so(world):
    with world.pipeline() as pipeline, pytest.raises(BundleError, match="reads text"):
        pipeline.hint("blue").result()


def test_a_library_without_captions_says_what_to_do(world, monkeypatch):
    monkeypatch.setattr(hints, "OnnxTextEncoder", ColourWords)
    with world.pipeline() as pipeline, pytest.raises(LibraryError, match="semla library caption"):
        pipeline.hint("blue").result()


@pytest.fixture
def busy(words):
    """A pipeline whose background waits for an event."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as swap:
        pipeline = words.pipeline(swap, InlineExecutor(), adaptation="background")
        swap.submit(gate.wait, 30)
        yield pipeline, gate
        gate.set()
        pipeline.close()


def test_only_the_newest_words_wait_to_be_read(busy):
    pipeline, gate = busy
    answers = [pipeline.hint(text) for text in ("red", "blue", "a green street")]
    for answer in answers[:2]:
        with pytest.raises(EngineError, match="superseded by a newer one"):
            answer.result(0)
    gate.set()
    assert answers[2].result(30).startswith("for 20 s near green")
    assert ColourWords.alone == ["a green street"]


def test_the_same_words_again_are_not_read_again_and_live_longer(words, make_frames):
    frames = make_frames(*["grey"] * 20)
    with words.pipeline() as pipeline:
        shown = []
        for number, frame in enumerate(frames):
            if number in (0, 5):
                pipeline.hint("red  street", ttl_s=1.0).result()
            shown.append(pipeline.step(frame).hint)
    assert ColourWords.alone == ["red street"]
    assert shown.index("") == 15


def test_words_begin_when_they_are_given_not_when_they_are_read(busy, make_frames):
    pipeline, gate = busy
    frames = make_frames(*["grey"] * 30)
    pipeline.step(frames[0])
    answer = pipeline.hint("red", ttl_s=1.5)
    for frame in frames[1:11]:
        assert pipeline.step(frame).hint == ""
    gate.set()
    answer.result(30)
    shown = [pipeline.step(frame).hint for frame in frames[11:]]
    assert shown.index("") == 5, "1.5 s after the first frame that came after it"


def test_words_that_wait_while_the_pipeline_closes_are_answered(words):
    gate, swap = threading.Event(), BackgroundExecutor("swap")
    pipeline = words.pipeline(swap, InlineExecutor(), adaptation="background")
    swap.submit(gate.wait, 30)
    answer = pipeline.hint("red")
    threading.Timer(0.05, gate.set).start()
    pipeline.close()
    with pytest.raises(CancelledError):
        answer.result(30)
