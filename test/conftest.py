"""Settings for every test: the same examples in every run, however slow the machine."""

import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from semla_ros.bundle import ModelBundle

# Small arrays gain nothing from more threads, and threads that wait for each other on a busy
# machine turn seconds into minutes. Engines are told their number of threads anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("steady")


TORCH_ROOMS = ("network", "training")


class WithoutTorch(pytest.Module):
    """Stands for a test module of a room that is written in torch, where there is none."""

    def collect(self):
        raise pytest.skip.Exception("needs torch: scripts/setup --dev", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector):
    if module_path.parent.name in TORCH_ROOMS and importlib.util.find_spec("torch") is None:
        return WithoutTorch.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what engines remember between starts out of the user's folder; children inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Return a tiny real bundle, made once for all tests; treat it as read-only."""
    for module in ("torch", "onnx"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module} to make the tiny bundle: pip install -e .[dev]")
    from fakes import tiny_bundle

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporters deprecate each other
        return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a whole bundle that needs no torch, made once; copy to change it."""
    pytest.importorskip(
        "onnx", reason="needs onnx to make the small bundle: pip install -e .[dev]"
    )
    from small_bundle import small_bundle

    return small_bundle(tmp_path_factory.mktemp("small") / "bundle")
