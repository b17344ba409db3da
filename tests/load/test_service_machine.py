"""The command of the machine, on a few histories; it sees a guard that is missing."""

import pytest

from tests.load import service_machine
from traffic_storage.domain.deletion import Tombstone
from traffic_storage.domain.files import FileState, StoredFile


def test_a_batch_without_divergences_says_nothing() -> None:
    assert service_machine.batch("memory", 3, 10, 1) == ""


def test_a_missing_guard_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def may_delete(_change: Tombstone, file: StoredFile, *, is_held: bool) -> bool:
        return file.state is FileState.AVAILABLE

    monkeypatch.setattr(Tombstone, "may_delete", may_delete)
    monkeypatch.setattr(service_machine, "PHASES", service_machine.PHASES[:1])
    found = service_machine.batch("memory", 100, 40, 1)
    assert "memory, seed 1" in found
    assert "AssertionError" in found
