from pathlib import Path

import pytest

import semla_ros
from semla_ros.bundle import MANIFEST
from semla_ros.errors import BundleError
from semla_ros.pipeline import default_bundle


@pytest.fixture
def no_bundle(monkeypatch, tmp_path):
    """A package without a demo model, on a machine without a ROS prefix."""
    monkeypatch.delenv("SEMLA_BUNDLE", raising=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    monkeypatch.setattr(semla_ros, "__path__", [str(tmp_path / "source" / "semla_ros")])
    return tmp_path


def put_bundle(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("format: 1\n")
    return folder


def test_the_environment_variable_comes_first(no_bundle, monkeypatch):
    put_bundle(no_bundle / "source" / "models" / "demo")
    monkeypatch.setenv("SEMLA_BUNDLE", "/somewhere/mine")
    assert default_bundle() == Path("/somewhere/mine")


def test_then_the_source_tree_then_every_ament_prefix(no_bundle, monkeypatch):
    prefixes = [no_bundle / "one", no_bundle / "two"]
    monkeypatch.setenv("AMENT_PREFIX_PATH", ":".join(map(str, prefixes)))
    installed = put_bundle(prefixes[1] / "share" / "semla_ros" / "models" / "demo")
    assert default_bundle() == installed
    source = put_bundle(no_bundle / "source" / "models" / "demo")
    assert default_bundle() == source


def test_without_any_the_message_names_every_place(no_bundle, monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(no_bundle / "ros"))
    with pytest.raises(BundleError, match="SEMLA_BUNDLE") as caught:
        default_bundle()
    assert str(no_bundle / "source" / "models" / "demo") in str(caught.value)
    assert str(no_bundle / "ros" / "share" / "semla_ros" / "models" / "demo") in str(caught.value)
