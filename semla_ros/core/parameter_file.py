"""The ROS parameter file that holds every default: `config/drive.yaml` is this text.

python -m semla_ros.core.parameter_file > config/drive.yaml
"""

from __future__ import annotations

import sys
import textwrap

import yaml

from semla_ros.core.config import PARAMETERS
from semla_ros.core.parameter import ParameterSpec

_HEAD = """\
# Every parameter of the node with its default. Copy it, change it, and give it to the launch file
# as params_file:=... `python -m semla_ros.core.parameter_file` writes this file anew.
#
# QoS of the camera, if its publisher wants another (the log says so):
#     qos_overrides./camera/image_raw.subscription.reliability: reliable
/**:
  ros__parameters:
"""


def parameter_file() -> str:
    """Return the YAML text: each parameter with its doc, range, and when it can be set."""
    return _HEAD + "".join(_entry(spec) for spec in PARAMETERS.values())


def _entry(spec: ParameterSpec) -> str:
    facts = [f"unit {spec.unit}"] if spec.unit else []
    if spec.choices:
        facts.append("one of " + ", ".join(spec.choices))
    if spec.minimum is not None or spec.maximum is not None:
        low = "" if spec.minimum is None else f"{spec.minimum:g}"
        high = "" if spec.maximum is None else f"{spec.maximum:g}"
        facts.append(f"{low} to {high}")
    facts.append(spec.when if spec.live or spec.fixed else "while unconfigured")
    words = f"{spec.doc} ({'; '.join(facts)})"
    comment = textwrap.fill(words, 99, initial_indent="    # ", subsequent_indent="    # ")
    value = yaml.safe_dump(spec.default, default_style='"' if spec.default == "" else None)
    return f"{comment}\n    {spec.name}: {value.splitlines()[0]}\n"


if __name__ == "__main__":
    sys.stdout.write(parameter_file())
