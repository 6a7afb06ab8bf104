"""What a robot loads that drives on the CPU: what it needs, and nothing of the house besides."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

DRIVE = """
import json, sys
import numpy as np
import semla_ros.nodes.segmenter_node
from semla_ros.core.config import Config
from semla_ros.core.types import Frame
from semla_ros.pipeline import build_pipeline

with build_pipeline(Config(engine="onnx", adaptation="inline")) as pipeline:
    for number in range(1, 4):
        rgb = np.full((48, 64, 3), 60 * number, np.uint8)
        pipeline.step(Frame(number * 10**9, "camera", rgb))
print(json.dumps(sorted(sys.modules)))
"""

ROOMS = ("bench", "cli", "data", "demo", "evaluation", "network", "prepare", "processes")
ON_DEMAND = (
    "core.files.compressed_image",  # image_transport: compressed
    "core.files.image_headers",
    "core.files.signature",  # trusted_keys
    "core.viz.overlay",  # somebody looks
    "core.viz.status",
    "engine.tensorrt",  # engine: tensorrt
    "nodes.nav2_guard",
    "nodes.views",
)
OTHERS = (
    *("cryptography", "jinja2", "matplotlib", "onnx", "pandas", "psutil", "ray", "rosbags"),
    *("scipy", "sklearn", "tensorrt", "torch", "tqdm"),
)


@pytest.fixture(scope="module")
def loaded():
    words = [sys.executable, "-c", DRIVE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_rooms_that_serve_no_robot_stay_unloaded(loaded):
    assert "semla_ros.pipeline.adaptive" in loaded
    assert not loaded.intersection(f"semla_ros.{room}" for room in ROOMS)


def test_what_is_asked_for_by_a_parameter_is_loaded_then(loaded):
    modules = [f"semla_ros.{module}" for module in ON_DEMAND]
    assert all(map(find_spec, modules)), "they are called so"
    assert not loaded.intersection(modules)


def test_libraries_that_serve_no_robot_stay_unloaded(loaded):
    assert not loaded.intersection(OTHERS)
