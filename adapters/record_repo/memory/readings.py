"""The readings of metrics and health in the memory of this process."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.jobs import Job, JobKind, JobState
from traffic_storage.domain.pressure import (
    UNPRESSED,
    NotePressure,
    NoteUsageAlert,
    RecordedPressure,
)
from traffic_storage.domain.readings import MOST_COUNTED, DueRetention, WaitingJobs
from traffic_storage.ports.readings import Readings


class InMemoryReadings(Readings):
    """Figures about the rows of a catalogue in memory, and the pressures that it records."""

    _jobs: dict[UUID, Job]
    _files: dict[FileId, StoredFile]
    _stores: dict[StoreId, RegisteredStore]

    def __init__(self) -> None:
        self._pressures: dict[StoreId, RecordedPressure] = {}

    async def waiting_jobs(self, kinds: Sequence[JobKind]) -> Sequence[WaitingJobs]:
        return [self._waiting(kind) for kind in kinds]

    async def due_retention(self, as_of: datetime) -> DueRetention:
        due = sorted(
            (file.keep_until, file.stored.size_bytes)
            for file in self._files.values()
            if file.state is FileState.AVAILABLE and file.keep_until <= as_of
        )[:MOST_COUNTED]
        return DueRetention(len(due), sum(size for _, size in due))

    async def recorded_pressures(self) -> Mapping[StoreId, RecordedPressure]:
        return {store_id: self._pressures.get(store_id, UNPRESSED) for store_id in self._stores}

    def note(self, change: NotePressure | NoteUsageAlert) -> bool:
        """Record a pressure; return whether it differs from the recorded one."""
        known = self._pressures.get(change.store_id, UNPRESSED)
        noted = change.noted_over(known)
        if change.store_id not in self._stores or noted == known:
            return False
        self._pressures[change.store_id] = noted
        return True

    def _waiting(self, kind: JobKind) -> WaitingJobs:
        jobs = [job for job in self._jobs.values() if job.kind == kind]
        ready = [job.created_at for job in jobs if job.state is JobState.READY]
        return WaitingJobs(
            kind,
            min(len(ready), MOST_COUNTED),
            sum(job.state is JobState.RUNNING for job in jobs),
            min(sum(job.state is JobState.DEAD for job in jobs), MOST_COUNTED),
            min(ready, default=None),
        )
