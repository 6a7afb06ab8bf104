"""lifeline: a process that holds the interpreter for ever is ended, one that goes on is not."""

import subprocess
import sys

import pytest

HELD = "ctypes.PyDLL(None).sleep(300)"  # in C, with the interpreter held: no other thread runs

SCRIPT = """
import ctypes, time
from semla_ros.nodes import lifeline
line = lifeline.Lifeline(3.0)
{action}
print("went on")
"""


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (HELD, 1),
        ("for _ in range(50): line.renew(); time.sleep(0.1)", 0),
        ("lifeline.pause(); time.sleep(4.0)", 0),
        (f"lifeline.pause(); time.sleep(1.1); line.renew(); {HELD}", 1),
    ],
    ids=["held", "renewed", "paused", "renewed after a pause, then held"],
)
def test_a_held_interpreter_ends_the_process(action, code):
    script = SCRIPT.format(action=action)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    assert ("went on" in done.stdout) == (code == 0)
    assert ("Timeout" in done.stderr) == (code == 1)
