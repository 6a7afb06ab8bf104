"""The same network is traced once."""

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def traced_once():
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnx") is None:
        yield
        return
    from prepare.bundler import upstream

    with upstream.traced_once():
        yield
