"""Network, parser, configuration and builder."""

from __future__ import annotations

import json
import types

import onnx
from google.protobuf.message import DecodeError

from simulated_gpu.values import Tensor, tensor_of


def add_builder(trt: types.ModuleType) -> None:
    class INetworkDefinition:
        def __init__(self, flags):
            if trt.old:
                assert flags & 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
            self._model, self._marked, self._inputs, self._flags = None, [], [], flags

        @property
        def num_inputs(self):
            return len(self._inputs)

        def get_input(self, index):
            return self._inputs[index]

        def add_normalization(self): ...

        def mark_weights_refittable(self, name):
            known = name in {t.name for t in self._model.graph.initializer}
            self._marked += [name] if known else []
            return known

    class OnnxParser:
        def __init__(self, network, logger):
            assert logger._ready
            self._network, self.num_errors = network, 0

        def parse_from_file(self, model):
            try:
                proto = onnx.load(model)
            except (OSError, DecodeError):
                self.num_errors = 1
                return False
            constants = {t.name for t in proto.graph.initializer}
            both = [i.name for i in proto.graph.input if i.name in constants]
            assert not both, f"inputs that are initializers: {both}"
            if not hasattr(trt.INetworkDefinition, "add_normalization"):
                unknown = [n for n in proto.graph.node if n.op_type == "LayerNormalization"]
                if unknown:
                    self.num_errors = len(unknown)
                    return False
            self._network._model = proto
            self._network._inputs = [tensor_of(trt, v) for v in proto.graph.input]
            return True

        def get_error(self, index):
            return "In node 0 (importModel): INVALID_GRAPH"

    class ITimingCache:
        def __init__(self, content):
            self._content = content

        def serialize(self):
            return self._content or b"measured"

    class IOptimizationProfile:
        def __init__(self):
            self._shapes = {}

        def set_shape(self, input, min, opt, max):
            self._shapes[input] = (min, opt, max)

    class IBuilderConfig:
        builder_optimization_level = 3
        progress_monitor = None

        def __init__(self):
            self._flags = {trt.BuilderFlag.TF32}
            self._profiles, self._limits, self._timing = [], {}, None
            self._sources = (1 << len(trt.TacticSource)) - 1

        def set_flag(self, flag):
            self._flags.add(trt.BuilderFlag(flag))

        def clear_flag(self, flag):
            self._flags.discard(flag)

        def set_memory_pool_limit(self, pool, pool_size):
            self._limits[pool] = pool_size

        def get_tactic_sources(self):
            return self._sources

        def set_tactic_sources(self, tactic_sources):
            self._sources = tactic_sources
            return True

        def create_timing_cache(self, serialized_timing_cache):
            content = bytes(serialized_timing_cache)
            return None if content == b"damaged" else ITimingCache(content)

        def set_timing_cache(self, cache, ignore_mismatch):
            assert not ignore_mismatch
            self._timing = cache
            return cache._content != b"another GPU"

        def add_optimization_profile(self, profile):
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def set_preview_feature(self, feature, enable):
            assert feature in trt.PreviewFeature

    class IHostMemory(bytearray):
        @property
        def nbytes(self):
            return len(self)

    class Builder:
        def __init__(self, logger):
            assert logger._ready

        def create_network(self, flags=0):
            return trt.INetworkDefinition(flags)

        def create_builder_config(self):
            return trt.IBuilderConfig()

        def create_optimization_profile(self):
            return IOptimizationProfile()

        def build_serialized_network(self, network, config):
            monitor = getattr(config, "progress_monitor", None)
            if monitor is not None:
                assert monitor._ready
                monitor.phase_start("tactics", None, 2)
                assert monitor.step_complete("tactics", 0)
                monitor.phase_finish("tactics")
            trt.built.append((network, config))
            return IHostMemory(_plan(trt, network, config))

    trt.INetworkDefinition, trt.OnnxParser, trt.Builder = INetworkDefinition, OnnxParser, Builder
    trt.IBuilderConfig, trt.ITimingCache = IBuilderConfig, ITimingCache
    trt.IOptimizationProfile = IOptimizationProfile
    trt.ITensor = Tensor


def _plan(trt, network, config) -> bytes:
    flags = {f.name for f in config._flags}
    assert not {"REFIT", "REFIT_INDIVIDUAL"} <= flags
    constants = [t.name for t in network._model.graph.initializer if t.data_type in (1, 10)]
    marked = network._marked if "REFIT_INDIVIDUAL" in flags else constants
    dynamic = [t.name for t in network._inputs if -1 in t.shape]
    if dynamic and not config._profiles:
        raise ValueError(f"inputs {dynamic} need an optimization profile")
    header = {
        "version": trt.__version__,
        "refit": marked if {"REFIT", "REFIT_INDIVIDUAL"} & flags else [],
        "inputs": {t.name: (t.dtype.name, list(t.shape)) for t in network._inputs},
        "profiles": [p._shapes for p in config._profiles],
    }
    return json.dumps(header).encode() + b"\0" + network._model.SerializeToString()
