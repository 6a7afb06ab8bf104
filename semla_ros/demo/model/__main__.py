"""`python -m semla_ros.demo.model`: make the demo model."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from semla_ros.demo.model.make import make_demo_model


def main() -> None:
    """Make the demo model where the arguments say."""
    parser = argparse.ArgumentParser(description="Make the demo bundle from seeds alone.")
    parser.add_argument("--out", type=Path, default=Path("models/demo"))
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo_model"), help="finished stages are kept here"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_demo_model(options.out, work=options.work)


if __name__ == "__main__":
    main()
