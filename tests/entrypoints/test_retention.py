"""Retention by Python, on both set-ups."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.media import shipped_jpeg
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import ConfigurationError, InvalidInput, NotFound, WrongState
from traffic_storage.entrypoints.container import build


@pytest.fixture(params=["embedded", "servers"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    servers: dict[str, Any] = {}
    if request.param == "servers":
        servers["bucket"] = request.getfixturevalue("s3_bucket")
        servers["database"] = request.getfixturevalue("catalogue_database")
        servers["db_timeout_seconds"] = PATIENT_SECONDS
        servers["redis"] = request.getfixturevalue("redis_database")
    return config(tmp_path, **servers)


@pytest.fixture
async def storage(settings: StorageConfig, no_leaks: None) -> AsyncIterator[StorageService]:
    async with StorageService(settings) as service:
        yield service


async def test_rules_are_staged_then_entered_and_a_file_is_explained(
    storage: StorageService,
) -> None:
    await storage.store_image(shipped_jpeg(), "before", {"device_id": "radar-1"})
    rule: dict[str, Json] = {
        "rule_id": "radar",
        "days": 700,
        "site": "m*",
        "legal_source": "art. 5",
        "kind": None,
    }
    site: dict[str, Json] = {"site_id": "m30", "devices": ["radar-*"], "jurisdiction": "ES"}
    staged = await storage.stage_retention_rules([rule], [site], reason="a new law")
    assert [one["rule_id"] for one in staged["added"]] == ["radar"]
    assert (staged["effect"]["lengthened"], staged["effect"]["due"]) == (1, 0)
    assert (await storage.get_retention_rules())["revision"] == 1
    entered = await storage.enter_retention_rules(staged["change_id"])
    assert (entered["revision"], entered["reason"]) == (2, "a new law")
    assert entered["sites"] == [{"site_id": "m30", "devices": ["radar-*"], "jurisdiction": "ES"}]
    explained = await storage.explain("before")
    assert explained["rules"][0]["rule_id"] == "radar"
    assert explained["revision"] == 2
    assert explained["basis"]["clock"] == "received"
    one, other = [await storage.stage_retention_rules([]) for _ in range(2)]
    await storage.enter_retention_rules(one["change_id"])
    with pytest.raises(WrongState):
        await storage.enter_retention_rules(other["change_id"])


async def test_wrong_arguments_are_named(storage: StorageService) -> None:
    with pytest.raises(InvalidInput, match=r"rules\[1\].days: is missing"):
        await storage.stage_retention_rules([{"rule_id": "a"}])
    with pytest.raises(InvalidInput, match="change_id"):
        await storage.enter_retention_rules("x")
    with pytest.raises(NotFound):
        await storage.enter_retention_rules(str(uuid4()))
    with pytest.raises(NotFound):
        await storage.explain("unknown")


def test_a_wrong_file_of_rules_is_an_error_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('[[rules]]\nrule_id = "a"\ndays = "3"\n')
    container = build(config(tmp_path, retention_rules_file=file))
    with pytest.raises(ConfigurationError, match=r"rules\[1\].days: .* \(in .*rules.toml\)"):
        container.runtime()
    for content in (None, "rules = ["):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_text(content)
        with pytest.raises(ConfigurationError, match=r"rules\.toml"):
            container.rules_in_force()


LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


async def expired(storage: StorageService) -> None:
    """Store files whose retention ended long ago."""
    for number in range(2):
        given: dict[str, Json | datetime] = {"device_id": "cam_001", "timestamp": LONG_AGO}
        await storage.store_metadata({"n": number}, f"old-{number}", given, historic=True)
    await storage.store_metadata({"n": 3}, "young")
    # The worker makes the copies that are owed; none may come between a plan and its application.
    while (await storage.sync_backends())["remaining"]:
        pass


async def test_retention_is_planned_then_applied(storage: StorageService) -> None:
    await expired(storage)
    plan = await storage.plan_retention()
    assert (plan["files"], plan["available"], plan["held"]["files"]) == (2, 3, 0)
    done = await storage.apply_retention(plan["plan_id"])
    assert (done["files_deleted"], done["violations_deleted"], done["held"]) == (2, 0, 0)
    assert (done["bytes_freed"], done["bytes_pending"]) == (0, plan["bytes"])
    assert (await storage.explain("old-0"))["state"] == "tombstoned"
    assert (await storage.explain("young"))["state"] == "available"


async def test_the_clean_up_of_the_source(storage: StorageService) -> None:
    """Limpieza Automática: `cleanup_results['local_files_deleted']`."""
    await expired(storage)
    counted = await storage.cleanup_expired_data()
    assert (counted["dry_run"], counted["files_deleted"]) == (True, 2)
    cleanup_results = await storage.cleanup_expired_data(dry_run=False)
    assert cleanup_results["local_files_deleted"] == 2
    assert cleanup_results["dry_run"] is False
    assert cleanup_results["records_deleted"] == 0


async def test_the_retention_of_the_source(storage: StorageService) -> None:
    """Aplicar políticas de retención: `retention_results['files_deleted']`."""
    await expired(storage)
    assert (await storage.apply_retention_policies(dry_run=True))["files_deleted"] == 2
    retention_results = await storage.apply_retention_policies()
    assert retention_results["files_deleted"] == 2
    assert (await storage.apply_retention_policies())["files_deleted"] == 0
