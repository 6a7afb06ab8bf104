"""The site: references hold what the code has, links keep their targets, commands exist."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

import semla_ros
from semla_ros.cli import VERBS, parser
from semla_ros.core.config import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
DECLARED = re.compile(r"^[\w/]+(?:\[\])? +(\w+)", re.M)


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_every_parameter_is_in_the_reference(hooks):
    rows = re.findall(r"^\| `(\w+)` \|", hooks.parameters(), re.M)
    assert rows == list(PARAMETERS)


def test_every_field_of_every_interface_is_in_the_reference(hooks):
    sections = hooks.messages().split("\n## ")[1:]
    found = {each.split("\n")[0]: re.findall(r"^\| `(\w+)` \|", each, re.M) for each in sections}
    paths = [*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv")]
    assert found == {p.stem: DECLARED.findall(p.read_text(encoding="utf-8")) for p in paths}
    assert "| `PINNED` | uint8 | `1` |" in hooks.messages()


def test_every_command_and_option_is_in_the_reference(hooks):
    page = hooks.commands()
    for words in (*VERBS, "library embed", "bench node", "engine build"):
        assert f"\n### semla {words}\n" in page
    embed = page.partition("### semla library embed\n")[2].partition("\n###")[0]
    assert "| `--every N` | take every Nth image; default: 1 |" in embed
    assert "| `SOURCE` |" in embed


def test_every_public_name_is_in_the_reference(hooks):
    assert re.findall(r"heading: semla_ros\.(\w+)", hooks.python()) == semla_ros.__all__


@pytest.mark.parametrize(
    ("page", "link", "goes_to"),
    [
        ("index.md", "docs/node.md#topics", "node.md#topics"),
        ("index.md", "models/demo/MODEL_CARD.md", "project/models/demo/model_card.md"),
        ("security.md", "../SECURITY.md", "project/security.md"),
        ("project/security.md", "docs/security.md", "../security.md"),
        ("project/models/demo/model_card.md", "../../README.md", "../../../index.md"),
        ("node.md", "../msg/MixState.msg", "reference/messages.md#mixstate"),
        ("node.md", "../config/security/policy.xml", "files/config/security/policy.xml"),
        ("node.md", "../no/such/file.md", "../no/such/file.md"),
        ("node.md", "https://arxiv.org/abs/2503.21780", "https://arxiv.org/abs/2503.21780"),
    ],
)
def test_links_keep_their_targets(hooks, page, link, goes_to):
    on = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    text = hooks.on_page_markdown(f"see [this]({link}).", page=on, config=None, files=None)
    assert text == f"see [this]({goes_to})."


FOLDERS = ("config", "docker", "docs", "launch", "models", "requirements", "scripts", "test")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"[`\s(]((?:{'|'.join(FOLDERS)})/[\w./*-]*[\w*])", text)
    missing = {name for name in named if not list(ROOT.glob(name))}
    modules = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    known = {str(path) for root in ("semla_ros", "test") for path in ROOT.glob(f"{root}/**/*.py")}
    missing |= {name for name in modules if not any(path.endswith(f"/{name}") for path in known)}
    assert missing <= {"docs/performance_gpu.json"}  # written by scripts/gpu_check


def commands(text):
    """Return the `semla` commands in the code blocks of a page, without what stands for others."""
    blocks = re.findall(r"^```\w*\n(?:.*\n)*?```|^(?:    .*\n)+", text, re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [re.match(r"\s*(?:\$ )?semla (.*?)(?:&&.*|#.*|> .*)?$", line) for line in lines]
    return [each[1] for each in found if each and not re.search(r"…|\[--", each[1])]


def test_commands_are_found_in_both_kinds_of_blocks():
    page = (
        "```sh\n$ semla params  # all\n```\n\n    semla replay a \\\n      --out b\n\nsemla no\n"
    )
    assert [each.split() for each in commands(page)] == [["params"], ["replay", "a", "--out", "b"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_pages_exist(page):
    for words in commands(page.read_text(encoding="utf-8")):
        try:
            parser().parse_args(shlex.split(words))
        except SystemExit:
            pytest.fail(f"semla refuses `semla {words}`")
