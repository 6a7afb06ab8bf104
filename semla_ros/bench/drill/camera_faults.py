"""Faults of the camera: images that are none, stamps that are none, images that do not come."""

from __future__ import annotations

from semla_ros.bench.drill.fault import PLAIN, TURNS, Fault, camera
from semla_ros.bench.drill.heard import ERROR
from semla_ros.bench.drill.session import Setup
from semla_ros.bench.drill.verdicts import (
    Expectation,
    adapts,
    counts,
    either,
    goes_on,
    goes_stale,
    silent,
    tells,
)

JPEG = Setup("jpeg", {"image_transport": "compressed"})


def _frames(name: str, does: str, human: str, *, setup: Setup = PLAIN, **script: object) -> Fault:
    expects = (tells("image", "inference", least=ERROR), goes_stale(), silent())
    return Fault(name, does, camera(**script), expects, setup, human=human)


_DRIVER = "mend the camera driver or choose another topic: the message says what it sends"

BROKEN = (
    _frames("unknown encoding", "every image `yuv999`", _DRIVER, broken="encoding"),
    _frames("truncated", "every image half its bytes", _DRIVER, broken="truncated"),
    _frames("wrong step", "every image with a step of 7 bytes", _DRIVER, broken="step"),
    _frames("NaN image", "every image 32FC3, all NaN", _DRIVER, broken="nan"),
    Fault(
        "every second broken",
        "every second image truncated",
        camera(broken="truncated", every=2),
        (tells("image", "inference", least=ERROR), goes_on()),
        seconds=10.0,
        human=_DRIVER,
    ),
    Fault(
        "changing size",
        "images of 320 x 240, 640 x 480 and 161 x 97 in turns",
        camera(sizes=[(240, 320), (480, 640), (97, 161)]),
        (goes_on(),),
    ),
    _frames("stalled camera", "no image", "look after camera, cable and driver", hz=0),
    _frames("broken JPEG", "every JPEG cut in half", _DRIVER, setup=JPEG, broken="truncated"),
)

_STAMPED = either(
    tells(words=("stamp",)), counts("image", "stamp"), text="diagnostics speak of stamps"
)
_COUNTED = counts("image", "stamp", "back", "order", "late_", "skipped")
_CLOCK = "let the driver stamp its images"


def _stamps(name: str, does: str, expects: tuple[Expectation, ...], **script: object) -> Fault:
    usable = script.get("stamps") not in ("zero", "constant")
    human = "" if usable else _CLOCK
    play = camera(**{**TURNS, **script})
    every = (goes_on(), adapts(), *expects)
    return Fault(name, does, play, every, seconds=12.0, human=human, stamps_usable=usable)


STAMPS = (
    _stamps("zero stamps", "every stamp 0", (_STAMPED,), stamps="zero"),
    _stamps("constant stamps", "every stamp the same", (_STAMPED,), stamps="constant"),
    _stamps(
        "stamps ahead",
        "every second stamp 0.3 s ahead: two cameras on one topic",
        (_COUNTED,),
        offset_s=0.3,
        offset_every=2,
        hz=8,
    ),
    _stamps(
        "stamps late",
        "every tenth stamp 0.4 s late: delivered out of order",
        (_COUNTED,),
        offset_s=-0.4,
        offset_every=10,
        hz=8,
    ),
    Fault("stamps back", "all stamps 100 s back", camera(offset_s=-100.0), (goes_on(),)),
    Fault(
        "bag loop",
        "stamps start anew every 6 s",
        camera(stamps="loop", loop_s=6.0),
        (goes_on(),),
        seconds=9.0,
    ),
    Fault(
        "images lost",
        "ten images at once: all but the newest are lost in DDS, best effort and depth 1",
        camera(burst=10, hz=3),
        (goes_on(0.05), counts("image", "lost", "gap", "missing", "missed")),
        seconds=6.0,
        human="give the driver the DDS profile (docs/node.md), or a rate the machine can take",
    ),
)
