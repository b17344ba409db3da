"""Settings: defaults, rules (all broken ones named at once), sources, secrets that stay secret."""

import copy
import json
import logging
import pickle
import pprint
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from attrs import asdict, evolve, fields_dict

from tests.entrypoints.cli.command import Shell, set_environment
from tests.support.canary import CANARY
from traffic_storage.adapters.cache.redis.url import RedisAddress
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import ConfigurationError, WrongFields
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.settings import BucketRoute, Secret, StorageConfig
from traffic_storage.entrypoints.settings import config as config_module
from traffic_storage.entrypoints.settings.config import rule_of
from traffic_storage.entrypoints.settings.explain import explain

CLOUD = {"s3_access_key": "key", "s3_secret_key": "secret"}
DATABASE = {"db_host": "db", "db_name": "traffic", "db_user": "admin"}
SECRETS = ("db_password", "s3_access_key", "s3_secret_key", "redis_password", "url_signing_key")
ALL_SECRETS = {
    **DATABASE,
    "redis_host": "redis",
    "redis_username": "u",
    **dict.fromkeys(SECRETS, CANARY),
}


def refused(**given: object) -> dict[str, str]:
    """The settings that these are refused for: name → problem and remedy."""
    with pytest.raises(ConfigurationError) as caught:
        StorageConfig(**given)  # type: ignore[arg-type]
    return told(caught.value)


def told(error: WrongFields) -> dict[str, str]:
    return {problem.field: f"{problem.message}: {problem.remedy}" for problem in error.problems}


def load_refused(env: Mapping[str, str], path: Path | None = None) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        StorageConfig.load(path, env)
    return told(caught.value)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return file


def test_alone_it_is_a_complete_system_without_cloud() -> None:
    config = StorageConfig()

    assert config.db_host is None
    assert config.redis_host is None
    assert not config.cloud_configured
    assert config.effective_strategy() is StorageStrategy.LOCAL_ONLY


def test_the_defaults_of_the_source_document_hold() -> None:
    config = StorageConfig()

    assert config.max_local_size_gb == 100.0
    assert (config.db_port, config.redis_port, config.redis_db) == (5432, 6379, 0)
    assert config.retention.image == timedelta(days=90)
    assert config.retention.video == timedelta(days=30)
    assert config.retention.metadata == timedelta(days=365)
    assert config.compression_enabled
    assert config.parallel_uploads == 4


def test_the_example_of_the_source_document_is_accepted() -> None:
    config = StorageConfig(
        local_base_path="/data/traffic_analysis",
        max_local_size_gb=100.0,
        db_host="localhost",
        db_port=5432,
        db_name="traffic_system",
        db_user="admin",
        db_password="password",
        s3_endpoint="http://localhost:9000",
        s3_access_key="access_key",
        s3_secret_key="secret_key",
        s3_bucket="traffic-evidence",
        redis_host="localhost",
        redis_port=6379,
        redis_db=0,
        image_retention_days=90,
        video_retention_days=30,
    )

    assert config.local_base_path == Path("/data/traffic_analysis")
    assert config.effective_strategy() is StorageStrategy.HYBRID


def test_two_keys_alone_are_a_cloud_tier_on_aws() -> None:
    config = StorageConfig(**CLOUD)  # type: ignore[arg-type]

    assert config.cloud_configured
    assert config.s3_endpoint is None
    assert config.s3_bucket == "traffic-evidence"
    assert config.s3_region == "us-east-1"


def test_the_base_path_defaults_to_the_users_data_not_to_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    assert StorageConfig().local_base_path == tmp_path / "data" / "traffic-storage"


def test_a_tilde_is_the_home_and_a_relative_path_is_settled_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    relative = StorageConfig(local_base_path="evidence")
    monkeypatch.chdir("/")

    assert StorageConfig(local_base_path="~/evidence").local_base_path == tmp_path / "evidence"
    assert relative.local_base_path == tmp_path / "evidence"


def test_it_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_PARALLEL_UPLOADS", "9")
    monkeypatch.setenv("TRAFFIC_STORAGE_NONSENSE", "9")

    assert StorageConfig().parallel_uploads == 4


def test_it_is_frozen_equal_by_value_and_can_be_copied() -> None:
    config = StorageConfig(local_base_path="/data", **ALL_SECRETS)  # type: ignore[arg-type]

    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(StorageConfig())) == StorageConfig()
    assert evolve(config, parallel_uploads=5).parallel_uploads == 5
    with pytest.raises(AttributeError):
        config.parallel_uploads = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("loca_base_path", "local_base_path"),
        ("s3_acces_key", "s3_access_key"),
        ("imageRetentionDays", "image_retention_days"),
        ("parallel_upload", "parallel_uploads"),
    ],
)
def test_an_unknown_name_is_refused_and_the_near_one_suggested(wrong: str, meant: str) -> None:
    assert refused(**{wrong: 1}) == {wrong: f"is not a setting: did you mean {meant}?"}


def test_a_name_near_to_nothing_points_to_the_list() -> None:
    assert "config reference" in refused(xyzzy=1)["xyzzy"]


def test_all_wrong_settings_are_named_at_once() -> None:
    problems = refused(
        max_local_size_gb=-1,
        parallel_uploads="4",
        timezone="Europe/Madird",
        strategy="HIBRID",
        db_password="x",
        redis_port=0,
    )

    assert set(problems) >= {
        "max_local_size_gb",
        "parallel_uploads",
        "timezone",
        "strategy",
        "db_host",
        "redis_port",
    }
    assert problems["timezone"].endswith("did you mean Europe/Madrid?")
    assert problems["strategy"].endswith("did you mean HYBRID?")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_local_size_gb", 0),
        ("max_local_size_gb", float("nan")),
        ("max_local_size_gb", True),
        ("max_local_size_gb", None),
        ("high_water", 1.5),
        ("image_retention_days", 0),
        ("image_retention_days", 1.5),
        ("parallel_uploads", 0),
        ("parallel_uploads", True),
        ("image_quality", 101),
        ("image_effort", 7),
        ("image_format", "gif"),
        ("compression_enabled", 1),
        ("compression_enabled", "yes"),
        ("local_base_path", ""),
        ("local_base_path", 7),
        ("local_base_path", "with\0nul"),
        ("local_base_path", "~nobody-has-this-name/x"),
        ("timezone", "/etc/passwd"),
        ("timezone", "../../etc/passwd"),
        ("timezone", ""),
        ("timezone", 3),
        ("public_url", "localhost:8001"),
        ("public_url", "ftp://localhost"),
        ("public_url", "http://localhost:8001/?x=1"),
        ("public_url", "http://user:word@localhost"),
        ("public_url", "http://localhost:port"),
        ("public_url", "http://[broken"),
        ("public_url", 8001),
        ("hybrid_local_kinds", "image"),
        ("hybrid_local_kinds", ["picture"]),
        ("hybrid_local_kinds", [3]),
        ("image_formats", []),
        ("image_formats", ["jpeg", "gif"]),
        ("url_signing_key", "short"),
        ("url_signing_key", 12345678901234567890123456789012),
        ("api_keys", "one:" + "0" * 64),
        ("api_keys", ["0" * 64]),
        ("api_keys", ["name:" + "0" * 63]),
        ("api_keys", ["name:" + "G" * 64]),
        ("api_keys", [7]),
        ("api_keys", ["a:" + "0" * 64, "a:" + "1" * 64]),
        ("api_keys", ["a:" + "0" * 64, "a:" + "1" * 64 + "?scope=hold"]),
        ("api_keys", ["a:" + "0" * 64 + "?scope=everything"]),
        ("api_keys", ["a:" + "0" * 64 + "?expires=never"]),
        ("api_keys", ["a:" + "0" * 64, "b:" + "0" * 64]),
        ("max_url_expiry_seconds", 0),
        ("redis_host", "redis://redis"),
        ("db_host", "postgresql://admin:word@db/traffic"),
        ("s3_endpoint", "localhost:9000"),
        ("s3_bucket", "x"),
        ("s3_bucket", "../up"),
        ("s3_region", "eu west"),
        ("s3_buckets", "buckets"),
        ("s3_buckets", ["bucket"]),
        ("s3_buckets", [{"device_pattern": "a*"}]),
        ("s3_buckets", [{"device_pattern": "a*", "bucket": "abc", "zone": "x"}]),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: object) -> None:
    assert name in {key.partition("[")[0] for key in refused(**{name: value})}


def test_a_wrong_part_of_a_route_is_named() -> None:
    route = {"device_pattern": "", "bucket": "x", "region": "?", "endpoint": "nowhere"}

    assert set(refused(**CLOUD, s3_buckets=[route])) == {
        "s3_buckets[1].device_pattern",
        "s3_buckets[1].bucket",
        "s3_buckets[1].region",
        "s3_buckets[1].endpoint",
    }


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"db_name": "n"}, {"db_host"}),
        ({"db_user": "u", "db_password": "p"}, {"db_host"}),
        ({"db_port": 5433}, {"db_host"}),
        ({"db_host": "db"}, {"db_name", "db_user"}),
        ({"db_schema": "traffic"}, {"db_host"}),
        ({"db_ssl_mode": "require"}, {"db_host"}),
        (DATABASE | {"db_ca_file": "ca.pem"}, {"db_ssl_mode"}),
        (DATABASE | {"db_ssl_mode": "require", "db_key_file": "k"}, {"db_cert_file"}),
        (DATABASE | {"db_ssl_mode": "disable", "db_cert_file": "c"}, {"db_cert_file"}),
        (DATABASE | {"db_ssl_mode": "prefer", "db_ca_file": "ca.pem"}, {"db_ca_file"}),
        ({"db_host": "db", "db_name": "n"}, {"db_user"}),
        ({"s3_access_key": "k"}, {"s3_secret_key"}),
        ({"s3_secret_key": "k"}, {"s3_access_key"}),
        ({"s3_endpoint": "http://s3"}, {"s3_credentials"}),
        ({"s3_bucket": "evidence"}, {"s3_credentials"}),
        ({"s3_buckets": [("a*", "north")]}, {"s3_credentials"}),
        ({"s3_prefix": "a/b"}, {"s3_credentials"}),
        ({"s3_session_token": "t"}, {"s3_access_key", "s3_secret_key"}),
        (CLOUD | {"s3_credentials": "aws"}, {"s3_credentials"}),
        (CLOUD | {"s3_kms_key": "k"}, {"s3_kms_key"}),
        (CLOUD | {"s3_kms_key": "k", "s3_encryption": "s3"}, {"s3_kms_key"}),
        ({"redis_port": 6380}, {"redis_host"}),
        ({"redis_password": "p"}, {"redis_host"}),
        ({"redis_cluster": True}, {"redis_host"}),
        ({"redis_tls": True}, {"redis_host"}),
        ({"redis_host": "r", "redis_ca_file": "ca.pem"}, {"redis_tls"}),
        ({"redis_host": "/run/redis.sock", "redis_tls": True}, {"redis_host"}),
        ({"redis_host": "/run/redis.sock", "redis_cluster": True}, {"redis_host"}),
        ({"redis_host": "r", "redis_username": "u"}, {"redis_password"}),
        ({"redis_host": "r", "redis_cluster": True, "redis_db": 1}, {"redis_db"}),
        ({"image_lossless": True, "image_format": "jpeg"}, {"image_lossless"}),
        ({"open_access": True, "api_keys": ["a:" + "0" * 64]}, {"open_access"}),
        ({"open_access": True, "api_keys_file": "/keys"}, {"open_access"}),
        (
            {"snapshot_location": "evidence/blobs", "local_base_path": "evidence"},
            {"snapshot_location"},
        ),
        ({"export_location": "x/spool/y", "local_base_path": "./x"}, {"export_location"}),
        ({"snapshot_location": "s3://snapshots"}, {"snapshot_location"}),
        ({"export_location": "s3://exports"}, {"export_location"}),
        (
            {"s3_access_key": "k", "s3_secret_key": "s", "s3_bucket": "evidence"}
            | {"export_location": "s3://evidence/image"},
            {"export_location"},
        ),
    ],
)
def test_a_half_given_or_contradictory_group_is_refused(
    given: dict[str, object], named: set[str]
) -> None:
    assert set(refused(**given)) == named


@pytest.mark.parametrize(
    ("host", "found"),
    [
        *((host, host) for host in ("db", "db.example.org", "10.0.0.7", "::1", "/run/pg")),
        ("[::1]", "::1"),
        ("[::1]:5433", "[::1]:5433"),
        ("db1, db2:5433", "db1,db2:5433"),
        ("[::1], [::2]", "::1,::2"),
    ],
)
def test_a_database_host_is_a_name_an_address_or_the_folder_of_a_socket(
    host: str, found: str
) -> None:
    assert StorageConfig(db_host=host, db_name="n", db_user="u").db_host == found


def test_a_settings_file_that_nobody_named_and_nobody_can_see_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # As the home of another user is to a service that was started with it. A file in place of a
    # folder is as unseen to root, too.
    (tmp_path / "traffic-storage").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert StorageConfig.load(env={}) == StorageConfig()
    assert "TRAFFIC_STORAGE_CONFIG" in caplog.text
    with pytest.raises(ConfigurationError, match="can't be read"):
        StorageConfig.load(tmp_path / "traffic-storage" / "config.toml", env={})


@pytest.mark.parametrize("host", ["redis", "10.0.0.7", "::1", "/run/redis/redis.sock"])
def test_a_redis_host_is_a_name_an_address_or_the_path_of_a_socket(host: str) -> None:
    assert StorageConfig(redis_host=host).redis_host == host


@pytest.mark.parametrize(
    ("url", "host", "port", "db", "username", "password", "tls"),
    [
        ("redis://cache", "cache", 6379, 0, None, None, False),
        ("redis://:pass@10.0.0.7:6380/2", "10.0.0.7", 6380, 2, None, "pass", False),
        ("rediss://traffic:p%40ss@[::1]/", "::1", 6379, 0, "traffic", "p@ss", True),
        ("REDISS://cache", "cache", 6379, 0, None, None, True),
        (
            "unix://traffic:pass@/run/redis.sock?db=1",
            "/run/redis.sock",
            6379,
            1,
            "traffic",
            "pass",
            False,
        ),
    ],
)
def test_a_redis_url_gives_the_whole_address(
    url: str, host: str, port: int, db: int, username: str | None, password: str | None, tls: bool
) -> None:
    config = StorageConfig(redis_url=url)

    assert config.has_redis
    assert config.redis == RedisAddress(host, port, db, username, password, tls)
    assert evolve(config) == config
    assert evolve(config, redis_url=None).redis is None


@pytest.mark.parametrize(
    "url",
    [
        "cache:6379",
        "http://cache",
        "redis//cache",
        "redis://",
        "redis://cache/evidence",
        "redis://cache/1024",
        "redis://cache/" + "3" * 5000,
        "redis://cache:port",
        "redis://cache:0",
        "redis://cache:65536",
        "redis://cache?db=3",
        "redis://cache?socket_timeout=1",
        "redis://cache#3",
        f"redis://admin:4711#{CANARY}@cache",
        f"redis://admin:12?{CANARY}@cache",
        f"redis://admin:12/{CANARY}@cache",
        f"redis://:{CANARY}%ff@cache",
        f"redis://:{CANARY}\t@cache",
        f"redis://:{CANARY}@cache ",
        "redis://traffic@cache",
        "unix://redis.sock",
        "unix://run/redis.sock",
        "unix:///run/redis.sock ",
        "unix:///run/redis.sock?db=x",
        "unix:///run/redis.sock?host=other",
        "unix:///run/redis.sock?db=1_0",
    ],
)
def test_a_redis_url_that_is_none_is_refused_and_not_shown(url: str) -> None:
    problems = refused(redis_url=url, redis_cluster=True, redis_ca_file="ca.pem")

    assert {"redis_url"} <= set(problems) <= {"redis_url", "redis_tls"}
    assert url not in str(problems)
    assert CANARY not in str(problems)


def test_a_cluster_has_neither_databases_nor_a_socket() -> None:
    for url in ("redis://cache/1", "unix:///run/redis.sock"):
        assert set(refused(redis_url=url, redis_cluster=True)) == {"redis_url"}
    assert StorageConfig(redis_url="redis://cache/0", redis_cluster=True).redis_cluster


def test_an_address_of_redis_is_given_once(tmp_path: Path) -> None:
    assert set(refused(redis_url="redis://cache", redis_host="cache")) == {"redis_host"}
    assert set(refused(redis_url="rediss://cache", redis_tls=True)) == {"redis_tls"}
    file = written(tmp_path, 'redis_url = "rediss://cache/3"\n')
    env = {"TRAFFIC_STORAGE_REDIS_DB": "0", "TRAFFIC_STORAGE_REDIS_TLS": "false"}
    problems = load_refused(env, file)
    assert set(problems) == {"redis_db", "redis_tls"}
    assert "it comes from TRAFFIC_STORAGE_REDIS_DB" in problems["redis_db"]


def test_an_address_of_redis_replaces_that_of_a_weaker_source(tmp_path: Path) -> None:
    file = written(tmp_path, 'redis_host = "h"\nredis_port = 6380\nredis_password = "p"\n')
    config = StorageConfig.load(file, {"TRAFFIC_STORAGE_REDIS_URL": "redis://cache"})
    assert config.redis == RedisAddress("cache", 6379, 0, None, None, tls=False)
    file = written(tmp_path, 'redis_url = "redis://:p@h/3"\n')
    config = StorageConfig.load(file, {"TRAFFIC_STORAGE_REDIS_HOST": "cache"})
    assert config.redis == RedisAddress("cache", 6379, 0, None, None, tls=False)


def test_a_table_in_the_settings_file_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, '[redis]\nhost = "cache"\n')
    problems = load_refused({}, file)

    assert set(problems) == {"redis"}
    assert "is a table" in problems["redis"]


def test_a_path_in_the_settings_file_is_relative_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file = written(
        tmp_path,
        'local_base_path = "evidence"\napi_keys_file = "keys"\n'
        'redis_url = "rediss://cache"\nredis_ca_file = "ca.pem"\n',
    )
    config = StorageConfig.load(file, {})

    paths = (config.local_base_path, config.api_keys_file, config.redis_ca_file)
    assert paths == (tmp_path / "evidence", tmp_path / "keys", tmp_path / "ca.pem")


def test_a_redis_url_with_tls_may_have_its_own_authorities() -> None:
    assert StorageConfig(redis_url="rediss://cache", redis_ca_file="ca.pem").redis_ca_file
    assert set(refused(redis_url="redis://cache", redis_ca_file="ca.pem")) == {"redis_tls"}


def test_a_redis_url_is_explained_as_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"rediss://traffic:{CANARY}@cache\n")
    found = {one.name: one for one in explain(env={"TRAFFIC_STORAGE_REDIS_URL_FILE": str(file)})}

    assert (found["redis_url"].value, found["redis_url"].source) == ("********", str(file))
    assert found["redis_host"].source == "default"
    assert CANARY not in str(found)


def test_a_redis_url_in_a_file_may_be_rotated(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://:old@cache\n")
    config = StorageConfig.load(env={"TRAFFIC_STORAGE_REDIS_URL_FILE": str(file)})
    file.write_text("redis://:new@cache\n")
    changed = evolve(config, public_url="http://here")

    assert changed.redis is not None
    assert changed.redis.password == "new"
    file.write_text(CANARY)
    with pytest.raises(ConfigurationError, match="redis_url: must be") as caught:
        _ = config.redis
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_is_not_a_text_is_not_shown(name: str) -> None:
    problems = refused(**{**ALL_SECRETS, name: 987654321})
    assert "987654" not in str(problems[name])


def test_a_redis_url_that_is_not_a_text_is_refused_and_not_shown() -> None:
    assert list(refused(redis_url=987654321)) == ["redis_url"]
    assert "987654" not in str(refused(redis_url=987654321))


@pytest.mark.parametrize("spelling", ["HYBRID", "hybrid", "Hybrid", StorageStrategy.HYBRID])
def test_a_strategy_may_be_spelled_in_either_case(spelling: str) -> None:
    config = StorageConfig(strategy=spelling, **CLOUD)  # type: ignore[arg-type]

    assert config.strategy is StorageStrategy.HYBRID
    assert StorageConfig(**CLOUD).effective_strategy(spelling) is StorageStrategy.HYBRID  # type: ignore[arg-type]


def test_an_argument_wins_over_the_setting() -> None:
    config = StorageConfig(strategy="CLOUD_ONLY", **CLOUD)  # type: ignore[arg-type]

    assert config.effective_strategy() is StorageStrategy.CLOUD_ONLY
    assert config.effective_strategy("local_only") is StorageStrategy.LOCAL_ONLY


def test_an_unknown_strategy_is_refused_and_the_near_one_suggested() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean LOCAL_THEN_CLOUD\?"):
        StorageConfig().effective_strategy("LOCAL_AND_CLOUD")


@pytest.mark.parametrize("strategy", [s for s in StorageStrategy if s.needs_cloud])
def test_a_strategy_that_needs_a_cloud_names_the_missing_settings(
    strategy: StorageStrategy,
) -> None:
    with pytest.raises(ConfigurationError, match=strategy) as caught:
        StorageConfig(strategy=strategy).effective_strategy()

    assert set(told(caught.value)) == {"s3_credentials"}
    assert StorageConfig(s3_credentials="aws").missing_for(strategy) is None
    assert StorageConfig(**CLOUD).missing_for(strategy) is None  # type: ignore[arg-type]


def test_routes_may_be_given_as_values_mappings_or_lists() -> None:
    route = BucketRoute("north_*", "north", "eu-west-1", "http://s3:9000")
    config = StorageConfig(
        **CLOUD,  # type: ignore[arg-type]
        s3_buckets=[
            route,
            {"device_pattern": "south_*", "bucket": "south"},
            ("west_*", "west", "us-west-2"),
        ],
    )

    assert config.s3_buckets == (
        route,
        BucketRoute("south_*", "south"),
        BucketRoute("west_*", "west", "us-west-2"),
    )


def test_settings_become_values_of_the_domain() -> None:
    config = StorageConfig(
        timezone="Europe/Madrid",
        max_local_size_gb=1.5,
        local_reserve_gb=0.5,
        max_cloud_size_gb=2,
        local_cache_gb=0.1,
        image_format="png",
        image_quality=80,
        image_effort=3,
        image_lossless=True,
        high_water=0.5,
        hybrid_large_bytes=7,
        hybrid_local_kinds=["metadata"],
        local_cache_item_bytes=9,
        max_clock_ahead=timedelta(minutes=90),
    )

    assert config.zone == ZoneInfo("Europe/Madrid")
    assert config.max_local_bytes == 1_500_000_000
    assert config.local_reserve_bytes == 500_000_000
    assert config.max_cloud_bytes == 2_000_000_000
    assert config.local_cache_bytes == 100_000_000
    assert config.encoding == Encoding(ImageFormat.PNG, 80, 3, True)
    assert config.thresholds.high_water == 0.5
    assert config.thresholds.large_bytes == 7
    assert config.thresholds.hybrid_local_kinds == frozenset({FileKind.METADATA})
    assert config.thresholds.cache_item_bytes == 9
    assert config.max_clock_ahead == timedelta(minutes=90)
    assert StorageConfig().max_cloud_bytes is None


NUMBERS = {
    name: rule
    for name, attribute in fields_dict(StorageConfig).items()
    if isinstance((rule := rule_of(attribute)).high, int | float)
}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_that_is_accepted_can_be_used(name: str) -> None:
    context: dict[str, object] = {"db_host": "h", "db_name": "n", "db_user": "u"}
    context |= {"redis_host": "h"} if name.startswith("redis_") else {}
    for bound in (NUMBERS[name].low, NUMBERS[name].high):
        config = StorageConfig(**context, **{name: bound})  # type: ignore[arg-type]
        values = (config.retention, config.thresholds, config.encoding)
        limits = (config.max_local_bytes, config.local_reserve_bytes, config.local_cache_bytes)

        assert None not in values
        assert all(0 <= limit < 2**63 for limit in limits)
    assert name in refused(**context, **{name: NUMBERS[name].high * 2 + 1})


def test_addresses_lose_the_slash_at_their_end() -> None:
    config = StorageConfig(
        public_url="https://evidence.example.org/",
        s3_endpoint="http://s3:9000/",
        **CLOUD,  # type: ignore[arg-type]
    )

    assert config.public_url == "https://evidence.example.org"
    assert config.s3_endpoint == "http://s3:9000"


# ----------------------------------------------------------------------------- sources


def test_a_file_gives_settings_and_its_relative_paths_are_relative_to_it(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        local_base_path = "evidence"
        strategy = "cloud_only"
        max_local_size_gb = 5
        hybrid_local_kinds = ["image"]
        s3_access_key = "key"
        s3_secret_key = "secret"
        [[s3_buckets]]
        device_pattern = "north_*"
        bucket = "north"
        """,
    )

    config = StorageConfig.load(file, env={})

    assert config.local_base_path == tmp_path / "evidence"
    assert config.strategy is StorageStrategy.CLOUD_ONLY
    assert config.max_local_size_gb == 5
    assert config.hybrid_local_kinds == (FileKind.IMAGE,)
    assert config.s3_buckets == (BucketRoute("north_*", "north"),)


def test_the_environment_wins_over_the_file_and_an_override_over_both(tmp_path: Path) -> None:
    file = written(tmp_path, "parallel_uploads = 2\nimage_quality = 50\nimage_effort = 1\n")
    env = {"TRAFFIC_STORAGE_IMAGE_QUALITY": "60", "TRAFFIC_STORAGE_IMAGE_EFFORT": "2"}

    config = StorageConfig.load(file, env, {"image_effort": 3})

    assert config.parallel_uploads == 2
    assert config.image_quality == 60
    assert config.image_effort == 3


def test_the_environment_spells_every_kind_of_setting() -> None:
    config = StorageConfig.load(
        env={
            "TRAFFIC_STORAGE_LOCAL_BASE_PATH": "/evidence",
            "TRAFFIC_STORAGE_STRATEGY": "hybrid",
            "TRAFFIC_STORAGE_MAX_LOCAL_SIZE_GB": "2.5",
            "TRAFFIC_STORAGE_PARALLEL_UPLOADS": "8",
            "TRAFFIC_STORAGE_COMPRESSION_ENABLED": "No",
            "TRAFFIC_STORAGE_HYBRID_LOCAL_KINDS": "image, video",
            "TRAFFIC_STORAGE_API_KEYS": f"a:{'0' * 64},b:{'1' * 64}",
            "TRAFFIC_STORAGE_TIMEZONE": "Europe/Madrid",
            "TRAFFIC_STORAGE_S3_ACCESS_KEY": "key",
            "TRAFFIC_STORAGE_S3_SECRET_KEY": "secret",
            "TRAFFIC_STORAGE_S3_ENDPOINT": "http://s3:9000",
            "TRAFFIC_STORAGE_S3_BUCKETS": '[{"device_pattern": "n*", "bucket": "north"}]',
            "UNRELATED": "x",
        }
    )

    assert config.local_base_path == Path("/evidence")
    assert config.strategy is StorageStrategy.HYBRID
    assert config.max_local_size_gb == 2.5
    assert config.parallel_uploads == 8
    assert not config.compression_enabled
    assert config.hybrid_local_kinds == (FileKind.IMAGE, FileKind.VIDEO)
    assert len(config.api_keys) == 2
    assert config.zone.key == "Europe/Madrid"
    assert config.s3_buckets == (BucketRoute("n*", "north"),)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("parallel_uploads", "four"),
        ("max_local_size_gb", "much"),
        ("compression_enabled", "perhaps"),
        ("hybrid_local_kinds", "image,picture"),
        ("s3_buckets", "[{"),
        ("strategy", "none"),
    ],
)
def test_a_text_that_means_nothing_is_refused_by_name(name: str, text: str) -> None:
    variable = f"TRAFFIC_STORAGE_{name.upper()}"
    problems = load_refused({variable: text})

    assert {key.partition("[")[0] for key in problems} >= {name}
    assert any(variable in told for told in problems.values())


def test_unknown_names_of_file_and_environment_are_all_named(tmp_path: Path) -> None:
    file = written(tmp_path, 'parallel_upload = 2\n[storage]\ndb_host = "x"\n')

    problems = load_refused({"TRAFFIC_STORAGE_DB_HOTS": "x"}, file)

    assert problems == {
        "parallel_upload": f"is not a setting (in {file}): did you mean parallel_uploads?",
        "storage": f"is a table, and no setting is in a table (in {file}): write each setting as"
        " `name = value`, before any [table]",
        "TRAFFIC_STORAGE_DB_HOTS": ("is not a setting: did you mean TRAFFIC_STORAGE_DB_HOST?"),
    }


def test_a_file_that_somebody_names_must_be_readable_toml(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    broken = written(tmp_path, f'db_password = "{CANARY}')
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")

    assert "does not exist" in load_refused({}, missing)[str(missing)]
    assert "does not exist" in load_refused({"TRAFFIC_STORAGE_CONFIG": str(missing)})[str(missing)]
    assert "can't be read" in load_refused({}, tmp_path)[str(tmp_path)]
    assert "is not TOML" in load_refused({}, binary)[str(binary)]
    assert CANARY not in str(load_refused({}, broken))


def test_the_file_is_found_by_variable_else_in_the_users_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert StorageConfig.load(env={}).parallel_uploads == 4

    (tmp_path / "traffic-storage").mkdir()
    (tmp_path / "traffic-storage" / "config.toml").write_text("parallel_uploads = 5\n")
    named = written(tmp_path, "parallel_uploads = 6\n")

    assert StorageConfig.load(env={}).parallel_uploads == 5
    assert StorageConfig.load(env={"TRAFFIC_STORAGE_CONFIG": str(named)}).parallel_uploads == 6


def test_a_secret_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from file\n")
    (tmp_path / "s3").write_text("key")
    file = written(
        tmp_path,
        'db_host = "db"\ndb_name = "n"\ndb_user = "u"\ndb_password_file = "password"\n'
        's3_access_key = "k"\n',
    )

    config = StorageConfig.load(file, {"TRAFFIC_STORAGE_S3_SECRET_KEY_FILE": str(tmp_path / "s3")})

    assert config.db_password == Secret("from file")
    assert config.s3_secret_key == Secret("key")


def test_a_secret_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    (tmp_path / "binary").write_bytes(b"\xff")

    assert "can't be read" in str(
        load_refused({"TRAFFIC_STORAGE_DB_PASSWORD_FILE": str(missing)})["db_password_file"]
    )
    assert "not UTF-8" in str(
        load_refused({"TRAFFIC_STORAGE_DB_PASSWORD_FILE": str(tmp_path / "binary")})
    )
    assert "db_password_file" in load_refused({}, written(tmp_path, "db_password_file = 3\n"))
    assert "not a setting" in str(load_refused({"TRAFFIC_STORAGE_DB_NAME_FILE": "x"}))


def test_a_secret_that_is_given_directly_and_by_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    file = written(tmp_path, 's3_access_key = "k"\ns3_access_key_file = "key"\n')
    env = {"TRAFFIC_STORAGE_S3_SECRET_KEY": "s"}
    env["TRAFFIC_STORAGE_S3_SECRET_KEY_FILE"] = str(tmp_path / "key")

    problems = load_refused(env, file)

    assert set(problems) == {"s3_access_key", "s3_secret_key"}
    assert all("given twice" in told for told in problems.values())


def test_a_secret_of_the_environment_replaces_the_one_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("by variable")
    file = written(tmp_path, 's3_access_key = "k"\ns3_secret_key = "by file"\n')

    config = StorageConfig.load(file, {"TRAFFIC_STORAGE_S3_SECRET_KEY_FILE": str(tmp_path / "key")})

    assert config.s3_secret_key == Secret("by variable")


def test_a_secret_file_that_was_rotated_is_read_anew(tmp_path: Path) -> None:
    secret_file = tmp_path / "password"
    secret_file.write_text("first\n")
    file = written(
        tmp_path, 'db_host = "h"\ndb_name = "n"\ndb_user = "u"\ndb_password_file = "password"\n'
    )
    secret = StorageConfig.load(file, {}).db_password
    assert secret is not None
    assert secret.file == secret_file

    shown = []
    for content in (b"\xef\xbb\xbfsecond\r\n", b"", b"\xff"):
        secret_file.write_bytes(content)
        shown.append(secret.reveal())
    secret_file.unlink()

    assert [*shown, secret.reveal()] == ["second", "first", "first", "first"]


def test_only_a_secret_can_lie_in_a_file_of_its_own() -> None:
    problems = load_refused({"TRAFFIC_STORAGE_DB_NAME_FILE": "x"})

    assert problems["db_name_file"].endswith("set db_name")


def test_a_near_miss_of_a_secret_file_is_refused(tmp_path: Path) -> None:
    problems = load_refused({"TRAFFIC_STORAGE_DB_PASWORD_FILE": str(tmp_path)})

    assert problems["TRAFFIC_STORAGE_DB_PASWORD_FILE"].endswith(
        "did you mean TRAFFIC_STORAGE_DB_PASSWORD_FILE?"
    )


def test_an_unknown_variable_that_is_near_to_no_setting_is_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = StorageConfig.load("/dev/null", {"TRAFFIC_STORAGE_RELEASE": CANARY})

    assert config == StorageConfig()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "TRAFFIC_STORAGE_RELEASE" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("service", "port"), [("", "8001"), ("DB_", "5432"), ("REDIS_MASTER_", "6379")]
)
def test_variables_that_kubernetes_sets_for_a_service_are_passed_over(
    service: str, port: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"tcp://10.96.0.12:{port}"
    of_service = {
        "SERVICE_HOST": "10.96.0.12",
        "SERVICE_PORT": port,
        "SERVICE_PORT_HTTP": port,
        "PORT": address,
        f"PORT_{port}_TCP": address,
        f"PORT_{port}_TCP_PROTO": "tcp",
        f"PORT_{port}_TCP_PORT": port,
        f"PORT_{port}_TCP_ADDR": "10.96.0.12",
    }

    config = StorageConfig.load(
        "/dev/null",
        {f"TRAFFIC_STORAGE_{service}{name}": text for name, text in of_service.items()},
    )

    assert config == StorageConfig()
    assert not caplog.records


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    file = written(tmp_path, "parallel_uploads = 2\n")
    names = [*fields_dict(StorageConfig), "db_password_file", "config", "no_setting"]
    env = {f"TRAFFIC_STORAGE_{name.upper()}": "" for name in names}

    assert StorageConfig.load(file, env) == StorageConfig(parallel_uploads=2)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xef\xbb\xbfparallel_uploads = 2\n")

    assert StorageConfig.load(file, {}).parallel_uploads == 2


def test_a_problem_says_what_is_wrong_where_and_what_to_do(tmp_path: Path) -> None:
    file = written(tmp_path, 'max_local_size_gb = "much"\ntimezone = "Europe/Madird"\n')

    problems = load_refused({"TRAFFIC_STORAGE_REDIS_TIMEOUT_SECONDS": "11"}, file)

    assert problems["max_local_size_gb"] == (
        f"must be a number from 0.000001 to 1000000000, not a text; it comes from {file}: "
    )
    assert problems["timezone"] == (
        "must be a time zone such as Europe/Madrid, not 'Europe/Madird'; "
        f"it comes from {file}: did you mean Europe/Madrid?"
    )
    assert problems["redis_timeout_seconds"] == (
        "must be a number from 0.001 to 10, not 11.0; "
        "it comes from TRAFFIC_STORAGE_REDIS_TIMEOUT_SECONDS: "
    )


# ----------------------------------------------------------------------------- secrets


def test_no_secret_is_in_repr_or_str() -> None:
    config = StorageConfig(**ALL_SECRETS, api_keys=[f"a:{'ab' * 32}"])  # type: ignore[arg-type]

    assert CANARY not in f"{config!r} {config!s} {config}"
    assert "ab" * 32 not in repr(config)


def test_a_secret_shows_itself_nowhere(tmp_path: Path) -> None:
    config = StorageConfig(**ALL_SECRETS)  # type: ignore[arg-type]
    (tmp_path / "secret").write_text(CANARY)
    secret = Secret.read(tmp_path / "secret")
    held = asdict(config)

    for value in (config, held, secret, copy.copy(secret), copy.deepcopy(held)):
        assert (
            CANARY
            not in f"{value!r} {value} {pprint.pformat(value)} {json.dumps(value, default=str)}"
        )
        with pytest.raises(TypeError):
            orjson.dumps(value)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError):
                pickle.dumps(value, protocol)
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(AttributeError):
        secret.file = None
    assert secret.reveal() == CANARY


def test_secrets_are_equal_by_value_and_hash() -> None:
    assert {Secret("a"), Secret("a"), Secret("b")} == {Secret("a"), Secret("b")}
    assert Secret("a") != "a"


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_be_given_as_such(name: str) -> None:
    by_text = StorageConfig(**ALL_SECRETS)  # type: ignore[arg-type]
    by_secret = StorageConfig(**{**ALL_SECRETS, name: Secret(CANARY)})  # type: ignore[arg-type]

    assert by_text == by_secret


@pytest.mark.parametrize("name", ["db_name", "db_user", "redis_username"])
@pytest.mark.parametrize(
    "value",
    [
        f"postgres://u:{CANARY}@h/db",
        f"u:{CANARY}@h",
        f"dbname=db password={CANARY}",
        f"redis://:{CANARY}",
        f"{CANARY}\0",
    ],
)
def test_an_address_with_a_secret_is_no_name_and_is_not_shown(
    name: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    needed = {**DATABASE, "redis_host": "redis", "redis_password": "p"}
    given: dict[str, object] = {**needed, name: value}
    with pytest.raises(ConfigurationError) as caught:
        StorageConfig(**given)  # type: ignore[arg-type]
    remedies = told(caught.value)
    assert set(remedies) == {name}
    assert f"{name.partition('_')[0]}_password" in remedies[name]
    shown = f"{caught.value} {caught.value!r} {caught.value.problems}"
    if "\0" not in value:
        set_environment(monkeypatch, tmp_path)
        monkeypatch.setenv(f"TRAFFIC_STORAGE_{name.upper()}", value)
        result = Shell(tmp_path, capsys)("config", "show", "--verbose", code=7)
        shown += result.out + result.err
    assert CANARY not in shown


def test_brackets_of_an_address_of_redis_are_taken_off() -> None:
    assert StorageConfig(redis_host="[fe80::1%eth0]").redis_host == "fe80::1%eth0"


@pytest.mark.parametrize(
    "user", ["straße", "svc@project.iam", "admin@server", "o'neil", 'a"b', "a:b", "a b", "@"]
)
def test_usual_names_of_databases_and_users_are_taken(user: str) -> None:
    config = StorageConfig(db_host="db", db_name="traffic-system 2: a/b", db_user=user)
    assert config.db_user == user


def test_unknown_names_do_not_hide_wrong_values(tmp_path: Path) -> None:
    assert set(refused(db_hosst="db", db_name="n", db_port="x", strategy="none")) == {
        "db_hosst",
        "db_port",
        "strategy",
    }
    file = written(tmp_path, "redis_prot = 1\nredis_db = 'x'\n")
    assert set(load_refused({"TRAFFIC_STORAGE_PARALLEL_UPLOADS": "0"}, file)) == {
        "redis_prot",
        "redis_db",
        "parallel_uploads",
        "redis_host",
    }


@pytest.mark.parametrize("ssl_mode", ["on", "verify-full"])
def test_unknown_names_do_not_hide_what_contradicts(tmp_path: Path, ssl_mode: str) -> None:
    """A name that is probably meant by an unknown one is not told as missing, too."""
    env = {
        "TRAFFIC_STORAGE_DB_SSL_MODE": ssl_mode,
        "TRAFFIC_STORAGE_DB_HOST": "db",
        "TRAFFIC_STORAGE_DB_NAM": "n",
        "TRAFFIC_STORAGE_REDIS_PORT": "6380",
    }
    wrong = {"db_ssl_mode"} if ssl_mode == "on" else set()
    missing = {"db_user", "redis_host"}
    assert set(load_refused(env)) == {"TRAFFIC_STORAGE_DB_NAM", *wrong, *missing}
    file = written(tmp_path, "open_acces = true\ndb_key_file = 'k'\ndb_ssl_mode = 'disable'\n")
    assert set(load_refused({}, file)) == {"open_acces", "db_key_file", "db_host", "db_cert_file"}
    assert set(refused(open_acces=True, s3_secret_key="x")) == {"open_acces", "s3_access_key"}


def test_a_secret_that_cannot_be_read_is_not_told_as_missing(tmp_path: Path) -> None:
    env = {
        "TRAFFIC_STORAGE_S3_ACCESS_KEY": "a",
        "TRAFFIC_STORAGE_S3_SECRET_KEY_FILE": str(tmp_path / "none"),
    }
    assert list(load_refused(env)) == ["s3_secret_key_file"]


def test_the_canary_is_in_every_setting_that_is_secret() -> None:
    assert set(config_module.SECRETS) == {*SECRETS, "redis_url", "s3_session_token"}


def test_no_secret_is_in_an_explanation() -> None:
    env = {f"TRAFFIC_STORAGE_{name.upper()}": value for name, value in ALL_SECRETS.items()}

    explained = explain(env=env)

    assert CANARY not in repr(explained)
    assert {line.name for line in explained if line.value == "********"} == set(SECRETS)


@pytest.mark.parametrize("name", [*SECRETS, "db_host", "redis_host", "s3_endpoint", "public_url"])
@pytest.mark.parametrize(
    "value", [f"http://user:{CANARY}@host/?{CANARY}", [CANARY], f"{CANARY}\0", f"{CANARY}" * 40]
)
def test_no_error_quotes_what_may_be_a_secret(
    name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    others = {key: part for key, part in ALL_SECRETS.items() if key != "redis_host"}
    with pytest.raises(ConfigurationError) as caught:
        StorageConfig(**{**others, name: value}, redis_db=-1)  # type: ignore[arg-type]

    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.problems} {caplog.text}"


def test_no_error_of_loading_quotes_a_secret(tmp_path: Path) -> None:
    file = written(tmp_path, f'db_password = "{CANARY}"\ns3_secret_keyy = "{CANARY}"\n')

    with pytest.raises(ConfigurationError) as caught:
        StorageConfig.load(file, {"TRAFFIC_STORAGE_DB_PASSWORT": CANARY})

    assert CANARY not in f"{caught.value!r} {caught.value}"


# ----------------------------------------------------------------------------- explanation


def test_an_explanation_says_where_each_value_came_from(tmp_path: Path) -> None:
    file = written(tmp_path, "parallel_uploads = 2\nimage_quality = 50\n")
    env = {"TRAFFIC_STORAGE_IMAGE_QUALITY": "60"}

    explained = {line.name: line for line in explain(file, env, {"strategy": "local_only"})}

    assert explained["parallel_uploads"].source == str(file)
    assert explained["image_quality"].source == "TRAFFIC_STORAGE_IMAGE_QUALITY"
    assert explained["strategy"].source == "argument"
    assert explained["strategy"].value == "LOCAL_ONLY"
    assert explained["db_port"].source == "default"
    assert explained["db_port"].value == 5432


def test_an_explanation_is_json_and_has_words_for_every_setting() -> None:
    env = {
        "TRAFFIC_STORAGE_S3_ACCESS_KEY": "key",
        "TRAFFIC_STORAGE_S3_SECRET_KEY": "secret",
        "TRAFFIC_STORAGE_S3_BUCKETS": '[["n*", "north"]]',
        "TRAFFIC_STORAGE_API_KEYS": f"camera:{'ab' * 32}",
    }
    explained = {line.name: line for line in explain(env=env)}

    assert json.dumps([line.value for line in explained.values()])
    assert all(line.doc for line in explained.values())
    assert list(explained) == list(fields_dict(StorageConfig))
    assert explained["api_keys"].value == ["camera:abababab…"]
    assert explained["s3_buckets"].value == [{"device_pattern": "n*", "bucket": "north"}]


@pytest.mark.parametrize("given", [date(2010, 3, 4), "2010-03-04"])
def test_the_earliest_capture_is_a_date(given: date | str) -> None:
    file_env = {"TRAFFIC_STORAGE_EARLIEST_CAPTURE": str(given)}

    assert StorageConfig(earliest_capture=given).earliest_capture == date(2010, 3, 4)
    assert StorageConfig.load("/dev/null", file_env).earliest_capture == date(2010, 3, 4)
    assert StorageConfig().earliest_capture == date(2000, 1, 2)
    assert StorageConfig().max_backdating == timedelta(days=30)


@pytest.mark.parametrize("wrong", ["2010-3-4", 2010, None, datetime(2010, 3, 4)])
def test_what_is_no_date_is_refused_with_an_example(wrong: object) -> None:
    assert "2000-01-02" in refused(earliest_capture=wrong)["earliest_capture"]


def test_importing_the_settings_loads_no_technology() -> None:
    script = (
        "import sys, traffic_storage.entrypoints.settings; "
        "print([m for m in ('platformdirs', 'cattrs', 'sqlalchemy', 'obstore', 'PIL',"
        " 'redis', 'fastapi', 'cyclopts', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("1.5h", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
    ],
)
def test_a_length_of_time_is_a_timedelta_or_a_text(text: str, meant: timedelta) -> None:
    env = {"TRAFFIC_STORAGE_MAX_CLOCK_AHEAD": text}

    assert StorageConfig(max_clock_ahead=text).max_clock_ahead == meant
    assert StorageConfig.load("/dev/null", env).max_clock_ahead == meant


@pytest.mark.parametrize("wrong", ["", "24", "h", "-1h", "1w", 24, None, True])
def test_what_is_no_length_of_time_is_refused_with_an_example(wrong: object) -> None:
    assert "24h" in refused(max_clock_ahead=wrong)["max_clock_ahead"]
