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


def _library(args: argparse.Namespace) -> int:
    if args.action in _VERBS:
        return _VERBS[args.action].run(args)
    from semla_ros.bundle import open_bundle
    from semla_ros.library.library import AdapterLibrary

    library = AdapterLibrary.of(open_bundle(args.folder, verify=False))
    if args.action != "list":
        library = _changed(library, args)
    for name in library.names:
        marks = {"unsealed": library.unsealed, "generated": library.generated}
        print("  ".join((name, *(mark for mark, names in marks.items() if name in names))))
    for name, problem in library.problems.items():
        print(f"{name}  unusable: {problem}")
    return 1 if library.problems else 0


def _changed(library: AdapterLibrary, args: argparse.Namespace) -> AdapterLibrary:
    """Return the library after it was changed; the states before and after are kept."""
    from semla_ros.prepare.adapters.changes import remove_adapter, rename_adapter
    from semla_ros.prepare.adapters.history import changing

    if args.action == "add":
        with changing(library.root, f"added {args.name or args.source.resolve().name}"):
            return _add(library, args)
    if args.action == "remove":
        with changing(library.root, f"removed {args.name}"):
            return remove_adapter(library, args.name)
    with changing(library.root, f"renamed {args.old} to {args.new}"):
        return rename_adapter(library, args.old, args.new)


def _add(library: AdapterLibrary, args: argparse.Namespace) -> AdapterLibrary:
    """Return the library with the adapter in `source`, in whatever layout it was saved."""
    import tempfile

    from semla_ros.prepare.adapters.changes import add_adapter
    from semla_ros.prepare.bundler.adapter_files import plain_folder, recycled_folder

    source = args.source.resolve()
    name = args.name or (source.stem if source.is_file() else source.name)
    with tempfile.TemporaryDirectory(prefix="semla-") as scratch:
        if source.is_file():
            folder = recycled_folder(source, args.folder, Path(scratch))
        else:
            folder = plain_folder(source, Path(scratch))
        return add_adapter(library, folder, name)


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


def _history_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whose history."""
    parser.add_argument("folder", type=Path, help="the bundle folder that holds the library")


def _history(args: argparse.Namespace) -> int:
    from datetime import datetime, timezone

    from semla_ros.bundle import open_bundle
    from semla_ros.prepare.adapters.history import history

    before: Mapping[str, object] = {}
    for state in history(open_bundle(args.folder, verify=False).library):
        when = datetime.fromtimestamp(state.when_ns * 1e-9, timezone.utc)
        changed = [d for d in {**before, **state.domains} if before.get(d) != state.domains.get(d)]
        marks = [f"{_mark(d, before, state.domains)}{d}" for d in sorted(changed)]
        print(f"{state.number:3d}  {when:%Y-%m-%d %H:%M:%S}  {state.why}: {' '.join(marks)}")
        before = state.domains
    return 0


def _mark(domain: str, before: Mapping[str, object], after: Mapping[str, object]) -> str:
    return "+" if domain not in before else "-" if domain not in after else "~"


def _rollback_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whose history, and how far back."""
    _history_arguments(parser)
    parser.add_argument("number", type=int, help="of the state, see `semla library history`")


def _rollback(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.prepare.adapters.history import roll_back

    library = open_bundle(args.folder, verify=False).library
    state = roll_back(library, args.number)
    print(f"state {state.number}: {', '.join(state.domains) or 'an empty library'}")
    return 0


def _prune_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whose history, and how much of it stays."""
    _history_arguments(parser)
    text = "the newest states, which can be rolled back to afterwards"
    parser.add_argument("--keep", type=int, required=True, metavar="N", help=text)


def _prune(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.prepare.adapters.history import prune

    states, nbytes = prune(open_bundle(args.folder, verify=False).library, args.keep)
    print(f"states deleted: {states}; freed: {nbytes / 1e6:.1f} MB")
    return 0


_VERBS: Mapping[str, Verb] = {
    "history": Verb("say what came and went when", _history_arguments, _history),
    "rollback": Verb("make the library what it was, bit for bit", _rollback_arguments, _rollback),
    "prune": Verb("forget all but the newest states of the history", _prune_arguments, _prune),
    "seal": Verb(
        "vouch for adapters as they are now: write their SHA256SUMS", _seal_arguments, _seal
    ),
    **curation.VERBS,
}

_LIBRARY_ACTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "list": ("name every adapter, and what is wrong with unusable ones", ()),
    "add": (
        "copy an adapter into the library: a folder as PEFT or SemLA have it, or a checkpoint of "
        "RecycleLoRA",
        ("source",),
    ),
    "remove": ("delete an adapter", ("name",)),
    "rename": ("give an adapter another name", ("old", "new")),
}


VERBS: Mapping[str, Verb] = {
    "library": Verb("list, change or check a bundle's adapters", _library_arguments, _library),
}
