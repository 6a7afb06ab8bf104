"""What SECURITY.md, the lists of licences and config/security say is there and true."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from semla_ros.core.config import Config, updated

ROOT = Path(__file__).resolve().parents[1]
SECURITY = ROOT / "config" / "security"
PAGES = ("SECURITY.md", "docs/security.md", "docs/licences.md")
ROWS = re.compile(r"^\| (?P<name>[\w.-]+) \| (?P<version>[\w.]+) \| (?P<licence>.+) \|$", re.M)


def libraries():
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    return {m["name"].lower(): (m["version"], m["licence"]) for m in ROWS.finditer(text)}


def test_the_list_of_licences_has_the_versions_that_are_installed():
    listed = libraries()
    for line in (ROOT / "requirements" / "core.txt").read_text(encoding="utf-8").splitlines():
        requirement, _, marker = line.partition(";")
        if not requirement or requirement.startswith("#") or "<" in marker:
            continue
        name, version = requirement.strip().split("==")
        assert listed[name.lower()][0] == version, f"{line}: run scripts/sbom"


def test_no_library_is_under_the_gpl():
    found = libraries()
    assert len(found) > 20
    assert not {name: row for name, row in found.items() if "GPL" in row[1]}


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = {(ROOT / page).parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)}
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.py|(?:[\w-]+/)+)`", text))
    paths = {
        ROOT / n if n.startswith(("test/", "config/")) else ROOT / "semla_ros" / n for n in named
    }
    missing = [str(path) for path in links | paths if not path.exists()]
    assert links
    assert not missing


def test_the_locked_down_parameters_are_the_nodes():
    given = yaml.safe_load((SECURITY / "params.yaml").read_text())["/**"]["ros__parameters"]
    assert updated(Config(), given).trusted_keys


def test_launch_and_policy_mean_the_same_enclave_and_camera():
    launch = (ROOT / "launch" / "secure.launch.py").read_text()
    drive = (ROOT / "launch" / "drive.launch.py").read_text()
    (enclave,) = re.findall(r'\("enclave", "([^"]+)"', launch)
    (camera,) = re.findall(r'\("image", "(/[^"]+)"', launch)
    (found,) = (
        each
        for each in ElementTree.parse(SECURITY / "policy.xml").iter("enclave")
        if each.get("path") == enclave
    )
    assert camera in [topic.text for topic in found.iter("topic")]
    (passed,) = re.findall(r"^PASSED = \((.+)\)$", launch, re.M)
    for name in re.findall(r'"(\w+)"', passed):
        assert re.search(rf'^    \("{name}", ', drive, re.M), f"drive.launch.py lacks {name}"
