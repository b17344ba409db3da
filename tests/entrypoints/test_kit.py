"""The kit's public face: what it promises is there."""

import pytest

import traffic_storage.testing


@pytest.mark.parametrize("name", traffic_storage.testing.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert name in dir(traffic_storage.testing)
    assert getattr(traffic_storage.testing, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(traffic_storage.testing, "no_such_name")  # noqa: B009
