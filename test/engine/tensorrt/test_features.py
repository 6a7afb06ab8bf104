"""Features by looking, against the names of the real bindings of four versions."""

import importlib.util
import types

import pytest
from simulated_gpu.tensorrt import VERSIONS, fake_tensorrt, names_of

from semla_ros.engine.tensorrt.features import Features, features_of
from semla_ros.engine.tensorrt.options import BuildOptions, ClassRange
from semla_ros.errors import ConfigError, EngineUnavailableError

OLD, MIDDLE, RECENT, NEW = VERSIONS

EXPECTED = {
    OLD: {"explicit_batch", "fp16_flag", "named_tensors"},
    MIDDLE: {
        "named_tensors",
        "explicit_batch",
        "fp16_flag",
        "strong_typing",
        "individual_refit",
        "prototypes",
        "device_weights",
        "async_refit",
        "lasting_contexts",
        "unlocked_refit",
        "weights_validation",
        "optimization_level",
        "layer_normalization",
        "progress",
    },
}
EXPECTED[RECENT] = EXPECTED[MIDDLE]
EXPECTED[NEW] = EXPECTED[MIDDLE] - {"explicit_batch", "fp16_flag"}


def yes(features: Features) -> set[str]:
    return {line.split(":")[0] for line in features.lines() if line.endswith(": yes")}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_has_what_its_bindings_have(version):
    features = features_of(fake_tensorrt(version))
    assert yes(features) == EXPECTED[version]
    external = ("CUBLAS", "CUBLAS_LT", "CUDNN")
    assert features.external_tactics == (() if version == NEW else external)


def test_version_8_6_shares_profiles_on_request_only():
    trt = fake_tensorrt(OLD)
    trt.PreviewFeature = types.SimpleNamespace(PROFILE_SHARING_0806=0)
    trt.IBuilderConfig.builder_optimization_level = 3
    features = features_of(trt)
    assert features.profile_sharing
    assert features.optimization_level
    assert not features_of(fake_tensorrt(RECENT)).profile_sharing


def test_the_version_number_decides_nothing():
    trt = fake_tensorrt(RECENT)
    trt.__version__ = "8.5.3.1"
    assert yes(features_of(trt)) == EXPECTED[RECENT]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is None, reason="needs the Python package tensorrt"
)
def test_the_installed_bindings_have_the_names_that_are_used():
    import tensorrt

    features = features_of(tensorrt)
    assert features.named_tensors
    for name in names_of("Refitter", OLD):
        assert hasattr(tensorrt.Refitter, name) or "dynamic_range" in name


OPTIONS = BuildOptions(ClassRange.exactly(4))


def test_typing_follows_the_flag_unless_it_is_said():
    old, recent, new = (features_of(fake_tensorrt(v)) for v in (OLD, RECENT, NEW))
    assert [OPTIONS.strong(f) for f in (old, recent, new)] == [False, False, True]
    strong = BuildOptions(ClassRange.exactly(4), typing="strong")
    assert strong.casts(recent)
    assert not BuildOptions(ClassRange.exactly(4), typing="strong", precision="fp32").casts(recent)
    with pytest.raises(EngineUnavailableError, match="TensorRT 9"):
        strong.strong(old)
    with pytest.raises(EngineUnavailableError, match="types strongly only"):
        BuildOptions(ClassRange.exactly(4), typing="weak").strong(new)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "swap"},
        {"precision": "int8"},
        {"typing": "loose"},
        {"level": 5},
        {"workspace_mib": 0},
    ],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        BuildOptions(ClassRange.exactly(4), **wrong)


@pytest.mark.parametrize(("text", "shown"), [("19", "19"), ("1:19:64", "1:19:64"), ("5:5:5", "5")])
def test_class_ranges_are_read_and_written(text, shown):
    assert ClassRange.parse(text).text == shown


@pytest.mark.parametrize("text", ["", "0", "3:2:1", "1:2", "a", "-4", "1:2:3:4"])
def test_impossible_class_ranges_are_refused(text):
    with pytest.raises(ConfigError, match="classes"):
        ClassRange.parse(text)
