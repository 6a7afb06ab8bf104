"""Reports and their command line load without the libraries of the extra."""

import subprocess
import sys


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, semla_ros.evaluation.report, semla_ros.cli.report, semla_ros.pipeline; "
        "print([m for m in ('sklearn', 'matplotlib', 'jinja2', 'scipy', 'torch') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
