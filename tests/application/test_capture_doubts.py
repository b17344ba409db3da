"""Files whose retention starts at receipt: the log tells each device and cause once, then counts."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from traffic_storage.application.capture_doubts import CaptureDoubts
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import DeviceId
from traffic_storage.domain.retention import CaptureBounds, retention_basis
from traffic_storage.entrypoints.testing.units import new_file

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


def captured(at: datetime, device: str) -> StoredFile:
    basis = retention_basis(at, NOW, CaptureBounds())
    return evolve(
        new_file(at=NOW), device_id=DeviceId(device), captured_at=at, retention_basis=basis
    )


def test_a_bulk_load_is_told_once_per_device_and_cause(caplog: pytest.LogCaptureFixture) -> None:
    doubts = CaptureDoubts()
    dead = datetime(1970, 1, 1, tzinfo=UTC)
    for number in range(100):
        doubts.note(captured(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number), "cam-1"))
    doubts.note(captured(dead, "cam-1"))
    doubts.note(captured(dead, "cam-2"))
    doubts.note(captured(NOW, "cam-3"))
    old, of_ten, of_hundred, clock, other = caplog.messages
    assert "historic=True" in old
    assert "of 10 files of device cam-1" in of_ten
    assert "of 100 files of device cam-1" in of_hundred
    assert "set the clock" in clock
    assert "cam-2" in other
