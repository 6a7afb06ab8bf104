"""What `semla library` says about adapters and makes for them: embed, describe, audit, verify."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.cli.verb import Verb, significant_bits_argument, trusted_argument, trusted_keys

if TYPE_CHECKING:
    from semla_ros.core.files.signature import Signer

_SHOWN = 10


def _embed_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is embedded, and where the statistics go."""
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle folder, whose navigator embeds")
    add(
        "sources",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help="folder of *.png and *.jpg, an image, or a recording",
    )
    add("--name", required=True, metavar="DOMAIN", help="the domain that the images show")
    add("--topic", help="image topic of a recording; default: the only one")
    add("--every", type=int, default=1, metavar="N", help="take every Nth image; default: 1")
    add("--recursive", action="store_true", help="look into the folders of a folder")
    significant_bits_argument(parser)
    add("--replace", action="store_true", help="overwrite statistics that are there")
    add("--out", type=Path, metavar="FILE", help="write this .npz instead of the library's")
    add("--threads", type=int, default=0, help="CPU threads; default: all cores but one")


def _embed(args: argparse.Namespace) -> int:
    from semla_ros.navigator.held_out import MIN_IMAGES
    from semla_ros.prepare.curation.embed import EmbedRequest, embed_domain
    from semla_ros.prepare.curation.sources import SourceOptions

    request = EmbedRequest(
        bundle=args.bundle,
        sources=tuple(args.sources),
        name=args.name,
        options=SourceOptions(
            args.topic, args.every, args.recursive, significant_bits=args.significant_bits
        ),
        replace=args.replace,
        out=args.out,
        threads=args.threads,
    )
    try:
        domain = embed_domain(request)
    except KeyboardInterrupt:
        print("semla: what is embedded is kept: the same command goes on", file=sys.stderr)
        raise
    statistics = domain.statistics
    print(f"{args.name}: {statistics.count} images by {statistics.encoder}")
    if statistics.quantiles is not None:
        near, far = (statistics.quantiles.at(level) for level in (0.5, 0.99))
        print(f"own-domain distance: half below {near:.4g}, 99 % below {far:.4g}")
    if statistics.shrinkage is not None:
        print(f"covariance: shrinkage {statistics.shrinkage:.3f}")
    else:
        print("note: one image has no covariance; novelty takes the other domains' for it")
    if (statistics.count or 0) < MIN_IMAGES:
        print(
            f"note: {statistics.count} images are too few for the alarm OUT_OF_LIBRARY, which "
            f"then stays off for the whole library: needs {MIN_IMAGES}"
        )
    for item in domain.left_out[:_SHOWN]:
        print(f"left out {item.name}: {item.reason}")
    if len(domain.left_out) > _SHOWN:
        print(f"left out {len(domain.left_out)} images in all")
    if not domain.adapter:
        print(
            f"note: {args.name} has no adapter yet and does not serve: "
            f"semla library add BUNDLE FOLDER --name {args.name}"
        )
    print(f"wrote {domain.path}")
    return 0


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the bundle, and whose signatures are asked for."""
    parser.add_argument("bundle", type=Path, help="the bundle folder")
    trusted_argument(parser)


def _verify(args: argparse.Namespace) -> int:
    from semla_ros.prepare.curation.verify import verify_library

    found = verify_library(args.bundle, trusted=trusted_keys(args))
    if found.bundle_problem:
        print(f"FAILED  bundle: {found.bundle_problem}")
    else:
        files = f"{found.sealed_files} sealed files as they were built"
        print(f"ok      bundle: {files}{_by(found.signer)}")
    for adapter in found.adapters:
        for problem in adapter.problems:
            print(f"FAILED  {adapter.name}: {problem}")
        if not adapter.problems:
            known = adapter.statistics
            images = f", statistics of {known.count or '?'} images" if known else ""
            print(f"ok      {adapter.name}: {adapter.layers} layers{images}{_by(adapter.signer)}")
    for note in found.notes:
        print(f"note    {note}")
    return 0 if found.passed else 1


def _by(signer: Signer | None) -> str:
    return f", signed by {signer}" if signer else ""


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is audited, and where the JSON goes."""
    parser.add_argument("bundle", type=Path, help="the bundle folder")
    parser.add_argument("names", nargs="*", metavar="NAME", help="adapters; default: all")
    parser.add_argument("--classes", help="the class list they will serve; default: the bundle's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here as well")


def _audit(args: argparse.Namespace) -> int:
    from semla_ros.prepare.curation.audit import audit_library
    from semla_ros.prepare.curation.audit_report import audit_lines, write_audit

    audit = audit_library(args.bundle, args.names, classes=args.classes)
    for line in audit_lines(audit):
        print(line)
    if args.json:
        write_audit(audit, args.json)
        print(f"wrote {args.json}")
    return 0 if audit.clean else 1


def _describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is described, and by which words."""
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle folder")
    add("names", nargs="*", metavar="NAME", help="adapters; default: all")
    add("--top", type=int, default=5, metavar="K", help="prompts to show; default: 5")
    add(
        "--text-model",
        metavar="NAME[:CHECKPOINT]",
        help="the open_clip model that the navigator is, for bundles without words of their own",
    )
    add("--prompts", help="list of prompts (config/prompts or a file), with --text-model")
    add("--captions", choices=("blip2",), help="caption sample images as well, by transformers")
    add("--captions-model", metavar="MODEL", help="its name on the hub, or a folder")
    add("--images", type=Path, metavar="DIR", help="images of the domain, for --captions")


def _describe(args: argparse.Namespace) -> int:
    from semla_ros.prepare.curation.captions import DEFAULT_MODEL, Blip2
    from semla_ros.prepare.curation.describe import DescribeRequest, describe_library

    request = DescribeRequest(
        bundle=args.bundle,
        names=tuple(args.names),
        text_model=args.text_model,
        prompts=args.prompts,
        captioner=partial(Blip2, args.captions_model or DEFAULT_MODEL) if args.captions else None,
        images=args.images,
    )
    described = describe_library(request)
    for each in described:
        if each.problem:
            print(f"{each.name}: no words: {each.problem}")
            continue
        print(f"{each.name}: {'; '.join(each.words.values())}")
        for sentence in each.sentences:
            print(f"  caption: {sentence}")
        if not each.sentences:
            for prompt in each.proposals:
                print(f'  no caption yet: semla library caption add BUNDLE {each.name} "{prompt}"')
        for item in each.likenesses[: max(0, args.top)]:
            print(f"  {item.cosine:+.3f}  {item.prompt} ({item.group})")
        for caption in each.captions:
            print(f"  {caption.image}: {caption.text}")
    return 1 if any(each.problem for each in described) else 0


def _caption_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is done, to which adapter, with which sentence."""
    actions = parser.add_subparsers(dest="caption_action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a sentence and seal it").add_argument
    add("bundle", type=Path, help="the bundle folder")
    add("name", metavar="NAME", help="the adapter")
    add("text", metavar="TEXT", help="what its images show, in a sentence")


def _caption(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.library.library import AdapterLibrary
    from semla_ros.prepare.adapters.captioning import add_caption
    from semla_ros.prepare.adapters.history import changing

    library = AdapterLibrary.of(open_bundle(args.bundle, verify=False))
    with changing(library.root, f"captioned {args.name}"):
        captions = add_caption(library, args.name, args.text)
    print(f"{args.name}: {len(captions)} captions")
    return 0


VERBS: Mapping[str, Verb] = {
    "embed": Verb("make a domain's statistics from images or a bag", _embed_arguments, _embed),
    "audit": Verb("say what adapters hold, and what needs attention", _audit_arguments, _audit),
    "caption": Verb("describe an adapter's domain in sentences", _caption_arguments, _caption),
    "describe": Verb("name adapters in words", _describe_arguments, _describe),
    "verify": Verb("open every file and adapter whole", _verify_arguments, _verify),
}
