"""Every error can be caught as the package's own, by what the caller can do about it."""

import inspect

import pytest

from semla_ros.core import errors
from semla_ros.core.errors import AdapterError, EngineError, LibraryError, SemlaError

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_is_ours_documented_and_in_the_drawing(error):
    assert issubclass(error, SemlaError)
    assert error.__doc__
    assert error.__name__ in errors.__doc__


def test_the_tree():
    assert issubclass(errors.AdapterMismatchError, AdapterError)
    assert issubclass(AdapterError, LibraryError)
    assert issubclass(errors.EmptyLibraryError, LibraryError)
    assert issubclass(errors.EngineUnavailableError, EngineError)
    assert not issubclass(errors.BundleError, LibraryError)
