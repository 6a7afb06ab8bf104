"""The contract of every engine, with TensorRT scripted."""

import importlib.util
from pathlib import Path

_ANY_LENGTH = {"test_the_vocabulary_changes_with_the_set"}
"""What a plan does not promise: class lists of any length."""


def _tests(name: str) -> dict[str, object]:
    path = Path(__file__).parents[1] / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"semla_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        key: value
        for key, value in vars(module).items()
        if key.startswith("test_") and key not in _ANY_LENGTH
    }


globals().update(_tests("test_contract"))
globals().update(_tests("test_contract_threads"))
