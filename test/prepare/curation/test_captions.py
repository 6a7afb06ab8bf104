"""The boundary to transformers, which is asked for what BLIP-2's documentation shows."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from semla_ros.cli import main
from semla_ros.core.errors import ConfigError, LibraryError
from semla_ros.prepare.curation.captions import Blip2, sample_images


class Processor:
    @classmethod
    def from_pretrained(cls, model):
        if model == "missing":
            raise OSError("no such model")
        return cls()

    def __call__(self, *, images, return_tensors):
        assert images.dtype == np.uint8
        assert return_tensors == "pt"
        return {"pixel_values": images}

    def batch_decode(self, tokens, *, skip_special_tokens):
        assert skip_special_tokens
        return [f" a picture {tokens} high \n"]


class Model:
    @classmethod
    def from_pretrained(cls, model):
        return cls()

    def generate(self, *, pixel_values, max_new_tokens):
        assert max_new_tokens > 0
        if len(pixel_values) == 13:
            raise RuntimeError("out of memory")
        return len(pixel_values)


@pytest.fixture
def transformers(monkeypatch):
    pytest.importorskip("torch", reason="captions need torch: scripts/setup --dev")
    stub = SimpleNamespace(AutoProcessor=Processor, Blip2ForConditionalGeneration=Model)
    monkeypatch.setitem(sys.modules, "transformers", stub)


def test_a_caption_is_the_models_text(transformers):
    model = Blip2("some/model")
    assert model.caption(np.zeros((20, 30, 3), np.uint8)) == "a picture 20 high"
    assert model.name == "some/model"
    with pytest.raises(LibraryError, match="out of memory"):
        model.caption(np.zeros((13, 30, 3), np.uint8))


def test_missing_weights_say_what_to_give(transformers):
    with pytest.raises(LibraryError, match="--captions-model"):
        Blip2("missing")


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"'\.\[captions\]"):
        Blip2()


def test_the_real_transformers_has_what_is_asked_for():
    real = pytest.importorskip("transformers", reason="needs transformers")
    from semla_ros.prepare.bundler.clip import mend_torchvision

    mend_torchvision()
    assert hasattr(real.AutoProcessor, "from_pretrained")
    assert hasattr(real.Blip2ForConditionalGeneration, "from_pretrained")


def test_samples_are_spread_and_skip_what_cannot_be_read(pictures):
    folder = pictures(21)
    (folder / "001.png").write_bytes(b"torn")
    names = [path.name for path, _ in sample_images(folder, count=5)]
    assert names == ["009.png", "017.png", "004.jpg", "012.jpg"]


def test_on_the_command_line(transformers, tmp_path, pictures, capsys):
    import shutil
    from pathlib import Path

    demo = tmp_path / "demo"
    shutil.copytree(Path(__file__).resolve().parents[3] / "models" / "demo", demo)
    words = ["library", "describe", str(demo), "fog-day", "--captions", "blip2"]
    assert main([*words, "--images", str(pictures(3))]) == 0
    assert "001.png: a picture 20 high" in capsys.readouterr().out
