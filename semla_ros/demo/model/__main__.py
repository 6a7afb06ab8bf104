"""`python -m semla_ros.demo.model`: make the demo model."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from semla_ros.demo.model.make import make_demo_model
from semla_ros.demo.model.segformer import make_segformer

DEMO = Path("models/demo")


def main() -> None:
    """Make the demo model where the arguments say."""
    parser = argparse.ArgumentParser(description="Make the demo bundle from seeds alone.")
    parser.add_argument(
        "--family",
        choices=("catseg", "segformer"),
        default="catseg",
        help="segformer: a small one beside the demo, with the demo's navigator",
    )
    parser.add_argument(
        "--out", type=Path, help="default: models/demo, of segformer build/demo_segformer"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo_model"), help="finished stages are kept here"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.family == "segformer":
        out = options.out or Path("build/demo_segformer")
        make_segformer(out, demo=DEMO, work=options.work / options.family)
    else:
        make_demo_model(options.out or DEMO, work=options.work)


if __name__ == "__main__":
    main()
