"""What stands in front of a PostgreSQL in production: something that speaks TLS, and a pooler.

The PostgreSQL of the tests is built without TLS; and PgBouncer is no Python package.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
import struct
from collections import deque

from attrs import define

from tests.support.postgres import Database
from tests.support.proxy import Proxy

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_KNOWN = {"user", "database", "application_name", "client_encoding"}


class TlsFront(Proxy):
    """Answers PostgreSQL's request for TLS with yes and hands the rest on, in the clear."""

    def __init__(self, database: Database, context: ssl.SSLContext) -> None:
        super().__init__()
        self._target = (database.host, database.port)
        self._context = context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(8) != _SSL_REQUEST:
            return
        writer.write(b"S")
        try:
            await writer.start_tls(self._context)
        except ssl.SSLError as error:
            raise ConnectionError from error
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            pumps = [
                asyncio.ensure_future(_pump(reader, far_writer)),
                asyncio.ensure_future(_pump(far_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            far_writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(65_536):
        sink.write(piece)
        await sink.drain()


@define(eq=False)
class _Session:
    """A session of the server's. `owed` is how many answers it owes to its present client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    parameters: bytes = b""
    owed: int = 0


@define(eq=False)
class _Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    session: _Session | None = None
    answers: asyncio.Task[None] | None = None


class TransactionPooler(Proxy):
    """Runs each transaction of a client in the session that was idle longest, as PgBouncer may.

    Nothing of a session is undone after a transaction. With `strict`, settings of the session are
    refused when a client logs in, which is PgBouncer's default; else they are passed over.
    """

    def __init__(self, database: Database, *, sessions: int = 3, strict: bool = True) -> None:
        super().__init__()
        self._database = database
        self._strict = strict
        self._most = sessions
        self._idle: deque[_Session] = deque()
        self._free = asyncio.Semaphore(sessions)
        self._opened = 0
        self.transactions = 0

    def close(self) -> None:
        """Close the sessions, too."""
        self._call(self._close_sessions())
        super().close()

    async def _close_sessions(self) -> None:
        await self._reset_all()
        for session in self._idle:
            session.writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(reader, writer)
        words = await _startup(client)
        if self._strict and (unknown := set(words) - _KNOWN):
            what = f"unsupported startup parameter: {min(unknown)}"
            writer.write(_message(b"E", f"SFATAL\0VFATAL\0C08P01\0M{what}\0\0".encode()))
            await writer.drain()
            return
        session = await self._lend()
        self._give_back(session)
        # The number of the process is none of the server's.
        number = b"\0" + secrets.token_bytes(7)
        writer.write(_message(b"R", bytes(4)) + session.parameters + _message(b"K", number))
        writer.write(_message(b"Z", b"I"))
        try:
            await self._hand_on(client)
        finally:
            if client.answers is not None:
                client.answers.cancel()
            if client.session is not None:
                # It left in the middle of a transaction.
                client.session.writer.close()
                self._opened -= 1
                self._free.release()

    async def _hand_on(self, client: _Client) -> None:
        while True:
            kind, message = await _next(client.reader)
            if kind == b"X":
                return
            if client.session is None:
                client.session = await self._lend()
                self.transactions += 1
                client.answers = asyncio.create_task(self._answer(client, client.session))
            client.session.owed += kind in {b"Q", b"S"}
            client.session.writer.write(message)

    async def _answer(self, client: _Client, session: _Session) -> None:
        while True:
            kind, message = await _next(session.reader)
            client.writer.write(message)
            if kind != b"Z":
                continue
            session.owed -= 1
            if message.endswith(b"I") and not session.owed:
                client.session = None
                self._give_back(session)
                return

    async def _lend(self) -> _Session:
        await self._free.acquire()
        if self._opened < self._most:
            self._opened += 1
            return await self._new_session()
        return self._idle.popleft()

    def _give_back(self, session: _Session) -> None:
        self._idle.append(session)
        self._free.release()

    async def _new_session(self) -> _Session:
        given = self._database
        reader, writer = await asyncio.open_connection(given.host, given.port)
        words = f"user\0{given.user}\0database\0{given.name}\0\0".encode()
        writer.write(struct.pack("!II", 8 + len(words), 196608) + words)
        await _log_in(reader, writer, given.password)
        session = _Session(reader, writer)
        while True:
            kind, message = await _next(reader)
            if kind == b"S":
                session.parameters += message
            if kind == b"Z":
                return session


async def _startup(client: _Client) -> list[str]:
    """Return the names of the parameters with which a client logs in. It needs no password."""
    while True:
        size = int.from_bytes(await client.reader.readexactly(4))
        startup = await client.reader.readexactly(size - 4)
        if startup != _SSL_REQUEST[4:]:
            return startup[4:].rstrip(b"\0").decode().split("\0")[::2]
        client.writer.write(b"N")


async def _log_in(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str
) -> None:
    """Log in by SCRAM-SHA-256 (RFC 7677), whose first answer is for the mechanisms."""
    await _next(reader)
    nonce = secrets.token_hex(12)
    bare = f"n=,r={nonce}"
    first = b"n,," + bare.encode()
    writer.write(_message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first))
    _, message = await _next(reader)
    server_first = message[9:].decode()
    given = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(given["s"]), int(given["i"])
    )
    key = hmac.digest(salted, b"Client Key", "sha256")
    final = f"c=biws,r={given['r']}"
    signed = f"{bare},{server_first},{final}".encode()
    mask = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, mask, strict=True))).decode()
    writer.write(_message(b"p", f"{final},p={proof}".encode()))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


async def _next(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:]) - 4)
