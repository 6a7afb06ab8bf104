"""Words on topics and the service of a running node, with the demo's own text encoder."""

from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from semla_ros.msg import Hint, MixState
from semla_ros.srv import SetHint
from std_msgs.msg import Header, String

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo"
SNOW = "a street on a snowy night"
QUICK = {"bundle": str(DEMO), "navigator_rate_hz": 0.0, "min_dwell_s": 0.0}


@pytest.fixture
def hinted(robot, make_image, wait):
    """Return a running robot's sender of images, its mixes, and a function that waits for one."""

    def start(it):
        mixtures = it.listen("mix", MixState, latched=True)
        stamps = iter(range(100, 10**6))

        def until(condition, what):
            def send():
                it.send(make_image(np.full((48, 64, 3), 120, np.uint8), stamp=(next(stamps), 0)))
                return mixtures and condition(mixtures[-1])

            return wait(send, what)

        return mixtures, until

    return start


def names_of(state):
    """The flat grey image of this test bears words out in part: they bring, not fill, a mix."""
    return {adapter.name for adapter in state.mix.adapters}


def publisher(it, kind, name, wait):
    made = it.peer.create_publisher(kind, f"/segmenter/{name}", 10)
    wait(made.get_subscription_count, f"the node listens on {name}")
    return made


def test_both_topics_bring_the_adapter_and_empty_words_withdraw_it(robot, hinted, wait):
    with robot(**QUICK, hint_ttl_s=3600.0) as it:
        mixtures, until = hinted(it)
        until(lambda m: m.hint == "", "a mix without words")
        assert mixtures[-1].hint_share == 0.0
        plain, stamped = (
            publisher(it, String, "hint", wait),
            publisher(it, Hint, "hint_stamped", wait),
        )
        plain.publish(String(data=SNOW))
        found = until(lambda m: m.hint == SNOW and m.hint_share > 0, "words in force")
        assert found
        until(lambda m: "snow-night" in names_of(m), "the adapter they speak of")
        plain.publish(String())
        until(lambda m: m.hint == "", "words withdrawn")
        header = Header(stamp=Time(sec=10**6))
        stamped.publish(Hint(header=header, text="a road on a foggy night", ttl_s=1000.0))
        until(lambda m: "fog-night" in names_of(m), "the adapter they speak of")
        until(lambda m: m.hint == "", "the end of their life by stream time")


def test_the_service_answers_what_was_made_of_it(robot, hinted):
    with robot(**QUICK) as it:
        _, until = hinted(it)
        until(lambda m: True, "a mix")
        answer = it.call(SetHint, "set_hint", SetHint.Request(text=SNOW, ttl_s=5.0))
        assert answer.success
        assert answer.message.startswith("for 5 s near snow-night")
        for text, says in (
            ("car, road, person", "speaks of no domain"),
            ("x" * 2000, "at most 1000 printable characters"),
        ):
            answer = it.call(SetHint, "set_hint", SetHint.Request(text=text))
            assert not answer.success
            assert says in answer.message
        until(lambda m: m.hint == SNOW, "what was said before still counts")
        assert it.call(SetHint, "set_hint", SetHint.Request()).message == "withdrawn"


def test_a_bundle_that_reads_no_text_refuses_words_and_drives_on(robot, make_image, wait):
    from sensor_msgs.msg import Image

    with robot() as it:
        masks = it.listen("mask", Image)
        answer = it.call(SetHint, "set_hint", SetHint.Request(text=SNOW))
        assert not answer.success
        assert "expected a navigator that reads text" in answer.message
        it.send(make_image(np.zeros((48, 64, 3), np.uint8)), lambda: masks, "a mask")


def test_an_inactive_node_refuses_words(robot):
    with robot(active=False, autostart=False) as it:
        answer = it.call(SetHint, "set_hint", SetHint.Request(text=SNOW))
    assert (answer.success, "configure and activate" in answer.message) == (False, True)
