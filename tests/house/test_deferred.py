"""What the container makes only if it is asked for is where `deferred` says."""

from importlib import import_module

import pytest

from traffic_storage.entrypoints import deferred


@pytest.mark.parametrize("name", deferred._PLACES)
def test_each_name_has_its_place(name: str) -> None:
    assert getattr(deferred, name) is getattr(import_module(deferred._PLACES[name]), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Unknown'"):
        deferred.__getattr__("Unknown")
