import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from signing import Minisign

from semla_ros.bundle import MANIFEST
from semla_ros.core import shipped
from semla_ros.core.config import Config
from semla_ros.core.errors import BundleError, ConfigError, EngineError
from semla_ros.core.types import AdapterMix, Frame
from semla_ros.library.seal import SEAL_FILE
from semla_ros.pipeline import assembly, build_pipeline, default_bundle
from semla_ros.pipeline.engines import open_engine
from semla_ros.prepare.adapters.seals import write_seal


@pytest.fixture
def no_bundle(monkeypatch, tmp_path):
    """A package without a demo model, on a machine without a ROS prefix."""
    monkeypatch.delenv("SEMLA_BUNDLE", raising=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    monkeypatch.setattr(shipped.resources, "files", lambda name: tmp_path / name)
    return tmp_path


def put_bundle(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("format: 1\n")
    return folder


def test_the_environment_variable_comes_first(no_bundle, monkeypatch):
    put_bundle(no_bundle / "semla_ros" / "share" / "models" / "demo")
    monkeypatch.setenv("SEMLA_BUNDLE", "/somewhere/mine")
    assert default_bundle() == Path("/somewhere/mine")


def test_then_the_package_then_every_ament_prefix(no_bundle, monkeypatch):
    prefixes = [no_bundle / "one", no_bundle / "two"]
    monkeypatch.setenv("AMENT_PREFIX_PATH", ":".join(map(str, prefixes)))
    installed = put_bundle(prefixes[1] / "share" / "semla_ros" / "models" / "demo")
    assert default_bundle() == installed
    own = put_bundle(no_bundle / "semla_ros" / "share" / "models" / "demo")
    assert default_bundle() == own


def test_without_any_the_message_names_every_place(no_bundle, monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(no_bundle / "ros"))
    with pytest.raises(BundleError, match="SEMLA_BUNDLE") as caught:
        default_bundle()
    assert str(no_bundle / "semla_ros" / "share" / "models" / "demo") in str(caught.value)
    assert str(no_bundle / "ros" / "share" / "semla_ros" / "models" / "demo") in str(caught.value)


def built(tiny, **changes):
    config = replace(Config(), bundle=str(tiny.root), threads=1, **changes)
    return build_pipeline(config)


def drive(count: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    shape = (24, 40, 3)
    return [
        Frame(i * 10**8, "camera", rng.integers(0, 256, shape, dtype=np.uint8))
        for i in range(count)
    ]


def test_a_real_bundle_becomes_a_pipeline_that_adapts_the_same_way_every_time(tiny):
    runs = []
    for _ in range(2):
        with built(tiny, engine="onnx", adaptation="inline", swap_policy="always") as pipeline:
            assert pipeline.engine.facts.name == "onnx"
            assert pipeline.vocabulary.names == tiny.manifest.vocabulary.names
            runs.append([pipeline.step(frame) for frame in drive(6)])
            assert pipeline.health.errors == {}
    for one, other in zip(*runs, strict=True):
        assert one.labels.tobytes() == other.labels.tobytes()
        assert one.confidence.tobytes() == other.confidence.tobytes()
        assert one.mix == other.mix
    assert runs[0][0].mix == AdapterMix.base_only()
    assert runs[0][-1].mix != AdapterMix.base_only()
    assert runs[0][-1].support.observed_ns > 0


def test_in_the_background_it_gets_there_too_and_back_to_the_same_bits(tiny):
    (frame,) = drive(1)
    with built(tiny, swap_policy="never") as pipeline:
        before = pipeline.step(frame)
        for mix in (AdapterMix(("fog", "rain"), (0.5, 0.5)), AdapterMix.base_only()):
            future = pipeline.pin(mix)
            while not future.done():
                pipeline.poll(1)
            assert future.result().committed, future.result().error
            assert pipeline.step(frame).mix == mix
        after = pipeline.step(frame)
    assert after.confidence.tobytes() == before.confidence.tobytes()


def test_an_explicit_engine_and_a_library_elsewhere(tiny, tmp_path):
    config = replace(Config(), bundle=str(tiny.root), engine="fake", adaptation="inline")
    with build_pipeline(config, library=tmp_path) as pipeline:
        assert pipeline.engine.facts.name == "fake"
        assert pipeline.library.names == ()
        assert [pipeline.step(f).mix for f in drive(3)] == [AdapterMix.base_only()] * 3


def test_an_engine_whose_pipeline_cannot_be_made_is_closed(tiny, monkeypatch):
    opened = []

    def recording(config, bundle):
        opened.append(open_engine(config, bundle))
        return opened[0]

    def broken(engine):
        raise EngineError("the first frame fails")

    monkeypatch.setattr(assembly, "open_engine", recording)
    monkeypatch.setattr(assembly, "_warm_up", broken)
    with pytest.raises(EngineError, match="first frame"):
        built(tiny, engine="onnx", adaptation="inline")
    with pytest.raises(EngineError, match="closed"):
        opened[0].infer(np.zeros((4, 4, 3), np.uint8))


def test_trusted_keys_ask_for_signatures_of_bundle_and_adapters(small, tmp_path):
    signer, root = Minisign(), tmp_path / "bundle"
    shutil.copytree(small, root)
    keys = signer.public_file(tmp_path / "fleet.pub")
    config = Config(
        bundle=str(root), trusted_keys=str(keys), engine="fake", adaptation="inline", threads=1
    )
    with pytest.raises(BundleError, match="expected a signature by a trusted key"):
        build_pipeline(config)
    signer.sign(root / MANIFEST)
    write_seal(root / "library" / "fog")
    signer.sign(root / "library" / "fog" / SEAL_FILE)
    with build_pipeline(config) as pipeline:
        assert pipeline.library.names == ("fog",)
        assert set(pipeline.library.problems) == {"night", "rain"}
        write_seal(root / "library" / "rain")
        signer.sign(root / "library" / "rain" / SEAL_FILE)
        reloaded = pipeline.reload_library()
        pipeline.poll(1)
        assert reloaded.result(timeout=60).committed
        assert pipeline.library.names == ("fog", "rain")


def test_without_the_package_that_verifies_nothing_starts(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    keys = Minisign().public_file(tmp_path / "fleet.pub")
    with pytest.raises(ConfigError, match="python3-cryptography"):
        build_pipeline(Config(bundle=str(small), trusted_keys=str(keys), engine="fake"))


@pytest.mark.parametrize("fails", ["_observer", "open_text", "open_engine", "_warm_up"])
def test_a_build_that_fails_leaves_no_thread(small, monkeypatch, fails):
    def fail(*_, **__):
        raise EngineError("cannot be opened")

    monkeypatch.setattr(assembly, fails, fail)
    before = set(threading.enumerate())
    config = Config(bundle=str(small), engine="fake", adaptation="background")
    with pytest.raises(EngineError, match="cannot be opened"):
        build_pipeline(config)
    assert not {t.name for t in set(threading.enumerate()) - before}
