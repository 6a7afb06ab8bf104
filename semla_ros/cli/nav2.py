"""`semla nav2`: the costmap parameters that fit a bundle's classes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="BUNDLE", help="the bundle folder")
    parser.add_argument("--namespace", default="", help="of the segmenter; default: none")


def _run(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.prepare.nav2_costmap import nav2_costmap

    names = open_bundle(args.folder, verify=False).manifest.vocabulary.names
    sys.stdout.write(nav2_costmap(names, namespace=args.namespace))
    return 0


VERBS: Mapping[str, Verb] = {
    "nav2": Verb("print Nav2 costmap parameters for a bundle's classes", _arguments, _run)
}
