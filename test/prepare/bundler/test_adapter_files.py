"""Named folders and pickles become the layout that a library reads."""

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from prepare.bundler import upstream  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from semla_ros.core.errors import AdapterError  # noqa: E402
from semla_ros.library.adapter_config import PICKLE_FILE  # noqa: E402
from semla_ros.library.captions import read_captions  # noqa: E402
from semla_ros.library.seal import TENSOR_FILE  # noqa: E402
from semla_ros.library.statistics import read_statistics, statistics_path  # noqa: E402
from semla_ros.library.storage import read_adapter  # noqa: E402
from semla_ros.prepare.adapters.captioning import write_captions  # noqa: E402
from semla_ros.prepare.bundler.adapter_files import holds_adapter, plain_folder  # noqa: E402


@pytest.fixture
def domain(tmp_path):
    tensors = upstream.adapter_tensors(upstream.CONFIG, seed=1)
    return upstream.write_domain(tmp_path / "loradb" / "fog", tensors)


def assert_equal(one, other):
    assert one.layers.keys() == other.layers.keys()
    for name, layer in one.layers.items():
        np.testing.assert_array_equal(layer.lora_a, other.layers[name].lora_a)
        np.testing.assert_array_equal(layer.lora_b, other.layers[name].lora_b)


def test_the_plain_layout_is_left_where_it_is(domain, tmp_path):
    assert holds_adapter(domain)
    assert plain_folder(domain, tmp_path / "scratch") == domain


def test_a_pickle_of_tensors_is_converted(domain, tmp_path):
    plain = read_adapter(domain)
    torch.save(load_file(domain / TENSOR_FILE), domain / PICKLE_FILE)
    (domain / TENSOR_FILE).unlink()
    assert holds_adapter(domain)
    made = plain_folder(domain, tmp_path / "scratch")
    assert made.name == "fog"
    assert_equal(plain, read_adapter(made))
    assert read_statistics(made, "fog").centroid.size


def test_a_pickle_that_would_run_code_is_refused(domain, tmp_path):
    (domain / TENSOR_FILE).unlink()
    torch.save({"x": tmp_path}, domain / PICKLE_FILE)  # a PosixPath is rebuilt by a call
    with pytest.raises(AdapterError, match="cannot be converted"):
        plain_folder(domain, tmp_path / "scratch")


@pytest.mark.parametrize("beside", ["domain", "adapter"])
def test_an_adapter_in_a_named_folder_is_taken_from_there(domain, tmp_path, beside):
    plain = read_adapter(domain)
    write_captions(domain, ("a street in fog",))
    inner = domain / "default"
    inner.mkdir()
    for file in list(domain.iterdir()):
        if file.is_file() and (beside == "adapter" or "statistics" not in file.name):
            shutil.move(file, inner / file.name.replace("fog_", "default_"))
    assert holds_adapter(domain)
    made = plain_folder(domain, tmp_path / "scratch")
    assert_equal(plain, read_adapter(made))
    assert statistics_path(made, "fog").is_file()
    assert read_captions(made) == ("a street in fog",)


def test_several_named_folders_are_told(domain, tmp_path):
    for name in ("day", "night"):
        shutil.copytree(domain, tmp_path / "both" / name)
    with pytest.raises(AdapterError, match="several adapters"):
        plain_folder(tmp_path / "both", tmp_path / "scratch")
