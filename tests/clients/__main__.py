"""Real clients download, resume, play and seek, and nothing that is stored runs in a browser.

    python -m tests.clients [--only chromium curl wget aria2c ffprobe ffmpeg]

Needs these programs (Debian: chromium curl wget aria2 ffmpeg). One that is not installed is a failure:
name the others with --only. Exit status 1 if a client got something else than it should.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
from attrs import evolve, frozen

from tests.clients.browser import Browser, browser, installed
from tests.entrypoints.http.live import LiveServer
from tests.support.media import shipped_jpeg, video
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.inputs import FileAttributes
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

SECONDS = 20.0
_PLAYER = "document.querySelector('video')"
_READY = f"({_PLAYER}?.readyState ?? 0) >= 2 || {_PLAYER}?.error != null"
# Plays, then jumps to three quarters; the position after each, and what went wrong.
_PLAY_AND_SEEK = f"""(async () => {{
  const player = {_PLAYER};
  if (player.error) return {{error: player.error.message}};
  const next = name => new Promise(done => player.addEventListener(name, done, {{once: true}}));
  player.muted = true;
  player.pause();
  player.currentTime = 0;
  await next('seeked');
  const moved = next('timeupdate');
  await player.play();
  while (player.currentTime < 0.2) await next('timeupdate');
  const played = player.currentTime;
  player.pause();
  player.currentTime = player.duration * 0.75;
  await next('seeked');
  return {{played, sought: player.currentTime, length: player.duration, state: player.readyState}};
}})()"""
_SCRIPT = (
    "<script>document.documentElement.dataset.ran = 'yes'; parent.document.title = 'ran'</script>"
)
_HTML = f"<!doctype html><html><body>evidence{_SCRIPT}</body></html>".encode()
_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
    b"<script>document.documentElement.setAttribute('data-ran', 'yes'); top.document.title = 'ran'"
    b"</script></svg>"
)
_RAN = "document.documentElement?.dataset.ran === 'yes' || document.title === 'ran'"


@frozen
class Stored:
    """A service with a video, and links to it and to files that look like pages."""

    video: bytes
    link: str
    pages: Mapping[str, str]


class Failed(Exception):
    """A client got something else than it should."""


def expect(condition: object, what: str) -> None:
    """Raise `Failed` with these words unless the condition holds."""
    if not condition:
        raise Failed(what)


@contextlib.asynccontextmanager
async def stored(folder: Path) -> AsyncIterator[Stored]:
    """The service on a port of its own, filled."""
    repo = InMemoryRecordRepo()
    settings = StorageConfig(local_base_path=folder, workers=0)
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings, record_repo=repo)
    film = video("mp4", seconds=SECONDS, faststart=True)
    pages = {
        "text/html": _HTML,
        "image/svg+xml": _SVG,
        "application/xhtml+xml": _HTML,
        "text/xml": _SVG,
        "image/jpeg": shipped_jpeg() + _HTML,
        "application/json": b'{"a": "' + _SCRIPT.replace('"', "'").encode() + b'"}',
        "application/octet-stream": _HTML,
    }
    async with (
        LiveServer(create_storage_app(container=container)) as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as client,
    ):
        await _put(client, "film", film, "video/mp4")
        for number, (kind, content) in enumerate(pages.items()):
            await _store_as(container, repo, FileId(f"page{number}"), content, kind)
        links = {kind: await _link(client, f"page{number}") for number, kind in enumerate(pages)}
        yield Stored(film, await _link(client, "film"), links)
    await container.runtime().aclose()


async def _put(client: httpx.AsyncClient, file_id: str, content: bytes, kind: str) -> None:
    headers = {"Content-Type": kind}
    answer = await client.put(f"/files/{file_id}/content", content=content, headers=headers)
    expect(answer.status_code == 201, answer.text)


async def _link(client: httpx.AsyncClient, file_id: str) -> str:
    token = (await client.get(f"/files/{file_id}/url")).json()["url"].rpartition("/")[2]
    return str(client.base_url.join(f"/access/{token}"))


async def _store_as(
    container: Container, repo: InMemoryRecordRepo, file_id: FileId, content: bytes, kind: str
) -> None:
    """Store bytes under a type that no way in accepts, as an older catalogue might have it."""
    storing = container.store_files()
    draft = await storing._prepare.document(content, FileAttributes(file_id=file_id))
    await storing._tasks.run(storing._store(draft, AsyncExitStack()))
    repo._files[file_id] = evolve(repo._files[file_id], content_type=kind)


class _OtherSite:
    """A site of another origin, whose pages embed what they are given."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, bytes]] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, content = site.pages.get(self.path, ("text/plain", b""))
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a page that was closed
                    self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def page(self, name: str, body: str) -> str:
        """Return the URL of a page with this body."""
        self.pages[f"/{name}"] = ("text/html", f"<!doctype html><body>{body}</body>".encode())
        return self.url(name)

    def url(self, name: str) -> str:
        """Return the URL of a page."""
        return f"http://localhost:{self._server.server_port}/{name}"

    def close(self) -> None:
        """End the site."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def chromium(found: Stored, _folder: Path) -> str:
    """A link to a video plays and seeks, as a page and in one; nothing stored runs."""
    program = installed()
    expect(program, "is not installed")
    site = _OtherSite()
    try:
        async with browser(str(program)) as window:
            for place, url in (
                ("a link", found.link),
                ("<video>", site.page("player", f"<video src='{found.link}' controls></video>")),
            ):
                seen = await window.look(url, _PLAY_AND_SEEK, wait=_READY)
                good = isinstance(seen, dict) and "error" not in seen
                expect(good and seen["played"] >= 0.2, f"{place} does not play: {seen}")
                aim = seen["length"] * 0.75
                expect(abs(seen["length"] - SECONDS) < 1, f"{place} has another length: {seen}")
                expect(abs(seen["sought"] - aim) < 0.5, f"{place} does not seek: {seen}")
            await _nothing_runs(window, site, found)
    finally:
        site.close()
    return "a link and a <video> play and seek; nothing stored runs"


async def _nothing_runs(window: Browser, site: _OtherSite, found: Stored) -> None:
    loaded = "document.readyState === 'complete'"
    # What would run from anywhere else: the control, without which the rest shows nothing.
    site.pages["/control"] = ("text/html", _HTML)
    expect(await window.look(site.url("control"), _RAN, wait=loaded), "the control does not run")
    for kind, link in found.pages.items():
        expect(not await window.look(link, _RAN, wait=loaded), f"{kind} runs as a page")
        for tag in (
            f"<iframe src='{link}'></iframe>",
            f"<object data='{link}'></object>",
            f"<embed src='{link}'>",
            f"<script src='{link}'></script>",
            f"<img src='{link}'>",
        ):
            page = site.page("embedding", tag)
            expect(not await window.look(page, _RAN, wait=loaded), f"{kind} runs in {tag[:8]}")


async def run(*command: str | Path) -> tuple[int, str]:
    """Run a program to its end; return its status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode(errors="replace")


def _begun(found: Stored, folder: Path) -> Path:
    """The first part of a download that was interrupted."""
    target = folder / "film.mp4"
    target.write_bytes(found.video[: len(found.video) // 3])
    return target


async def _resumes(found: Stored, folder: Path, *command: str) -> str:
    target = _begun(found, folder)
    status, said = await run(*command, target, found.link)
    expect(status == 0, said)
    expect(target.read_bytes() == found.video, "the resumed file is another one")
    expect("206" in said, f"it was not resumed: {said}")
    return "resumes a download"


async def curl(found: Stored, folder: Path) -> str:
    """`curl -C -` resumes."""
    return await _resumes(found, folder, "curl", "-sS", "-C", "-", "-D", "-", "-o")


async def wget(found: Stored, folder: Path) -> str:
    """`wget -c` resumes."""
    return await _resumes(found, folder, "wget", "-c", "-S", "-O")


async def aria2c(found: Stored, folder: Path) -> str:
    """`aria2c -x8` downloads a file in parts at once."""
    target = folder / "film.mp4"
    status, said = await run(
        *("aria2c", "-x8", "-s8", "-k", "1M", "--no-conf", "-d", folder, "-o", target.name),
        found.link,
    )
    expect(status == 0, said)
    expect(target.read_bytes() == found.video, "the file is another one")
    return "downloads in parts"


async def ffprobe(found: Stored, _folder: Path) -> str:
    """`ffprobe` reads the duration over HTTP."""
    status, said = await run(
        *("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"),
        found.link,
    )
    expect(status == 0 and abs(float(said) - SECONDS) < 1, said)
    return "reads the duration"


async def ffmpeg(found: Stored, folder: Path) -> str:
    """`ffmpeg -ss` takes one frame from the middle over HTTP."""
    frame = folder / "frame.png"
    status, said = await run(
        *("ffmpeg", "-v", "error", "-ss", str(SECONDS / 2), "-i", found.link, "-frames:v", "1"),
        frame,
    )
    expect(status == 0 and frame.stat().st_size > 1000, said)
    return "takes a frame from the middle"


CLIENTS: Mapping[str, Callable[[Stored, Path], Awaitable[str]]] = {
    "chromium": chromium,
    "curl": curl,
    "wget": wget,
    "aria2c": aria2c,
    "ffprobe": ffprobe,
    "ffmpeg": ffmpeg,
}


async def check(names: Sequence[str]) -> list[str]:
    """Try the clients and print what each did; return the names of those that failed."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="clients-") as base:
        async with stored(Path(base) / "store") as found:
            for name in names:
                folder = Path(base) / name
                folder.mkdir()
                try:
                    expect(name == "chromium" or shutil.which(name), "is not installed")
                    print(f"ok    {name}: {await CLIENTS[name](found, folder)}", flush=True)
                except (Failed, TimeoutError, OSError, RuntimeError) as error:
                    print(f"FAULT {name}: {str(error) or type(error).__name__}", flush=True)
                    failed.append(name)
    return failed


def main() -> int:
    """Run the command."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    return 1 if asyncio.run(check(parser.parse_args().only)) else 0


if __name__ == "__main__":
    sys.exit(main())
