"""`semla library`: what is in a library, changing it, and what `curation` adds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.cli import curation
from semla_ros.cli.verb import Verb

if TYPE_CHECKING:
    from semla_ros.library.library import AdapterLibrary


def _library_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a library and what to do with it."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, (text, names) in _LIBRARY_ACTIONS.items():
        each = actions.add_parser(action, help=text, description=text)
        each.add_argument("folder", type=Path, help="the bundle folder that holds the library")
        for name in names:
            each.add_argument(name, type=Path if name == "source" else str)
        if action == "add":
            each.add_argument("--name", help="default: the source folder's name")
    for action, verb in _VERBS.items():
        verb.arguments(actions.add_parser(action, help=verb.help, description=verb.help))


def open_library(folder: Path) -> AdapterLibrary:
    """Return the library of the bundle in `folder`."""
    from semla_ros.bundle import open_bundle
    from semla_ros.library.library import AdapterLibrary

    return AdapterLibrary.of(open_bundle(folder, verify=False))


def _library(args: argparse.Namespace) -> int:
    if args.action in _VERBS:
        return _VERBS[args.action].run(args)
    from semla_ros.prepare.adapters.changes import remove_adapter, rename_adapter

    library = open_library(args.folder)
    if args.action == "add":
        library = _add(library, args.source, args.name)
    elif args.action == "remove":
        library = remove_adapter(library, args.name)
    elif args.action == "rename":
        library = rename_adapter(library, args.old, args.new)
    for name in library.names:
        print(f"{name}  unsealed" if name in library.unsealed else name)
    for name, problem in library.problems.items():
        print(f"{name}  unusable: {problem}")
    return 1 if library.problems else 0


def _add(library: AdapterLibrary, source: Path, name: str | None) -> AdapterLibrary:
    """Return the library with the adapter in `source`, in whatever layout it was saved."""
    import tempfile

    from semla_ros.prepare.adapters.changes import add_adapter
    from semla_ros.prepare.bundler.adapter_files import plain_folder

    source = source.resolve()
    with tempfile.TemporaryDirectory(prefix="semla-") as scratch:
        return add_adapter(library, plain_folder(source, Path(scratch)), name or source.name)


def _seal_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to seal."""
    add = parser.add_argument
    add("folder", type=Path, help="a bundle, a library, or one adapter's folder")
    add("--name", action="append", default=[], help="the domain; may be repeated; default: all")
    add("--replace", action="store_true", help="seal what is there now in place of what was")


def _seal(args: argparse.Namespace) -> int:
    from semla_ros.prepare.adapters.sealing import seal_domains

    sealed = seal_domains(args.folder, args.name, replace=args.replace)
    for name in sealed:
        print(f"sealed {name}")
    if not sealed:
        print("every seal is there and holds")
    return 0


_VERBS: Mapping[str, Verb] = {
    "seal": Verb(
        "vouch for adapters as they are now: write their SHA256SUMS", _seal_arguments, _seal
    ),
    **curation.VERBS,
}

_LIBRARY_ACTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "list": ("name every adapter, and what is wrong with unusable ones", ()),
    "add": ("copy an adapter folder (SemLA's loradb layout) into the library", ("source",)),
    "remove": ("delete an adapter", ("name",)),
    "rename": ("give an adapter another name", ("old", "new")),
}


VERBS: Mapping[str, Verb] = {
    "library": Verb("list, change or check a bundle's adapters", _library_arguments, _library),
}
