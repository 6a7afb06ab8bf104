"""What every verb of `semla` is made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from semla_ros.core.files.signature import TrustedKeys

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143


@dataclass(frozen=True, slots=True)
class Verb:
    """One word after `semla`: what it is for, its arguments, what it does (an exit code)."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def bundle_argument(parser: argparse.ArgumentParser) -> None:
    """Add what chooses the bundle."""
    parser.add_argument("--bundle", type=Path, help="model bundle; default: the demo bundle")


def size_argument(text: str) -> tuple[int, int]:
    """Return (H, W) of HEIGHTxWIDTH.

    Raises:
        ArgumentTypeError: It is none.
    """
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 480x640, got {text!r}")
    return int(height), int(width)


def significant_bits_argument(parser: argparse.ArgumentParser) -> None:
    """Add what the node's parameter of that name says."""
    parser.add_argument(
        "--significant-bits",
        type=int,
        choices=range(8, 17),
        default=16,
        metavar="BITS",
        help="low bits of 16-bit images that carry the value, 8 to 16: 12 where a camera stores "
        "12 in 16; as the node's parameter",
    )


def trusted_argument(parser: argparse.ArgumentParser) -> None:
    """Add whose signatures are asked for."""
    parser.add_argument(
        "--trusted-keys",
        type=Path,
        metavar="PATH",
        help="minisign public key or folder of *.pub: what none of them signed fails",
    )


def trusted_keys(args: argparse.Namespace) -> TrustedKeys | None:
    """Return the keys given on the command line, None where signatures are not asked for."""
    from semla_ros.core.files.signature import read_trusted_keys

    return read_trusted_keys(args.trusted_keys) if args.trusted_keys else None


def engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what chooses bundle, engine, swap policy and any parameter."""
    bundle_argument(parser)
    parser.add_argument("--engine", help="an engine of `semla params`; default: auto")
    parser.add_argument("--policy", help="swap policy: debounce, always or never")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any parameter of `semla params`; repeatable",
    )


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def changes(args: argparse.Namespace) -> dict[str, object]:
    """Return the parameters given on the command line."""
    given: dict[str, object] = {}
    for text in args.param:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"expected --param NAME=VALUE, got {text!r}")
        given[name.strip()] = _parsed(name.strip(), value.strip())
    shortcuts = {"engine": args.engine, "swap_policy": args.policy}
    return given | {name: value for name, value in shortcuts.items() if value is not None}


def node_changes(args: argparse.Namespace) -> dict[str, object]:
    """Return the parameters given on the command line, the bundle among them."""
    return changes(args) | ({"bundle": str(args.bundle)} if args.bundle else {})


def _parsed(name: str, text: str) -> object:
    """Return `text` as the type of parameter `name`; left as it is where it does not fit."""
    from semla_ros.core.config import PARAMETERS
    from semla_ros.processes.drive import NODE_PARAMETERS

    default = PARAMETERS[name].default if name in PARAMETERS else text
    if isinstance(default, bool) or name in NODE_PARAMETERS:
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(default, (int, float)):
        try:
            return int(text) if isinstance(default, int) else float(text)
        except ValueError:
            return text
    return text
