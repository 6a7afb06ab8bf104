"""Reports are made of the studies that the analysis is tested with."""

import pytest
from evaluation.analysis import conftest


@pytest.fixture(scope="session")
def made():
    """What builds studies by hand."""
    return conftest
