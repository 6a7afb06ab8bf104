"""What the builder is told, on the names that each version has."""

import logging

import pytest
from simulated_gpu.machine import simulate
from simulated_gpu.tensorrt import VERSIONS

from semla_ros.engine.tensorrt.assembly import order_of
from semla_ros.engine.tensorrt.options import BuildOptions, ClassRange
from semla_ros.engine.tensorrt.plan_cache import PlanCache
from semla_ros.engine.tensorrt.plans import build_plan
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.errors import EngineError

OLD, MIDDLE, RECENT, NEW = VERSIONS
FOUR = ClassRange.exactly(4)


@pytest.fixture
def built(monkeypatch, hand_made, tmp_path):
    def make(version, progress=None, classes=FOUR, **options):
        simulation = simulate(version, monkeypatch, tmp_path)
        order = order_of(hand_made.bundle, BuildOptions(classes, **options), threads=1)
        cache = PlanCache(tmp_path / version)
        plan = build_plan(order, Toolkit.open(), cache, progress=progress)
        ((network, config),) = simulation.trt.built
        return network, config, plan, simulation.trt

    return make


def flags(config):
    return {flag.name for flag in config._flags}


@pytest.mark.parametrize("version", VERSIONS)
def test_refit_marks_exactly_our_names_where_it_can(built, version):
    network, config, plan, _ = built(version)
    if version == OLD:
        assert "REFIT" in flags(config)
        assert not network._marked
    else:
        assert "REFIT_INDIVIDUAL" in flags(config)
        assert "REFIT" not in flags(config)
        assert network._marked == ["fc1", "fc2"]
    assert plan.plan.record.refit == ("fc1", "fc2")


@pytest.mark.parametrize("version", VERSIONS)
def test_precision_and_typing_follow_what_there_is(built, version):
    network, config, _, trt = built(version)
    halves = {t.name for t in network._model.graph.initializer if t.data_type == 10}
    if version == NEW:
        assert halves == {"fc1", "fc2"}
        assert "FP16" not in flags(config)
    else:
        assert not halves
        assert "FP16" in flags(config)
    assert "TF32" not in flags(config)
    strong = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    assert strong is None or version == NEW or not network._flags & 1 << int(strong)


def test_strong_typing_on_a_version_that_has_both(built):
    network, config, _, trt = built(RECENT, typing="strong")
    assert network._flags & 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert "FP16" not in flags(config)
    assert {t.name for t in network._model.graph.initializer if t.data_type == 10} == {
        "fc1",
        "fc2",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_fp32_has_no_half_anywhere(built, version):
    network, config, _, _ = built(version, precision="fp32")
    assert "FP16" not in flags(config)
    assert not [t.name for t in network._model.graph.initializer if t.data_type == 10]


def test_external_tactics_are_off_and_limits_are_set(built):
    _, config, _, trt = built(RECENT, workspace_mib=64)
    on = {source.name for source in trt.TacticSource if config._sources & 1 << int(source)}
    assert on == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}
    assert config._limits == {trt.MemoryPoolType.WORKSPACE: 64 * 2**20}
    assert config.builder_optimization_level == 3


def test_weights_that_are_inputs_are_fed_in_half_under_weak_typing(built):
    network, config, _, trt = built(RECENT, mode="inputs")
    kinds = {network.get_input(i).name: network.get_input(i) for i in range(network.num_inputs)}
    assert {kinds[n].dtype for n in ("fc1", "fc2")} == {trt.DataType.HALF}
    assert kinds["fc1"].allowed_formats == 1 << int(trt.TensorFormat.LINEAR)
    assert kinds["image"].dtype == trt.DataType.FLOAT
    assert not {"REFIT", "REFIT_INDIVIDUAL"} & flags(config)


def test_one_profile_for_several_class_counts_and_none_for_one(built):
    _, config, _, _ = built(RECENT)
    assert not config._profiles
    _, config, _, _ = built(MIDDLE, classes=ClassRange(1, 4, 9))
    (profile,) = config._profiles
    assert profile._shapes == {"text_features": ((1, 32), (4, 32), (9, 32))}


def test_a_weight_that_cannot_be_marked_is_an_error(built, monkeypatch):
    import simulated_gpu.build as build

    real = build.add_builder

    def forgetful(trt):
        real(trt)
        trt.INetworkDefinition.mark_weights_refittable = lambda self, name: name != "fc2"

    monkeypatch.setattr("simulated_gpu.tensorrt.add_builder", forgetful)
    with pytest.raises(EngineError, match=r"no refittable weights \['fc2'\] \(1 of 2\)"):
        built(RECENT)


@pytest.mark.parametrize("version", [OLD, RECENT])
def test_progress_is_told_where_the_builder_tells(built, version):
    told = []
    built(version, progress=lambda *step: told.append(step) or True)
    assert told[0] == ("reference run", 0, 1)
    expected = [] if version == OLD else [("tactics", 0, 2), ("tactics", 1, 2), ("tactics", 2, 2)]
    assert told[1:] == expected


@pytest.mark.parametrize("old", [b"", b"fits", b"damaged", b"another GPU"])
def test_a_timing_cache_that_does_not_fit_is_begun_anew(monkeypatch, hand_made, tmp_path, old):
    simulation = simulate(RECENT, monkeypatch, tmp_path)
    cache = PlanCache(tmp_path)
    cache.store_timing(old)
    order = order_of(hand_made.bundle, BuildOptions(ClassRange.exactly(4)), threads=1)
    build_plan(order, Toolkit.open(), cache)
    ((_, config),) = simulation.trt.built
    assert config._timing._content == (old if old == b"fits" else b"")
    assert cache.timing() == (old if old == b"fits" else b"measured")


def test_messages_of_tensorrt_reach_the_log(monkeypatch, caplog, tmp_path):
    simulate(RECENT, monkeypatch, tmp_path)
    logger = Toolkit.open().logger
    with caplog.at_level(logging.DEBUG):
        for level in ("VERBOSE", "INFO", "WARNING", "INTERNAL_ERROR"):
            text = f"a message of {level}"
            logger.log(logger.Severity[level], text)
    said = [(r.levelname, r.message) for r in caplog.records if "a message" in r.message]
    assert said == [
        ("DEBUG", "TensorRT: a message of INFO"),
        ("WARNING", "TensorRT: a message of WARNING"),
        ("ERROR", "TensorRT: a message of INTERNAL_ERROR"),
    ]
