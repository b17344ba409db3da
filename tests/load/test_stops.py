"""Servers that stop under load: nothing is lost, and the service goes on without a restart."""

import pytest

from tests.load.stops import SERVERS, run

# `python -m tests.load.stops --stops N` does more.
STOPS = 1


@pytest.mark.timeout(300)  # starts of servers
def test_the_service_goes_on_after_stops_of_its_servers() -> None:
    report = run(SERVERS, STOPS, between_seconds=0.5)
    assert report.broken == []
    assert len(report.waits) == STOPS * len(SERVERS)
    assert len(report.record.acknowledged) > len(report.waits)
    assert report.jobs
