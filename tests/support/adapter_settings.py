"""What single adapters need to run on the servers of the tests; `setups` is for whole services."""

from typing import Any

import attrs

from tests.support.servers import Bucket, Database, RedisAddress
from traffic_storage.adapters.blob_store.object_store import S3Settings
from traffic_storage.adapters.cache.redis import RedisSettings
from traffic_storage.adapters.record_repo.sql.postgres import PostgresSettings

PATIENT_SECONDS = 60.0
"""Far more than any machine needs, so that a busy one does not fail."""


def s3_settings(bucket: Bucket, **changes: Any) -> S3Settings:
    """How to reach this bucket."""
    settings = S3Settings(
        bucket.name, bucket.region, bucket.endpoint, bucket.access_key, bucket.secret_key
    )
    return attrs.evolve(settings, **changes)


def postgres_settings(database: Database, **changes: Any) -> PostgresSettings:
    """How to reach this database, patiently."""
    settings = PostgresSettings(
        host=database.host,
        port=database.port,
        database=database.name,
        user=database.user,
        password=database.password,
        timeout_seconds=PATIENT_SECONDS,
    )
    return attrs.evolve(settings, **changes)


def redis_settings(address: RedisAddress, **changes: Any) -> RedisSettings:
    """How to reach this Redis, as hurried as by default."""
    return RedisSettings(**attrs.asdict(address) | changes)
