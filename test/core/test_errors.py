"""Every error that can leave the package is its own, and the drawing shows the whole tree."""

import ast
import builtins
import inspect
from pathlib import Path

import pytest

import semla_ros
from semla_ros.core import errors
from semla_ros.core.errors import MAX_MESSAGE, SemlaError

SOURCES = Path(semla_ros.__file__).parent
INTERNAL = {"RefusedError"}
"""Caught in their own room: prepare/bundler/checkpoint_reader turns it into a TrainingError."""


def drawn():
    """Return error -> the one above it, as drawn."""
    above, found = [], {}
    for line in errors.__doc__.splitlines():
        if not (line.startswith("SemlaError") or "── " in line):
            continue
        name = line.split("── ")[-1].split()[0]
        depth = (len(line) - len(line.lstrip("│ ├└─"))) // 4
        above = [*above[:depth], name]
        found[name] = above[depth - 1] if depth else "Exception"
    return found


def written():
    """Return exception class -> its base, of every module of the package."""
    bases = {}
    for path in SOURCES.rglob("*.py"):
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(each, ast.ClassDef) and each.bases:
                base = each.bases[0]
                bases[each.name] = (
                    base.attr if isinstance(base, ast.Attribute) else ast.unparse(base)
                )
    return {name: base for name, base in bases.items() if is_error(name, bases)}


def is_error(name, bases):
    while name in bases:
        name = bases[name]
    known = getattr(builtins, name, None)
    return isinstance(known, type) and issubclass(known, BaseException)


def test_the_drawing_is_the_whole_tree():
    public = {n: b for n, b in written().items() if not n.startswith("_") and n not in INTERNAL}
    assert public == drawn()


@pytest.mark.parametrize("name", [n for n, c in inspect.getmembers(errors, inspect.isclass)])
def test_every_error_is_ours_and_documented(name):
    error = getattr(errors, name)
    assert issubclass(error, SemlaError)
    assert error.__doc__


def test_a_message_is_one_line_and_ends():
    text = str(SemlaError("one\ntwo\r\n" + "x" * 10 * MAX_MESSAGE))
    assert text.startswith("one two xxx")
    assert len(text) == MAX_MESSAGE + 1
