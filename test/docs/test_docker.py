"""Container files: what they copy, start and name is there. No image is built here."""

import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

from semla_ros.cli import parser

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile*"))
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
LAUNCH = re.compile(r"ros2 launch semla_ros (\S+)((?: \w+:=\S+)*)")


def instructions(path):
    """Return the (word, rest) of a Dockerfile, continuation lines joined."""
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [tuple(line.split(" ", 1)) for line in lines]


def check_launch(text):
    """Check that every launch file and launch argument in `text` exists."""
    for file, arguments in LAUNCH.findall(text):
        declared = (ROOT / "launch" / file).read_text(encoding="utf-8")
        for name in re.findall(r"(\w+):=", arguments):
            assert f'("{name}", ' in declared, f"{file} has no argument {name}"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_is_there_and_not_ignored(path):
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [rest.split()[0] for word, rest in instructions(path) if word == "COPY"]
    assert {"package.xml", "requirements/robot.txt", "."} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert name.split("/")[0] not in ignored


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_started_is_there(path):
    found = dict(instructions(path))
    (entry,) = yaml.safe_load(found["ENTRYPOINT"])
    copies = [rest.split() for word, rest in instructions(path) if word == "COPY"]
    (source,) = [source for source, to in copies if to == f"/usr/local/bin/{entry}"]
    assert os.access(ROOT / source, os.X_OK)
    command = " ".join(yaml.safe_load(found["CMD"]))
    assert LAUNCH.match(command)
    check_launch(command)


def test_the_distributions_are_those_that_ci_builds():
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    distributions = re.search(r"distro: \[(.*)\]", ci)[1].split(", ")
    arguments, bases = dict(instructions(DOCKERFILES[0])), COMPOSE["x-image"]["build"]["args"]
    assert arguments["ARG"].removeprefix("ROS_DISTRO=") in distributions
    assert bases["ROS_DISTRO"] == f"${{ROS_DISTRO:-{arguments['ARG'].partition('=')[2]}}}"
    assert "container: ros:${{ matrix.distro }}-ros-base" in ci
    assert arguments["FROM"] == "ros:${ROS_DISTRO}-ros-base"


def test_compose_names_files_and_commands_that_exist():
    for service in COMPOSE["services"].values():
        build = service["build"]
        assert (ROOT / "docker" / build["context"] / build["dockerfile"]).is_file()
        command = service["command"]
        if command.startswith("semla "):
            parser().parse_args(shlex.split(command)[1:])
        else:
            assert LAUNCH.match(command)
            check_launch(command)


def test_the_page_names_files_and_arguments_that_exist():
    page = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8").replace("\\\n    ", "")
    for name in re.findall(r"docker/[\w.]+", page):
        assert (ROOT / name).is_file()
    assert LAUNCH.search(page)
    check_launch(page)
