"""`GET /metrics`: latencies and bytes of requests, and the figures of the system, for Prometheus.

Each application has a registry of its own; one of several processes that serve an address also gathers
the metrics of the others. Requests are labelled with the path template of their
route, never with a path. The figures of the system are gathered when they are asked for, and at a
bounded cost (`application/measure.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from attrs import frozen
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Receive, Scope, Send

from traffic_storage.application.measure import CatalogueFigures, Measure, Measurements, StoreState
from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.watch_pressure import StorePressure
from traffic_storage.domain.readings import MOST_COUNTED
from traffic_storage.entrypoints.http.request_body import AsgiRequest, route_of
from traffic_storage.entrypoints.http.responses import send_whole
from traffic_storage.entrypoints.http.siblings import Siblings

_PREFIX = "traffic_storage"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_DAY = timedelta(days=1)


class RequestMetrics:
    """The metrics of the requests of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._seconds = Histogram(
            f"{_PREFIX}_http_request_duration_seconds",
            "Time from a request to the end of its response",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._counters = [
            Counter(f"{_PREFIX}_http_{name}", text, labels, registry=registry)
            for name, text, labels in (
                ("requests", "Requests by status; 0: no response", ("method", "route", "status")),
                ("request_bytes", "Bytes of bodies that were received", ("method", "route")),
                ("response_bytes", "Bytes of bodies that were sent", ("method", "route")),
            )
        ]
        self._observers: dict[tuple[str, str, int], Callable[[float, int, int], None]] = {}

    def observe(
        self, scope: Scope, status: int, seconds: float, *, received: int, sent: int
    ) -> None:
        """Count a request that has ended."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        key = (method, route_of(scope) or _NO_ROUTE, status)
        observer = self._observers.get(key)
        if observer is None:
            observer = self._observers[key] = self._observer(*key)
        observer(seconds, received, sent)

    def _observer(self, method: str, route: str, status: int) -> Callable[[float, int, int], None]:
        requests, bytes_in, bytes_out = self._counters
        observe = self._seconds.labels(method, route).observe
        count = requests.labels(method, route, str(status)).inc
        receive, send = bytes_in.labels(method, route).inc, bytes_out.labels(method, route).inc

        def observer(seconds: float, received: int, sent: int) -> None:
            observe(seconds)
            count()
            receive(received)
            send(sent)

        return observer


class GetMetrics:
    """`GET /metrics`, in the text format of Prometheus or, if it is accepted, as OpenMetrics."""

    def __init__(
        self,
        own: Collector,
        measure: Measure,
        is_started: Callable[[], bool],
        siblings: Siblings | None = None,
    ) -> None:
        self._own = own
        self._measure = measure
        self._is_started = is_started
        self._siblings = siblings

    @staticmethod
    def signature() -> str:  # type: ignore[empty-body]
        """Return the metrics. While the database does not answer, its figures are left out."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        request.query(())
        measurements = await self._measure(is_started=self._is_started())
        encode, content_type = choose_encoder(request.header(b"accept") or "")
        of_processes = (
            list(self._own.collect())
            if self._siblings is None
            else await self._siblings.gathered(self._own)
        )
        content = encode(_Exposition(of_processes, measurements))
        await send_whole(request, 200, (), content, content_type.encode())


@frozen
class ProcessMetrics(Collector):
    """The metrics of this process: its requests, its operations, and what it uses."""

    registry: CollectorRegistry
    counters: OperationCounters

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield from self.registry.collect()
        for name, count in self.counters.counts().items():
            text = f"Operations of this process since its start: {name.replace('_', ' ')}"
            yield CounterMetricFamily(f"{_PREFIX}_{name}", text, count)


@frozen
class _Exposition(Collector):
    """The metrics of processes, and the measurements of one moment."""

    of_processes: Sequence[Metric]
    measurements: Measurements

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from self.of_processes
        yield from _families(self.measurements)


def _families(found: Measurements) -> Iterator[Metric]:
    yield _gauge(
        "catalogue_up", "Whether the database answers", [((), found.catalogue is not None)]
    )
    yield _gauge("cache_up", "Whether the cache is in use", [((), found.cache.healthy)])
    yield from _of_states(found.stores)
    if found.catalogue is not None:
        yield from _of_usage(found.catalogue)
        yield from _of_space(found.catalogue)
        yield from _of_work(found.catalogue)
        yield from _of_coverage(found.catalogue)


def _of_states(stores: Iterable[StoreState]) -> Iterator[Metric]:
    labels = ("store", "tier", "location")
    rows = [((store.store_id or "", store.tier, store.location), store) for store in stores]
    yield _gauge(
        "store_up",
        "Whether the store is reachable; 0 while its breaker is open",
        [(row, store.is_reachable) for row, store in rows],
        labels,
    )
    yield _gauge(
        "store_trusted",
        "Whether the store is identified as the registered one, so that it may be changed",
        [(row, store.is_trusted) for row, store in rows],
        labels,
    )


def _of_usage(found: CatalogueFigures) -> Iterator[Metric]:
    usage = found.usage
    yield _gauge("violations", "Available violations", [((), usage.violations)])
    files = [((row.kind,), row) for row in usage.files]
    yield _gauge("files", "Available files", [(at, row.files) for at, row in files], ("kind",))
    yield _gauge(
        "file_bytes",
        "Stored bytes of available files, each file once",
        [(at, row.bytes) for at, row in files],
        ("kind",),
    )
    copies = [((row.store_id, row.kind), row) for row in usage.stores]
    labels = ("store", "kind")
    yield _gauge("replicas", "Copies of files", [(at, row.replicas) for at, row in copies], labels)
    yield _gauge(
        "replica_bytes", "Bytes of copies of files", [(at, row.bytes) for at, row in copies], labels
    )


_SPACE: tuple[tuple[str, str, Callable[[StorePressure], float | None]], ...] = (
    ("used_bytes", "Bytes that files occupy", lambda one: one.status.used_bytes),
    ("limit_bytes", "The most bytes that files may occupy", lambda one: one.status.limit_bytes),
    ("free_bytes", "Free bytes of its disk", lambda one: one.status.free_bytes),
    (
        "headroom_bytes",
        "Bytes that can still be stored, by limit, free space and reserve",
        lambda one: one.pressure.room_bytes,
    ),
    ("used_percent", "Used share of what it can hold", lambda one: one.pressure.used_percent),
    (
        "received_bytes_per_day",
        "Bytes received a day, on average of the last 7 days",
        lambda one: one.pressure.bytes_per_day,
    ),
    (
        "days_to_full",
        "Forecast: days until it is full at this rate; absent if it does not fill",
        lambda one: None if one.pressure.full_in is None else one.pressure.full_in / _DAY,
    ),
    (
        "pressure_level",
        "0 none, 1 forecast, 2 move_out, 3 evidence_only, 4 full",
        lambda one: one.pressure.level,
    ),
)


def _of_space(found: CatalogueFigures) -> Iterator[Metric]:
    """Yield the metrics of stores that this process writes; what is unbounded is left out."""
    for name, text, figure in _SPACE:
        rows = [((one.store_id,), figure(one)) for one in found.pressures]
        known = [(row, value) for row, value in rows if value is not None]
        yield _gauge(f"store_{name}", f"Of a store: {text}", known, ("store",))
    yield _gauge(
        "store_usage_alert",
        "Whether the usage alert (alert_usage_percent) of the store is raised",
        [((one.store_id,), found.alerts[one.store_id].is_raised) for one in found.pressures],
        ("store",),
    )


def _of_work(found: CatalogueFigures) -> Iterator[Metric]:
    yield _gauge(
        "jobs",
        f"Jobs that are not done; of a kind and state at most {MOST_COUNTED} are counted",
        [
            ((one.kind, state), count)
            for one in found.jobs
            for state, count in (("ready", one.ready), ("running", one.running), ("dead", one.dead))
        ],
        ("kind", "state"),
    )
    yield _gauge(
        "job_oldest_ready_seconds",
        "Time since the oldest ready job was written; 0 if none is ready",
        [((one.kind,), one.age(found.at).total_seconds()) for one in found.jobs],
        ("kind",),
    )
    counted = f"at most {MOST_COUNTED} files are counted"
    yield _gauge(
        "retention_due_files",
        f"Available files whose retention has ended, held ones included; {counted}",
        [((), found.due.files)],
    )
    yield _gauge("retention_due_bytes", f"Their stored bytes; {counted}", [((), found.due.bytes)])


def _of_coverage(found: CatalogueFigures) -> Iterator[Metric]:
    yield _gauge(
        "fixity_coverage_ratio",
        "Share of the copies that are intact and were verified within fixity_days; estimated from a "
        "sample if more than 10000 copies of a store are overdue",
        [((), found.coverage.share)],
    )
    yield _gauge(
        "fixity_replicas",
        "Copies that are overdue for verification, corrupt or missing; more than 10000 overdue ones "
        "are estimated from a sample",
        [
            ((one.store_id, state), count)
            for one in found.coverage.stores
            for state, count in (
                ("overdue", one.overdue),
                ("corrupt", one.corrupt),
                ("missing", one.missing),
            )
        ],
        ("store", "state"),
    )


def _gauge(
    name: str,
    text: str,
    rows: Iterable[tuple[tuple[str, ...], float]],
    labels: tuple[str, ...] = (),
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family
