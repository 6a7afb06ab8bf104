"""The contract of every engine, on every shape of the simulated TensorRT."""

import importlib.util
from pathlib import Path

import pytest

_ONE_THREAD_ONLY = {
    "test_every_frame_is_computed_with_one_whole_set",
    "test_a_slot_is_not_rewritten_while_a_frame_is_still_computed_with_it",
    "test_a_probe_answers_without_publishing",
}
"""What one engine alone cannot promise: its frames and swaps share a thread, and no slot idles."""


def _tests(name: str) -> dict[str, object]:
    path = Path(__file__).parents[1] / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"semla_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {key: value for key, value in vars(module).items() if key.startswith("test_")}


globals().update(_tests("test_contract"))
globals().update(_tests("test_contract_threads"))


@pytest.fixture(autouse=True)
def _fits(request):
    name = request.node.originalname
    if "one engine" in request.node.name and name in _ONE_THREAD_ONLY:
        pytest.skip("one engine refits between frames, on the thread of the frames")
