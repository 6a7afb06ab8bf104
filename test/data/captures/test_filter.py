"""What a user's program makes of an image is kept; where it fails nothing is."""

import shlex
import sys

import numpy as np
import pytest

from semla_ros.core.errors import CaptureError
from semla_ros.data.captures import filter as filters
from semla_ros.data.captures.filter import filtered

BLUR = """
import sys, cv2, numpy as np
image = cv2.imdecode(np.frombuffer(sys.stdin.buffer.read(), np.uint8), 1)
image[:8] = 0
sys.stdout.buffer.write(cv2.imencode('.png', image)[1].tobytes())
"""
RGB = np.random.default_rng(0).integers(1, 256, (24, 32, 3), np.uint8)


def python(code):
    return shlex.join([sys.executable, "-c", code])


def test_a_filter_sees_and_changes_the_image():
    answer = filtered(RGB, python(BLUR))
    assert not answer[:8].any()
    np.testing.assert_array_equal(answer[8:], RGB[8:])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/nowhere/blur", "does not run"),
        ("'", "does not run"),
        (" ", "does not run"),
        (python("raise SystemExit('no model')"), "exit code 1: no model"),
        (python("print('hello')"), "expected a PNG on stdout"),
        (python(BLUR.replace("image[:8] = 0", "image = image[:8]")), "got (8, 32, 3)"),
        (python(BLUR.replace("image[:8] = 0", "image = np.tile(image, (3, 3, 1))")), "a PNG"),
    ],
)
def test_a_filter_that_fails_gives_no_image(command, said):
    with pytest.raises(CaptureError, match="capture_filter") as refused:
        filtered(RGB, command)
    assert said in str(refused.value)


def test_a_filter_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(filters, "TIMEOUT_S", 0.3)
    with pytest.raises(CaptureError, match="timed out"):
        filtered(RGB, python("import time; time.sleep(60)"))
