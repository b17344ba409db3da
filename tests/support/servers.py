"""Real servers for tests, benchmarks and crash loops: the names to import.

Everything here is plain Python: classes that are context managers, with `start`, `stop`, `kill`,
`stall` and `resume`. Nothing that is started outlives the process that started it: servers live in
the folder of a Keeper, this process's own unless `home` names another's.

    with PostgresServer() as postgres, S3Server() as s3, RedisServer() as redis:
        database = postgres.create_database()      # host, port, name, user, password, url
        bucket = s3.create_bucket()                # endpoint, name, access_key, secret_key
        cache = redis.address                      # host, port, db, password
"""

from tests.support.keeper import Keeper, process_keeper
from tests.support.postgres import Database, PostgresAddress, PostgresServer, shipped_binary
from tests.support.process import ServerFailed, ServerMissing
from tests.support.redis import RedisAddress, RedisCluster, RedisServer, new_password
from tests.support.s3 import Answer, Bucket, S3Address, S3Server
from tests.support.shared import SharedServers

__all__ = [
    "Answer",
    "Bucket",
    "Database",
    "Keeper",
    "PostgresAddress",
    "PostgresServer",
    "RedisAddress",
    "RedisCluster",
    "RedisServer",
    "S3Address",
    "S3Server",
    "ServerFailed",
    "ServerMissing",
    "SharedServers",
    "new_password",
    "process_keeper",
    "shipped_binary",
]
