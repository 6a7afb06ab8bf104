"""`semla drive`, `semla demo` and `semla params`: the node, and what can be set."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb, bundle_argument, engine_arguments, no_arguments, node_changes


def _drive_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the node."""
    parser.add_argument("--image", help="image topic to subscribe, e.g. /camera/image_raw")
    parser.add_argument("--params-file", type=Path, help="ROS parameter file (YAML)")
    parser.add_argument("--namespace", help="ROS namespace of the node")
    engine_arguments(parser)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the demo."""
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="default: demo_out")
    parser.add_argument("--seconds", type=float, default=120.0, help="length; default: 120")
    bundle_argument(parser)


def _drive(args: argparse.Namespace) -> int:
    from semla_ros.processes.drive import DriveRequest, run_node

    request = DriveRequest(
        changes=node_changes(args),
        image=args.image,
        params_file=args.params_file,
        namespace=args.namespace,
    )
    run_node(request)


def _demo(args: argparse.Namespace) -> int:
    from semla_ros.demo import showcase

    shown = showcase.run(args.out, seconds=args.seconds, bundle=args.bundle)
    print(f"{shown.page}: {shown.shows}")
    return 0


def _params(args: argparse.Namespace) -> int:
    from semla_ros.core.parameter_file import parameter_table

    print(parameter_table())
    return 0


VERBS: Mapping[str, Verb] = {
    "demo": Verb("drive through changing weather over ROS 2 and show it", _demo_arguments, _demo),
    "drive": Verb("run the ROS 2 node", _drive_arguments, _drive),
    "params": Verb("print every parameter as a Markdown table", no_arguments, _params),
}
