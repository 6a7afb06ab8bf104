"""Tensors come out of every kind of checkpoint file; code never does."""

import collections
import contextlib
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from safetensors.torch import save_file  # noqa: E402

from semla_ros.core.errors import TrainingError  # noqa: E402
from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint  # noqa: E402

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


def detectron2(path):
    extra = {"counter": collections.Counter([1, 1]), "lr": np.float64(0.1), "at": np.ones(3)}
    torch.save({"model": STATE, "scheduler": extra, "iteration": 5}, path)


WRITERS = {
    "bare": lambda path: torch.save(STATE, path),
    "detectron2": detectron2,
    "lightning": lambda path: torch.save({"state_dict": STATE}, path),
    "parallel": lambda path: torch.save({f"module.{k}": v for k, v in STATE.items()}, path),
    "old format": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: save_file(STATE, path),
    "numpy": lambda path: torch.save({k: v.numpy() for k, v in STATE.items()}, path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_tensors_come_out(kind, tmp_path):
    path = tmp_path / "checkpoint"
    WRITERS[kind](path)
    read = read_checkpoint(path)
    assert read.keys() == STATE.keys()
    for key, tensor in STATE.items():
        assert read[key].dtype == tensor.dtype
        assert torch.equal(read[key], tensor)


def test_a_torchscript_archive_is_refused(tmp_path):
    path = tmp_path / "scripted.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(TrainingError, match="TorchScript archive, which holds code"):
        read_checkpoint(path)


def test_a_sparse_tensor_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"a": torch.ones(3), "s": torch.eye(3).to_sparse()}, tmp_path / "s.pth")
        with pytest.raises(TrainingError, match="dense real tensor"):
            read_checkpoint(tmp_path / "s.pth")


@pytest.mark.parametrize("kind", ["detectron2", "old format", "safetensors", "numpy"])
def test_half_a_download_is_refused_wherever_it_stopped(kind, tmp_path):
    whole = tmp_path / "whole"
    WRITERS[kind](whole)
    content = whole.read_bytes()
    size = len(content)
    stops = {0, 1, 3, 8, 15, 16, 17, 64, size - 1, size - 2, size - 22, size - 23, size - 64}
    stops |= {size * part // 23 for part in range(1, 23)}
    part = tmp_path / "part"
    for stop in sorted(stops):
        part.write_bytes(content[:stop])
        with pytest.raises(TrainingError) as error:
            read_checkpoint(part)
        assert "\n" not in str(error.value), stop
        assert "download it again" in str(error.value), stop


@pytest.mark.parametrize("kind", ["detectron2", "old format", "safetensors"])
def test_a_damaged_header_is_refused_or_harmless(kind, tmp_path):
    whole = tmp_path / "whole"
    WRITERS[kind](whole)
    rng = np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(whole.read_bytes())
        for at in rng.integers(0, min(len(content), 600), 4):
            content[at] = rng.integers(0, 256)
        whole.with_name("bad").write_bytes(content)
        with contextlib.suppress(TrainingError):
            read_checkpoint(whole.with_name("bad"))


@pytest.mark.parametrize(
    "value", [{5: torch.ones(2)}, {"a": torch.ones(2, device="meta")}, {"a": "text"}, [1], "text"]
)
def test_what_is_no_state_dict_of_values_is_refused(value, tmp_path):
    torch.save(value, tmp_path / "odd.pth")
    with pytest.raises(TrainingError, match=r"odd\.pth"):
        read_checkpoint(tmp_path / "odd.pth")
