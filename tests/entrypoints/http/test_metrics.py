"""`GET /metrics`: each metric follows what happens, and a scrape costs little whatever is stored."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from tests.entrypoints.http.conftest import BASE_URL
from tests.entrypoints.http.evidence import IMAGE, RECORD, problem, video
from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.servers import Bucket, Database, RedisAddress
from tests.support.setups import config
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.watch_pressure import WATCH_PRESSURE
from traffic_storage.domain.copies import COPY
from traffic_storage.domain.jobs import NewJob, Run
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.readings import DueRetention
from traffic_storage.entrypoints.container import Container, build
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container
from traffic_storage.entrypoints.testing.faults.blob_store import FailingBlobStore
from traffic_storage.entrypoints.testing.faults.record_repo import FailingRecordRepo

PREFIX = "traffic_storage_"
NOT = timedelta(0)
Samples = Mapping[str, float]


async def scraped(client: httpx.AsyncClient) -> Samples:
    """All samples of a scrape, by name and labels, as in `files{kind=image}`."""
    response = await client.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(response.text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            name = sample.name.removeprefix(PREFIX)
            found[f"{name}{{{labels}}}" if labels else name] = sample.value
    return found


@pytest.fixture
def settings(tmp_path: Path) -> StorageConfig:
    """A store of 1 MB; no worker, so that jobs wait."""
    return config(
        tmp_path / "storage",
        url_signing_key="a-key-of-the-tests-" + "k" * 32,
        max_local_size_gb=1e-3,
        alert_usage_percent=10.0,
        workers=0,
    )


@pytest.fixture
async def container(settings: StorageConfig) -> AsyncIterator[Container]:
    """A service in memory whose metrics are read anew for each scrape."""
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings)
    container.measure.add_kwargs(kept=NOT, coverage_kept=NOT)
    yield container
    await container.runtime().aclose()


async def test_requests_are_counted_by_the_template_of_their_route(
    client: httpx.AsyncClient,
) -> None:
    before = await scraped(client)
    route = "method=GET,route=/files/{file_id}"
    assert f"http_request_duration_seconds_count{{{route}}}" not in before
    files = {"file": IMAGE}
    assert (await client.post("/files/upload/image", files=files)).status_code == 201
    await client.get("/files/first-unknown")
    await client.get("/files/second-unknown")
    await client.get("/nowhere/at-all")
    await client.request("BREW", "/files")
    found = await scraped(client)
    assert found[f"http_request_duration_seconds_count{{{route}}}"] == 2
    assert found[f"http_requests_total{{{route},status=404}}"] == 2
    assert found["http_requests_total{method=GET,route=none,status=404}"] == 1
    assert found["http_requests_total{method=other,route=none,status=405}"] == 1
    upload = "method=POST,route=/files/upload/image"
    assert found[f"http_request_bytes_total{{{upload}}}"] > len(IMAGE[1])
    assert found[f"http_response_bytes_total{{{upload}}}"] > 100
    assert found["http_requests_total{method=GET,route=/metrics,status=200}"] == 1
    assert not [name for name in found if "unknown" in name or "nowhere" in name]
    assert found["process_resident_memory_bytes"] > 0


async def test_each_figure_moves_with_what_it_is_about(
    container: Container, client: httpx.AsyncClient
) -> None:
    clock = container.clock()
    assert isinstance(clock, ManualClock)
    (bound,) = [one for one in container.stores() if one.configured.written]
    store = f"store={bound.store_id}"
    before = await scraped(client)
    assert before["catalogue_up"] == before["cache_up"] == 1
    assert before["violations"] == 0
    assert before[f"store_used_percent{{{store}}}"] == 0
    assert f"store_days_to_full{{{store}}}" not in before
    assert before["retention_due_files"] == 0
    assert before["fixity_coverage_ratio"] == 1

    files = {"image_file": IMAGE, "video_file": video()}
    assert (await client.post("/violations", data=RECORD, files=files)).status_code == 201
    size = len(IMAGE[1])
    for _ in range(2):
        assert len((await client.get("/files/V001~image")).content) == size
    await container.watch_pressure().run(
        Run(uuid4(), uuid4(), WATCH_PRESSURE, {}, 1, 1), lambda _progress: None
    )
    after = await scraped(client)
    assert after["violations"] == 1
    assert after["files{kind=image}"] == 1
    assert after["file_bytes{kind=image}"] == size
    assert after[f"replicas{{kind=image,{store}}}"] == 1
    assert after[f"replica_bytes{{kind=image,{store}}}"] == size
    used = after[f"store_used_bytes{{{store}}}"]
    assert used > size
    assert after[f"store_limit_bytes{{{store}}}"] == 1_000_000
    assert after[f"store_headroom_bytes{{{store}}}"] == 1_000_000 - used
    assert after[f"store_used_percent{{{store}}}"] == pytest.approx(used / 10_000, abs=0.01)
    assert after[f"store_received_bytes_per_day{{{store}}}"] == used
    assert after[f"store_days_to_full{{{store}}}"] == pytest.approx((1_000_000 - used) / used)
    assert after[f"store_pressure_level{{{store}}}"] > 0
    assert after[f"store_usage_alert{{{store}}}"] == 1 > before[f"store_usage_alert{{{store}}}"]
    assert after["files_stored_total"] == 3
    assert after["violations_stored_total"] == 1
    assert after["bytes_retrieved_total"] == 2 * size
    assert after["cache_hits_total"] + after["cache_misses_total"] == 2
    assert after["cache_hits_total"] >= 1

    clock.advance(timedelta(days=40))
    late = await scraped(client)
    assert late["fixity_coverage_ratio"] == 0
    assert late[f"fixity_replicas{{state=overdue,{store}}}"] == 3
    clock.advance(timedelta(days=400))
    due = await scraped(client)
    assert due["retention_due_files"] == 3
    assert due["retention_due_bytes"] == used


async def test_waiting_jobs_are_counted_with_their_age(
    container: Container, client: httpx.AsyncClient
) -> None:
    assert (await scraped(client))["jobs{kind=copy,state=ready}"] == 0
    await container._record_repo().enqueue([NewJob(uuid4(), COPY) for _ in range(3)])
    found = await scraped(client)
    assert found["jobs{kind=copy,state=ready}"] == 3
    assert found["jobs{kind=sweep,state=ready}"] == 0
    # The jobs in memory are dated by the system's clock, which is ahead of the one of the test.
    assert found["job_oldest_ready_seconds{kind=copy}"] >= 0


async def test_a_store_whose_breaker_is_open_is_down(settings: StorageConfig) -> None:
    plain = in_memory_container(StorageStrategy.LOCAL_ONLY, settings)
    store = FailingBlobStore(plain.local_store())
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings, local_store=store)
    app = create_storage_app(container=container)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        (up,) = [
            name
            for name in await scraped(client)
            if name.startswith("store_up{location=memory:/local,")
        ]
        trusted = up.replace("up", "trusted")
        assert (await scraped(client))[up] == 1
        store.go_down("the breaker is open")
        found = await scraped(client)
        assert (found[up], found[trusted]) == (0, 1)
    await container.runtime().aclose()


async def test_without_its_database_the_metrics_of_the_process_remain(
    settings: StorageConfig,
) -> None:
    repo = FailingRecordRepo(InMemoryRecordRepo())
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings, record_repo=repo)
    container.measure.add_kwargs(kept=NOT, coverage_kept=NOT)
    app = create_storage_app(container=container)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        assert (await scraped(client))["catalogue_up"] == 1
        repo.go_down()
        found = await scraped(client)
        assert found["catalogue_up"] == 0
        assert "violations" not in found
        assert "files_stored_total" in found
    await container.runtime().aclose()


async def test_many_scrapes_read_the_catalogue_once(settings: StorageConfig) -> None:
    class Counting(InMemoryRecordRepo):
        reads = 0

        async def due_retention(self, as_of: datetime) -> DueRetention:
            self.reads += 1
            await asyncio.sleep(0)
            return await super().due_retention(as_of)

    repo = Counting()
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings, record_repo=repo)
    await container.runtime().start()
    measure = container.measure()
    await asyncio.gather(*(measure() for _ in range(20)))
    assert repo.reads == 1
    clock = container.clock()
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(seconds=6))
    await measure()
    assert repo.reads == 2
    await container.runtime().aclose()


async def test_open_metrics_are_given_to_who_accepts_them(client: httpx.AsyncClient) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    response = await client.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    families = open_metrics(response.text)  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert f"{PREFIX}http_request_duration_seconds" in names
    assert (await client.head("/metrics")).content == b""
    problem(await client.get("/metrics?all=1"), 422, "invalid-input")


async def test_real_servers_and_a_worker_in_the_process(
    tmp_path: Path, s3_bucket: Bucket, postgres_database: Database, redis_database: RedisAddress
) -> None:
    settings = config(
        tmp_path,
        bucket=s3_bucket,
        database=postgres_database,
        redis=redis_database,
        workers=1,
        db_timeout_seconds=PATIENT_SECONDS,
    )
    container = build(settings, StorageStrategy.HYBRID)
    container.measure.add_kwargs(kept=NOT, coverage_kept=NOT)
    app = create_storage_app(container=container)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        files = {"image_file": IMAGE, "video_file": video()}
        assert (await client.post("/violations", data=RECORD, files=files)).status_code == 201
        async with asyncio.timeout(30):
            found = await scraped(client)
            while found["files_copied_total"] < 2 or found["jobs{kind=copy,state=ready}"]:
                await asyncio.sleep(0.05)
                found = await scraped(client)
        assert found["catalogue_up"] == found["cache_up"] == found["violations"] == 1
        assert len([name for name in found if name.startswith("store_up{")]) == 2
        (local,) = [one.store_id for one in container.stores() if one.store.tier == "local"]
        assert found[f"store_free_bytes{{store={local}}}"] > 0
        assert found["fixity_coverage_ratio"] == 1
        assert found["jobs{kind=copy,state=ready}"] == 0
    await container.runtime().aclose()
