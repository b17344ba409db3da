"""A headless Chromium, driven by its DevTools protocol through two pipes."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_SECONDS = 60.0
_LINE = 64 * 1024 * 1024


def installed() -> str | None:
    """The path of the browser; None without one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser; each page is opened in a tab of its own."""

    def __init__(self, reader: asyncio.StreamReader, out: int) -> None:
        self._reader = reader
        self._out = out
        self._last = 0

    async def look(self, url: str, expression: str, wait: str = "true") -> Any:
        """Open a page and return the value of an expression in it.

        The expression, which may be a promise, is evaluated beside the scripts of the page, which its
        policy does not stop, once `wait` is true.
        """
        target = (await self._call("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self._call("Target.attachToTarget", targetId=target, flatten=True)
        session = attached["sessionId"]
        await self._call("Page.enable", session)
        await self._call("Page.navigate", session, url=url)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                # A navigation changes the world in which is evaluated, so the page can't tell by itself.
                while not await self._value(session, wait):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                return await self._value(session, expression)
        finally:
            await self._call("Target.closeTarget", targetId=target)

    async def _value(self, session: str, expression: str) -> Any:
        frame = (await self._call("Page.getFrameTree", session))["frameTree"]["frame"]["id"]
        world = await self._call("Page.createIsolatedWorld", session, frameId=frame)
        done = await self._call(
            "Runtime.evaluate",
            session,
            expression=expression,
            contextId=world["executionContextId"],
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in done:
            return f"exception: {done['result'].get('description', done['exceptionDetails'])}"
        return done["result"].get("value")

    async def _call(self, method: str, session: str | None = None, **arguments: Any) -> Any:
        self._last += 1
        message = {"id": self._last, "method": method, "params": arguments}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]


@asynccontextmanager
async def browser(program: str) -> AsyncIterator[Browser]:
    """A running browser with an empty profile, ended with all its processes."""
    to_it, out = os.pipe()
    back, from_it = os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        process = await asyncio.create_subprocess_exec(
            "bash",  # others know no descriptors above 9
            "-c",
            f'exec "$@" 3<&{to_it} 4>&{from_it}',
            "bash",
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--mute-audio",
            "--no-first-run",
            "--remote-debugging-pipe",
            f"--user-data-dir={Path(profile) / 'profile'}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(to_it, from_it),
            start_new_session=True,
        )
        os.close(to_it)
        os.close(from_it)
        reader = asyncio.StreamReader(limit=_LINE)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(back, "rb", 0)
        )
        try:
            yield Browser(reader, out)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            transport.close()
            os.close(out)
