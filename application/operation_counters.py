"""Counters of the operations of this process since its start, for the statistics."""

from attrs import asdict, define


@define
class OperationCounters:
    """Counters of operations of this process. Only code on the event loop may change them."""

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
    files_copied: int = 0
    bytes_copied: int = 0
    replicas_released: int = 0

    def counts(self) -> dict[str, int]:
        """Return the current value of each operation counter, by name."""
        return asdict(self)
