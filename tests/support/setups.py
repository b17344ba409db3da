"""Set-ups: what a `StorageConfig` needs to run on the servers of the tests."""

from pathlib import Path
from typing import Any

from tests.support.servers import Bucket, Database, RedisAddress
from traffic_storage import StorageConfig


def on_bucket(bucket: Bucket) -> dict[str, Any]:
    """The settings of a cloud tier in this bucket."""
    return {
        "s3_endpoint": bucket.endpoint,
        "s3_access_key": bucket.access_key,
        "s3_secret_key": bucket.secret_key,
        "s3_bucket": bucket.name,
        "s3_region": bucket.region,
    }


def on_database(database: Database) -> dict[str, Any]:
    """The settings of a catalogue in this database."""
    return {
        "db_host": database.host,
        "db_port": database.port,
        "db_name": database.name,
        "db_user": database.user,
        "db_password": database.password,
    }


def on_redis(address: RedisAddress) -> dict[str, Any]:
    """The settings of a cache in this Redis."""
    return {
        "redis_host": address.host,
        "redis_port": address.port,
        "redis_db": address.db,
        "redis_password": address.password,
    }


def config(
    folder: Path,
    *,
    bucket: Bucket | None = None,
    database: Database | None = None,
    redis: RedisAddress | None = None,
    **more: Any,
) -> StorageConfig:
    """A configuration with its local things under `folder`; what is None stays embedded.

    The reserve of free disk space is off: a machine that runs tests may be full.
    """
    return StorageConfig(
        local_base_path=folder,
        **{"local_reserve_gb": 0.0}
        | (on_bucket(bucket) if bucket else {})
        | (on_database(database) if database else {})
        | (on_redis(redis) if redis else {})
        | more,
    )
