"""Every parameter as text: the ROS parameter file `config/drive.yaml`, the README's table.

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


def parameter_table() -> str:
    """Return every parameter as a Markdown table."""
    rows = ["| parameter | default | range | set | meaning |", "| --- | --- | --- | --- | --- |"]
    for spec in PARAMETERS.values():
        low, high = ("" if v is None else f"{v:g}" for v in (spec.minimum, spec.maximum))
        unit = f" {spec.unit}" if spec.unit else ""
        allowed = ", ".join(f"`{c}`" for c in spec.choices)
        allowed = allowed or (f"{low} to {high}{unit}" if low else "")
        shown = f"`{spec.default}`{unit}" if spec.default != "" else "empty"
        rows.append(f"| `{spec.name}` | {shown} | {allowed} | {spec.when} | {spec.doc} |")
    return "\n".join(rows)


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
