"""The arguments of every `semla` verb; nothing is imported and nothing is run here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path


def replay_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a recording, where results go, and the engine."""
    parser.add_argument("bag", type=Path, help="rosbag2 folder, or a .mcap, .db3 or .bag file")
    parser.add_argument("--bundle", type=Path, help="model bundle; default: the demo bundle")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--topic", help="image topic; default: the only one")
    parser.add_argument("--no-video", action="store_true", help="do not write overlay.mp4")
    _engine_arguments(parser)


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", help="auto, onnx, torch or fake; default: auto")
    parser.add_argument("--policy", help="swap policy: debounce, always or never")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any parameter of `semla params`; repeatable",
    )


def drive_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the node."""
    parser.add_argument("--bundle", type=Path, help="model bundle; default: the demo bundle")
    parser.add_argument("--image", help="image topic to subscribe, e.g. /camera/image_raw")
    parser.add_argument("--params-file", type=Path, help="ROS parameter file (YAML)")
    parser.add_argument("--namespace", help="ROS namespace of the node")
    _engine_arguments(parser)


def bundle_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a bundle, or what to make one of."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in (
        ("show", "say what is in a bundle"),
        ("verify", "check every file against its sha256"),
    ):
        each = actions.add_parser(action, help=text, description=text)
        each.add_argument("folder", type=Path, help="the bundle folder")
    text = "make a bundle of a CAT-Seg checkpoint and SemLA's adapters"
    _import_arguments(actions.add_parser("import", help=text, description=text))


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--family", default="catseg", help="network family; default: catseg")
    add("--checkpoint", type=Path, required=True, help="CAT-Seg, .pth or .safetensors")
    add("--loradb", type=Path, help="folder of adapters, one for each domain; default: none")
    add("--classes", required=True, help="cityscapes, a file, or names separated by ';'")
    add(
        "--navigator",
        required=True,
        help="clip-vit-l-14 (SemLA's own), any open_clip model, dinov2-vit-l-14, or none",
    )
    add("--navigator-checkpoint", type=Path, help="its weights; default: from the hub")
    add("--navigator-resize", choices=("center_crop", "letterbox"), default="center_crop")
    add("--out", type=Path, required=True, help="the new bundle folder")
    add("--qkv", help="adapters that change CLIP's q, k, v: ignore (as official SemLA) or apply")
    add(
        "--adapter-guidance",
        default="as_trained",
        help="second tap of the decoder under adapters: as_trained (default) or as_base",
    )
    add("--skip-unusable", action="store_true", help="leave unusable adapters out")


def library_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a library and what to do with it."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, (text, names) in _LIBRARY_ACTIONS.items():
        each = actions.add_parser(action, help=text, description=text)
        each.add_argument("folder", type=Path, help="the bundle folder that holds the library")
        for name in names:
            each.add_argument(name, type=Path if name == "source" else str)
        if action == "add":
            each.add_argument("--name", help="default: the source folder's name")


_LIBRARY_ACTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "list": ("name every adapter, and what is wrong with unusable ones", ()),
    "add": ("copy an adapter folder (SemLA's loradb layout) into the library", ("source",)),
    "remove": ("delete an adapter", ("name",)),
    "rename": ("give an adapter another name", ("old", "new")),
}


def segment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name images and how to segment them."""
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle folder")
    add("images", type=Path, nargs="+", metavar="IMAGE", help="PNG or JPEG")
    add("--out", type=Path, required=True, help="folder for the results")
    add("--mix", default="auto", help="auto, none, oracle:NAME, uniform or name=weight,…")
    add("--engine", default="auto", help="auto, onnx, torch or fake; default: auto")
    add("--window", default="single", help="single (default) or sliding, as papers evaluate")
    add("--classes", help="cityscapes, a file, or names separated by ';'; default: the bundle's")
    add("--save-logits", action="store_true", help="write <stem>.npz as well")
    add("--threads", type=int, default=0, help="CPU threads; default: all cores but one")


def topics_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a recording."""
    parser.add_argument("bag", type=Path, help="rosbag2 folder, or a .mcap, .db3 or .bag file")


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the demo."""
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="default: demo_out")
    parser.add_argument("--seconds", type=float, default=120.0, help="length; default: 120")
    parser.add_argument("--bundle", type=Path, help="model bundle; default: the demo bundle")


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""
