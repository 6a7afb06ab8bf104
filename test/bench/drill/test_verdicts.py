"""The drill's verdicts on records made by hand: each law can fail, and says what is wrong."""

import json
from dataclasses import replace

import pytest

from semla_ros.bench.drill.heard import (
    Answer,
    Diagnosed,
    Heard,
    Mask,
    Sent,
    Support,
    Swap,
    heard_of,
)
from semla_ros.bench.drill.page import page_of
from semla_ros.bench.drill.run import FAULTS, Outcome, chosen, row_of
from semla_ros.bench.drill.trial import Trial, diagnostics, lies, recovery_s, wrong_masks
from semla_ros.bench.drill.verdicts import (
    adapts,
    answers,
    counts,
    either,
    goes_on,
    goes_stale,
    newest,
    problems,
    sees,
    silent,
    tells,
)
from semla_ros.bench.record import BenchRecord
from semla_ros.core.errors import ConfigError

S = 10**9
PARTS = ("node", "image", "inference", "adapters", "support")
BEGIN, END, UNTIL = 10 * S, 14 * S, 20 * S


def sent(second, *, broken="", group="clear-day", stamp=None):
    at = round(second * S)
    return Sent(at, at if stamp is None else stamp, group, 0, 240, 320, broken)


def mask(image, *, later=0.1, check=7, size=(240, 320)):
    return Mask(image.at + round(later * S), image.stamp, *size, check, 0.5)


def support(image, *, level="OK", seen=None, later=0.1, mix="clear-day=1"):
    at = image.at + round(later * S)
    return Support(at, image.stamp, level, (seen or image).stamp, mix)


def status(second, part, *, level=0, message="fine", **facts):
    return Diagnosed(round(second * S), f"/segmenter: {part}", level, message, facts)


def calm(second):
    return tuple(status(second, part) for part in PARTS)


def healthy(begin=8.0, end=20.0):
    """Return a stream in which nothing goes wrong, two images a second."""
    images = [sent(begin + 0.5 * i) for i in range(int((end - begin) * 2))]
    return Heard(
        sent=tuple(images),
        masks=tuple(mask(i) for i in images),
        supports=tuple(support(i) for i in images),
        diagnosed=tuple(d for i in images for d in calm(i.at / S)),
    )


def trial(heard, **changes):
    before = {d.part: d for d in calm(9.0)}
    return replace(Trial(heard, BEGIN, END, UNTIL, before), **changes)


def without(heard, begin=BEGIN, end=END):
    """Return the same with nothing heard in between; the images were sent."""
    kept = [replace(heard.between(a, b)) for a, b in ((0, begin), (end, 10**18))]
    joined = {n: getattr(kept[0], n) + getattr(kept[1], n) for n in ("masks", "supports")}
    return replace(heard, **joined)


def test_nothing_is_wrong_with_a_healthy_stream():
    whole = trial(healthy())
    assert problems(whole, (goes_on(), newest(1.0))) == []
    assert recovery_s(whole) == pytest.approx(0.6)  # of the first image sent after the end


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda i: (i._replace(broken="step"), mask(i)), "of a broken image (step)"),
        (lambda i: (i, mask(i, size=(97, 161))), "161 x 97 for 320 x 240"),
        (lambda i: (i, mask(i), mask(i)), "answered twice"),
        (lambda i: (i, mask(i, check=8)), "another mask than before"),
        (lambda i: (i, mask(i._replace(stamp=5))), "never sent"),
    ],
)
def test_a_wrong_mask_is_named(spoil, text):
    image, *masks = spoil(sent(11.0))
    stream = healthy(8.0, 10.0)
    heard = replace(
        stream,
        sent=(*stream.sent, image),
        masks=(*stream.masks, *masks),
        supports=(*stream.supports, support(image)),
    )
    known = {(image.picture, "clear-day=1"): 7}
    (found,) = wrong_masks(trial(heard, known=known))
    assert text in found


def test_masks_of_rounded_mixes_are_not_held_against_each_other():
    a, b = sent(11.0), sent(12.0)
    mix = "clear-day=0.6,fog-day=0.4"
    heard = Heard(
        sent=(a, b),
        masks=(mask(a, check=1), mask(b, check=2)),
        supports=(support(a, mix=mix), support(b, mix=mix)),
    )
    assert wrong_masks(trial(heard)) == []


@pytest.mark.parametrize(
    ("image", "seen", "text"),
    [
        (sent(13.0), sent(9.0), "old by its stamp"),
        (sent(13.0), sent(8.0, stamp=13 * S), "old by the clock"),
        (sent(13.0, stamp=2 * S), sent(12.9), "before a step back"),
        (sent(13.0, stamp=7 * S), sent(12.9), "before a step back"),
    ],
)
def test_support_from_an_old_observation_is_a_lie_unless_it_is_stale(image, seen, text):
    heard = Heard(sent=(seen, image), supports=(support(image, seen=seen),))
    (lie,) = lies(trial(heard))
    assert text in lie.text
    stale = support(image, seen=seen, level="STALE")
    assert lies(trial(replace(heard, supports=(stale,)))) == []


def test_ok_over_lasting_noise_is_a_lie():
    noise = [sent(10.0 + i, group="noise") for i in range(6)]
    heard = Heard(sent=tuple(noise), supports=tuple(support(i) for i in noise))
    assert [lie.text for lie in lies(trial(heard))] == ["OK over pure noise"]


def test_recovery_waits_for_masks_support_and_diagnostics():
    stream = healthy()
    bad = (status(12.0, "image", level=2, message="no image"), status(16.0, "image"))
    calm_image = tuple(d for d in stream.diagnosed if d.part != "image" or d.at < BEGIN)
    heard = replace(stream, diagnosed=(*calm_image, *bad))
    assert recovery_s(trial(heard)) == pytest.approx(2.0)
    never = replace(heard, diagnosed=(*calm_image, bad[0]))
    assert recovery_s(trial(never)) is None
    assert any("recovers by itself" in p for p in problems(trial(never), ()))
    assert recovery_s(trial(without(stream, END, UNTIL))) is None


def test_a_dead_process_fails():
    assert problems(trial(healthy(), ended="code -9"), ())[0] == "the process lives: code -9"


def test_tells_asks_for_part_level_and_word():
    heard = replace(healthy(), diagnosed=(status(12.0, "image", level=2, message="Stamps!"),))
    whole = trial(heard)
    assert tells("image", least=2, words=("stamp",)).problem(whole) == ""
    assert tells(words=("stamp",)).problem(whole) == ""
    assert tells("image", least=3).problem(whole)
    assert tells("inference").problem(whole)
    assert tells("image", words=("hang",)).problem(whole)
    assert tells("image").problem(trial(healthy()))
    message = "bundle '/tmp/semla-drill-a1/bundle'\nlacks a file"
    heard = replace(healthy(), diagnosed=(status(12.0, "node", level=2, message=message),))
    assert diagnostics(trial(heard)) == "node ERROR: bundle 'bundle' lacks a file"


def test_counts_asks_for_a_counter_that_rises():
    rising = replace(healthy(), diagnosed=(status(13.0, "image", lost_images="3"),))
    assert counts("image", "lost").problem(trial(rising)) == ""
    assert counts("image", "gap").problem(trial(rising))
    before = {"image": status(9.0, "image", lost_images="3")}
    assert counts("image", "lost").problem(trial(rising, before=before))


def test_going_on_going_stale_and_silence_exclude_each_other():
    stream, gone = healthy(), without(healthy())
    assert goes_on().problem(trial(stream)) == ""
    assert goes_on().problem(trial(gone))
    assert silent().problem(trial(gone)) == ""
    assert silent().problem(trial(stream))
    assert goes_stale().problem(trial(stream))
    stale = support(sent(13.0), level="STALE")
    assert goes_stale(2.0).problem(trial(replace(gone, supports=(stale,)))) == ""
    assert goes_stale(3.5).problem(trial(replace(gone, supports=(stale,)))), "came too early"
    relapse = replace(gone, supports=(stale, support(sent(13.5))))
    assert goes_stale(2.0).problem(trial(relapse))


def test_late_masks_swaps_answers_and_facts():
    image = sent(11.0)
    late = Heard(sent=(image,), masks=(mask(image, later=2.5),))
    assert newest(3.0).problem(trial(late)) == ""
    assert newest(2.0).problem(trial(late))
    assert adapts().problem(trial(late))
    swapped = Heard(swaps=(Swap(12 * S, "fog", True, "domain", ""),))
    assert adapts().problem(trial(swapped)) == ""
    said = {"pin": Answer(12 * S, "select_adapters", False, "adapter 'fog' is damaged")}
    told = trial(late, answers=said, facts={"ends": "no"})
    assert answers("pin", success=False, words=("damaged",)).problem(told) == ""
    assert answers("pin", success=True).problem(told)
    assert answers("pin", success=False, words=("rain",)).problem(told)
    assert answers("reload", success=True).problem(told)
    assert sees("ends", "yes", "ends").problem(told)
    assert sees("ends", "no", "stays").problem(told) == ""
    both = either(adapts(), answers("pin", success=False), text="one of them")
    assert both.problem(told) == ""
    assert either(adapts(), newest(2.0), text="one of them").problem(told)


def test_the_probe_s_lines_are_read_up_to_the_last_whole_one():
    lines = [
        json.dumps(["sent", 5, 7, "noise", 0, 24, 32, ""]) + "\n",
        json.dumps(["support", 6, 7, "LOW", 7, "base=1"]) + "\n",
        json.dumps(["diagnosed", 8, "/n1: image", 1, "no", {"dropped": "2"}]) + "\n",
        '["mask", 9',
    ]
    heard = heard_of(lines)
    assert heard.sent == (Sent(5, 7, "noise", 0, 24, 32, ""),)
    assert heard.supports[0].level == "LOW"
    assert heard.diagnosed[0].part == "image"
    assert heard.of_node("/segmenter").diagnosed == ()
    assert heard.masks == ()
    assert len(heard.plus(heard).sent) == 2


def test_faults_have_names_of_their_own_and_are_grouped_by_setup():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    setups = [fault.setup.name for fault in chosen([])]
    runs = [s for i, s in enumerate(setups) if i == 0 or setups[i - 1] != s]
    assert len(runs) == len(set(runs))
    assert [f.name for f in chosen(["bag loop"])] == ["bag loop"]
    with pytest.raises(ConfigError, match="nonsense"):
        chosen(["nonsense"])


def test_rows_and_page_say_what_failed_and_what_to_do():
    fault = chosen(["stalled camera"])[0]
    whole = trial(healthy())
    good, bad = Outcome(fault, whole), Outcome(fault, whole, ("no masks: 8 | masks",))
    skipped = Outcome(fault, None, skipped="a small disk needs root")
    rows = tuple(row_of(each) for each in (good, bad, skipped))
    assert [r["verdict"].split(":")[0] for r in rows] == ["as expected", "FAILED", "skipped"]
    page = page_of(BenchRecord("Reliability", "scripts/fault_drill", rows), "bench/x.json")
    assert "**2 of 3 rows are as expected.**" in page
    assert "8 \\| masks" in page
    assert "look after camera, cable and driver" in page
    assert all("\n" not in line for line in page.splitlines())
