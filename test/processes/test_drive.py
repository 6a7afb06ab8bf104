"""The command line and environment the node is started with."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import yaml

from semla_ros.core.errors import ConfigError, EngineUnavailableError
from semla_ros.processes.drive import (
    DDS_PROFILE,
    DriveRequest,
    dds_profile,
    node_command,
    node_environment,
    run_node,
)


def test_command():
    request = DriveRequest(
        changes={"bundle": "it's here", "top_k": 3, "swap_trigger": 0.25},
        image="/camera/image_raw",
        params_file=Path("drive.yaml"),
        namespace="front",
        remap={"~/mask": "/mask"},
    )
    command = node_command(request)
    assert command[:4] == [sys.executable, "-m", "semla_ros.nodes.segmenter_node", "--ros-args"]
    assert command[4:6] == ["--params-file", "drive.yaml"]
    assert "image:=/camera/image_raw" in command
    assert "__ns:=/front" in command
    assert "~/mask:=/mask" in command
    given = dict(word.split(":=") for word in command if ":=" in word)
    assert yaml.safe_load(given["bundle"]) == "it's here"
    assert yaml.safe_load(given["top_k"]) == 3
    assert yaml.safe_load(given["swap_trigger"]) == 0.25


def test_parameters_are_checked_before_the_node_starts():
    with pytest.raises(ConfigError, match="did you mean 'top_k'"):
        run_node(DriveRequest(changes={"topk": 3}))


def test_what_only_the_node_has_may_be_given_too():
    request = DriveRequest(changes={"use_sim_time": True, "top_k": 3})
    assert "use_sim_time:=true" in node_command(request)
    with pytest.raises(ConfigError, match="'use_sim_time': expected bool, got 'maybe'"):
        node_command(DriveRequest(changes={"use_sim_time": "maybe"}))


def test_the_dds_profile_is_set_unless_there_is_one(monkeypatch):
    monkeypatch.delenv(DDS_PROFILE, raising=False)
    assert node_environment()[DDS_PROFILE] == str(dds_profile())
    monkeypatch.setenv(DDS_PROFILE, "mine.xml")
    assert node_environment()[DDS_PROFILE] == "mine.xml"


@pytest.mark.parametrize(
    ("missing", "remedy"), [("rclpy", "source a ROS 2"), ("semla_ros.msg", "colcon build")]
)
def test_what_is_missing_is_said(monkeypatch, missing, remedy):
    real = importlib.util.find_spec
    found = real("json")

    def find(name, package=None):
        return None if name == missing else found

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(EngineUnavailableError, match=remedy):
        run_node(DriveRequest())


def test_a_parameter_file_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("the node was started"))
    with pytest.raises(ConfigError, match="which is no file: correct --params-file") as caught:
        run_node(DriveRequest(params_file=tmp_path / "missing.yaml"))
    assert str(tmp_path / "missing.yaml") in str(caught.value)
