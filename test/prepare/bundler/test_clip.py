"""open_clip, where it is and where it is not."""

import sys

import pytest

pytest.importorskip("torch")

from semla_ros.core.errors import ConfigError
from semla_ros.prepare.bundler.clip import import_open_clip


def test_it_loads_beside_a_torchvision_of_another_torch():
    assert hasattr(import_open_clip(), "create_model")


def test_without_it_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ConfigError, match=r"open_clip.*'\.\[train\]"):
        import_open_clip()
