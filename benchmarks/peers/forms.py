"""The requests that the peers and Traffic Storage get."""

import io
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from json import dumps

from PIL import Image

from benchmarks import data
from tests.support.media import full_hd_frame

_BOUNDARY = "------------------------41fd0cb4b2d9a8f3"
# Of this quality, a photograph of 1920 × 1080 has 200 KB.
_QUALITY = 65


def jpeg(number: int) -> bytes:
    """Return a JPEG of 1920 × 1080 and about 200 KB; each number gives a different comment."""
    note = f"frame {number}".encode()
    comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
    content = _jpeg()
    return content[:2] + comment + content[2:]


def record(number: int) -> dict[str, str]:
    """Return the fields of a form with a violation."""
    fields = data.fields(number)
    return {
        name: value
        if isinstance(value, str)
        else value.isoformat()
        if isinstance(value, datetime)
        else dumps(value)
        for name, value in fields.items()
    }


def get(path: str, headers: str = "") -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def part_of(path: str, first: int, count: int) -> bytes:
    """Return a GET request for some bytes."""
    return get(path, f"Range: bytes={first}-{first + count - 1}\r\n")


def post(path: str, fields: Mapping[str, str], field: str, name: str, content: bytes) -> bytes:
    """Return a POST request with a form that contains a file `name`, as curl sends it."""
    before, after = around(fields, field, name)
    return head(path, len(before) + len(content) + len(after)) + before + content + after


def head(path: str, length: int) -> bytes:
    """Return the head of a POST request with a form of `length` bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
    ).encode()


def around(fields: Mapping[str, str], field: str, name: str) -> tuple[bytes, bytes]:
    """Return the bytes of a form before and after the content of its file `name`."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    kind = "image/jpeg" if name.endswith(".jpg") else "video/mp4"
    parts.append(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )
    return "".join(parts).encode(), f"\r\n--{_BOUNDARY}--\r\n".encode()


@cache
def _jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(full_hd_frame()).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
