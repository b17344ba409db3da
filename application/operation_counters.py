"""OperationCounters: what this process has done since it started, for the statistics."""

from attrs import asdict, define


@define
class OperationCounters:
    """Counts of operations; changed on the event loop only."""

    files_stored: int = 0
    bytes_stored: int = 0
    files_retrieved: int = 0
    bytes_retrieved: int = 0
    violations_stored: int = 0
    retries_recognised: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    replicas_failed: int = 0
    replicas_restored: int = 0
    attempts_undone: int = 0

    def counts(self) -> dict[str, int]:
        """The present counts by name."""
        return asdict(self)
