"""`semla generate`: an adapter from words."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from semla_ros.cli.verb import Verb, bundle_argument


def _arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words."""
    parser.add_argument("text", help='what the camera will see: "snow at night in a village"')
    bundle_argument(parser)
    parser.add_argument("--name", default="", help="of the adapter; default: made of the text")


def _generate(args: argparse.Namespace) -> int:
    from semla_ros.pipeline import default_bundle
    from semla_ros.prepare.generation.generate import GenerateRequest, generate

    made = generate(GenerateRequest(args.bundle or default_bundle(), args.text, args.name))
    found = made.provenance
    experts = ", ".join(f"{name} {weight:.2f}" for name, weight in found.experts.items())
    print(f"from {experts}; cosine of the text to the nearest captions: {found.similarity:.2f}")
    print(
        f"distance to the library: {found.distance:.2f} (1 - cosine) from {found.nearest}; "
        f"{100 * made.combined.error:.1f} % lost to the lower rank, {made.combined.scaled} of "
        f"{len(made.combined.adapter.layers)} layers scaled"
    )
    print(f"wrote {made.folder}, marked as generated")
    return 0


VERBS: Mapping[str, Verb] = {
    "generate": Verb(
        "make an adapter from words, for a domain without frames", _arguments, _generate
    ),
}
