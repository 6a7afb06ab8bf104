"""What mkdocs.yml adds to docs/: the pages of the root, and references made from the code.

The repository's Markdown is written for its own folders, so that its links hold there. Here a
link to a file outside docs/ goes to the page or the copy of it that the site has; one that leads
nowhere is left as it is, and fails the build (`strict`).
"""

from __future__ import annotations

import argparse
import os
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from semla_ros import _HOME as PYTHON_NAMES  # noqa: E402
from semla_ros.cli import parser as semla_parser  # noqa: E402
from semla_ros.core.parameter_file import parameter_table  # noqa: E402

ROOT_PAGES = (
    *("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "QUALITY_DECLARATION.md"),
    *("SECURITY.md", "models/demo/MODEL_CARD.md"),
)
PLACES = {
    "README.md": "index.md",
    "config/drive.yaml": "reference/parameters.md",
    "semla_ros/__init__.pyi": "reference/python.md",
    **{name: f"project/{name.lower()}" for name in ROOT_PAGES},
}
"""File of the repository -> its page; what is not here and not in docs/ is copied as it is."""
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
COMMENT = re.compile(r"^<!--.*-->$", re.MULTILINE)
FIELD = re.compile(
    r"(?P<type>[\w/\[\]<=]+) +(?P<name>\w+)(?: *= *(?P<value>[^#]+?))? *(?:# *(?P<doc>.*))?"
)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the root's pages, the references, and copies of the files that pages link to."""
    from mkdocs.structure.files import File

    made = {
        "reference/parameters.md": parameters(),
        "reference/messages.md": messages(),
        "reference/commands.md": commands(),
        "reference/python.md": python(),
    }
    for name in ("README.md", *ROOT_PAGES):
        made[PLACES[name]] = (ROOT / name).read_text(encoding="utf-8")
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    for name in sorted(set(_linked_files(files))):
        files.append(File.generated(config, _place(name)[0], abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the site's places."""
    here = page.file.src_uri

    def moved(found: re.Match[str]) -> str:
        name = _target(here, found[2])
        if name is None:
            return found[0]
        uri, anchor = _place(name)
        to = posixpath.relpath(uri, posixpath.dirname(here) or ".")
        return f"{found[1]}{to}{anchor}{found[3]}"

    return LINK.sub(moved, COMMENT.sub("", markdown))


def _linked_files(files: Files) -> Iterator[str]:
    """Yield the files of the repository that pages link to and that are no pages."""
    for page in files.documentation_pages():
        for found in LINK.finditer(page.content_string):
            name = _target(page.src_uri, found[2])
            if name and (ROOT / name).is_file() and _place(name)[0].startswith("files/"):
                yield name


def _target(page_uri: str, link: str) -> str | None:
    """Return the file of the repository that `link` on a page means, None where there is none."""
    sources = {uri: name for name, uri in PLACES.items()}
    if page_uri.startswith("reference/"):
        return None
    source = sources.get(page_uri, f"docs/{page_uri}")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return name if (ROOT / name).exists() else None


def _place(name: str) -> tuple[str, str]:
    """Return page and anchor of the site for a file of the repository."""
    if name.startswith("docs/"):
        return name.removeprefix("docs/"), ""
    if name.startswith(("msg/", "srv/")):
        return "reference/messages.md", f"#{Path(name).stem.lower()}"
    return PLACES.get(name, f"files/{name}"), ""


def parameters() -> str:
    """Return the page of the node's parameters, from `Config`."""
    return (
        "# Parameters\n\nFrom `semla_ros/core/config.py`, as `semla params` prints them; "
        "[The node](../node.md#parameters) says how to set them.\n\n"
        f"{parameter_table()}\n"
    )


def messages() -> str:
    """Return the page of messages and services, from their files and comments."""
    parts = [
        "# Messages and services\n\nFrom `msg/` and `srv/`. "
        "[The node](../node.md#topics) says who sends what.\n"
    ]
    for path in sorted([*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv")]):
        text = path.read_text(encoding="utf-8")
        comment = re.match(r"(?:#.*\n)*", text)
        said = comment[0].replace("# ", "").replace("#", "") if comment else ""
        parts.append(f"## {path.stem}\n\n`semla_ros/{path.parent.name}/{path.stem}`: {said}")
        for kind, fields in zip(_kinds(path), re.split(r"^---$", text, flags=re.M), strict=True):
            parts.append(_field_table(kind, fields))
    return "\n".join(parts)


def _kinds(path: Path) -> tuple[str, ...]:
    return ("request", "response") if path.suffix == ".srv" else ("field",)


def _field_table(kind: str, text: str) -> str:
    """Return the fields and constants of one part of an interface as a table."""
    rows = [f"| {kind} | type | value | meaning |", "| --- | --- | --- | --- |"]
    for line in text.splitlines():
        found = FIELD.fullmatch(line.strip())
        if found:
            value = f"`{found['value'].strip()}`" if found["value"] else ""
            rows.append(
                f"| `{found['name']}` | {found['type']} | {value} | {found['doc'] or ''} |"
            )
    return "\n".join(rows) + "\n"


def commands() -> str:
    """Return the page of `semla` and everything behind it, from the argument parsers."""
    return "\n".join(["# Commands\n", *_commands(semla_parser(), "semla", level=2)])


def _commands(parser: argparse.ArgumentParser, name: str, *, level: int) -> Iterator[str]:
    """Yield the sections of one command and its verbs."""
    verbs: dict[str, argparse.ArgumentParser] = {}
    rows = ["| argument | meaning |", "| --- | --- |"]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            verbs = dict(action.choices)
        elif action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
            rows.append(
                f"| `{_invocation(action)}` | {(action.help or '').replace('|', '&#124;')} |"
            )
    yield f"{'#' * level} {name}\n\n{_sentence(parser.description)}\n"
    yield f"```text\n{_usage(parser)}\n```\n"
    if len(rows) > 2:
        yield "\n".join(rows) + "\n"
    for verb, each in verbs.items():
        yield from _commands(each, f"{name} {verb}", level=min(level + 1, 3))


def _invocation(action: argparse.Action) -> str:
    """Return how an argument is written."""
    shown = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
    )
    value = shown if isinstance(shown, str) else " ".join(shown)
    if not action.option_strings:
        return value or action.dest
    takes = "" if action.nargs == 0 else f" {value or action.dest.upper()}"
    return ", ".join(action.option_strings) + takes


def _usage(parser: argparse.ArgumentParser) -> str:
    os.environ["COLUMNS"] = "80"
    return parser.format_usage().removeprefix("usage: ").strip()


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def python() -> str:
    """Return the page of the names that `import semla_ros` offers."""
    intro = "# Python\n\nWhat `import semla_ros` offers; [by example](../python.md).\n"
    entry = "::: semla_ros.{home}.{name}\n    options:\n      heading: semla_ros.{name}\n"
    return "\n".join(
        [intro, *(entry.format(home=home, name=name) for name, home in PYTHON_NAMES.items())]
    )
