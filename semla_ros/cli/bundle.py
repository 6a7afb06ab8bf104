"""`semla bundle`: show, verify, import, open the attention to adapters."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb, size_argument, trusted_argument, trusted_keys
from semla_ros.core.errors import ConfigError, EngineUnavailableError


def _bundle_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a bundle, or what to make one of."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in (
        ("show", "say what is in a bundle"),
        ("verify", "check every file against its sha256, and who signed them"),
    ):
        each = actions.add_parser(action, help=text, description=text)
        each.add_argument("folder", type=Path, help="the bundle folder")
        if action == "verify":
            trusted_argument(each)
    text = "write a bundle anew, with q, k, v and out_proj of CLIP adaptable, too"
    each = actions.add_parser("open-attention", help=text, description=text)
    each.add_argument("folder", type=Path, help="the bundle folder")
    each.add_argument("--out", type=Path, required=True, help="the new bundle folder")
    text = "make a bundle of a checkpoint and adapters"
    _import_arguments(actions.add_parser("import", help=text, description=text))


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--family",
        default="catseg",
        help="network family: catseg (default), or transformers (SegFormer, UPerNet, DPT, "
        "Mask2Former, EoMT as Hugging Face's library stores them)",
    )
    add(
        "--checkpoint",
        type=Path,
        required=True,
        help="CAT-Seg: .pth or .safetensors; transformers: its folder, or OWNER/NAME on the hub",
    )
    add("--loradb", type=Path, help="folder of adapters, one for each domain; default: none")
    add(
        "--classes",
        help="cityscapes, a file, or names separated by ';'; default: those that the checkpoint "
        "names (transformers), catseg takes any",
    )
    add(
        "--size",
        type=size_argument,
        metavar="HEIGHTxWIDTH",
        help="the network's input, transformers only; default: as its image processor resizes",
    )
    _navigator_arguments(parser)
    add("--out", type=Path, required=True, help="the new bundle folder")
    add("--qkv", help="adapters that change CLIP's q, k, v: ignore (as official SemLA) or apply")
    add(
        "--adapter-guidance",
        default="as_base",
        help="second tap of the decoder under adapters: as_base (default, as SemLA evaluates) or "
        "as_trained",
    )
    add(
        "--class-pooling",
        type=int,
        choices=(1, 2),
        default=1,
        help="class attention over every patch (default), as the published evaluations set it, or "
        "over blocks of 2 x 2 patches: coarser and faster",
    )
    add("--skip-unusable", action="store_true", help="leave unusable adapters out")


def _navigator_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--navigator",
        required=True,
        help="clip-vit-l-14 (SemLA's own), any open_clip model, dinov2-vit-l-14, timm:MODEL, "
        "torchvision:MODEL, onnx:FILE, segmenter (the network's own early layers), or none",
    )
    add("--navigator-checkpoint", type=Path, help="its weights; default: from the hub")
    add(
        "--navigator-features",
        choices=("embedding", "statistics", "both"),
        help="its embedding (default), channel statistics of its early layers, which see weather, "
        "or both",
    )
    add(
        "--navigator-resize",
        choices=("center_crop", "eval_crop", "letterbox", "squash"),
        help="default: as the navigator was trained",
    )
    add("--navigator-size", type=int, help="side of the image of onnx:FILE, where it is open")
    for name in ("mean", "std"):
        add(
            f"--navigator-{name}",
            type=_triple,
            metavar="R,G,B",
            help="of RGB in 0..1, as onnx:FILE was trained",
        )


def _triple(text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected three numbers such as 0.485,0.456,0.406, got {text!r}"
        ) from error
    return red, green, blue


def _import(args: argparse.Namespace) -> int:
    try:
        from semla_ros.prepare.bundler.importer import ImportRequest, import_bundle
        from semla_ros.prepare.bundler.navigator_import import NavigatorRequest
        from semla_ros.prepare.bundler.onnx_navigator import OnnxInput
    except ModuleNotFoundError as error:
        raise ConfigError(f"importing needs {error.name!r}: pip install '.[train]'") from error

    request = ImportRequest(
        checkpoint=args.checkpoint,
        loradb=args.loradb,
        classes=args.classes,
        navigator=NavigatorRequest(
            args.navigator,
            args.navigator_checkpoint,
            args.navigator_resize,
            args.navigator_features,
            OnnxInput(args.navigator_size, args.navigator_mean, args.navigator_std),
        ),
        out=args.out,
        family=args.family,
        qkv=args.qkv,
        adapter_guidance=args.adapter_guidance,
        skip_unusable=args.skip_unusable,
        class_pooling=args.class_pooling,
        size=args.size,
    )
    imported = import_bundle(request)
    for name, problem in imported.skipped.items():
        print(f"left out {name}: {problem}", file=sys.stderr)
    print(f"wrote {imported.bundle.root}")
    return 1 if imported.skipped else 0


def _open_attention(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle

    try:
        from semla_ros.prepare.bundler.rewrite import open_attention
    except ModuleNotFoundError as error:
        raise ConfigError(f"it needs {error.name!r}: pip install '.[train]'") from error
    made = open_attention(open_bundle(args.folder), args.out)
    print(f"wrote {made.root}: adapters may change {len(made.manifest.layers)} layers")
    return 0


def _bundle(args: argparse.Namespace) -> int:
    if args.action == "import":
        return _import(args)
    if args.action == "open-attention":
        return _open_attention(args)
    from semla_ros.bundle import open_bundle
    from semla_ros.library.library import AdapterLibrary

    if args.action == "verify":
        bundle = open_bundle(args.folder, trusted=trusted_keys(args))
        manifest = bundle.manifest
        print(f"{manifest.name}: {len(manifest.files)} files as they were built")
        if bundle.signer:
            print(f"signed by {bundle.signer}")
        return 0
    bundle = open_bundle(args.folder, verify=False)
    manifest = bundle.manifest
    navigator, layers = manifest.navigator, manifest.layers
    height, width = manifest.segmentation.shape
    size = f"{width}x{height}" if width != height else str(height)
    print(f"{manifest.name}: {manifest.family}, {size} px")
    print(f"base model    {manifest.base_model}")
    print(f"navigator     {navigator.identity if navigator else 'none: explicit mixes only'}")
    closed = "" if manifest.text else " (closed: this network knows no others)"
    print(f"classes       {', '.join(manifest.vocabulary.names)}{closed}")
    graphs = sorted({layer.graph for layer in layers})
    print(f"adaptable     {len(layers)} layers in {', '.join(graphs)}")
    library = AdapterLibrary.of(bundle)
    print(f"adapters      {', '.join(library.names) or 'none'}")
    for name, problem in library.problems.items():
        print(f"unusable      {name}: {problem}")
    print(f"engine        {_engine_here(args.folder)}")
    return 0


def _engine_here(folder: Path) -> str:
    """Return what `engine: auto` takes on this machine, and why."""
    from semla_ros.bundle import open_bundle
    from semla_ros.engine import create_engine

    try:
        with create_engine("auto", open_bundle(folder, verify=False)) as engine:
            facts = engine.facts
            return f"{facts.name} in {facts.precision}, {facts.reason}"
    except EngineUnavailableError as error:
        return f"none: {error}"


VERBS: Mapping[str, Verb] = {
    "bundle": Verb("show, verify or import a model bundle", _bundle_arguments, _bundle),
}
