"""The studies of the analysis tests, for reports."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made():
    """What builds studies by hand, see test/evaluation/analysis/conftest.py."""
    path = Path(__file__).resolve().parents[1] / "analysis" / "conftest.py"
    spec = importlib.util.spec_from_file_location("semla_analysis_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
