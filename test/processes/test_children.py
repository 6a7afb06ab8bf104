"""Children end with the process that started them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from semla_ros.processes.children import Processes

PARENT = """
import sys, time
from semla_ros.processes.children import start_child
child = start_child([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
ROOT = Path(__file__).resolve().parents[2]


def runs(pid):
    """Return whether process `pid` lives; a zombie whose parent is gone does not count."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_sigkill_of_the_parent_ends_the_child():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    said = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    (pid,) = said - {"up"}
    assert runs(pid)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    end = time.monotonic() + 30
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not runs(pid)


def test_processes_end_with_their_context_and_their_last_words_are_kept(tmp_path):
    speaks = "print('one'); print('two', flush=True); import time; time.sleep(60)"
    with Processes(tmp_path / "logs", {"PATH": "", "A": "1"}) as processes:
        quiet = processes.start("quiet", [sys.executable, "-c", speaks])
        asked = processes.start(
            "asked",
            [sys.executable, "-c", "import os; print(input(), os.environ['A'], os.environ['B'])"],
            piped=True,
            changes={"B": "2"},
        )
        asked.stdin.write(b"hello\n")
        asked.stdin.flush()
        assert asked.stdout.readline() == b"hello 1 2\n"
        while "two" not in processes.last_words("quiet"):
            time.sleep(0.02)
        assert "quiet says: one / two" in processes.said()
    assert quiet.returncode is not None
    assert asked.returncode == 0
    assert processes.last_words("never started") == ""
