"""`semla segment`: single images."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb, significant_bits_argument


def _segment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name images and how to segment them."""
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle folder")
    add("images", type=Path, nargs="+", metavar="IMAGE", help="PNG or JPEG")
    add("--out", type=Path, required=True, help="folder for the results")
    add("--mix", default="auto", help="auto, none, oracle:NAME, uniform or name=weight,…")
    add("--engine", default="auto", help="an engine of `semla params`; default: auto")
    add("--precision", default="f32", help="f32 (default), bf16, f16 or auto, as on the robot")
    add("--device", default="auto", help="auto (default), cpu or cuda")
    add("--window", default="single", help="single (default), sliding (as evaluated) or padded")
    add("--classes", help="cityscapes, a file, or names separated by ';'; default: the bundle's")
    significant_bits_argument(parser)
    add("--save-logits", action="store_true", help="write <stem>.npz as well")
    add(
        "--paper-compat-text-cache",
        action="store_true",
        help="keep the text features of the first image's mix, as the official evaluation does",
    )
    add("--threads", type=int, default=0, help="CPU threads; default: all cores but one")


def _segment(args: argparse.Namespace) -> int:
    from semla_ros.core.config import Config
    from semla_ros.evaluation.segment import SegmentRequest, segment_images

    request = SegmentRequest(
        bundle=args.bundle,
        images=args.images,
        out=args.out,
        mix=args.mix,
        engine=args.engine,
        window=args.window,
        classes=args.classes,
        save_logits=args.save_logits,
        paper_compat_text_cache=args.paper_compat_text_cache,
        config=Config(
            threads=args.threads,
            precision=args.precision,
            device=args.device,
            significant_bits=args.significant_bits,
        ),
    )
    for path in segment_images(request):
        print(f"wrote {path}")
    return 0


VERBS: Mapping[str, Verb] = {
    "segment": Verb("segment single images", _segment_arguments, _segment),
}
